"""The tables and results of runs, grouped by setting: the runs of one setting differ only in their seed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tensorq.agents.settings import QTableSettings
from tensorq.config import Config, environment_name
from tensorq.envs.world import WORLDS
from tensorq.errors import TensorqError
from tensorq.paths import shown
from tensorq.runs.directory import LARGEST, finite_number, read_result
from tensorq.runs.saved import SavedRun

FloatArray = npt.NDArray[np.float64]
_NAMELESS = "environment of a function"


@dataclass(frozen=True)
class History:
    """The content of a run folder: settings, tables and, if the run is finished, its result."""

    path: Path
    settings: dict[str, Any]  # as config.json has them
    setting: dict[str, Any]  # without the seed, and everything else in which settings can differ
    solved_return: float | None
    metrics: Mapping[str, FloatArray]
    episodes: Mapping[str, FloatArray]
    result: dict[str, Any] | None

    @property
    def env(self) -> str:
        """The environment's name: its id with its arguments, or the name of the function that makes it."""
        name = str(self.settings.get("env", "?"))
        name = _NAMELESS if self.setting.get("environment.custom") and name in ("lambda", "custom") else name
        return environment_name(name, self.settings.get("env_args"))

    @property
    def evaluations(self) -> tuple[FloatArray, FloatArray]:
        """Steps and mean returns of the greedy evaluations."""
        done = np.isfinite(self.metrics["evaluation_return"])
        return self.metrics["steps"][done], self.metrics["evaluation_return"][done]


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ only in their seed.

    `changes` are the fields in which settings of the same environment and preset differ. `unusual` are those of them
    whose value here is shared by at most half of these settings.
    """

    env: str
    preset: str
    changes: dict[str, Any]
    unusual: dict[str, Any]
    runs: list[History]

    @property
    def label(self) -> str:
        """Its name in a legend; the environment is named elsewhere."""
        return label(self.preset, self.unusual)


def read_history(run: SavedRun) -> History:
    """Read a run's files, whether it is finished or not; raises TensorqError if it is no run, or damaged."""
    document, files = run.document, run.files
    environment = document.get("environment")
    environment = environment if isinstance(environment, dict) else {}
    solved_return = finite_number(environment.get("solved_return"))
    if not files.metrics_path.exists():
        raise TensorqError(f"{run.path} has no metrics.csv: its training never began, or the file was removed")
    metrics, episodes = run.metrics, run.episodes
    for path, table, columns in (
        (files.metrics_path, metrics, ("steps", "epsilon", "evaluation_return")),
        (files.episodes_path, episodes, ("steps", "return")),
    ):
        missing = [column for column in columns if column not in table]
        if missing:
            raise TensorqError(f"{path} has no column {missing[0]!r}; expected the table that `tensorq train` wrote")
        if not all(0 <= steps < 2**63 and steps.is_integer() for steps in table["steps"].tolist()):
            raise TensorqError(
                f"{path} is damaged: its steps are not all whole numbers; put the original file back, or "
                "leave this run out"
            )
        for values in table.values():
            values[~(np.abs(values) <= LARGEST)] = np.nan
    try:
        result = read_result(run.path)
    except TensorqError as error:  # the tables have the same numbers
        print(shown(f"warning: {error}"), file=sys.stderr)
        result = {}
    return History(
        path=run.path,
        settings=document["config"],
        setting=_setting(run, environment),
        solved_return=None if solved_return is None or abs(solved_return) > LARGEST else solved_return,
        metrics=metrics,
        episodes=episodes,
        result=result,
    )


