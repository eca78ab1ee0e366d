"""Pictures show what they say."""

from __future__ import annotations

import numpy as np
import pytest
from reference import IMAGE_SHAPE, tiny_vae

from tfvae import pictures

IMAGES = (np.random.default_rng(0).random((5, *IMAGE_SHAPE)) < 0.3).astype(np.float32)


def canvas(figure, axis: int = 0) -> np.ndarray:
    return figure.axes[axis].images[0].get_array().data


def cell(array: np.ndarray, row: int, column: int) -> np.ndarray:
    height, width = IMAGE_SHAPE[0] + 1, IMAGE_SHAPE[1] + 1
    top, left = row * height, column * width
    return array[top : top + height - 1, left : left + width - 1]


def test_reconstructions_stand_below_their_originals():
    vae = tiny_vae()
    grey = IMAGES * 0.5
    shown = canvas(pictures.reconstructions(vae, grey, IMAGES))
    means = vae.reconstruct(IMAGES).numpy()
    for column in range(len(IMAGES)):
        for row, images in enumerate((grey, IMAGES, means)):
            expected = images[column, ..., 0]
            np.testing.assert_array_equal(cell(shown, row, column), expected)


def test_samples_show_means_beside_draws():
    vae = tiny_vae()
    figure = pictures.samples(vae, 5, seed=3)
    drawn = vae.sample(5, 3)
    for axis, images in enumerate((drawn.mean, drawn.draw)):
        shown = canvas(figure, axis)
        for index in range(5):
            expected = images[index, ..., 0].numpy()
            np.testing.assert_array_equal(cell(shown, *divmod(index, 3)), expected)


@pytest.mark.parametrize("latent", ["normal", "logistic", "bin_concrete"])
def test_a_traversal_moves_one_variable_through_the_priors_quantiles(latent):
    vae = tiny_vae(latent)
    figure = pictures.traversal(vae, IMAGES[:1], num_dims=2, num_steps=3)
    mean = vae.encode(IMAGES[:1]).mean().numpy()[0]
    prior = vae.latent.prior().distribution
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(set(labels)) == 2
    for row, label in enumerate(labels):
        dim = int(label.removeprefix("z[").removesuffix("]"))
        for column, level in enumerate(np.float32([0.01, 0.5, 0.99])):
            z = mean.copy()
            z[dim] = prior.quantile(level).numpy()[dim]
            expected = vae.decode(z[None]).mean().numpy()[0, ..., 0]
            shown = cell(canvas(figure), row, column)
            # another batch size may sum in another order
            np.testing.assert_allclose(shown, expected, atol=1e-6)


def test_training_curves_draw_the_history():
    rows = [
        {"epoch": e, "loss": 5.0 / e, "elbo": -6.0 / e, "val_loss": 5.5 / e}
        for e in (1, 2, 3)
    ]
    axis = pictures.training_curves(rows).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axis.lines}
    np.testing.assert_allclose(lines["loss"], [5.0, 2.5, 5 / 3])
    np.testing.assert_allclose(lines["-elbo"], [6.0, 3.0, 2.0])
    assert set(lines) == {"loss", "-elbo", "val_loss"}


def test_colour_images_are_shown_in_colour():
    vae = tiny_vae(image_shape=(4, 6, 3))
    images = np.random.default_rng(0).random((2, 4, 6, 3)).astype(np.float32)
    shown = canvas(pictures.reconstructions(vae, images, images))
    assert shown.shape == (9, 13, 3)
    np.testing.assert_array_equal(shown[:4, 7:13], images[1].astype(np.float64))
