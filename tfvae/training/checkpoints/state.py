"""The state of a training: the model's numbers, and its callbacks' memory."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.models import VAE
from tfvae.models.metrics import SUMMED


class Position(NamedTuple):
    """A place in a run: the steps and the epochs done, and whether it stopped early.

    The running epoch has `batch` steps and `seconds` so far; 0: it is between epochs.
    """

    step: int
    epoch: int
    batch: int = 0
    seconds: float = 0.0
    stopped_early: bool = False


def arrays_of(vae: VAE) -> dict[str, np.ndarray]:
    """Returns every number of a compiled model, its optimizer and its metrics."""
    # No np.array, which takes a variable of several replicas for an object.
    variables = _variables(vae).items()
    return {name: tf.convert_to_tensor(v).numpy() for name, v in variables}


def apply_arrays(vae: VAE, arrays: Mapping[str, np.ndarray], rate: bool = True) -> None:
    """Gives a compiled model the weights and the optimizer of `arrays_of`.

    A learning rate that is a number is taken over too, unless `rate` is False.

    Raises:
        InputError: if they are those of another model.
    """
    variables = {k: v for k, v in _variables(vae).items() if _is_of_model(k)}
    stored = {k: v for k, v in arrays.items() if _is_of_model(k)}
    shapes = [{k: tuple(v.shape) for k, v in vs.items()} for vs in (variables, stored)]
    if shapes[0] != shapes[1]:
        differing = sorted(set(shapes[0].items()) ^ set(shapes[1].items()))
        raise InputError(
            f"the checkpoint is of another model: {differing[0][0]!r} differs; use "
            "another workdir"
        )
    for name, variable in variables.items():
        variable.assign(stored[name])
    if rate and _RATE in arrays and isinstance(_rate(vae), keras.Variable):
        _rate(vae).assign(arrays[_RATE])


def apply_metrics(vae: VAE, arrays: Mapping[str, np.ndarray]) -> None:
    """Gives a model the metrics of the running epoch, as far as it has them."""
    arrays = {**_joined_means(arrays), **arrays}
    for name, variable in _variables(vae).items():
        if name.startswith(_METRICS) and name in arrays:
            variable.assign(arrays[name])


def _joined_means(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the means of a checkpoint of before 0.2, which had them one by one."""
    if f"{_METRICS}loss/0" not in arrays:
        return {}
    return {
        f"{_METRICS}means/{i}": np.stack(
            [arrays.get(f"{_METRICS}{name}/{i}", np.float32(0)) for name in SUMMED]
        )
        for i in range(2)
    }


def callback_state(
    callbacks: Iterable[keras.callbacks.Callback],
) -> dict[str, dict[str, Any]]:
    """Returns the state of the callbacks that have a `get_state`, by class name."""
    return {
        type(callback).__name__: callback.get_state()
        for callback in callbacks
        if hasattr(callback, "get_state")
    }


def set_callback_state(
    callbacks: Iterable[keras.callbacks.Callback],
    state: Mapping[str, Mapping[str, Any]],
) -> None:
    """Gives the callbacks the state that `callback_state` returned of them."""
    for callback in callbacks:
        name = type(callback).__name__
        if hasattr(callback, "set_state") and name in state:
            callback.set_state(state[name])


_RATE = "learning_rate"
_METRICS = "metrics/"


def _is_of_model(name: str) -> bool:
    return name != _RATE and not name.startswith(_METRICS)


def _variables(vae: VAE) -> dict[str, keras.Variable]:
    """Returns all variables under names that do not depend on the process.

    Keras' own names count the layers that the process has made.
    """
    rate = _rate(vae)
    optimizer = [v for v in vae.optimizer.variables if v is not rate]
    found = {f"weights/{i:04d}": v for i, v in enumerate(vae.weights)}
    found |= {f"optimizer/{i:04d}": v for i, v in enumerate(optimizer)}
    if isinstance(rate, keras.Variable):
        found[_RATE] = rate
    found["skipped_steps"] = vae.skipped_steps
    for metric in vae.metrics:
        for i, variable in enumerate(metric.variables):
            found[f"{_METRICS}{metric.name}/{i}"] = variable
    return found


def _rate(vae: VAE) -> Any:
    """Returns the learning rate's variable, or its schedule."""
    optimizer: Any = getattr(vae.optimizer, "inner_optimizer", vae.optimizer)
    return optimizer._learning_rate
