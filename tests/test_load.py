"""Loading what a run kept: the same network, whatever else the process has done; and what is refused."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import tensorq as tq
from tensorq import trainer
from tensorq.agents.trained import TrainedAgent
from tensorq.config import Config
from tensorq.envs.description import describe
from tensorq.envs.spaces import space_to_json
from tensorq.errors import TensorqError
from tensorq.evaluation.load import evaluate_run, read_kept
from tensorq.networks.build import build_network
from tensorq.networks.numpy_network import num_params
from tensorq.networks.q_network import build_q_network
from tensorq.runs import directory
from tensorq.runs.checkpoint import Checkpoints
from tensorq.runs.saved import SavedRun
from tensorq.show.film import film

CONFIG = Config(seed=7)
ENVIRONMENT = describe(CONFIG.env)
SPACES = ENVIRONMENT.observation_space, 2
OBS = np.array([[0.1, -0.2, 0.3, 0.4]], np.float32)


def half_frozen(space: gym.Space, num_actions: int) -> keras.Model:
    """Random features that are not trained, and a layer that is."""
    frozen = keras.layers.Dense(8, "tanh", trainable=False)
    return keras.Sequential([keras.Input(space.shape), frozen, keras.layers.Dense(num_actions)])


def make_run(path: Path, params: np.ndarray, network: str = "mlp", **settings: Any) -> None:
    """A run folder with a best agent."""
    content = {
        "config": dataclasses.asdict(dataclasses.replace(CONFIG, **settings)),
        "environment": ENVIRONMENT.to_json(),
        "network": network,
    }
    with directory.create(path, content) as run:
        Checkpoints(run.checkpoints_path).save_best({"agent.params": params}, {})


def test_weights_that_are_not_trained_are_those_of_the_run(tmp_path: Path) -> None:
    network = build_network(*SPACES, CONFIG, half_frozen)
    params = network.initial_params() + np.float32(1)
    make_run(tmp_path / "run", params, "custom")
    expected = network.outputs(tf.constant(params), tf.constant(OBS))[:, :, 0]
    keras.utils.set_random_seed(1)  # whatever else the process does
    np.testing.assert_allclose(tq.load(tmp_path / "run", network=half_frozen).q_values(OBS), expected, rtol=1e-6)
    with pytest.raises(TensorqError, match="18 parameters are stored, but the network function built 10"):
        tq.load(tmp_path / "run", network=lambda space, count: keras.Sequential(
            [keras.Input(space.shape), keras.layers.Dense(count)]))  # fmt: skip


@pytest.mark.parametrize("network", [None, lambda space, count: build_q_network(space, count, CONFIG)])
def test_states_and_masks_that_are_none_are_refused(tmp_path: Path, network: Any) -> None:
    space = gym.spaces.Discrete(4)
    params = np.zeros(num_params(space, 3, CONFIG), np.float32)
    make_run(tmp_path / "run", params, "mlp" if network is None else "custom")
    content = directory.read_config(tmp_path / "run")
    content["environment"] |= {"observation_space": space_to_json(space), "action_space": {"discrete": 3, "start": 7}}
    directory.write_json(tmp_path / "run" / "config.json", content)
    agent = tq.load(tmp_path / "run", network=network)
    assert agent.act(3, mask=[0, 1, 1]) == 8
    for state in (-1, 9, [0, 4]):
        with pytest.raises(TensorqError, match=r"received the states \[.*\], expected them from 0 to 3"):
            agent.act(state)
    for state in (2.7, [1, 2.5], np.nan, 2**40, "2"):
        with pytest.raises(TensorqError, match="received .*, expected numbers of shape .* for one observation"):
            agent.act(state)
    for mask in ([1, 0], [1, 0, 1, 1], [1], [[1, 0, 1]], [0, 1, 2], [[1], [1, 0]], "101"):
        with pytest.raises(TensorqError, match=r"action mask: received .*, expected zeros and ones of shape \(3,\)\."):
            agent.act(1, mask=mask)
    with pytest.raises(TensorqError, match="received only zeros, expected a legal action"):
        agent.act([1, 2], mask=[[1, 0, 0], [0, 0, 0]])
    for mask in ([[1, 0, 1]], [[1, 0], [1, 0]], [1, 0]):
        with pytest.raises(TensorqError, match=r"expected zeros and ones of shape \(3,\) or \(2, 3\)\."):
            agent.act([1, 2], mask=mask)


def test_pixels_that_uint8_cannot_hold_are_refused() -> None:
    agent = TrainedAgent(lambda obs: obs[:, 0], gym.spaces.Box(0, 255, (1, 2), np.uint8), gym.spaces.Discrete(2))
    assert agent.act([[3, 4]]) == agent.act(np.array([[3.0, 4.0]])) == 1
    for obs in ([[0.3, 0.4]], [[300, 4]], np.array([[-1, 2]])):
        with pytest.raises(TensorqError, match=r"expected numbers of shape \(1, 2\) for one observation"):
            agent.act(obs)


@pytest.mark.parametrize("network", [None, lambda space, count: build_q_network(space, count, CONFIG)])
def test_observations_that_lead_to_no_number_are_refused(tmp_path: Path, network: Any) -> None:
    make_run(tmp_path / "run", build_network(*SPACES, CONFIG).initial_params(), "mlp" if network is None else "custom")
    agent = tq.load(tmp_path / "run", network=network)
    good, wrong = [0.1, 0.2, 0.3, 0.4], [np.nan, 0, 0, 0]
    for obs in (wrong, [good, wrong], np.array([wrong], np.float32)):
        with pytest.raises(TensorqError, match=r"received .*, which has NaN, expected numbers of shape \(4,"):
            agent.act(obs)
    for large in (np.inf, -np.inf, 1e300):
        with pytest.raises(TensorqError, match=r"the Q-values of .* are not finite: the observation is too large, or"):
            agent.act([good, [0, large, 0, 0]])
    assert agent.act([good, good]).shape == (2,)


def test_what_a_run_needs_is_asked_for_at_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_run(run, np.zeros(1, np.float32), "custom")
    content = directory.read_config(run)
    content["environment"]["custom"] = True
    directory.write_json(run / "config.json", content)
    given = rf"in Python, .*tq.{{}}\('{run}', make_env=make_env, network=network\)"
    for use, name in ((read_kept, "open_run"), (evaluate_run, "open_run"), (trainer.resume, "resume")):
        with pytest.raises(TensorqError, match=given.format(name)):
            use(SavedRun(run))  # type: ignore[operator]
    for kind in ("of a newer version", None):
        directory.write_json(run / "config.json", {**content, "network": kind})
        for use in (read_kept, evaluate_run, trainer.resume):
            with pytest.raises(TensorqError, match="needs network"):
                use(SavedRun(run, make_env=make))


DAMAGE: dict[str, Any] = {
    "none": None,
    "empty": {},
    "list": [],
    "text": "CartPole-v1",
    "no dtype": {"observation_space": {"shape": [4]}},
    "bad dtype": {"observation_space": {"shape": [4], "dtype": "float33"}},
    "object dtype": {"observation_space": {"shape": [4], "dtype": "object"}},
    "huge shape": {"observation_space": {"shape": [10**6, 10**6], "dtype": "float32"}},
    "negative shape": {"observation_space": {"shape": [-4], "dtype": "float32"}},
    "no actions": {"action_space": {"discrete": 0, "start": 0}},
    "custom": {"custom": "no"},
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_environment_is_one_clear_line(tmp_path: Path, damage: Any) -> None:
    run = tmp_path / "run"
    make_run(run, np.zeros(num_params(*SPACES, CONFIG), np.float32))
    content = directory.read_config(run)
    content["environment"] = {**content["environment"], **damage} if damage and isinstance(damage, dict) else damage
    directory.write_json(run / "config.json", content)
    for use in (read_kept, evaluate_run, film, trainer.resume):
        with pytest.raises(TensorqError, match=r'the "environment" of .*config.json is damaged \(.+put the original'):
            use(SavedRun(run))


class Made(Exception):
    """Somebody asked for an environment."""


def make() -> gym.Env:
    raise Made


def test_a_run_on_an_id_with_a_module_goes_on_with_a_function(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_run(run, np.zeros(num_params(*SPACES, CONFIG), np.float32), env="module:CartPole-v1")
    uses: list[Any] = [trainer.resume, evaluate_run, film]
    for use in uses:
        with pytest.raises(
            TensorqError, match="import the module module, but .*: name it again by --env module:.*make_env="
        ):
            use(SavedRun(run))
        with pytest.raises(TensorqError, match=r"the environment function raised Made .*test_load.py, line \d+\)"):
            use(SavedRun(run, make_env=make))
    make_run(tmp_path / "other", np.zeros(1, np.float32))
    with pytest.raises(TensorqError, match="was started without make_env"):
        trainer.resume(SavedRun(tmp_path / "other", make_env=make))


def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(TensorqError, match="seed: received -1"):
        film(SavedRun(tmp_path), tmp_path / "a.gif", seed=-1)
    most = max(64, 4 * (os.cpu_count() or 1))
    with pytest.raises(TensorqError, match=f"threads: received {most + 1}, expected at most {most} on this machine"):
        trainer.train(Config(threads=most + 1, loop="host"), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
