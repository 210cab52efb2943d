"""Gymnasium environments for the host loop, with one common autoreset behaviour, whatever their own mode is.

No TensorFlow here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from tensorq.envs.calls import (
    EnvironmentMaker,
    call,
    check_reset,
    check_step,
    close_or_warn,
    environment_name,
    failure,
    require_seed,
    reset_once,
    step_once,
)
from tensorq.envs.observations import ObservationReader
from tensorq.envs.spaces import (
    as_array,
    check_choice,
    check_masks,
    excerpt,
    plain_action_space,
    stacked_space,
    to_native_actions,
)
from tensorq.errors import TensorqError

MASK = "action_mask"  # key in an environment's info for the legal actions, as in Taxi and others
LATE_MASK = "the environment gave an action_mask, but none in the info of its first reset: expected one from there on."
FINAL_OBS = "final_obs"  # key in a vector environment's info for the last observation of ended episodes


class Transitions(NamedTuple):
    """One step of N environments. Rows in which `valid` is False are resets, not experience: skip them."""

    next_obs: np.ndarray  # [N, ...], the true final observation if an episode ended
    reward: np.ndarray  # [N] float64, raw
    terminated: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool
    valid: np.ndarray  # [N] bool
    next_mask: np.ndarray | None  # [N, A] bool, the actions that are legal at next_obs; None if all always are


class HostEnvironments(Protocol):
    """N environments, stepped together. `obs` is for the next action: after an episode's end, from the next episode.

    If a step or reset raises, `obs` and `mask` stay unchanged. Both arrays are new objects after each step.
    """

    native_observation_space: gym.Space
    native_action_space: gym.Space
    observation_space: gym.Space  # the plain space of obs
    action_space: gym.spaces.Discrete  # the plain space
    num_envs: int
    obs: np.ndarray
    mask: np.ndarray | None  # [N, A] bool, the legal actions at obs, if the environment's info has an action_mask

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin a new episode with a new seed in each environment; raises TensorqError."""
        ...

    def step(self, actions: np.ndarray) -> Transitions:
        """Act once in each environment; raises TensorqError."""
        ...

    def close(self) -> None:
        """Release the environments."""
        ...


def seeds_for(seed: int, counter: int, count: int, *, evaluation: bool = False) -> list[int]:
    """`count` environment seeds from (seed, counter): below 2^30 for training and selection, above for evaluation.

    The two ranges do not overlap, so an agent is never evaluated on an episode by which it was selected.
    """
    words = np.random.SeedSequence((seed, counter)).generate_state(count, np.uint32) >> 2
    return [int(word) + (2**30 if evaluation else 0) for word in words]


