"""What a process says of its own memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tfvae.core import devices

SMALL = "from tfvae.core.devices import peak_mib; print(peak_mib())"
LARGE = f"""
import subprocess, sys
mine = b"1" * (3 << 30)
subprocess.run([sys.executable, "-c", {SMALL!r}], check=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the others have no VmHWM")
def test_the_peak_of_a_process_is_not_that_of_the_one_that_started_it():
    run = [sys.executable, "-c", LARGE]
    found = subprocess.run(run, capture_output=True, text=True, check=True)
    # TensorFlow alone has some 400 MiB, and the other process 3 GiB.
    assert 50 < float(found.stdout) < 2048


def test_the_peak_grows_with_what_is_held():
    before = devices.peak_mib()
    held = bytearray(b"1" * (int(before) << 20))  # twice: the bytes, and their copy
    assert len(held) > 0 and devices.peak_mib() > before + 50
