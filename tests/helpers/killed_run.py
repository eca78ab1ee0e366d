"""Trains a run that kills itself, as a power cut does, for tests/test_resume.py.

Usage: killed_run.py WORKDIR CONFIG.json CHECKPOINT_EVERY [N]: at the N-th time that
something is to be synced or renamed, counted from 1, the process is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tfvae.config import Config
from tfvae.config.settings import Checkpointing
from tfvae.core.startup import import_tensorflow


def killing(call: Callable, countdown: list[int]) -> Callable:
    def counted(*args, **kwargs):
        countdown[0] -= 1
        if countdown[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)

    return counted


def main() -> None:
    import_tensorflow()  # before the kills are counted: it writes files of its own
    from tfvae.training import train

    workdir, config, every, *n = sys.argv[1:]
    if n:
        countdown = [int(n[0])]
        for name in ("fsync", "rename", "replace"):
            setattr(os, name, killing(getattr(os, name), countdown))
    train(
        Config.from_dict(json.loads(Path(config).read_text())),
        workdir,
        checkpointing=Checkpointing(int(every)),
    )


if __name__ == "__main__":
    main()
