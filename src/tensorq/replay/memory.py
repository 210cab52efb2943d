"""Whether what a run holds fits into memory and on disk, asked before training begins."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym

from tensorq.config import Config
from tensorq.envs.spaces import obs_layout
from tensorq.errors import TensorqError
from tensorq.networks.numpy_network import input_size, num_params
from tensorq.replay.host import row_dtype, slack_rows
from tensorq.replay.priorities import TREE_BYTES

_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


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
    """Bytes that a part of a run takes, and the settings that they grow with; none where it is the environment."""

    settings: tuple[str, ...]
    bytes: Callable[[Config], float]


def demands(space: gym.Space, num_actions: int, loop: str, default_network: bool) -> list[Demand]:
    """What a deep agent holds in memory, roughly; the network comes first, because the others grow with it.

    Args:
        space: of observations, a Box or Discrete.
        num_actions: A.
        loop: "compiled" or "host".
        default_network: whether the layers are those of hidden_sizes; of others nothing is known yet.
    """
    dtype, shape = obs_layout(space)
    obs_bytes = max(dtype.itemsize * math.prod(shape), 4 * input_size(space))

    def network(config: Config) -> float:
        return 4 * 4 * num_params(space, num_actions, config)  # float32: online and target network, Adam's two moments

    def one(config: Config) -> float:
        """One observation on its way through the network."""
        layers = sum(config.hidden_sizes) + (num_actions + 1) * config.outputs_per_action if default_network else 0
        features = config.hidden_sizes[-1] if config.hidden_sizes else input_size(space)
        fractions = config.num_atoms * features if config.head == "implicit_quantile" else 0
        return 4 * (layers + fractions) + 2 * obs_bytes

    def update(config: Config) -> float:
        """One transition in an update: two networks and the gradient, and pairs of its atoms and the target's."""
        pairs = 0 if config.head == "expected" else config.num_atoms**2
        return 3 * one(config) + 4 * pairs

    def replay(config: Config) -> float:
        row_bytes = row_dtype(config, dtype, shape).itemsize + (TREE_BYTES if config.priority_exponent else 0)
        copies = 5 if loop == "compiled" else 1  # a program's arguments and results, and what saving copies: measured
        return copies * config.replay_capacity * row_bytes

    def episode(config: Config) -> float:
        return one(config) if loop == "compiled" else 64.0  # all at once, or its seed, length and return

    found = [
        Demand(("num_envs",), lambda config: config.num_envs * one(config)),
        Demand(("evaluation_episodes",), lambda config: config.num_evaluation_episodes(loop) * episode(config)),
        Demand(("batch_size", "num_atoms"), lambda config: config.batch_size * update(config)),
        Demand(("replay_capacity",), lambda config: replay(config) if config.algorithm == "dqn" else 0),
        Demand(
            ("rollout_length", "num_envs"),
            lambda config: config.rollout_length * config.num_envs * one(config) if config.algorithm == "pqn" else 0,
        ),
    ]
    if default_network:
        usual = network(Config())  # what no setting, but the environment makes too large
        found = [
            Demand((), lambda config: min(network(config), usual)),
            Demand(("hidden_sizes", "num_atoms"), network),
            *found,
        ]
    return found


def disk_demand(space: gym.Space) -> Demand:
    """What the host loop's replay takes on disk."""

    def replay(config: Config) -> float:
        rows = config.replay_capacity + slack_rows(config, config.num_envs)
        return rows * row_dtype(config, *obs_layout(space)).itemsize

    return Demand(("replay_capacity", "checkpoint_period_steps"), replay)


def check_fits(config: Config, wanted: Sequence[Demand], available: int | None, what: str = "memory") -> None:
    """Raise TensorqError where something takes more than there is, by the setting that is too large.

    That is the one of the demand's settings which, at its default, would leave the least.
    """
    for settings, bytes_needed in wanted:
        needed = bytes_needed(config)
        if available is None or needed <= available:
            continue
        sizes = f"{_size(needed)} of {what}, and {_size(available)} are available"
        if not settings:
            raise TensorqError(f"the environment's observations and actions need a network of {sizes}.")
        name = min(settings, key=lambda name: bytes_needed(_at_default(config, name)))
        value, option = getattr(config, name), f"--{name.replace('_', '-')}"
        if isinstance(value, tuple):
            raise TensorqError(f"{name} {' '.join(map(str, value))} need {sizes}: lower them ({option}).")
        fitting = max(int(0.8 * value * available / needed), 1)
        raise TensorqError(f"{name} {value:,} needs {sizes}: lower it ({option}) to about {fitting:,}.")


def _at_default(config: Config, name: str) -> Config:
    """The same without checks: what is asked of it is its sizes alone."""
    changed = copy.copy(config)
    object.__setattr__(changed, name, getattr(Config, name))
    return changed


def check_table_fits(num_states: int, num_actions: int) -> None:
    """Raise TensorqError, with the sizes, when a table of Q-values takes more memory than there is."""
    available = available_bytes()
    bytes_needed = 4 * 8 * num_states * num_actions  # float64: the table, and what saving it copies
    if available is not None and bytes_needed > available:
        raise TensorqError(
            f"a table of {num_states:,} states and {num_actions:,} actions needs {_size(bytes_needed)} of memory, and "
            f"{_size(available)} are available: use preset dqn."
        )


def _size(count: float) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
