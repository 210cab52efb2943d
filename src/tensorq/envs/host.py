"""Gymnasium environments for the host loop: one meaning of autoreset, whatever the environment's own is.

No TensorFlow here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from tensorq.envs.spaces import adapt, check_choice, check_mask, plain_action_space
from tensorq.errors import TensorqError

EnvironmentMaker = Callable[[], gym.Env | VectorEnv]
MASK = "action_mask"  # in an environment's info: which actions are legal, as Taxi and others tell
LATE_MASK = "the environment gave an action_mask, and none in the info of its first reset: expected from there on."


class Transitions(NamedTuple):
    """One step of N environments. Rows with valid False are resets, not experience: skip them."""

    next_obs: np.ndarray  # [N, ...], the true final observation where an episode ended
    reward: np.ndarray  # [N] float64, raw
    terminated: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool
    valid: np.ndarray  # [N] bool
    next_mask: np.ndarray | None  # [N, A] bool, the actions that are legal at next_obs; None where all always are


class HostEnvironments(Protocol):
    """N environments stepped side by side. `obs` is what to act on next: already the next episode's where one ended."""

    observation_space: gym.Space
    action_space: gym.spaces.Discrete
    num_envs: int
    obs: np.ndarray
    mask: np.ndarray | None  # [N, A] bool, the legal actions at obs, if the environment's info has an action_mask

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin a new episode in each environment, reseeded."""
        ...

    def step(self, actions: np.ndarray) -> Transitions:
        """Act once in each environment."""
        ...

    def close(self) -> None:
        """Release the environments."""
        ...


def seeds_for(seed: int, counter: int, count: int, *, evaluation: bool = False) -> list[int]:
    """`count` environment seeds from (seed, counter): below 2^30 for training and selection, above for evaluation.

    The two ranges cannot meet, so an agent is never measured on an episode that it was selected by.
    """
    words = np.random.SeedSequence((seed, counter)).generate_state(count, np.uint32) >> 2
    return [int(word) + (2**30 if evaluation else 0) for word in words]


class SingleEnvironments:
    """gymnasium.Env objects in this process, reset as soon as their episode ends."""

    def __init__(self, envs: Sequence[gym.Env]) -> None:
        self._native_actions = envs[0].action_space
        self._envs = [adapt(env) for env in envs]
        self.num_envs = len(self._envs)
        self.observation_space = self._envs[0].observation_space
        self.action_space = plain_action_space(self._envs[0].action_space)
        self._first_action = int(self.action_space.start)
        dtype, shape = obs_layout(self.observation_space)
        self.obs = np.zeros((self.num_envs, *shape), dtype)
        self.mask: np.ndarray | None = None
        self._begun = False
        self._valid = np.ones(self.num_envs, bool)
        self.reset(range(self.num_envs))
        self._begun = True

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin a new episode in each environment, reseeded."""
        for index, (env, seed) in enumerate(zip(self._envs, seeds, strict=True)):
            observed, info = env.reset(seed=seed)
            self._see(index, observed, self._legal(observed, info))

    def step(self, actions: np.ndarray) -> Transitions:
        """Act once in each environment."""
        next_obs = np.empty_like(self.obs)
        next_mask = None if self.mask is None else np.empty_like(self.mask)
        reward = np.empty(self.num_envs)
        terminated, truncated = np.empty(self.num_envs, bool), np.empty(self.num_envs, bool)
        for index, env in enumerate(self._envs):
            action = int(actions[index]) + self._first_action
            observed, reward[index], terminated[index], truncated[index], info = env.step(action)
            mask = self._legal(observed, info)
            next_obs[index] = observed
            if next_mask is not None:
                next_mask[index] = mask
            if terminated[index] or truncated[index]:
                observed, info = env.reset()
                mask = self._legal(observed, info)
            self._see(index, observed, mask)
        return Transitions(next_obs, reward, terminated, truncated, self._valid, next_mask)

    def _legal(self, observed: Any, info: dict[str, Any]) -> Any:
        """The legal actions [A] bool at what was observed; True, which is all, where an environment does not say."""
        check_observations(self.observation_space, observed)
        if MASK not in info:
            return True
        if self.mask is None:
            if self._begun:
                raise TensorqError(LATE_MASK)
            self.mask = np.ones((self.num_envs, int(self.action_space.n)), bool)
        return check_mask(info[MASK], self._native_actions)

    def _see(self, index: int, observed: Any, mask: Any) -> None:
        """Take in what to act on next."""
        self.obs[index] = observed
        if self.mask is not None:
            self.mask[index] = mask
            check_choice(self.mask[index])

    def close(self) -> None:
        """Close them all."""
        for env in self._envs:
            env.close()


