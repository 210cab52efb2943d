"""Workers on the machines of a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tensorq.errors import TensorqError
from tensorq.extras import extra_command, token_file
from tensorq.many.host import CHUNK_BYTES, Host, Proof
from tensorq.many.pool import Ended, threads_of
from tensorq.many.worker import Task
from tensorq.runs.directory import versions
from tensorq.show.numbers import format_bytes

MOST_LOSSES = 20  # of machines, in one run
_TENSORFLOW_BYTES = 1_200_000_000  # that a process takes before it has a network and a replay
_SAME = ("tensorq", "python", "tensorflow")  # versions that all machines must share


class Cluster:
    """A connection to Ray. Makes workers, which train runs on its machines."""

    share_memory = False
    look_for_shared_storage = True

    def __init__(self, address: str | None) -> None:
        """Connect to the cluster at an address, "auto" for that of this machine; without one, start Ray here."""
        _require_answer(address)
        self._ray = ray = import_ray()
        keywords: dict[str, Any] = {} if address else {"include_dashboard": False}
        self._began = not ray.is_initialized()
        if self._began:
            try:
                ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **keywords)
            except Exception as error:  # any exception: Ray has several
                reason = " ".join(str(error).split())[:200]
                where = "Ray cannot be started here" if address is None else f"no Ray cluster answers at {address}"
                raise TensorqError(f"--on ray: {where}: {reason}") from error

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._began:
            self._ray.shutdown()

    def runs_at_once(self, threads: int) -> int:
        """For how many runs the cluster has cores; raises TensorqError if no machine has enough for one."""
        cores = [int(node["Resources"].get("CPU", 0)) for node in self._ray.nodes() if node["Alive"]]
        if threads > max(cores, default=0):
            largest = max(cores, default=0)
            raise TensorqError(f"threads: received {threads}, expected at most {largest}, as any machine has cores.")
        return sum(count // threads for count in cores)

    def worker(self, task: Task) -> RemoteWorker:
        """A worker for tasks with the same threads as this one."""
        return RemoteWorker(task, self._ray, self.look_for_shared_storage)


class RemoteWorker:
    """Trains one run after the other on a machine of the cluster; if this is lost, on another one."""

    def __init__(self, task: Task, ray: Any, look_for_shared_storage: bool) -> None:
        """Ask for no machine yet."""
        self._key = (*threads_of(task), task.memory_bytes)
        self._ray, self._looks = ray, look_for_shared_storage
        self._host: Any = None
        self._interrupted = self._started = False

    def fits(self, task: Task) -> bool:
        """Whether this task needs the same threads and memory."""
        return self._key == (*threads_of(task), task.memory_bytes)

    def carry_out(self, task: Task, told: Callable[[dict[str, Any]], None]) -> Ended:
        """Train a run, and return when it has ended. A run whose machine is lost goes on from its last checkpoint."""
        for _ in range(MOST_LOSSES):
            try:
                return self._carry_out(task, told)
            except _Interrupted:
                self._kill()
                return Ended("stopped", "")
            except self._ray.exceptions.RayTaskError as error:
                self._kill()  # its run must not go on beside the next one
                return Ended("failed", " ".join(str(error.cause or error).split()))
            except self._ray.exceptions.RayError as error:
                self._kill()
                if self._interrupted:
                    return Ended("stopped", "")
                reason = type(error).__name__
                text = f"its machine was lost ({reason}); it goes on from the last checkpoint that is here"
                told({"event": "message", "text": text, "kind": "warning"})
                if (task.run_dir / "config.json").is_file():
                    task = task._replace(kind="resume")
            except BaseException:
                self._kill()
                raise
        return Ended("failed", f"its machine was lost {MOST_LOSSES} times")

    def _carry_out(self, task: Task, told: Callable[[dict[str, Any]], None]) -> Ended:
        self._started = False
        if self._host is None:
            self._host = self._new_host(task)
        with _proof(task.output.parent) as proof:
            own = self._get(self._host.begin.remote(task, proof if self._looks else None))
        if own is not None:
            if task.kind == "resume":
                self._send(task.run_dir, "run")
            if task.init_from is not None:
                self._send(task.init_from, "init_from", ("config.json", "checkpoints/best.safetensors"))
        self._get(self._host.start.remote())
        self._started = True
        if self._interrupted:
            self.interrupt()
        while True:
            for answer in self._get(self._host.answers.remote(0.5)):
                if own is not None and answer["event"] in ("saved", "ended") and task.kind != "check":
                    self._fetch(task)
                if answer["event"] == "ended":
                    self._host.clean.remote()
                    return Ended(answer["how"], _here(answer["text"], own, task))
                told({name: _here(value, own, task) for name, value in answer.items()})

    def _new_host(self, task: Task) -> Any:
        """An actor on a machine that has the cores and the memory; raises TensorqError if its versions differ."""
        cores = task.config.get("threads", 1)
        memory = int(task.memory_bytes + _TENSORFLOW_BYTES) if task.memory_bytes else 0
        largest = max((node["Resources"].get("memory", 0) for node in self._ray.nodes() if node["Alive"]), default=0)
        if memory > largest:
            raise TensorqError(
                f"--on ray: a run needs {format_bytes(memory)} of memory, and the largest machine of the cluster has "
                f"{format_bytes(largest)}."
            )
        host = self._ray.remote(num_cpus=cores, memory=memory or None, max_concurrency=3)(Host).remote()
        try:
            ours, theirs = versions(), self._get(host.versions.remote())
        except self._ray.exceptions.RayActorError as error:
            if not error.actor_init_failed:
                raise
            reason = " ".join(str(error).split())[-200:]
            raise TensorqError(f"--on ray: tensorq cannot be started on a machine of the cluster: {reason}") from error
        for name in _SAME:
            if ours[name] != theirs[name]:
                raise TensorqError(
                    f"--on ray: a machine of the cluster has {name} {theirs[name]}, and this one {ours[name]}: install "
                    "the same on all."
                )
        return host

    def _get(self, reference: Any) -> Any:
        """What a call returns. While the run has not begun, an interruption ends the wait."""
        while not self._ray.wait([reference], timeout=0.5)[0]:
            if self._interrupted and not self._started:
                raise _Interrupted
        return self._ray.get(reference)

    def _send(self, folder: Path, name: str, files: tuple[str, ...] = ()) -> None:
        """Send a folder's files to the machine."""
        for path in [folder / each for each in files] or sorted(each for each in folder.rglob("*") if each.is_file()):
            if path.name == "lock" or path.name.startswith("."):
                continue
            with path.open("rb") as file:
                offset = 0
                while (data := file.read(CHUNK_BYTES)) or offset == 0:
                    self._get(self._host.put.remote(f"{name}/{path.relative_to(folder).as_posix()}", offset, data))
                    offset += max(len(data), 1)

    def _fetch(self, task: Task) -> None:
        """Bring the run's files here: first all of them beside the old ones, then each in the place of the old one.

        The replay's file has what the last two checkpoints need, and so it comes before the newest of these.
        """
        sizes, changed = self._get(self._host.changes.remote())
        ready: list[tuple[Path, Path]] = []
        try:
            for name in sorted(changed, key=_place):
                path = task.run_dir / name
                path.parent.mkdir(parents=True, exist_ok=True)
                copy = path.with_name(f".{path.name}.{os.getpid()}.tmp")
                ready.append((copy, path))
                parts = [(0, sizes[name])]
                if name == "replay.bin" and path.exists():  # it is large, and little of it is new
                    shutil.copyfile(path, copy)
                    parts = changed[name]
                self._read(name, parts, copy)
            for copy, path in ready:
                os.replace(copy, path)
        finally:
            for copy, _ in ready:
                copy.unlink(missing_ok=True)
        for path in (task.run_dir / "checkpoints").glob("*"):
            if f"checkpoints/{path.name}" not in sizes and not path.name.startswith("."):
                path.unlink(missing_ok=True)
        if printed := self._get(self._host.output.remote()):
            task.output.write_bytes(printed)

    def _read(self, name: str, parts: list[tuple[int, int]], copy: Path) -> None:
        """Write parts (offset, size) of a file of the run into a copy of it here."""
        with copy.open("r+b" if copy.exists() else "wb") as file:
            for offset, size in parts:
                for start in range(offset, offset + size, CHUNK_BYTES):
                    length = min(offset + size - start, CHUNK_BYTES)
                    file.seek(start)
                    file.write(self._get(self._host.get.remote(name, start, length)))

    def interrupt(self) -> None:
        """Ask the run to save and to stop."""
        self._interrupted = True
        if self._started and self._host is not None:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._host.interrupt.remote()

    def close(self) -> None:
        """Give the machine back."""
        if self._host is not None:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.get(self._host.close.remote(), timeout=10)
        self._kill()

    def _kill(self) -> None:
        """End what is left of the machine's process."""
        if self._host is not None:
            with contextlib.suppress(Exception):  # any exception: it may be gone, or the connection
                self._ray.kill(self._host)
        self._host = None


