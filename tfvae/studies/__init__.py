"""Studies of gradient estimators."""

from tfvae.studies.signal import (
    FAST,
    FULL,
    LAWS,
    Curve,
    Size,
    compare_estimators,
    table,
)
from tfvae.studies.survivors import AddedVariance, added_variance

__all__ = [
    "FAST",
    "FULL",
    "LAWS",
    "AddedVariance",
    "Curve",
    "Size",
    "added_variance",
    "compare_estimators",
    "table",
]
