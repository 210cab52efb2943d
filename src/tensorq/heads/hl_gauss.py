"""HL-Gauss' head: the expected return, learned by classification into bins (Farebrother et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorq.core.lazy import tf
from tensorq.core.losses import cross_entropy, gaussian_histogram
from tensorq.core.types import Tensor
from tensorq.errors import TensorqError
from tensorq.heads.categorical import Categorical
from tensorq.heads.head import mean
from tensorq.settings import setting

if TYPE_CHECKING:
    from tensorq.config import Config


@dataclass(frozen=True)
class HLGauss(Categorical):
    """num_atoms bins around evenly spaced returns, some of them beyond value_min and value_max."""

    subject = "head hl_gauss"

    hl_gauss_deviation: float = setting(0.75, "Deviation of hl_gauss's target histogram, in bins.", above=0, idle=True)
    hl_gauss_spare_bins: int = setting(
        3,
        "Bins of hl_gauss below value_min, and as many above value_max; without them, returns at the ends are biased.",
        at_least=0,
        idle=True,
        before=0,
    )

    @property
    def support(self) -> tuple[float, float, int]:
        """The centres of num_atoms bins, of which hl_gauss_spare_bins lie on each side of [value_min, value_max]."""
        spare = self.hl_gauss_spare_bins
        beyond = spare * (self.value_max - self.value_min) / (self.num_atoms - 1 - 2 * spare)
        return self.value_min - beyond, self.value_max + beyond, self.num_atoms

    def distribution(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The expected return alone, because the histogram's width does not depend on the return's distribution."""
        value = self.q_values(outputs)[:, :, None]
        return value, tf.ones_like(value)

    def q_values(self, outputs: Tensor) -> Tensor:
        """The histogram's mean."""
        return mean(*super().distribution(outputs))

    def losses(self, taken: Tensor, fractions: Tensor | None, points: Tensor, probabilities: Tensor) -> Tensor:
        """Cross-entropy with a normal distribution around the target's mean, clipped to [value_min, value_max]."""
        value = tf.clip_by_value(mean(points, probabilities), self.value_min, self.value_max)
        return cross_entropy(taken, gaussian_histogram(value, *self.support, self.hl_gauss_deviation))

    def check(self, config: Config) -> None:
        """Also refuse settings with which all bins would be spare."""
        super().check(config)
        least = 2 + 2 * self.hl_gauss_spare_bins
        if self.num_atoms < least:
            raise TensorqError(
                f"num_atoms: received {self.num_atoms}, of which hl_gauss_spare_bins {self.hl_gauss_spare_bins} lie on "
                f"each side of the returns: expected at least {least}, or fewer spare bins."
            )
