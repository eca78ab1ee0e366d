"""The device that computes, and its peak memory."""

import os
import platform
import resource
import sys
from pathlib import Path

import tensorflow as tf


def device_name() -> str:
    """Returns the name of the first GPU, else that of the CPU and its usable cores."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return f"GPU: {details.get('device_name', gpus[0].name)}"
    cores = len(os.sched_getaffinity(0))
    return f"CPU: {_cpu_name()}, {cores} core{'s' if cores > 1 else ''}"


def gpu_peak_mib() -> float | None:
    """Returns TensorFlow's peak memory on the first GPU in MiB; None without one."""
    if not tf.config.list_physical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20


def peak_mib() -> float:
    """Returns the largest resident set of this process so far, in MiB.

    On Linux `ru_maxrss` is no less than what the process that started this one had, so
    that a small process of a large one would say the large one's; VmHWM is its own.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        status = ""
    own = status.partition("VmHWM:")[2].split()  # [number, "kB", ...]
    if own:
        return int(own[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()
