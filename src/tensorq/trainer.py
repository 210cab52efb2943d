"""Train and resume: check the arguments, prepare the run and its folder, and train."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from tensorq import preflight
from tensorq.config import Config
from tensorq.envs.calls import EnvironmentMaker
from tensorq.envs.description import Environment, describe
from tensorq.envs.gymnasium_ids import saved_id
from tensorq.envs.spaces import leaves, obs_layout, plain_action_space, plain_observation_space, stacked_space
from tensorq.errors import TensorqError
from tensorq.evaluation.load import Kept, read_params
from tensorq.events import Audience, Message, Observer
from tensorq.heads.head import Head
from tensorq.loops.build import loop_kind, packages
from tensorq.networks.build import NetworkBuilder, NetworkFunction, network_function
from tensorq.networks.encoders.auto import encoder_name, encoder_of, is_image
from tensorq.networks.encoders.mlp import MLPEncoder
from tensorq.networks.settings import NetworkSettings, frame_stack
from tensorq.paths import absolute
from tensorq.runs import directory as run_directory
from tensorq.runs.checkpoint import Checkpoints
from tensorq.runs.saved import SavedRun, network_kind, require_functions
from tensorq.training import Training


def train(
    config: Config,
    *,
    make: EnvironmentMaker | None = None,
    network: NetworkBuilder | None = None,
    run_dir: Path | None = None,
    init_from: Path | None = None,
    observers: Sequence[Observer] = (),
    seconds_before: float = 0.0,
) -> Path:
    """Train a new run and return its folder; the arguments and errors are those of api.train.

    `make` makes the environment, if config.env is not an id in Gymnasium's registry.
    """
    began = time.perf_counter() - seconds_before
    audience = Audience(observers)
    # Done now, because an environment may change the working directory.
    folder, other_run = absolute(run_dir or "runs"), None if init_from is None else absolute(init_from)
    if make is not None and config.env_args:
        raise TensorqError("env_args: received some, but a function makes the environment: give them in the function.")
    with _described(config.env, make, config, audience) as environment:
        config, network, content, initial = _prepared(
            config, make, network, folder, other_run, environment, audience, at_once=1, in_all=1
        )
        if run_dir is None:
            folders = run_directory.default_run_dirs(folder, config.environment_name, config.preset, config.seed)
            directory = run_directory.create_in_first_free(folders, content)
        else:
            directory = run_directory.create(folder, content)
        with directory:
            training = Training(
                config,
                environment,
                network,
                directory,
                audience,
                began,
                env_id=config.env if ":" in config.env else None,
                has_initial_params=initial is not None,
            )
            try:
                if initial is not None:
                    Checkpoints(directory.checkpoints_path).save_initial(initial)
                training.run()
            except Exception:
                if not training.ready:  # nothing can be resumed, and the folder would block another try
                    directory.remove()
                raise
        return directory.path


def check(
    config: Config,
    *,
    make: EnvironmentMaker | None,
    network: NetworkBuilder | None,
    run_dir: Path,
    init_from: Path | None,
    at_once: int,
    in_all: int,
) -> float:
    """Refuse what `train` would refuse, if `in_all` such runs are to be trained, `at_once` beside each other.

    Returns the memory in bytes that one needs, roughly, beside that of TensorFlow.
    """
    nobody = Audience(())
    with _described(config.env, make, config, nobody) as environment:
        config, *_ = _prepared(config, make, network, run_dir, init_from, environment, nobody, at_once, in_all)
        return sum(each.bytes(config) for each in preflight.memory_demands(config, environment, network))


def _prepared(
    config: Config,
    make: EnvironmentMaker | None,
    network: NetworkBuilder | None,
    folder: Path,
    other_run: Path | None,
    environment: Environment,
    audience: Audience,
    at_once: int,
    in_all: int,
) -> tuple[Config, NetworkFunction | None, dict[str, Any], bytes | None]:
    """Check a new run before anything is written; the settings and the network that it uses, and what it begins with.

    Returns also the content of config.json, and the checkpoint of the run that it begins with.
    """
    if environment.num_envs is not None:
        if config.num_envs not in (Config.num_envs, environment.num_envs):
            text = f"num_envs is {environment.num_envs}, the size of the vector environment, not {config.num_envs}"
            audience.tell(Message(text))
        config = dataclasses.replace(config, num_envs=environment.num_envs)
    preflight.check(config, environment, network, folder, at_once, in_all)
    space = environment.observation_space
    seen = stacked_space(space, frame_stack(config))
    if network is not None and isinstance(space, gym.spaces.Discrete) and space.start:
        first, last = int(space.start), int(space.start + space.n) - 1
        text = f"the network gets states numbered as in the space, from {first} to {last}, not from 0"
        audience.tell(Message(text))
    network = network_function(network)
    chosen = encoder_name(config, seen) if network is None and config.encoder == "auto" else None
    if chosen == "mlp" and is_image(space, channels_first=True):
        text = f"if observations of shape {space.shape} are images with channels first, give channels_first"
        audience.tell(Message(text))
    if config.find(NetworkSettings) and network is None and config.channels and "mlp" in (chosen, config.encoder):
        audience.warn("the encoder is mlp, which has no channels: for convolutions, give encoder cnn")
    kind = network_kind(config, network)
    content: dict[str, Any] = {
        "config": config.to_dict(),
        "environment": environment.to_json(),
        "network": kind,
        "loop": loop_kind(config, environment),
        "plugins": {package: metadata.version(package) for package in packages(config)},
    }
    if network is not None:  # tells apart runs that differ only in their functions
        content.update(network_name=network.name, network_space="own")
    initial: bytes | None = None
    if other_run is not None:
        saved = _fitting_agent(SavedRun(other_run), config, environment, kind)
        initial = saved.path.read_bytes()
        content["init_from"] = {"path": str(saved.path), "sha256": hashlib.sha256(initial).hexdigest()}
    return config, network, content, initial


def resume(
    run: SavedRun, *, steps: int | None = None, episodes: int | None = None, observers: Sequence[Observer] = ()
) -> Path:
    """Continue a run, given with the functions that it was started with; the arguments are those of api.resume."""
    began = time.perf_counter()
    audience = Audience(observers)
    run_dir, directory, content, old = run.path, run.files, run.document, run.config
    wanted = (old.steps if steps is None else steps, old.episodes if episodes is None else episodes)
    result = run_directory.read_result(run_dir)
    if result is not None and all(isinstance(number, int) for number in wanted):
        counts = (result.get(name) for name in ("steps", "episodes"))
        _refuse_reached(run_dir, *wanted, *(count if isinstance(count, int) else 0 for count in counts))
    config = dataclasses.replace(old, steps=wanted[0], episodes=wanted[1])
    saved, make, network = run.environment, run.maker(), run.network_function()
    env = config.env if make else saved_id(config.env)
    call = f"tq.resume({run_directory.python_arguments(run_dir, run.needs)})"
    require_functions(run_dir, run.needs, make, network, call)
    with directory, _described(env, make, config, audience) as environment:
        saved.require_same(run_dir, environment.native_observation_space, environment.native_action_space)
        loop = loop_kind(config, environment)
        if content.get("loop", loop) != loop:
            raise TensorqError(
                f"{run_dir} was trained in the {content['loop']} loop, which cannot continue it: "
                f"{environment.no_world}."
            )
        if environment.num_envs not in (None, config.num_envs):
            raise TensorqError(
                f"{run_dir} was started with {config.num_envs} environments, and make_env returned a vector "
                f"environment of {environment.num_envs}: give one of {config.num_envs}."
            )
        preflight.check(config, environment, network, run_dir)
        began_with = content.get("versions")
        for name, now in run_directory.versions().items():
            before = began_with.get(name) if isinstance(began_with, dict) else None
            if before != now:
                audience.warn(f"{name} is {now}, but the run began with {before}: not exact any more")

        def on_restored(steps: int, episodes: int) -> None:
            """Write the new limits; an error before this leaves a finished run as it was."""
            if config != old:
                _refuse_reached(run_dir, config.steps, config.episodes, steps, episodes)
                if config.steps < old.steps:
                    audience.tell(Message(f"the run will end at {config.steps:,} steps instead of {old.steps:,}"))
                run_directory.write_json(directory.config_path, {**content, "config": config.to_dict()})
            directory.result_path.unlink(missing_ok=True)

        Training(
            config,
            environment,
            network,
            directory,
            audience,
            began,
            on_restored,
            env_id=run.make_env if isinstance(run.make_env, str) else None,
            goes_on=result is not None,
            has_initial_params="init_from" in content,
        ).run()
    return directory.path


@contextlib.contextmanager
def _described(env: str, make: EnvironmentMaker | None, config: Config, audience: Audience) -> Iterator[Environment]:
    """A run's environment; with single_environment it is closed at the end if nothing was trained in it."""
    environment = describe(env, make, config.env_args, single=config.single_environment, warn=audience.warn)
    try:
        yield environment
    finally:
        environment.release(audience.warn)


