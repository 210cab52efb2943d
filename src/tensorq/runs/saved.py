"""A run on disk, opened once to evaluate, draw, film, export or resume it.

Gymnasium is imported only when a method needs it, so that listing and comparing runs do not wait for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorq.agents.settings import QTableSettings
from tensorq.config import Config
from tensorq.errors import TensorqError
from tensorq.paths import absolute
from tensorq.runs import directory
from tensorq.runs.directory import RunDirectory, python_arguments
from tensorq.runs.tables import Table, read_table

if TYPE_CHECKING:
    from tensorq.envs.calls import EnvironmentMaker
    from tensorq.envs.description import SavedEnvironment
    from tensorq.networks.build import NetworkBuilder, NetworkFunction


@dataclass(frozen=True)
class SavedRun:
    """A run's folder, and the functions that the run needs. config.json is read once, when it is first needed.

    Args:
        path: the folder; it is kept as an absolute path.
        make_env: for a run on an environment of your own, the function that makes it, or its id MODULE:ID.
        network: the function that built the network or its features, if the run was started with one.
    """

    path: Path
    make_env: EnvironmentMaker | str | None = None
    network: NetworkBuilder | None = None

    def __post_init__(self) -> None:
        """Make the path absolute, because the working directory may change."""
        object.__setattr__(self, "path", absolute(self.path))

    @cached_property
    def document(self) -> dict[str, Any]:
        """All of config.json; raises TensorqError if the folder is not a run."""
        return directory.read_config(directory.open(self.path).path)

    @cached_property
    def config(self) -> Config:
        """The settings with which it was trained."""
        return Config.from_saved(self.document["config"])

    @cached_property
    def environment(self) -> SavedEnvironment:
        """The spaces of the environment that it was trained on."""
        from tensorq.envs.description import read_environment

        return read_environment(self.path, self.document)

    @property
    def kind(self) -> str:
        """The kind of its network or table, as in config.json: "mlp", "custom", "features" or "table"."""
        return str(self.document.get("network"))

    @property
    def needs(self) -> tuple[str, ...]:
        """The keywords of the functions that a resume needs."""
        return needed_functions(self.config, self.environment.custom, self.kind)

    @cached_property
    def files(self) -> RunDirectory:
        """The paths of its files."""
        return RunDirectory(self.path)

    @property
    def metrics(self) -> Table:
        """The columns of metrics.csv: `steps`, `loss`, `mean_q`, `evaluation_return` ...; NaN where a cell is empty."""
        return Table(read_table(self.files.metrics_path))

    @property
    def episodes(self) -> Table:
        """The columns of episodes.csv, a row for each finished training episode: `steps`, `length`, `return` ..."""
        return Table(read_table(self.files.episodes_path))

    @property
    def result(self) -> dict[str, Any]:
        """What result.json says: steps, seconds, the best and the final evaluation. Empty for an unfinished run."""
        return directory.read_result(self.path) or {}

    def maker(self, render_mode: str | None = None) -> EnvironmentMaker | None:
        """The function `make_env`, or one that makes the environment of this id; None if `make_env` is None."""
        if isinstance(self.make_env, str):
            from tensorq.envs.gymnasium_ids import gymnasium_maker

            return gymnasium_maker(self.make_env, self.config.env_args, render_mode)
        return self.make_env

    def environment_maker(self, render_mode: str | None = None) -> EnvironmentMaker:
        """The same or, without `make_env`, a maker for the run's id; raises TensorqError if the run has no id."""
        from tensorq.envs.calls import new_each_time
        from tensorq.envs.gymnasium_ids import gymnasium_maker, saved_id

        make = self.maker(render_mode)
        if make is not None:
            return new_each_time(make)
        if self.environment.custom:
            call = f"tq.open_run({python_arguments(self.path, ['make_env'])})"
            raise TensorqError(
                f"{self.path} was trained on an environment of your own: name it, as in --env MODULE:ID, or in "
                f"Python give the function, {call}."
            )
        return gymnasium_maker(saved_id(self.config.env), self.config.env_args, render_mode)

    def network_function(self) -> NetworkFunction | None:
        """`network` with its keyword; raises TensorqError if the run was started with the other keyword."""
        from tensorq.networks.build import network_function

        found = network_function(self.network)
        if found is None:
            return None
        started_with = {"custom": "network", "features": "features"}.get(self.kind, found.keyword)
        if found.keyword != started_with:
            raise TensorqError(f"{self.path} needs {started_with}=, received {found.keyword}=: give {started_with}=.")
        return dataclasses.replace(found, own_space=self.document.get("network_space") == "own")


def require_functions(
    path: Path,
    needs: Sequence[str],
    make_env: EnvironmentMaker | str | None,
    network: NetworkFunction | None,
    call: str,
) -> None:
    """Raise TensorqError unless exactly the functions are given that a resume needs; `call` is how to give them."""
    given = {"make_env": make_env, network.keyword if network else "network": network}
    for name in dict.fromkeys([*given, *needs]):
        if given.get(name) is not None and name not in needs:
            option = " (--env)" if name == "make_env" else ""
            raise TensorqError(f"{path} was started without {name}{option}: leave it out.")
        if given.get(name) is None and name in needs:
            hint = "--env MODULE:ID if importing MODULE registers it, or " if name == "make_env" else ""
            raise TensorqError(f"{path} needs {name}, the function it was started with: {hint}in Python, {call}.")


def network_kind(config: Config, network: NetworkFunction | None) -> str:
    """The kind of network or table of a run with this network function, as in config.json."""
    if network is None:
        return "table" if config.find(QTableSettings) else "mlp"
    return "features" if network.keyword == "features" else "custom"


def needed_functions(config: Config, custom: bool, kind: str) -> tuple[str, ...]:
    """The keywords of the functions that a resume of a run with this kind of network needs.

    make_env is one of them if the environment is `custom`, or if its id would import a module: ids in a run's folder
    never import modules.
    """
    functions = {"make_env": custom or ":" in config.env, "features": kind == "features"}
    functions["network"] = kind not in ("mlp", "table", "features")
    return tuple(name for name, needed in functions.items() if needed)
