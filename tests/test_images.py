"""Encoders of images: their convolutions inside XLA and outside, their settings, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import tensorq as tq
from tensorq.config import Config
from tensorq.core.xla import compiled, in_xla_on_cpu
from tensorq.envs.description import describe
from tensorq.errors import TensorqError
from tensorq.events import Event, Message
from tensorq.layers import Conv2D
from tensorq.loops.build import build_loop
from tensorq.networks.encoders.auto import encoder_name, encoder_of
from tensorq.networks.encoders.cnn import CNNEncoder
from tensorq.networks.q_network import build_q_network

BOARD = gym.spaces.Box(0, 1, (10, 9, 4), np.uint8)
GREY = gym.spaces.Box(0, 255, (12, 12), np.uint8)


def features(encoder: CNNEncoder, space: gym.spaces.Box, obs: Any) -> Any:
    """Features of observations, as NumPy."""
    inputs, found = encoder.build(space, 0)
    return keras.Model(inputs, found)(obs).numpy()


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("kernel", "strides"), [(3, 1), (3, 2), ((2, 4), (3, 1)), (1, 2)])
def test_a_convolution_in_xla_has_the_values_and_gradients_of_keras(kernel: Any, strides: Any, padding: str) -> None:
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(3, 10, 9, 4)), tf.float32)
    layer, plain = Conv2D(5, kernel, strides, padding), keras.layers.Conv2D(5, kernel, strides, padding)
    for each in (layer, plain):
        each.build(x.shape)
    plain.set_weights([random.normal(size=weight.shape) for weight in plain.weights])
    layer.set_weights(plain.get_weights())

    def run(each: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.square(each(x)))
        return each(x), tape.gradient(loss, [x, *(weight.value for weight in each.weights)])

    for found, expected in zip(
        tf.nest.flatten(compiled(lambda: run(layer))()), tf.nest.flatten(run(plain)), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("kind", "convolutions"), [(Conv2D, False), (keras.layers.Conv2D, True)])
def test_only_keras_own_convolution_is_one_in_xla(kind: Any, convolutions: bool) -> None:
    layer = kind(5, 3)
    layer.build((None, 10, 9, 4))
    text = compiled(layer).experimental_get_compiler_ir(tf.zeros((3, 10, 9, 4)))(stage="hlo")
    assert (" convolution(" in text) == convolutions


def test_features_by_hand() -> None:
    # A kernel of 2x2 ones, bias 0, stride 2, on the numbers 0 to 15 in rows of 4, divided by 255:
    # 0 + 1 + 4 + 5 = 10, 2 + 3 + 6 + 7 = 18, 8 + 9 + 12 + 13 = 42, 10 + 11 + 14 + 15 = 50.
    space = gym.spaces.Box(0, 255, (4, 4), np.uint8)
    inputs, found = CNNEncoder(channels=(1,), kernel_sizes=(2,), strides=(2,)).build(space, 0)
    model = keras.Model(inputs, found)
    model.set_weights([np.ones((2, 2, 1, 1)), np.zeros(1)])
    np.testing.assert_allclose(
        model(np.arange(16, dtype=np.uint8).reshape(1, 4, 4)), [[10 / 255, 18 / 255, 42 / 255, 50 / 255]], rtol=1e-6
    )


def test_padding_by_hand() -> None:
    # A kernel of 3x3 ones on ones: 9 in the middle of 3x3 pixels, 6 at the sides, 4 in the corners; without padding 9.
    space = gym.spaces.Box(0, 9, (3, 3), np.uint8)
    for padding, expected in (("valid", [9]), ("same", [4, 6, 4, 6, 9, 6, 4, 6, 4])):
        encoder = CNNEncoder(channels=(1,), kernel_sizes=(3,), strides=(1,), padding=padding)  # type: ignore[arg-type]
        model = keras.Model(*encoder.build(space, 0))
        model.set_weights([np.ones((3, 3, 1, 1)), np.zeros(1)])
        np.testing.assert_array_equal(model(np.ones((1, 3, 3), np.uint8)), [expected])


class Grey(gym.Env):
    """Images without channels, of which nothing can be learned."""

    observation_space, action_space = GREY, gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        return np.zeros((12, 12), np.uint8), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
        return np.zeros((12, 12), np.uint8), 0.0, False, True, {}


def test_channels_first_is_the_same_image() -> None:
    obs = np.random.default_rng(0).integers(0, 2, (3, 10, 9, 4), np.uint8)
    first = gym.spaces.Box(0, 1, (4, 10, 9), np.uint8)
    expected = features(CNNEncoder(), BOARD, obs)
    np.testing.assert_array_equal(features(CNNEncoder(channels_first=True), first, obs.transpose(0, 3, 1, 2)), expected)


def test_boards_are_divided_by_255_on_request_alone() -> None:
    obs = np.ones((1, 10, 9, 4), np.uint8)
    once, divided = (features(CNNEncoder(divide_by_255=each), BOARD, obs) for each in (False, True))
    np.testing.assert_allclose(divided * 255, once, rtol=1e-5)


def test_each_setting_reaches_its_layer() -> None:
    config = Config(encoder="cnn", channels=(3, 5), kernel_sizes=(4, 2), strides=(2, 1), hidden_sizes=(7,))
    shapes = [tuple(weight.shape) for weight in build_q_network(GREY, 2, config).weights]
    # 12 pixels -> (12 - 4) // 2 + 1 = 5 -> (5 - 2) // 1 + 1 = 4 in each direction: 4 * 4 * 5 = 80 features.
    assert shapes == [(4, 4, 1, 3), (3,), (2, 2, 3, 5), (5,), (80, 7), (7,), (2, 7), (2,)]


def test_initial_weights_depend_on_the_seed_alone() -> None:
    one, same, other = (
        build_q_network(BOARD, 2, Config(encoder="cnn", seed=seed)).get_weights()[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize(
    ("settings", "space", "message"),
    [
        ({"channels": (8, 8), "strides": (1,)}, BOARD, "received 2, 0, 1 numbers"),
        ({"channels": (8,), "kernel_sizes": (11,), "strides": (1,)}, BOARD, "smaller than kernels of 11 with"),
        ({}, gym.spaces.Box(0, 1, (4,)), "expected a Box of shape"),
        ({}, gym.spaces.Discrete(4), "expected a Box of shape"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], space: gym.Space, message: str) -> None:
    with pytest.raises(TensorqError, match=message):
        build_q_network(space, 2, Config(encoder="cnn", **settings))


@pytest.mark.parametrize(
    ("space", "encoder"),
    [
        (gym.spaces.Box(0, 255, (8, 8), np.uint8), "cnn"),
        (gym.spaces.Box(0, 255, (96, 96, 3), np.uint8), "cnn"),
        (gym.spaces.Box(0, 255, (7, 8, 3), np.uint8), "mlp"),  # a side below 8
        (gym.spaces.Box(0, 1, (10, 10, 4), np.uint8), "mlp"),  # codes
        (gym.spaces.Box(0, 255, (10, 10, 4), np.float32), "mlp"),
        (gym.spaces.Box(0, 255, (64,), np.uint8), "mlp"),
        (gym.spaces.Discrete(3), "mlp"),
    ],
)
def test_images_get_convolutions_by_default(space: gym.Space, encoder: str) -> None:
    assert encoder_name(Config(), space) == encoder
    assert encoder_of(Config(), space).subject == f"encoder {encoder}"


def test_a_run_of_before_has_the_encoder_mlp() -> None:
    assert Config.from_saved({"env": "x"}).encoder == "mlp"


def test_the_default_layers_of_large_images_are_those_of_nature_dqn() -> None:
    """84 pixels -> (84 - 8) // 4 + 1 = 20 -> (20 - 4) // 2 + 1 = 9 -> 7: 7 * 7 * 64 = 3 136 features."""
    space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    for config in (Config(channels_first=True), Config(encoder="nature", channels_first=True)):
        shapes = [tuple(weight.shape) for weight in build_q_network(space, 6, config).weights]
        assert shapes[:-2:2] == [(8, 8, 4, 32), (4, 4, 32, 64), (3, 3, 64, 64), (3136, 256)]
    small = [tuple(weight.shape) for weight in build_q_network(GREY, 6, Config()).weights]
    assert small[:3] == [(3, 3, 1, 16), (16,), (10 * 10 * 16, 256)]


