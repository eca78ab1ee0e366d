"""The speed of training, scoring and serving, beside the machine's limit."""

from tfvae.benchmark.result import Benchmark, Rate, Speed, benchmark_text
from tfvae.benchmark.running import run_benchmark
from tfvae.benchmark.serving import (
    ServingBenchmark,
    run_serving_benchmark,
    serving_text,
)

__all__ = [
    "Benchmark",
    "Rate",
    "ServingBenchmark",
    "Speed",
    "benchmark_text",
    "run_benchmark",
    "run_serving_benchmark",
    "serving_text",
]
__dir__ = __all__.copy  # what completion shows
