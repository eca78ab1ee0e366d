"""Conditional models: exact answers, and c wherever x goes."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.conditional import CLASSES, SHAPE, Known
from helpers.hierarchies import hierarchy
from helpers.models import binary_images, standard_error
from helpers.several import assert_alike, on_several
from scipy import special, stats

import tfvae
from tfvae.conditions import Embedding, Image, Numeric, OneHot
from tfvae.core.types import InputError
from tfvae.estimators import ESTIMATORS
from tfvae.evaluation import posterior_summary, score_images
from tfvae.evaluation.ais import ais_log_likelihood, bdmc
from tfvae.heads import BernoulliHead
from tfvae.latents import LATENTS, NormalLatent
from tfvae.models import VAE, Batch, ConditionalDistribution
from tfvae.networks import NETWORKS, mlp
from tfvae.objectives import OBJECTIVES
from tfvae.priors import ConditionalPrior, LearnedPrior, MixturePrior


@pytest.fixture(scope="module", params=[False, True], ids=["p(z)", "p(z|c)"])
def known(request) -> Known:
    return Known(request.param)


@pytest.fixture(scope="module")
def points() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.normal(0, 2, [5, 6]), np.array([0, 2, 1, 1, 0])


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_with_the_true_posterior_every_objective_is_log_p_of_x_given_c(
    known, points, objective
):
    x, c = points
    terms = known.vae.log_weight_terms({"x": x, "condition": c}, 8, seed=3)
    wanted = known.log_marginal(x, c)
    np.testing.assert_allclose(terms.log_weights(), np.tile(wanted, [8, 1]), atol=1e-10)
    found = OBJECTIVES[objective]().value(terms.log_weights())
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)


NORMAL_ESTIMATORS = ["pathwise", "stl", "dreg"]


@pytest.mark.parametrize("estimator", NORMAL_ESTIMATORS)
def test_every_estimator_and_its_parts_see_log_p_of_x_given_c(known, points, estimator):
    assert estimator in ESTIMATORS
    x, c = points
    vae, wanted = known.vae, known.log_marginal(x, c)
    sizes = [{}, {"sample_chunk": 3}] if estimator == "pathwise" else [{}]
    for size in sizes:
        vae.compile("sgd", "iwae", 6, estimator, run_eagerly=True, seed=1, **size)
        batch = vae.variational_batch(
            Batch(x, c), 6, (0, 1), True, vae.objective, tf.ones([], "float64")
        )
        terms = vae.estimator.estimate(batch)[0]
        found = vae.objective.value(terms.log_weights())
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)


ALL_Z = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)


def exact_bound(vae: VAE, batch: Batch, num_samples: int) -> tf.Tensor:
    """The objective's expectation over all draws of two Bernoulli variables, [B]."""
    posterior, prior = vae.encode(batch), vae.prior(batch.condition)
    z = tf.tile(ALL_Z[:, np.newaxis], [1, batch.size, 1])  # [4, B, 2]
    log_q = posterior.log_prob(z)
    joint = vae.decode(z, condition=batch.condition).log_prob(batch.x)
    log_weights = joint + prior.log_prob(z) - log_q  # [4, B]
    places = np.stack(np.meshgrid(*[range(4)] * num_samples), -1)
    total = tf.zeros([batch.size])
    for draw in places.reshape(-1, num_samples):
        probability = tf.exp(tf.reduce_sum(tf.gather(log_q, draw), axis=0))
        total += probability * vae.objective.value(tf.gather(log_weights, draw))
    return total


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("estimator", "objective"),
    [("reinforce", "iwae"), ("vimco", "iwae"), ("disarm", "elbo")],
)
def test_discrete_estimators_have_the_exact_gradient_given_c(estimator, objective):
    vae = small("bernoulli", prior="conditional")
    vae.compile("sgd", objective, 2, estimator, seed=1)
    one = vae.as_batch(Batch(X[:2], C[1:3]))
    # Class by class, as the weights of c's inputs see it.
    weights = [
        vae.encoder.network.trainable_weights[0],
        vae.decoder.network.trainable_weights[0],
        vae.prior_layer.network.trainable_weights[0],
    ]
    with tf.GradientTape() as tape:
        bound = tf.reduce_mean(exact_bound(vae, one, 2))
    wanted = tape.gradient(bound, weights)
    copies = Batch(tf.repeat(one.x, 200, axis=0), tf.repeat(one.condition, 200))

    @tf.function(autograph=False)
    def draw(seed: tf.Tensor) -> list:
        with tf.GradientTape() as tape:
            batch = vae.variational_batch(copies, 2, seed, True, vae.objective)
            surrogate = tf.reduce_mean(vae.estimator.estimate(batch)[1])
        return tape.gradient(surrogate, weights)

    found = [draw(tf.constant([7, n])) for n in range(60)]
    for number, exact in enumerate(wanted):
        draws = np.stack([each[number] for each in found])
        error = standard_error(draws)
        # Five standard errors, and rounding where nothing varies.
        off = np.abs(draws.mean(axis=0) - exact.numpy())
        assert (off < 5 * error + 1e-5).all()
        assert np.abs(exact).max() > 1e-3


