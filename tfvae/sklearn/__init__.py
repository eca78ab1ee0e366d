"""A variational autoencoder over tables of numbers, as a scikit-learn estimator.

The methods and attributes of the TF1 tutorial's class, and their names here:

    there            here
    partial_fit(X)   partial_fit(X)
    transform(X)     transform(X)
    generate(Z)      inverse_transform(Z); generate() with no Z: sample(1)
    reconstruct(X)   inverse_transform(transform(X))
    loss             history_["loss"]
    encoder_loss     history_["rate"]
    decoder_loss     history_["distortion"]
"""

from __future__ import annotations

from tfvae.sklearn.estimator import VAETransformer
from tfvae.sklearn.imputer import VAEImputer
from tfvae.sklearn.outliers import VAEOutlierDetector

__all__ = ["VAEImputer", "VAEOutlierDetector", "VAETransformer"]
__dir__ = __all__.copy  # what completion shows
