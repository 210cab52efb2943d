"""Whatever a Gymnasium environment's autoreset does, the same real transitions come out; and what is refused."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import sys
import warnings
import weakref
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as vector_wrappers
from hypothesis import given
from hypothesis import strategies as st

from tensorq.config import Config
from tensorq.envs.calls import new_each_time
from tensorq.envs.description import choose_loop, describe
from tensorq.envs.gymnasium_ids import _similar, gymnasium_maker
from tensorq.envs.host import (
    HostEnvironments,
    SingleEnvironments,
    VectorEnvironments,
    make_host_environments,
    seeds_for,
)
from tensorq.envs.observations import ObservationReader
from tensorq.envs.spaces import obs_layout
from tensorq.errors import TensorqError
from tensorq.evaluation.play import Selection, greedy, play_episodes
from tensorq.extras import extra_command

FIRST_ACTION = 5


class Counting(gym.Env):
    """Observes (seed, episode, step). Episode e lasts e % 3 + 1 steps; even ones terminate, odd ones are truncated."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Discrete(3, start=FIRST_ACTION)

    def __init__(self) -> None:
        self.seed, self.episode, self.age = -1, -1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        if seed is not None:
            self.seed, self.episode = seed, -1
        self.episode, self.age = self.episode + 1, 0
        return np.array([self.seed, self.episode, self.age], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        self.age += 1
        over, even = self.age == self.episode % 3 + 1, self.episode % 2 == 0
        obs = np.array([self.seed, self.episode, self.age], np.float32)
        return obs, 100 * self.episode + 10 * self.age + int(action), over and even, over and not even, {}


def real_transitions(seed: int) -> Any:
    """(obs, action, reward, terminated, truncated, next_obs) for ever, as Counting says, the actions by `policy`."""
    episode = 0
    while True:
        length = episode % 3 + 1
        for age in range(length):
            action = (seed + episode + age) % 3
            reward = 100 * episode + 10 * (age + 1) + action + FIRST_ACTION
            over, even = age + 1 == length, episode % 2 == 0
            yield [seed, episode, age], action, reward, over and even, over and not even, [seed, episode, age + 1]
        episode += 1


def policy(obs: np.ndarray) -> np.ndarray:
    return (obs.sum(axis=1) % 3).astype(np.int32)


class ReusingVector(SyncVectorEnv):
    """Returns the same arrays at every step, as some fast vector environments do, and stale final observations."""

    def step(self, actions: np.ndarray) -> Any:
        *results, info = super().step(actions)
        if not hasattr(self, "arrays"):
            self.arrays = [array.copy() for array in results]
        for array, result in zip(self.arrays, results, strict=True):
            array[...] = result
        if "final_obs" in info:
            for index in np.flatnonzero(~info["_final_obs"]):
                info["final_obs"][index] = np.full(3, -9, np.float32)
        return *self.arrays, info


def vector(kind: type[SyncVectorEnv], mode: AutoresetMode) -> Callable[[], HostEnvironments]:
    return lambda: make_host_environments(lambda: kind([Counting] * 3, autoreset_mode=mode), 9)


KINDS = {"single": lambda: make_host_environments(Counting, 3)} | {
    f"{kind.__name__} {mode.name}": vector(kind, mode)
    for kind in (SyncVectorEnv, ReusingVector)
    for mode in AutoresetMode
}


@pytest.fixture(params=KINDS)
def envs(request: pytest.FixtureRequest) -> Any:
    made = KINDS[request.param]()
    yield made
    made.close()


def stored(envs: HostEnvironments, vector_steps: int) -> list[list[tuple[Any, ...]]]:
    """What a loop would keep, for each environment."""
    steps = []
    for _ in range(vector_steps):
        obs = envs.obs.copy()
        actions = policy(obs)
        steps.append((obs, actions, envs.step(actions)))
    return [
        [
            (
                obs[index].tolist(), int(actions[index]), float(step.reward[index]),
                bool(step.terminated[index]), bool(step.truncated[index]), step.next_obs[index].tolist(),
            )
            for obs, actions, step in steps
            if step.valid[index]
        ]
        for index in range(envs.num_envs)
    ]  # fmt: skip


def test_every_transition_is_real(envs: HostEnvironments) -> None:
    assert envs.num_envs == 3
    assert (envs.obs.dtype, envs.obs.shape) == (np.float32, (3, 3))
    envs.reset([7, 8, 9])
    for seed, found in zip((7, 8, 9), stored(envs, 40), strict=True):
        assert len(found) > 25
        assert found == list(islice(real_transitions(seed), len(found)))


def test_a_reset_at_any_time_begins_anew(envs: HostEnvironments) -> None:
    for vector_steps in range(7):
        envs.reset([1, 2, 3])
        stored(envs, vector_steps)
        envs.reset([4, 5, 6])
        assert envs.obs.tolist() == [[4, 0, 0], [5, 0, 0], [6, 0, 0]]
        for seed, found in zip((4, 5, 6), stored(envs, 6), strict=True):
            assert found == list(islice(real_transitions(seed), len(found)))
            assert len(found) >= 4


def test_episodes_of_seeds(envs: HostEnvironments) -> None:
    """Episode 0 lasts one step and earns 10 + action, whichever environment plays it, and however often."""

    def q_values(obs: np.ndarray) -> np.ndarray:
        return np.eye(3)[policy(obs)]

    seeds = [1, 2, 3, 4, 5, 6, 7]
    played = play_episodes(envs, q_values, seeds, max_steps=10)
    np.testing.assert_array_equal(played.returns, [10 + FIRST_ACTION + seed % 3 for seed in seeds])
    np.testing.assert_array_equal(played.lengths, np.ones(7))
    assert (played.unfinished, played.mean) == (0, 15 + np.mean([1, 2, 0, 1, 2, 0, 1]))


# --- action masks -----------------------------------------------------------------------------------------------------


def legal(obs: Any) -> np.ndarray:
    """[3] bool: two of the actions, other ones at each observation of Counting's."""
    return np.arange(3) != (5 * obs[0] + 3 * obs[1] + obs[2]) % 3


class Masked(Counting):
    """Counting, with two of its actions legal at a time."""

    @staticmethod
    def info(obs: np.ndarray) -> dict[str, Any]:
        return {"action_mask": legal(obs).astype(np.int8)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.obs, _ = super().reset(seed=seed)
        return self.obs, self.info(self.obs)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.info(self.obs).get("action_mask", np.ones(3))[action - FIRST_ACTION], "an illegal action"
        self.obs, *results, _ = super().step(action)
        return self.obs, *results, self.info(self.obs)  # type: ignore[return-value]


class SometimesMasked(Masked):
    """Says which actions are legal only after an even number of steps; else all are."""

    @staticmethod
    def info(obs: np.ndarray) -> dict[str, Any]:
        return {} if obs[2] % 2 else Masked.info(obs)


class LateMasked(Counting):
    """Says so in step, and never in reset."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        return *super().step(action)[:4], {"action_mask": np.ones(3, np.int8)}


MODES = pytest.mark.parametrize("mode", [None, *AutoresetMode], ids=lambda mode: mode.name if mode else "single")


def several(kind: type[gym.Env], mode: AutoresetMode | None, count: int = 3) -> HostEnvironments:
    if mode is None:
        return make_host_environments(kind, count)
    return make_host_environments(lambda: SyncVectorEnv([kind] * count, autoreset_mode=mode), 1)


@MODES
@pytest.mark.parametrize("kind", [Masked, SometimesMasked])
@pytest.mark.parametrize("count", [1, 3])
def test_masks_belong_to_their_observations(kind: type[Masked], mode: AutoresetMode | None, count: int) -> None:
    envs, random = several(kind, mode, count), np.random.default_rng(0)
    for seeds in ([7, 8, 9], [1, 2, 3]):
        envs.reset(seeds[:count])
        for _ in range(40):
            obs, mask = envs.obs.copy(), np.array(envs.mask)
            step = envs.step(greedy(random.random((count, 3)), mask))
            assert step.next_mask is not None
            for index in np.flatnonzero(step.valid):
                for where, found in ((obs, mask), (step.next_obs, step.next_mask)):
                    expected = kind.info(where[index]).get("action_mask", np.ones(3))
                    np.testing.assert_array_equal(found[index], expected)
    envs.close()


@MODES
def test_greedy_play_keeps_to_legal_actions(mode: AutoresetMode | None) -> None:
    """Masked itself refuses others; the best by far is illegal at every observation."""
    envs = several(Masked, mode)
    played = play_episodes(envs, lambda obs: 9.0 * ~np.array([legal(row) for row in obs]), [1, 2, 3, 4], max_steps=5)
    assert played.lengths.tolist() == [1, 1, 1, 1]  # Counting's first episodes
    # 10 and the first legal action: seed % 3 being illegal for 5 seed, these are illegal: 2, 1, 0, 2.
    assert played.returns.tolist() == [10 + FIRST_ACTION + action for action in (0, 0, 1, 0)]
    envs.close()


@MODES
def test_a_mask_that_reset_did_not_tell_of_is_refused(mode: AutoresetMode | None) -> None:
    envs = several(LateMasked, mode)
    assert envs.mask is None
    with pytest.raises(TensorqError, match="an action_mask, but none in the info of its first reset"):
        for _ in range(3):
            envs.step(np.zeros(3, np.int32))
    envs.close()


@MODES
def test_a_mask_that_comes_with_a_later_reset_is_refused(mode: AutoresetMode | None) -> None:
    class MaskedFromTheSecondEpisode(Counting):
        def reset(self, **keywords: Any) -> tuple[np.ndarray, dict]:
            obs, info = super().reset(**keywords)
            return obs, {"action_mask": np.ones(3, np.int8)} if self.episode else info

    envs = several(MaskedFromTheSecondEpisode, mode)
    with pytest.raises(TensorqError, match="an action_mask, but none in the info of its first reset"):
        for _ in range(9):
            envs.step(np.zeros(3, np.int32))
    envs.close()


@MODES
@pytest.mark.parametrize(
    "mask", [np.ones(2, np.int8), np.ones(4, bool), np.ones(1), np.ones((1, 3)), np.array([0, 1, 2]), [1, 1], "101", 1]
)
def test_what_is_no_mask_is_refused(mode: AutoresetMode | None, mask: Any) -> None:
    class Wrong(Masked):
        @staticmethod
        def info(obs: np.ndarray) -> dict[str, Any]:
            return {"action_mask": mask}

    with pytest.raises(TensorqError, match=r"action mask: received .*, expected zeros and ones of shape \(3,\)\."):
        several(Wrong, mode)


@MODES
def test_a_mask_without_legal_actions_is_refused_unless_the_episode_has_ended(mode: AutoresetMode | None) -> None:
    class Nothing(Counting):
        """No action is legal where an episode ended, nor in the third one after two steps, where it goes on."""

        def info(self, over: bool) -> dict[str, Any]:
            return {"action_mask": np.full(3, not (over or self.episode == 2 and self.age == 2), np.int8)}

        def reset(self, **keywords: Any) -> tuple[np.ndarray, dict]:
            return super().reset(**keywords)[0], self.info(False)

        def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
            obs, reward, terminated, truncated, _ = super().step(action)
            return obs, reward, terminated, truncated, self.info(terminated or truncated)

    envs, seen = several(Nothing, mode), 0
    with pytest.raises(TensorqError, match="action mask: received only zeros, expected a legal action if"):
        for _ in range(9):
            step = envs.step(np.zeros(3, np.int32))
            seen += int((step.terminated | step.truncated).sum())
    assert seen == 6  # the first two episodes of each
    envs.close()


@MODES
def test_a_first_mask_without_legal_actions_is_refused(mode: AutoresetMode | None) -> None:
    class Nothing(Masked):
        @staticmethod
        def info(obs: np.ndarray) -> dict[str, Any]:
            return {"action_mask": np.zeros(3, np.int8)}

    with pytest.raises(TensorqError, match="action mask: received only zeros"):
        several(Nothing, mode)


@pytest.mark.parametrize("obs", [np.zeros(5, np.float32), np.zeros(1, np.float32), np.zeros((1, 3), np.float32), 0.0])
def test_observations_of_another_shape_are_refused(obs: Any) -> None:
    class Wrong(Counting):
        def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
            return obs, 0.0, False, False, {}

    envs = make_host_environments(Wrong, 3)
    with pytest.raises(TensorqError, match=r"an observation of shape .*, expected shape \(3,\) by its space Box"):
        envs.step(np.zeros(3, np.int32))
    with pytest.raises(
        TensorqError, match=r"an observation of shape \(2, 3\), expected shape \(3, 3\) by its space Box"
    ):
        ObservationReader(Wrong.observation_space)(np.zeros((2, 3), np.float32), 3)


@MODES
def test_masks_of_the_parts_of_an_action_allow_every_combination_of_legal_parts(mode: AutoresetMode | None) -> None:
    class InParts(Masked):
        action_space = spaces.MultiDiscrete([2, 3])

        @staticmethod
        def info(obs: np.ndarray) -> dict[str, Any]:
            return {"action_mask": (np.array([0, 1], np.int8), np.array([1, 0, 1], np.int8))}

        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
            assert action.tolist() == [1, 2]
            return self.obs, 0.0, False, False, self.info(self.obs)

    envs = several(InParts, mode)
    # Combinations are counted through the last part first: 00 01 02 10 11 12.
    assert envs.mask is not None and envs.mask.tolist() == [[False, False, False, True, False, True]] * 3
    step = envs.step(np.full(3, 5))
    assert step.next_mask is not None and (step.next_mask == envs.mask).all()
    envs.close()


@MODES
def test_taxi_tells_which_actions_are_legal(mode: AutoresetMode | None) -> None:
    taxi = next(env for env in ("Taxi-v4", "Taxi-v3") if env in gym.registry)
    envs, table = several(gymnasium_maker(taxi), mode), gym.make(taxi).unwrapped
    random, illegal = np.random.default_rng(0), 0
    envs.reset([1, 2, 3])
    for _ in range(300):
        obs, mask = envs.obs.copy(), np.array(envs.mask)
        step = envs.step(greedy(random.random((3, 6)), mask))
        assert step.next_mask is not None
        for index in np.flatnonzero(step.valid):
            np.testing.assert_array_equal(mask[index], table.action_mask(obs[index]))
            np.testing.assert_array_equal(step.next_mask[index], table.action_mask(step.next_obs[index]))
            illegal += 6 - int(mask[index].sum())
    assert illegal > 1_000
    envs.close()


def test_environments_that_tell_of_none_have_no_mask(envs: HostEnvironments) -> None:
    envs.reset([1, 2, 3])
    assert envs.mask is None
    for _ in range(5):
        assert envs.step(np.zeros(3, np.int32)).next_mask is None
    assert envs.mask is None


# --- what environments get wrong --------------------------------------------------------------------------------------

FLOATS = np.zeros(2, np.float32)


def world(step: Any = None, reset: Any = None, **attributes: Any) -> type[gym.Env]:
    """A world whose step and reset give this, or are these functions."""

    class World(gym.Env):
        observation_space, action_space = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            return (FLOATS, {}) if reset is None else reset

        def step(self, action: int) -> Any:
            if isinstance(step, Exception):
                raise step
            return (FLOATS, 1.0, False, False, {}) if step is None else step

    for name, value in attributes.items():
        setattr(World, name, value)
    return World


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((FLOATS, 1.0, False, {}), r"step\(\) of World returned \(array.*, expected five values: .*its done is now"),
        (FLOATS, r"step\(\) of World returned array.*, expected five values"),
        ((), r"step\(\) of World returned \(\), expected five values"),
        ((FLOATS, 1.0, False, False, None), "expected five values: .* and an info that is a dict"),
        (
            (FLOATS, np.array([1.0]), False, False, {}),
            r"gave the reward array.*, expected one number. Write float\(rew",
        ),
        ((FLOATS, np.zeros(2), False, False, {}), r"gave the reward array\(\[0., 0.\]\), expected one number.$"),
        ((FLOATS, "1", False, False, {}), "gave the reward '1', expected one number"),
        ((FLOATS, None, False, False, {}), "gave the reward None, expected one number"),
        ((FLOATS, 10**400, False, False, {}), "gave the reward 1000.*, expected one number"),
        ((FLOATS, [1, [2, 3]], False, False, {}), r"gave the reward \[1, \[2, 3\]\], expected one number"),
        ((FLOATS, float("nan"), False, False, {}), "gave the reward nan, expected a finite number"),
        ((FLOATS, np.float32("inf"), False, False, {}), "gave the reward inf, expected a finite number"),
        (
            (FLOATS * np.nan, 1.0, False, False, {}),
            r"gave an observation with nan at \[0\] of environment 0, expected finite numbers",
        ),
        ((FLOATS, 1.0, None, False, {}), "gave terminated None, expected True or False"),
        ((FLOATS, 1.0, False, np.array([False]), {}), r"gave truncated array\(\[False\]\), expected True or False"),
        (
            RuntimeError("simulator lost"),
            r"World raised RuntimeError: simulator lost .*test_host_envs.py, line \d+\) in s",
        ),
    ],
    ids=str,
)
def test_steps_that_are_none_are_refused(given: Any, message: str) -> None:
    envs = make_host_environments(world(given), 2)
    obs = envs.obs
    with pytest.raises(TensorqError, match=message) as caught:
        envs.step(np.zeros(2, np.int32))
    assert envs.obs is obs
    assert (caught.value.__cause__ is given) == isinstance(given, Exception)


@pytest.mark.parametrize("bad", ["ended", "begun"])
@pytest.mark.parametrize("mode", [None, *AutoresetMode])
def test_numbers_that_are_not_finite_are_found_where_an_episode_ends_and_where_one_begins(
    bad: str, mode: AutoresetMode | None
) -> None:
    class Once(world()):  # type: ignore[misc]
        begun = 0

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.begun += seed is None
            return FLOATS + (np.inf if bad == "begun" and self.begun else 0), {}

        def step(self, action: int) -> Any:
            return FLOATS + (np.inf if bad == "ended" else 0), 1.0, True, False, {}

    def make() -> Any:
        return Once() if mode is None else SyncVectorEnv([Once] * 2, autoreset_mode=mode)

    envs = make_host_environments(make, 2)
    with pytest.raises(TensorqError, match=r"an observation with inf at \[0\] of environment 0, expected finite"):
        for _ in range(2):  # in mode NEXT_STEP the second begins an episode
            envs.step(np.zeros(2, np.int32))


def test_a_number_that_float32_cannot_hold_is_refused() -> None:
    envs = make_host_environments(world((np.array([0, 1e300]), 1.0, False, False, {})), 1)
    with pytest.raises(TensorqError, match=r"an observation with inf at \[1\], expected finite numbers that float32 "):
        envs.step(np.zeros(1, np.int32))


def test_a_vector_that_resets_more_than_it_is_told_is_refused() -> None:
    class Greedy(SyncVectorEnv):
        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return super().reset(seed=seed)

    class Aging(Counting):
        def __init__(self, limit: int) -> None:
            super().__init__()
            self.limit = limit

        def step(self, action: int) -> Any:
            observed, reward, _, cut, info = super().step(action)
            self.limit -= 1
            return observed, reward, self.limit == 0, cut, info

    def make(kind: type[SyncVectorEnv]) -> HostEnvironments:
        makers = [lambda: Aging(2), lambda: Aging(9)]
        return make_host_environments(lambda: kind(makers, autoreset_mode=AutoresetMode.DISABLED), 2)

    for kind in (SyncVectorEnv, Greedy):
        envs = make(kind)
        envs.step(np.zeros(2, np.int32))
        if kind is SyncVectorEnv:
            assert envs.step(np.zeros(2, np.int32)).terminated.tolist() == [True, False]
        else:
            with pytest.raises(
                TensorqError, match="of mode DISABLED reset episodes that had not ended, expected reset"
            ):
                envs.step(np.zeros(2, np.int32))


@pytest.mark.parametrize("reward", [1, True, np.float32(1), np.int8(1), np.array(1.0)], ids=repr)
@pytest.mark.parametrize("flag", [np.bool_(True), 1, np.array(True)], ids=repr)
def test_numbers_of_other_types_are_taken(reward: Any, flag: Any) -> None:
    step = make_host_environments(world((FLOATS, reward, flag, flag, {})), 1).step(np.zeros(1, np.int32))
    assert (step.reward.tolist(), step.terminated.tolist(), step.truncated.tolist()) == ([1.0], [True], [True])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            world(reset=FLOATS),
            r"reset\(\) of World returned array.*, expected an observation and an info that is a dict",
        ),
        (world(reset=(FLOATS, None)), r"reset\(\) of World returned \(array"),
        (type("Old", (world(),), {"reset": lambda self: FLOATS}), r"reset\(\) of Old takes no seed: write def reset"),
        (
            world(reset=(FLOATS + 2, {})),
            r"an observation with 2 at \[0, 0\], expected -1 to 1 by its space Box.*: correc",
        ),
        (world(reset=(FLOATS * np.nan, {})), "an observation with nan at"),
        (world(reset=({"a": FLOATS + 2}, {}), observation_space=spaces.Dict(a=spaces.Box(-1, 1, (2,)))), "with 2 at"),
    ],
    ids=str,
)
def test_resets_that_are_none_are_refused(made: type[gym.Env], message: str) -> None:
    with pytest.raises(TensorqError, match=message):
        make_host_environments(made, 1)
    if "takes no seed" not in message and "returned" not in message:  # Gymnasium's vectors take no such things
        with pytest.raises(TensorqError, match=message):
            make_host_environments(lambda: SyncVectorEnv([made] * 2), 1)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (type("Bare", (gym.Env,), {}), "Bare has the observation_space None, expected a gymnasium space: set self.obs"),
        (world(action_space=None), "World has the action_space None"),
        (world(observation_space=spaces.Dict([(0, spaces.Discrete(2))])), "expected parts with names that are text"),
        (world(observation_space=spaces.Dict({})), r"observation space Dict\(\): it has no part"),
        (
            lambda size: Counting(),
            r"function <lambda>\(size\) needs arguments, expected a function without any, such as lambda",
        ),
        (lambda: 1 / 0, r"the environment function raised ZeroDivisionError: .*test_host_envs.py, line"),
        (lambda: Counting, "the environment function returned type, expected a gymnasium.Env"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # a function's own would hold its address
)
def test_makers_of_what_cannot_be_played_are_refused(made: Any, message: str) -> None:
    with pytest.raises(TensorqError, match=message):
        describe("mine", made)


class Batches(gym.vector.VectorEnv):
    """Two environments whose episodes last two steps, that says and gives what it is told to."""

    def __init__(self, metadata: dict[str, Any], final: dict[str, Any]) -> None:
        self.metadata, self.num_envs, self.final = metadata, 2, final
        self.single_observation_space, self.single_action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)
        self.action_space = spaces.MultiDiscrete([2, 2])

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.age = 0
        return np.zeros((2, 1), np.float32), {}

    def step(self, actions: Any) -> Any:
        self.age += 1
        done = np.full(2, self.age % 2 == 0)
        return np.zeros((2, 1)), np.ones(2), done, np.zeros(2, bool), self.final if done.any() else {}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "Batches does not say how it resets .*: write metadata = .*AutoresetMode.NEXT_STEP"),
        ({"autoreset_mode": "same_step"}, "Batches says 'same_step' about how it resets"),
    ],
)
def test_vectors_that_do_not_say_how_they_reset_are_refused(metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(TensorqError, match=message):
        VectorEnvironments(Batches(metadata, {}))


@pytest.mark.parametrize(
    ("final", "hint"),
    [
        ({"final_observation": np.array([FLOATS[:1], FLOATS[:1]])}, "Rename final_observation"),
        ({"final_obs": np.array([None, None])}, ""),
        ({}, ""),
    ],
)
def test_a_last_observation_under_an_old_name_or_none_is_refused(final: dict[str, Any], hint: str) -> None:
    envs = VectorEnvironments(Batches({"autoreset_mode": "SameStep"}, final))  # the mode by its value
    envs.step(np.zeros(2, np.int32))
    with pytest.raises(TensorqError, match=rf"without its last observation, expected it in info.*{hint}"):
        envs.step(np.zeros(2, np.int32))


def normalised() -> gym.Env:
    return gym.wrappers.NormalizeReward(gym.wrappers.NormalizeObservation(gym.make("CartPole-v1")))


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (normalised, ("NormalizeReward", "NormalizeObservation")),
        (lambda: gym.wrappers.TimeAwareObservation(gym.make("CartPole-v1")), ()),
        (lambda: SyncVectorEnv([normalised] * 2), ("NormalizeReward", "NormalizeObservation")),
        (lambda: AsyncVectorEnv([normalised]), ("NormalizeObservation", "NormalizeReward")),
        (lambda: vector_wrappers.NormalizeReward(gym.make_vec("CartPole-v1", 2)), ("NormalizeReward",)),
        (lambda: vector_wrappers.NormalizeObservation(gym.make_vec("CartPole-v1", 2)), ("NormalizeObservation",)),
    ],
)
def test_wrappers_whose_statistics_are_not_kept_are_told_of(make: Any, found: tuple[str, ...]) -> None:
    environment = describe("mine", make)
    assert environment.normalising == found
    told = environment.warnings("host", "auto")
    assert len(told) == bool(found)
    assert all(f"the statistics of {' and '.join(found)} are not kept" in text for text in told)


@pytest.mark.parametrize(
    ("changes", "env_args", "reason"),
    [
        ({}, {}, None),
        ({"max_episode_steps": 20}, {}, "is registered with a time limit of 20 steps, its compiled world with 500"),
        ({"entry_point": Counting}, {}, "is registered as an environment other than Gymnasium's own"),
        ({"kwargs": {"sutton_barto_reward": True}}, {}, "is registered as an environment other"),
        ({}, {"sutton_barto_reward": True}, "the compiled world of CartPole-v1 takes no sutton_barto_reward"),
    ],
)
def test_a_compiled_world_stands_for_gymnasiums_own_environment_alone(
    changes: dict[str, Any], env_args: dict[str, Any], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dataclasses.replace(gym.spec("CartPole-v1"), **changes)
    monkeypatch.setitem(gym.registry, "CartPole-v1", spec)
    environment = describe("CartPole-v1", env_args=env_args)
    assert choose_loop("auto", environment) == ("host" if reason else "compiled")
    assert bool(environment.warnings("host", "auto")) and not environment.warnings("host", "host")
    if reason:
        assert reason in environment.warnings("host", "auto")[0]
        with pytest.raises(TensorqError, match=reason):
            choose_loop("compiled", environment)


def test_environments_are_closed_where_the_next_cannot_be_made() -> None:
    class Scarce(Counting):
        open = made = 0

        def __init__(self) -> None:
            super().__init__()
            Scarce.made += 1
            if Scarce.made == 3:
                raise RuntimeError("no third licence")
            Scarce.open += 1

        def close(self) -> None:
            Scarce.open -= 1

    with pytest.raises(TensorqError, match="no third licence"):
        make_host_environments(new_each_time(Scarce), 3)
    assert Scarce.open == 0
    Scarce.made, Scarce.action_space = 0, spaces.Box(-1, 1)
    with pytest.raises(TensorqError, match="action space Box"):
        describe("mine", Scarce, single=True)
    assert Scarce.open == 0


def test_closed_environments_are_not_kept_alive() -> None:
    make = new_each_time(Counting)
    first, second = make(), make()
    seen = weakref.ref(first)
    del first
    assert seen() is None and second is not None


# --- evaluation, seeds, and what is refused ---------------------------------------------------------------------------


class Endless(gym.Env):
    """Pays 1 a step; ends after `seed` steps."""

    observation_space, action_space = spaces.Discrete(3, start=4), spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict]:
        self.left = seed or 10**6
        return 4, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        self.left -= 1
        return 5, 1.0, self.left == 0, False, {}


def test_an_agent_in_training_is_rated_in_environments_made_once_and_on_seeds_of_the_step() -> None:
    class Closing(Counting):
        made: list[Closing] = []
        seeds: set[Any] = set()
        closed = 0

        def __init__(self) -> None:
            super().__init__()
            self.made.append(self)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.seeds.add(seed)
            return super().reset(seed=seed, options=options)

        def close(self) -> None:
            Closing.closed += 1

    seen: list[Any] = []

    def q_values(obs: np.ndarray) -> np.ndarray:
        seen.append(obs[:, 0].tolist())
        return np.zeros((len(obs), 3))

    selection = Selection(Config(seed=3, evaluation_episodes=2), Closing)
    for steps in (100, 200, 100):
        assert selection.play(q_values, steps).returns.shape == (2,)
    assert seen[0] == seen[2] != seen[1]
    for steps in (100, 200):  # where training's own environments begin after a checkpoint of these steps
        assert not Closing.seeds & {*seeds_for(3, steps, 8), *seeds_for(3, steps, 8, evaluation=True)}
    selection.close()
    assert len(Closing.made) == Closing.closed == 2


@pytest.mark.parametrize("num_envs", [1, 2, 4])
def test_endless_episodes_are_cut_and_scored_as_they_stand(num_envs: int) -> None:
    envs = make_host_environments(Endless, num_envs)
    played = play_episodes(envs, lambda obs: np.zeros((len(obs), 2)), [3, 100, 20, 21, 1], max_steps=20)
    assert played.returns.tolist() == played.lengths.tolist() == [3, 20, 20, 20, 1]
    assert played.unfinished == 2
    assert envs.obs.dtype == np.int32


def test_vectors_are_not_staggered() -> None:
    with pytest.raises(TensorqError, match="stagger_steps: the vector environment .* cuts its episodes itself. Leave"):
        make_host_environments(lambda: SyncVectorEnv([Endless] * 2), 2, stagger=[5, 10])


def test_gymnasiums_own_vector_environment() -> None:
    """It takes one seed for all, and resets in the step after an episode's end."""
    make = gymnasium_maker("CartPole-v1")
    envs = VectorEnvironments(gym.make_vec("CartPole-v1", 3, vectorization_mode="vector_entry_point"))
    envs.reset([1, 2, 3])
    first = envs.obs
    resets = 0
    for _ in range(60):
        obs = envs.obs.copy()
        step = envs.step(np.ones(3, np.int32))
        resets += int(np.sum(~step.valid))
        # Velocity carries position: what is stored is one step of one episode, what is not is a reset.
        moved = np.isclose(step.next_obs[:, 0], obs[:, 0] + 0.02 * obs[:, 1], atol=1e-6)
        np.testing.assert_array_equal(moved, step.valid)
    assert resets > 10
    envs.reset([1, 2, 3])
    np.testing.assert_array_equal(envs.obs, first)
    envs.reset([2, 2, 3])
    assert not np.array_equal(envs.obs, first)
    envs.close()
    assert isinstance(make_host_environments(make, 2), SingleEnvironments)


@given(seed=st.integers(0, 2**31 - 1), counter=st.integers(0, 2**33), count=st.integers(1, 50))
def test_seeds_for_evaluation_are_never_those_of_training(seed: int, counter: int, count: int) -> None:
    training, evaluation = (seeds_for(seed, counter, count, evaluation=which) for which in (False, True))
    assert training == seeds_for(seed, counter, count)
    assert len(training) == len(evaluation) == count
    assert all(0 <= each < 2**30 for each in training)
    assert all(2**30 <= each < 2**31 for each in evaluation)
    assert seeds_for(seed + 1, counter, 4) != seeds_for(seed, counter, 4) != seeds_for(seed, counter + 1, 4)


@pytest.mark.parametrize(
    ("observation_space", "action_space", "message"),
    [
        (spaces.Box(0, 1), spaces.Box(-1, 1, (2,)), r"action space Box\(-1.0, 1.0, \(2,\).*: .* discretise them"),
        (spaces.Box(0, 1), spaces.MultiDiscrete([32, 33]), "1,056 combinations, expected at most 1,024"),
        (
            spaces.Box(0, 1),
            spaces.MultiBinary(3),
            r"action space MultiBinary\(3\): expected Discrete or MultiDiscrete actions.$",
        ),
        (
            spaces.Dict(a=spaces.Text(3)),
            spaces.Discrete(2),
            "observation space Text: expected Box, Discrete",
        ),
        (spaces.Text(3), spaces.Discrete(2), "observation space Text: expected Box, Discrete, MultiDiscrete"),
    ],
    ids=str,
)
def test_unsupported_spaces_are_refused_by_name(
    observation_space: gym.Space, action_space: gym.Space, message: str
) -> None:
    class Unsupported(Counting):
        pass

    Unsupported.observation_space, Unsupported.action_space = observation_space, action_space
    with pytest.raises(TensorqError, match=message):
        make_host_environments(Unsupported, 2)


def test_supported_spaces_and_how_they_are_stored() -> None:
    assert obs_layout(spaces.Discrete(3, start=5)) == (np.int32, ())
    assert obs_layout(spaces.Box(0, 1, (2, 3), np.float64)) == (np.float32, (2, 3))
    assert obs_layout(spaces.Box(0, 255, (84, 84), np.uint8)) == (np.uint8, (84, 84))
    assert obs_layout(spaces.Box(-9, 9, (1,), np.int64)) == (np.int64, (1,))


def test_unknown_environments_are_refused_with_the_nearest_names() -> None:
    with pytest.raises(TensorqError, match=r"unknown environment 'CartPol-v1': did you mean CartPole-v1\?$"):
        gymnasium_maker("CartPol-v1")
    with pytest.raises(
        TensorqError, match="'Xyz': `tensorq envs` lists known ones. Name an environment of your own as"
    ):
        gymnasium_maker("Xyz")
    with pytest.raises(TensorqError, match="'nowhere/Thing-v0' cannot be made: .*nowhere.* of your own as MODULE:ID"):
        gymnasium_maker("nowhere/Thing-v0")()
    with pytest.raises(
        TensorqError, match="'no_such_module:Thing-v0': Python finds no module 'no_such_module', expected"
    ):
        gymnasium_maker("no_such_module:Thing-v0")()


def test_mistakes_in_a_module_of_ones_own_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_worlds.py").write_text(
        "import gymnasium as gym\n"
        "class Own(gym.Env):\n"
        "    def __init__(self, size=3, bad=False): self.size = len(5) if bad else size\n"
        "    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)\n"
        "    def reset(self, seed=None, options=None): return 0, {}\n"
        "    def step(self, action): return 0, 1.0, True, {}\n"
        "gym.register('Own-v0', Own)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TensorqError, match="own_worlds:Own-v0 takes no 'siz': did you mean size"):
        gymnasium_maker("own_worlds:Own-v0", {"siz": 4})()
    with pytest.raises(
        TensorqError, match="'own_worlds:Own-v0' with bad=True cannot be made: TypeError: object of type"
    ):
        gymnasium_maker("own_worlds:Own-v0", {"bad": True})()
    with pytest.raises(TensorqError, match=r"step\(\) of Own-v0 returned \(0, 1.0, True, {}\), expected five values"):
        make_host_environments(gymnasium_maker("own_worlds:Own-v0"), 1).step(np.zeros(1, np.int32))
    with pytest.raises(TensorqError, match=r"Importing own_worlds must call gymnasium.register\(id='Other-v0', ..."):
        gymnasium_maker("own_worlds:Other-v0")()
    gym.registry.pop("Own-v0")


def test_a_module_that_needs_another_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_another.py").write_text("import another_module")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TensorqError, match="'needs_another:Thing-v0' needs the Python package 'another_module', which"):
        gymnasium_maker("needs_another:Thing-v0")()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"is_sliippery": False}, r"FrozenLake-v1 takes no 'is_sliippery': did you mean is_slippery\?$"),
        ({"map_name": "4x4", "frogs": 3}, "FrozenLake-v1 takes no 'frogs': known: desc, map_name, is_slippery"),
        ({"max_episode_steps": 5, "frogs": 3}, "FrozenLake-v1 takes no 'frogs': known: .*, max_episode_steps, "),
        ({"map_name": "9x9"}, "'FrozenLake-v1' with map_name='9x9' cannot be made: KeyError"),
    ],
)
def test_arguments_that_an_environment_does_not_take_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TensorqError, match=message):
        gymnasium_maker("FrozenLake-v1", arguments)()