@pytest.mark.quick(2)
@pytest.mark.parametrize("survivors", [None, 2])
def test_gradients_are_those_of_log_p_of_x_given_c(known, points, survivors):
    """At the true posterior all weights are equal, and the gradient is exact."""
    x, c = points
    vae = known.vae
    how = {} if survivors is None else {"backward_samples": survivors}
    vae.compile("sgd", "iwae", 4, run_eagerly=True, **how)
    weights = vae.decoder.network.trainable_weights[0]

    def value(change: float) -> float:
        before = weights.numpy()
        changed = before.copy()
        changed[-1, 2] += change  # of the last class, and x's third number
        weights.assign(changed)
        batch = vae.variational_batch(
            Batch(x, c), 4, (0, 1), True, vae.objective, tf.ones([], "float64")
        )
        found = float(
            tf.reduce_mean(
                vae.objective.value(
                    vae.log_weight_terms(Batch(x, c), 4, (0, 1)).log_weights()
                )
            )
        )
        with tf.GradientTape() as tape:
            surrogate = tf.reduce_mean(vae.estimator.estimate(batch)[1])
        gradient = tape.gradient(surrogate, weights).numpy()[-1, 2]
        weights.assign(before)
        return found, gradient

    if survivors is None:
        step = 1e-5
        numeric = (value(step)[0] - value(-step)[0]) / (2 * step)
        np.testing.assert_allclose(value(0.0)[1], numeric, rtol=1e-6, atol=1e-8)
    else:
        assert np.isfinite(value(0.0)[1])


@pytest.mark.quick(1)
def test_evaluate_and_scores_report_it_and_permuting_c_permutes_them(known, points):
    x, c = points
    vae, wanted = known.vae, known.log_marginal(x, c)
    vae.compile(objective="iwae", num_samples=3, run_eagerly=True)
    logs = vae.evaluate(x, c, batch_size=2, verbose=0, return_dict=True)
    np.testing.assert_allclose(-logs["loss"], wanted.mean(), rtol=1e-6)
    for batches in (
        {"x": x, "condition": c},
        (x, c),
        [Batch(x[:3], c[:3]), Batch(x[3:], c[3:])],
        tf.data.Dataset.from_tensor_slices((x, c)).batch(2),
    ):
        scores = score_images(vae, batches, 70)
        np.testing.assert_allclose(scores.log_likelihood, wanted, atol=1e-9)
    other = np.array([1, 2, 0, 1, 2])
    scores = score_images(vae, {"x": x, "condition": other}, 70)
    found = scores.log_likelihood
    np.testing.assert_allclose(found, known.log_marginal(x, other), atol=30)
    exact = c == other  # there the posterior's condition is the right one
    np.testing.assert_allclose(found, known.log_marginal(x, other), atol=1e-9)
    order = [3, 1, 4, 0, 2]
    permuted = score_images(vae, {"x": x[order], "condition": c[order]}, 70)
    np.testing.assert_allclose(permuted.log_likelihood, wanted[order], atol=1e-9)
    assert exact.any() and not exact.all()


@pytest.mark.slow
def test_annealed_chains_bound_log_p_of_x_given_c(known, points):
    x, c = points
    scores = ais_log_likelihood(
        known.vae, {"x": x, "condition": c}, 16, 60, initial="prior", seed=1
    )
    # A log of a mean of 16 weights: its error by the delta method, from the ESS.
    error = np.sqrt(1 / scores.ess)
    wanted = known.log_marginal(x, c)
    assert (np.abs(scores.log_likelihood - wanted) < 5 * error + 0.5).all()
    both = bdmc(known.vae, 4, 16, 60, condition=[0, 1, 2, 0], seed=2)
    assert (both.upper - both.lower).mean() < 2


