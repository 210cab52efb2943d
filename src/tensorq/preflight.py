"""Checks before a run begins: refuse what cannot work on this machine, or needs more memory or disk than it has."""

from __future__ import annotations

import copy
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym

from tensorq.agents.qtable import table_states
from tensorq.agents.settings import DQNSettings, PQNSettings, QTableSettings
from tensorq.config import Config
from tensorq.envs.description import Environment
from tensorq.envs.spaces import obs_layout, plain_observation_space, stacked_space
from tensorq.errors import TensorqError
from tensorq.heads.head import Head
from tensorq.loops.build import loop_kind
from tensorq.networks.build import NetworkBuilder
from tensorq.networks.encoders.auto import encoder_name, encoder_of
from tensorq.networks.encoders.image import ImageEncoder
from tensorq.networks.numpy_network import knows, num_params
from tensorq.networks.settings import NetworkSettings, frame_stack
from tensorq.process import refuse_inherited_tensorflow
from tensorq.replay.columns import blocks_beside, bytes_per_step, step_dtype
from tensorq.replay.settings import ReplaySettings
from tensorq.runs.replay_file import most_steps

_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


MOST_HOST_ENVS = 10_000


def check(
    config: Config,
    environment: Environment,
    network: NetworkBuilder | None,
    folder: Path,
    at_once: int = 1,
    in_all: int = 1,
) -> None:
    """Refuse what cannot work on this machine, before anything is written and before TensorFlow loads.

    Memory must do for `at_once` runs, and the disk for `in_all`.
    """
    loop = loop_kind(config, environment)
    if config.single_environment and environment.num_envs is None and config.num_envs > 1:
        raise TensorqError(f"num_envs: received {config.num_envs}, expected 1 with single_environment.")
    for name, usual in (("stagger_steps", 0), ("epsilon_spread", 1)):
        if config.num_envs == 1 and (value := getattr(config, name)) != usual:
            raise TensorqError(
                f"{name} {value:g} is for several environments, and there is one: raise num_envs, or leave {name} at "
                f"{usual}."
            )
    most_threads = max(64, 4 * (os.cpu_count() or 1))
    if config.threads > most_threads:
        raise TensorqError(f"threads: received {config.threads}, expected at most {most_threads} on this machine.")
    if loop == "host" and environment.num_envs is None and config.num_envs > MOST_HOST_ENVS:
        raise TensorqError(
            f"num_envs: received {config.num_envs}, expected at most {MOST_HOST_ENVS:,} environments in the host loop."
        )
    if config.find(QTableSettings):
        if network is not None:
            raise TensorqError("network: a table of Q-values has no network: leave it out, or use preset dqn.")
        num_states, _ = table_states(environment.native_observation_space)
        check_table_fits(num_states, int(environment.action_space.n), at_once)
        return
    refuse_inherited_tensorflow()
    dqn = config.find(DQNSettings)
    if dqn is not None and loop == "host":
        owed, per_call = dqn.updates_owed(config.steps, config.num_envs), dqn.updates_per_call(config.num_envs)
        if owed < per_call:
            raise TensorqError(
                f"steps: received {config.steps}, which give {owed} updates, but the host loop makes {per_call} at "
                "a time, so nothing would be learned: raise steps."
            )
    space = environment.observation_space
    seen = stacked_space(environment.native_observation_space, frame_stack(config))  # which refuses some spaces
    seen = plain_observation_space(seen)
    if network is None and config.encoder == "auto":
        config.replace(encoder=encoder_name(config, seen))  # refuses the other encoder's settings
    if network is None and isinstance(encoder := encoder_of(config, seen), ImageEncoder):
        encoder.image_shape(space)  # refuses spaces without images
    check_fits(config, memory_demands(config, environment, network), available_bytes(), at_once)
    if dqn is not None and not (folder / "replay.bin").exists():
        there = next(parent for parent in [folder, *folder.parents] if parent.exists())
        disk = shutil.disk_usage(there)
        check_fits(config, [disk_demand(space)], disk.free if disk.total else None, in_all, "disk")


def memory_demands(config: Config, environment: Environment, network: NetworkBuilder | None) -> list[Demand]:
    """The memory of a run, roughly; nothing for a table, which is small."""
    if config.find(QTableSettings):
        return []
    space, num_actions = environment.observation_space, int(environment.action_space.n)
    seen = plain_observation_space(stacked_space(environment.native_observation_space, frame_stack(config)))
    limit = environment.max_episode_steps if loop_kind(config, environment) == "compiled" else None
    return demands(space, num_actions, network is None and knows(seen, config), limit)