def _refuse_reached(run_dir: Path, end_steps: int, end_episodes: int, steps: int, episodes: int) -> None:
    """Refuse limits that a run has reached already."""
    more = [f"steps (--steps) above {steps}"] if steps >= end_steps else []
    if 0 < end_episodes <= episodes:
        more.append(f"episodes (--episodes) above {episodes} (0 is no limit)")
    if more:
        raise TensorqError(f"{run_dir} is at {steps} steps and {episodes} episodes: give {' and '.join(more)}.")


def _fitting_agent(run: SavedRun, config: Config, environment: Environment, kind: str) -> Kept:
    """The kept best agent of the run that another begins with; raises TensorqError if its network does not fit.

    For network functions only the numbers of parameters are compared, and only once they have built their networks.
    """
    saved, run_dir = read_params(run), run.path
    if run.kind != kind:
        raise TensorqError(
            f"init_from: {run_dir} has {_KINDS.get(run.kind, run.kind)}, this run has {_KINDS[kind]}: its "
            "parameters do not fit."
        )
    there = saved.own_space, run.environment.action_space
    here = stacked_space(environment.native_observation_space, frame_stack(config)), environment.native_action_space
    if _seen(*there) != _seen(*here):
        raise TensorqError(
            f"init_from: {run_dir} was trained on observations {there[0]} with actions {there[1]}, this run's are "
            f"{here[0]} with {here[1]}: expected the same shapes and numbers."
        )
    if kind == "mlp":
        spaces = plain_observation_space(there[0]), plain_observation_space(here[0])
        one, other = _built(run.config, spaces[0]), _built(config, spaces[1])
        compared = one if one["encoder"] == other["encoder"] else ("encoder",)
        if names := [name for name in compared if one[name] != other[name]]:
            its, own = (", ".join(f"{name} {each[name]}" for name in names) for each in (one, other))
            raise TensorqError(
                f"init_from: the network of {run_dir} has {its}, this run's has {own}: its parameters do not fit. "
                "Give the same settings."
            )
        if config.find(MLPEncoder) and _scaling(run.config, spaces[0]) != _scaling(config, spaces[1]):
            its, own = (
                f"by the bounds of {space}, pixels {it.pixels}"
                for space, it in ((there[0], run.config), (here[0], config))
            )
            raise TensorqError(
                f"init_from: the network of {run_dir} gets observations scaled {its}, this run's {own}: its "
                "parameters do not fit. Give the same bounds and pixels."
            )
    return saved


