"""A model file is looked at before Keras reads it, and all of ours are let through."""

from __future__ import annotations

import shutil
import typing

import numpy as np
import pytest
from helpers import hostile_files as hostile
from helpers.latents import DISCRETE
from helpers.models import tiny_vae

from tfvae.conditions import OneHot
from tfvae.config import Config, names
from tfvae.core.devices import peak_mib
from tfvae.models.model_file import check_model_file, network_layers
from tfvae.training.building import build_vae, compile_vae

IMAGES = np.random.default_rng(0).random((200, 8, 8, 1)).astype(np.float32)
BITS = {"objective": "elbo", "estimator": "reinforce", "num_samples": 2}
ANNEALED = {"final_temperature": 0.5, "temperature_steps": 9}
FREE = {  # of each other: the n-th configuration has the n-th name of each
    "network": names.NetworkName,
    "objective": names.ObjectiveName,
    "optimizer": names.OptimizerName,
    "activation": names.ActivationName,
    "learning_rate_schedule": names.LearningRateSchedule,
    "kl_schedule": names.KlSchedule,
    "likelihood": names.LikelihoodName,
}
COUNT = max(len(typing.get_args(table)) for table in FREE.values())
CONFIGS = [
    {
        field: typing.get_args(table)[number % len(typing.get_args(table))]
        for field, table in FREE.items()
    }
    | {"num_samples": 2, "kl_warmup_steps": 9, "epochs": 300}
    | ({} if number == 0 else {"binarization": "none"})
    for number in range(COUNT)
]
CONFIGS += [
    {"latent": name, **(BITS if name in DISCRETE else {})}
    for name in typing.get_args(names.LatentName)
]
CONFIGS += [
    {"prior": name, **({"condition": "label"} if name == "conditional" else {})}
    for name in typing.get_args(names.PriorName)
]
CONFIGS += [
    {"condition": "label", "labels": 10, "classifier": name}
    for name in typing.get_args(names.ClassifierName)
]
CONFIGS += [{"dtype_policy": name} for name in typing.get_args(names.DtypePolicy)]
CONFIGS += [
    {"latent": "concrete", "temperature_schedule": "exponential", **ANNEALED},
    {"upper_latent_sizes": (2, 2)},
    {"latent_size": 1, "hidden_sizes": ()},
    {"objective": "elbo", "estimator": "stl"},
    {"estimator": "dreg"},
    {"activation": "leaky_relu", "leaky_slope": 0.3, "center_inputs": True},
]


def test_all_names_are_among_the_configurations():
    for field, table in FREE.items():
        assert {c[field] for c in CONFIGS[:COUNT]} == set(typing.get_args(table))


@pytest.mark.quick(1)
@pytest.mark.parametrize("settings", CONFIGS, ids=str)
def test_every_part_that_a_configuration_can_name_is_let_through(settings, tmp_path):
    config = Config(**{"latent_size": 2, "hidden_sizes": (3,), **settings})
    condition = OneHot(3) if config.condition else None
    vae = build_vae(config, IMAGES.shape[1:], IMAGES.mean(0), IMAGES, condition)
    compile_vae(vae, config, 10)
    vae.save(tmp_path / "model.keras")
    check_model_file(tmp_path / "model.keras")


def test_layers_that_read_files_or_run_code_are_not_among_those_of_networks():
    """A security check: a new layer has to be looked at before it is let through."""
    shapes = {"Cropping2D", "Flatten", "InputLayer", "Permute", "Reshape"}
    shapes |= {"Add", "Concatenate", "Multiply", "RepeatVector"}  # of conditions
    shapes |= {"Dropout", "RandomRotation", "RandomTranslation", "RandomZoom"}
    shapes |= {"LeakyReLU", "Rescaling"}
    assert network_layers() == {"Conv2D", "Conv2DTranspose", "Dense", *shapes}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    tiny_vae().save(path)
    return path


def test_a_file_packed_again_is_let_through(saved, tmp_path):
    path = shutil.copy(saved, tmp_path / "model.keras")
    hostile.rewrite(path, {}, packing=8)
    check_model_file(path)


@pytest.mark.slow
def test_a_bomb_takes_no_more_memory_than_is_stated(saved, tmp_path):
    """The highest mark of this process: a second look at the same bomb adds nothing."""
    path = shutil.copy(saved, tmp_path / "model.keras")
    hostile.rewrite(path, {hostile.WEIGHTS: bytes(1 << 30)}, packing=8)
    before = peak_mib()
    with pytest.raises(ValueError, match="promises"):
        check_model_file(path)
    grown = peak_mib() - before
    bound = (4 * path.stat().st_size + (64 << 20)) / 2**20
    assert grown <= bound
