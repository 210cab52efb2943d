"""Where runs train: on this machine, or on those of a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal, Protocol, get_args

from tensorq.errors import TensorqError
from tensorq.many.pool import AnyWorker, Worker
from tensorq.many.worker import Task
from tensorq.process import usable_cores

On = Literal["ray"]


class Machines(Protocol):
    """Machines on which runs train beside each other."""

    share_memory: bool
    """Whether all runs together must fit into the memory of one machine."""

    def runs_at_once(self, threads: int) -> int:
        """For how many runs there are cores, if each has so many threads."""

    def worker(self, task: Task) -> AnyWorker:
        """A worker for this task, and for others that need the same."""


class ThisMachine:
    """This machine."""

    share_memory = True

    def runs_at_once(self, threads: int) -> int:
        """At least one."""
        return max(1, usable_cores() // threads)

    def worker(self, task: Task) -> Worker:
        """A process."""
        return Worker(task)


@contextlib.contextmanager
def machines(on: On | None, address: str | None) -> Iterator[Machines]:
    """The machines that a user asks for, until the end of the block; raises TensorqError if there are none."""
    if on is None:
        yield ThisMachine()
        return
    from tensorq.many.cluster import Cluster

    with Cluster(address) as cluster:
        yield cluster


def check_machines(on: Any, address: Any) -> None:
    """Refuse machines that there cannot be; raises TensorqError."""
    if on not in (None, *get_args(On)):
        raise TensorqError(f"on (--on): received {on!r}, expected {' or '.join(map(repr, get_args(On)))}, or None.")
    if address is not None and not (isinstance(address, str) and on):
        raise TensorqError(f"address (--address): received {address!r}, expected a text such as 'auto', with on='ray'.")
