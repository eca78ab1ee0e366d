"""Writing SavedModels that any TensorFlow runtime serves, and verifying them."""

from tfvae.export.verify import verify_saved_model
from tfvae.export.web import export_web
from tfvae.export.writing import export_saved_model

__all__ = ["export_saved_model", "export_web", "verify_saved_model"]
__dir__ = __all__.copy  # what completion shows
