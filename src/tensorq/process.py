"""The process of a run: TensorFlow's start, the process's age, and the signals that stop it.

It may be the user's own process, so a run leaves everything in it as it was.
"""

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

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# Convolutions by oneDNN, in graphs. TensorFlow's default has it on only for processors with AVX512-VNNI; without it an
# update of Nature DQN's network takes half as long again. Read once, when TensorFlow is loaded; XLA does not use it.
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hide what TensorFlow's C++ side writes to stderr while it loads; Python's errors are exceptions and stay."""
    try:
        saved = os.dup(2)
    except OSError:  # this process has no stderr
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
    """Collect no garbage: TensorFlow's import makes a million lasting objects, which would be scanned repeatedly."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def default_variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable that the user has not set, until the block ends."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


@contextlib.contextmanager
def tensorflow_running(threads: int, tensor_float_32: bool, calls: int) -> Iterator[str | None]:
    """Start TensorFlow, and restore its settings at the end; yields import_tensorflow's warning.

    NumPy's matrix products get as many threads: an idle thread of OpenBLAS waits in a busy loop, so that a second one
    took a core from other runs and gained nothing. `tensor_float_32` lets a GPU multiply float32 matrices with 10 bits
    of their fractions.
    """
    from threadpoolctl import threadpool_limits

    _heard()  # before the variable is set
    # TensorFlow reads the variable also after its import.
    with default_variable(_LOG_LEVEL, "3"), threadpool_limits(threads, user_api="blas"):
        warning = import_tensorflow(threads, calls)
        import tensorflow as tf

        before = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(tensor_float_32)
        try:
            yield warning
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(before)


def import_tensorflow(threads: int, calls: int = 1) -> str | None:
    """Import TensorFlow quietly and set its threads; returns a warning if it was running with others already.

    It runs `calls` calls at once; more would wait for each other. It takes a GPU's memory as needed, unless the user
    has set a limit, so that other processes get some too.
    """
    _load()
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError, ValueError):  # the GPU is in use, or has a limit
            tf.config.experimental.set_memory_growth(gpu, True)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(calls)
    except RuntimeError:
        used = tf.config.threading.get_intra_op_parallelism_threads()
        if used != threads:
            return f"TensorFlow runs with {used or 'its default number of'} threads already, not {threads}"
        if calls > 1 and tf.config.threading.get_inter_op_parallelism_threads() == 1:
            return "TensorFlow runs one call at a time already, so with overlap_learning acting waits for learning"
    if _heard():
        _compile_once()
    return None


def load_tensorflow() -> None:
    """Import TensorFlow quietly without a run, for example to export a model. Its threads are not changed."""
    _load()
    if _heard():
        _compile_once()


def _load() -> None:
    global _loaded_tensorflow
    require_keras_on_tensorflow()
    refuse_inherited_tensorflow()
    _heard()  # before TensorFlow is imported
    with default_variable(_LOG_LEVEL, "3"), default_variable(_ONEDNN, "1"), _quiet_stderr(), _garbage_left():
        import tensorflow as tf

        tf.config.list_physical_devices()  # it would print messages about them later
    _loaded_tensorflow = True
    if not gc.get_freeze_count():
        # All living objects become old ones, which the collector seldom scans: 0.6 s less in a run of 8 s.
        gc.freeze()
        gc.unfreeze()


def require_keras_on_tensorflow() -> None:
    """Raise TensorqError if Keras uses, or would use, another backend than TensorFlow; imports neither."""
    backend = _keras_backend()
    if backend != "tensorflow":
        raise TensorqError(
            f"Keras runs on {backend}, expected tensorflow: set the environment variable KERAS_BACKEND=tensorflow "
            "before Keras is imported."
        )


@functools.cache
def _heard() -> bool:
    """Whether other code had imported TensorFlow, so that its log level is fixed. The first call decides."""
    return "tensorflow" in sys.modules and _LOG_LEVEL not in os.environ


