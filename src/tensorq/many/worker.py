"""A worker process: it gets tasks from its parent, trains one run after the other, and tells of each event.

Tasks come as pickles on its standard input. Answers are JSON objects, one a line, on its standard output: the events
of a run as `--json` prints them, and at the end {"event": "ended", "how": "finished", "text": ""}.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tensorq.config import Config
from tensorq.errors import TensorqError, where_raised
from tensorq.observers.progress import JsonObserver, SafeStream


class Functions(NamedTuple):
    """What only Python can give to a run. It goes to workers by cloudpickle."""

    make_env: Any = None  # a function, or MODULE:ID
    network: Any = None
    observers: tuple[Any, ...] = ()


class Task(NamedTuple):
    """One run to train or to resume, or to check only."""

    kind: str  # "check", "train" or "resume"
    run_dir: Path
    config: Mapping[str, Any]  # of config.json
    functions: bytes  # Functions, by cloudpickle
    output: Path  # for what is printed
    init_from: Path | None = None
    steps: int | None = None  # new limits of a resume
    episodes: int | None = None
    at_once: int = 1  # runs beside each other, for "check"
    in_all: int = 1
    memory_bytes: float = 0.0  # that it needs, roughly; 0 if this is not known


class Answers(SafeStream):
    """The way to the parent. If it has died, this process is told to stop, so that its run can be resumed."""

    def __init__(self, stream: TextIO) -> None:
        """Write to this stream."""
        super().__init__(None)
        self._parent, self._lost = stream, False

    def write(self, text: str) -> int:
        """Write a line."""
        try:
            self._parent.write(text)
            self._parent.flush()
        except (OSError, ValueError):
            if not self._lost:
                self._lost = True
                os.kill(os.getpid(), signal.SIGTERM)
        return len(text)


def main() -> None:
    """Carry out tasks until there are no more."""
    # In a job that a shell runs in the background SIGINT is ignored, and a process inherits this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "pthread_sigmask"):  # Ray blocks it in its processes, and a process inherits this, too
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    stream, tasks = os.fdopen(os.dup(1), "w", encoding="utf-8"), os.fdopen(os.dup(0), "rb")
    if hasattr(os, "register_at_fork"):  # a child that outlives this process would keep the parent waiting
        for descriptor in (stream.fileno(), tasks.fileno()):
            os.register_at_fork(after_in_child=functools.partial(os.close, descriptor))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)  # an environment that reads waits for nobody
    os.dup2(nothing, 1)
    answers = Answers(stream)
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            task: Task = pickle.load(tasks)
            answers.write(json.dumps({"event": "ended", **_carry_out(task, answers)}) + "\n")
    os._exit(0)  # TensorFlow's own shutdown takes more than half a second


def _carry_out(task: Task, answers: Answers) -> dict[str, str]:
    try:
        with _printing_to(task.output):
            return _outcome(task, answers)
    except OSError as error:
        return {"how": "failed", "text": f"{task.output} cannot be written: {error.strerror}"}


def _outcome(task: Task, answers: Answers) -> dict[str, str]:
    try:
        return {"how": "finished", "text": _do(task, answers)}
    except KeyboardInterrupt:  # of which Stopped is one
        return {"how": "stopped", "text": ""}
    except TensorqError as error:
        return {"how": "failed", "text": str(error)}
    except BaseException as error:  # any exception: the functions are not ours
        traceback.print_exc()
        return {"how": "failed", "text": f"{where_raised(error)}; its traceback is in {task.output}"}


def _do(task: Task, answers: Answers) -> str:
    """Carry out a task. The text of a check is the memory in bytes that a run needs."""
    from tensorq import trainer
    from tensorq.runs.saved import SavedRun

    functions = Functions(*pickle.loads(task.functions))
    observers = [JsonObserver(answers), *functions.observers]
    if task.kind == "resume":
        run = SavedRun(task.run_dir, functions.make_env, functions.network)
        trainer.resume(run, steps=task.steps, episodes=task.episodes, observers=observers)
        return ""
    config, make = Config.from_saved(task.config), functions.make_env
    if isinstance(make, str):
        config, make = dataclasses.replace(config, env=make), None
    where: dict[str, Any] = {"make": make, "network": functions.network, "run_dir": task.run_dir}
    if task.kind == "check":
        where |= {"at_once": task.at_once, "in_all": task.in_all}
        return str(trainer.check(config, **where, init_from=task.init_from))
    trainer.train(config, **where, init_from=task.init_from, observers=observers)
    return ""


@contextlib.contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Append what this process prints to a file, which exists afterwards only if there is something in it."""
    with path.open("ab") as file:
        sys.stdout.flush()
        sys.stderr.flush()
        before = [os.dup(number) for number in (1, 2)]
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield
        finally:
            for stream, number, old in zip((sys.stdout, sys.stderr), (1, 2), before, strict=True):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
                os.dup2(old, number)
                os.close(old)
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()
