"""QR-DQN's head: quantiles of the return, of equal probability (Dabney et al. 2018a)."""

from __future__ import annotations

from dataclasses import dataclass

from tensorq.core.losses import quantile_huber
from tensorq.core.types import Tensor
from tensorq.heads.head import DistributionalHead, midpoints


@dataclass(frozen=True)
class Quantile(DistributionalHead):
    """num_atoms quantiles of equal probability."""

    subject = "head quantile"
    in_numpy = True

    def losses(self, taken: Tensor, fractions: Tensor | None, points: Tensor, probabilities: Tensor) -> Tensor:
        """Quantile regression at the given fractions [B, M]; if None, at the middles of M equal parts of [0, 1]."""
        at = midpoints(taken.shape[-1]) if fractions is None else fractions
        return quantile_huber(taken, at, points, probabilities)
