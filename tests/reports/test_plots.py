"""Plots show what they say."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.models import IMAGE_SHAPE, tiny_vae
from scipy import special, stats

from tfvae.evaluation.traversals import prior_quantiles
from tfvae.models import VAE
from tfvae.models.batch import read_batch
from tfvae.priors import make_prior
from tfvae.reports import plots

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
    shown = canvas(plots.reconstructions(vae, grey, IMAGES))
    means = vae.reconstruct(IMAGES).numpy()
    for column in range(len(IMAGES)):
        for row, images in enumerate((grey, IMAGES, means)):
            expected = images[column, ..., 0]
            np.testing.assert_array_equal(cell(shown, row, column), expected)


def test_samples_show_means_beside_draws():
    vae = tiny_vae()
    figure = plots.samples(vae, 5, seed=3)
    drawn = vae.sample(5, 3)
    for axis, images in enumerate((drawn.mean, drawn.draw)):
        shown = canvas(figure, axis)
        for index in range(5):
            expected = images[index, ..., 0].numpy()
            np.testing.assert_array_equal(cell(shown, *divmod(index, 3)), expected)


@pytest.mark.parametrize("latent", ["normal", "logistic", "bin_concrete"])
def test_a_traversal_moves_one_variable_through_the_priors_quantiles(latent):
    vae = tiny_vae(latent)
    figure = plots.traversal(vae, IMAGES[:1], num_dims=2, num_steps=3)
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
    axis = plots.training_curves(rows).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axis.lines}
    np.testing.assert_allclose(lines["loss"], [5.0, 2.5, 5 / 3])
    np.testing.assert_allclose(lines["-elbo"], [6.0, 3.0, 2.0])
    assert set(lines) == {"loss", "-elbo", "val_loss"}


def test_colour_images_are_shown_in_colour():
    vae = tiny_vae(image_shape=(4, 6, 3))
    images = np.random.default_rng(0).random((2, 4, 6, 3)).astype(np.float32)
    shown = canvas(plots.reconstructions(vae, images, images))
    assert shown.shape == (9, 13, 3)
    np.testing.assert_array_equal(shown[:4, 7:13], images[1].astype(np.float64))


def test_a_prior_traversal_leaves_the_other_variables_at_their_median():
    vae = tiny_vae()
    figure = plots.prior_traversal(vae, num_dims=2, num_steps=3)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    dims = [int(label.removeprefix("z[").removesuffix("]")) for label in labels]
    for row, dim in enumerate(dims):
        for column, quantile in enumerate(stats.norm.ppf([0.01, 0.5, 0.99])):
            z = np.zeros([1, 3], np.float32)
            z[0, dim] = quantile
            expected = vae.decode(z).mean().numpy()[0, ..., 0]
            shown = cell(canvas(figure), row, column)
            # the quantile's float32 formula, and another order of sums
            np.testing.assert_allclose(shown, expected, atol=1e-5)


def with_learned_prior(latent: str) -> VAE:
    vae = tiny_vae(latent)
    prior = make_prior("learned", vae.latent)
    return VAE(vae.encoder, vae.decoder, vae.latent, prior)


def test_a_learned_priors_quantiles_are_its_own():
    vae = with_learned_prior("normal")
    (weight,) = vae.prior_layer.get_weights()
    moved = np.array(weight)
    moved.flat[:3] += 3.0  # the locations come first
    vae.prior_layer.set_weights([moved])
    levels = np.array([0.01, 0.5, 0.99])
    found = prior_quantiles(vae, levels, seed=0)
    expected = stats.norm.ppf(levels, loc=3.0)
    # Of a quantile of n draws, asymptotically.
    error = np.sqrt(levels * (1 - levels) / 4096) / stats.norm.pdf(expected, loc=3.0)
    assert np.all(np.abs(found - expected[:, None]) < 5 * error[:, None])


def test_a_learned_priors_bits_stay_bits():
    found = prior_quantiles(with_learned_prior("bernoulli"), np.array([0.01, 0.99]), 0)
    np.testing.assert_array_equal(found, np.repeat([[0.0], [1.0]], 3, axis=1))


def test_an_interpolation_goes_from_one_reconstruction_to_the_other():
    vae = tiny_vae()
    inputs = IMAGES[:4]
    shown = canvas(plots.interpolations(vae, inputs, num_steps=3))
    assert shown.shape == (2 * 9 - 1, 5 * 9 - 1)
    means = vae.reconstruct(inputs).numpy()
    centres = vae.encode(inputs).mean().numpy()
    for row, (first, last) in enumerate([(0, 2), (1, 3)]):
        middle = (centres[first] + centres[last]) / 2
        expected = [
            inputs[first],
            means[first],
            vae.decode(middle[None]).mean().numpy()[0],
            means[last],
            inputs[last],
        ]
        for column, image in enumerate(expected):
            # another batch size may sum in another order
            np.testing.assert_allclose(
                cell(shown, row, column), image[..., 0], atol=1e-6
            )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_interpolations_need_pairs(count):
    with pytest.raises(plots.Undefined, match=f"{count} images"):
        plots.interpolations(tiny_vae(), IMAGES[:count])


def test_principal_components_are_those_of_the_covariance():
    rng = np.random.default_rng(0)
    points = rng.normal(size=[200, 5]) @ rng.normal(size=[5, 5]) + 3.0
    found, shares = plots.principal_components(points, 5)
    covariance = np.cov(found, rowvar=False)
    variances = np.linalg.eigvalsh(np.cov(points, rowvar=False))[::-1]
    # rounding of float64 sums of 200 numbers of size 10
    np.testing.assert_allclose(covariance, np.diag(variances), atol=1e-10)
    np.testing.assert_allclose(shares, variances / variances.sum(), rtol=1e-10)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-10)
    distances = [np.linalg.norm(p[:1] - p[1:], axis=1) for p in (points, found)]
    np.testing.assert_allclose(*distances, rtol=1e-10)


def test_the_sign_of_a_principal_component_does_not_depend_on_the_solver():
    points = np.outer([-1.0, 0.0, 2.0], [0.1, -3.0])
    found, _ = plots.principal_components(points, 1)
    assert found[0, 0] > found[2, 0]  # -3 is the largest: its axis has +3 there


def test_a_point_has_the_colour_of_its_label():
    rng = np.random.default_rng(0)
    means, labels = rng.normal(size=[60, 4]), np.arange(60) % 10
    figure = plots.latent_scatter(means, labels)
    components, _ = plots.principal_components(means)
    for axis, points in zip(figure.axes, (means[:, :2], components), strict=True):
        colours = set()
        for label, drawn in enumerate(axis.collections):
            assert drawn.get_label() == str(label)
            expected = points[labels == label]
            np.testing.assert_allclose(drawn.get_offsets(), expected, rtol=1e-12)
            colours.add(tuple(map(tuple, drawn.get_facecolor())))
        assert len(colours) == 10 and all(len(colour) == 1 for colour in colours)
        assert [text.get_text() for text in axis.texts] == list("0123456789")


def test_twenty_classes_differ_in_colour_or_marker():
    means, labels = np.random.default_rng(0).normal(size=[40, 2]), np.arange(40) % 20
    axis = plots.latent_scatter(means, labels).axes[0]
    looks = {
        (c.get_facecolor().tobytes(), c.get_paths()[0].vertices.tobytes())
        for c in axis.collections
    }
    assert len(looks) == 20


def test_without_labels_all_points_look_alike():
    figure = plots.latent_scatter(np.random.default_rng(0).normal(size=[9, 2]))
    assert len(figure.axes[0].collections) == 1 and not figure.legends


def test_a_scatter_needs_two_variables():
    with pytest.raises(plots.Undefined, match="1 latent variables"):
        plots.latent_scatter(np.zeros([9, 1]))


def test_rates_are_drawn_largest_first_and_the_active_apart():
    layer = plots.LayerRates(
        np.array([0.5, 2.0, 0.0, 1.0]), None, np.array([True, True, False, True])
    )
    (axis,) = plots.rates([layer]).axes
    bars = sorted(axis.patches, key=lambda bar: bar.get_x())
    assert [bar.get_height() for bar in bars] == [2.0, 1.0, 0.5, 0.0]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["1", "3", "0", "2"]
    colours = [bar.get_facecolor() for bar in bars]
    assert len(set(colours[:3])) == 1 and colours[3] != colours[0]
    said = [t.get_text() for t in axis.get_legend().get_texts()]
    assert said == ["active: 3 of 4", "not active"]
    assert "sum 3.50 nats" in axis.get_title()


def test_each_layer_with_rates_has_a_chart():
    layers = [plots.LayerRates(rates) for rates in (np.ones(3), None, np.ones(2))]
    axes = plots.rates(layers).axes
    assert [len(axis.patches) for axis in axes] == [3, 2]
    assert "layer 1" in axes[0].get_title() and "layer 3" in axes[1].get_title()


def heights(figure) -> list[int]:
    return [int(bar.get_height()) for bar in figure.axes[0].patches]


def test_every_importance_weight_is_counted_once():
    # down to exp(-300) relative to the largest, which is far below the first bar
    log_weights = np.random.default_rng(0).normal(-900, 60, size=[7, 11])
    counts = heights(plots.importance_weights(log_weights))
    assert sum(counts) == 7 * 11
    shares = special.softmax(log_weights, axis=0)
    assert counts[0] == np.sum(shares < 1e-6)


def test_equal_importance_weights_share_a_bar_and_the_weight():
    figure = plots.importance_weights(np.full([8, 5], -90.0))
    bars = [bar for bar in figure.axes[0].patches if bar.get_height()]
    assert [bar.get_height() for bar in bars] == [40]
    assert bars[0].get_x() <= np.log10(1 / 8) < bars[0].get_x() + 0.25
    curve = figure.axes[1].lines[0].get_ydata()
    np.testing.assert_allclose(curve, np.arange(1, 9) / 8, rtol=1e-12)
    assert "mean ess 8.0" in figure.get_suptitle()


def test_one_sample_has_no_importance_weights():
    with pytest.raises(plots.Undefined, match="num_samples 1"):
        plots.importance_weights(np.zeros([1, 5]))


def test_a_setting_that_changes_has_a_chart_of_its_own():
    rows = [{"epoch": e, "loss": 1.0, "temperature": 1.0 / e} for e in (1, 2)]
    (line,) = plots.training_curves(rows).axes[3].lines
    assert line.get_label() == "temperature"
    np.testing.assert_array_equal(line.get_ydata(), [1.0, 0.5])


def plot_inputs(vae: VAE, num_samples: int = 3) -> plots.PlotInputs:
    labels = np.arange(len(IMAGES)) % 2
    history = [{"epoch": 1, "loss": 1.0}]
    closed = [plots.LayerRates(np.ones(3))]
    return plots.PlotInputs(
        vae, IMAGES, read_batch(IMAGES), labels, history, num_samples, 0, lambda: closed
    )


NO_PATHS = {"interpolations"}
NO_ORDER = {"prior_traversal", "posterior_traversal", "interpolations"}


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("latent", "undefined"),
    [
        ("normal", set()),
        ("bin_concrete", set()),
        ("flow", set()),
        ("bernoulli", NO_PATHS),
        ("concrete", NO_ORDER),
        ("categorical", NO_ORDER),
    ],
)
def test_a_plot_is_drawn_or_refused_in_one_line(latent, undefined):
    given, refused = plot_inputs(tiny_vae(latent)), set()
    for name, draw in plots.PLOTS.items():
        try:
            drawn = plots.png_bytes(draw(given))
            assert drawn.startswith(b"\x89PNG")
        except plots.Undefined as reason:
            refused.add(name)
            assert "not defined" in str(reason) and "\n" not in str(reason)
            assert type(given.vae.latent).__name__ in str(reason)
    assert refused == undefined


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "name", ["samples", "latent_scatter", "importance_weights", "prior_traversal"]
)
def test_a_plot_is_the_same_each_time(name):
    vae = with_learned_prior("logistic")
    first, second = (
        plots.png_bytes(plots.PLOTS[name](plot_inputs(vae))) for _ in range(2)
    )
    assert first == second
