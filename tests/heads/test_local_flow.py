"""A flow of an example's own has the density of its formula."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfvae.heads import MultivariateNormalHead, NormalHead
from tfvae.heads.local_flow import LocalFlowHead

SIZE, BATCH = 3, 2


def base_of(cls=NormalHead):
    return cls((SIZE,), dtype="float64")


def started(num_couplings: int, cls=NormalHead) -> tuple[LocalFlowHead, tf.Tensor]:
    """A head, and parameters where its map is the identity."""
    base = base_of(cls)
    rng = np.random.default_rng(0)
    own = tf.constant(rng.normal(size=[BATCH, *base.params_shape]))
    head = LocalFlowHead(base, num_couplings)
    return head, head.start(own, base(own).sample(50, seed=[1, 2]))


def moved(params: tf.Tensor) -> tf.Tensor:
    """Parameters far from the identity; the frame, which comes first, is the same."""
    noise = np.random.default_rng(1).normal(0, 0.7, params.shape)
    noise[:, : 2 * SIZE] = 0
    return params + noise


@pytest.mark.parametrize("cls", [NormalHead, MultivariateNormalHead])
@pytest.mark.parametrize("num_couplings", [0, 2])
def test_it_starts_as_its_base_with_the_same_draws(num_couplings, cls):
    head, params = started(num_couplings, cls)
    own = params[:, 2 * SIZE : 2 * SIZE + head.base.params_shape[0]]
    q, base = head(params), head.base(own)
    z = base.sample(5, seed=[3, 4])
    np.testing.assert_allclose(q.sample(5, seed=[3, 4]), z, rtol=1e-12)
    np.testing.assert_allclose(q.log_prob(z), base.log_prob(z), rtol=1e-10)
    pairs = (d.experimental_sample_and_log_prob(5, seed=[3, 4]) for d in (q, base))
    for found, wanted in zip(*pairs, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_a_linear_map_of_a_normal_is_a_normal_of_full_covariance():
    head, params = started(0)
    params = moved(params).numpy()
    mean, scale, loc, raw, below = np.split(params, [3, 6, 9, 12], axis=1)
    z = np.random.default_rng(2).normal(size=[5, BATCH, SIZE])
    for row in range(BATCH):
        lower = np.eye(SIZE)
        lower[np.tril_indices(SIZE, -1)] = below[row]
        whole = np.diag(scale[row]) @ lower @ np.diag(1 / scale[row])
        variance = np.diag((np.logaddexp(0, raw[row]) + 1e-5) ** 2)
        law = stats.multivariate_normal(
            mean[row] + whole @ (loc[row] - mean[row]), whole @ variance @ whole.T
        )
        found = head(tf.constant(params)).log_prob(z)[:, row]
        np.testing.assert_allclose(found, law.logpdf(z[:, row]), rtol=1e-9)


@pytest.mark.parametrize("num_couplings", [0, 2])
def test_its_density_is_the_bases_over_autodiffs_determinant(num_couplings):
    head, params = started(num_couplings)
    q = head(moved(params))
    u = tf.constant(np.random.default_rng(3).normal(size=[BATCH, SIZE]))
    with tf.GradientTape() as tape:
        tape.watch(u)
        z, log_det = q.forward(u)
    jacobian = tape.batch_jacobian(z, u)  # [B, D, D]: no example reads another
    wanted = np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(log_det, wanted, rtol=1e-9, atol=1e-14)
    assert np.abs(z.numpy() - u.numpy()).max() > 0.1  # it does something
    np.testing.assert_allclose(q.inverse(z)[0], u, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(q.log_prob(z), q.base.log_prob(u) - wanted, rtol=1e-9)


def test_each_example_has_a_flow_of_its_own():
    head, params = started(2)
    z = np.random.default_rng(4).normal(size=[5, BATCH, SIZE])
    changed = tf.concat([params[:1], moved(params)[1:]], axis=0)
    before, after = head(params).log_prob(z), head(changed).log_prob(z)
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert np.all(before[:, 1] != after[:, 1])


def test_no_gradient_reaches_the_frame_nor_stopped_parameters():
    head, params = started(2)
    params, z = moved(params), tf.constant(np.full([BATCH, SIZE], 0.3))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([params, z])
        free, stopped = head(params).log_prob(z), head.stopped(params).log_prob(z)
    slope = tape.gradient(free, params).numpy()
    assert not slope[:, : 2 * SIZE].any()
    assert np.mean(slope[:, 2 * SIZE :] != 0) > 0.9  # some tanh are at their end
    assert tape.gradient(stopped, params) is None
    np.testing.assert_allclose(tape.gradient(stopped, z), tape.gradient(free, z))
