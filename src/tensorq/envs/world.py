"""Compiled worlds: environments written in TensorFlow, as pure functions over a batch of N environments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from tensorq.core.lazy import tf
from tensorq.core.types import Tensor
from tensorq.errors import TensorqError, nearest, where_raised
from tensorq.plugins import OURS, Registry
from tensorq.process import load_tensorflow

if TYPE_CHECKING:
    import gymnasium
    from gymnasium import spaces

# Environment id -> "module:Class" of its world; to read it, TensorFlow is not imported.
WORLDS = Registry(
    "world",
    {
        "CartPole-v1": "tensorq.envs.cartpole:CartPole",
        "Acrobot-v1": "tensorq.envs.acrobot:Acrobot",
        "MountainCar-v0": "tensorq.envs.mountain_car:MountainCar",
        "tensorq/Snake-v0": "tensorq.envs.snake:Snake",
        "tensorq/Snake6x6-v0": "tensorq.envs.snake:Snake",
        "tensorq/Snake8x8-v0": "tensorq.envs.snake:Snake",
        "tensorq/Snake10x10-v0": "tensorq.envs.snake:Snake",
        "tensorq/MinAtar-Breakout-v0": "tensorq.envs.minatar.breakout:Breakout",
        "tensorq/MinAtar-Breakout-v1": "tensorq.envs.minatar.breakout:Breakout",
        "tensorq/MinAtar-Asterix-v0": "tensorq.envs.minatar.asterix:Asterix",
        "tensorq/MinAtar-Asterix-v1": "tensorq.envs.minatar.asterix:Asterix",
        "tensorq/MinAtar-Freeway-v0": "tensorq.envs.minatar.freeway:Freeway",
        "tensorq/MinAtar-Freeway-v1": "tensorq.envs.minatar.freeway:Freeway",
        "tensorq/MinAtar-SpaceInvaders-v0": "tensorq.envs.minatar.space_invaders:SpaceInvaders",
        "tensorq/MinAtar-SpaceInvaders-v1": "tensorq.envs.minatar.space_invaders:SpaceInvaders",
        "tensorq/MinAtar-Seaquest-v0": "tensorq.envs.minatar.seaquest:Seaquest",
        "tensorq/MinAtar-Seaquest-v1": "tensorq.envs.minatar.seaquest:Seaquest",
    },
)
_GAMES = ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")
# Arguments that an id gives to its world, and env_args do not.
ARGUMENTS: dict[str, dict[str, Any]] = {
    **{f"tensorq/Snake{side}x{side}-v0": {"width": side, "height": side} for side in (6, 8, 10)},
    **{f"tensorq/MinAtar-{game}-v1": {"minimal_actions": True} for game in _GAMES},
}
# The Gymnasium environments that these worlds replace: entry point and time limit; they take no arguments.
ORIGINALS = {
    "CartPole-v1": ("gymnasium.envs.classic_control.cartpole:CartPoleEnv", 500),
    "Acrobot-v1": ("gymnasium.envs.classic_control.acrobot:AcrobotEnv", 500),
    "MountainCar-v0": ("gymnasium.envs.classic_control.mountain_car:MountainCarEnv", 200),
}


class World(Protocol):
    """The interface for the compiled loop. The loop itself handles automatic resets and the time limit.

    A state is a tensor, or a tuple of tensors, each with N rows. The constructor's arguments come from env_args.

    If actions can be illegal, a world also has `action_mask(state) -> [N, A] bool`. If it can be drawn, it has
    `render(state) -> [height, width, 3] uint8` for the state of one environment, with N = 1. `action_names` are shown
    beside it.
    """

    observation_space: spaces.Box
    action_space: spaces.Discrete
    max_episode_steps: int
    solved_return: float | None  # the mean return over 100 episodes that counts as solved; None if there is no goal
    reset_uniforms: int  # width of reset's u
    step_uniforms: int  # width of step's u; 0 if the world is deterministic

    def reset(self, u: Tensor) -> Any:
        """First states for uniforms [N, reset_uniforms] in [0, 1)."""
        ...

    def observe(self, state: Any) -> Tensor:
        """Observations [N, ...] of states."""
        ...

    def step(self, state: Any, action: Tensor, u: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        """(next states, rewards [N], terminated [N], truncated [N]) for actions [N] int32, counted from 0.

        `u` are uniforms [N, step_uniforms]. `truncated` ends an episode without ending the task, like the time limit.
        """
        ...


def register_world(name: str, home: str) -> None:
    """Register a world under an environment id, in tensorq and in Gymnasium. `home` is its "module:Class"."""
    WORLDS.register(name, home)
    _register_view(name)


def register_own_worlds() -> None:
    """Register in Gymnasium those of tensorq's worlds that do not replace an environment of Gymnasium's."""
    for name in WORLDS:
        if WORLDS.owner(name) == OURS and name not in ORIGINALS:
            _register_view(name)


def _register_view(name: str) -> None:
    import gymnasium

    if name in gymnasium.registry:
        if not is_view(gymnasium.registry[name]):
            raise TensorqError(f"world {name!r}: Gymnasium has an environment of this id already; choose another id.")
        return
    view = functools.partial(_view, name)
    try:
        gymnasium.register(name, view, order_enforce=False, disable_env_checker=True)
    except gymnasium.error.Error as error:
        raise TensorqError(f"world {name!r}: received an id that Gymnasium does not take: {error}") from error


def _view(name: str, render_mode: str | None = None, **env_args: Any) -> gymnasium.Env:
    world = make_world(name, env_args)
    from tensorq.envs.gym_view import GymView  # which imports TensorFlow

    return GymView(world, render_mode)


def is_view(spec: Any) -> bool:
    """Whether a spec of Gymnasium's registry is that of a world's GymView."""
    return getattr(getattr(spec, "entry_point", None), "func", None) is _view


def why_no_world(env: str, custom: bool, env_args: Mapping[str, Any], single: bool) -> str | None:
    """Why an environment cannot be trained as a compiled world; None if it can.

    `env` is an id in Gymnasium's registry, unless a user's function makes the environment: then it is `custom`.
    """
    import gymnasium

    if custom:
        return "an environment that a function makes has no compiled world"
    if single:
        return "single_environment uses one environment, and a compiled world steps a batch"
    if env not in list(WORLDS):
        return f"{env} has no compiled world; {', '.join(WORLDS)} have one"
    spec = gymnasium.spec(env)
    if is_view(spec):
        return None
    if env_args:
        return f"the compiled world of {env} takes no {', '.join(env_args)}"
    entry_point, limit = ORIGINALS.get(env, (None, None))
    if spec.entry_point != entry_point or spec.kwargs or spec.additional_wrappers:
        return f"{env} is registered as an environment other than Gymnasium's own"
    if spec.max_episode_steps != limit:
        return (
            f"{env} is registered with a time limit of {spec.max_episode_steps} steps, its compiled world with {limit}"
        )
    return None


def make_world(env: str, env_args: Mapping[str, Any] | None = None) -> World:
    """Make the compiled world of an environment id in WORLDS; raises TensorqError if it cannot be made."""
    load_tensorflow()  # without its log lines, before a world's module imports it
    kind, given, set_by_id = WORLDS.load(env), dict(env_args or {}), ARGUMENTS.get(env, {})
    known = [name for name in inspect.signature(kind).parameters if name not in set_by_id]
    for name in given:
        if name not in known:
            others = nearest(name, known, f"it takes {', '.join(known) or 'no arguments'}.")
            raise TensorqError(f"env_args (--env-arg): {env} takes no {name!r}: {others}")
    try:
        return kind(**given, **set_by_id)
    except TensorqError as error:
        raise TensorqError(f"world {env}: {error}") from error
    except Exception as error:  # any exception: it may not be ours
        raise TensorqError(f"world {env} cannot be made: {where_raised(error)}") from error


def where_rows(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """tf.where for whole rows: for a condition [N], rows [N, ...] of `yes` or of `no`."""
    return tf.where(tf.reshape(condition, (-1, *[1] * (len(yes.shape) - 1))), yes, no)
