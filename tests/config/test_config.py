"""The configuration is checked at the door, and survives JSON."""

from __future__ import annotations

import dataclasses
import inspect
import json
import typing

import numpy as np
import pytest

from tfvae.config import Config
from tfvae.config import names as config_names
from tfvae.config.recipes import RECIPES
from tfvae.core.types import InputError
from tfvae.data import BINARIZATIONS
from tfvae.estimators import ESTIMATORS
from tfvae.evaluation.anomaly import SCORES
from tfvae.heads import HEADS
from tfvae.latents import LATENTS
from tfvae.networks import NETWORKS
from tfvae.objectives import OBJECTIVES
from tfvae.priors import PRIORS
from tfvae.training import building, train
from tfvae.training.building import check_config

RELAXED = {"latent": "bin_concrete"}


@pytest.mark.parametrize(
    ("names", "table"),
    [
        ("Binarization", BINARIZATIONS),
        ("NetworkName", NETWORKS),
        ("LatentName", LATENTS),
        ("PriorName", PRIORS),
        ("ObjectiveName", OBJECTIVES),
        ("EstimatorName", ESTIMATORS),
        ("AnomalyScore", SCORES),
    ],
)
def test_names_are_those_of_the_tables(names, table):
    assert set(typing.get_args(getattr(config_names, names))) == set(table)


def test_likelihood_names_are_heads():
    # bin_concrete is for latent variables; counts are no grey values in [0, 1]
    names = set(typing.get_args(config_names.LikelihoodName))
    assert names == set(HEADS) - {"bin_concrete", "poisson", "negative_binomial"}


@pytest.mark.parametrize("name", RECIPES)
def test_json_round_trip_gives_the_same_configuration(name):
    config = RECIPES[name].config
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_say_where_they_come_from(name):
    recipe = RECIPES[name]
    assert recipe.summary and recipe.source and "\n" not in recipe.summary


def test_differences_names_what_differs():
    here, there = Config(epochs=3, seed=1), Config(epochs=4, seed=1)
    assert here.differences(there) == {"epochs": (3, 4)}


def test_whole_numbers_are_floats_where_floats_are_wanted():
    config = Config(kl_weight=2)
    assert isinstance(config.kl_weight, float)
    assert config == Config(kl_weight=2.0)


BAD = [
    ({"latent": "gaussian"}, "gaussian"),
    ({"objective": "elb"}, "'elbo', 'iwae'"),
    ({"estimator": "magic"}, "magic"),
    ({"likelihood": "bin_concrete"}, "bin_concrete"),
    ({"network": None}, "None"),
    ({"num_samples": 0}, "num_samples 0"),
    ({"num_samples": 2.0}, "num_samples 2.0"),
    ({"num_samples": True}, "num_samples True"),
    ({"num_samples": "5"}, "num_samples '5'"),
    ({"epochs": 0}, "epochs 0"),
    ({"epochs": -1}, "epochs -1"),
    ({"batch_size": 0}, "batch_size 0"),
    ({"latent_size": 0}, "latent_size 0"),
    ({"hidden_sizes": (200, 0)}, "[200, 0]"),
    ({"hidden_sizes": 200}, "hidden_sizes 200"),
    ({"hidden_sizes": (1.5,)}, "1.5"),
    ({"image_size": (28,)}, "(28,)"),
    ({"image_size": (28, -1)}, "[28, -1]"),
    ({"validation_size": -1}, "validation_size -1"),
    ({"kl_weight": -0.1}, "kl_weight -0.1"),
    ({"kl_weight": float("nan")}, "kl_weight nan"),
    ({"kl_weight": float("inf")}, "kl_weight inf"),
    ({"kl_warmup_steps": -1}, "kl_warmup_steps -1"),
    ({"learning_rate": 0.0}, "learning_rate 0.0"),
    ({"learning_rate": float("nan")}, "learning_rate nan"),
    ({"learning_rate": "fast"}, "'fast'"),
    ({"learning_rate_schedule": "linear"}, "linear"),
    ({"optimizer": "adamant"}, "adamant"),
    ({"activation": "tan"}, "tan"),
    ({"leaky_slope": 0.3}, "leaky_slope 0.3"),
    (
        {"leaky_slope": 0.3, "activation": "leaky_relu", "hidden_sizes": ()},
        "without hidden layers",
    ),
    ({"leaky_slope": -0.3, "activation": "leaky_relu"}, "leaky_slope -0.3"),
    ({"center_inputs": 1}, "center_inputs 1"),
    ({"seed": -1}, "seed -1"),
    ({"seed": 2**62}, "seed 4611686018427387904"),
    ({"jit_compile": "yes"}, "yes"),
    ({"dtype_policy": "float16"}, "float16"),
    ({"steps_per_execution": 0}, "steps_per_execution 0"),
    ({**RELAXED, "temperature": 0.0}, "temperature 0.0"),
    ({**RELAXED, "prior_temperature": -1.0}, "prior_temperature -1.0"),
    ({**RELAXED, "final_temperature": 0.5}, "temperature_steps 0"),
    ({**RELAXED, "temperature_steps": 10}, "temperature_steps 10"),
    ({"grey_targets": True}, "grey_targets False"),
    ({"likelihood": "normal_fixed_scale", "likelihood_scale": 0.0}, "0.0"),
    ({"kl_warmup_steps": 5, "kl_weight": 0.0}, "kl_warmup_steps 5"),
    ({"clip_norm": 0.0}, "clip_norm 0.0"),
    ({"clip_norm": float("inf")}, "clip_norm inf"),
    ({"skip_nonfinite": -1}, "skip_nonfinite -1"),
    ({"early_stopping": 0}, "early_stopping 0"),
    ({"early_stopping": True}, "early_stopping True"),
    ({"reduce_on_plateau": 0}, "reduce_on_plateau 0"),
    ({"reduce_on_plateau": 3, "plateau_factor": 1.0}, "plateau_factor 1.0"),
    ({"reduce_on_plateau": 3, "plateau_factor": 0.0}, "plateau_factor 0.0"),
    ({"plateau_factor": 0.5}, "without reduce_on_plateau"),
    ({"reduce_on_plateau": 3, "learning_rate_schedule": "cosine"}, "'cosine'"),
    ({"monitored": "val_elbo"}, "has no effect alone"),
    ({"monitored": "val_bound", "keep_best": True}, "val_bound"),
    ({"keep_best": True, "validation_size": 0}, "validation_size 0"),
    ({"keep_best": 1}, "keep_best 1"),
]