class SingleEnvironments:
    """gymnasium.Env objects in this process, reset as soon as their episode ends."""

    def __init__(self, envs: Sequence[gym.Env], stagger: Sequence[int] | None = None) -> None:
        """Take environments, each of which is truncated once, after its number in `stagger` of steps since `reset`."""
        self._envs = envs
        self._stagger = stagger or [0] * len(envs)
        self.num_envs = len(envs)
        self.native_observation_space, self.native_action_space = envs[0].observation_space, envs[0].action_space
        self._read = ObservationReader(self.native_observation_space)
        self.observation_space = self._read.plain
        self.action_space = plain_action_space(self.native_action_space)
        self._to_native = _native_actions(self.native_action_space)
        self.mask: np.ndarray | None = None
        self._masked: bool | None = None  # whether infos have an action mask; not known before the first reset
        self._valid = np.ones(self.num_envs, bool)
        for env in envs:
            require_seed(env)
        self.reset(range(self.num_envs))

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin a new episode in each environment, reseeded."""
        first = self._masked is None
        begun = [reset_once(env, seed) for env, seed in zip(self._envs, seeds, strict=True)]
        obs = np.stack([self._read(observed) for observed, _ in begun])
        self._read.check_finite(obs)
        if first:
            self._read.check_bounds(obs)
            self._masked = any(MASK in info for _, info in begun)
        mask = self._legal([info for _, info in begun])
        if mask is not None:
            check_choice(mask)
        self.obs, self.mask, self._steps = obs, mask, 0

    def step(self, actions: np.ndarray) -> Transitions:
        """Act once in each environment."""
        next_obs = np.empty(self.obs.shape, self.obs.dtype)
        reward = np.empty(self.num_envs)
        terminated, truncated = np.empty(self.num_envs, bool), np.empty(self.num_envs, bool)
        over, infos = [], []
        native, steps = self._to_native(actions), self._steps + 1
        for index, env in enumerate(self._envs):
            observed, reward[index], ended, cut, info = step_once(env, native[index])
            cut = cut or steps == self._stagger[index]
            terminated[index], truncated[index] = ended, cut
            next_obs[index] = self._read(observed)
            infos.append(info)
            if ended or cut:
                over.append(index)
        self._read.check_finite(next_obs)
        next_mask = self._legal(infos)
        obs, mask = next_obs, next_mask
        if over:
            begun = [reset_once(self._envs[index]) for index in over]
            obs, mask = next_obs.copy(), None if next_mask is None else next_mask.copy()
            obs[over] = [self._read(observed) for observed, _ in begun]
            legal = self._legal([info for _, info in begun])
            if mask is not None:
                mask[over] = legal
            self._read.check_finite(obs)
        if mask is not None:
            check_choice(mask)
        self.obs, self.mask, self._steps = obs, mask, steps
        return Transitions(next_obs, reward, terminated, truncated, self._valid, next_mask)

    def _legal(self, infos: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
        """The legal actions [..., A] bool in infos; all actions if an info has no mask. None if there are no masks."""
        if not self._masked:
            for info in infos:
                if MASK in info:
                    raise TensorqError(LATE_MASK)
            return None
        count = int(self.action_space.n)
        masks = [info.get(MASK, np.ones(count, bool)) for info in infos]
        return check_masks(masks, self.native_action_space, count)

    def close(self) -> None:
        """Close all environments."""
        with contextlib.ExitStack() as stack:  # continues with the next one if one raises
            for env in self._envs:
                stack.callback(env.close)


class VectorEnvironments:
    """A gymnasium VectorEnv of any autoreset mode."""

    def __init__(self, env: VectorEnv) -> None:
        self._env = env
        self.num_envs = env.num_envs
        self.native_observation_space, self.native_action_space = env.single_observation_space, env.single_action_space
        self._read = ObservationReader(self.native_observation_space)
        self.observation_space = self._read.plain
        self.action_space = plain_action_space(self.native_action_space)
        self._mode = _autoreset_mode(env)
        self.mask: np.ndarray | None = None
        self._masked: bool | None = None  # not known before the first reset
        self._resetting = np.zeros(self.num_envs, bool)  # rows whose next step is a reset (NEXT_STEP)
        self.reset(range(self.num_envs))

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin a new episode in each environment, reseeded."""
        first = self._masked is None
        try:
            begun: Any = self._env.reset(seed=list(seeds))  # type: ignore[arg-type]
        except (gym.error.Error, TypeError):  # it takes one seed for all, as Gymnasium's own CartPole does
            begun = call(self._env, "reset", seed=seeds[0])
        except Exception as error:
            raise failure(self._env, "reset", error) from error
        observed, info = check_reset(self._env, begun)
        obs, mask = np.array(self._read(observed, self.num_envs)), self._masks(info)
        self._read.check_finite(obs)
        if first:
            self._read.check_bounds(obs)
        if mask is not None:
            check_choice(mask)
        self.obs, self.mask = obs, mask
        self._resetting = np.zeros(self.num_envs, bool)

    def step(self, actions: np.ndarray) -> Transitions:
        """Act once in each environment."""
        native = to_native_actions(self.native_action_space, actions).astype(self._env.action_space.dtype)
        observed, *results, info = check_step(self._env, call(self._env, "step", native))
        # Copies, because some vector environments hand out the same arrays at every step.
        next_obs = np.array(self._read(observed, self.num_envs))
        reward, terminated, truncated = (
            self._column(name, column, dtype)
            for name, column, dtype in zip(("reward", "terminated", "truncated"), results, "dbb", strict=True)
        )
        obs, valid, done = next_obs.copy(), ~self._resetting, terminated | truncated
        mask, next_mask = self._masks(info), self._masks(info)
        resetting = np.zeros(self.num_envs, bool)
        if self._mode == AutoresetMode.SAME_STEP and done.any():
            final_mask = self._masks(info.get("final_info", {}))
            for index in np.flatnonzero(done):
                next_obs[index] = self._read(self._final_obs(info, int(index)))
                if next_mask is not None and final_mask is not None:
                    next_mask[index] = final_mask[index]
        elif self._mode == AutoresetMode.NEXT_STEP:
            resetting = done & valid
        elif done.any():  # DISABLED
            observed, info = check_reset(self._env, call(self._env, "reset", options={"reset_mask": done}))
            obs, fresh = np.array(self._read(observed, self.num_envs)), self._masks(info)
            if not np.array_equal(obs[~done], next_obs[~done]):
                raise TensorqError(
                    f"the vector environment {environment_name(self._env)} of mode DISABLED reset episodes that had "
                    'not ended, expected reset(options={"reset_mask": mask}) to reset only those of the mask.'
                )
            if mask is not None and fresh is not None:
                mask = np.where(done[:, None], fresh, mask)
        self._read.check_finite(next_obs)
        if done.any() and self._mode != AutoresetMode.NEXT_STEP:
            self._read.check_finite(obs)
        if mask is not None:  # rows that reset on the next step are exempt: their action is not used
            check_choice(mask[~resetting])
        self.obs, self.mask, self._resetting = obs, mask, resetting
        return Transitions(next_obs, reward, terminated, truncated, valid, next_mask)

    def _column(self, name: str, column: Any, dtype: str) -> np.ndarray:
        """Rewards [N] float64 or flags [N] bool, checked, as a new array."""
        array = as_array(column)
        if array.shape != (self.num_envs,) or array.dtype.kind not in ("biuf" if dtype == "d" else "biu"):
            raise TensorqError(
                f"the vector environment gave {name} {excerpt(column)}, expected an array of {self.num_envs} "
                + ("numbers." if dtype == "d" else "booleans.")
            )
        if dtype == "d" and not np.isfinite(array).all():
            raise TensorqError(f"the vector environment gave {name} {excerpt(column)}, expected finite numbers.")
        return array.astype(np.float64 if dtype == "d" else bool)

    def _final_obs(self, info: Mapping[str, Any], index: int) -> Any:
        """The last observation of the episode that ended in an environment, in mode SAME_STEP."""
        found = info[FINAL_OBS][index] if FINAL_OBS in info else None
        if found is None:
            old = " Rename final_observation, its name before Gymnasium 1.1." if "final_observation" in info else ""
            raise TensorqError(
                f"the vector environment of mode SAME_STEP ended an episode in environment {index} without its last "
                f'observation, expected it in info["{FINAL_OBS}"][{index}].{old}'
            )
        return found

    def _masks(self, info: Mapping[str, Any]) -> np.ndarray | None:
        """Masks [N, A] bool from a vector environment's info. If a row has none, all of its actions are legal."""
        present = MASK in info
        if self._masked is None:
            self._masked = present
        if not self._masked:
            if present:
                raise TensorqError(LATE_MASK)
            return None
        if present and (not hasattr(info[MASK], "__len__") or len(info[MASK]) != self.num_envs):
            raise TensorqError(
                f"{MASK}: received {excerpt(info[MASK])}, expected one mask for each of {self.num_envs} environments."
            )
        count, given = int(self.action_space.n), info.get(f"_{MASK}")
        if present and (given is None or np.count_nonzero(given) == self.num_envs):
            return check_masks(info[MASK], self.native_action_space, count)
        masks = np.ones((self.num_envs, count), bool)
        if present and given is not None and len(rows := np.flatnonzero(given)):
            masks[rows] = check_masks([info[MASK][index] for index in rows], self.native_action_space, count)
        return masks

    def close(self) -> None:
        """Close the vector environment."""
        self._env.close()


