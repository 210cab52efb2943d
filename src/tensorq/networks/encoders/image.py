"""What encoders of images share: how an observation becomes an image [N, height, width, channels] of float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tensorq.errors import TensorqError
from tensorq.networks.encoders.encoder import Encoder, frame_space
from tensorq.settings import setting


@dataclass(frozen=True)
class ImageEncoder(Encoder):
    """Convolutions, then their flat outputs. The dense layers after them are hidden_sizes."""

    channels_first: bool = setting(False, "Images are [channels, height, width], not [height, width, channels].")
    divide_by_255: bool = setting(
        False, "Divide by 255 whatever the bounds are; uint8 with the bounds 0 and 255 is always divided."
    )

    def build(self, observation_space: Any, seed: int) -> tuple[Any, Any]:
        """Input and float32 features, for a Box of rank 2 or 3."""
        import keras

        shape = self.image_shape(observation_space)
        inputs = keras.Input(observation_space.shape, dtype=str(observation_space.dtype))
        x = keras.ops.cast(inputs, "float32")
        if self.channels_first:
            x = keras.ops.transpose(x, (0, 2, 3, 1))
        return inputs, self._features(keras.ops.reshape(x, (-1, *shape)), observation_space, seed)

    def build_stack(self, observation_space: Any, seed: int) -> tuple[Any, Any]:
        """See Encoder. The frames of a stack become channels, all of the oldest first."""
        import keras

        frames, *frame = observation_space.shape
        height, width, channels = self.image_shape(frame_space(observation_space))
        inputs = keras.Input(observation_space.shape, dtype=str(observation_space.dtype))
        x = inputs if len(frame) == 3 else keras.ops.expand_dims(inputs, -1)
        x = keras.ops.transpose(x, (0, 3, 4, 1, 2) if self.channels_first else (0, 2, 3, 1, 4))
        x = keras.ops.reshape(keras.ops.cast(x, "float32"), (-1, height, width, frames * channels))
        return inputs, self._features(x, observation_space, seed)

    def _features(self, x: Any, observation_space: Any, seed: int) -> Any:
        """Features [N, F] of images [N, height, width, channels]; `observation_space` has their bounds."""
        import keras

        from tensorq.core.pixels import pixel_mask

        if self.divide_by_255 or pixel_mask(observation_space).all():
            x = x * (1 / 255)
        return keras.layers.Flatten("channels_last", dtype="float32")(self.convolve(x, seed + 60))

    def convolve(self, x: Any, seed: int) -> Any:
        """Outputs [N, height, width, channels] of the convolutions. Layer number i has the seed `seed` + i."""
        raise NotImplementedError

    def image_shape(self, observation_space: Any) -> tuple[int, ...]:
        """(height, width, channels) of an image; raises TensorqError for a space that has none."""
        import gymnasium as gym

        shape = observation_space.shape
        if not isinstance(observation_space, gym.spaces.Box) or len(shape) not in (2, 3):
            raise TensorqError(
                f"{self.subject}: received observations of {observation_space}, expected a Box of shape "
                "[height, width], or with channels of rank 3; give encoder mlp."
            )
        if len(shape) == 2 and self.channels_first:
            raise TensorqError(
                f"channels_first: received True with observations of shape {shape}, which have no channels: leave it "
                "out."
            )
        if len(shape) == 2:
            return (*shape, 1)
        return (shape[1], shape[2], shape[0]) if self.channels_first else shape


def convolution(x: Any, channels: int, kernel: int, stride: int, seed: int, name: str, **options: Any) -> Any:
    """A convolution with float32 weights, Glorot-uniform from a seed, and a ReLU unless `options` say otherwise."""
    import keras

    from tensorq.networks.layers import Conv2D

    first = keras.initializers.GlorotUniform(seed=seed)
    options = {"kernel_initializer": first, "activation": "relu", "data_format": "channels_last", **options}
    return Conv2D(channels, kernel, stride, name=name, dtype="float32", **options)(x)
