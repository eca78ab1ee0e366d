"""Several workers on one machine: `scripts/launch_local`.

It is for trying things out, and for machines whose GPUs are given a process each. The
workers of several machines are started by what starts programs there.
"""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfvae.config.cluster import VARIABLE
from tfvae.core.types import LOST_WORKER, InputError

_USAGE = "usage: scripts/launch_local N RECIPE --workdir DIR [--any-field VALUE ...]"
_PATIENCE = 60.0  # seconds for the others to end by themselves, and say why
_LOOK = 0.2  # seconds between looks at the workers


def main(argv: Sequence[str] | None = None) -> int:
    """Starts N workers; returns the status of the first that fails, else 0."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{_USAGE}\n\n{__doc__}")
        return 0
    try:
        count, logs = _count(arguments[0]), _logs(arguments)
    except InputError as error:
        print(f"launch_local: {error}", file=sys.stderr)
        return 2
    launched = Launched([], logs)
    with _started(launched, count, arguments[1:]), _signals_passed_on(launched):
        return _first_failure(launched)


@dataclasses.dataclass
class Launched:
    """Workers that were started, with the folder of the logs of all but the chief.

    Those that are left are ended at the time `until`, once it is known.
    """

    workers: list[subprocess.Popen]
    logs: Path
    until: float | None = None

    def ending(self) -> None:
        """Gives the workers a while to end by themselves, and say why."""
        if self.until is None:
            self.until = time.monotonic() + _PATIENCE

    @property
    def waiting(self) -> bool:
        """True if there are workers left to wait for."""
        late = self.until is not None and time.monotonic() > self.until
        return not late and any(worker.poll() is None for worker in self.workers)

    def failed(self) -> tuple[int, int]:
        """Returns the status and the number of the worker that failed; (0, 0): none.

        A worker that ended since it lost another did not fail first.
        """
        found = []
        for number, worker in enumerate(self.workers):
            if status := worker.poll():
                # As a shell has it: 128 + the signal that ended it.
                found.append((status if status > 0 else 128 - status, number))
        first = [each for each in found if each[0] != LOST_WORKER]
        return (first or found or [(0, 0)])[0]


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise InputError(f"N {text!r} is no number from 1 to 64; {_USAGE}")
    return int(text)


def _logs(arguments: Sequence[str]) -> Path:
    """Returns the folder of the logs, beside the run's: DIR-workers for DIR."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--workdir" and (equals or place + 1 < len(arguments)):
            workdir = Path(value if equals else arguments[place + 1])
            return workdir.absolute().with_name(f"{workdir.name}-workers")
    raise InputError(f"--workdir is missing; {_USAGE}")


@contextlib.contextmanager
def _started(
    launched: Launched, count: int, arguments: Sequence[str]
) -> Iterator[None]:
    """Starts the workers, and ends all that are left."""
    launched.logs.mkdir(parents=True, exist_ok=True)
    addresses = [f"localhost:{port}" for port in free_ports(count)]
    command = [sys.executable, "-m", "tfvae_command", "train", *arguments]
    command += ["--strategy", "multi_worker"]
    try:
        for number in range(count):
            task = {"type": "worker", "index": number}
            content = {"cluster": {"worker": addresses}, "task": task}
            log = log_of(launched.logs, number).open("wb") if number else None
            with log or contextlib.nullcontext():
                worker = subprocess.Popen(
                    command,
                    stdout=log,
                    stderr=subprocess.STDOUT if log else None,
                    env={**os.environ, VARIABLE: json.dumps(content)},
                    # Of its own session: the terminal's Ctrl-C would reach it twice.
                    start_new_session=True,
                )
            launched.workers.append(worker)
        yield
    finally:
        _end(launched.workers)


def log_of(logs: Path, number: int) -> Path:
    """Returns the log file of worker `number`, which is not the chief."""
    return logs / f"worker-{number}.log"


def free_ports(count: int) -> list[int]:
    """Returns ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def _signals_passed_on(launched: Launched) -> Iterator[None]:
    def pass_on(number: int, frame: object) -> None:
        launched.ending()
        for worker in launched.workers:
            if worker.poll() is None:
                worker.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_failure(launched: Launched) -> int:
    """Waits for the workers; once one fails, for a while for the others."""
    status = 0
    while launched.waiting:
        time.sleep(_LOOK)
        if status:
            continue
        status, number = launched.failed()
        if status:
            launched.ending()
            where = f"; see {log_of(launched.logs, number)}" if number else ""
            print(
                f"launch_local: worker {number} ended with status {status}{where}",
                file=sys.stderr,
            )
    return status or launched.failed()[0]


def _end(workers: Sequence[subprocess.Popen]) -> None:
    left = [worker for worker in workers if worker.poll() is None]
    for worker in left:
        worker.terminate()
    for worker in left:
        try:
            worker.wait(timeout=10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


if __name__ == "__main__":
    sys.exit(main())
