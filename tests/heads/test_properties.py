"""Properties that hold for whatever Hypothesis finds; objectives have more of them.

The examples are the same in every run, so that a failure can be repeated.
"""

from __future__ import annotations

import json
import types
import typing

import numpy as np
import pytest
import tensorflow as tf
from helpers.heads import COUNTS, SETTINGS, UNIT_INTERVAL, head_of
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfvae import data
from tfvae.config import Config
from tfvae.core.types import InputError
from tfvae.data.splits import ArraySplit
from tfvae.heads import HEADS
from tfvae.objectives import OBJECTIVES


def examples(count: int) -> settings:
    """Without making a failure smaller, which takes minutes."""
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
    )


# -- objectives ------------------------------------------------------------------------

# [S, B], S even for the objectives with two groups; nats, as of images of any size.
log_weights = hnp.arrays(
    np.float64,
    st.tuples(st.sampled_from([2, 4, 6]), st.integers(1, 3)),
    elements=st.floats(-1e3, 1e3, width=32),
)


@examples(20)
@given(w=log_weights, shuffled=st.randoms(use_true_random=False))
def test_no_order_of_the_samples_changes_a_bound_without_groups(w, shuffled):
    places = list(range(len(w)))
    shuffled.shuffle(places)
    for name in OBJECTIVES.keys() - {"miwae", "piwae"}:
        objective = OBJECTIVES[name]()
        here, there = (tf.constant(rows) for rows in (w, w[places]))
        # float64 carries sums of 6 numbers of size 1000 to 1e-12.
        np.testing.assert_allclose(
            objective.value(there), objective.value(here), rtol=0, atol=1e-11
        )
        np.testing.assert_allclose(
            objective.coefficients(there),
            objective.coefficients(here).numpy()[places],
            rtol=0,
            atol=1e-11,
        )


@examples(20)
@given(w=log_weights)
def test_coefficients_are_the_gradient_of_the_value_at_any_size(w):
    # PIWAE has two gradients, and its own test.
    for name in sorted(set(OBJECTIVES) - {"piwae"}):
        x, objective = tf.constant(w), OBJECTIVES[name]()
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(objective.value(x))
        # A log-weight of 1000 is known to 1e-13, and so is its softmax.
        np.testing.assert_allclose(
            objective.coefficients(x), tape.gradient(total, x), rtol=0, atol=1e-11
        )


# -- heads: float32, parameters up to 20, which is e^20 as a rate or as odds -----------

LIMIT = 20.0
NAMES = sorted(HEADS)
BITS_OR_LEVELS = {*UNIT_INTERVAL, "bernoulli", "categorical"} | {
    name for name in NAMES if name.startswith("discretized")
}


def params_of(head, drawn):
    shape = (2, *head.params_shape)
    values = st.floats(-LIMIT, LIMIT, width=32)
    return drawn.draw(hnp.arrays(np.float32, shape, elements=values, fill=values))


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_head_draws_it_has_a_finite_density_for(name):
    head = head_of(name, (3,), dtype="float32")

    @examples(10)
    @given(drawn=st.data(), seed=st.integers(0, 2**31 - 1))
    def check(drawn, seed):
        distribution = head(params_of(head, drawn))
        sample = distribution.sample(4, seed=(seed, 0)).numpy()
        assert sample.shape == (4, 2, 3) and head.in_support(sample)
        assert np.isfinite(distribution.log_prob(sample)).all()

    check()


@pytest.mark.parametrize("name", NAMES)
def test_a_heads_mean_is_where_its_values_are(name):
    head = head_of(name, (3,), dtype="float32")

    @examples(10)
    @given(drawn=st.data())
    def check(drawn):
        mean = head(params_of(head, drawn)).mean().numpy()
        assert mean.shape == (2, 3) and np.isfinite(mean).all()
        if name in BITS_OR_LEVELS:
            # A mean of levels is a sum of as many float32.
            assert -1e-5 <= mean.min() and mean.max() <= 1 + 1e-5
        if name in COUNTS:
            assert mean.min() >= 0

    check()


