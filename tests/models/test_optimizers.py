"""Adam in one kernel a variable steps as Keras' Adam does."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.models.optimizers import Adam, get_optimizer

RNG = np.random.default_rng(0)
START = RNG.normal(size=[3, 4])
GRADIENTS = RNG.normal(size=[6, 3, 4])


def steps(optimizer: keras.optimizers.Optimizer, dtype: str, gradients) -> np.ndarray:
    variable = keras.Variable(START, dtype=dtype)
    for gradient in gradients:
        optimizer.apply_gradients([(gradient, variable)])
    return variable.numpy()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.7, "epsilon": 1e-3},
        {"amsgrad": True},
        {"clipnorm": 0.1, "weight_decay": 0.1},
        {"gradient_accumulation_steps": 2},
        {"use_ema": True, "ema_momentum": 0.5},
        {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)},
    ],
)
def test_steps_are_those_of_keras(settings):
    gradients = [tf.constant(gradient, "float32") for gradient in GRADIENTS]
    ours = steps(Adam(**settings), "float32", gradients)
    theirs = steps(keras.optimizers.Adam(**settings), "float32", gradients)
    assert np.abs(ours - START).max() > 1e-3
    # A step is the quotient of two moments, each rounded at every step.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


def test_steps_are_those_of_the_paper():
    rate, b1, b2, epsilon = 0.25, 0.8, 0.95, 1e-3
    theta, m, v = START.copy(), 0.0, 0.0
    for t, g in enumerate(GRADIENTS, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        # With the paper's epsilon hat, as in its section 2.
        theta -= rate * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + epsilon)
    ours = steps(Adam(rate, b1, b2, epsilon), "float64", map(tf.constant, GRADIENTS))
    np.testing.assert_allclose(ours, theta, rtol=0, atol=1e-13)


def test_sparse_gradients_are_kerass():
    sparse = [tf.IndexedSlices(tf.ones([2, 4]), [0, 2], [3, 4])] * 3
    ours = steps(Adam(0.1), "float32", sparse)
    theirs = steps(keras.optimizers.Adam(0.1), "float32", sparse)
    np.testing.assert_array_equal(ours, theirs)


def test_a_step_in_a_graph_is_one_kernel_a_variable():
    variables = [keras.Variable(START, dtype="float32") for _ in range(3)]
    optimizer = Adam()
    optimizer.build(variables)

    @tf.function
    def step():
        optimizer.apply([tf.ones([3, 4])] * 3, variables)

    kernels = [op.type for op in step.get_concrete_function().graph.get_operations()]
    assert kernels.count("ResourceApplyAdam") == 3
    assert "Sqrt" not in kernels


def test_names_and_configurations_give_it_and_objects_stay():
    given = keras.optimizers.Adam()
    assert get_optimizer(given) is given
    assert type(get_optimizer("adam")) is type(get_optimizer("Adam")) is Adam
    config = {"class_name": "adam", "config": {"learning_rate": 0.25}}
    assert float(get_optimizer(config).learning_rate) == 0.25
    assert isinstance(get_optimizer("sgd"), keras.optimizers.SGD)


def test_it_survives_serialisation():
    ours = Adam(0.25, beta_1=0.5)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(ours)
    )
    assert type(again) is Adam
    assert again.get_config() == ours.get_config()
