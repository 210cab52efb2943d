"""Functions that XLA compiles, in which some operations want another form on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

_traced = ContextVar("traced", default=False)


def compiled(function: Callable[..., Any]) -> Any:
    """The function as a tf.function that XLA compiles; while it is traced, in_xla_on_cpu() is true on a CPU."""

    def traced(*arguments: Any) -> Any:
        token = _traced.set(True)
        try:
            return function(*arguments)
        finally:
            _traced.reset(token)

    return tf.function(traced, jit_compile=True, autograph=False)


def in_xla_on_cpu() -> bool:
    """Whether a function given to `compiled` is being traced, and there is no GPU that would run it."""
    return _traced.get() and not tf.config.list_logical_devices("GPU")