class StackedEnvironments:
    """Environments whose observations are stacks [N, K, ...] of the last K, oldest first, of one episode.

    An episode's first observation is repeated, as by Gymnasium's FrameStackObservation.
    """

    def __init__(self, envs: HostEnvironments, frame_stack: int) -> None:
        """Wrap environments, which have been reset. K is `frame_stack`."""
        self._envs, self._frame_stack, self.num_envs = envs, frame_stack, envs.num_envs
        self.native_observation_space = envs.native_observation_space
        self.observation_space = stacked_space(envs.observation_space, frame_stack)
        self.native_action_space, self.action_space = envs.native_action_space, envs.action_space
        self._begin()

    def _begin(self) -> None:
        self.obs, self.mask = self._repeated(self._envs.obs), self._envs.mask

    def _repeated(self, obs: np.ndarray) -> np.ndarray:
        return np.repeat(obs[:, None], self._frame_stack, axis=1)

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin a new episode in each environment, reseeded."""
        self._envs.reset(seeds)
        self._begin()

    def step(self, actions: np.ndarray) -> Transitions:
        """Act once in each environment."""
        made = self._envs.step(actions)
        obs = next_obs = np.concatenate([self.obs[:, 1:], made.next_obs[:, None]], axis=1)
        # A vector environment of mode NEXT_STEP begins an episode one step later, with a row that is no experience.
        begun = made.terminated | made.truncated | ~made.valid
        if True in begun.tolist():
            obs = next_obs.copy()
            obs[begun] = self._repeated(self._envs.obs[begun])
        self.obs, self.mask = obs, self._envs.mask
        return made._replace(next_obs=next_obs)

    def close(self) -> None:
        """Close all environments."""
        self._envs.close()


def _native_actions(space: gym.Space) -> Callable[[np.ndarray], Any]:
    """A function that turns actions [N], counted from 0, into N actions of the space."""
    if isinstance(space, gym.spaces.Discrete):
        first = int(space.start)
        return lambda indices: [index + first for index in indices.tolist()]
    return lambda indices: to_native_actions(space, indices)


def _autoreset_mode(env: VectorEnv) -> AutoresetMode:
    """The autoreset mode in a vector environment's metadata; raises TensorqError if there is none."""
    said = env.metadata.get("autoreset_mode")
    try:
        return AutoresetMode(said)
    except ValueError:
        received = "does not say" if said is None else f"says {said!r} about"
        raise TensorqError(
            f"the vector environment {environment_name(env)} {received} how it resets ended episodes: write "
            'metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP} in its class, or SAME_STEP or DISABLED, whichever '
            "is true; AutoresetMode is in gymnasium.vector."
        ) from None


