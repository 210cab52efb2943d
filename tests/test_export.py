"""Agents as Keras models: the same Q-values, of layers that every Keras has; and the files that hold them."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import tensorq as tq
from tensorq.agents.dqn import DQN
from tensorq.config import Config
from tensorq.envs.spaces import space_to_json
from tensorq.errors import TensorqError
from tensorq.networks.build import build_network, network_function
from tensorq.networks.numpy_network import NumpyNetwork, num_params
from tensorq.networks.standard import custom_model, standard_mlp
from tensorq.runs import directory
from test_load import CONFIG, OBS, SPACES, half_frozen, make_run
from test_networks import ACTIONS, HEADS, OBSERVATIONS, OFF_ON, Subclassed, own

SETTINGS: dict[str, Any] = {"num_atoms": 11, "value_min": -20, "value_max": 50}
WIDE = gym.spaces.Box(np.float32([1000, -np.inf, 0]), np.float32([1001, np.inf, 5]))
SPACES_TO_SHOW = [
    *OBSERVATIONS,
    (WIDE, np.float32([[1000, 3, 5], [1000.5, -2, 1], [1001, 0, 0], [1000.1, 9, 4]])),
    (gym.spaces.Box(-5, 5, (), np.float64), np.linspace(-5, 5, 4)),
]
SWITCHES = itertools.product(HEADS, OFF_ON, OFF_ON, OFF_ON)
CASES = [
    (*switches, ((), (8,), (8, 6))[i % 3], SPACES_TO_SHOW[(i + i // 6) % 6]) for i, switches in enumerate(SWITCHES)
]


@pytest.mark.parametrize(("head", "dueling", "noisy", "layer_norm", "hidden_sizes", "observations"), CASES)
def test_the_model_rates_as_the_agent_does(
    head: Any, dueling: bool, noisy: bool, layer_norm: bool, hidden_sizes: tuple[int, ...], observations: Any
) -> None:
    space, obs = observations
    config = Config(
        head=head, dueling=dueling, noisy=noisy, layer_norm=layer_norm, hidden_sizes=hidden_sizes,
        scale_observations=layer_norm != dueling, **SETTINGS,
    )  # fmt: skip
    params = np.random.default_rng(0).normal(size=num_params(space, ACTIONS, config)).astype(np.float32)
    expected = NumpyNetwork(space, ACTIONS, config, params)(obs)
    before = random.getstate()
    model = standard_mlp(space, ACTIONS, config, params)
    assert random.getstate() == before
    found = np.asarray(model(obs))
    assert found.shape == (4, ACTIONS) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    # A process without tensorq can load it.
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    assert all(layer.dtype_policy.name == "float32" for layer in model.layers if layer.weights)


@pytest.mark.parametrize(
    "settings", [*({"head": head} for head in HEADS), {"layer_norm": True, "noisy": True}], ids=str
)
def test_a_saved_agent_is_loaded_by_keras(settings: dict[str, Any], tmp_path: Path) -> None:
    config = Config(scale_observations=True, dueling=True, **SETTINGS, **settings)
    params = build_network(WIDE, 2, config).initial_params()
    run = tmp_path / "run"
    make_run(
        run,
        params,
        **{name: getattr(config, name) for name in ("scale_observations", "dueling", *SETTINGS)},
        **settings,
    )
    content = directory.read_config(run)
    content["environment"]["observation_space"] = space_to_json(WIDE)
    directory.write_json(run / "config.json", content)
    obs = SPACES_TO_SHOW[4][1]
    file = tq.open_run(run).save(str(tmp_path / "agent.keras"))
    assert file == tmp_path / "agent.keras"
    expected = tq.load(run).q_values(obs)
    np.testing.assert_allclose(keras.models.load_model(file)(obs), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(tq.open_run(run).keras_model().predict(obs, verbose=0), expected, rtol=1e-5, atol=1e-5)


IMAGES = gym.spaces.Box(0, 255, (20, 18, 2), np.uint8)
LOADS_WITHOUT_TENSORQ = """
import sys
sys.modules["tensorq"] = None
import keras, numpy as np
for path in sys.argv[2:]:
    np.save(path + ".npy", keras.models.load_model(path)(np.load(sys.argv[1])))
