"""The default network: in Keras as in NumPy, its layers by hand, and what is refused."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorq.agents.dqn import DQN
from tensorq.config import Config
from tensorq.core.xla import compiled
from tensorq.envs.observations import ObservationReader
from tensorq.envs.spaces import plain_observation_space
from tensorq.errors import TensorqError
from tensorq.heads.head import Head
from tensorq.networks.build import build_network, network_function
from tensorq.networks.encoders.mlp import MLPEncoder
from tensorq.networks.layers import Dense, RowDense
from tensorq.networks.network import Network
from tensorq.networks.numpy_network import NumpyNetwork, num_params, parameter_shapes
from tensorq.networks.own_space import from_stored
from tensorq.networks.q_network import build_q_network

ACTIONS = 3
BOX = gym.spaces.Box(-1, 1, (2, 3), np.float32)
ONE = gym.spaces.Discrete(1)
# Spaces, and four observations of each that differ.
OBSERVATIONS = [
    (BOX, np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 2, 3)),
    (gym.spaces.Box(0, 255, (2, 2), np.uint8), np.arange(0, 240, 15, np.uint8).reshape(4, 2, 2)),
    (gym.spaces.Discrete(4, start=-1), np.array([-1, 0, 1, 2], np.int32)),
    (gym.spaces.Box(-9, 9, (2,), np.int64), np.arange(-4, 4).reshape(4, 2)),
]
HEADS = ("expected", "categorical", "quantile", "implicit_quantile", "hl_gauss")
OFF_ON = (False, True)


def floats(*values: Any) -> tf.Tensor:
    return tf.constant(values, tf.float32)


def close(found: Any, expected: Any, rtol: float = 1e-5) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=rtol, atol=1e-6, strict=False)


# --- in Keras and in NumPy --------------------------------------------------------------------------------------------

# Sizes and observations take turns, so that each meets every head, the other, and every switch on and off.
COMBINATIONS = [
    (*switches, ((), (8,), (8, 6))[i % 3], (i + i // 4) % 4)
    for i, switches in enumerate(itertools.product(HEADS, OFF_ON, OFF_ON, OFF_ON))
]


def test_the_combinations_below_pair_every_setting_with_every_other() -> None:
    for one, other in itertools.combinations(range(6), 2):
        pairs = {(combination[one], combination[other]) for combination in COMBINATIONS}
        assert pairs == {*itertools.product(*({row[column] for row in COMBINATIONS} for column in (one, other)))}


@pytest.mark.parametrize(("head", "dueling", "noisy", "layer_norm", "hidden_sizes", "observation"), COMBINATIONS)
def test_the_network_in_numpy_is_the_one_in_keras(
    head: Any, dueling: bool, noisy: bool, layer_norm: bool, hidden_sizes: tuple[int, ...], observation: int
) -> None:
    config = Config(
        head=head, dueling=dueling, noisy=noisy, layer_norm=layer_norm, hidden_sizes=hidden_sizes, num_atoms=5,
        hl_gauss_spare_bins=1, value_min=-2, value_max=5, seed=2,
    )  # fmt: skip
    space, obs = OBSERVATIONS[observation]
    dqn = DQN(config, build_network(space, ACTIONS, config))
    assert dqn.network.shapes == parameter_shapes(space, ACTIONS, config)
    generator = np.random.default_rng(0)
    params = generator.normal(size=num_params(space, ACTIONS, config)).astype(np.float32)
    noise = generator.normal(size=dqn.network.num_noise).astype(np.float32)
    in_numpy = NumpyNetwork(space, ACTIONS, config, params)
    assert in_numpy.num_noise == dqn.network.num_noise
    assert bool(in_numpy.num_noise) == noisy
    given = tf.constant(params), tf.constant(obs)
    found = in_numpy(obs)
    assert found.shape == (4, ACTIONS)
    assert len(np.unique(found.round(4), axis=0)) == 4
    np.testing.assert_allclose(dqn.q_values(*given), found, rtol=1e-3, atol=2e-4)
    if noisy:
        disturbed = in_numpy(obs, noise)
        assert np.abs(disturbed - found).max() > 0.1
        np.testing.assert_allclose(dqn.q_values(*given, tf.constant(noise)), disturbed, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("states", [[3], [8], [5, -1], [4, 10**6]])
def test_a_state_outside_its_space_is_refused(states: list[int]) -> None:
    space = gym.spaces.Discrete(4, start=4)
    network = NumpyNetwork(space, ACTIONS, Config(), np.zeros(num_params(space, ACTIONS, Config()), np.float32))
    with pytest.raises(TensorqError, match=r"received the states .*, expected them from 4 to 7"):
        network(np.array(states, np.int32))


def test_many_states_cost_no_square_of_their_number() -> None:
    space = gym.spaces.Discrete(2**20)
    config = Config(hidden_sizes=(1,))
    network = NumpyNetwork(space, 1, config, np.ones(num_params(space, 1, config), np.float32))
    assert network(np.array([2**20 - 1], np.int32)).tolist() == [[3]]  # (1 + a bias of 1) * 1 + 1


def test_the_network_in_numpy_follows_its_parameters() -> None:
    params = np.zeros(num_params(BOX, ACTIONS, Config()), np.float32)
    network = NumpyNetwork(BOX, ACTIONS, Config(), params)
    params[-ACTIONS:] = 1, 2, 3  # the output's biases
    np.testing.assert_array_equal(network(OBSERVATIONS[0][1][:1]), [[1, 2, 3]])


# --- the layers by hand -----------------------------------------------------------------------------------------------


def test_row_dense_without_noise_is_a_dense_layer() -> None:
    layer, dense = RowDense(3, seed=1), keras.layers.Dense(3)
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    layer.build((None, 2))
    dense.build((None, 2))
    layer.bias.assign([1, 2, 3])
    dense.set_weights([layer.kernel.numpy().T, layer.bias.numpy()])
    close(layer(x), dense(x))
    assert np.abs(layer.kernel.numpy()).max() > 0


@pytest.mark.parametrize("batch", [5, 128, 129])
@pytest.mark.parametrize("few", [1, 8, 9])
def test_products_have_the_gradients_of_keras(batch: int, few: int) -> None:
    """In XLA, with few inputs or outputs and up to 128 rows, by a gradient of our own; the others are beside this."""
    random = np.random.default_rng(0)
    for inputs, units, kind in ((few, 20, Dense), (20, few, RowDense)):
        x, upstream = (tf.constant(random.normal(size=(batch, size)), tf.float32) for size in (inputs, units))
        layer, plain = kind(units), keras.layers.Dense(units)
        for each in (layer, plain):
            each.build(x.shape)
        layer.set_weights([random.normal(size=weight.shape) for weight in layer.weights])
        kernel, bias = layer.get_weights()
        plain.set_weights([kernel.T if kind is RowDense else kernel, bias])

        def gradients(each: Any, x: Any = x, upstream: Any = upstream) -> list[Any]:
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(each(x) * upstream)
            return tape.gradient(loss, [x, *(weight.value for weight in each.weights)])  # type: ignore[no-any-return]

        outputs, *found = (part.numpy() for part in compiled(lambda x, each=layer: (each(x), *gradients(each)))(x))
        found[1] = found[1].T if kind is RowDense else found[1]
        for one, other in zip([outputs, *found], [plain(x), *gradients(plain)], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_row_dense_with_noise_by_hand() -> None:
    # Kernel (1, 2), deviations (3, 4), noise of the inputs (1, -1), of the unit 2: (1 + 3 * 2, 2 - 4 * 2) = (7, -6).
    # Bias 5 + 6 * 2 = 17.  At (10, 1): 70 - 6 + 17 = 81; without noise 10 + 2 + 5 = 17.
    layer = RowDense(1, 0.5)
    layer.build((None, 2))
    layer.set_weights([np.float32(w) for w in ([[1, 2]], [5], [[3, 4]], [6], [1, -1, 2])])
    close(layer(floats((10, 1))), [[81]])
    layer.noise.assign([0, 0, 0])
    close(layer(floats((10, 1))), [[17]])


def test_noisy_weights_begin_as_the_paper_says() -> None:
    # 16 inputs: kernel and bias within 1/4, deviations 0.6 / 4 = 0.15.
    layer = RowDense(200, 0.6, seed=3)
    layer.build((None, 16))
    for weight in (layer.kernel.numpy(), layer.bias.numpy()):
        assert 0.2 < np.abs(weight).max() <= 0.25
        assert abs(weight.mean()) < 0.05
    close(layer.kernel_deviation, np.full((200, 16), 0.15))
    close(layer.bias_deviation, np.full(200, 0.15))
    assert not layer.noise.numpy().any()


@pytest.mark.parametrize("noisy_deviation", [0.1, 0.5])
def test_noisy_deviation_reaches_every_noisy_layer(noisy_deviation: float) -> None:
    config = Config(noisy=True, noisy_deviation=noisy_deviation, hidden_sizes=(16, 4))
    weights = build_q_network(gym.spaces.Discrete(9), ACTIONS, config).trainable_variables
    found = {float(w.numpy().max()) for w in weights if w.name.endswith("deviation")}
    assert sorted(found) == pytest.approx([noisy_deviation / 4, noisy_deviation / 3, noisy_deviation / 2])


def test_dueling_by_hand() -> None:
    # No hidden layer, one state: the biases are the outputs. Value 10, advantages 1, 2, 6 of mean 3: 8, 9, 13.
    config = Config(dueling=True, hidden_sizes=())
    network = build_network(ONE, 3, config)
    close(network.outputs(floats(0, 0, 0, 0, 10, 1, 2, 6), tf.constant([0])), [[[8], [9], [13]]])


def test_dueling_centres_over_actions_and_not_over_atoms() -> None:
    # Two actions, three atoms. Value (10, 20, 30), advantages (1, 2, 3) and (5, 2, -3), of means 3, 2, 0 over actions:
    # (10 - 2, 20 + 0, 30 + 3) and (10 + 2, 20 + 0, 30 - 3).
    config = Config(dueling=True, hidden_sizes=(), head="categorical", num_atoms=3)
    network = build_network(ONE, 2, config)
    biases = (10, 20, 30, 1, 2, 3, 5, 2, -3)
    close(network.outputs(floats(*[0] * 9, *biases), tf.constant([0])), [[[8, 20, 33], [12, 20, 27]]])


@pytest.mark.parametrize("head", HEADS)
def test_a_dueling_networks_value_is_shared_and_its_advantages_cancel(head: Any) -> None:
    # Over actions, the outputs sum to A times the value, whatever the advantages: d sum / d advantage = 0.
    config = Config(dueling=True, hidden_sizes=(), head=head, num_atoms=4, hl_gauss_spare_bins=1)
    network = build_network(ONE, ACTIONS, config)
    params = tf.constant(network.initial_params())
    fractions = tf.constant([[0.1, 0.4, 0.6, 0.9]]) if head == "implicit_quantile" else None
    with tf.GradientTape() as tape:
        tape.watch(params)
        total = tf.reduce_sum(network.outputs(params, tf.constant([0]), None, fractions)[:, :, 0])
    biases = network.unflatten(tape.gradient(total, params))[-1].numpy().reshape(1 + ACTIONS, -1)
    close(biases[0, 0], ACTIONS)
    close(biases[1:], np.zeros_like(biases[1:]))


# Of bounds -2 and 4 the middle is 1 and half the width 3; of 0 and 10 these are 5 and 5. The rest says nothing of the
# usual size: open ends, bounds as far as float32 goes, and a width of 0.
LOW, HIGH = (-2, 0, -np.inf, 0, -3e38, 7, -np.inf), (4, 10, 5, np.inf, 3e38, 7, np.inf)
SCALED = Config(scale_observations=True, hidden_sizes=())


def scaling(space: gym.Space, config: Config) -> tuple[Any, Any]:
    return config.part(MLPEncoder).scaling(space)


def test_observations_are_scaled_by_their_bounds() -> None:
    space = gym.spaces.Box(np.float32(LOW), np.float32(HIGH), dtype=np.float32)
    centre, factor = scaling(space, SCALED)
    close(centre, [1, 5, 0, 0, 0, 0, 0])
    close(factor, [1 / 3, 1 / 5, 1, 1, 1, 1, 1])
    assert scaling(space, Config())[1] is None
    assert scaling(gym.spaces.Discrete(3), SCALED)[1] is None
    for config in (SCALED, Config()):  # pixels always are: uint8 with bounds 0 and 255
        assert scaling(gym.spaces.Box(0, 255, (2, 2), np.uint8), config) == (0, np.float32(1 / 255))
    for dtype, high in ((np.uint8, 1), (np.int16, 255), (np.float32, 255)):  # flags, codes, numbers
        assert scaling(gym.spaces.Box(0, high, (1,), dtype), Config())[1] is None
        centre, factor = scaling(gym.spaces.Box(0, high, (1,), dtype), SCALED)
        close([centre[0], factor[0]], [high / 2, 2 / high])
    # A run from before divided whatever was uint8.
    before = Config.from_saved({})
    assert scaling(gym.spaces.Box(0, 1, (2,), np.uint8), before) == (0, np.float32(1 / 255))


def test_pixels_among_other_parts_are_scaled_as_they_are_alone() -> None:
    parts = gym.spaces.Dict(
        image=gym.spaces.Box(0, 255, (2, 1), np.uint8),
        mixed=gym.spaces.Box(np.zeros(3, np.uint8), np.array([1, 255, 255], np.uint8), (3,), np.uint8),
        speed=gym.spaces.Box(-2, 2, (1,)),
        state=gym.spaces.Discrete(2),
    )
    plain = plain_observation_space(parts)
    pixel = np.float32(1 / 255)
    close(scaling(plain, Config())[1], [pixel, pixel, 1, pixel, pixel, 1, 1, 1])
    centre, factor = scaling(plain, SCALED)
    close(factor, [pixel, pixel, 2, pixel, pixel, 0.5, 2, 2])
    close(centre, [0, 0, 0.5, 0, 0, 0, 0.5, 0.5])
    assert scaling(plain, Config.from_saved({}))[1] is None  # as runs before had it


@pytest.mark.parametrize(
    ("config", "space", "obs", "expected"),
    [
        (SCALED, gym.spaces.Box(np.float32([-2, 0]), np.float32([4, 10])), [[4, 0], [-2, 5]], [[1, -1], [-1, 0]]),
        (Config(hidden_sizes=()), gym.spaces.Box(np.float32([-2, 0]), np.float32([4, 10])), [[4, 0]], [[4, 0]]),
        (SCALED, gym.spaces.Box(0, 255, (2, 1), np.uint8), [[[255], [51]]], [[1, 0.2]]),
        (SCALED, gym.spaces.Box(-9, 9, (1, 2), np.int64), [[[9, -3]]], [[1, -1 / 3]]),
    ],
    ids=["on", "off", "uint8", "int64"],
)
def test_both_networks_see_scaled_observations(config: Config, space: gym.Space, obs: Any, expected: Any) -> None:
    params, given = np.float32([1, 0, 0, 1, 0, 0]), np.array(obs, space.dtype)  # outputs are the two numbers seen
    close(build_network(space, 2, config).outputs(tf.constant(params), tf.constant(given))[:, :, 0], expected)
    close(NumpyNetwork(space, 2, config, params)(given), expected)


def test_layer_norm_forgets_scale_and_shift_before_the_relu() -> None:
    # Hidden sums of one input x: x + 1 and -x + 1 have mean 1 and deviation x: -> 1, -1 -> ReLU 1, 0 whatever x > 0.
    plain, norm = (Config(layer_norm=on, hidden_sizes=(2,)) for on in OFF_ON)
    space = gym.spaces.Box(-9, 9, (1,), np.float32)
    hidden, outputs = (1, -1, 1, 1), (3, 100, 5)  # kernel and bias; rows of one output, bias
    obs = floats((2,), (7,))
    found = build_network(space, 1, norm).outputs(floats(*hidden, 1, 1, 0, 0, *outputs), obs)
    close(found, [[[8]], [[8]]], 1e-4)  # 3 * 1 + 100 * 0 + 5
    # Without it: 3 * 3 + 0 + 5 = 14 and 3 * 8 + 0 + 5 = 29.
    close(build_network(space, 1, plain).outputs(floats(*hidden, *outputs), obs), [[[14]], [[29]]])


def test_an_implicit_quantile_network_depends_on_its_fractions_row_by_row() -> None:
    config = Config(head="implicit_quantile", hidden_sizes=(8,), num_atoms=2)
    network = build_network(BOX, ACTIONS, config)
    params, obs = tf.constant(network.initial_params()), tf.constant(OBSERVATIONS[0][1][:2])
    rows = network.outputs(params, obs, None, floats((0.1, 0.9), (0.9, 0.1))).numpy()
    assert rows.shape == (2, ACTIONS, 2)
    assert np.abs(rows[:, :, 0] - rows[:, :, 1]).max() > 0.01
    for row, fractions in ((0, (0.1, 0.9)), (1, (0.9, 0.1))):
        close(network.outputs(params, obs, None, floats(fractions))[row], rows[row])  # [1, K] serves every row
    swapped = network.outputs(params, obs, None, floats((0.9, 0.1), (0.1, 0.9)))
    close(swapped, rows[:, :, ::-1])
    np.testing.assert_array_equal(network.model.get_layer("fractions").bias, np.ones(8))


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{}, {"noisy": True}, {"head": "implicit_quantile"}, {"head": "categorical", "dueling": True}], ids=str
)
def test_the_seed_decides_the_weights(settings: dict[str, Any]) -> None:
    def weights(seed: int) -> np.ndarray:
        return build_network(BOX, ACTIONS, Config(hidden_sizes=(4, 4), seed=seed, **settings)).initial_params()

    one, again, other = weights(5), weights(5), weights(6)
    np.testing.assert_array_equal(one, again)
    constant = {0.0} | ({0.25, np.float32(0.5 / 6**0.5)} if settings.get("noisy") else set())  # biases, deviations
    constant |= {1.0} if settings.get("head") == "implicit_quantile" else set()  # biases of the fractions' embedding
    drawn = ~np.isin(one.round(6), np.round([*constant], 6).astype(np.float32))
    assert drawn.mean() > 0.4
    assert not np.isclose(one, other)[drawn].any()


def test_layers_do_not_share_their_random_weights() -> None:
    config = Config(hidden_sizes=(4, 4), noisy=True)
    weights = build_q_network(gym.spaces.Discrete(4), 4, config).trainable_variables
    for kind in ("kernel", "bias"):
        arrays = [weight.numpy() for weight in weights if weight.name == kind]
        assert len(arrays) == 3
        for one, other in itertools.combinations(arrays, 2):
            assert not np.isclose(one, other).any()


def test_states_other_than_noise_stay_as_they_were_built() -> None:
    layers = keras.layers
    model = keras.Sequential([keras.Input((2,)), RowDense(2, 0.5, 1), layers.BatchNormalization(), RowDense(1, 0.5, 2)])
    network = Network(model)
    assert network.num_noise == (2 + 2) + (2 + 1)
    model.layers[1].moving_mean.assign([3, 4])
    params, obs = tf.constant(network.initial_params()), floats((1, 2))
    still = model(obs).numpy()[:, :, None]
    close(network.outputs(params, obs), still)
    close(network.outputs(params, obs, tf.zeros(7)), still)
    for noise in ((1, 1, 1, 1, 0, 0, 0), (0, 0, 0, 0, 1, 1, 1)):  # of either layer
        assert abs(float(network.outputs(params, obs, floats(*noise))[0, 0, 0] - still[0, 0, 0])) > 0.01


def test_noise_is_told_by_the_layer_and_not_by_the_name_of_a_weight() -> None:
    class Frozen(keras.layers.Layer):  # type: ignore[misc]
        """Adds a weight that is called noise and is none, and holds a noisy layer of ours."""

        def build(self, input_shape: tuple[int | None, ...]) -> None:
            self.noise = self.add_weight((2,), initializer="ones", trainable=False, name="noise")
            self.inner = RowDense(2, 0.5, 1)
            self.inner.build(input_shape)

        def call(self, inputs: Any) -> Any:
            return self.inner(inputs) + 10 * self.noise

    nested = keras.Sequential([keras.Input((2,)), Frozen()])
    network = Network(keras.Sequential([keras.Input((2,)), nested, RowDense(1, 0.5, 2)]))
    assert network.num_noise == (2 + 2) + (2 + 1)
    params, obs = tf.constant(network.initial_params()), floats((1, 2))
    close(network.outputs(params, obs, tf.zeros(7)), network.model(obs).numpy()[:, :, None])
    assert network.outputs(params, obs, floats(1, 1, 1, 1, 0, 0, 0)) != network.outputs(params, obs)


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
@pytest.mark.parametrize(
    ("head", "space"),
    [("expected", BOX), ("categorical", OBSERVATIONS[1][0]), ("implicit_quantile", OBSERVATIONS[2][0])],
    ids=["expected, float32", "categorical, uint8", "implicit_quantile, states"],
)
def test_a_global_policy_does_not_reach_the_default_network(
    head: Any, space: gym.Space, policy: str, global_policy: Any
) -> None:
    config = Config(head=head, noisy=head == "expected", layer_norm=True, dueling=True, hidden_sizes=(8,), num_atoms=3)
    plain = DQN(config, build_network(space, ACTIONS, config))
    params = tf.constant(plain.network.initial_params())
    obs = tf.constant(next(rows for other, rows in OBSERVATIONS if other == space))
    global_policy(policy)
    found = DQN(config, build_network(space, ACTIONS, config))
    np.testing.assert_array_equal(found.network.initial_params(), params)
    assert {weight.dtype for weight in found.network.model.weights} == {"float32"}
    np.testing.assert_array_equal(found.q_values(params, obs), plain.q_values(params, obs))


@pytest.fixture
def global_policy() -> Iterator[Callable[[str], None]]:
    """Sets Keras' global policy and what goes with it in a keras.json, all put back after the test."""
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()

    def set_policy(name: str) -> None:
        keras.config.set_dtype_policy(name)
        keras.config.set_floatx(name.removeprefix("mixed_"))
        keras.config.set_image_data_format("channels_first")

    yield set_policy
    keras.config.set_dtype_policy(policy)
    keras.config.set_floatx(floatx)
    keras.config.set_image_data_format("channels_last")


