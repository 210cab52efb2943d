"""Encoders compute features [N, F] from observations. One file for each."""

from tensorq.settings import Choices

ENCODERS = Choices(
    "encoder",
    {
        "cnn": "tensorq.networks.encoders.cnn:CNNEncoder",
        "mlp": "tensorq.networks.encoders.mlp:MLPEncoder",
    },
)


def register_encoder(name: str, home: str) -> None:
    """Register an encoder under a name. `home` is the "module:Class" of a subclass of encoder.Encoder."""
    ENCODERS.register(name, home)
