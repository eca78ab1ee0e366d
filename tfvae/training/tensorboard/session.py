"""A run's settings, for TensorBoard's text and hparams dashboards."""

from __future__ import annotations

import zlib
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.metadata import (
    SESSION_END_INFO_TAG,
    SESSION_START_INFO_TAG,
)
from tensorboard.plugins.hparams.summary import session_end_pb
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from tfvae.config import Config

TAGS = (SESSION_START_INFO_TAG, SESSION_END_INFO_TAG)


def session_start(config: Config, run: Path) -> Summary:
    """Returns the message that begins a run's line in the hparams table.

    Settings that are None are left out: they have no effect. Runs of one name in
    different folders stay apart.
    """
    settings = {}
    for name, value in config.to_dict().items():
        if isinstance(value, list):
            settings[name] = " ".join(map(str, value))
        elif value is not None:
            settings[name] = value
    path = run.resolve()
    trial = f"{path.name}-{zlib.crc32(str(path).encode()):08x}"
    return hparams_pb(settings, trial_id=trial)


def session_end(succeeded: bool) -> Summary:
    """Returns the message that says how the run ended."""
    return session_end_pb(STATUS_SUCCESS if succeeded else STATUS_FAILURE)


def settings_table(config: Config) -> str:
    """Returns every setting as a Markdown table."""
    rows = [f"| {name} | {_cell(value)} |" for name, value in config.to_dict().items()]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def _cell(value: object) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.replace("|", "\\|")
