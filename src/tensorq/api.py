"""The Python interface: train, resume, load, and Run, a run's folder."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium.vector import VectorEnv

from tensorq import trainer
from tensorq.agents.trained import TrainedAgent
from tensorq.config import DEFAULT_PRESET, Config, check_names, config_class
from tensorq.envs.calls import EnvironmentMaker, Warn
from tensorq.envs.gymnasium_ids import require_known
from tensorq.envs.spaces import plain_observation_space
from tensorq.errors import TensorqError
from tensorq.evaluation.load import evaluate_run, keras_model, read_kept, save_model
from tensorq.evaluation.play import Episodes
from tensorq.events import Observer
from tensorq.networks.build import FeatureBuilder, NetworkBuilder, NetworkFunction, network_function
from tensorq.observers.progress import Mode, observer
from tensorq.paths import absolute
from tensorq.presets import preset_settings, resolve
from tensorq.runs import directory
from tensorq.runs.saved import SavedRun
from tensorq.runs.state import look
from tensorq.runs.tables import Table
from tensorq.show.runs import in_a_line, to_html


@dataclass(frozen=True)
class Run:
    """A run's folder, and what can be done with the run. Its files are read again each time.

    Args:
        path: the folder; it is kept as an absolute path.
        make_env: for a run on an environment of your own, the function that makes it, or its id MODULE:ID.
        network: the function that built the network or its features, if the run was started with one.
    """

    path: Path
    make_env: EnvironmentMaker | str | None = None
    network: NetworkBuilder | None = None

    def __post_init__(self) -> None:
        """Refuse a value that is not a path."""
        object.__setattr__(self, "path", _path("path", self.path))

    @property
    def saved(self) -> SavedRun:
        """The run as it is on disk now."""
        return SavedRun(self.path, self.make_env, self.network)

    @property
    def config(self) -> Config:
        """The settings that it was trained with."""
        return self.saved.config

    @property
    def metrics(self) -> Table:
        """The columns of metrics.csv: `steps`, `loss`, `mean_q`, `evaluation_return` ...; NaN where a cell is empty."""
        return self.saved.metrics

    @property
    def episodes(self) -> Table:
        """The columns of episodes.csv, a row for each finished training episode: `steps`, `length`, `return` ..."""
        return self.saved.episodes

    @property
    def result(self) -> dict[str, Any]:
        """The content of result.json: steps, seconds, the best and the final evaluation. Empty until it is finished."""
        return self.saved.result

    def __repr__(self) -> str:
        return f"<Run {str(self.path)!r}: {in_a_line(look(self.saved))}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the result and the learning curve."""
        return to_html(self.saved)

    def evaluate(self, episodes: int = 100, which: str = "best", *, warn: Warn = warnings.warn) -> Episodes:
        """Play greedy episodes on seeds that the run has not seen, in Gymnasium's environment if it has this one.

        `.mean` of the result is their mean return. `warn` is called with one line of text if closing an environment
        fails.
        """
        return evaluate_run(self.saved, episodes, which=which, warn=warn)

    def plot(self, output: str | Path | None = None) -> Path:
        """Draw the learning curve (to curve.png in the run's folder) and return its path."""
        from tensorq.show.curve import draw_run

        return draw_run(self.saved, None if output is None else _path("output", output))

    def record(
        self,
        output: str | Path | None = None,
        *,
        plain: bool = False,
        which: str = "best",
        seed: int | None = None,
        warn: Warn = warnings.warn,
    ) -> Path:
        """Film one greedy episode as .gif or .mp4 (video.gif in the run's folder); `plain` leaves out the Q-values."""
        from tensorq.show.film import film

        file = None if output is None else _path("output", output)
        return film(self.saved, file, plain=plain, which=which, seed=seed, warn=warn)

    def agent(self, which: str = "best") -> TrainedAgent:
        """The agent to act with: the best by greedy evaluation, or the last."""
        return read_kept(self.saved, which).agent()

    def keras_model(self, which: str = "best") -> Any:
        """The agent as a keras.Model with its weights: observations [N, ...] in, Q-values [N, A] out.

        Observations have the space's form and dtype; those of a Dict, Tuple, MultiDiscrete or MultiBinary are
        flat, as gymnasium.spaces.flatten(space, observation) makes them. Scaling and the mean of a distributional head
        are part of the model.

        For the default network and for tables, the model has only Keras' own layers. For a network function of your
        own, it is the model that the function returned, with Keras' own layers in place of tq.layers', followed by a
        mean if the head is distributional.
        """
        return keras_model(self.saved, which)

    def save(self, output: str | Path, which: str = "best") -> Path:
        """Write keras_model() as a .keras file, which keras.models.load_model reads, even without tensorq."""
        return save_model(self.saved, _path("output", output), which)


