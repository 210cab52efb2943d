"""Encoders compute features [N, F] from observations. One file for each."""

from tensorq.settings import Choices

ENCODERS = Choices(
    "encoder",
    {
        "auto": "tensorq.networks.encoders.auto:AutoEncoder",
        "cnn": "tensorq.networks.encoders.cnn:CNNEncoder",
        "impala": "tensorq.networks.encoders.impala:ImpalaEncoder",
        "mlp": "tensorq.networks.encoders.mlp:MLPEncoder",
        "nature": "tensorq.networks.encoders.nature:NatureEncoder",
    },
)


def register_encoder(name: str, home: str) -> None:
    """Register an encoder under a name. `home` is the "module:Class" of a subclass of encoder.Encoder."""
    ENCODERS.register(name, home)
