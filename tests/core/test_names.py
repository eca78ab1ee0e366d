"""Completion shows the public names of every room, and nothing else."""

from __future__ import annotations

import importlib

import pytest

import tfvae

ROOMS = [name for name in tfvae.__all__ if name in tfvae._ROOMS]


@pytest.mark.parametrize("room", ROOMS)
def test_completion_shows_the_public_names_alone(room):
    module = importlib.import_module(f"tfvae.{room}")
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
