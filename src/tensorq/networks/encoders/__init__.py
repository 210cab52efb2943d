"""Encoders: what makes features [N, F] of observations. A file each."""

from tensorq.settings import Choices

ENCODERS = Choices("encoder", {"mlp": "tensorq.networks.encoders.mlp:MLPEncoder"})


def register_encoder(name: str, home: str) -> None:
    """Make an encoder known by a name: `home` is the "module:Class" of a subclass of encoder.Encoder."""
    ENCODERS.register(name, home)
