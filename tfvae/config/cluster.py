"""The workers that TF_CONFIG names; imports nothing heavy."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from tfvae.core.types import InputError

VARIABLE = "TF_CONFIG"
_EXAMPLE = (
    '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


class Worker(NamedTuple):
    """One process of a training, by its number; the chief is 0, its address the first.

    The chief is of TensorFlow's job "chief" if there is one, else the first "worker".
    """

    number: int
    addresses: tuple[str, ...]
    has_chief_job: bool = False

    def address_of(self, job: str, index: str) -> str | None:
        """Returns the address of /job:JOB/task:INDEX, if there is one."""
        number = int(index) + (self.has_chief_job and job == "worker")
        return self.addresses[number] if number < len(self.addresses) else None


def this_worker(environment: Mapping[str, str]) -> Worker:
    """Returns this process as TF_CONFIG describes it.

    Raises:
        InputError: if the variable is missing or not usable.
    """
    text = environment.get(VARIABLE)
    if not text:
        raise InputError(
            f"strategy 'multi_worker' needs the environment variable {VARIABLE}, which "
            f"is not set; set it in every worker, for example {_EXAMPLE}, or use "
            "scripts/launch_local"
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(f"is no JSON ({error})") from None
    addresses, task = _addresses(_of(content, "cluster")), _of(content, "task")
    kind, index = task.get("type"), task.get("index")
    if kind not in ("chief", "worker") or not addresses[kind]:
        raise _bad(f"has task type {kind!r}, and its cluster has {_jobs(addresses)}")
    if type(index) is not int or not 0 <= index < len(addresses[kind]):
        raise _bad(f"has task index {index!r}, and its cluster has {_jobs(addresses)}")
    chiefs = len(addresses["chief"])
    number = index + (chiefs if kind == "worker" else 0)
    every = (*addresses["chief"], *addresses["worker"])
    return Worker(number, every, has_chief_job=chiefs > 0)


def _of(content: Any, name: str) -> Mapping[str, Any]:
    part = content.get(name) if isinstance(content, dict) else None
    if not isinstance(part, dict):
        raise _bad(f"has no {name!r}")
    return part


def _addresses(cluster: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the addresses of the jobs "chief" and "worker"."""
    others = cluster.keys() - {"chief", "worker"}
    if others:
        raise _bad(f"has the job {min(others)!r}, which a training has no use for")
    addresses = {job: cluster.get(job, []) for job in ("chief", "worker")}
    every = [*addresses["chief"], *addresses["worker"]]
    if not every or not all(isinstance(a, str) and ":" in a for a in every):
        raise _bad("has no addresses HOST:PORT of workers")
    if len(addresses["chief"]) > 1:
        raise _bad(f"has {len(addresses['chief'])} chiefs, and there can be one")
    if len(set(every)) < len(every):
        raise _bad("gives two workers one address")
    return addresses


def _jobs(addresses: Mapping[str, list[str]]) -> str:
    return " and ".join(f"{len(a)} of type {job!r}" for job, a in addresses.items())


def _bad(said: str) -> InputError:
    return InputError(
        f"the environment variable {VARIABLE} {said}; give for example {_EXAMPLE}"
    )
