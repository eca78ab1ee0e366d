"""The flow posterior against its formulas, autodiff and integration."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from helpers.models import standard_error
from scipy import stats

from tfvae.heads import CouplingFlow, FlowHead
from tfvae.latents import FlowLatent, NormalLatent


def head_of(size: int = 4, num_flows: int = 3, dtype: str = "float64") -> FlowHead:
    """A head whose couplings are far from the identity."""
    family = FlowLatent(size, num_flows, hidden_sizes=(6, 5), dtype=dtype)
    head = family.posterior_head()
    rng = np.random.default_rng(1)
    head.set_weights([rng.normal(0, 0.8, w.shape) for w in head.get_weights()])
    return head


def some_params(size: int = 4, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1, [batch, 2 * size])


def some_z(size: int = 4, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(4).normal(0, 2, [5, batch, size])


def numpy_log_density(head: FlowHead, params: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Backwards through the couplings, from the weights and the formulas alone."""
    loc, raw = np.split(params, 2, axis=-1)
    size = z.shape[-1]
    weights = head.get_weights()
    per_coupling = len(weights) // head.num_flows
    log_det = 0.0
    for index in reversed(range(head.num_flows)):
        own = weights[index * per_coupling : (index + 1) * per_coupling]
        first, second = z[..., : size // 2], z[..., size // 2 :]
        given, moved = (first, second) if index % 2 == 0 else (second, first)
        x = given
        for kernel, bias in zip(own[:-2:2], own[1:-2:2], strict=True):
            x = np.tanh(x @ kernel + bias)
        shift, log_scale = np.split(x @ own[-2] + own[-1], 2, axis=-1)
        log_scale = 2 * np.tanh(log_scale / 2)
        moved = (moved - shift) * np.exp(-log_scale)
        z = np.concatenate([given, moved] if index % 2 == 0 else [moved, given], -1)
        log_det = log_det + log_scale.sum(-1)
    base = stats.norm(loc, np.logaddexp(0, raw) + 1e-5)
    return base.logpdf(z).sum(-1) - log_det


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("num_flows", [1, 2, 3])
def test_log_density_is_the_formula(size, num_flows):
    head = head_of(size, num_flows)
    found = head(some_params(size)).log_prob(some_z(size))
    oracle = numpy_log_density(head, some_params(size), some_z(size))
    np.testing.assert_allclose(found, oracle, rtol=1e-10)


def test_it_starts_as_the_normal_family():
    params, z = some_params(), some_z()
    flow = FlowLatent(4, dtype="float64").posterior_head()(params)
    normal = NormalLatent(4, dtype="float64").posterior_head()(params)
    np.testing.assert_allclose(flow.log_prob(z), normal.log_prob(z), rtol=1e-12)
    draws = [q.sample(3, seed=[1, 2]) for q in (flow, normal)]
    np.testing.assert_allclose(*draws, rtol=1e-12)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_inverse_undoes_forward(size):
    posterior, u = head_of(size)(some_params(size)), some_z(size)
    z, forth = posterior.forward(tf.constant(u))
    assert np.abs(z - u).max() > 0.5  # it does something
    back, log_det = posterior.inverse(z)
    np.testing.assert_allclose(back, u, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(log_det, forth, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [2, 3])
def test_the_log_determinant_is_that_of_the_jacobian(size):
    posterior = head_of(size)(some_params(size))
    u = tf.constant(some_z(size)[0])
    with tf.GradientTape() as tape:
        tape.watch(u)
        z, log_det = posterior.forward(u)
    jacobian = tape.batch_jacobian(z, u)  # [B, D, D]
    expected = np.linalg.slogdet(jacobian.numpy())[1]
    np.testing.assert_allclose(log_det, expected, rtol=1e-10, atol=1e-10)


def grid(count: int = 801, edge: float = 16.0) -> tuple[np.ndarray, float]:
    """Points [count^2, 2] and the area of a cell."""
    axis = np.linspace(-edge, edge, count)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape([-1, 2])
    return points, (axis[1] - axis[0]) ** 2


def test_the_density_integrates_to_one_and_has_the_moments_of_the_draws():
    posterior = head_of(2)(np.array([0.3, -0.5, 0.2, 0.9]).reshape([1, 4]))
    points, area = grid()
    mass = np.exp(posterior.log_prob(points[:, np.newaxis])[:, 0]) * area
    # The trapezoidal rule of a smooth density: with twice the points the sum changes by
    # 1e-7; 1.5e-5 of the mass lies beyond the edges.
    np.testing.assert_allclose(mass.sum(), 1, atol=1e-4)
    draws = posterior.sample(4000, seed=[1, 2])[:, 0].numpy()
    for power in (1, 2):
        expected = (mass[:, np.newaxis] * points**power).sum(0)
        error = np.abs((draws**power).mean(0) - expected)
        assert np.all(error < 5 * standard_error(draws**power))


def test_the_centre_is_where_the_bases_mean_goes():
    head, params = head_of(), some_params()
    posterior = head(params)
    back, _ = posterior.inverse(posterior.point_estimate())
    np.testing.assert_allclose(back, params[:, :4], rtol=1e-10)
    named = head.named_params(posterior)
    np.testing.assert_array_equal(named["base_loc"], params[:, :4])
    scale = np.logaddexp(0, params[:, 4:]) + 1e-5
    np.testing.assert_allclose(named["base_scale"], scale, rtol=1e-12)


def gradients(
    head: FlowHead, make: str, z: tf.Tensor
) -> tuple[np.ndarray, list[tf.Tensor | None]]:
    """Of sum log q(z), with respect to z, and to the parameters and weights."""
    params = tf.constant(some_params())
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([z, params])
        posterior = head(params) if make == "call" else head.stopped(params)
        density = tf.reduce_sum(posterior.log_prob(z))
    others = tape.gradient(density, [params, *head.trainable_variables])
    return tape.gradient(density, z).numpy(), others


def test_a_stopped_posterior_has_the_gradient_of_z_alone():
    head = head_of()
    for z in (tf.constant(some_z()), head(some_params()).sample(5, seed=[1, 2])):
        through_z, others = gradients(head, "call", z)
        assert np.abs(through_z).min() > 0
        assert len(others) == 19 and all(np.any(g != 0) for g in others)
        stopped_z, stopped = gradients(head, "stopped", z)
        assert stopped == [None] * 19
        np.testing.assert_allclose(stopped_z, through_z, rtol=1e-12)


def test_a_stopped_posterior_has_the_same_density_in_a_graph():
    head, params, z = head_of(), some_params(), some_z()
    expected = head(params).log_prob(z)
    found = tf.function(lambda p: head.stopped(p).log_prob(z))(tf.constant(params))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.slow
def test_draws_have_the_gradient_of_the_path_when_log_q_is_stopped():
    # What stl and dreg ask for: d log q / dz dz / dphi, by central differences.
    head, params = head_of(), some_params()
    weight = head.trainable_variables[2]

    def sampled() -> tf.Tensor:
        return head(tf.constant(params)).sample(3, seed=[1, 2])

    with tf.GradientTape() as tape:
        density = tf.reduce_sum(head.stopped(tf.constant(params)).log_prob(sampled()))
    found = tape.gradient(density, weight).numpy()
    start = weight.numpy()
    frozen = head_of()  # the same weights, left as they are
    step, expected = 1e-6, np.zeros_like(start)
    for index in np.ndindex(*start.shape):
        values = []
        for sign in (1, -1):
            moved = start.copy()
            moved[index] += sign * step
            weight.assign(moved)
            values.append(float(tf.reduce_sum(frozen(params).log_prob(sampled()))))
        expected[index] = (values[0] - values[1]) / (2 * step)
    weight.assign(start)
    # Central differences: rounding 1e-16 * 100 / 1e-6, and step^2.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_density_is_never_that_of_weights_gone_by():
    # TFP's bijectors remember a draw's inverse by the variables' identities.
    head, params = head_of(), some_params()
    z = head(params).sample(3, seed=[1, 2])
    before = head(params).log_prob(z)
    head.set_weights([w + 0.1 for w in head.get_weights()])
    after = head(params).log_prob(z)
    assert np.all(np.abs(after - before) > 1e-3)
    np.testing.assert_allclose(after, head(params).log_prob(z.numpy()), rtol=1e-12)
    oracle = numpy_log_density(head, params, z.numpy())
    np.testing.assert_allclose(after, oracle, rtol=1e-10)


def test_a_draws_density_is_the_same_from_outside_in_float32():
    head = head_of(8, num_flows=4, dtype="float32")
    params = some_params(8).astype("float32")
    z = head(params).sample(50, seed=[1, 2])
    oracle = numpy_log_density(head, params.astype(float), z.numpy().astype(float))
    # 4 couplings scale by at most exp(8) in all, so rounding 6e-8 becomes 2e-4 in u,
    # and u / scale, whose square the density has, is below 10 / scale.
    scale = (np.logaddexp(0, params[:, 8:]) + 1e-5).min()
    np.testing.assert_allclose(
        head(params).log_prob(z), oracle, atol=8 * 10 * 2e-4 / scale
    )


def test_extreme_parameters_are_finite_in_float32():
    head = head_of(dtype="float32")
    head.set_weights([30 * w for w in head.get_weights()])
    params = tf.constant([[50.0] * 4 + [-60.0] * 4, [-50.0] * 4 + [60.0] * 4])
    with tf.GradientTape() as tape:
        tape.watch(params)
        posterior = head(params)
        density = posterior.log_prob(posterior.sample(20, seed=[1, 2]))
    assert np.all(np.isfinite(density))
    assert np.all(np.isfinite(tape.gradient(density, params)))


def test_a_flow_is_copied_with_its_couplings():
    posterior = head_of()(some_params())
    copied = posterior.copy(stopped=True)
    assert isinstance(copied, CouplingFlow) and copied.stopped
    np.testing.assert_array_equal(
        copied.log_prob(some_z()), posterior.log_prob(some_z())
    )
