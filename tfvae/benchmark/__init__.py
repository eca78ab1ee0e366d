"""How fast a configuration trains and is scored, and what the machine could do at most.

The settings come without TensorFlow, for the command line; the rest is imported when it
is asked for.
"""

from __future__ import annotations

from tfvae.benchmark.settings import Settings
from tfvae.lazy import imported_when_asked

_FROM = {
    "Benchmark": "result",
    "Rate": "result",
    "Speed": "result",
    "benchmark_text": "result",
    "ServingBenchmark": "serving",
    "run_benchmark": "running",
    "run_serving_benchmark": "serving",
    "serving_text": "serving",
}

__all__ = ["Settings", *_FROM]

__getattr__ = imported_when_asked(__name__, _FROM)