def test_what_c_tells_of_z_leaves_the_rate():
    """E[KL(q || p(z))] - E[KL(q || p(z|c))] = I(z; c), with p(z) the classes' mixture.

    The mutual information is that of a mixture of Gaussians, by quadrature along the
    only direction in which its means differ.
    """
    known = Known(True)
    family = known.vae.latent
    direction = np.zeros([CLASSES, family.latent_size])
    direction[:, 0] = [-2.0, 0.5, 3.0]
    known.prior_means = direction
    gain = known.base.weights * known.base.variance / known.base.scale**2
    offset = direction - (known.bias + direction @ known.base.weights.T) @ gain
    kernel, bias = known.vae.encoder.network.get_weights()
    kernel[len(gain) :, : family.latent_size] = offset
    known.vae.encoder.network.set_weights([kernel, bias])
    conditional = known.vae.prior_layer
    conditional.network.set_weights(
        [np.concatenate([direction, np.zeros_like(direction)], axis=1)]
    )
    mixture = MixturePrior(family, CLASSES, dtype="float64")
    params = np.tile(conditional.start, [CLASSES, 1])
    params[:, : family.latent_size] = direction
    mixture.params.assign(params)
    without = VAE(
        known.vae.encoder,
        known.vae.decoder,
        family,
        mixture,
        condition=known.vae.condition,
    )
    x, c = known.draw(4000, seed=5)
    rates = [
        vae.log_weight_terms(Batch(x, c), 1, (1, 2)).rate.numpy()[0]
        for vae in (without, known.vae)
    ]
    fall = rates[0] - rates[1]
    grid = np.linspace(-14, 14, 20_001)
    densities = stats.norm.pdf(grid[:, None], direction[:, 0])  # [grid, C]
    mixed = densities.mean(axis=1)
    inside = special.xlogy(densities, densities / mixed[:, None]).mean(axis=1)
    information = np.trapezoid(inside, grid)
    assert 0.5 < information < np.log(CLASSES)
    assert abs(fall.mean() - information) < 5 * standard_error(fall)


# -- c wherever x goes -----------------------------------------------------------------


def small(
    latent: str = "normal",
    network: str = "mlp",
    condition=None,
    prior: str | None = None,
    encoder_takes: bool = True,
    **how,
) -> VAE:
    """A conditional model of a few hundred weights."""
    condition = OneHot(CLASSES) if condition is None else condition
    family = LATENTS[latent](2)
    head = family.posterior_head()
    build, given = NETWORKS[network], {"condition_shape": condition.shape}
    encoder = build.encoder(
        SHAPE, head.params_shape, (6,), seed=1, **(given if encoder_takes else {})
    )
    decoder = build.decoder(family.decoder_shape, SHAPE, (6,), seed=2, **given)
    if prior == "conditional":
        how["prior"] = ConditionalPrior(family, condition.shape)
    return VAE(
        ConditionalDistribution(encoder, head),
        decoder,
        family,
        condition=condition,
        **how,
    )


def trained(vae: VAE, c, **how) -> VAE:
    differentiable = vae.latent.reparameterised
    estimator = "pathwise" if differentiable else "reinforce"
    vae.compile(keras.optimizers.Adam(0.02), "iwae", 3, estimator, seed=4, **how)
    vae.fit(binary_images(24), c, batch_size=8, epochs=2, verbose=0)
    return vae


