"""SavedModels that any TensorFlow runtime serves, and the proof that they do."""

from tfvae.export.layout import EXPORTED_SAMPLES
from tfvae.export.verify import verify_saved_model
from tfvae.lazy import imported_when_asked

__all__ = ["EXPORTED_SAMPLES", "export_saved_model", "verify_saved_model"]

__getattr__ = imported_when_asked(__name__, {"export_saved_model": "writing"})
