"""Writing models that other programs serve, and verifying them."""

from tfvae.export.formats import FORMATS
from tfvae.export.verify import verify_saved_model
from tfvae.export.web import export_web
from tfvae.export.writing import export_model, export_saved_model

__all__ = [
    "FORMATS",
    "export_model",
    "export_saved_model",
    "export_web",
    "verify_saved_model",
]
__dir__ = __all__.copy  # what completion shows
