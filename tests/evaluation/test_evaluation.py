"""Evaluation gives the bounds that it names, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from helpers.models import IMAGE_SHAPE, tiny_vae
from scipy.special import logsumexp

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.evaluation import (
    ImageScores,
    estimate_log_likelihood,
    score_images,
    summarise,
)
from tfvae.evaluation.scores import count_low_ess

RNG = np.random.default_rng(0)
IMAGES = (RNG.random((7, *IMAGE_SHAPE)) < 0.3).astype(np.float32)


def batches(size: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(IMAGES).batch(size)


def test_scores_are_those_of_the_log_weights():
    vae = tiny_vae()
    scores = score_images(vae, batches(4), num_samples=6, chunk_size=4, seed=3)
    for index, x in enumerate(batches(4)):
        terms = vae.log_weight_terms(x, 6, derive_seed(3, "evaluation", index))
        log_weights = terms.log_weights().numpy()  # [6, B]
        likelihood = terms.log_likelihood.numpy()
        rows = slice(4 * index, 4 * index + len(x))
        weights = np.exp(log_weights - logsumexp(log_weights, axis=0))
        expected = {
            "log_likelihood": logsumexp(log_weights, axis=0) - np.log(6),
            "elbo": log_weights.mean(axis=0),
            "distortion": -likelihood.mean(axis=0),
            "rate": (likelihood - log_weights).mean(axis=0),
            "ess": 1 / np.square(weights).sum(axis=0),
        }
        for name, values in expected.items():
            # A log-weight of size 50 is rounded by 50 eps, and so is its exponential.
            rounding = 2 * 50 * np.finfo(np.float32).eps
            np.testing.assert_allclose(
                getattr(scores, name)[rows], values, rtol=rounding, err_msg=name
            )


@pytest.mark.slow
def test_scores_are_in_order_and_one_an_image(eagerly_here):
    vae = tiny_vae()
    together = score_images(vae, batches(7), num_samples=2000).elbo
    doubled = tf.data.Dataset.from_tensor_slices(IMAGES[::-1].copy()).batch(7)
    reversed_ = score_images(vae, doubled, num_samples=2000, seed=1).elbo[::-1]
    scores = np.concatenate(
        [
            vae.log_weight_terms(IMAGES, 2000, seed).log_weights().numpy()
            for seed in range(2)
        ]
    )
    error = scores.std(axis=0) / np.sqrt(2000) * np.sqrt(2)
    assert np.all(np.abs(together - reversed_) < 5 * error)
    assert np.ptp(together) > 10 * error.max()  # else the order could not be seen


def test_same_seed_gives_the_same_scores_and_another_others(eagerly_here):
    vae = tiny_vae("bin_concrete")
    first, again, other = (
        estimate_log_likelihood(vae, batches(3), 5, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


def test_bounds_rise_with_the_number_of_samples(eagerly_here):
    vae = tiny_vae()
    copies = IMAGES.repeat(20, axis=0)
    few = estimate_log_likelihood(vae, [copies], 1)
    many = score_images(vae, batches(7), 2000)
    assert np.all(many.elbo < many.log_likelihood)
    assert few.mean() < many.log_likelihood.mean()


@pytest.mark.slow
def test_a_thousand_times_the_samples_needs_no_more_memory():
    """The largest tensor of a chunk is [chunk_size, B, 64], whatever K."""
    vae = tiny_vae()
    shapes = []
    original = vae.decode

    def spy(z, training=None):
        shapes.append(tuple(z.shape))
        return original(z, training)

    vae.decode = spy
    score_images(vae, batches(7), num_samples=10_000, chunk_size=10)
    assert {shape[0] for shape in shapes} == {10}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("latent", "samples", "sizes"),
    [
        ("normal", 150, (64, 100)),
        pytest.param("normal", 150, (7, None), marks=pytest.mark.slow),
        ("bernoulli", 150, (100, None)),
        ("bin_concrete", 10, (1, 7)),
        ("bernoulli", 10, (7,)),
    ],
)
def test_scores_do_not_depend_on_the_chunk_size(latent, samples, sizes, eagerly_here):
    vae = tiny_vae(latent)
    whole = score_images(vae, batches(4), samples, chunk_size=samples, seed=5)
    for size in sizes:
        found = score_images(vae, batches(4), samples, chunk_size=size, seed=5)
        for name, values in whole._asdict().items():
            # Sums of float32 log-weights of size 50 in another order, in float64;
            # products of other shapes may round otherwise, by a few eps of 50.
            np.testing.assert_allclose(
                getattr(found, name), values, rtol=1e-5, atol=2e-5, err_msg=name
            )


def test_summary_is_mean_and_standard_error_in_nats_and_bits():
    values = np.array([1.0, 2.0, 4.0])
    scores = ImageScores(-values, -values, values, values, values)
    summary = summarise(scores, (2, 2, 1))
    error = np.std(values, ddof=1) / np.sqrt(3)
    for name in ("log_likelihood", "elbo"):
        assert summary[name]["mean"] == pytest.approx(-values.mean(), rel=1e-15)
        bits = values.mean() / (4 * np.log(2))
        assert summary[name]["bits_per_dim"] == pytest.approx(bits, rel=1e-15)
    assert summary["rate"]["standard_error"] == pytest.approx(error, rel=1e-15)
    assert "bits_per_dim" not in summary["ess"]


@pytest.mark.parametrize(
    ("head", "counts"),
    [("bernoulli", True), ("normal", False), ("categorical", True), ("laplace", False)],
)
def test_bits_are_for_bounds_on_probabilities_alone(head, counts, eagerly_here):
    scores = score_images(tiny_vae(head=head), batches(4), num_samples=2)
    summary = summarise(scores, IMAGE_SHAPE)
    assert {n for n in summary if "bits_per_dim" in summary[n]} == (
        {"log_likelihood", "elbo"} if counts else set()
    )


def test_images_whose_bound_hangs_on_one_sample_are_counted():
    ones = np.ones(4)
    scores = ImageScores(ones, ones, ones, ones, np.array([1.0, 1.99, 2.0, 50.0]))
    assert count_low_ess(scores) == 2


def test_one_image_has_no_standard_error():
    one = np.ones(1)
    summary = summarise(ImageScores(one, one, one, one, one), (2, 2, 1))
    assert summary["elbo"]["standard_error"] is None


def test_progress_counts_images(eagerly_here):
    seen = []
    score_images(tiny_vae(), batches(4), 1, progress=seen.append)
    assert seen == [4, 7]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"num_samples": 0}, "num_samples 0"),
        ({"num_samples": 1.5}, "num_samples 1.5"),
        ({"num_samples": 1, "chunk_size": 0}, "chunk_size 0"),
        ({"num_samples": 1, "seed": "x"}, "'x'"),
        ({"num_samples": 1, "batches": []}, "no images"),
        ({"num_samples": 1, "batches": [IMAGES[:, :4]]}, "(7, 4, 8, 1)"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, said):
    arguments = {"batches": batches(7), **arguments}
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        score_images(tiny_vae(), **arguments)
    assert said in str(caught.value)


@pytest.mark.slow
def test_scoring_several_models_in_a_row_is_no_reason_to_warn(caplog):
    """TensorFlow takes functions made in one place for one that is traced anew."""
    for number in range(6):
        score_images(tiny_vae(seed=number), batches(7), num_samples=1)
    assert not [r for r in caplog.records if "retracing" in r.getMessage()]
