"""Whether a replay, a network and a table fit into memory, asked before training begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tensorq.errors import TensorqError

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


def check_fits(bytes_needed: int, replay_capacity: int) -> None:
    """Raise TensorqError, with the sizes, when a replay takes more memory than there is."""
    available = available_bytes()
    if available is not None and bytes_needed > available:
        fitting = int(0.8 * replay_capacity * available / bytes_needed)
        raise TensorqError(
            f"replay_capacity {replay_capacity:,} needs {_size(bytes_needed)} of memory and {_size(available)} are "
            f"available: lower it (--replay-capacity) to about {fitting:,}."
        )


def check_network_fits(num_params: int, hidden_sizes: Sequence[int]) -> None:
    """Raise TensorqError, with the sizes, when a network takes more memory than there is."""
    available = available_bytes()
    bytes_needed = 4 * 4 * num_params  # float32: online and target network, Adam's two moments
    if available is not None and bytes_needed > available:
        raise TensorqError(
            f"hidden_sizes {' '.join(map(str, hidden_sizes))} make {num_params:,} parameters, which need "
            f"{_size(bytes_needed)} of memory, and {_size(available)} are available: lower them (--hidden-sizes)."
        )


def check_table_fits(num_states: int, num_actions: int) -> None:
    """Raise TensorqError, with the sizes, when a table of Q-values takes more memory than there is."""
    available = available_bytes()
    bytes_needed = 4 * 8 * num_states * num_actions  # float64: the table, and what saving it copies
    if available is not None and bytes_needed > available:
        raise TensorqError(
            f"a table of {num_states:,} states and {num_actions:,} actions needs {_size(bytes_needed)} of memory, and "
            f"{_size(available)} are available: use preset dqn."
        )


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
