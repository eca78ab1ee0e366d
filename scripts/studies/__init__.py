"""Studies of gradient estimators."""

from studies.signal import FAST, FULL, LAWS, Curve, Size, compare_estimators, table
from studies.survivors import AddedVariance, added_variance
from studies.variance import (
    FAST_VARIANCE,
    FULL_VARIANCE,
    Spread,
    compare_variances,
    variance_table,
)

__all__ = [
    "FAST",
    "FAST_VARIANCE",
    "FULL",
    "FULL_VARIANCE",
    "LAWS",
    "AddedVariance",
    "Curve",
    "Size",
    "Spread",
    "added_variance",
    "compare_estimators",
    "compare_variances",
    "table",
    "variance_table",
]
