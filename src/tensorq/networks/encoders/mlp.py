"""The encoder of dense networks: flat observations, scaled on request; states of a Discrete space are one-hot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tensorq.errors import TensorqError
from tensorq.networks.encoders.encoder import Encoder
from tensorq.settings import setting

if TYPE_CHECKING:
    import gymnasium as gym
    import numpy as np

UNBOUNDED = 1e6  # a bound beyond this says nothing about the usual size of a number


@dataclass(frozen=True)
class MLPEncoder(Encoder):
    """Flattens observations. It has no weights."""

    subject = "encoder mlp"

    scale_observations: bool = setting(
        False,
        "Scale observations whose space has finite bounds to [-1, 1]; pixels are always scaled to [0, 1].",
    )
    pixels: Literal["by_bounds", "by_dtype"] = setting(
        "by_bounds",
        "Which numbers are divided by 255: uint8 with bounds 0 and 255 (by_bounds), or a space of uint8 (by_dtype).",
        idle=True,
        before="by_dtype",
        hidden=True,
    )

    def build(self, observation_space: gym.Space, seed: int) -> tuple[Any, Any]:
        """Input and flat float32 features, in the observation's order and regardless of Keras' global settings."""
        import gymnasium as gym
        import keras

        float32 = {"dtype": "float32"}
        if isinstance(observation_space, gym.spaces.Discrete):
            inputs = keras.Input((), dtype="int32")
            count, start = int(observation_space.n), int(observation_space.start)
            return inputs, keras.ops.one_hot(inputs - start, count, **float32)
        inputs = keras.Input(observation_space.shape, dtype=str(observation_space.dtype))
        x = keras.layers.Flatten("channels_last", **float32)(inputs)
        centre, factor = self.scaling(observation_space)
        return inputs, x if factor is None else (x - centre) * factor

    def in_numpy(self, observation_space: gym.Space) -> Callable[[np.ndarray], np.ndarray]:
        """See Encoder."""
        import gymnasium as gym
        import numpy as np

        if isinstance(observation_space, gym.spaces.Discrete):
            count, start = int(observation_space.n), int(observation_space.start)

            def one_hot(states: np.ndarray) -> np.ndarray:
                x = np.zeros((len(states), count), np.float32)
                x[np.arange(len(states)), state_rows(states, start, count)] = 1
                return x

            return one_hot
        centre, factor = self.scaling(observation_space)

        def flat(obs: np.ndarray) -> np.ndarray:
            x = np.asarray(obs, np.float32).reshape(len(obs), -1)
            return x if factor is None else (x - centre) * factor

        return flat

    def scaling(self, observation_space: gym.Space) -> tuple[Any, Any]:
        """(centre, factor) for x -> (x - centre) * factor on flat observations; factor is None if nothing is scaled.

        Pixels (core.pixels) are divided by 255. With scale_observations, other numbers that have finite bounds are
        scaled to [-1, 1].
        """
        import gymnasium as gym
        import numpy as np

        from tensorq.core.pixels import pixel_mask

        if not isinstance(observation_space, gym.spaces.Box):
            return np.float32(0), None
        pixels = pixel_mask(observation_space)
        if self.pixels == "by_dtype":
            pixels = np.full(observation_space.low.size, observation_space.dtype == np.uint8)
        if pixels.all():
            return np.float32(0), np.float32(1 / 255)
        if not self.scale_observations:
            return np.float32(0), np.where(pixels, 1 / 255, 1).astype(np.float32) if pixels.any() else None
        bounds = np.array([np.ravel(observation_space.low), np.ravel(observation_space.high)], np.float64)
        low, high = np.clip(bounds, -UNBOUNDED, UNBOUNDED)
        bounded = (low > -UNBOUNDED) & (high < UNBOUNDED) & (high > low) & ~pixels
        centre = np.where(bounded, (low + high) / 2, 0)
        factor = np.divide(2, high - low, out=np.ones_like(low), where=bounded)
        return centre.astype(np.float32), np.where(pixels, 1 / 255, factor).astype(np.float32)


def state_rows(states: Any, first: int, count: int) -> np.ndarray:
    """States [N], counted from 0; raises TensorqError unless all are from `first` to `first + count - 1`."""
    import numpy as np

    rows = np.asarray(states) - first
    if rows.size and not 0 <= rows.min() <= rows.max() < count:
        raise TensorqError(f"received the states {states}, expected them from {first} to {first + count - 1}.")
    return rows
