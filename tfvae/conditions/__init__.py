"""What a model is conditioned on: c of p(x|z, c), q(z|x, c) and p(z|c).

Each is a Keras layer from c as the data have it to the numbers that networks take,
saved with the model: `tfvae.VAE(encoder, decoder, condition=OneHot(10))`.
"""

from collections.abc import Mapping

from tfvae.conditions.base import Condition
from tfvae.conditions.classes import Embedding, OneHot
from tfvae.conditions.numbers import Image, Numeric
from tfvae.conditions.several import Several

CONDITIONS: Mapping[str, type[Condition]] = {
    "one_hot": OneHot,
    "embedding": Embedding,
    "numeric": Numeric,
    "image": Image,
    "several": Several,
}

__all__ = [
    "CONDITIONS",
    "Condition",
    "Embedding",
    "Image",
    "Numeric",
    "OneHot",
    "Several",
]
__dir__ = __all__.copy  # what completion shows