@functools.cache
def _compile_once() -> None:
    """Compute and compile once with stderr hidden, because TensorFlow then prints messages the first time."""
    import tensorflow as tf

    with _quiet_stderr():
        tf.function(tf.exp, jit_compile=True, autograph=False)(tf.constant([0.0, 1.0]))


def _keras_backend() -> str:
    """The backend that Keras uses, or would use if it were imported now."""
    if keras := sys.modules.get("keras"):
        return str(keras.config.backend())
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        saved = json.loads(Path(home, "keras.json").read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError):  # Keras ignores this, too
        saved = None
    return str(saved or "tensorflow")


def refuse_inherited_tensorflow() -> None:
    """Raise TensorqError in a process forked from one in which TensorFlow runs: here it would wait for ever."""
    if not _forked_with_tensorflow or _loaded_tensorflow:
        return
    settings = sys.modules["tensorflow"].config.threading
    threads = settings.get_inter_op_parallelism_threads()
    try:
        settings.set_inter_op_parallelism_threads(threads + 1)
        settings.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:  # the number is fixed once the threads have started
        raise TensorqError(
            "this process was forked from one in which TensorFlow had started its threads, which a fork does not have: "
            "start a new process, with multiprocessing.get_context('spawn')."
        ) from error


_forked_with_tensorflow = False  # whether TensorFlow was imported when this process was forked
_loaded_tensorflow = False  # whether it has been loaded here since


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_seconds() -> float:
    """Seconds since this process started or, if the system does not tell, since Python loaded this module."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, IndexError, ValueError):
        return time.monotonic() - _LOADED


_LOADED = time.monotonic()


class Signals:
    """While entered, the first SIGINT or SIGTERM is reported at once and remembered, and a second ends the process."""

    def __init__(self, tell: Callable[[], None] = lambda: None) -> None:
        """`tell` is called from another thread, because this one runs no signal handler while it compiles."""
        self.received = 0
        self._tell = tell
        self._previous: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether a signal was received."""
        return self.received != 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            for stream in (1, 2):
                if os.isatty(stream):
                    with contextlib.suppress(OSError):
                        os.write(stream, b"\x1b[?25h")  # the cursor, which a live display hides
            os._exit(128 + number)  # files are written under temporary names
        self.received = number

    def _watch(self) -> None:
        told = False
        while (number := self._reader.recv(1)) not in (b"", _END):
            if number[0] not in self._previous:  # another signal: for the previous descriptor
                if self._previous_descriptor >= 0:
                    with contextlib.suppress(OSError):
                        os.write(self._previous_descriptor, number)
            elif not told:
                told = True
                with contextlib.suppress(Exception):  # a failure must not keep the run from stopping
                    self._tell()

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if not _has_handler_in_c(number):  # Python could not restore such a handler
                    self._previous[number] = signal.signal(number, self._handle)
            self._reader, self._writer = socket.socketpair()
            self._writer.setblocking(False)
            self._previous_descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
            _entered.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        if self in _entered:
            _entered.remove(self)
            self._put_back()
            self._writer.send(_END)
            self._watcher.join()
            self._reader.close()
            self._writer.close()

    def _put_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        with contextlib.suppress(OSError, ValueError):  # the descriptor has been closed
            signal.set_wakeup_fd(self._previous_descriptor)


def _has_handler_in_c(number: int) -> bool:
    """Whether code that is not Python's handles the signal, as far as the system tells."""
    handler = signal.getsignal(number)
    if handler not in (signal.SIG_DFL, signal.SIG_IGN):
        return handler is None
    try:
        caught = int(Path("/proc/self/status").read_text().partition("SigCgt:")[2].split()[0], 16)
    except (OSError, IndexError):
        return False
    return bool(caught >> (number - 1) & 1)


_END = b"\0"  # no signal has this number
_entered: list[Signals] = []


def _begin_forked() -> None:
    """A forked child has no run to save when it gets a signal, and none of TensorFlow's threads."""
    global _forked_with_tensorflow, _loaded_tensorflow
    _forked_with_tensorflow, _loaded_tensorflow = "tensorflow" in sys.modules, False
    while _entered:
        _entered.pop()._put_back()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_forked)
