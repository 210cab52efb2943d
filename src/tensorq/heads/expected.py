"""DQN's head: one output for each action, the expected return (Mnih et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tensorq.core.lazy import tf
from tensorq.core.losses import huber, squared
from tensorq.core.types import Tensor
from tensorq.heads.head import Head, mean
from tensorq.settings import setting


@dataclass(frozen=True)
class Expected(Head):
    """One output, the expected return: a distribution of one point."""

    subject = "head expected"
    in_numpy = True

    loss: Literal["mse", "huber"] = setting(
        "huber", "Loss of a TD error d: d^2 (mse), or d^2 / 2 within 1 and linear outside (huber)."
    )

    def distribution(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """One point, the output, with probability 1."""
        return outputs, tf.ones_like(outputs)

    def q_values(self, outputs: Tensor) -> Tensor:
        """The outputs themselves."""
        return outputs[:, :, 0]

    def losses(self, taken: Tensor, fractions: Tensor | None, points: Tensor, probabilities: Tensor) -> Tensor:
        """The squared or Huber loss of the TD error, for the target's mean."""
        error = mean(points, probabilities) - taken[:, 0]
        return squared(error) if self.loss == "mse" else huber(error)
