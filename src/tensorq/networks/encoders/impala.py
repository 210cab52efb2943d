"""The encoder of IMPALA: residual blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tensorq.networks.encoders.image import ImageEncoder, convolution
from tensorq.settings import setting


@dataclass(frozen=True)
class ImpalaEncoder(ImageEncoder):
    """Sections of a convolution, a pooling that halves the sides, and two residual blocks (Espeholt et al. 2018).

    In the paper's large network (figure 3) the sections have 16, 32 and 32 channels, and a dense layer of 256 follows.
    All convolutions are 3x3 with padding.
    """

    subject = "encoder impala"

    sections: tuple[int, ...] = setting((16, 32, 32), "Channels of each section.", at_least=1, idle=True)

    def convolve(self, x: Any, seed: int) -> Any:
        """See ImageEncoder."""
        import keras

        for number, channels in enumerate(self.sections, 1):

            def padded(x: Any, place: int, channels: int = channels, number: int = number) -> Any:
                name = f"section_{number}_convolution_{place + 1}"
                options = {"padding": "same", "activation": None}
                return convolution(x, channels, 3, 1, seed + 5 * (number - 1) + place, name, **options)

            x = keras.layers.MaxPooling2D(3, 2, "same", "channels_last", dtype="float32")(padded(x, 0))
            for block in range(2):
                inner = padded(keras.ops.relu(x), 1 + 2 * block)
                x = x + padded(keras.ops.relu(inner), 2 + 2 * block)
        return keras.ops.relu(x)