C = np.arange(24) % CLASSES
X = binary_images(24)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("latent", "network", "prior"),
    [
        ("normal", "mlp", "conditional"),
        ("bin_concrete", "conv", None),
        ("bernoulli", "mlp", "conditional"),
        ("logistic", "conv", "conditional"),
        ("multivariate_normal", "mlp", "conditional"),
        ("categorical", "mlp", None),
    ],
)
def test_it_trains_saves_and_samples(latent, network, prior, tmp_path):
    vae = trained(small(latent, network, prior=prior), C)
    vae.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    batch = {"x": X[:5], "condition": C[:5]}
    for one, other in zip(
        vae.sample(4, seed=1, condition=[0, 1, 2, 2]),
        again.sample(4, seed=1, condition=[0, 1, 2, 2]),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(
        vae.predict(batch, verbose=0), again.predict(batch, verbose=0)
    )
    np.testing.assert_array_equal(vae.embed((X, C)), again.embed(Batch(X, C)))
    transfer = vae.reconstruct(batch, condition=2)
    assert not np.allclose(transfer, vae.reconstruct(batch))
    same = vae.reconstruct({"x": X[:5], "condition": C[:5]}, condition=C[:5])
    np.testing.assert_array_equal(same, vae.reconstruct(batch))
    logs = vae.evaluate(X, C, verbose=0, return_dict=True)
    other = again.evaluate({"x": X, "condition": C}, verbose=0, return_dict=True)
    assert logs == other


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(Embedding(["a", "b", "c"], 2), id="embedding"),
        pytest.param(Numeric(2), id="numeric"),
        pytest.param(Image(SHAPE), id="image"),
        pytest.param({"kind": OneHot(3), "size": Numeric()}, id="several"),
    ],
)
@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.quick(1)
def test_every_condition_trains_by_fit_dictionary_and_data_set(condition, network):
    rng = np.random.default_rng(0)
    values = {
        "Embedding": np.array(["a", "b", "c"])[C],
        "Numeric": rng.normal(size=[24, 2]).astype("float32"),
        "Image": rng.random((24, *SHAPE)).astype("float32"),
        "dict": {"kind": C, "size": rng.normal(size=24).astype("float32")},
    }[type(condition).__name__]
    losses = []
    for data in ((X, values), ({"x": X, "condition": values},)):
        made = condition
        if isinstance(condition, dict):
            made = tfvae.conditions.Several(condition)
        config = keras.saving.serialize_keras_object(made)
        vae = small(
            network=network,
            condition=keras.saving.deserialize_keras_object(config),
        )
        vae.compile("adam", "elbo", 2, seed=1, run_eagerly=True)
        fitted = vae.fit(*data, batch_size=8, shuffle=False, verbose=0)
        losses.append(fitted.history["loss"][0])
    if not isinstance(condition, Embedding):
        batches = tf.data.Dataset.from_tensor_slices((X, values)).batch(8)
        vae = small(
            network=network,
            condition=keras.saving.deserialize_keras_object(config),
        )
        vae.compile("adam", "elbo", 2, seed=1, run_eagerly=True)
        losses.append(vae.fit(batches, verbose=0).history["loss"][0])
    assert np.isfinite(losses[0]) and len(set(losses)) == 1


@pytest.mark.slow
def test_the_encoder_may_leave_c_out():
    vae = trained(small(encoder_takes=False), C)
    codes = vae.embed({"x": X, "condition": C})
    np.testing.assert_array_equal(codes, vae.embed((X, (C + 1) % CLASSES)))
    moved = vae.reconstruct(Batch(X, (C + 1) % CLASSES))
    assert not np.allclose(moved, vae.reconstruct(Batch(X, C)))


def test_halves_of_samples_have_the_conditions_of_the_whole(monkeypatch):
    vae = small(prior="conditional")
    whole = vae.log_weight_terms(Batch(X, C), 6, 1).log_weights()
    monkeypatch.setattr("tfvae.models.vae.MANY_WEIGHTS", 1)
    assert vae._weights_a_sample
    halves = vae.log_weight_terms(Batch(X, C), 6, 1).log_weights()
    np.testing.assert_allclose(halves, whole, rtol=1e-5)


def test_a_batch_is_scored_as_its_examples_one_by_one():
    vae = small(prior="conditional")
    z = vae.encode(Batch(X, C)).mean()
    all_at_once = vae.decode(z, condition=C).mean()
    for row in range(4):
        one = vae.decode(z[row : row + 1], condition=int(C[row])).mean()
        np.testing.assert_allclose(one[0], all_at_once[row], rtol=1e-5)
    samples = tf.stack([z, z + 1])  # [2, B, D]
    both = vae.decode(samples, condition=C).mean()
    np.testing.assert_allclose(both[0], all_at_once, rtol=1e-5)
    assert vae.decode(z, condition=1).batch_shape == [24]


@pytest.mark.slow
def test_a_summary_of_the_posterior_knows_the_prior_of_each_example():
    vae = trained(small(prior="conditional"), C)
    summary = posterior_summary(vae, {"x": X, "condition": C}, 10, 24)
    rates = summary.layers[0].variable_rates
    posterior = vae.encode(Batch(X, C))
    wanted = [
        float(
            tf.reduce_mean(tfvae.distributions.kl_divergence(posterior, vae.prior(C)))
        )
    ]
    np.testing.assert_allclose(np.sum(rates), wanted[0], rtol=1e-4)


@pytest.mark.slow
def test_replicas_train_as_one_device_does():
    for one, other in on_several(2, 20, "conditional").values():
        assert_alike(one, other)


