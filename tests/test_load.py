"""Loading what a run kept: the same network, whatever else the process has done; and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorq.config import Config
from tensorq.envs.description import describe
from tensorq.errors import TensorqError
from tensorq.evaluation.load import load_agent
from tensorq.networks.build import build_network
from tensorq.runs import directory
from tensorq.runs.checkpoint import Checkpoints

CONFIG = Config(seed=7)
ENVIRONMENT = describe(CONFIG.env)
SPACES = ENVIRONMENT.observation_space, 2
OBS = np.array([[0.1, -0.2, 0.3, 0.4]], np.float32)


def half_frozen(space: gym.Space, num_actions: int) -> keras.Model:
    """Random features that are not trained, and a layer that is."""
    frozen = keras.layers.Dense(8, "tanh", trainable=False)
    return keras.Sequential([keras.Input(space.shape), frozen, keras.layers.Dense(num_actions)])


def make_run(path: Path, params: np.ndarray, network: str) -> dict[str, Any]:
    """A run folder with a best agent; returns config.json."""
    content = {
        "config": dataclasses.asdict(CONFIG),
        "environment": ENVIRONMENT.to_json(),
        "network": network,
    }
    with directory.create(path, content) as run:
        Checkpoints(run.checkpoints_path).save_best({"agent.params": params}, {})
    return content


def test_weights_that_are_not_trained_are_those_of_the_run(tmp_path: Path) -> None:
    network = build_network(*SPACES, CONFIG, half_frozen)
    params = network.initial_params() + np.float32(1)
    make_run(tmp_path / "run", params, "custom")
    expected = network.q_values(tf.constant(params), tf.constant(OBS))
    keras.utils.set_random_seed(1)  # whatever else the process does
    np.testing.assert_allclose(load_agent(tmp_path / "run", network=half_frozen).q_values(OBS), expected, rtol=1e-6)
    with pytest.raises(TensorqError, match="18 parameters are stored, the network function built 10"):
        load_agent(tmp_path / "run", network=lambda space, count: keras.Sequential(
            [keras.Input(space.shape), keras.layers.Dense(count)]))  # fmt: skip