"""


def features(space: gym.Space) -> keras.Model:
    return keras.Sequential([keras.Input(space.shape), tq.layers.Conv2D(3, 5, 2, "same"), keras.layers.Flatten()])


def test_agents_of_images_are_loaded_without_tensorq(tmp_path: Path) -> None:
    cases: list[tuple[str, dict[str, Any], Any]] = [
        ("mlp", {"encoder": "cnn", "dueling": True, "noisy": True, "layer_norm": True}, None),
        ("mlp", {"encoder": "cnn", "channels": (4,), "kernel_sizes": (3,), "strides": (2,), "head": "quantile"}, None),
        ("mlp", {"encoder": "impala", "sections": (4, 4), "head": "categorical", "dueling": True}, None),
        ("mlp", {"encoder": "cnn", "head": "implicit_quantile"}, None),
        ("features", {"noisy": True, "head": "implicit_quantile"}, network_function(None, features)),
    ]
    obs, expected, files = IMAGES.sample()[None].repeat(3, axis=0), [], []
    obs[1:] //= 2
    np.save(tmp_path / "obs.npy", obs)
    for number, (kind, settings, function) in enumerate(cases):
        run = tmp_path / f"run {number}"
        config = Config(hidden_sizes=(16,), **SETTINGS | settings)
        params = build_network(IMAGES, 2, config, function).initial_params()
        params = np.random.default_rng(0).normal(size=params.size, scale=0.1).astype(np.float32)
        make_run(run, params, kind, hidden_sizes=(16,), **SETTINGS | settings)
        content = directory.read_config(run)
        content["environment"]["observation_space"] = space_to_json(IMAGES)
        directory.write_json(run / "config.json", content)
        opened = tq.open_run(run, features=features if function else None)
        files.append(opened.save(tmp_path / f"{number}.keras"))
        assert b"tensorq" not in zipfile.ZipFile(files[-1]).read("config.json")
        expected.append(tq.load(run, features=features if function else None).q_values(obs))
    program = [sys.executable, "-W", "ignore", "-c", LOADS_WITHOUT_TENSORQ]
    subprocess.run([*program, tmp_path / "obs.npy", *files], check=True, timeout=120)
    for file, q_values in zip(files, expected, strict=True):
        np.testing.assert_allclose(np.load(f"{file}.npy"), q_values, rtol=1e-4, atol=1e-4)


def test_a_table_is_looked_up_exactly(tmp_path: Path) -> None:
    run, table = tmp_path / "run", np.random.default_rng(0).normal(size=(4, 2))
    make_run(run, table.ravel(), "table", algorithm="qtable", preset="qtable", learning_rate_final=0.1)
    content = directory.read_config(run)
    content["environment"]["observation_space"] = space_to_json(gym.spaces.Discrete(4, start=-3))
    directory.write_json(run / "config.json", content)
    model = tq.open_run(run).keras_model()
    np.testing.assert_array_equal(model(np.array([0, -3, -2])), table[[3, 0, 1]])
    file = tq.open_run(run).save(tmp_path / "table.keras")
    np.testing.assert_array_equal(keras.models.load_model(file)(np.arange(-3, 1)), table)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [({}, ()), ({"head": "quantile", "num_atoms": 4}, (3, 4)), ({"head": "categorical", "num_atoms": 5}, (3, 5)),
     ({"head": "hl_gauss", "num_atoms": 9}, (3, 9))],
)  # fmt: skip
def test_a_network_of_the_users_own_gives_q_values(settings: dict[str, Any], shape: tuple[int, ...]) -> None:
    config = Config(**settings)
    for space, obs in OBSERVATIONS[:2]:
        network = build_network(space, ACTIONS, config, own(int(np.prod(shape or (ACTIONS,))), *shape))
        params = np.random.default_rng(1).normal(size=network.initial_params().size).astype(np.float32)
        expected = DQN(config, network).q_values(tf.constant(params), tf.constant(obs))
        model = custom_model(network, config, params)
        assert (model is network.model) == (not settings)
        np.testing.assert_allclose(model(obs), expected, rtol=1e-5, atol=1e-4)


def test_runs_with_a_network_are_saved_where_keras_can(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_run(run, build_network(*SPACES, CONFIG, half_frozen).initial_params() + np.float32(1), "custom")
    with pytest.raises(TensorqError, match="needs network="):
        tq.open_run(run).keras_model()
    opened = tq.open_run(run, network=half_frozen)
    expected = tq.load(run, network=half_frozen).q_values(OBS)
    np.testing.assert_allclose(keras.models.load_model(opened.save(tmp_path / "a.keras"))(OBS), expected, rtol=1e-5)

    def subclassed(space: gym.Space, num_actions: int) -> keras.Model:
        return Subclassed(num_actions)

    make_run(tmp_path / "other", np.zeros(6 * 8 + 8 + 8 * 3 + 3, np.float32), "custom")
    content = directory.read_config(tmp_path / "other")
    content["environment"] |= {
        "observation_space": space_to_json(OBSERVATIONS[0][0]), "action_space": {"discrete": 3, "start": 0}
    }  # fmt: skip
    directory.write_json(tmp_path / "other" / "config.json", content)
    assert tq.open_run(tmp_path / "other", network=subclassed).keras_model()(OBSERVATIONS[0][1]).shape == (4, 3)


def test_an_agent_is_saved_as_a_keras_file_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "run", build_network(*SPACES, CONFIG).initial_params())
    run = tq.open_run(tmp_path / "run")
    for name in ("agent.h5", "agent", ".keras"):
        with pytest.raises(TensorqError, match="output: received '.*', expected a file name that ends in .keras"):
            run.save(tmp_path / name)
    with pytest.raises(TensorqError, match="there is no folder"):
        run.save(tmp_path / "nowhere" / "agent.keras")
    with pytest.raises(TensorqError, match="has no checkpoint yet"):
        run.save(tmp_path / "agent.keras", which="last")

    def refuse(model: keras.Model, path: Path) -> None:
        path.write_bytes(b"half")
        raise NotImplementedError("a layer without\nget_config")

    (tmp_path / "agent.keras").write_bytes(b"before")
    monkeypatch.setattr(keras.Model, "save", refuse)
    with pytest.raises(TensorqError, match=r"cannot be saved: NotImplementedError: a layer without get_config \("):
        run.save(tmp_path / "agent.keras")
    assert (tmp_path / "agent.keras").read_bytes() == b"before"
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*"))
