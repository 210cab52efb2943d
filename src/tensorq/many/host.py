"""A machine of a cluster, as the machine of the user sees it: it trains runs by a worker process, one after the other.

If the folders of the runs are not on storage that both machines share, the run is trained in a folder of its own here,
and its files go to the user's machine in chunks at each checkpoint. No Ray here.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from tensorq.errors import where_raised
from tensorq.many.pool import Ended, Worker
from tensorq.many.worker import Task
from tensorq.runs.directory import versions
from tensorq.runs.lock import LockableFolder

CHUNK_BYTES = 4 * 1024 * 1024
_LOCK_SECONDS = 60.0  # in which a process whose machine has lost its user saves its run and ends


class Proof(NamedTuple):
    """A file that the user's machine has written beside the run's folder: whoever reads its text there shares it."""

    path: Path
    text: str

    def holds(self) -> bool:
        """Whether the file is here, too."""
        try:
            return self.path.read_text() == self.text
        except (OSError, UnicodeDecodeError):
            return False


class Host:
    """Trains one run after the other on this machine. Its methods may be called from several threads."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._worker: Worker | None = None
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._own: Path | None = None  # the folder of a run whose folder is not shared
        self._sums: dict[str, list[int]] = {}

    def versions(self) -> dict[str, str | None]:
        """The versions of what a run depends on."""
        return versions()

    def begin(self, task: Task, proof: Proof | None) -> Path | None:
        """Take the next run. Returns None if its folder is shared.

        If not, it returns the folder that the run has here, and `put` brings what it needs before `start`.
        """
        self.clean()
        self._task, self._answers = task, queue.SimpleQueue()
        if proof is not None and proof.holds():
            end = time.monotonic() + _LOCK_SECONDS
            while LockableFolder(task.run_dir).is_locked() and time.monotonic() < end:
                time.sleep(0.2)
            return None
        self._own = Path(tempfile.mkdtemp(prefix="tensorq-"))
        begins = None if task.init_from is None else self._own / "init_from"
        self._task = task._replace(run_dir=self._own / "run", output=self._own / "output.txt", init_from=begins)
        return self._own

    def put(self, name: str, offset: int, data: bytes) -> None:
        """Write a part of a file into the run's own folder."""
        assert self._own is not None
        path = self._own / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "wb") as file:
            file.seek(offset)
            file.write(data)

    def start(self) -> None:
        """Let the worker train the run. It is a new process if the last one does not fit."""
        if self._worker is not None and not self._worker.fits(self._task):
            self._worker.close()
            self._worker = None
        self._worker = worker = self._worker or Worker(self._task)
        task, answers = self._task, self._answers

        def work() -> None:
            try:
                ended = worker.carry_out(task, answers.put)
            except Exception as error:  # any exception: the user's machine must learn of it
                ended = Ended("failed", where_raised(error))
            answers.put({"event": "ended", **ended._asdict()})

        threading.Thread(target=work, daemon=True).start()

    def answers(self, seconds: float) -> list[dict[str, Any]]:
        """The events of the run since the last call, after at most so many seconds. The last is "ended"."""
        found: list[dict[str, Any]] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._answers.get(timeout=seconds))
            while True:
                found.append(self._answers.get_nowait())
        return found

    def changes(self) -> tuple[dict[str, int], dict[str, list[tuple[int, int]]]]:
        """The sizes of the run's files, and the parts (offset, size) of those that changed since the last call.

        The process stands still while its files are copied: what `get` reads is the state of one moment.
        """
        assert self._own is not None
        run, copy = self._own / "run", self._own / "copy"
        changed: dict[str, list[tuple[int, int]]] = {}
        with self._standing_still():
            names = sorted(each.relative_to(run).as_posix() for each in run.rglob("*") if each.is_file())
            sizes: dict[str, int] = {}
            names = [name for name in names if name != "lock" and not Path(name).name.startswith(".")]
            for name in names:
                data = (run / name).read_bytes()
                sizes[name] = len(data)
                parts = [data[start : start + CHUNK_BYTES] for start in range(0, max(len(data), 1), CHUNK_BYTES)]
                sums = [zlib.crc32(part) for part in parts]
                known = self._sums.get(name, [])
                if sums != known:
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    (copy / name).write_bytes(data)
                    changed[name] = [
                        (index * CHUNK_BYTES, len(part))
                        for index, part in enumerate(parts)
                        if index >= len(known) or known[index] != sums[index]
                    ]
                self._sums[name] = sums
        return sizes, changed

    def get(self, name: str, offset: int, size: int) -> bytes:
        """A part of a file, as `changes` copied it."""
        assert self._own is not None
        with (self._own / "copy" / name).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def output(self) -> bytes:
        """What the run has printed."""
        assert self._own is not None
        path = self._own / "output.txt"
        return path.read_bytes()[-CHUNK_BYTES:] if path.exists() else b""

    def interrupt(self) -> None:
        """Ask the worker to save its run and to stop."""
        if self._worker is not None:
            self._worker.interrupt()

    def close(self) -> None:
        """End the worker, and delete what it left here."""
        if self._worker is not None:
            self._worker.close()
        self.clean()

    def clean(self) -> None:
        """Delete the files of the last run here."""
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
        self._own, self._sums = None, {}

    @contextlib.contextmanager
    def _standing_still(self) -> Any:
        worker = self._worker
        if worker is None or os.name == "nt":
            yield
            return
        worker.pause()
        try:
            yield
        finally:
            worker.signal(signal.SIGCONT)
