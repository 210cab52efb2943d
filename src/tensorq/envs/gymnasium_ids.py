"""Environments by their id in Gymnasium's registry. No TensorFlow here."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from tensorq.envs.atari import is_game, make_game
from tensorq.envs.calls import EnvironmentMaker, signature
from tensorq.envs.world import ORIGINALS, WORLDS, register_own_worlds
from tensorq.errors import TensorqError, nearest, similar, where_raised
from tensorq.extras import extra_command
from tensorq.plugins import load_plugins

register_own_worlds()


def require_known(env: str) -> None:
    """Raise TensorqError, with the nearest names, unless `env` is an id in Gymnasium's registry, or MODULE:ID."""
    if not env:
        raise TensorqError("the environment's name is empty; expected one such as CartPole-v1.")
    module, colon, name = env.rpartition(":")
    if colon and not (name and all(part.isidentifier() for part in module.split("."))):
        raise TensorqError(f"environment {env!r}: expected an id such as CartPole-v1, or MODULE:ID to import a module.")
    if module == "tensorq.worlds" and name in [*WORLDS]:
        raise TensorqError(f"environment {env!r}: expected {name!r}: tensorq knows its own worlds without the module.")
    if not colon and env not in gym.registry:
        load_plugins()  # a package may register a world of this id
    if not colon and "/" not in env and env not in gym.registry:
        close = _similar(env)
        hint = f"did you mean {' or '.join(close)}?" if close else f"`tensorq envs` lists known ones. {_OWN}"
        raise TensorqError(f"unknown environment {env!r}: {hint}")


_OWN = "Name an environment of your own as MODULE:ID; importing MODULE must register ID."


def _similar(env: str) -> list[str]:
    """The newest version of the same name or, if there is none, of similar names that tensorq may train on."""
    newest: dict[str, gym.envs.registration.EnvSpec] = {}
    for spec in gym.registry.values():
        module = spec.entry_point if isinstance(spec.entry_point, str) else getattr(spec.entry_point, "__module__", "")
        # If the entry point is a function in gymnasium.envs, the environment was removed from Gymnasium.
        if not f"{module}.".startswith(_NOT_SUGGESTED) and module != "gymnasium.envs" and spec.name not in _CONTINUOUS:
            newest[spec.name] = max(newest.get(spec.name, spec), spec, key=lambda each: each.version or 0)
    name = re.sub(r"-v\d*$", "", env)
    same = [spec.id for spec in newest.values() if spec.name.lower() == name.lower()]
    return same or [newest[each].id for each in similar(name, newest)]


# Modules of environments that need JAX or have continuous actions, as all of MuJoCo, and others with such actions.
_NOT_SUGGESTED = tuple(f"gymnasium.envs.{part}" for part in ("mujoco.", "phys2d.", "tabular."))
_CONTINUOUS = {"MountainCarContinuous", "LunarLanderContinuous", "Pendulum", "BipedalWalker", "BipedalWalkerHardcore",
               "CarRacing"}  # fmt: skip


def gymnasium_maker(
    env: str, env_args: Mapping[str, Any] | None = None, render_mode: str | None = None
) -> EnvironmentMaker:
    """A maker for an id in Gymnasium's registry, with keywords. Raises TensorqError as `require_known` does."""
    require_known(env)
    given = dict(env_args or {})
    # tensorq has checks of its own: they say more, in one line, while Gymnasium's errors name a file of Gymnasium's.
    keywords = {"disable_env_checker": True, **given, **({} if render_mode is None else {"render_mode": render_mode})}
    called = f"environment {env!r}" + "".join(f" with {name}={value!r}" for name, value in given.items())

    def make() -> gym.Env:
        try:
            # About a mode that is not listed: the result shows whether it works. About the -v0 of a world of ours: it
            # is not the older one of two.
            ours = env in [*WORLDS] and env not in ORIGINALS
            create = make_game if is_game(env) else gym.make
            if render_mode is None and not ours:
                return create(env, **keywords)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Warning if render_mode else DeprecationWarning)
                return create(env, **keywords)
        except TensorqError:
            raise
        except ModuleNotFoundError as error:
            if error.name is None and isinstance(error.__cause__, ModuleNotFoundError):  # from a MODULE:ID
                error = error.__cause__
            if error.name is None:
                raise TensorqError(f"{called} cannot be made: {' '.join(str(error).split())}") from error
            module = env.rpartition(":")[0]
            if module and f"{module}.".startswith(f"{error.name}."):
                text = f"Python finds no module {error.name!r}, expected it in the current folder, or installed"
                raise TensorqError(f"environment {env!r}: {text}.") from error
            missing = f"the Python package {error.name!r}, which is not installed"
            raise TensorqError(f"environment {env!r} needs {missing}: install it, or choose another one.") from error
        except (gym.error.Error, ImportError) as error:
            if isinstance(error, gym.error.DependencyNotInstalled) and "box2d" in str(_spec(env).entry_point):
                raise TensorqError(f"environment {env!r} needs the box2d extra: {extra_command('box2d')}") from error
            own, (module, _, name) = "", env.rpartition(":")
            if isinstance(error, gym.error.UnregisteredEnv) and not is_game(env):
                own = f" Importing {module} must call gymnasium.register(id={name!r}, ...)." if module else f" {_OWN}"
            raise TensorqError(f"{called} cannot be made: {' '.join(str(error).split())}{own}") from error
        except Exception as error:  # any exception: the module or class is not ours
            if render_mode is not None and isinstance(error, TypeError):
                raise TensorqError(f"{called} takes no render_mode") from error
            if isinstance(error, TypeError) and given:
                _refuse_unknown_arguments(env, given)
            raise TensorqError(f"{called} cannot be made: {where_raised(error)}") from error

    return make


def _spec(env: str) -> gym.envs.registration.EnvSpec:
    """The spec registered under an id; for MODULE:ID, the module must have been imported."""
    return gym.spec(env.rpartition(":")[2])


def _refuse_unknown_arguments(env: str, given: Mapping[str, Any]) -> None:
    """Raise TensorqError for the first keyword that neither the environment nor gym.make takes."""
    entry: Any = _spec(env).entry_point
    creator = gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    parameters = signature(creator).parameters if creator else {}
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = [name for name in [*parameters, *signature(gym.make).parameters] if name not in _NOT_GIVEN]
    for name in given:
        if name not in known:
            hint = nearest(name, known, f"known: {', '.join(known) or 'none'}.")
            raise TensorqError(f"env_args (--env-arg): {env} takes no {name!r}: {hint}")


_NOT_GIVEN = ("render_mode", "id", "kwargs")  # keywords that are not for users


def saved_id(env: str) -> str:
    """Return an environment id from a run folder; raises TensorqError if it would import a module."""
    if ":" in env:
        raise TensorqError(
            f"config.json names the environment {env!r}, which would import the module {env.partition(':')[0]}, but "
            f"run folders must not run code: name it again by --env {env}, or in Python give a function that makes "
            "it, make_env=."
        )
    return env