class VectorEnvironments:
    """A gymnasium VectorEnv of any autoreset mode."""

    def __init__(self, env: VectorEnv) -> None:
        self._native_actions = env.single_action_space
        self._env = env = adapt(env)
        self.num_envs = env.num_envs
        self.observation_space = env.single_observation_space
        self.action_space = plain_action_space(env.single_action_space)
        self._dtype, shape = obs_layout(self.observation_space)
        self.obs = np.zeros((self.num_envs, *shape), self._dtype)
        # Gymnasium's default, for vector environments that do not say.
        self._mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self.mask: np.ndarray | None = None
        self._masked: bool | None = None  # not known before the first reset
        self._resetting = np.zeros(self.num_envs, bool)  # rows whose next step is a reset (NEXT_STEP)
        self.reset(range(self.num_envs))

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin a new episode in each environment, reseeded."""
        try:
            obs, info = self._env.reset(seed=list(seeds))
        except (gym.error.Error, TypeError):  # it takes one seed for all, as Gymnasium's own CartPole does
            obs, info = self._env.reset(seed=seeds[0])
        self._resetting[:] = False
        self._see(self._copy(obs), self._masks(info))

    def step(self, actions: np.ndarray) -> Transitions:
        """Act once in each environment."""
        observed, reward, terminated, truncated, info = self._env.step(
            (actions + self.action_space.start).astype(self._env.action_space.dtype)
        )
        next_obs = self._copy(observed)
        obs = next_obs.copy()
        # Copies, because some vector environments hand out the same arrays at every step.
        terminated, truncated = np.array(terminated, bool), np.array(truncated, bool)
        valid, done = ~self._resetting, terminated | truncated
        mask, next_mask = self._masks(info), self._masks(info)
        if self._mode == AutoresetMode.SAME_STEP and done.any():
            final_mask = self._masks(info.get("final_info", {}))
            for index in np.flatnonzero(done):
                check_observations(self.observation_space, info["final_obs"][index])
                next_obs[index] = info["final_obs"][index]
                if next_mask is not None and final_mask is not None:
                    next_mask[index] = final_mask[index]
        elif self._mode == AutoresetMode.NEXT_STEP:
            self._resetting = done & valid
        elif done.any():  # DISABLED
            reset_obs, info = self._env.reset(options={"reset_mask": done})
            obs, fresh = self._copy(reset_obs), self._masks(info)
            if mask is not None and fresh is not None:
                mask = np.where(done[:, None], fresh, mask)
        self._see(obs, mask)
        return Transitions(next_obs, np.array(reward, np.float64), terminated, truncated, valid, next_mask)

    def _see(self, obs: np.ndarray, mask: np.ndarray | None) -> None:
        """Take in what to act on next; rows that are reset next ignore their actions."""
        self.obs, self.mask = obs, mask
        if mask is not None:
            check_choice(mask[~self._resetting])

    def _masks(self, info: dict[str, Any]) -> np.ndarray | None:
        """[N, A] bool from a vector environment's info, in which rows may be missing: there all actions are legal."""
        present = MASK in info
        if self._masked is None:
            self._masked = present
        if not self._masked:
            if present:
                raise TensorqError(LATE_MASK)
            return None
        masks = np.ones((self.num_envs, int(self.action_space.n)), bool)
        if present and len(info[MASK]) != self.num_envs:
            raise TensorqError(
                f"{MASK}: received {len(info[MASK])} of them, expected one for each of {self.num_envs} environments."
            )
        for index in np.flatnonzero(info.get(f"_{MASK}", np.full(self.num_envs, present))):
            masks[index] = check_mask(info[MASK][index], self._native_actions)
        return masks

    def _copy(self, obs: np.ndarray) -> np.ndarray:
        check_observations(self.observation_space, obs, self.num_envs)
        return np.array(obs, self._dtype)

    def close(self) -> None:
        """Close it."""
        self._env.close()


