"""The process that a run has to itself: TensorFlow's start, its age, and the signals that stop it."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from tensorq.errors import TensorqError


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hide what TensorFlow's C++ side writes to stderr while it loads; Python's errors are exceptions and stay."""
    try:
        saved = os.dup(2)
    except OSError:  # nobody gave this process a stderr
        yield
        return
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
        with open(os.devnull, "w") as devnull:
            os.dup2(devnull.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextlib.contextmanager
def _garbage_left() -> Iterator[None]:
    """Collect no garbage: TensorFlow's import makes a million objects that stay, looked through again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def import_tensorflow(threads: int) -> str | None:
    """Import TensorFlow quietly and set its threads; returns a warning when it was running with others already.

    Python's garbage collector leaves alone what is alive then, until `gc.unfreeze()`: 0.6 s less in a run of 8.
    """
    require_keras_on_tensorflow()
    heard = _heard()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet_stderr(), _garbage_left():
        import tensorflow as tf
    gc.freeze()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        used = tf.config.threading.get_intra_op_parallelism_threads()
        if used != threads:
            return f"warning: TensorFlow runs with {used or 'its default number of'} threads already, not {threads}"
    if heard:
        _compile_once()
    return None


def load_tensorflow() -> None:
    """Import TensorFlow quietly, where no run has: for a model to look at. Threads are what they are."""
    require_keras_on_tensorflow()
    heard = _heard()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet_stderr(), _garbage_left():
        import tensorflow  # noqa: F401
    if heard:
        _compile_once()


def require_keras_on_tensorflow() -> None:
    """Raise TensorqError where Keras computes with something else, or would; imports neither."""
    backend = _keras_backend()
    if backend != "tensorflow":
        raise TensorqError(
            f"Keras runs on {backend}, expected tensorflow: set the environment variable KERAS_BACKEND=tensorflow "
            "before Keras is imported."
        )


@functools.cache
def _heard() -> bool:
    """Whether somebody else has imported TensorFlow, whose log level is then fixed; asked first before we do."""
    return "tensorflow" in sys.modules and "TF_CPP_MIN_LOG_LEVEL" not in os.environ


@functools.cache
def _compile_once() -> None:
    """Let TensorFlow say here, unheard, what it says when it first computes and compiles."""
    import tensorflow as tf

    with _quiet_stderr():
        tf.function(tf.exp, jit_compile=True, autograph=False)(tf.constant([0.0, 1.0]))


def _keras_backend() -> str:
    """What Keras computes with, or would if it were imported now."""
    if keras := sys.modules.get("keras"):
        return str(keras.config.backend())
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        saved = json.loads(Path(home, "keras.json").read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError):  # as Keras does
        saved = None
    return str(saved or "tensorflow")


def process_seconds() -> float:
    """Seconds since this process started; since Python loaded this module where the system does not tell."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, IndexError, ValueError):
        return time.monotonic() - _LOADED


_LOADED = time.monotonic()


class Signals:
    """While entered: the first SIGINT or SIGTERM is told at once and remembered, a second ends the process."""

    def __init__(self, tell: Callable[[], None] = lambda: None) -> None:
        """`tell` is called from another thread: this one may be compiling, and runs no handler until that is over."""
        self.received = 0
        self._tell = tell
        self._previous: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether one was received."""
        return self.received != 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            for stream in (1, 2):
                if os.isatty(stream):
                    with contextlib.suppress(OSError):
                        os.write(stream, b"\x1b[?25h")  # the cursor, which a live display hides
            os._exit(128 + number)  # whatever is half written was written aside
        self.received = number

    def _watch(self) -> None:
        told = False
        while (number := self._reader.recv(1)) not in (b"", _END):
            if not told and number[0] in self._previous:
                told = True
                with contextlib.suppress(Exception):  # nobody to tell must not keep the run from stopping
                    self._tell()

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
            self._reader, self._writer = socket.socketpair()
            self._writer.setblocking(False)
            self._previous_descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
            _entered.add(self)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self in _entered:
            _entered.remove(self)
            signal.set_wakeup_fd(self._previous_descriptor)
            self._writer.send(_END)
            self._watcher.join()
            self._reader.close()
            self._writer.close()


_END = b"\0"  # no signal has this number
_entered: set[Signals] = set()


def _leave_signals_to_the_parent() -> None:
    # What a forked worker receives is not the parent's to tell.
    if _entered:
        _entered.clear()
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_signals_to_the_parent)