def make_host_environments(
    make: EnvironmentMaker, num_envs: int, frame_stack: int = 1, stagger: Sequence[int] | None = None
) -> HostEnvironments:
    """Make num_envs environments, whose observations are stacks if frame_stack is above 1; see Config.stagger.

    A maker of a VectorEnv is called once, and the VectorEnv decides the number; its episodes cannot be staggered.
    """
    with contextlib.ExitStack() as stack:  # closes those already made if the next one fails
        first = make()
        if not isinstance(first, (gym.Env, VectorEnv)):
            raise TensorqError(f"the environment function returned {type(first).__name__}, expected a gymnasium.Env.")
        stack.callback(close_or_warn, first)
        if isinstance(first, VectorEnv):
            if stagger is not None:
                raise TensorqError(
                    f"stagger_steps: the vector environment {environment_name(first)} cuts its episodes itself. Leave "
                    "stagger_steps at 0, or give a function that makes one gymnasium.Env."
                )
            made: HostEnvironments = VectorEnvironments(first)
        else:
            envs = [first]
            while len(envs) < num_envs:
                env = make()
                if not isinstance(env, gym.Env):
                    raise TensorqError("the environment function returned a gymnasium.Env first, then something else.")
                stack.callback(close_or_warn, env)
                envs.append(env)
            made = SingleEnvironments(envs, stagger)
        if frame_stack > 1:
            made = StackedEnvironments(made, frame_stack)
        stack.pop_all()
        return made