@pytest.mark.parametrize(("values", "said"), BAD)
def test_bad_values_are_refused_in_one_line_that_names_them(values, said):
    with pytest.raises(InputError) as caught:
        Config(**values)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message


FREE = {"objective": "elbo", "free_bits": 0.1}
LAYERS = {"upper_latent_sizes": (3,)}
FOUR = {"num_samples": 4}
# What a part of the model refuses, or parts each other.
TOGETHER = [
    ({"temperature": 0.5}, "latent 'bin_concrete' or 'concrete'"),
    ({"final_prior_temperature": 0.5, "temperature_steps": 2}, "final_prior_temp"),
    ({"num_classes": 3}, "latent 'concrete' or 'categorical'"),
    ({"num_flows": 3}, "latent 'flow'"),
    ({"latent": "flow", "latent_size": 1}, "latent_size 1"),
    ({"likelihood_scale": 0.5}, "likelihood_scale None"),
    ({"likelihood_levels": 17}, "'discretized_logistic_mixture' or 'categorical'"),
    ({"likelihood_components": 3}, "likelihood 'discretized_logistic_mixture'"),
    ({"binarization": "none"}, "grey_targets True"),
    (
        {"likelihood": "normal", "binarization": "none", "grey_targets": True},
        "grey_targets False",
    ),
    ({"num_components": 5}, "num_components 5"),
    ({"prior": "mixture", "latent": "bin_concrete"}, "MixturePrior"),
    ({"alpha": 0.5}, "objective 'renyi'"),
    ({"beta": 0.5}, "objective 'ciwae'"),
    ({"num_groups": 2}, "objective 'miwae' or 'piwae'"),
    ({"analytic_kl": True}, "objective 'elbo'"),
    ({"free_bits": 0.5}, "objective 'elbo'"),
    ({"analytic_kl": True, "objective": "elbo", "latent": "logistic"}, "Logistic"),
    ({**FREE, "latent": "flow"}, "independent latent variables"),
    ({**FREE, "prior": "mixture"}, "independent latent variables"),
    ({**FREE, "estimator": "stl"}, "free_bits 0.1"),
    ({**FREE, **LAYERS}, "independent latent variables"),
    ({"latent": "flow", **LAYERS}, "FlowLatent"),
    ({"prior": "learned", **LAYERS}, "LearnedPrior"),
    ({"latent": "bernoulli"}, "'reinforce', 'vimco'"),
    ({"estimator": "vimco", **FOUR}, "'pathwise', 'stl', 'dreg'"),
    ({"latent": "categorical", "estimator": "disarm", "objective": "elbo"}, "'disarm'"),
    ({"latent": "bernoulli", "estimator": "disarm", **LAYERS, **FOUR}, "'disarm'"),
    ({"latent": "bernoulli", "estimator": "vimco"}, "num_samples 1"),
    ({"latent": "bernoulli", "estimator": "arms"}, "num_samples 1"),
    ({"latent": "bernoulli", "estimator": "arms", **FOUR}, "a mean over samples"),
    ({"latent": "bernoulli", "estimator": "double_cv"}, "num_samples 1"),
    ({"latent": "bernoulli", "estimator": "rodeo"}, "num_samples 1"),
    ({"latent": "categorical", "estimator": "ugc", **FOUR}, "'ugc'"),
    ({"objective": "miwae", "num_samples": 3}, "num_samples 3"),
    ({"objective": "piwae", "dtype_policy": "mixed_float16", **FOUR}, "float16"),
    ({"backward_samples": 5, **FOUR}, "backward_samples 5"),
    ({"sample_chunk": 5, **FOUR}, "sample_chunk 5"),
    ({"backward_samples": 2, "objective": "elbo", **FOUR}, "no use"),
    ({"backward_samples": 2, "sample_chunk": 2, "latent": "flow", **FOUR}, "scale"),
    ({"backward_samples": 2, "sample_chunk": 2, **LAYERS, **FOUR}, "scale"),
    (
        {"sample_chunk": 2, "latent": "bernoulli", "estimator": "disarm", **FOUR},
        "no second pass",
    ),
    ({"sleep": 0.5}, "estimator 'rws'"),
    ({"ovis_gamma": 0.5}, "estimator 'ovis'"),
    ({"ovis_auxiliary": 2}, "estimator 'ovis'"),
    ({"estimator_temperature": 0.2}, "'rebar' or 'relax' or 'gumbel_rao'"),
    ({"estimator_eta": 0.0}, "estimator 'rebar' or 'relax'"),
    ({"estimator_coefficient": 0.0}, "estimator 'double_cv'"),
    ({"estimator_adaptive": False}, "estimator 'double_cv' or 'rebar'"),
    ({"estimator_hidden_sizes": ()}, "estimator 'rodeo' or 'relax'"),
    ({"estimator_draws": 10}, "estimator 'gumbel_rao'"),
    ({"estimator_others": 3}, "estimator 'rodeo'"),
    (
        {"latent": "bernoulli", "estimator": "ovis", "ovis_gamma": 0.5, **FOUR}
        | {"ovis_auxiliary": 2},
        "leave one of them out",
    ),
    ({"first_beta": 0.5}, "objective 'tvo'"),
    ({"num_partitions": 1, "first_beta": 0.5, "objective": "tvo"}, "no effect"),
    ({"estimator": "rws", "num_samples": 1}, "num_samples 1"),
]