DRAWN_SETTINGS = {
    "scale": st.floats(1e-3, 1e3),
    "temperature": st.floats(1e-3, 1e3),
    "num_levels": st.integers(2, 40),
    "num_components": st.integers(1, 9),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_head_is_rebuilt_from_its_configuration(name):
    kinds = {key: DRAWN_SETTINGS[key] for key in SETTINGS.get(name, {})}

    @examples(5)
    @given(
        arguments=st.fixed_dictionaries(kinds),
        shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    )
    def check(arguments, shape):
        head = HEADS[name](shape, **arguments)
        config = json.loads(json.dumps(head.get_config()))
        again = HEADS[name].from_config(config)
        assert again.get_config() == head.get_config()
        params = np.linspace(-2, 2, np.prod(head.params_shape), dtype=np.float32)
        params = params.reshape(head.params_shape)
        means = [h(params).mean().numpy() for h in (head, again)]
        np.testing.assert_array_equal(*means)

    check()


# -- configuration ---------------------------------------------------------------------


def of_type(hint: object) -> st.SearchStrategy:
    """Values of a field's type, in and out of its range."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(of_type, arguments))
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        whole = arguments[-1] is Ellipsis
        sizes = {} if whole else {"min_size": len(arguments)}
        most = 4 if whole else len(arguments)
        return st.lists(st.integers(-1, 70_000), max_size=most, **sizes).map(tuple)
    return {
        int: st.integers(0, 300) | st.integers(),
        float: st.floats(0.0, 2.0) | st.floats(),
        bool: st.booleans(),
        str: st.text(max_size=20),
        type(None): st.none(),
    }[hint]


HINTS = typing.get_type_hints(Config)
few_fields = st.lists(st.sampled_from(sorted(HINTS)), max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: of_type(HINTS[name]) for name in names})
)


@pytest.mark.slow
def test_a_configuration_is_refused_in_a_line_or_survives_json():
    found = {True: 0, False: 0}

    @examples(150)
    @given(values=few_fields)
    def check(values):
        try:
            config = Config(**values)
        except InputError as error:
            assert str(error).isprintable() or "\n" not in str(error)
            found[False] += 1
            return
        text = json.dumps(config.to_dict(), allow_nan=False)
        assert Config.from_dict(json.loads(text)) == config
        assert config.differences(config) == {}
        found[True] += 1

    check()
    assert min(found.values()) >= 15  # a tenth: neither way is without examples


@pytest.mark.slow
@examples(6)
@given(drawn=st.data())
def test_every_field_alone_is_refused_by_its_name_or_survives_json(drawn):
    for name, hint in HINTS.items():
        value = drawn.draw(of_type(hint), label=name)
        try:
            config = Config(**{name: value})
        except InputError as error:
            assert name in str(error)
        else:
            assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
            assert getattr(config, name) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
    ),
    max_leaves=6,
)


@examples(100)
@given(name=st.sampled_from(sorted(HINTS)), value=json_values)
def test_any_json_in_a_field_is_refused_in_a_line_or_read(name, value):
    try:
        config = Config.from_dict({name: value})
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert isinstance(config, Config)


@examples(60)
@given(value=json_values)
def test_any_json_as_a_configuration_is_refused_in_a_line(value):
    if value == {}:
        return  # the defaults
    with pytest.raises(InputError) as caught:
        Config.from_dict(value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2000


# -- pipeline --------------------------------------------------------------------------

sizes = st.integers(1, 40).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(1, n))
)  # images, and how many a batch has


def numbered(count: int) -> ArraySplit:
    """Images of one grey pixel each, which is their number."""
    return ArraySplit("train", np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1))


def numbers(batches: tf.data.Dataset) -> list[int]:
    rows = [np.round(batch * 255).ravel() for batch in batches.as_numpy_iterator()]
    return np.concatenate(rows).astype(int).tolist()


@examples(8)
@given(size=sizes, seed=st.integers(0, 2**62 - 1), start=st.integers(0, 10))
def test_each_epoch_has_every_image_once_and_a_start_is_a_skip(size, seed, start):
    count, batch_size = size
    split, steps = numbered(count), data.steps_per_epoch(numbered(count), batch_size)
    how = {"binarization": "none", "seed": seed}
    batches = data.training_batches(split, batch_size, **how)
    for epoch in range(2):
        found = numbers(batches.skip(epoch * steps).take(steps))
        assert sorted(found) == list(range(count))
    later = data.training_batches(split, batch_size, start_step=start, **how)
    assert numbers(later.take(steps)) == numbers(batches.skip(start).take(steps))


@examples(12)
@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    limit=st.none() | st.integers(1, 50),
)
def test_evaluation_has_the_first_images_in_order(count, batch_size, limit):
    batches = data.evaluation_batches(
        numbered(count), batch_size, binarization="none", seed=0, limit=limit
    )
    wanted = min(count, limit or count)
    assert numbers(batches) == list(range(wanted))
    assert int(batches.cardinality()) == -(-wanted // batch_size)
