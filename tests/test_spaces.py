"""Composite observations and MultiDiscrete actions: how they are flattened and counted, and a run on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array

import tensorq as tq
from tensorq.agents.trained import TrainedAgent
from tensorq.envs.host import make_host_environments
from tensorq.envs.observations import ObservationReader
from tensorq.envs.spaces import (
    plain_action_space,
    plain_observation_space,
    same_space,
    space_from_json,
    space_to_json,
    to_native_actions,
)

OBSERVATIONS = spaces.Dict(
    {
        "place": spaces.Discrete(2, start=5),
        "by name": spaces.Box(-1, 1, (1, 2)),
        "parts": spaces.Tuple((spaces.MultiDiscrete([2, 3]), spaces.MultiBinary([2]))),
    }
)
ACTIONS = spaces.MultiDiscrete([2, 3], start=[1, -1])


def observation(place: int) -> dict[str, Any]:
    parts = (np.array([1, 2]), np.array([0, 1], np.int8))
    return {"place": np.int64(5 + place), "by name": np.array([[0.5, -0.25]], np.float32), "parts": parts}


# By name: the Box as it is; one-hot of 1 among 2 and of 2 among 3, then the bits; one-hot of the place.
FLAT = [[0.5, -0.25, 0, 1, 0, 0, 1, 0, 1, *one_hot] for one_hot in ((1, 0), (0, 1))]
# The last part counts fastest, each from its own start.
COUNTED = [[1, -1], [1, 0], [1, 1], [2, -1], [2, 0], [2, 1]]


def reward(place: int, action: Any) -> float:
    """1 for a first part that goes with the place, 0.5 for each that the second lies above its lowest."""
    return (action[0] - 1 == place) + 0.5 * (action[1] + 1)


KNOWN_Q = [[reward(place, action) for action in COUNTED] for place in range(2)]


class Composite(gym.Env):
    """One step, from a place by chance."""

    observation_space, action_space = OBSERVATIONS, ACTIONS

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(2))
        return observation(self.place), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        assert self.action_space.contains(action), action
        return observation(self.place), reward(self.place, action), True, False, {}


def test_observations_are_flattened_by_name_and_one_hot() -> None:
    plain = plain_observation_space(OBSERVATIONS)
    assert isinstance(plain, spaces.Box) and plain.shape == (11,)
    for place in range(2):
        np.testing.assert_array_equal(ObservationReader(OBSERVATIONS)(observation(place)), np.float32(FLAT[place]))
    parts = spaces.MultiDiscrete([2, 3], start=[5, -1])
    np.testing.assert_array_equal(ObservationReader(parts)(np.array([6, 1])), [0, 1, 0, 0, 1])
    for space in (OBSERVATIONS, parts, spaces.Tuple([spaces.MultiBinary([2, 2]), OBSERVATIONS, spaces.Discrete(3)])):
        space.seed(1)
        rows = [space.sample() for _ in range(3)]
        batch = concatenate(space, rows, create_empty_array(space, 3))
        flat = np.float32([spaces.flatten(space, row) for row in rows])
        np.testing.assert_array_equal(ObservationReader(space)(batch, 3), flat)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (ACTIONS, COUNTED),
        (spaces.MultiDiscrete([[1, 2], [2, 1]]), [[[0, i], [j, 0]] for i in range(2) for j in range(2)]),
        (spaces.Discrete(3, start=5), [5, 6, 7]),
    ],
)
def test_actions_are_counted_through(space: gym.Space, expected: Any) -> None:
    count = int(plain_action_space(space).n)
    assert count == len(expected)
    np.testing.assert_array_equal(to_native_actions(space, np.arange(count)), expected)
    for index, action in enumerate(expected):
        assert space.contains(to_native_actions(space, np.array([index]))[0])
        np.testing.assert_array_equal(to_native_actions(space, np.asarray(index)), action)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (90, 90), np.uint8),
        spaces.Box(-np.inf, 3, (2,)),
        spaces.Box(np.arange(6000, dtype=np.float32), np.inf),
        OBSERVATIONS,
        ACTIONS,
        spaces.MultiBinary([2, 3]),
        spaces.Tuple([spaces.Discrete(3, start=-1), OBSERVATIONS]),
    ],
    ids=["image", "open", "long", "dict", "multi discrete", "multi binary", "tuple"],
)
def test_spaces_come_back_from_json(space: gym.Space) -> None:
    text = json.dumps(space_to_json(space), allow_nan=False)
    assert space_from_json(json.loads(text)) == space
    assert same_space(json.loads(text), space_to_json(space))


def test_spaces_are_the_same_with_all_their_names_order_and_bounds() -> None:
    a, b = spaces.Discrete(2), spaces.Box(0, 1, (3,))
    kept = space_to_json(spaces.Dict([("a", a), ("b", b)]))
    for other in (
        spaces.Dict([("b", b), ("a", a)]), spaces.Dict([("a", a), ("c", b)]), spaces.Dict([("a", a)]),
        spaces.Dict([("a", spaces.Discrete(2, start=1)), ("b", b)]), spaces.Tuple([a, b]),
        spaces.Dict([("a", a), ("b", spaces.Box(0, 2, (3,)))]), spaces.Dict([("a", a), ("b", spaces.Box(0, 1, (4,)))]),
        spaces.Dict([("a", a), ("b", spaces.Box(0, 1, (3,), np.float64))]), spaces.flatten_space(spaces.Tuple([a, b])),
    ):  # fmt: skip
        assert not same_space(space_to_json(other), kept)
        assert not same_space(kept, space_to_json(other))
    without_bounds = {"shape": [3], "dtype": "float32"}  # of large spaces, as runs kept them before
    assert same_space(space_to_json(b), without_bounds) and same_space(
        {**without_bounds, "low": [0] * 3, "high": 1}, space_to_json(b)
    )


def test_parts_of_a_dict_come_back_from_json_in_their_order() -> None:
    parts = [("speed", spaces.Discrete(3)), ("place", spaces.Discrete(2))]
    for space in (spaces.Dict(parts), spaces.Dict(dict(parts))):  # as given, and sorted by name
        again = space_from_json(json.loads(json.dumps(space_to_json(space))))
        assert isinstance(again, spaces.Dict)
        assert list(again.spaces) == list(space.spaces)


def agent_of(space: gym.Space) -> TrainedAgent:
    """One that prefers the first action if the observation's first number is 0."""
    return TrainedAgent(lambda obs: np.stack([1 - obs[:, 0], obs[:, 0]], axis=1), space, spaces.Discrete(2))


