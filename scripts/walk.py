#!/usr/bin/env python3
"""Prints the functions of the package that one training step passes.

They are counted by a profile hook, from `vae.fit` to the first update of the weights,
in the order in which they are first called; comprehensions and lambdas do not count.
With --train it is the walk of `tfvae train` instead. Run it with the project's own
Python:

    .venv/bin/python scripts/walk.py [--train]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np

import tfvae
from tfvae.cli import main as command
from tfvae.models.optimizers import Adam

_ROOT = str(Path(tfvae.__file__).parent)
Walk = list[tuple[str, str]]
"""(file within the package, function), in order."""


def walk_of(action: Callable[[], object]) -> Walk:
    """Returns the functions of the package that an action calls, each once."""
    seen: dict[tuple[str, str], None] = {}

    def look(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_ROOT):
            if not code.co_name.startswith("<"):
                # Python 3.10 has no qualified names of code.
                name = getattr(code, "co_qualname", code.co_name)
                seen[code.co_filename.removeprefix(f"{_ROOT}/"), name] = None

    sys.setprofile(look)
    try:
        action()
    finally:
        sys.setprofile(None)
    return list(seen)


def step_walk() -> Walk:
    """Returns the walk from `fit` to the first update, for a small model of one step.

    It is an IWAE with a Normal posterior and Bernoulli pixels.
    """
    shape = (4, 4, 1)
    latent = tfvae.latents.NormalLatent(2)
    posterior = latent.posterior_head()
    encoder = tfvae.networks.mlp(shape, posterior.params_shape, (8,))
    decoder = tfvae.networks.mlp((2,), shape, (8,))
    vae = tfvae.VAE(
        tfvae.ConditionalDistribution(encoder, posterior),
        tfvae.ConditionalDistribution(decoder, tfvae.heads.BernoulliHead(shape)),
        latent,
    )
    vae.compile("adam", "iwae", num_samples=5)
    x = np.ones([8, *shape], np.float32)
    walk = walk_of(lambda: vae.fit(x, batch_size=8, verbose=0))
    update = Adam.update_step.__name__
    (last,) = (i for i, (_, name) in enumerate(walk) if name.endswith(update))
    return walk[: last + 1]


def train_walk() -> Walk:
    """Returns the walk of `tfvae train` on the digits, for one epoch."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["train", "digits-binconcrete", "--epochs", "1", "--workdir"]
        with contextlib.redirect_stdout(io.StringIO()):
            return walk_of(lambda: command([*arguments, f"{folder}/run"]))


def main() -> int:
    """Prints the walk; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--train", action="store_true", help="of `tfvae train`")
    walk = train_walk() if parser.parse_args().train else step_walk()
    files = {path for path, _ in walk}
    print(f"{len(walk)} functions in {len(files)} files\n")
    for path, name in walk:
        print(f"{path:36} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