_KINDS = {
    "mlp": "the default network",
    "custom": "a network function's network",
    "features": "a network on a function's features",
    "table": "a table of Q-values",
}


def _seen(observation_space: gym.Space, action_space: gym.Space) -> tuple[object, ...]:
    """What a network sees of an environment: the layout of observations and their parts, and the number of actions."""
    sizes = [gym.spaces.flatdim(leaf) for leaf in leaves(observation_space)]
    return obs_layout(plain_observation_space(observation_space)), sizes, int(plain_action_space(action_space).n)


def _scaling(config: Config, observation_space: gym.Space) -> list[Any]:
    """The centre and the factor by which the numbers of an observation are scaled."""
    centre, factor = config.part(MLPEncoder).scaling(observation_space)
    return [np.ravel(centre).tolist(), None if factor is None else np.ravel(factor).tolist()]


def _built(config: Config, observation_space: gym.Space) -> dict[str, object]:
    """The settings that determine the default network, besides the environment."""
    head, encoder = config.part(Head), encoder_of(config, observation_space)
    of_encoder = {name: value for name, value in dataclasses.asdict(encoder).items() if name != "pixels"}
    return {
        **dataclasses.asdict(config.part(NetworkSettings)),
        "encoder": encoder_name(config, observation_space),
        **of_encoder,
        **{name: getattr(config, name) for name in ("head", "noisy")},
        "num_atoms": head.outputs_per_action,
        "support": head.support,
    }