def _here(value: Any, own: Path | None, task: Task) -> Any:
    """A value of an event, with the paths of this machine in place of those of the run's own folder elsewhere."""
    if own is None or not isinstance(value, str):
        return value
    return value.replace(str(own / "output.txt"), str(task.output)).replace(str(own / "run"), str(task.run_dir))


class _Interrupted(Exception):
    """The user stopped a run that had not begun."""


def _place(name: str) -> tuple[int, str]:
    """The place of a file in the order in which files are replaced. Whoever has result.json has all."""
    first = {"config.json": 0, "replay.bin": 2, "result.json": 4}
    return first.get(name, 3 if name.startswith("checkpoints/") else 1), name


@contextlib.contextmanager
def _proof(folder: Path) -> Iterator[Proof]:
    """A file by which another machine sees whether it has this folder, too."""
    proof = Proof(folder / f".tensorq-{uuid.uuid4().hex}", uuid.uuid4().hex)
    proof.path.write_text(proof.text)
    try:
        yield proof
    finally:
        proof.path.unlink(missing_ok=True)


def _require_answer(address: str | None) -> None:
    """Raise TensorqError if nobody answers at HOST:PORT: Ray itself would try for more than a minute."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or "/" in host:  # auto, or a form that only Ray knows
        return
    if not port.isdecimal():
        raise TensorqError(f"address (--address): received {address!r}, expected HOST:PORT, such as 10.0.0.1:6379.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise TensorqError(
            f"--on ray: nobody answers at {address} ({error}): start a cluster there with `ray start --head`."
        ) from error


def import_ray() -> Any:
    """Ray; raises TensorqError if it is not installed."""
    # Ray reads these when it is imported. It does not look for the token of a cluster unless the mode says so.
    if token_file().exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if sys.version_info < (3, 11):
        raise TensorqError(f"--on ray: Ray needs Python 3.11 or newer, and this is {sys.version.split()[0]}.")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise TensorqError(f"--on ray needs the ray extra: {extra_command('ray')}") from error
    return ray
