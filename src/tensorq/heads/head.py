"""Head: the interface that every head has, with the way in which most of them read a network's outputs.

A head reads outputs [N, A, M] as points and probabilities [N, A, M] of the return. Targets come as such a distribution
too, points and probabilities [B, M'], whatever made them: a greedy or a soft policy, one step or several.
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
    """How outputs become values, and what they learn by. A subclass has its settings as fields."""

    in_numpy: ClassVar[bool] = False
    """Whether q_values is the one below, which acting in NumPy and the Keras model of an agent do too."""

    @property
    def outputs_per_action(self) -> int:
        """M, how many outputs of the network belong to one action."""
        return 1

    @property
    def num_fractions(self) -> int:
        """How many fractions an update draws for each transition, which the network takes as another input; 0: none."""
        return 0

    @property
    def support(self) -> tuple[float, float, int] | None:
        """(first, last, M) of the evenly spaced returns whose logits the outputs are; None where they are returns."""
        return None

    @property
    def pairs(self) -> int:
        """Pairs of an output and a point of the target that the loss of one transition looks at, for its memory."""
        return 0

    def distribution(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Points and probabilities of the return, [N, A, M] each: those of the support, or outputs alike probable."""
        if self.support is not None:
            return tf.zeros_like(outputs) + tf.linspace(*self.support), tf.nn.softmax(outputs)
        return outputs, tf.ones_like(outputs) / outputs.shape[-1]

    def q_values(self, outputs: Tensor) -> Tensor:
        """The expected return [N, A]."""
        return mean(*self.distribution(outputs)) if self.support is not None else tf.reduce_mean(outputs, axis=-1)

    def losses(self, taken: Tensor, fractions: Tensor | None, points: Tensor, probabilities: Tensor) -> Tensor:
        """[B], for outputs [B, M] of the actions taken, against a target of points and probabilities [B, M'].

        `fractions`, [B, M], are those that the network was given, if this head draws any.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class DistributionalHead(Head):
    """A head of num_atoms outputs an action."""

    num_atoms: int = setting(
        51, "Atoms, quantiles, fractions drawn in an update, or bins of the head.", at_least=1, idle=True
    )

    @property
    def outputs_per_action(self) -> int:
        """One for each atom."""
        return self.num_atoms

    @property
    def pairs(self) -> int:
        """Each atom with each of the target's."""
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
