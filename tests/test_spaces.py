"""Composite observations and MultiDiscrete actions: how they are flattened and counted, and a run on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array

import tensorq as tq
from tensorq.agents.trained import TrainedAgent
from tensorq.envs.host import make_host_environments
from tensorq.envs.spaces import (
    plain_action_space,
    plain_observation_space,
    space_from_json,
    space_to_json,
    to_native_actions,
    to_plain,
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
        np.testing.assert_array_equal(to_plain(OBSERVATIONS, observation(place)), np.float32(FLAT[place]))
        np.testing.assert_array_equal(to_plain(spaces.MultiDiscrete([2, 3]), np.array([1, 2])), FLAT[place][2:7])


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
    [OBSERVATIONS, ACTIONS, spaces.MultiBinary([2, 3]), spaces.Tuple([spaces.Discrete(3, start=-1), OBSERVATIONS])],
    ids=["dict", "multi discrete", "multi binary", "tuple"],
)
def test_spaces_come_back_from_json(space: gym.Space) -> None:
    assert space_from_json(json.loads(json.dumps(space_to_json(space)))) == space


def test_parts_of_a_dict_come_back_from_json_in_their_order() -> None:
    parts = [("speed", spaces.Discrete(3)), ("place", spaces.Discrete(2))]
    for space in (spaces.Dict(parts), spaces.Dict(dict(parts))):  # as given, and sorted by name
        again = space_from_json(json.loads(json.dumps(space_to_json(space))))
        assert isinstance(again, spaces.Dict)
        assert list(again.spaces) == list(space.spaces)


@pytest.mark.parametrize("vector", [False, True])
def test_environments_flatten_and_count(vector: bool) -> None:
    envs = make_host_environments((lambda: SyncVectorEnv([Composite] * 3)) if vector else Composite, 3)
    envs.reset([7, 8, 9])
    places = envs.obs[:, -1].astype(int)
    np.testing.assert_array_equal(envs.obs, np.float32(FLAT)[places])
    step = envs.step(np.array([0, 2, 4], np.int32))
    np.testing.assert_array_equal(step.reward, [KNOWN_Q[p][a] for p, a in zip(places, (0, 2, 4), strict=True)])
    np.testing.assert_array_equal(step.next_obs, np.float32(FLAT)[places])
    envs.close()


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
    for wrong in ({"place": 1}, [observation(0), 3], [], 3.0):
        with pytest.raises(
            tq.TensorqError, match="expected an observation of Dict.*, a list of them or a vector envir"
        ):
            agent.act(wrong)
    batch = np.array(FLAT)
    np.testing.assert_allclose(agent.q_values(batch), KNOWN_Q, atol=0.02)
    np.testing.assert_array_equal(agent.act(batch), [[1, 1], [2, 1]])
    # [1, 1], number 2, is the best in the first place; [1, 0], which is worth 1.5, comes next.
    np.testing.assert_array_equal(agent.act(observation(0), mask=[1, 1, 0, 1, 1, 1]), [1, 0])
