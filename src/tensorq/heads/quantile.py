"""QR-DQN's head: returns of equal probability (Dabney et al. 2018a)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorq.core.losses import quantile_huber
from tensorq.core.types import Tensor
from tensorq.heads.head import Head, midpoints, require_atoms
from tensorq.settings import setting

if TYPE_CHECKING:
    from tensorq.config import Config


@dataclass(frozen=True)
class Quantile(Head):
    """num_atoms quantiles, each as probable as the others."""

    subject = "head quantile"
    in_numpy = True

    num_atoms: int = setting(
        51, "Atoms, quantiles, fractions drawn in an update, or bins of the head.", at_least=1, idle=True
    )

    @property
    def outputs_per_action(self) -> int:
        """One for each quantile."""
        return self.num_atoms

    @property
    def pairs(self) -> int:
        """Each quantile with each of the target's."""
        return self.num_atoms**2

    def losses(self, taken: Tensor, fractions: Tensor | None, points: Tensor, probabilities: Tensor) -> Tensor:
        """Quantile regression, at the given fractions [B, M] or, if None, at the middles of M equal parts."""
        at = midpoints(taken.shape[-1]) if fractions is None else fractions
        return quantile_huber(taken, at, points, probabilities)

    def check(self, config: Config) -> None:
        """Refuse a distribution of one quantile."""
        require_atoms(self.num_atoms, config.head)