@pytest.mark.quick(7)
@pytest.mark.parametrize(("values", "said"), TOGETHER)
def test_what_does_not_go_together_is_refused_before_data_are_read(
    values, said, tmp_path
):
    """No such data set is there, and no folder is made."""
    config = Config(**values, dataset="npz:nowhere.npz")
    for refuse in (check_config, lambda config: train(config, tmp_path / "run")):
        with pytest.raises(InputError) as caught:
            refuse(config)
        message = str(caught.value)
        assert said in message
        assert "\n" not in message and "nowhere" not in message
    assert not (tmp_path / "run").exists()


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", RECIPES)
def test_recipes_go_together(name):
    check_config(RECIPES[name].config)


@pytest.mark.parametrize(
    ("field", "owner", "table"),
    [
        (field, owner, building._TABLES[owner])
        for owner, fields in building.ARGUMENTS.items()
        for field in fields
    ],
)
def test_every_argument_of_a_part_has_a_part_that_takes_it(field, owner, table):
    argument = building.ARGUMENTS[owner][field]
    assert any(building._takes(part, argument) for part in table.values())
    assert any(f.name == field for f in dataclasses.fields(Config))


@pytest.mark.parametrize("owner", ["objective", "estimator"])
def test_every_argument_of_an_objective_or_estimator_has_a_field(owner):
    for part in building._TABLES[owner].values():
        arguments = set(inspect.signature(part).parameters)
        assert arguments <= set(building.ARGUMENTS[owner].values())


ESTIMATORS_BUILT = [
    ("rebar", {"temperature": 0.2, "eta": 0.0, "adaptive": False}),
    ("relax", {"temperature": 0.2, "eta": 0.5, "hidden_sizes": (3, 2)}),
    ("double_cv", {"coefficient": -0.5, "adaptive": False}),
    ("rodeo", {"hidden_sizes": (), "others": 1}),
    ("gumbel_rao", {"temperature": 0.2, "draws": 3}),
]


@pytest.mark.quick(1)
@pytest.mark.parametrize(("name", "given"), ESTIMATORS_BUILT)
def test_a_configurations_numbers_are_those_of_its_estimator(name, given):
    config = Config(
        **{f"estimator_{field}": value for field, value in given.items()},
        **{"estimator": name, "latent": "bernoulli", "latent_size": 2},
        **{"objective": "elbo", "num_samples": 2, "hidden_sizes": ()},
    )
    images = np.full([2, 2, 2, 1], 0.5)
    vae = building.build_vae(config, (2, 2, 1), images[0], images, None)
    building.compile_vae(vae, config, steps_per_epoch=1)
    made = vae.estimator.get_config()
    for field, value in given.items():
        argument = building.ARGUMENTS["estimator"][f"estimator_{field}"]
        assert made[argument] == value


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"epoch": 3}, "'epoch'"),
        ([], "[]"),
        (None, "None"),
        ({"epochs": "3"}, "epochs '3'"),
        ({"hidden_sizes": "200"}, "hidden_sizes '200'"),
    ],
)
def test_bad_json_is_refused_in_one_line_that_names_it(content, said):
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        Config.from_dict(content)
    assert said in str(caught.value)