@pytest.mark.slow
def test_several_steps_a_call_and_a_discrete_twin_keep_the_condition():
    vae = small("bin_concrete")
    vae.compile("adam", "elbo", 2, seed=1, steps_per_execution=3)
    batches = tf.data.Dataset.from_tensor_slices((X, C)).batch(8).repeat()
    vae.fit(batches, steps_per_epoch=4, epochs=2, verbose=0)
    twin = vae.discrete()
    scores = score_images(twin, {"x": X, "condition": C}, 20)
    assert np.isfinite(scores.log_likelihood).all()


def test_the_summary_says_what_c_is(capsys):
    small(condition=OneHot(["ant", "bee"])).summary()
    assert "OneHot: one of 2 classes (ant, bee); for encoder, decoder" in (
        capsys.readouterr().out
    )


# -- what is refused -------------------------------------------------------------------


def test_the_parts_must_agree_on_the_condition():
    condition = OneHot(CLASSES)
    with pytest.raises(InputError, match="condition has no effect"):
        VAE(mlp(SHAPE, (4,), (5,)), mlp((2,), SHAPE, (5,)), condition=condition)
    takes = mlp((2,), SHAPE, (5,), condition_shape=(CLASSES,))
    with pytest.raises(InputError, match="the decoder takes a condition"):
        VAE(mlp(SHAPE, (4,), (5,)), takes)
    with pytest.raises(InputError, match=r"of shape \(3,\), and OneHot makes.*\(4,\)"):
        VAE(mlp(SHAPE, (4,), (5,)), takes, condition=OneHot(4))
    with pytest.raises(InputError, match="give a Condition"):
        VAE(mlp(SHAPE, (4,), (5,)), takes, condition=10)
    with pytest.raises(InputError, match="p\\(z\\|c\\), and the model has no cond"):
        VAE(mlp(SHAPE, (4,), (5,)), mlp((2,), SHAPE, (5,)), prior="conditional")
    encoder = mlp(SHAPE, (4,), (5,), condition_shape=(CLASSES,))
    pseudo = np.full([2, *SHAPE], 0.5, "float32")
    vamp = tfvae.priors.make_prior(
        "vamp", NormalLatent(2), num_components=2, images=pseudo
    )
    with pytest.raises(InputError, match="'vamp'"):
        VAE(encoder, takes, prior=vamp, condition=condition)
    inputs = [keras.Input((2,)) for _ in range(3)]
    three = keras.Model(inputs, keras.layers.Concatenate()(inputs))
    with pytest.raises(InputError, match="3 inputs"):
        VAE(mlp(SHAPE, (4,), (5,)), three, condition=condition)


NAN = np.where(np.arange(24) == 3, np.nan, 1.0).astype("float32")
BAD = {
    "none": (None, "no condition"),
    "shorter": (C[:7], "7.*24"),
    "floats": (C.astype("float32"), "dtype float32"),
    "unknown class": (C + 1, "holds 3"),
    "text": (C.astype(str), "dtype string"),
    "columns": (np.eye(3, dtype=int)[C], r"\(24, 3\) entries"),
}


@pytest.mark.parametrize("name", BAD)
def test_fit_and_its_kin_refuse_a_bad_condition(name):
    c, message = BAD[name]
    vae = small()
    vae.compile("adam")
    data = {"x": X} if c is None else {"x": X, "condition": c}
    calls = [
        lambda: vae.fit(X, c, verbose=0),
        lambda: vae.fit(X, C, validation_data=(X, c), verbose=0),
        lambda: vae.evaluate(X, c, verbose=0),
        lambda: vae.train_on_batch(X, c),
        lambda: vae.test_on_batch(X, c),
        lambda: vae.fit(data, verbose=0),
        lambda: vae.predict(data, verbose=0),
        lambda: vae.encode(data),
        lambda: vae.embed(data),
        lambda: score_images(vae, data, 2),
    ]
    for call in calls:
        with pytest.raises(InputError, match=message):
            call()
    assert int(vae.steps) == 0


@pytest.mark.slow
def test_a_data_set_with_a_bad_condition_is_named_too():
    vae = small(condition=Numeric())
    vae.compile("adam")
    batches = tf.data.Dataset.from_tensor_slices((X, NAN)).batch(8)
    with pytest.raises(InputError, match="the condition holds values"):
        vae.fit(batches, verbose=0)
    vae = small()
    vae.compile("adam")
    batches = tf.data.Dataset.from_tensor_slices((X, C + 1)).batch(8)
    for call in (vae.fit, vae.evaluate, vae.predict):
        with pytest.raises(InputError, match="the condition holds values"):
            call(
                batches
                if call != vae.predict
                else batches.map(lambda x, c: {"x": x, "condition": c}),
                verbose=0,
            )


