"""The encoder of convolutions, for images and boards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tensorq.errors import TensorqError
from tensorq.networks.encoders.image import ImageEncoder, convolution
from tensorq.settings import setting

if TYPE_CHECKING:
    from tensorq.config import Config

# (channels, kernel, stride) of each layer: of MinAtar's networks (Young and Tian 2019), and of Nature DQN (Mnih 2015).
MINATAR = ((16, 3, 1),)
NATURE = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
LARGE = 36  # pixels of the smaller side from which the layers of Nature DQN leave something


@dataclass(frozen=True)
class CNNEncoder(ImageEncoder):
    """Convolutions, each followed by a ReLU.

    If none are given, large images get those of Nature DQN, others one layer of 16 kernels of 3x3.
    """

    subject = "encoder cnn"

    channels: tuple[int, ...] = setting(
        (),
        "Kernels of each convolution. If none are given: 16 of 3x3 pixels, and the three layers of encoder nature "
        f"for images of at least {LARGE}x{LARGE}.",
        at_least=1,
        idle=True,
    )
    kernel_sizes: tuple[int, ...] = setting(
        (), "Sides of the kernels of each convolution, in pixels.", at_least=1, idle=True
    )
    strides: tuple[int, ...] = setting((), "Steps of each convolution, in pixels.", at_least=1, idle=True)
    padding: Literal["valid", "same"] = setting(
        "valid",
        "Whether kernels stay inside the image (valid), or reach over its sides, which are padded with zeros (same).",
        idle=True,
    )

    def check(self, config: Config) -> None:
        """Refuse layers whose numbers are not all given."""
        counts = [len(self.channels), len(self.kernel_sizes), len(self.strides)]
        if len(set(counts)) > 1:
            received = ", ".join(map(str, counts))
            raise TensorqError(
                f"channels, kernel_sizes and strides: received {received} numbers, expected as many of each, one for "
                "each convolution."
            )

    def convolve(self, x: Any, seed: int) -> Any:
        """See ImageEncoder. Raises TensorqError for an image that is smaller than the kernels need."""
        height, width = x.shape[1:3]
        layers = tuple(zip(self.channels, self.kernel_sizes, self.strides, strict=True))
        usual = NATURE if min(height, width) >= LARGE else MINATAR
        return convolved(x, layers or usual, seed, self.subject, self.padding)


def convolved(x: Any, layers: tuple[tuple[int, int, int], ...], seed: int, subject: str, padding: str = "valid") -> Any:
    """Outputs of convolutions with these (channels, kernel, stride) for images [N, height, width, channels]."""
    height, width = x.shape[1:3]
    for _, kernel, stride in layers if padding == "valid" else ():
        height, width = ((side - kernel) // stride + 1 for side in (height, width))
        if min(height, width) < 1:
            kernels, strides = (" ".join(str(layer[place]) for layer in layers) for place in (1, 2))
            raise TensorqError(
                f"{subject}: images of {x.shape[1]}x{x.shape[2]} are smaller than kernels of {kernels} with strides "
                f"{strides} need; give encoder cnn with smaller ones, or encoder mlp."
            )
    for layer, (channels, kernel, stride) in enumerate(layers):
        x = convolution(x, channels, kernel, stride, seed + layer, f"convolution_{layer + 1}", padding=padding)
    return x
