"""The encoder of convolutions, for images and boards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorq.errors import TensorqError
from tensorq.networks.encoders.encoder import Encoder
from tensorq.settings import setting

if TYPE_CHECKING:
    from tensorq.config import Config


@dataclass(frozen=True)
class CNNEncoder(Encoder):
    """Convolutions without padding, each followed by a ReLU. The dense layers after them are hidden_sizes.

    The defaults are those of MinAtar (Young and Tian 2019): one layer of 16 kernels of 3x3.
    """

    subject = "encoder cnn"

    channels: tuple[int, ...] = setting((16,), "Kernels of each convolution.", at_least=1, idle=True)
    kernel_sizes: tuple[int, ...] = setting(
        (3,), "Sides of the kernels of each convolution, in pixels.", at_least=1, idle=True
    )
    strides: tuple[int, ...] = setting((1,), "Steps of each convolution, in pixels.", at_least=1, idle=True)
    channels_first: bool = setting(False, "Images are [channels, height, width], not [height, width, channels].")
    divide_by_255: bool = setting(
        False, "Divide by 255 whatever the bounds are; uint8 with the bounds 0 and 255 is always divided."
    )

    def check(self, config: Config) -> None:
        """Refuse layers whose numbers are not all given."""
        counts = [len(self.channels), len(self.kernel_sizes), len(self.strides)]
        if len(set(counts)) > 1 or not counts[0]:
            received = ", ".join(map(str, counts))
            raise TensorqError(
                f"channels, kernel_sizes and strides: received {received} numbers, expected as many of each, one for "
                "each convolution."
            )

    def build(self, observation_space: Any, seed: int) -> tuple[Any, Any]:
        """Input and float32 features, for a Box of rank 2 or 3."""
        import keras

        from tensorq.core.pixels import pixel_mask
        from tensorq.networks.layers import Conv2D

        shape = self.image_shape(observation_space)
        height, width = shape[:2]
        for kernel, stride in zip(self.kernel_sizes, self.strides, strict=True):
            height, width = ((side - kernel) // stride + 1 for side in (height, width))
            if min(height, width) < 1:
                raise TensorqError(
                    f"encoder cnn: observations of shape {shape} are smaller than the kernels "
                    f"{self.kernel_sizes} with strides {self.strides} need; give smaller ones, or encoder mlp."
                )
        inputs = keras.Input(observation_space.shape, dtype=str(observation_space.dtype))
        x = keras.ops.cast(inputs, "float32")
        if self.channels_first and len(observation_space.shape) == 3:
            x = keras.ops.transpose(x, (0, 2, 3, 1))
        x = keras.ops.reshape(x, (-1, *shape))
        if self.divide_by_255 or pixel_mask(observation_space).all():
            x = x * (1 / 255)
        settings = zip(self.channels, self.kernel_sizes, self.strides, strict=True)
        for layer, (channels, kernel, stride) in enumerate(settings):
            first = keras.initializers.GlorotUniform(seed=seed + 60 + layer)
            options = {"kernel_initializer": first, "activation": "relu", "data_format": "channels_last"}
            x = Conv2D(channels, kernel, stride, name=f"convolution_{layer + 1}", dtype="float32", **options)(x)
        return inputs, keras.layers.Flatten("channels_last", dtype="float32")(x)

    def image_shape(self, observation_space: Any) -> tuple[int, ...]:
        """(height, width, channels) of an image; raises TensorqError for a space that has none."""
        import gymnasium as gym

        shape = observation_space.shape
        if not isinstance(observation_space, gym.spaces.Box) or len(shape) not in (2, 3):
            raise TensorqError(
                f"encoder cnn: received observations of {observation_space}, expected a Box of shape [height, width], "
                "or with channels of rank 3; give encoder mlp."
            )
        if len(shape) == 2:
            return (*shape, 1)
        return (shape[1], shape[2], shape[0]) if self.channels_first else shape
