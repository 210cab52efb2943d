"""The encoder of Nature DQN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tensorq.networks.encoders.cnn import NATURE, convolved
from tensorq.networks.encoders.image import ImageEncoder


@dataclass(frozen=True)
class NatureEncoder(ImageEncoder):
    """Three convolutions: 32 of 8x8 with stride 4, 64 of 4x4 with stride 2, 64 of 3x3 (Mnih et al. 2015, Methods).

    One dense layer of 512 follows there: hidden_sizes 512.
    """

    subject = "encoder nature"

    def convolve(self, x: Any, seed: int) -> Any:
        """See ImageEncoder."""
        return convolved(x, NATURE, seed, self.subject)
