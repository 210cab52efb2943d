"""Worker processes of this machine, which carry out tasks beside each other. No TensorFlow here."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from tensorq.errors import TensorqError, where_raised
from tensorq.many.worker import Task

Told = Callable[[str, dict[str, Any]], None]
"""Called with the name of a run and an event of it, as `--json` prints events."""

NextTask = Callable[[], "tuple[str, Task] | None"]
"""Returns the name and the task that are next."""

# TensorFlow keeps every program that it has compiled: a process grows by some 35 MB with each run on CartPole.
RUNS_OF_A_WORKER = 10


class Ended(NamedTuple):
    """How a task ended."""

    how: str  # "finished", "stopped" or "failed"
    text: str


class AnyWorker(Protocol):
    """Carries out one task after the other, here or on another machine."""

    def fits(self, task: Task) -> bool:
        """Whether it can carry out this task."""

    def carry_out(self, task: Task, told: Callable[[dict[str, Any]], None]) -> Ended:
        """Carry out a task, and return when it has ended; `told` gets the events of its run."""

    def interrupt(self) -> None:
        """Ask it to save its run and to stop."""

    def close(self) -> None:
        """End it."""


class Worker:
    """A process that carries out one task after the other.

    It has a session of its own, so that Ctrl-C in a terminal reaches only its parent, which passes it on once.
    """

    def __init__(self, task: Task) -> None:
        """Start the process, for tasks that need the same threads as this one."""
        self._key, self._tasks = threads_of(task), 0
        # With this process's sys.path. `-m` would put the current folder first, whose modules may have any name.
        program = f"import sys; sys.path[:] = {[str(each) for each in sys.path]!r}; from tensorq.many import worker"
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{program}; worker.main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def fits(self, task: Task) -> bool:
        """Whether the process lives, is not worn out, and has the threads of this task."""
        return self._process.poll() is None and self._tasks < RUNS_OF_A_WORKER and self._key == threads_of(task)

    def carry_out(self, task: Task, told: Callable[[dict[str, Any]], None]) -> Ended:
        """Send a task, and return when it has ended, or the process has."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._tasks += 1
        with contextlib.suppress(OSError):  # the process has died, which shows below
            pickle.dump(task, self._process.stdin)
            self._process.stdin.flush()
        for line in self._process.stdout:
            if not line.endswith(b"\n"):  # cut off, because the process has died
                break
            answer = json.loads(line)
            if answer["event"] == "ended":
                return Ended(answer["how"], answer["text"])
            told(answer)
        code = self._process.wait()
        why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        hint = ", perhaps because memory was short" if why.endswith("SIGKILL") else ""
        lines = self._process.stderr.read().decode(errors="replace").split("\n") if self._process.stderr else []
        last = next((f": {line}" for line in reversed(lines) if line.strip()), "")
        printed = f"; what it printed is in {task.output}" if task.output.exists() else ""
        return Ended("failed", f"its process ended with {why}{hint}{last}{printed}")

    def interrupt(self) -> None:
        """Ask the process to save its run and to stop."""
        if os.name != "nt":
            self.signal(signal.SIGINT)

    def pause(self) -> None:
        """Let the process stand still, and return when it does, or has ended. Not on Windows."""
        self.signal(signal.SIGSTOP)
        with contextlib.suppress(OSError):
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        with contextlib.suppress(OSError):
            self._process.send_signal(number)

    def close(self) -> None:
        """End the process, which has no task any more."""
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()


def threads_of(task: Task) -> tuple[Any, ...]:
    """What decides about the threads of a process: it is fixed once TensorFlow runs."""
    return tuple(task.config.get(name) for name in ("threads", "overlap_learning"))


class Pool:
    """Carries out tasks by several workers."""

    def __init__(
        self, jobs: int, interrupted: Callable[[], bool], new_worker: Callable[[Task], AnyWorker] = Worker
    ) -> None:
        """Take the number of workers, what says whether the user wants to stop, and what makes a worker for a task."""
        self._jobs, self._interrupted, self._new_worker = jobs, interrupted, new_worker
        self._idle: list[AnyWorker] = []
        self._busy: dict[str, AnyWorker] = {}  # by the name of its task
        self._answers: queue.SimpleQueue[tuple[str, dict[str, Any] | Ended]] = queue.SimpleQueue()
        self._stopping = False

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close_idle()
        for worker in self._busy.values():
            worker.close()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def carry_out(self, next_task: NextTask, told: Told = lambda *_: None) -> dict[str, Ended]:
        """Carry out tasks until there are no more, and say how each ended. An interruption ends those that have begun.

        When a worker is free, `next_task` is called for a task and its name. It may return None although others that
        have begun will lead to more.
        """
        ended: dict[str, Ended] = {}
        while True:
            if self._interrupted() and not self._stopping:
                self._stopping = True
                for worker in self._busy.values():
                    worker.interrupt()
            while len(self._busy) < self._jobs and not self._stopping:
                following = next_task()
                if following is None:
                    if self._busy:  # a machine whose worker waits for nothing may serve one that waits for a machine
                        self._close_idle()
                    break
                self._begin(*following)
            if not self._busy:
                return ended
            with contextlib.suppress(queue.Empty):
                name, answer = self._answers.get(timeout=0.05)
                if isinstance(answer, Ended):
                    self._idle.append(self._busy.pop(name))
                    ended[name] = answer
                    told(name, {"event": "ended", **answer._asdict()})
                else:
                    told(name, answer)

    def _begin(self, name: str, task: Task) -> None:
        """Give a task to an idle worker, or to a new one in place of one that does not fit."""
        worker = self._idle.pop() if self._idle else None
        if worker is not None and not worker.fits(task):
            worker.close()
            worker = None
        self._busy[name] = worker = worker or self._new_worker(task)
        threading.Thread(target=self._work, args=(worker, name, task), daemon=True).start()

    def _work(self, worker: AnyWorker, name: str, task: Task) -> None:
        """Wait for the answers of a worker, in a thread."""
        try:
            ended = worker.carry_out(task, lambda answer: self._answers.put((name, answer)))
        except Exception as error:  # any exception: the other runs go on
            ended = Ended("failed", where_raised(error))
        self._answers.put((name, ended))


def to_bytes(value: Any, what: str) -> bytes:
    """A value that another process can read; raises TensorqError for one that cannot go there."""
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(value))
    except Exception as error:  # any exception: the value is not ours
        raise TensorqError(
            f"{what} cannot go to another process ({' '.join(str(error).split())[:200]}): give functions that do not "
            "hold open files, environments or models."
        ) from error