@pytest.mark.parametrize("as_given", [list, np.array], ids=["list", "array"])
def test_numbers_of_several_kinds_are_read_one_by_one_and_in_batches(as_given: Any) -> None:
    agent = agent_of(spaces.MultiDiscrete([3, 4]))  # flat: 3 and 4 numbers, one-hot
    assert agent.act(as_given([0, 3])) == 1
    assert agent.act(as_given([[1, 2], [0, 3]])).tolist() == [0, 1]
    assert agent.act(as_given([[1, 0, 0, 0, 0, 0, 1]])).tolist() == [1]
    for wrong in ([1, 9], [[1, 9]]):
        with pytest.raises(tq.TensorqError, match=r"received the observation .*9.*, which its observation space Multi"):
            agent.act(as_given(wrong))
    with pytest.raises(tq.TensorqError, match=r"received the observation \[1, 0, 5\]"):
        agent_of(spaces.MultiBinary(3)).act(as_given([1, 0, 5]))
    with pytest.raises(tq.TensorqError, match="expected an observation of MultiDiscrete"):
        agent.act([[1, 2], 3])


def test_no_observation_is_no_batch() -> None:
    agent = agent_of(spaces.Dict(a=spaces.Box(0, 1, (2,)), b=spaces.Discrete(2)))
    with pytest.raises(tq.TensorqError, match=r"received observations of shape \(0, 4\), expected"):
        agent.act({"a": np.zeros((0, 2)), "b": np.zeros(0, int)})


