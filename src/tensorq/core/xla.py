"""Functions that XLA compiles, in which some operations want another form on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

_traced = ContextVar("traced", default=False)


def compiled(function: Callable[..., Any], jit: bool = True) -> Any:
    """The function as a tf.function that XLA compiles; while it is traced, in_xla_on_cpu() is true on a CPU.

    With jit=False it stays a graph of TensorFlow's operations.
    """
    if not jit:
        return tf.function(function, autograph=False)

    def traced(*arguments: Any) -> Any:
        token = _traced.set(True)
        try:
            return function(*arguments)
        finally:
            _traced.reset(token)

    return tf.function(traced, jit_compile=True, autograph=False)


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function; a graph that XLA does not compile calls it as a program of XLA's, which fuses its operations.

    Use it for many operations in a row on long vectors, because each of them would read and write memory.
    """
    program = tf.function(function, jit_compile=True, autograph=False)

    def call(*arguments: Any) -> Any:
        alone = not (tf.executing_eagerly() or _traced.get())
        return (program if alone else function)(*arguments)

    return call


def with_block(column: tf.Tensor, place: tf.Tensor, block: tf.Tensor) -> tf.Tensor:
    """The column [L, ...] with this block [...] at the place, an integer scalar from 0 to L - 1.

    XLA compiles an item of a list to the write alone, and a scatter to a write and a check of the place, each of which
    is several loops.
    """
    rows = tf.raw_ops.TensorListFromTensor(tensor=column, element_shape=column.shape[1:])
    rows = tf.raw_ops.TensorListSetItem(
        input_handle=rows, index=tf.cast(place, tf.int32), item=tf.cast(block, column.dtype)
    )
    return tf.raw_ops.TensorListStack(
        input_handle=rows,
        element_shape=column.shape[1:],
        element_dtype=column.dtype,
        num_elements=column.shape[0],
    )


def in_xla() -> bool:
    """Whether a function given to `compiled` is being traced for XLA."""
    return _traced.get()


def in_xla_on_cpu() -> bool:
    """Whether a function given to `compiled` is being traced for XLA, and no GPU would run it."""
    return in_xla() and not has_gpu()


def has_gpu() -> bool:
    """Whether TensorFlow runs functions on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))
