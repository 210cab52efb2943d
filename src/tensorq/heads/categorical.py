"""C51's head: the probabilities of fixed, evenly spaced returns, as logits (Bellemare et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorq.core.losses import categorical_projection, cross_entropy
from tensorq.core.types import Tensor
from tensorq.errors import TensorqError
from tensorq.heads.head import DistributionalHead
from tensorq.settings import setting

if TYPE_CHECKING:
    from tensorq.config import Config


@dataclass(frozen=True)
class Categorical(DistributionalHead):
    """Logits for num_atoms returns from value_min to value_max."""

    subject = "head categorical"
    in_numpy = True

    value_min: float = setting(
        -100.0,
        "Lowest return that categorical and hl_gauss can represent; |reward| / (1 - gamma) bounds the return.",
        idle=True,
    )
    value_max: float = setting(100.0, "Highest return that categorical and hl_gauss can represent.", idle=True)

    @property
    def support(self) -> tuple[float, float, int]:
        """num_atoms returns from value_min to value_max."""
        return self.value_min, self.value_max, self.num_atoms

    def losses(self, taken: Tensor, fractions: Tensor | None, points: Tensor, probabilities: Tensor) -> Tensor:
        """Cross-entropy with the target, which is projected onto the support."""
        return cross_entropy(taken, categorical_projection(points, probabilities, *self.support))

    def check(self, config: Config) -> None:
        """Refuse a support of one point, and a value_min that is not below value_max."""
        super().check(config)
        if self.value_min >= self.value_max:
            raise TensorqError(f"value_min: received {self.value_min}, expected less than value_max {self.value_max}.")