@pytest.mark.parametrize(
    ("env", "suggested"),
    [
        ("Taxi-v3", ["Taxi-v4"]),
        ("cartpole", ["CartPole-v1"]),
        ("CliffWalk", ["CliffWalking-v1", "CliffWalkingSlippery-v1"]),
        ("Humanoid-v9", []),  # continuous actions, in MuJoCo
        ("Pendulum-v0", []),
        ("GymV22Environment-v0", []),
        ("Lunar", ["LunarLander-v3"]),
        ("MontainCra-v0", ["MountainCar-v0"]),
        ("Foo-v0", []),
        ("MinAtarBreakout", ["tensorq/MinAtar-Breakout-v1"]),
    ],
)
def test_only_what_can_be_trained_is_suggested(env: str, suggested: list[str]) -> None:
    assert _similar(env) == suggested


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = gym.envs.registration.EnvSpec("Lost-v0", entry_point="no_such_package.envs:Lost")
    monkeypatch.setitem(gym.registry, "Lost-v0", spec)
    with pytest.raises(TensorqError, match="'Lost-v0' needs the Python package 'no_such_package', which is not instal"):
        gymnasium_maker("Lost-v0")()


def test_an_environment_that_raises_is_named_with_where_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unplugged.py").write_text("\nraise ValueError('no robot')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TensorqError, match=r"cannot be made: ValueError: no robot \(.*unplugged.py, line 2\)"):
        gymnasium_maker("unplugged:Robot-v0")()