class Repeatable:
    """Environments whose state can be saved after all: as the boundary where they began, and the actions since."""

    def __init__(self, envs: HostEnvironments, seed: int) -> None:
        self.envs = envs
        self._seed = seed
        self.begin(0)

    def begin(self, steps: int) -> None:
        """A boundary after `steps`: all episodes end, and new ones begin, seeded by (seed, steps)."""
        self._began_at = steps
        self._actions = bytearray()
        self.envs.reset(seeds_for(self._seed, steps, self.envs.num_envs))

    def step(self, actions: np.ndarray) -> Transitions:
        """Act once in each environment."""
        self._actions += actions.astype(np.int32).tobytes()
        return self.envs.step(actions)

    def save(self) -> dict[str, np.ndarray]:
        """What brings them back; the observations tell whether it did."""
        return {
            "boundary.steps": np.array(self._began_at, np.int64),
            "boundary.actions": np.frombuffer(bytes(self._actions), np.int32).reshape(-1, self.envs.num_envs),
            "boundary.obs": self.envs.obs.copy(),
        }

    def restore(self, tensors: dict[str, np.ndarray], live: Callable[[Transitions], None]) -> bool:
        """Act again as was saved, with `live` called for each step; False where that led elsewhere."""
        self.begin(int(tensors["boundary.steps"]))
        for actions in tensors["boundary.actions"]:
            live(self.step(actions))
        return np.array_equal(self.envs.obs, tensors["boundary.obs"])


def new_each_time(make: EnvironmentMaker) -> EnvironmentMaker:
    """The same, but raises TensorqError for an environment it gave before: two would play one episode."""
    made: list[object] = []

    def checked() -> gym.Env | VectorEnv:
        env = make()
        if any(env is other for other in made):
            name = type(getattr(env, "unwrapped", env)).__name__
            raise TensorqError(
                f"the environment function returned the same {name} again, expected a new one each time: make it in "
                "the function, as in lambda: gymnasium.make(...)."
            )
        made.append(env)
        return env

    return checked


def make_host_environments(make: EnvironmentMaker, num_envs: int) -> HostEnvironments:
    """num_envs environments of one maker. A maker of a VectorEnv is called once and decides the number itself."""
    first = make()
    if isinstance(first, VectorEnv):
        return VectorEnvironments(first)
    if not isinstance(first, gym.Env):
        raise TensorqError(f"the environment function returned {type(first).__name__}, expected a gymnasium.Env.")
    return SingleEnvironments([first, *(_single(make) for _ in range(num_envs - 1))])


def _single(make: EnvironmentMaker) -> gym.Env:
    env = make()
    if not isinstance(env, gym.Env):
        raise TensorqError("the environment function returned a gymnasium.Env first and something else later.")
    return env


def obs_layout(space: gym.Space) -> tuple[np.dtype, tuple[int, ...]]:
    """(dtype, shape) in which observations of a space are stored: float64 as float32, Discrete as int32."""
    if isinstance(space, gym.spaces.Discrete):
        return np.dtype(np.int32), ()
    dtype = np.dtype(space.dtype)
    return (np.dtype(np.float32) if dtype.kind == "f" else dtype), tuple(space.shape or ())


def check_observations(space: gym.Space, obs: Any, rows: int | None = None) -> None:
    """Refuse observations of another shape than the space has, or rows of it, and states that it does not contain."""
    expected = (() if rows is None else (rows,)) + tuple(space.shape or ())
    shape = obs.shape if isinstance(obs, np.ndarray) else np.shape(obs)
    if shape != expected:
        raise TensorqError(
            f"the environment gave an observation of shape {shape}, expected {expected} by its space {space}."
        )
    if isinstance(space, gym.spaces.Discrete):
        first, last = space.start, space.start + space.n - 1
        least, most = (obs.min(), obs.max()) if isinstance(obs, np.ndarray) else (obs, obs)
        if not first <= least <= most <= last:
            raise TensorqError(
                f"the environment gave the observation {obs}, which its observation space {space} does not contain."
            )
