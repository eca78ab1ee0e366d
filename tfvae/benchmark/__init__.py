"""How fast a configuration trains and is scored, and what the machine could do at most.

The settings come without TensorFlow, for the command line; the rest is imported when it
is asked for.
"""

from __future__ import annotations

import importlib

from tfvae.benchmark.settings import Settings

_FROM = {
    "Benchmark": "result",
    "Rate": "result",
    "Speed": "result",
    "benchmark_text": "result",
    "run_benchmark": "running",
}

__all__ = ["Settings", *_FROM]


def __getattr__(name: str) -> object:
    if name in _FROM:
        module = importlib.import_module(f"tfvae.benchmark.{_FROM[name]}")
        return getattr(module, name)
    raise AttributeError(f"module 'tfvae.benchmark' has no attribute {name!r}")
