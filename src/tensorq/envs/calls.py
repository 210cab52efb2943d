"""Make, reset and step other people's environments, and check Gymnasium's interface. No TensorFlow here."""

from __future__ import annotations

import contextlib
import inspect
import math
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from tensorq.envs.spaces import as_array, excerpt
from tensorq.errors import TensorqError, where_raised

EnvironmentMaker = Callable[[], gym.Env | VectorEnv]
Warn = Callable[[str], object]  # takes one line: warnings.warn, or a function that sends it to observers


class Closable(Protocol):
    """An environment, or an object that holds some."""

    def close(self) -> object:
        """Release its resources."""
        ...


def reset_once(env: gym.Env, seed: int | None = None) -> tuple[Any, Mapping[str, Any]]:
    """Reset: (observation, info) of a new episode. Raises TensorqError if reset returns anything else."""
    return check_reset(env, call(env, "reset", **({} if seed is None else {"seed": seed})))


def step_once(env: gym.Env, action: Any) -> tuple[Any, float, bool, bool, Mapping[str, Any]]:
    """Step: the five values of Gymnasium's interface. Raises TensorqError if step returns anything else."""
    try:
        result: Any = env.step(action)
    except TensorqError:
        raise
    except Exception as error:
        raise failure(env, "step", error) from error
    if type(result) is not tuple or len(result) != 5 or type(result[4]) is not dict:  # faster than check_step
        result = check_step(env, result)
    observed, reward, terminated, truncated, info = result
    if not isinstance(reward, (float, int)) or not -1e308 < reward < 1e308:
        reward = _number(env, reward)
    if type(terminated) is not bool:
        terminated = _flag(env, "terminated", terminated)
    if type(truncated) is not bool:
        truncated = _flag(env, "truncated", truncated)
    return observed, reward, terminated, truncated, info


def environment_name(env: Any) -> str:
    """The name of an environment in a message: its id, or its class."""
    spec = getattr(env, "spec", None)
    return spec.id if spec is not None else type(getattr(env, "unwrapped", env)).__name__


def call(env: Any, method: str, *arguments: Any, **keywords: Any) -> Any:
    """Call a method of an environment. Any exception becomes a TensorqError."""
    try:
        return getattr(env, method)(*arguments, **keywords)
    except TensorqError:
        raise
    except Exception as error:  # any exception: the environment is not ours
        raise failure(env, method, error) from error


def failure(env: Any, method: str, error: Exception) -> TensorqError:
    """The TensorqError to raise for an exception in an environment's method."""
    return TensorqError(f"{environment_name(env)} raised {where_raised(error)} in {method}().")


def check_reset(env: Any, result: Any) -> tuple[Any, Mapping[str, Any]]:
    """(observation, info), checked, as reset returned them."""
    if isinstance(result, (tuple, list)) and len(result) == 2 and isinstance(result[1], Mapping):
        return result[0], result[1]
    raise TensorqError(
        f"reset() of {environment_name(env)} returned {excerpt(result)}, expected an observation and an info that is a "
        "dict: return obs, {}."
    )


def check_step(env: Any, result: Any) -> tuple[Any, Any, Any, Any, Mapping[str, Any]]:
    """(observation, reward, terminated, truncated, info), checked, as step returned them."""
    if isinstance(result, (tuple, list)) and len(result) == 5 and isinstance(result[4], Mapping):
        return tuple(result)
    hint = ""
    if isinstance(result, (tuple, list)) and len(result) == 4:
        hint = " Four values are those of gym before 0.26: its done is now terminated, or truncated by a time limit."
    raise TensorqError(
        f"step() of {environment_name(env)} returned {excerpt(result)}, expected five values: observation, reward, "
        f"terminated, truncated and an info that is a dict.{hint}"
    )


