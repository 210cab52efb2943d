"""The folder of several runs, and its file runs.json, which says what they are. No TensorFlow here."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tensorq.config import Config
from tensorq.errors import TensorqError
from tensorq.runs import directory
from tensorq.runs.checkpoint import is_leftover
from tensorq.runs.directory import PUT_BACK, finite_number, python_arguments
from tensorq.runs.lock import LockableFolder
from tensorq.runs.saved import SavedRun

FILE = "runs.json"
OUTPUT = "output"  # a folder for what runs print
MOST_RUNS = 3_000  # runs.json has some 3 kB for each


@dataclass(frozen=True)
class Plan:
    """The runs of a folder.

    Args:
        path: the folder, which holds a folder for each run.
        runs: the settings with which each run begins, by the name of its folder.
        needs: the keywords of the functions that a resume needs, as in Started.
        init_from: the run whose best parameters they begin with, if there is one.
        steps, episodes: new limits of all runs, which a resume has set.
    """

    path: Path
    runs: Mapping[str, Config]
    needs: tuple[str, ...] = ()
    init_from: Path | None = None
    steps: int | None = None
    episodes: int | None = None

    @property
    def picture(self) -> Path:
        """The picture that compares the settings."""
        return self.path / "compare.png"

    @property
    def begun(self) -> list[Path]:
        """The folders of the runs that have begun."""
        return [self.folder(name) for name in self.runs if self.has_begun(name)]

    @property
    def unfinished(self) -> list[str]:
        """The names of the runs that are to be trained."""
        return [name for name in self.runs if not self._is_done(name)]

    def folder(self, name: str) -> Path:
        """The folder of a run."""
        return self.path / name

    def output(self, name: str) -> Path:
        """The file with what a run's environment, and a process that died, printed."""
        return self.path / OUTPUT / f"{name}.txt"

    def has_begun(self, name: str) -> bool:
        """Whether a run has a folder to resume."""
        return os.path.isfile(self.folder(name) / "config.json")

    def config(self, name: str) -> Config:
        """The settings of a run, with the new limits."""
        limits = {"steps": self.steps, "episodes": self.episodes}
        return self.runs[name].replace(**{limit: value for limit, value in limits.items() if value is not None})

    def _is_done(self, name: str) -> bool:
        if not os.path.lexists(self.folder(name) / "result.json"):
            return False
        if self.steps is None and self.episodes is None:
            return True
        config, result = self.config(name), SavedRun(self.folder(name)).result
        steps, episodes = (finite_number(result.get(count)) or 0 for count in ("steps", "episodes"))
        return steps >= config.steps or 0 < config.episodes <= episodes

    @property
    def call(self) -> str:
        """The call that goes on with what is unfinished."""
        return f"tq.resume_many({python_arguments(self.path, self.needs)})"

    def how_to_resume(self) -> str:
        """The command, if there is one, and the call that go on with what is unfinished."""
        return how_to_go_on(self.path, self.needs, {config.env for config in self.runs.values()}, self.call)

    def save(self) -> None:
        """Write runs.json."""
        content = {
            "needs": list(self.needs),
            "init_from": None if self.init_from is None else str(self.init_from),
            "steps": self.steps,
            "episodes": self.episodes,
            "runs": {name: config.to_dict() for name, config in self.runs.items()},
        }
        directory.write_json(self.path / FILE, content)

    def _remove_if_new(self) -> None:
        """Remove the folder if no run has begun. Its lock must be held."""
        if not self.begun:
            for file in (self.path / FILE, self.path / "lock"):
                file.unlink(missing_ok=True)
            for folder in (self.path / OUTPUT, self.path):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def how_to_go_on(path: Path, needs: tuple[str, ...], envs: set[str], call: str) -> str:
    """The command, if there is one, and the call that go on with a folder of runs on these environments."""
    if not needs:
        option = ""
    elif needs == ("make_env",) and len(envs) == 1 and ":" in (name := next(iter(envs))):
        option = f" --env {name}"
    else:
        return f"{call} in Python"
    return f"`tensorq resume {shlex.quote(str(path))}{option}`, or {call} in Python,"


def first_free(parent: Path, text: str) -> Path:
    """Make the first folder named by this text, or by it with -2, -3 ..., that does not exist."""
    return next(path for path in directory.numbered(parent, text) if path in directory.make_folders(path))