def available_bytes() -> int | None:
    """Memory that this process may still take: the machine's, or its container's if that is less; None if unknown."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except OSError:
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit, usage in _CGROUP_FILES:
        try:
            found.append(int(Path(limit).read_text()) - int(Path(usage).read_text()))
        except (OSError, ValueError):  # no such container, or its limit is "max"
            continue
    return min(found) if found else None


class Demand(NamedTuple):
    """Bytes that a part of a run takes, and the settings on which they depend; none if only the environment does."""

    settings: tuple[str, ...]
    bytes: Callable[[Config], float]


def demands(space: gym.Space, num_actions: int, default_network: bool, world_limit: int | None) -> list[Demand]:
    """The memory of a deep agent, roughly; the network comes first, because the others grow with it.

    Args:
        space: of the environment's observations, a Box or Discrete.
        num_actions: A.
        default_network: whether the layers are those of hidden_sizes; the size of others is not known yet.
        world_limit: the time limit of a world in steps, if the loop is compiled.
    """
    loop = "compiled" if world_limit else "host"
    dtype, shape = obs_layout(space)
    numbers = gym.spaces.flatdim(space)
    obs_bytes = max(dtype.itemsize * math.prod(shape), 4 * numbers)

    def network(config: Config) -> float:
        seen = stacked_space(space, frame_stack(config))
        return 4 * 4 * num_params(seen, num_actions, config)  # float32: online and target network, Adam's two moments

    def one(config: Config) -> float:
        """Bytes of one observation in a forward pass."""
        head, sizes, frames = config.part(Head), config.part(NetworkSettings).hidden_sizes, frame_stack(config)
        layers = sum(sizes) + (num_actions + 1) * head.outputs_per_action if default_network else 0
        features = sizes[-1] if sizes else frames * numbers
        return 4 * (layers + head.num_fractions * features) + 2 * frames * obs_bytes

    def update(config: Config) -> float:
        """Bytes of a transition in an update: two networks, the gradient, and pairs of its atoms and the target's."""
        return 3 * one(config) + 4 * config.part(Head).pairs

    def replay(config: Config) -> float:
        settings = config.find(ReplaySettings)
        if settings is None:
            return 0.0
        beside = blocks_beside(settings.replay_capacity, config.num_envs, world_limit) if world_limit else 0
        steps = settings.replay_capacity + beside * config.num_envs
        return steps * bytes_per_step(settings, step_dtype(dtype, shape))

    def rollout(config: Config) -> float:
        settings = config.find(PQNSettings)
        return 0.0 if settings is None else settings.rollout_length * config.num_envs * one(config)

    def episode(config: Config) -> float:
        return one(config) if loop == "compiled" else 64.0  # compiled: all at once; host: seed, length and return

    found = [
        Demand(("num_envs", "frame_stack"), lambda config: config.num_envs * one(config)),
        Demand(("evaluation_episodes",), lambda config: config.num_evaluation_episodes(loop) * episode(config)),
        Demand(("batch_size", "num_atoms", "frame_stack"), lambda config: config.batch_size * update(config)),
        Demand(("replay_capacity",), replay),
        Demand(("rollout_length", "num_envs", "frame_stack"), rollout),
    ]
    if default_network:
        usual = network(Config())  # if this is too large, the environment is the reason
        found = [
            Demand((), lambda config: min(network(config), usual)),
            Demand(("hidden_sizes", "num_atoms", "frame_stack"), network),
            *found,
        ]
    return found


def disk_demand(space: gym.Space) -> Demand:
    """The disk space of the replay."""

    def replay(config: Config) -> float:
        new = config.checkpoint_period_steps + config.num_envs
        return most_steps(config.replay_capacity, new) * step_dtype(*obs_layout(space)).itemsize

    return Demand(("replay_capacity", "checkpoint_period_steps"), replay)


def check_fits(
    config: Config, wanted: Sequence[Demand], available: int | None, runs: int = 1, what: str = "memory"
) -> None:
    """Raise TensorqError, with the setting that is too large, if `runs` times a demand is more than is available.

    This is the setting of the demand that would reduce it most if it were at its default.
    """
    for settings, bytes_needed in wanted:
        needed = runs * bytes_needed(config)
        if available is None or needed <= available:
            continue
        each = f" for {runs} runs" if runs > 1 else ""
        sizes = f"{_size(needed)} of {what}{each}, and {_size(available)} are available"
        if not settings:
            raise TensorqError(f"the environment's observations and actions need a network of {sizes}.")
        name = min(settings, key=lambda name: bytes_needed(_at_default(config, name)))
        value, option = getattr(config, name), f"--{name.replace('_', '-')}"
        if isinstance(value, tuple):
            raise TensorqError(f"{name} {' '.join(map(str, value))} need {sizes}: lower them ({option}).")
        fitting = max(int(0.8 * value * available / needed), 1)
        raise TensorqError(f"{name} {value:,} needs {sizes}: lower it ({option}) to about {fitting:,}.")


def _at_default(config: Config, name: str) -> Config:
    """A copy with one setting at its default. It is not checked, because only its sizes are used."""
    changed, usual = copy.copy(config), getattr(Config, name)
    parts = tuple(copy.copy(part) for part in config.parts)
    for each in (changed, *parts):
        if hasattr(each, name):
            object.__setattr__(each, name, usual)
    object.__setattr__(changed, "_parts", parts)
    return changed


def check_table_fits(num_states: int, num_actions: int, runs: int = 1) -> None:
    """Raise TensorqError, with the sizes, when tables of Q-values, one a run, take more memory than there is."""
    available = available_bytes()
    bytes_needed = runs * 4 * 8 * num_states * num_actions  # float64: the table, and what saving it copies
    if available is not None and bytes_needed > available:
        raise TensorqError(
            f"a table of {num_states:,} states and {num_actions:,} actions needs {_size(bytes_needed)} of memory, and "
            f"{_size(available)} are available: use preset dqn."
        )


def _size(count: float) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
