"""scikit-learn's handwritten digits: real, small, and there without a network."""

import numpy as np
from sklearn import datasets

from tfvae.data.spec import DatasetSpec
from tfvae.data.splits import ImageData
from tfvae.data.splitting import RawSplit, split_dataset

_VALIDATION_FRACTION = 0.1


def load_digits(spec: DatasetSpec) -> ImageData:
    """Loads the 1,797 digits, 8 x 8 in 17 grey levels, as float32 k / 16."""
    spec.refuse_folders("comes with scikit-learn")
    digits = datasets.load_digits()
    # k / 16 is exact in float32, and 17 levels have no exact form in uint8.
    images = (digits.images / 16.0).astype(np.float32)[..., np.newaxis]  # [N, 8, 8, 1]
    provenance = spec.provenance("scikit-learn load_digits")
    provenance["preprocessing"].insert(0, "grey level k of 0..16 becomes k / 16")
    raw = RawSplit(spec.resized(images), digits.target.astype(np.int64))
    return split_dataset(spec, {"train": raw}, provenance, _VALIDATION_FRACTION)