@pytest.mark.parametrize("latent", ["flow", "bin_concrete", "concrete"])
def test_families_of_two_forms_have_no_conditional_prior(latent):
    family = LATENTS[latent](2)
    with pytest.raises(InputError, match=type(family).__name__):
        ConditionalPrior(family, (CLASSES,))


def test_samples_and_other_models_refuse_it():
    vae = small()
    with pytest.raises(InputError, match="missing"):
        vae.sample(3, seed=0)
    with pytest.raises(InputError, match=r"\[2\] rows for 3"):
        vae.sample(3, seed=0, condition=[0, 1])
    with pytest.raises(InputError, match="holds 9"):
        vae.sample(3, seed=0, condition=9)
    with pytest.raises(InputError, match="missing"):
        vae.decode(np.zeros([1, 2], "float32"))
    plain = VAE(mlp(SHAPE, (4,), (5,)), mlp((2,), SHAPE, (5,)))
    plain.compile("adam")
    for call in (
        lambda: plain.sample(3, seed=0, condition=1),
        lambda: plain.decode(np.zeros([1, 2], "float32"), condition=1),
        lambda: plain.prior(condition=1),
        lambda: plain.fit({"x": X, "condition": C}, verbose=0),
        lambda: bdmc(plain, 1, 1, 1, condition=1),
    ):
        with pytest.raises(InputError, match="condition"):
            call()


def test_a_prior_with_weights_and_no_condition_goes_with_a_conditional_model():
    family = NormalLatent(2)
    condition = OneHot(CLASSES)
    vae = VAE(
        mlp(SHAPE, (4,), (5,)),
        mlp((2,), SHAPE, (5,), condition_shape=(CLASSES,)),
        family,
        LearnedPrior(family),
        condition=condition,
    )
    trained(vae, C)
    assert vae.prior().batch_shape == []


@pytest.mark.slow
@pytest.mark.parametrize("family", ["normal", "bernoulli"])
def test_a_hierarchy_takes_a_condition_at_both_ends(family, tmp_path):
    latent = hierarchy(family, (3, 2), (5,))
    head, likelihood = (
        latent.posterior_head(),
        BernoulliHead((2, 2, 1), dtype="float64"),
    )
    given = {"dtype": "float64", "condition_shape": (CLASSES,)}
    vae = VAE(
        ConditionalDistribution(mlp((2, 2, 1), head.params_shape, (5,), **given), head),
        ConditionalDistribution(
            mlp(latent.decoder_shape, (2, 2, 1), (5,), **given), likelihood
        ),
        latent,
        condition=OneHot(CLASSES, dtype="float64"),
    )
    x = binary_images(12, shape=(2, 2, 1)).astype("float64")
    c = np.arange(12) % CLASSES
    estimator = "pathwise" if family == "normal" else "vimco"
    vae.compile(keras.optimizers.Adam(0.05), "iwae", 3, estimator, seed=1)
    vae.fit(x, c, epochs=3, batch_size=6, verbose=0)
    scores = score_images(vae, {"x": x, "condition": c}, 50).log_likelihood
    vae.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    found = score_images(again, {"x": x, "condition": c}, 50).log_likelihood
    np.testing.assert_array_equal(found, scores)
    others = score_images(vae, {"x": x, "condition": (c + 1) % CLASSES}, 50)
    assert not np.allclose(others.log_likelihood, scores)
    if family == "bernoulli":
        z = np.array(list(itertools.product([0.0, 1.0], repeat=5)))
        log_prior = vae.prior().log_prob(z)
        log_joint = [
            vae.decode(np.tile(z[:, np.newaxis], [1, 12, 1]), condition=c)
            .log_prob(x)
            .numpy()
            + log_prior.numpy()[:, np.newaxis]
        ]
        exact = special.logsumexp(log_joint[0], axis=0)
        many = score_images(vae, {"x": x, "condition": c}, 4000)
        # The delta method, and the bias of the logarithm.
        variance = 1 / many.ess - 1 / 4000
        off = np.abs(many.log_likelihood - exact)
        assert (off < 5 * np.sqrt(variance) + variance).all()
