"""Tables of mixed columns: a law for each column, and the head that is their product.

Columns work alone too: `log_prob(params, value)`, `sample(params, seed)` and
`mean(params)` are functions of a column's own parameters.
"""

from tfvae.heads.columns.base import Column
from tfvae.heads.columns.choice import KINDS as COLUMN_KINDS
from tfvae.heads.columns.codes import BernoulliColumn, CategoricalColumn, OrdinalColumn
from tfvae.heads.columns.counts import NegativeBinomialColumn, PoissonColumn
from tfvae.heads.columns.head import ColumnInputs, Columns
from tfvae.heads.columns.numbers import LogNormalColumn, NormalColumn, StudentTColumn
from tfvae.heads.columns.product import ColumnProduct

__all__ = [
    "COLUMN_KINDS",
    "BernoulliColumn",
    "CategoricalColumn",
    "Column",
    "ColumnInputs",
    "ColumnProduct",
    "Columns",
    "LogNormalColumn",
    "NegativeBinomialColumn",
    "NormalColumn",
    "OrdinalColumn",
    "PoissonColumn",
    "StudentTColumn",
]
__dir__ = __all__.copy  # what completion shows