def _setting(run: SavedRun, environment: dict[str, Any]) -> dict[str, Any]:
    """Everything but the seed in which runs can differ, in the same form for runs of every version of tensorq."""
    document, deep = run.document, True
    try:
        full, deep = run.config.to_dict(), run.config.find(QTableSettings) is None
    except TensorqError:
        full = dict(document["config"])
    text = json.dumps(environment.get("observation_space"))
    for name, matters in (("pixels", '"uint8"' in text), ("hl_gauss_spare_bins", full.get("head") == "hl_gauss")):
        if not matters:
            full[name] = getattr(Config, name)
    if deep and full.get("encoder") == "auto":  # the encoder that was used, too
        from tensorq.envs.spaces import plain_observation_space, stacked_space  # which imports Gymnasium
        from tensorq.networks.encoders.auto import encoder_name
        from tensorq.networks.settings import frame_stack

        try:
            space = plain_observation_space(run.environment.observation_space)
            full["encoder"] = encoder_name(run.config, stacked_space(space, frame_stack(run.config)))
        except TensorqError:  # no description, or a damaged one
            full["encoder"] = "mlp"
    world = full.get("env") in [*WORLDS] and deep and full.get("loop") != "host"
    full["loop"] = document.get("loop", "compiled" if world else "host")  # the loop that was used, not "auto"
    if environment.get("custom"):
        del full["loop"]  # the environment of a function is always in the host loop
    env, known = str(full.get("env")), environment
    full["env"] = environment_name(env, full.pop("env_args", None))
    if not environment.get("custom") and ":" not in env:  # id and arguments determine its spaces
        known = {name: value for name, value in environment.items() if not name.endswith("_space")}
    return {
        **{name: value for name, value in full.items() if name != "seed"},
        "network": document.get("network_name", document.get("network")),
        **({"init_from": "another run"} if "init_from" in document else {}),
        **{f"environment.{name}": _in_short(value) for name, value in known.items()},
    }


def _in_short(value: Any) -> Any:
    """A description of a space with one bound in place of a list of equal ones, as newer runs store it."""
    if not isinstance(value, dict):
        return value
    bounds = {name: value[name] for name in ("low", "high") if isinstance(value.get(name), list)}
    same = {name: bound[0] for name, bound in bounds.items() if bound and all(each == bound[0] for each in bound)}
    return {name: _in_short(part) for name, part in {**value, **same}.items()}


def group_by_setting(
    run_dirs: Sequence[Path], check: Callable[[History], object] = lambda run: None
) -> list[SeedGroup]:
    """Read runs and group those whose settings are equal apart from the seed, in the order given.

    Left out, with a line on stderr, are runs that cannot be read or for which `check` raises TensorqError, and a second
    run of the same setting and seed, which would make an interval too narrow.
    """
    if not run_dirs:
        raise TensorqError("no runs given: name one or more run folders, such as runs/*")
    groups: dict[str, dict[Any, History]] = {}
    errors: list[TensorqError] = []
    for run_dir in run_dirs:
        try:
            run = read_history(SavedRun(run_dir))
            check(run)
        except TensorqError as error:
            errors.append(error)
            continue
        seed, group = str(run.settings.get("seed")), groups.setdefault(json.dumps(run.setting, sort_keys=True), {})
        if (kept := group.setdefault(seed, run)) is not run:
            text = f"warning: {run_dir} is left out: it has the same setting and seed as {kept.path}"
            print(shown(text), file=sys.stderr)
    if not groups and len(errors) == 1:
        raise errors[0]
    for left_out in errors:
        print(shown(f"warning: left out: {left_out}"), file=sys.stderr)
    if not groups:
        raise TensorqError(f"none of these {len(errors)} runs can be used")
    gathered = [list(group.values()) for group in groups.values()]
    settings = [runs[0].setting for runs in gathered]
    return [
        SeedGroup(
            env=runs[0].env,
            preset=str(runs[0].settings.get("preset", "?")),
            changes=_changes(runs[0].setting, settings, unusual=False),
            unusual=_changes(runs[0].setting, settings, unusual=True),
            runs=runs,
        )
        for runs in gathered
    ]


def _changes(setting: dict[str, Any], settings: Sequence[dict[str, Any]], *, unusual: bool) -> dict[str, Any]:
    """The fields in which settings of the same environment and preset differ, with their values in this one.

    `unusual` leaves out fields whose value more than half of these settings share.
    """
    kin = [other for other in settings if all(other.get(name) == setting.get(name) for name in ("env", "preset"))]
    same = {name: sum(other.get(name) == value for other in kin) for name, value in setting.items()}
    most = len(kin) / 2 if unusual else len(kin) - 1
    return {name: value for name, value in setting.items() if same[name] <= most}


def label(preset: str, unusual: dict[str, Any]) -> str:
    """A setting in a line: its preset, and the fields in which it differs."""
    return " ".join([preset, *(f"{name}={short(value)}" for name, value in unusual.items())])


def short(value: Any) -> str:
    """A setting's value as short text: sizes as 256x256, numbers without the digits that rounding errors add."""
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
