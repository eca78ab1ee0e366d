"""Pictures of a model and of its training, as Matplotlib figures.

The functions return figures and show or write nothing. The names of the pictures come
without TensorFlow, for the command line; the rest is imported when it is asked for.
"""

from __future__ import annotations

from tfvae.lazy import imported_when_asked
from tfvae.pictures.kinds import KINDS

_FROM = {
    "PICTURES": "table",
    "LayerRates": "charts",
    "Picture": "table",
    "Subject": "table",
    "Undefined": "drawing",
    "importance_weights": "charts",
    "interpolations": "images",
    "latent_scatter": "scatter",
    "principal_components": "scatter",
    "prior_traversal": "images",
    "png_bytes": "drawing",
    "rates": "charts",
    "reconstructions": "images",
    "samples": "images",
    "training_curves": "charts",
    "traversal": "images",
}

__all__ = ["KINDS", *_FROM]

__getattr__ = imported_when_asked(__name__, _FROM)
