"""Head: the interface of all heads, and the way in which most of them interpret a network's outputs.

A head interprets outputs [N, A, M] as points and probabilities [N, A, M] of the return. Targets are such distributions,
too: points and probabilities [B, M'], for a greedy or a soft policy, for one step or several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tensorq.core.lazy import tf
from tensorq.core.types import Tensor
from tensorq.errors import TensorqError
from tensorq.settings import Part, setting

if TYPE_CHECKING:
    from tensorq.config import Config


@dataclass(frozen=True)
class Head(Part):
    """How outputs become Q-values, and with which loss they learn. The fields of a subclass are its settings."""

    in_numpy: ClassVar[bool] = False
    """Whether q_values is the one below. Acting in NumPy and the Keras model of an agent implement only this one."""

    @property
    def outputs_per_action(self) -> int:
        """M, the number of the network's outputs for each action."""
        return 1

    @property
    def num_fractions(self) -> int:
        """The number of fractions that an update draws for each transition, as a second input of the network; or 0."""
        return 0

    @property
    def support(self) -> tuple[float, float, int] | None:
        """(first, last, M) of the evenly spaced returns if outputs are their logits; None if outputs are returns."""
        return None

    @property
    def pairs(self) -> int:
        """The pairs of an output and a target point in the loss of one transition, to estimate its memory."""
        return 0

    def distribution(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Points and probabilities of the return, [N, A, M] each: the support's, or outputs of equal probability."""
        if self.support is not None:
            return tf.zeros_like(outputs) + tf.linspace(*self.support), tf.nn.softmax(outputs)
        return outputs, tf.ones_like(outputs) / outputs.shape[-1]

    def q_values(self, outputs: Tensor) -> Tensor:
        """The expected return [N, A]."""
        return mean(*self.distribution(outputs)) if self.support is not None else tf.reduce_mean(outputs, axis=-1)

    def losses(self, taken: Tensor, fractions: Tensor | None, points: Tensor, probabilities: Tensor) -> Tensor:
        """Losses [B] of outputs [B, M] of the actions taken, for targets of points and probabilities [B, M'].

        `fractions`, [B, M], are those that the network got as input, if this head draws any.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class DistributionalHead(Head):
    """A head with num_atoms outputs for each action."""

    num_atoms: int = setting(
        51, "Number of atoms, quantiles, fractions in an update, or bins of the head.", at_least=1, idle=True
    )

    @property
    def outputs_per_action(self) -> int:
        """One output for each atom."""
        return self.num_atoms

    @property
    def pairs(self) -> int:
        """Every atom with every atom of the target."""
        return self.num_atoms**2

    def check(self, config: Config) -> None:
        """Refuse a distribution of one atom."""
        if self.num_atoms < 2:
            raise TensorqError(f"num_atoms: received {self.num_atoms}, expected at least 2 for head {config.head}.")


def mean(points: Tensor, probabilities: Tensor) -> Tensor:
    """The expectation over the last axis."""
    return tf.reduce_sum(points * probabilities, axis=-1)


def midpoints(count: int) -> Tensor:
    """The middles of `count` equal parts of [0, 1], [count] (Dabney et al. 2018a, lemma 2)."""
    return (tf.range(count, dtype=tf.float32) + 0.5) / count