def train(
    env: str | EnvironmentMaker,
    *,
    preset: str = DEFAULT_PRESET,
    network: NetworkBuilder | None = None,
    features: FeatureBuilder | None = None,
    run_dir: str | Path | None = None,
    init_from: Run | str | Path | None = None,
    progress: Mode = "auto",
    observers: Sequence[Observer] = (),
    seconds_before: float = 0.0,
    **settings: Any,
) -> Run:
    """Train an agent and return its run.

    Args:
        env: an id such as "CartPole-v1", or a function that makes a gymnasium.Env or VectorEnv.
        preset: the settings to start from.
        network: build_model(observation_space, num_actions) -> keras.Model of the Q-values, instead of the default
            network. The space is the environment's own: a model of a Dict has an input for each part, by its name.
        features: build_model(observation_space) -> keras.Model of features [N, F], on which hidden_sizes, layer_norm,
            dueling, noisy and every head are put.
        run_dir: a folder that is new or empty; by default one below runs/.
        init_from: a run whose kept best parameters this one begins with. Everything else is new. Settings may differ,
            except those of the network; the environment may differ if its observations and actions look the same.
        progress: "auto", "live", "plain", "json" or "quiet".
        observers: further functions that get every event, one at a time. If one raises StopTraining, the run ends.
        seconds_before: the seconds that the user has waited already; they count in seconds_to_solved.
        settings: any field of Config.

    Raises:
        TensorqError: a setting, environment or folder that cannot work; the message says how to fix it.
        Stopped: after Ctrl-C or SIGTERM, a KeyboardInterrupt; `resume` continues from there.
    """
    if not isinstance(seconds_before, (int, float)) or not 0 <= seconds_before < math.inf:
        raise TensorqError(f"seconds_before: received {seconds_before!r}, expected a number of at least 0.")
    asked = understood(env, preset, network, features, run_dir, init_from, observers, settings)
    with contextlib.closing(observer(progress)) as show:
        path = trainer.train(
            asked.config,
            make=asked.make,
            network=asked.network,
            run_dir=asked.run_dir,
            init_from=asked.init_from,
            observers=[show, *observers],
            seconds_before=seconds_before,
        )
    return Run(path, asked.make_env, asked.network)


class Asked(NamedTuple):
    """What `train` is asked for, checked as far as that needs no environment."""

    config: Config
    make: EnvironmentMaker | None
    network: NetworkFunction | None
    run_dir: Path | None
    init_from: Path | None

    @property
    def make_env(self) -> EnvironmentMaker | str | None:
        """As in Run: ids in a run's folder never import modules, and this one was given by the caller."""
        return self.config.env if ":" in self.config.env else self.make


def understood(
    env: str | EnvironmentMaker,
    preset: str,
    network: NetworkBuilder | None,
    features: FeatureBuilder | None,
    run_dir: str | Path | None,
    init_from: Run | str | Path | None,
    observers: Sequence[Observer],
    settings: Mapping[str, Any],
) -> Asked:
    """Check the arguments of `train`; raises TensorqError."""
    _check_environment(env)
    built = checked_functions(network, features, observers)
    if not isinstance(preset, str):
        raise TensorqError(f"preset: received {preset!r}, expected a name such as {DEFAULT_PRESET!r}.")
    folder = None if run_dir is None else _path("run_dir", run_dir)
    init_from = init_from.path if isinstance(init_from, Run) else init_from
    other_run = None if init_from is None else _path("init_from", init_from)
    if isinstance(env, str):
        require_known(env)  # first: for an unknown environment, errors in settings do not help
        make, name = None, env
    else:
        make, name = env, getattr(env, "__name__", "custom").strip("<>")
    others = ("network", "features", "run_dir", "init_from", "progress", "observers", "seconds_before")
    known = [field.name for field in dataclasses.fields(config_class({**preset_settings(name, preset), **settings}))]
    check_names(settings, others, known)
    return Asked(resolve(name, preset, **settings), make, built, folder, other_run)


