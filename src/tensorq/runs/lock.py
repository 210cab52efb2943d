"""The lock of a run's folder: one process trains in it at a time. The lock ends with the process, however it ends."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from tensorq.errors import TensorqError
from tensorq.runs.checkpoint import open_in_place, remove_leftovers

_held: set[int] = set()


def _leave_locks_to_the_parent() -> None:
    # A forked worker that outlives a killed trainer would keep the run locked.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks_to_the_parent)


class LockableFolder:
    """A folder with a file `lock`, locked by the operating system; it also says which process holds it."""

    def __init__(self, path: Path) -> None:
        """Set the paths; nothing is opened yet."""
        self.path, self.lock_path = path, path / "lock"
        self._descriptor: int | None = None

    def lock(self) -> None:
        """Keep other processes from training here until `unlock`, or until this process ends for any reason.

        Also removes what a killed process left. Raises TensorqError if another process, or another object, has the
        lock; if this object has it already, it keeps it.
        """
        if self._descriptor is None:
            self._acquire()
        remove_leftovers(self.path)

    def _acquire(self) -> None:
        descriptor = open_in_place(self.lock_path)
        if not _take(descriptor):
            owner = _owner(descriptor)
            os.close(descriptor)
            raise TensorqError(
                f"{owner} is training in {self.path}; wait for it, stop it, or choose another run_dir (--run-dir)"
            )
        _held.add(descriptor)
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # the number is only for errors: a full disk must not stop a resume
            os.truncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())

    def unlock(self) -> None:
        """Let others train here."""
        if self._descriptor in _held:
            _held.remove(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = None

    def is_locked(self) -> bool:
        """Whether a process trains here now. Changes nothing on disk."""
        try:
            descriptor = os.open(self.lock_path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except OSError:
            return False
        try:
            return not _take(descriptor)
        finally:
            os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Lock an open file; False if another process has locked it. On a file system without locks, always True."""
    import filelock  # not at the top: it takes 0.1 s, and few commands need it

    try:
        return filelock.lock_descriptor(descriptor, blocking=False)
    except OSError:
        return True


def _owner(descriptor: int) -> str:
    try:
        found = re.match(rb"[0-9]+", os.read(descriptor, 20))
    except OSError:  # on Windows, other processes cannot read a locked file
        found = None
    return f"process {found[0].decode()}" if found else "another process"
