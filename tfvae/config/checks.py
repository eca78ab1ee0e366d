"""The refusal of settings that have no effect beside others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfvae.core.types import InputError

if TYPE_CHECKING:
    from tfvae.config import Config


def check_together(config: Config) -> None:
    """Refuses settings that have no effect beside others.

    The classes of a model's parts refuse more, see
    `tfvae.training.building.check_config`.
    """
    _check_binarization(config)
    _check_schedules(config)
    _check_hierarchy(config)
    _check_monitored(config)
    _check_labels(config)
    _check_missing(config)
    _check_slope(config)


def _check_slope(config: Config) -> None:
    if config.leaky_slope is None:
        return
    if config.activation != "leaky_relu":
        raise InputError(
            f"leaky_slope {config.leaky_slope} has no effect with activation "
            f"{config.activation!r}; set activation 'leaky_relu', or leaky_slope None"
        )
    # Between layers of z there are hidden layers by default.
    linear_above = not config.upper_latent_sizes or config.upper_hidden_sizes == ()
    if not config.hidden_sizes and linear_above:
        raise InputError(
            f"leaky_slope {config.leaky_slope} has no effect without hidden layers; "
            "set hidden_sizes, or leaky_slope None"
        )


def _check_missing(config: Config) -> None:
    if config.missing_share is not None and config.missing is None:
        raise InputError(
            f"missing_share {config.missing_share} has no effect without missing; set "
            "missing 'mcar', or missing_share None"
        )
    if config.missing_share is not None and (config.label_repeats or 1) > 1:
        raise InputError(
            f"label_repeats {config.label_repeats} shows an image with other pixels "
            "missing each time (missing_share), and so all of them; set label_repeats "
            "None, or missing_share None"
        )


def _check_labels(config: Config) -> None:
    if config.labels is not None and config.condition != "label":
        raise InputError(
            f"labels {config.labels} has no effect without a condition; set condition "
            "'label' (--condition label), or labels None"
        )
    for name in ("classifier_weight", "classifier", "label_repeats"):
        if getattr(config, name) is not None and config.labels is None:
            raise InputError(
                f"{name} {getattr(config, name)!r} has no effect without labels; set "
                f"labels, or {name} None"
            )


def _check_binarization(config: Config) -> None:
    if config.device_binarization is True and config.binarization != "dynamic":
        raise InputError(
            "device_binarization True has no effect with binarization "
            f"{config.binarization!r}; set device_binarization False, or binarization "
            "'dynamic'"
        )
    if config.grey_targets and config.binarization != "none":
        raise InputError(
            "grey_targets True has no effect with binarization "
            f"{config.binarization!r}; set grey_targets False, or binarization 'none'"
        )


def _check_schedules(config: Config) -> None:
    if config.kl_warmup_steps and config.kl_weight == 0:
        raise InputError(
            f"kl_warmup_steps {config.kl_warmup_steps} has no effect with kl_weight 0; "
            "set kl_warmup_steps 0, or another kl_weight"
        )
    if config.kl_cycles is not None and config.kl_schedule != "cyclical":
        raise InputError(
            f"kl_cycles {config.kl_cycles} has no effect with kl_schedule "
            f"{config.kl_schedule!r}; set kl_cycles None, or kl_schedule 'cyclical'"
        )
    if config.kl_schedule != "linear" and not config.kl_warmup_steps:
        raise InputError(
            f"kl_schedule {config.kl_schedule!r} has no effect with kl_warmup_steps 0; "
            "set kl_warmup_steps, or kl_schedule 'linear'"
        )
    anneals = not (
        config.final_temperature is None and config.final_prior_temperature is None
    )
    if anneals != (config.temperature_steps > 0):
        raise InputError(
            f"temperature_steps {config.temperature_steps} does not go with "
            f"final_temperature {config.final_temperature} and final_prior_temperature "
            f"{config.final_prior_temperature}; annealing needs steps above 0 and a "
            "final value, a fixed temperature neither"
        )
    if config.temperature_schedule != "linear" and not anneals:
        raise InputError(
            f"temperature_schedule {config.temperature_schedule!r} has no effect with "
            "fixed temperatures; set final_temperature, or temperature_schedule "
            "'linear'"
        )


def _check_monitored(config: Config) -> None:
    watchers = {
        "early_stopping": config.early_stopping,
        "reduce_on_plateau": config.reduce_on_plateau,
        "keep_best": config.keep_best or None,
    }
    used = [name for name, value in watchers.items() if value is not None]
    if config.monitored != "val_loss" and not used:
        raise InputError(
            f"monitored {config.monitored!r} has no effect alone; set "
            f"{', '.join(watchers)}, or monitored 'val_loss'"
        )
    if used and config.monitored.startswith("val_") and config.validation_size == 0:
        raise InputError(
            f"{used[0]} looks at {config.monitored!r}, and validation_size 0 leaves no "
            "validation images; set validation_size, or monitored 'loss' or 'elbo'"
        )
    if config.plateau_factor is not None:
        if config.reduce_on_plateau is None:
            raise InputError(
                f"plateau_factor {config.plateau_factor} has no effect without "
                "reduce_on_plateau; set that, or plateau_factor None"
            )
        if config.plateau_factor >= 1:
            raise InputError(
                f"plateau_factor {config.plateau_factor} is not usable; give a number "
                "below 1"
            )
    if config.reduce_on_plateau and config.learning_rate_schedule != "constant":
        raise InputError(
            f"reduce_on_plateau {config.reduce_on_plateau} does not go with "
            f"learning_rate_schedule {config.learning_rate_schedule!r}; set one of "
            "them back"
        )


def _check_hierarchy(config: Config) -> None:
    if config.upper_hidden_sizes is not None and not config.upper_latent_sizes:
        raise InputError(
            f"upper_hidden_sizes {list(config.upper_hidden_sizes)} has no effect "
            "without upper layers; set upper_hidden_sizes None, or upper_latent_sizes"
        )
