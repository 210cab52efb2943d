"""The settings of a network: its encoder, and the layers between the encoder and the head's outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorq.errors import TensorqError
from tensorq.networks.encoders import ENCODERS
from tensorq.settings import Part, setting

if TYPE_CHECKING:
    from tensorq.config import Config

MOST_LAYERS = 100
MOST_FRAMES = 100


@dataclass(frozen=True)
class NetworkSettings(Part):
    """Settings of the encoder, the dense layers, and the streams of a dueling network."""

    subject = "network"
    searched = {"hidden_sizes": ((64, 64), (128, 128), (256,), (256, 256)), "layer_norm": (False, True)}

    encoder: str = setting(
        "auto",
        "The part that computes features from an observation: by auto cnn for images of at least 8 pixels a side, mlp "
        "for everything else.",
        choices=ENCODERS,
        before="mlp",
    )
    frame_stack: int = setting(
        1,
        "Successive observations that the network sees at once, as by Gymnasium's FrameStackObservation: the first of "
        "an episode is repeated. Replay stores each of them once.",
        at_least=1,
        at_most=MOST_FRAMES,
    )
    hidden_sizes: tuple[int, ...] = setting(
        (256,), "Units of each hidden layer after the encoder; () in Python means none.", at_least=1, idle=True
    )
    layer_norm: bool = setting(False, "Normalise each hidden layer before its ReLU (Ba 2016).")
    dueling: bool = setting(False, "Separate outputs for the state's value and the actions' advantages (Wang 2016).")

    normalize_observations: bool = setting(
        False,
        "Scale each number of an observation to mean 0 and deviation 1 by running statistics, which the agent keeps.",
    )

    def check(self, config: Config) -> None:
        """Refuse more than MOST_LAYERS layers, and observations that are scaled twice."""
        if self.normalize_observations and getattr(config, "scale_observations", False):
            raise TensorqError("normalize_observations and scale_observations: expected one of them.")
        if len(self.hidden_sizes) > MOST_LAYERS:
            received = f"received {len(self.hidden_sizes)} layers"
            raise TensorqError(f"hidden_sizes: {received}, expected at most {MOST_LAYERS}.")


@dataclass(frozen=True)
class NoiseSettings(Part):
    """Settings of noisy layers."""

    subject = "noisy layers"

    noisy: bool = setting(
        False,
        "Noisy dense layers explore in place of random actions (Fortunato 2018); lower epsilon with it.",
    )
    noisy_deviation: float = setting(
        0.5, "Initial deviation of noisy layers, divided by the root of their number of inputs.", above=0, idle=True
    )


def frame_stack(config: Config) -> int:
    """How many successive observations the agent sees at once: K, 1 for a table."""
    network = config.find(NetworkSettings)
    return 1 if network is None else network.frame_stack


def noise_deviation(config: Config) -> float:
    """The initial deviation of noisy layers; 0 if the layers have no noise."""
    noise = config.find(NoiseSettings)
    return noise.noisy_deviation if noise is not None and noise.noisy else 0.0
