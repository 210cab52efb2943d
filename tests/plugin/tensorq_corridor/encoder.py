"""Sines and cosines of each number of an observation (Rahimi and Recht 2007, with frequencies that are given)."""

from dataclasses import dataclass

from tensorq import setting
from tensorq.networks.encoders.encoder import Encoder


@dataclass(frozen=True)
class Waves(Encoder):
    """Features [N, 2 * wave_count * numbers]."""

    subject = "encoder waves"

    wave_count: int = setting(3, "Waves of each number, of 1, 2, 3 ... half periods in a unit.", at_least=1)

    def build(self, observation_space, seed):
        """As Keras tensors."""
        import keras

        inputs = keras.Input(observation_space.shape, dtype="float32")
        x = keras.layers.Flatten()(inputs)
        waves = [wave(3.14159 * (1 + i) * x) for i in range(self.wave_count) for wave in (keras.ops.sin, keras.ops.cos)]
        return inputs, keras.ops.concatenate(waves, axis=1)
