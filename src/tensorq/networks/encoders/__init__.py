"""Encoders: what makes features [N, F] of observations. A file each."""

from tensorq.settings import Choices

ENCODERS = Choices({"mlp": "tensorq.networks.encoders.mlp:MLPEncoder"})
