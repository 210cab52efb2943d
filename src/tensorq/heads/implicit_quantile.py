"""The head of implicit quantile networks, which are told the fractions of the quantiles (Dabney et al. 2018b)."""

from __future__ import annotations

from dataclasses import dataclass

from tensorq.heads.quantile import Quantile


@dataclass(frozen=True)
class ImplicitQuantile(Quantile):
    """num_atoms quantiles at fractions that each update draws."""

    subject = "head implicit_quantile"
    in_numpy = True

    @property
    def outputs_per_action(self) -> int:
        """One: the network's outputs for several fractions come from several inputs."""
        return 1

    @property
    def num_fractions(self) -> int:
        """One for each quantile."""
        return self.num_atoms
