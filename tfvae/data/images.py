"""Array conversions for every source."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError

_RESIZE_CHUNK = 1_000  # images: bounds the float32 copy that resizing makes


def to_grey(images: tf.Tensor) -> tf.Tensor:
    """Returns float32 grey values in [0, 1]: uint8 is divided by 255."""
    if images.dtype == tf.uint8:
        return tf.cast(images, tf.float32) / 255.0
    return tf.cast(images, tf.float32)


def check_image_size(image_size: Any) -> tuple[int, int] | None:
    """Returns `image_size` as (height, width), or None.

    Raises:
        InputError: if it is no pair of positive ints.
    """
    if image_size is None:
        return None
    try:
        height, width = image_size
    except (TypeError, ValueError):
        height = width = None
    sides = (height, width)
    if any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in sides):
        raise InputError(
            f"image_size {image_size!r} is not usable; give two positive integers, "
            "height and width (--image-size)"
        )
    return sides


def resize_tensor(image: tf.Tensor, image_size: tuple[int, int]) -> tf.Tensor:
    """Resizes [H, W, C] or [N, H, W, C] by antialiased bilinear interpolation.

    Uint8 stays uint8, and float32 stays float32.
    """
    resized = tf.image.resize(image, image_size, method="bilinear", antialias=True)
    if image.dtype == tf.uint8:
        return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)
    return tf.clip_by_value(resized, 0.0, 1.0)


def resize_array(images: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Resizes [N, H, W, C] as `resize_tensor` does, a thousand images at a time."""
    if images.shape[1:3] == tuple(image_size):
        return images
    with tf.device("CPU:0"):
        chunks = [
            resize_tensor(images[i : i + _RESIZE_CHUNK], image_size).numpy()
            for i in range(0, len(images), _RESIZE_CHUNK)
        ]
    return np.concatenate(chunks)