def test_impala_halves_the_sides_in_each_section() -> None:
    """12x12 -> 6x6 -> 3x3 with 8 channels: 72 features; a section has 5 convolutions of two weights each."""
    model = build_q_network(GREY, 2, Config(encoder="impala", sections=(4, 8), hidden_sizes=()))
    assert len(model.weights) == 2 * 5 * 2 + 2 and model.weights[-2].shape == (2, 72)
    assert np.isfinite(model(np.ones((1, 12, 12), np.uint8)).numpy()).all()


def test_settings_of_the_encoder_that_is_not_chosen_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TensorqError, match="channels_first: received True, expected False with encoder mlp"):
        tq.train("CartPole-v1", channels_first=True, run_dir=tmp_path / "run")
    with pytest.raises(TensorqError, match="scale_observations: received True, expected False with encoder cnn"):
        tq.train("tensorq/Snake8x8-v0", scale_observations=True, run_dir=tmp_path / "run")


@pytest.mark.parametrize("encoder", ["auto", "cnn"])
def test_images_without_channels_have_none_first(encoder: str, tmp_path: Path) -> None:
    with pytest.raises(TensorqError, match=r"channels_first: received True with observations of shape \(12, 12\)"):
        tq.train(Grey, channels_first=True, encoder=encoder, run_dir=tmp_path / "run")