def test_what_gymnasium_warns_of_is_said_once_for_several_environments() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        make = gymnasium_maker("CartPole-v0")  # out of date
        for _ in range(3):
            make().close()
    assert sum("out of date" in str(warning.message) for warning in caught) == 1


def test_an_extra_that_is_missing_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "Box2D", None)
    with pytest.raises(TensorqError, match=r"needs the box2d extra: .* pip install '?gymnasium\[box2d\]"):
        gymnasium_maker("LunarLander-v3")()


def test_the_command_that_installs_an_extra_names_its_packages_and_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=1", "imageio>=2.34; extra == 'video'", 'gymnasium[box2d]<2,>=1.2; extra == "box2d"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(sys, "executable", "/my own/python")
    monkeypatch.setattr(sys, "platform", "linux")
    assert extra_command("video") == "'/my own/python' -m pip install 'imageio>=2.34'"
    monkeypatch.setattr(sys, "platform", "win32")
    assert extra_command("box2d") == '"/my own/python" -m pip install "gymnasium[box2d]<2,>=1.2"'
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # no pip
    assert extra_command("video") == 'uv pip install --python "/my own/python" "imageio>=2.34"'


def test_a_function_that_makes_something_else_later_is_refused() -> None:
    made = iter([Counting(), 3])
    with pytest.raises(TensorqError, match="returned a gymnasium.Env first, then something else"):
        make_host_environments(lambda: next(made), 2)  # type: ignore[arg-type, return-value]
