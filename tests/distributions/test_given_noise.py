"""Densities that are written again for runtimes without TFP's kernels are the same.

They are used where noise is given in the place of draws, and are held to SciPy and to
NumPy here, in the tails too.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from scipy import special, stats

from tfvae.distributions import MultivariateNormalTriL, StudentT, draws
from tfvae.heads.discretized import CategoricalLevels

RNG = np.random.default_rng(0)
CLOSE = {"rtol": 3e-6, "atol": 3e-6}  # some steps of float32


def test_the_density_of_a_student_t():
    df = np.array([0.2, 1.0, 2.5, 30.0, 1e4], np.float32)
    x = np.float32(RNG.normal(size=[7, 1]) * 10.0 ** RNG.integers(-3, 5, [7, 1]))
    scale = np.float32(0.3)
    with draws.given([]):
        found = StudentT(df, np.float32(1.5), scale).log_prob(x)
    wanted = stats.t(df.astype(float), 1.5, float(scale)).logpdf(x.astype(float))
    np.testing.assert_allclose(found, wanted, **CLOSE)


def test_a_draw_of_a_covariance_has_its_density():
    lower = np.tril(RNG.normal(size=[2, 3, 3]))
    lower[:, range(3), range(3)] = [[1e-3, 1.0, 40.0], [0.5, 2.0, 0.1]]
    loc, noise = RNG.normal(size=[2, 3]), RNG.normal(size=[5, 2, 3])
    noise[0, 0] = [9.0, -9.0, 0.0]
    q = MultivariateNormalTriL(
        tf.constant(loc), tf.constant(lower)
    )  # of float64, where SciPy can follow
    with draws.given([lambda: tf.constant(noise.transpose(0, 2, 1).reshape(15, 2))]):
        z, found = q.experimental_sample_and_log_prob(5, seed=(0, 1))
    for row in range(2):
        wanted = loc[row] + noise[:, row] @ lower[row].T
        np.testing.assert_allclose(z[:, row], wanted, rtol=1e-12)
        normal = stats.multivariate_normal(loc[row], lower[row] @ lower[row].T)
        np.testing.assert_allclose(found[:, row], normal.logpdf(wanted), rtol=1e-6)


def test_the_probability_of_a_level():
    logits = np.float32(20.0 * RNG.normal(size=[4, 3, 6]))  # [S, B, levels]
    k = np.array([0, 5, 2])
    p = CategoricalLevels(logits)
    x = np.float32(k / 5)
    with draws.given([]):
        found, off = p.log_prob(x), p.log_prob(x + np.float32(0.1))
    wanted = special.log_softmax(logits.astype(float), axis=-1)
    wanted = wanted[:, np.arange(3), k]
    np.testing.assert_allclose(found, wanted, **CLOSE)
    np.testing.assert_allclose(found, p.log_prob(x), **CLOSE)
    assert np.all(off == -np.inf)


def test_small_numbers_keep_their_digits_in_logarithms_and_exponentials():
    """log(1 + x) and e^x - 1 themselves lose all of them below 1e-7."""
    x = np.float32([-0.5, -1e-3, -1e-7, -1e-20, 0, 1e-30, 1e-8, 3e-4, 0.7, 1, 9, 1e20])
    with draws.given([]):
        log, exp = draws.log1p(tf.constant(x)), draws.expm1(tf.constant(-np.abs(x)))
        far = draws.log1p(tf.constant(np.float32(np.inf)))
    np.testing.assert_allclose(log, np.log1p(x.astype(float)), rtol=3e-7)
    np.testing.assert_allclose(exp, np.expm1(-np.abs(x).astype(float)), rtol=3e-7)
    assert np.isposinf(far)