def _number(env: Any, reward: Any) -> float:
    """The reward as a float; raises TensorqError unless it is one finite number."""
    array = as_array(reward)
    if array.shape or array.dtype.kind not in "biuf":
        hint = f" Write float(reward[{', '.join('0' * array.ndim)}])." if array.size == 1 and array.ndim else ""
        raise TensorqError(
            f"step() of {environment_name(env)} gave the reward {excerpt(reward)}, expected one number.{hint}"
        )
    if not math.isfinite(number := float(array)):
        raise TensorqError(f"step() of {environment_name(env)} gave the reward {number}, expected a finite number.")
    return number


def _flag(env: Any, name: str, value: Any) -> bool:
    """A truth value as a bool; raises TensorqError for anything else."""
    if isinstance(value, np.bool_):
        return bool(value)
    array = as_array(value)
    if array.shape or array.dtype.kind not in "biu":
        raise TensorqError(f"step() of {environment_name(env)} gave {name} {excerpt(value)}, expected True or False.")
    return bool(array)


def close_or_warn(closable: Closable, warn: Warn = warnings.warn) -> None:
    """Close an object that is no longer needed. If it raises, that is only a warning."""
    try:
        closable.close()
    except (Exception, SystemExit) as error:
        warn(f"closing the environment failed: {where_raised(error)}")


@contextlib.contextmanager
def closed_on_error(closable: Closable) -> Iterator[None]:
    """Close the object if the block raises, because nothing else will close it then."""
    try:
        yield
    except BaseException:
        close_or_warn(closable)
        raise


def signature(function: Any) -> inspect.Signature:
    """The parameters of a function. One that is not written in Python may take any."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return inspect.signature(lambda *arguments, **keywords: None)


def require_seed(env: gym.Env) -> None:
    """Refuse an environment whose reset takes no seed, as in gym before 0.26."""
    for each in (env, env.unwrapped):
        parameters = signature(each.reset).parameters.values()
        if not any(parameter.name == "seed" or parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
            raise TensorqError(
                f"reset() of {type(each).__name__} takes no seed: write def reset(self, *, seed=None, options=None), "
                "call super().reset(seed=seed) in it, and return obs, {}."
            )


def new_each_time(make: EnvironmentMaker) -> EnvironmentMaker:
    """The same maker, but it raises TensorqError if `make` raises, or returns the same environment twice."""
    made: list[weakref.ref[Any]] = []
    _require_no_arguments(make)

    def checked() -> gym.Env | VectorEnv:
        try:
            env = make()
        except TensorqError:
            raise
        except Exception as error:
            raise TensorqError(f"the environment function raised {where_raised(error)}.") from error
        if any(env is other() for other in made):
            raise TensorqError(
                f"the environment function returned the same {type(getattr(env, 'unwrapped', env)).__name__} again, "
                "expected a new one each time: make it in the function, as in lambda: gymnasium.make(...); or, if "
                "there can be only one, set single_environment (--single-environment)."
            )
        with contextlib.suppress(TypeError):  # the class has no weak references
            made[:] = [*(other for other in made if other() is not None), weakref.ref(env)]
        return env

    return checked


class OnlyOne:
    """Makes the only environment at the first call; every later call returns the same one."""

    def __init__(self, make: EnvironmentMaker) -> None:
        """Store the maker; the environment is made later."""
        self._make = make
        self._env: gym.Env | VectorEnv | None = None
        self._given = False  # whether a later call has given it to a loop, which will close it

    def __call__(self) -> gym.Env | VectorEnv:
        """Return the environment."""
        if self._env is None:
            self._env = self._make()
        else:
            self._given = True
        return self._env

    def release(self, warn: Warn) -> None:
        """Close the environment, unless a loop has it."""
        if self._env is not None and not self._given:
            self._given = True
            close_or_warn(self._env, warn)


def _require_no_arguments(make: EnvironmentMaker) -> None:
    parameters = signature(make)
    try:
        parameters.bind()
    except TypeError as error:
        name = getattr(make, "__name__", "make_env")
        raise TensorqError(
            f"the environment function {name}{parameters} needs arguments, expected a function without any, such as "
            f"lambda: {name}(...)."
        ) from error