def test_what_reset_returns_is_told_apart_from_a_tuple_of_parts() -> None:
    parts = spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1, (1,))])
    with pytest.raises(tq.TensorqError, match="as reset.. returns it: give only obs.0."):
        agent_of(parts).act(((1, np.zeros(1)), {}))
    assert agent_of(spaces.Tuple([spaces.Discrete(2), spaces.Dict(a=spaces.Discrete(2))])).act((0, {"a": 1})) == 1


def test_states_that_int32_cannot_hold_are_refused() -> None:
    with pytest.raises(tq.TensorqError, match=r"Discrete\(10, start=8589934592\): expected states from -2\^31 to"):
        ObservationReader(spaces.Discrete(10, start=2**33))
    assert ObservationReader(spaces.Discrete(10, start=2**31 - 10))(np.int64(2**31 - 1)) == 2**31 - 1


@pytest.mark.parametrize("mode", [None, *AutoresetMode])
def test_environments_flatten_and_count(mode: AutoresetMode | None) -> None:
    make = (lambda: SyncVectorEnv([Composite] * 3, autoreset_mode=mode)) if mode else Composite
    envs = make_host_environments(make, 3)
    envs.reset([7, 8, 9])
    places = envs.obs[:, -1].astype(int)
    np.testing.assert_array_equal(envs.obs, np.float32(FLAT)[places])
    step = envs.step(np.array([0, 2, 4], np.int32))
    np.testing.assert_array_equal(step.reward, [KNOWN_Q[p][a] for p, a in zip(places, (0, 2, 4), strict=True)])
    np.testing.assert_array_equal(step.next_obs, np.float32(FLAT)[places])
    envs.close()


FLOATS = np.zeros(2, np.float32)
BYTES, SMALL = spaces.Box(0, 255, (2,), np.uint8), spaces.Box(-1, 1, (2,))


@pytest.mark.parametrize("rows", [None, 2])
@pytest.mark.parametrize("as_part", [False, True], ids=["alone", "as a part"])
@pytest.mark.parametrize(
    ("space", "bad", "message"),
    [
        (BYTES, np.array([0.9, 0.5], np.float32), "an observation of dtype float32.*, which its observation space Box"),
        (BYTES, np.array([300, 0]), "the observation .*300"),
        (BYTES, np.array([-1, 0], np.int8), "the observation .*-1"),
        (spaces.Box(0, 1, (2,), bool), np.array([2, 0]), "the observation .*2"),
        (spaces.Box(0, 9, (1,), np.int64), np.array([2.0]), "an observation of dtype float64"),
        (SMALL, np.array(["a", "b"]), "an observation of dtype <U1"),
        (SMALL, np.zeros(3, np.float32), r"an observation of shape .*3,?\).*, expected shape .*2,?\) by its space Box"),
        (spaces.Discrete(3), np.int64(-1), "the observation"),
        (spaces.Discrete(3, start=5), np.int64(8), "the observation"),
        (spaces.Discrete(3), 2.7, "an observation of dtype float64"),
        (spaces.MultiDiscrete([3, 2]), np.array([3, 0]), r"the observation \[.*3, 0\]"),
        (spaces.MultiBinary(2), np.array([0, 2], np.int8), r"the observation \[.*0, 2\]"),
    ],
    ids=str,
)
def test_what_a_space_does_not_allow_is_refused(
    space: gym.Space, bad: Any, message: str, as_part: bool, rows: int | None
) -> None:
    obs = bad if rows is None else np.stack([bad] * rows)
    if as_part:
        space, obs = spaces.Dict(x=spaces.Tuple([space])), {"x": (obs,)}
    with pytest.raises(tq.TensorqError, match=f"the environment gave {message}") as caught:
        ObservationReader(space)(obs, rows)
    assert ("in its part x[0]" in str(caught.value)) == as_part


