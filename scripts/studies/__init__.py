"""Studies of gradient estimators."""

from studies.signal import FAST, FULL, LAWS, Curve, Size, compare_estimators, table
from studies.survivors import AddedVariance, added_variance

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