def convolving(kind: Any) -> Any:
    """A network function with a convolution of this kind inside a model within the model."""

    def build(space: gym.Space, num_actions: int) -> keras.Model:
        inner = keras.Sequential([keras.Input(space.shape), kind(4, 3), keras.layers.Flatten()])
        inputs = keras.Input(space.shape)
        return keras.Model(inputs, keras.layers.Dense(num_actions)(inner(inputs)))

    return build


@pytest.mark.parametrize("switch", ["scale_observations", "channels_first", "divide_by_255"])
def test_a_network_function_takes_the_place_of_every_encoder(switch: str, tmp_path: Path) -> None:
    with pytest.raises(TensorqError, match=f"network= replaces the layers that have {switch}: give {switch}=False"):
        tq.train(
            "tensorq/Snake8x8-v0",
            network=convolving(Conv2D),
            run_dir=tmp_path / "run",
            **{switch: True},
        )


def test_one_line_tells_of_the_faster_convolution(tmp_path: Path) -> None:
    told: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, Message) and "tq.layers.Conv2D" in event.text:
            told.append(event.kind)

    small = {"steps": 60, "learning_starts_steps": 30, "batch_size": 8, "num_envs": 2, "evaluation_episodes": 2}
    tq.train(
        "tensorq/MinAtar-Breakout-v1",
        network=convolving(keras.layers.Conv2D),
        run_dir=tmp_path / "run",
        observers=[observe],
        **small,
    )
    assert told == ["note"]


@pytest.mark.parametrize(
    ("kind", "loop", "hints"),
    [(keras.layers.Conv2D, "compiled", 1), (Conv2D, "compiled", 0), (keras.layers.Conv2D, "host", 0)],
)
def test_the_line_is_for_keras_convolutions_in_the_compiled_loop(
    kind: Any, loop: str, hints: int, tmp_path: Path
) -> None:
    told: list[str] = []
    config = Config(env="tensorq/MinAtar-Breakout-v1", loop=loop, replay_capacity=100)
    build_loop(config, describe(config.env), convolving(kind), tmp_path / "replay.bin", told.append).close()
    assert len(told) == hints


@pytest.mark.parametrize("settings", [{}, {"algorithm": "pqn", "rollout_length": 64}], ids=["dqn", "pqn"])
@pytest.mark.parametrize(
    ("base", "loop", "in_xla"),
    [
        (keras.layers.Conv2D, "host", False),
        (keras.layers.Dense, "host", True),
        (keras.layers.Conv2D, "compiled", True),
    ],
)
def test_convolutions_of_the_host_loop_are_outside_xla(
    base: Any, loop: str, in_xla: bool, settings: dict[str, Any], tmp_path: Path
) -> None:
    traced: list[bool] = []

    class Noting(base):
        def call(self, inputs: Any) -> Any:
            traced.append(in_xla_on_cpu())
            return super().call(inputs)

    def build(space: gym.Space, num_actions: int) -> keras.Model:
        first = Noting(2, 3) if base is keras.layers.Conv2D else Noting(2)
        return keras.Sequential(
            [keras.Input(space.shape), first, keras.layers.Flatten(), keras.layers.Dense(num_actions)]
        )

    config = Config(env="tensorq/MinAtar-Breakout-v1", loop=loop, **settings)
    made = build_loop(config, describe(config.env), build, tmp_path / "replay.bin")
    made.close()
    assert (True in traced) == in_xla
