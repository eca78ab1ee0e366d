"""From an estimator's arguments to a configuration and a seed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.utils import check_random_state

from tfvae.config import Config

RandomState = int | np.random.RandomState | None

# No fields of a configuration, which has a `seed` in place of `random_state`.
OWN = (
    "kinds",
    "validation_fraction",
    "contamination",
    "condition_columns",
    "verbose",
    "score_num_samples",
    "random_state",
)


def as_seed(random_state: RandomState) -> int:
    """Returns a 31-bit seed, the same for the same int, else the generator's next."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def as_config(params: Mapping[str, Any], seed: int) -> Config:
    """Returns the arguments as a configuration, which checks them.

    Raises:
        InputError: if a value is not usable.
    """
    fields = {name: _plain(value) for name, value in params.items() if name not in OWN}
    return Config(
        **fields,
        # X is never drawn from: a threshold does not change zeros and ones.
        binarization="threshold" if fields["likelihood"] == "bernoulli" else "none",
        # No other number divides the steps of every pass of `partial_fit`.
        steps_per_execution=1,
        seed=seed,
    )


def saved_models(state: dict[str, Any]) -> dict[str, Any]:
    """Returns the state of an estimator with its model as bytes of a .keras file."""
    if "vae_" in state:  # with the optimizer
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vae.keras"
            state["vae_"].save(path)
            state["vae_"] = path.read_bytes()
    return state


def restored_models(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the state that `saved_models` was given."""
    if "vae_" not in state:
        return dict(state)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vae.keras"
        path.write_bytes(state["vae_"])
        return {**state, "vae_": keras.models.load_model(path)}


def _plain(value: Any) -> Any:
    """Returns Python's numbers and tuples for the NumPy's and lists of a search."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(_plain(item) for item in value)
    return value
