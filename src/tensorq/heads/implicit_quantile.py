"""The head of implicit quantile networks, which get the fractions of the quantiles as input (Dabney et al. 2018b)."""

from __future__ import annotations

from dataclasses import dataclass

from tensorq.heads.quantile import Quantile


@dataclass(frozen=True)
class ImplicitQuantile(Quantile):
    """num_atoms quantiles, at fractions that each update draws anew."""

    subject = "head implicit_quantile"

    @property
    def outputs_per_action(self) -> int:
        """One: the network gives one quantile for each fraction in its input."""
        return 1

    @property
    def num_fractions(self) -> int:
        """One fraction for each quantile."""
        return self.num_atoms
