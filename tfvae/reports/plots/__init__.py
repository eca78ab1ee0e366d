"""Plots of a model and of its training, as Matplotlib figures.

The functions return figures and show or write nothing.
"""

from tfvae.reports.plots.charts import (
    LayerRates,
    importance_weights,
    rates,
    training_curves,
)
from tfvae.reports.plots.drawing import Undefined, png_bytes
from tfvae.reports.plots.gaps import gap_ladder, gap_ladder_of
from tfvae.reports.plots.images import (
    interpolations,
    prior_traversal,
    reconstructions,
    samples,
    traversal,
)
from tfvae.reports.plots.scatter import latent_scatter, principal_components
from tfvae.reports.plots.table import PLOTS, PlotInputs

__all__ = [
    "PLOTS",
    "LayerRates",
    "PlotInputs",
    "Undefined",
    "gap_ladder",
    "gap_ladder_of",
    "importance_weights",
    "interpolations",
    "latent_scatter",
    "png_bytes",
    "principal_components",
    "prior_traversal",
    "rates",
    "reconstructions",
    "samples",
    "training_curves",
    "traversal",
]
