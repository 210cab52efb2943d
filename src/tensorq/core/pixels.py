"""Which numbers of an observation are pixels, which networks divide by 255. No TensorFlow here."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import numpy.typing as npt


class FlatBox(gym.spaces.Box):
    """The Box into which a composite space is flattened. `pixels` is a mask [numbers], True for pixels."""

    def __init__(self, flat: gym.spaces.Box, pixels: npt.NDArray[np.bool_]) -> None:
        super().__init__(flat.low, flat.high, flat.shape, flat.dtype.type)
        self.pixels = pixels


def pixel_mask(space: gym.spaces.Box) -> npt.NDArray[np.bool_]:
    """[numbers], True for pixels: uint8 whose bounds are 0 and 255. Flags and codes in uint8 have other bounds."""
    if isinstance(space, FlatBox):
        return space.pixels
    if space.dtype != np.uint8:
        return np.zeros(space.low.size, bool)
    return (space.low == 0).ravel() & (space.high == 255).ravel()