@pytest.mark.parametrize(
    ("space", "obs"),
    [
        (SMALL, np.array([0.5, -0.5])),
        (SMALL, [0, 1]),
        (SMALL, np.array([True, False])),
        (BYTES, np.array([255, 0])),
        (spaces.Box(0, 1, (2,), bool), np.array([1, 0])),
        (spaces.Discrete(3), np.array(2)),
        (spaces.Discrete(3), True),
        (spaces.MultiBinary(2), np.array([True, False])),
    ],
    ids=str,
)
def test_casts_that_lose_nothing_are_made(space: gym.Space, obs: Any) -> None:
    for each, given in ((space, obs), (spaces.Dict(x=space), {"x": obs})):
        read = ObservationReader(each)
        assert read(given).dtype == read.dtype
    np.testing.assert_array_equal(ObservationReader(space)(obs), obs)


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        ({"a": FLOATS}, "not those of its space: a; expected a dict with a, b"),
        ({"a": FLOATS, "b": 1, "c": 0}, "not those of its space: a, b, c; expected"),
        (FLOATS, r"not those of its space: array\(.*; expected a dict with a, b"),
        ({"a": FLOATS, "b": (1,)}, r"the observation \(1,\), expected a tuple of 2 parts"),
    ],
)
def test_missing_and_unknown_parts_are_refused(obs: Any, message: str) -> None:
    space = spaces.Dict(a=SMALL, b=spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)]))
    with pytest.raises(tq.TensorqError, match=message):
        ObservationReader(space)(obs)


def test_a_flat_batch_of_one_is_no_tuple_of_one_box() -> None:
    """Though Gymnasium's Tuple contains it, as it does any array of as many rows as it has parts."""
    space = spaces.Tuple([spaces.Box(-1, 1, (2,), np.float32)])
    agent = TrainedAgent(lambda obs: obs, space, spaces.Discrete(2))
    row = np.float32([0.25, 0.5])
    assert agent.q_values(row[None]).shape == (1, 2)
    np.testing.assert_array_equal(agent.q_values((row,)), row)


def test_a_run_on_them_learns_what_is_known_and_its_folder_is_enough_to_act(tmp_path: Path) -> None:
    run = tq.train(
        Composite, run_dir=tmp_path / "run", progress="quiet", steps=1_500, hidden_sizes=(), num_envs=1,
        learning_rate=0.05, learning_rate_final=0.001, learning_rate_anneal_updates=1_200, learning_starts_steps=100,
        epsilon_final=1.0, replay_capacity=1_500, evaluation_period_steps=0,
    )  # fmt: skip
    assert run.evaluate(episodes=4).mean == 2
    agent = tq.load(run.path)
    for place in range(2):
        np.testing.assert_allclose(agent.q_values(observation(place)), KNOWN_Q[place], atol=0.02)
        np.testing.assert_array_equal(agent.act(observation(place)), [1 + place, 1])
    for several in (
        [observation(0), observation(1)],
        concatenate(OBSERVATIONS, [observation(0), observation(1)], create_empty_array(OBSERVATIONS, 2)),
    ):
        np.testing.assert_allclose(agent.q_values(several), KNOWN_Q, atol=0.02)
    for wrong, message in (
        ({"place": 1}, "received an observation whose parts are not those of its space: place; expected"),
        ({**observation(0), "more": 1}, "received an observation whose parts .*more.*; expected a dict with"),
        ([observation(0), 3], "received an observation whose parts are not those of its space: 3; expected"),
        ([], "expected an observation of Dict.*, a list of them or a vector environment's batch"),
        (3.0, "received an observation whose parts are not those of its space: 3.0; expected a dict with"),
        ([3.0], r"received observations of shape \(1,\), expected an observation of Dict"),
    ):
        with pytest.raises(tq.TensorqError, match=message):
            agent.act(wrong)
    batch = np.array(FLAT)
    np.testing.assert_allclose(agent.q_values(batch), KNOWN_Q, atol=0.02)
    np.testing.assert_array_equal(agent.act(batch), [[1, 1], [2, 1]])
    # [1, 1], number 2, is the best in the first place; [1, 0], which is worth 1.5, comes next.
    np.testing.assert_array_equal(agent.act(observation(0), mask=[1, 1, 0, 1, 1, 1]), [1, 0])
