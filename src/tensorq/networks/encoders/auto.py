"""The default encoder: another one, by the observations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorq.networks.encoders import ENCODERS
from tensorq.networks.encoders.cnn import CNNEncoder
from tensorq.networks.encoders.encoder import Encoder, frame_space
from tensorq.networks.encoders.mlp import MLPEncoder
from tensorq.networks.settings import frame_stack

if TYPE_CHECKING:
    from tensorq.config import Config

LEAST_SIDE = 8  # pixels


@dataclass(frozen=True)
class AutoEncoder(Encoder):
    """cnn for images, mlp for everything else; with the settings of both."""

    subject = "encoder auto"
    uses = (CNNEncoder, MLPEncoder)


def encoder_name(config: Config, observation_space: Any) -> str:
    """The name of a run's encoder for observations of this space; never auto.

    An image is a Box of uint8 with bounds 0 and 255, of shape [height, width] or with channels, and at least 8 pixels
    in both directions. Smaller grids, and boards of codes with other bounds, have an encoder by name. Runs keep the
    name auto, so what it means must not change. With frame_stack above 1, the space is that of stacks.
    """
    if config.encoder != "auto":
        return str(config.encoder)
    if frame_stack(config) > 1:
        observation_space = frame_space(observation_space)
    return "cnn" if is_image(observation_space, config.channels_first) else "mlp"


def encoder_of(config: Config, observation_space: Any) -> Encoder:
    """The encoder of this name, with its settings."""
    encoder = config.part(ENCODERS.part(encoder_name(config, observation_space)))
    assert isinstance(encoder, Encoder)
    return encoder


def is_image(space: Any, channels_first: bool = False) -> bool:
    """Whether observations of a space are images."""
    import gymnasium as gym

    from tensorq.core.pixels import pixel_mask

    if not isinstance(space, gym.spaces.Box) or len(space.shape) not in (2, 3):
        return False
    sides = space.shape[1:] if channels_first and len(space.shape) == 3 else space.shape[:2]
    return min(sides) >= LEAST_SIDE and bool(pixel_mask(space).all())