# --- a network of the user's own --------------------------------------------------------------------------------------


def own(outputs: int, *shape: int) -> Any:
    def build(space: gym.Space, num_actions: int) -> keras.Model:
        layers = [keras.Input(space.shape), keras.layers.Flatten(), keras.layers.Dense(outputs)]
        return keras.Sequential([*layers, *([keras.layers.Reshape(shape)] if shape else [])])

    return build


@pytest.mark.parametrize(
    ("settings", "function"),
    [({}, own(3)), ({"head": "quantile", "num_atoms": 4}, own(12, 3, 4)), ({"munchausen": True}, own(3))],
)
def test_a_network_of_the_users_own(settings: dict[str, Any], function: Any) -> None:
    config = Config(**settings)
    network = build_network(BOX, ACTIONS, config, function)
    outputs = network.outputs(tf.constant(network.initial_params()), tf.constant(OBSERVATIONS[0][1]))
    assert outputs.shape == (4, ACTIONS, config.part(Head).outputs_per_action)


@pytest.mark.parametrize(
    ("settings", "function", "message"),
    [
        (
            {"dueling": True, "noisy": True},
            own(3),
            "network= replaces the layers that have dueling and noisy: give dueling=False, noisy=False ",
        ),
        (
            {"scale_observations": True, "layer_norm": True},
            own(3),
            "network= replaces the layers that have layer_norm and scale_observations: give layer_norm=False, ",
        ),
        ({"head": "implicit_quantile"}, own(3), "head implicit_quantile needs a network that gets fractions as input"),
        ({}, own(4), "the network's output shape is (None, 4), expected (None, 3): end with Dense(3)."),
        (
            {"head": "categorical", "num_atoms": 5},
            own(3),
            "the network's output shape is (None, 3), expected (None, 3, 5): end with Dense(3) and head cate",
        ),
        ({}, lambda space, num_actions: "model", "the network function returned str, expected a keras.Model."),
        ({}, lambda space, num_actions: {}["none"], "the network function raised KeyError: 'none' ("),
        (
            {},
            lambda space, num_actions: own(3)(gym.spaces.Box(-1, 1, (7, 1)), num_actions),
            "the network cannot be called with two observations, float32 of shape (2, 2, 3): ",
        ),
        (
            {},
            lambda space, num_actions: keras.Sequential([keras.Input((2, 3)), keras.layers.Flatten()]),
            "the network has nothing to train: it has no weights; expected",
        ),
        (
            {},
            lambda space, num_actions: keras.Sequential([keras.Input((2, 3)), keras.layers.Dense(3, trainable=False)]),
            "the network has nothing to train: all of its weights are frozen (trainable=False); expected",
        ),
        (
            {},
            lambda space, num_actions: keras.Model(
                (x := keras.Input((2, 3))), [keras.layers.Dense(3)(x), keras.layers.Dense(3)(x)]
            ),
            "the network has several outputs, expected one tensor.",
        ),
        (
            {},
            lambda space, num_actions: keras.Model(
                (parts := [keras.Input((3,)), keras.Input((3,))]), keras.layers.Dense(3)(parts[0] + parts[1])
            ),
            "the network has 2 inputs, expected 1 for observations of Box(",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_refused(settings: dict[str, Any], function: Any, message: str) -> None:
    with pytest.raises(TensorqError) as caught:
        build_network(BOX, ACTIONS, Config(**settings), function)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_what_a_network_takes_and_should_take_is_told() -> None:
    narrow = own(3)(gym.spaces.Box(-1, 1, (7, 1)), ACTIONS)
    with pytest.raises(TensorqError, match=r"It takes inputs of shape \(None, 7, 1\), expected \(None, 2, 3\): begin"):
        build_network(BOX, ACTIONS, Config(), lambda space, num_actions: narrow)
    # Found without XLA, which takes the nearest row in silence.
    with pytest.raises(TensorqError, match=r"States are numbered as in the space, from 3 to 5\.$"):
        build_network(gym.spaces.Discrete(3, start=3), ACTIONS, Config(), table_of(3))


def table_of(rows: int) -> Any:
    return lambda space, num_actions: keras.Sequential(
        [keras.Input((), dtype="int32"), keras.layers.Embedding(rows, num_actions)]
    )


def test_a_network_of_the_users_own_gets_states_as_the_space_has_them() -> None:
    network = build_network(gym.spaces.Discrete(3, start=3), 1, Config(), table_of(6))
    states = tf.constant([3, 5], tf.int32)
    close(network.outputs(tf.range(6, dtype=tf.float32), states), [[[3]], [[5]]])


class Subclassed(keras.Model):  # type: ignore[misc]
    """As in most tutorials; `call` takes no `training`."""

    def __init__(self, num_actions: int) -> None:
        super().__init__()
        self.hidden, self.drop, self.out = keras.layers.Dense(8), keras.layers.Dropout(0.9), keras.layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.out(self.drop(self.hidden(keras.ops.reshape(x, (-1, 6)))))


@pytest.mark.filterwarnings("ignore:`build..` was called on layer")  # Keras' own word on a model without build()
@pytest.mark.parametrize("state", ["unbuilt", "built", "called"])
def test_a_subclassed_model_is_built(state: str) -> None:
    def function(space: gym.Space, num_actions: int) -> keras.Model:
        model = Subclassed(num_actions)
        if state == "built":
            model.build((None, *(space.shape or ())))
        elif state == "called":
            model(np.zeros((1, 2, 3), np.float32))
        return model

    network = build_network(BOX, ACTIONS, Config(seed=4), function)
    assert network.shapes == [(6, 8), (8,), (8, 3), (3,)]
    params, obs = network.initial_params(), OBSERVATIONS[0][1]
    hidden = obs.reshape(4, 6) @ params[:48].reshape(6, 8)  # biases begin at 0, and nothing is dropped
    expected = hidden @ params[56:80].reshape(8, 3)
    close(network.outputs(tf.constant(params), tf.constant(obs))[:, :, 0], expected, 1e-4)
    np.testing.assert_array_equal(build_network(BOX, ACTIONS, Config(seed=4), function).initial_params(), params)


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_a_network_of_another_dtype_gives_and_learns_float32(policy: str, global_policy: Any) -> None:
    global_policy(policy)
    keras.config.set_image_data_format("channels_last")  # which the user's Flatten looks at
    network = build_network(BOX, ACTIONS, Config(), own(3))
    params, obs = tf.constant(network.initial_params()), tf.constant(OBSERVATIONS[0][1])

    @tf.function(jit_compile=True, autograph=False)
    def slope(params: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(params)
            outputs = network.outputs(params, obs)
        return outputs, tape.gradient(outputs, params)

    outputs, gradient = slope(params)
    assert outputs.dtype == gradient.dtype == params.dtype == tf.float32
    close(gradient[-3:], [4, 4, 4])  # of the biases, over four observations
    kernel = params[:18].numpy().reshape(6, 3)
    close(outputs[:, :, 0], OBSERVATIONS[0][1].reshape(4, 6) @ kernel, 0.02)


@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize("seed", [7, None])
def test_building_a_network_leaves_the_callers_random_numbers(seed: int | None, default: bool) -> None:
    def draw() -> list[Any]:
        tensorflow = 0.0 if seed is None else float(tf.random.uniform(()))
        return [random.random(), np.random.rand(), tensorflow]

    def begin() -> list[Any]:
        random.seed(seed or 0)
        np.random.seed(seed or 0)
        tf.random.set_seed(seed)
        return [draw(), draw()]

    expected = begin() + [draw(), draw()]
    found = begin()
    one = build_network(BOX, ACTIONS, Config(seed=3), None if default else drawing).initial_params()
    assert [*found, draw(), draw()] == expected
    global_seed = tf.compat.v1.random.get_seed(None)[0]
    assert global_seed == seed
    begin()
    again = build_network(BOX, ACTIONS, Config(seed=3), None if default else drawing).initial_params()
    np.testing.assert_array_equal(one, again)
    tf.random.set_seed(None)


def drawing(space: gym.Space, num_actions: int) -> keras.Model:
    """A network whose weights come from every generator that there is."""
    model = own(3)(space, num_actions)
    values = [random.random(), np.random.rand(), float(tf.random.normal(())), float(keras.random.normal(()))]
    model.layers[-1].bias.assign(values[1:] + np.float32(values[0]))
    return model


def test_the_weights_of_a_seed_are_those_of_keras_own_seeding() -> None:
    # As in every version: a run that was started by an earlier one is resumed.
    keras.utils.set_random_seed(11)
    model = drawing(BOX, ACTIONS)
    expected = np.concatenate([np.ravel(weight) for weight in model.get_weights()])
    tf.random.set_seed(None)
    np.testing.assert_array_equal(build_network(BOX, ACTIONS, Config(seed=11), drawing).initial_params(), expected)


@pytest.mark.parametrize("function", [lambda: None, lambda space: None, lambda space, num_actions, size: None])
def test_a_function_that_does_not_take_two_arguments_is_refused(function: Any) -> None:
    with pytest.raises(TensorqError, match=r"network: received <lambda>\(.*\), expected a function build_model\(obs"):
        network_function(function)


def test_functions_of_two_arguments_and_more_by_default_are_taken() -> None:
    functions: list[Any] = [None, own(3), dict, lambda *arguments: None, lambda space, num_actions, size=3: None]
    for function in functions:
        network_function(function)
    with pytest.raises(TensorqError, match="network: received a model that is built already"):
        network_function(own(3)(BOX, ACTIONS))


@pytest.mark.parametrize("how", ["variable", "file", "import"])
def test_keras_on_anything_but_tensorflow_is_refused_in_one_line(tmp_path: Path, how: str) -> None:
    environment = {**os.environ, "KERAS_HOME": str(tmp_path)}
    environment.pop("KERAS_BACKEND", None)
    if how == "file":
        (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    elif how == "variable":
        environment["KERAS_BACKEND"] = "torch"
    program = "from tensorq.process import import_tensorflow\n"
    if how == "import":  # Keras is there already, and the variable says nothing
        program += "import sys, types\n"
        program += (
            "sys.modules['keras'] = types.SimpleNamespace(config=types.SimpleNamespace(backend=lambda: 'torch'))\n"
        )
    program += "import_tensorflow(1)\n"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    last = done.stderr.splitlines()[-1]
    assert last.endswith(
        "TensorqError: Keras runs on torch, expected tensorflow: set the environment variable KERAS_BACKEND=tensorflow "
        "before Keras is imported."
    )


PARTS = gym.spaces.Dict(
    image=gym.spaces.Box(0, 255, (2, 2, 1), np.uint8),
    room=gym.spaces.Discrete(3, start=5),
    more=gym.spaces.Tuple((gym.spaces.MultiBinary(2), gym.spaces.MultiDiscrete([2, 3], start=[1, 0]))),
)


def test_a_model_gets_the_parts_as_the_space_has_them() -> None:
    PARTS.seed(0)
    observations = [PARTS.sample() for _ in range(5)]
    read = ObservationReader(PARTS)
    found = from_stored(PARTS, tf.constant(np.stack([read(obs) for obs in observations])))
    for row, obs in enumerate(observations):
        np.testing.assert_array_equal(found["image"][row], obs["image"])
        assert int(found["room"][row]) == obs["room"]
        for part, wanted in zip(found["more"], obs["more"], strict=True):
            np.testing.assert_array_equal(part[row], wanted)
    assert [part.dtype for part in (found["image"], found["room"], *found["more"])] == [
        "uint8",
        "int32",
        "int8",
        "int32",
    ]


SENSORS = gym.spaces.Dict(far=gym.spaces.Box(-1, 1, (3,)), state=gym.spaces.Discrete(2))


def named(space: gym.spaces.Dict, count: int | None = None) -> keras.Model:
    """Of two named inputs: Q-values of `count` actions, or features."""
    far, state = keras.Input((3,), name="far"), keras.Input((), dtype="int32", name="state")
    x = keras.layers.Concatenate()([far, keras.layers.Embedding(2, 4)(state)])
    return keras.Model([far, state], keras.layers.Dense(count or 6)(x))


def test_a_dict_goes_to_a_model_of_named_inputs_or_flat_to_one_of_its_shape() -> None:
    flat_space, given = plain_observation_space(SENSORS), []

    def build(model: Any) -> Any:
        return build_network(flat_space, 2, Config(), lambda *given_now: (given.append(given_now), model())[1], SENSORS)

    stored = np.float32([[0.1, 0.2, 0.3, 0, 1], [0.4, 0.5, 0.6, 1, 0]])
    one = build(lambda: named(SENSORS, 2))
    expected = one.model({"far": stored[:, :3], "state": np.int32([1, 0])})
    close(one.outputs(tf.constant(one.initial_params()), tf.constant(stored))[:, :, 0], expected)
    flat = build(lambda: keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)]))
    close(flat.outputs(tf.constant(flat.initial_params()), tf.constant(stored))[:, :, 0], flat.model(stored))
    assert given == [(SENSORS, 2)] * 2
    with pytest.raises(
        TensorqError, match=r"inputs wrong, expected .* name='far'\), keras.Input\(\(\), dtype='int32', n"
    ):
        build(lambda: keras.Sequential([keras.Input((3,), name="wrong"), keras.layers.Dense(2)]))


@pytest.mark.parametrize("head", HEADS)
def test_hidden_layers_noise_streams_and_every_head_are_put_on_features(head: str) -> None:
    config = Config(head=head, num_atoms=8, hidden_sizes=(7,), dueling=True, noisy=True, layer_norm=True)
    space = plain_observation_space(SENSORS)
    network = build_network(space, 2, config, network_function(None, named), SENSORS)
    names = [weight.path.split("/")[0] for weight in network.model.trainable_variables]
    assert {"hidden_1", "hidden_1_norm", "outputs"} <= {*names}
    params, stored = tf.constant(network.initial_params()), tf.constant(np.float32([[0.1, 0.2, 0.3, 0, 1]]))
    fractions = tf.constant([[0.25, 0.75]]) if config.part(Head).num_fractions else None
    noise = tf.ones(network.num_noise)
    quiet, loud = (network.outputs(params, stored, each, fractions) for each in (None, noise))
    assert quiet.shape == (1, 2, 2 if fractions is not None else config.part(Head).outputs_per_action)
    assert network.num_noise > 0 and not np.allclose(quiet, loud)
    with pytest.raises(TensorqError, match="expected \\(None, F\\)"):
        build_network(
            space,
            2,
            config,
            network_function(
                None,
                lambda space: keras.Sequential(
                    [keras.Input((5,)), keras.layers.Reshape((5, 1)), keras.layers.Dense(2)]
                ),
            ),
            SENSORS,
        )


def test_network_and_features_are_told_apart() -> None:
    with pytest.raises(TensorqError, match="received network and features, expected one of them"):
        network_function(named, named)
    with pytest.raises(
        TensorqError, match="features: received .*, expected a function build_model.observation_space. th"
    ):
        network_function(None, lambda space, num_actions: None)
