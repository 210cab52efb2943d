"""The metrics of an update: columns of metrics.csv. A new one is a line here, and a row in docs/methods/dqn.md."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tensorq.core.types import Metrics, Tensor, Update

METRICS: dict[str, Callable[[Update], Tensor]] = {
    "loss": lambda update: update.loss,
    "mean_q": lambda update: tf.reduce_mean(update.q_taken),
}


def metrics_of(update: Update) -> Metrics:
    """Compute the metrics of an update."""
    return Metrics({name: value(update) for name, value in METRICS.items()}, update.td_error)
