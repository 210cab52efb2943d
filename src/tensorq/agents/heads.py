"""Heads: what a network's outputs say about an action's return, and how they learn a target distribution.

Each head reads outputs [N, A, M] as points and probabilities [N, A, M] of the return. Targets come as such a
distribution too, points and probabilities [B, M'], whatever made them: a greedy or a soft policy, one step or several.
"""

from __future__ import annotations

from typing import Protocol

import tensorflow as tf

from tensorq.config import Config
from tensorq.core import losses, projections
from tensorq.core.types import Tensor


class Head(Protocol):
    """How outputs become values, and what they learn by."""

    def distribution(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Points and probabilities, [N, A, M] each, of the return."""
        ...

    def q_values(self, outputs: Tensor) -> Tensor:
        """The expected return [N, A]."""
        ...

    def loss(self, taken: Tensor, fractions: Tensor | None, points: Tensor, probabilities: Tensor) -> Tensor:
        """[B], for outputs [B, M] of the actions taken, against a target of points and probabilities [B, M']."""
        ...


class Expected:
    """DQN: one output, the expected return (Mnih et al. 2015)."""

    LOSSES = {"mse": losses.squared, "huber": losses.huber}

    def __init__(self, config: Config) -> None:
        self._loss = self.LOSSES[config.loss]

    def distribution(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The expected return, with certainty."""
        return outputs, tf.ones_like(outputs)

    def q_values(self, outputs: Tensor) -> Tensor:
        """The outputs themselves."""
        return outputs[:, :, 0]

    def loss(self, taken: Tensor, fractions: Tensor | None, points: Tensor, probabilities: Tensor) -> Tensor:
        """Of the TD error towards the target's mean."""
        return self._loss(mean(points, probabilities) - taken[:, 0])


class Categorical:
    """C51: the probabilities of fixed, evenly spaced returns, as logits (Bellemare et al. 2017)."""

    def __init__(self, config: Config) -> None:
        self._support = config.support

    def distribution(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The support, with the softmax of the logits."""
        return tf.zeros_like(outputs) + tf.linspace(*self._support), tf.nn.softmax(outputs)

    def q_values(self, outputs: Tensor) -> Tensor:
        """Their mean."""
        return mean(*self.distribution(outputs))

    def loss(self, taken: Tensor, fractions: Tensor | None, points: Tensor, probabilities: Tensor) -> Tensor:
        """Cross-entropy with the target, projected onto the support."""
        return losses.cross_entropy(taken, projections.categorical_projection(points, probabilities, *self._support))


class GaussianHistogram(Categorical):
    """HL-Gauss: the expected return, learned as a class out of many (Farebrother et al. 2024)."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._deviation, self._range = config.hl_gauss_deviation, (config.value_min, config.value_max)

    def distribution(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The expected return alone: the histogram's width says nothing of the return's."""
        value = self.q_values(outputs)[:, :, None]
        return value, tf.ones_like(value)

    def q_values(self, outputs: Tensor) -> Tensor:
        """The histogram's mean."""
        return mean(*super().distribution(outputs))

    def loss(self, taken: Tensor, fractions: Tensor | None, points: Tensor, probabilities: Tensor) -> Tensor:
        """Cross-entropy with a normal distribution around the target's mean, clipped to [value_min, value_max]."""
        value = tf.clip_by_value(mean(points, probabilities), *self._range)
        return losses.cross_entropy(taken, projections.gaussian_histogram(value, *self._support, self._deviation))


class Quantile:
    """QR-DQN: returns of equal probability (Dabney et al. 2018a)."""

    def distribution(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The quantiles, each as probable as the others."""
        return outputs, tf.ones_like(outputs) / outputs.shape[-1]

    def q_values(self, outputs: Tensor) -> Tensor:
        """Their mean."""
        return tf.reduce_mean(outputs, axis=-1)

    def loss(self, taken: Tensor, fractions: Tensor | None, points: Tensor, probabilities: Tensor) -> Tensor:
        """Quantile regression, at the given fractions [B, M] or, if None, at the middles of M equal parts."""
        at = midpoints(taken.shape[-1]) if fractions is None else fractions
        return losses.quantile_huber(taken, at, points, probabilities)


def make_head(config: Config) -> Head:
    """The head that a Config names."""
    if config.head == "expected":
        return Expected(config)
    if config.head == "categorical":
        return Categorical(config)
    if config.head == "hl_gauss":
        return GaussianHistogram(config)
    return Quantile()  # of quantile regression and of implicit quantile networks: those differ in their fractions


def mean(points: Tensor, probabilities: Tensor) -> Tensor:
    """The expectation over the last axis."""
    return tf.reduce_sum(points * probabilities, axis=-1)


def midpoints(count: int) -> Tensor:
    """The middles of `count` equal parts of [0, 1], [count] (Dabney et al. 2018a, lemma 2)."""
    return (tf.range(count, dtype=tf.float32) + 0.5) / count