def new_folder(path: Path) -> Path:
    """Make this folder; raises TensorqError if it is there and not empty."""
    if path in directory.make_folders(path):
        return path
    if not path.is_dir():
        raise TensorqError(f"{path} is a file: choose another run_dir (--run-dir).")
    if is_plan(path):
        raise TensorqError(
            f"{path} has several runs already: `tensorq resume {path}` goes on with them; or give another run_dir "
            "(--run-dir)."
        )
    if found := [each.name for each in path.iterdir() if each.name not in ("lock", OUTPUT) and not is_leftover(each)]:
        raise TensorqError(f"{path} is not empty (it contains {found[0]!r}): choose a new run_dir (--run-dir).")
    return path


@contextlib.contextmanager
def created(plan: Plan) -> Iterator[Plan]:
    """Lock a plan's new folder until the end of the block, and write runs.json.

    The folder is removed at the end if no run has begun.
    """
    with locked(plan.path):
        if is_plan(plan.path):
            raise TensorqError(f"{plan.path} was taken by another process: choose another run_dir (--run-dir).")
        plan.save()
        try:
            yield plan
        finally:
            plan._remove_if_new()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from training the runs of a folder."""
    folder = LockableFolder(path)
    folder.lock()
    try:
        yield
    finally:
        folder.unlock()


def is_plan(path: Path) -> bool:
    """Whether a folder is that of several runs."""
    return os.path.isfile(path / FILE)


def read(path: Path) -> Plan:
    """Read runs.json; raises TensorqError if it is missing or damaged."""
    if not is_plan(path):
        raise TensorqError(
            f"{path} has no {FILE}, as `tensorq train --seeds` makes it; tq.resume goes on with one run."
        )
    data = directory.read_json(path / FILE)
    runs, needs, init_from = data.get("runs"), data.get("needs"), data.get("init_from")
    limits = [data.get(name) for name in ("steps", "episodes")]
    sound = all(isinstance(each, (int, type(None))) for each in limits) and isinstance(init_from, (str, type(None)))
    if not sound or not isinstance(needs, list) or not isinstance(runs, dict) or not all(map(_is_name, runs)):
        raise TensorqError(f"{path / FILE} is damaged; {PUT_BACK}")
    return Plan(
        path,
        {name: Config.from_saved(values) for name, values in runs.items()},
        tuple(map(str, needs)),
        None if init_from is None else Path(init_from),
        *limits,
    )


def _is_name(name: Any) -> bool:
    """Whether this is the name of a folder in a folder, and of none outside it."""
    return isinstance(name, str) and bool(re.fullmatch(r"[A-Za-z0-9_=.,-]+", name)) and not name.startswith(".")


def read_seeds(text: str) -> list[int]:
    """Seeds from a text such as 0-29 or 0,3,7-9."""
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*([0-9]+)(?:-([0-9]+))?\s*", part)
        if not found or int(found[2] or found[1]) < int(found[1]):
            raise TensorqError(f"seeds: received {text!r}, expected numbers and ranges, such as 0-29 or 0,3,7-9.")
        first, last = int(found[1]), int(found[2] or found[1])
        if last - first >= MOST_RUNS:
            raise TensorqError(f"seeds: received {text!r}, expected at most {MOST_RUNS:,} seeds.")
        seeds += range(first, last + 1)
    return check_seeds(seeds)


def check_seeds(seeds: Any) -> list[int]:
    """The seeds; raises TensorqError unless they are whole numbers, at least one, and each once."""
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise TensorqError(f"seeds: received {seeds!r}, expected whole numbers, such as range(30).")
    found = list(itertools.islice(seeds, MOST_RUNS + 1))
    if not found or len(found) > MOST_RUNS:
        received = "none" if not found else f"more than {MOST_RUNS:,}"
        raise TensorqError(f"seeds: received {received}, expected 1 to {MOST_RUNS:,} whole numbers.")
    if not all(isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) for seed in found):
        raise TensorqError(f"seeds: received {found!r}, expected whole numbers, such as range(30).")
    if len({*found}) < len(found):
        twice = next(seed for place, seed in enumerate(found) if seed in found[:place])
        raise TensorqError(f"seeds: received {twice} twice, expected each seed once.")
    return [int(seed) for seed in found]


def seeds_text(seeds: Sequence[int]) -> str:
    """A text that read_seeds reads: 0-29 for range(30)."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], seed]
        else:
            parts.append([seed])
    return ",".join("-".join(map(str, part)) for part in parts)