def resume(
    path: Run | str | Path,
    *,
    steps: int | None = None,
    episodes: int | None = None,
    make_env: EnvironmentMaker | str | None = None,
    network: NetworkBuilder | None = None,
    features: FeatureBuilder | None = None,
    progress: Mode = "auto",
    observers: Sequence[Observer] = (),
) -> Run:
    """Continue a run from its last checkpoint, exactly as if it had never stopped.

    Args:
        path: the run, or its folder.
        steps: train to this total of environment steps instead; it must be more than are done.
        episodes: the same for a run that is limited by episodes.
        make_env: the function that makes the run's environment, or its id MODULE:ID.
        network, features, progress, observers: as in `train`.
    """
    run = _run(path, make_env, checked_functions(network, features, observers, make_env))
    with contextlib.closing(observer(progress)) as show:
        trainer.resume(run.saved, steps=steps, episodes=episodes, observers=[show, *observers])
    return run


def open_run(
    path: Run | str | Path,
    *,
    make_env: EnvironmentMaker | str | None = None,
    network: NetworkBuilder | None = None,
    features: FeatureBuilder | None = None,
) -> Run:
    """The run in a folder. make_env is the function that makes its environment, or its id MODULE:ID."""
    run = _run(path, make_env, checked_functions(network, features, make_env=make_env))
    directory.open(run.path)
    return run


def load(
    path: Run | str | Path,
    which: str = "best",
    *,
    network: NetworkBuilder | None = None,
    features: FeatureBuilder | None = None,
) -> TrainedAgent:
    """The agent that a run kept: the best by greedy evaluation, or which="last"."""
    run = _run(path, None, checked_functions(network, features))
    return run.agent(which)


def _run(path: Run | str | Path, make_env: EnvironmentMaker | str | None, network: NetworkBuilder | None) -> Run:
    """The run in a folder, or a copy of a Run, which keeps its own functions if none are given."""
    if isinstance(path, Run):
        make_env = path.make_env if make_env is None else make_env
        return Run(path.path, make_env, path.network if network is None else network)
    return Run(_path("path", path), make_env, network)


def _path(name: str, value: Any) -> Path:
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise TensorqError(f"{name}: received {value!r}, expected a path, such as {_EXAMPLES[name]!r}.")
    return absolute(value)


_RUN = "runs/CartPole-v1-dqn-seed0"
_EXAMPLES = {"path": _RUN, "init_from": _RUN, "run_dir": "runs/mine", "output": "runs/mine/video.gif"}


def _check_environment(env: Any) -> None:
    if isinstance(env, (gym.Env, VectorEnv)):
        name, call = type(env).__name__, f"{type(env).__name__}(...)"
        if env.spec is not None:
            name, make = env.spec.id, "make" if isinstance(env, gym.Env) else "make_vec"
            call = f"gymnasium.{make}({name!r})"
        raise TensorqError(
            f"env: received an environment that is made already ({name}), expected its id or a function that makes "
            f"one, such as lambda: {call}."
        )
    if not isinstance(env, str) and not callable(env):
        raise TensorqError(
            f"env: received {env!r}, expected an id such as 'CartPole-v1', or a function that makes one."
        )


def checked_functions(network: Any, features: Any, observers: Any = (), make_env: Any = None) -> NetworkFunction | None:
    """The user's network function, if any; refuses, before a folder is made, arguments that cannot be called."""
    if not isinstance(observers, Sequence) or not all(map(callable, observers)):
        raise TensorqError(f"observers: received {observers!r}, expected a list of functions that take one event.")
    for each in observers:
        if isinstance(each, type):
            raise TensorqError(f"observers: received the class {each.__name__}, expected an object: {each.__name__}().")
    named = isinstance(make_env, str) and make_env
    if not (make_env is None or named or callable(make_env)) or isinstance(make_env, (gym.Env, VectorEnv)):
        raise TensorqError(
            f"make_env: received {make_env!r}, expected the function that makes the run's environment, or its id "
            "MODULE:ID."
        )
    return network_function(network, features)


def flatten_space(space: gym.Space) -> gym.Space:
    """The space in which observations are stored: a Dict, Tuple, MultiDiscrete or MultiBinary space as one flat Box.

    A network function may build a model with one input of its shape, which then gets the flat observations.
    """
    return plain_observation_space(space)
