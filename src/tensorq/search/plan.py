"""The folder of a search, and its file search.json, which says what is searched. No TensorFlow here."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorq.config import Config
from tensorq.errors import TensorqError
from tensorq.evaluation.compare import Metric
from tensorq.many.plan import how_to_go_on
from tensorq.presets import resolve
from tensorq.runs import directory
from tensorq.runs.directory import PUT_BACK, python_arguments
from tensorq.search.space import from_json, to_json
from tensorq.settings import Space

FILE = "search.json"
TUNING_SEED = 1_000  # the first; fresh seeds begin at 0


@dataclass(frozen=True)
class SearchPlan:
    """What a search tries, and how.

    Args:
        path: its folder.
        env, preset, settings: what every trial has, as in tq.train; `preset` may be the path of a file.
        space: what trials vary.
        metric: which greedy return of a run counts, as in compare.
        trials: how many there shall be.
        seeds_per_trial: with how many tuning seeds a trial is trained.
        finalists: how many of the best trials are trained with more tuning seeds.
        fresh_seeds: with how many fresh seeds the best settings are trained at the end.
        sampler_seed: the seed of the sampler.
        needs, init_from: as in Plan.
        chosen: the number of the trial whose settings are the best, once it is known.
    """

    path: Path
    env: str
    preset: str
    settings: Mapping[str, Any]
    space: Mapping[str, Space]
    metric: Metric
    trials: int
    seeds_per_trial: int
    finalists: int
    fresh_seeds: int
    sampler_seed: int
    needs: tuple[str, ...] = ()
    init_from: Path | None = None
    chosen: int | None = None

    @property
    def journal(self) -> Path:
        """The file with all trials."""
        return self.path / "study.log"

    @property
    def mutex(self) -> Path:
        """The file that one process locks while it begins a trial."""
        return self.path / "study.lock"

    @property
    def best(self) -> Path:
        """The preset of the best settings."""
        return self.path / "best.toml"

    @property
    def fresh(self) -> Path:
        """The folder of the runs with fresh seeds, which has the number of the trial that was chosen.

        Raises TensorqError if none is yet.
        """
        if self.chosen is None:
            raise TensorqError(f"{self.path}: no trial has been chosen yet: {self.how_to_resume()} goes on.")
        return self.path / f"fresh-trial{self.chosen}"

    @property
    def picture(self) -> Path:
        """The picture of the trials and of what mattered."""
        return self.path / "tune.png"

    @property
    def tuning_seeds(self) -> list[int]:
        """The seeds of every trial."""
        return [*range(TUNING_SEED, TUNING_SEED + self.seeds_per_trial)]

    @property
    def final_seeds(self) -> list[int]:
        """The seeds of the finalists: those of every trial, and twice as many more."""
        return [*range(TUNING_SEED, TUNING_SEED + 3 * self.seeds_per_trial)]

    def trial_folder(self, number: int) -> Path:
        """The folder of a trial's runs."""
        return self.path / "trials" / f"{number:04d}"

    def run_folder(self, number: int, seed: int) -> Path:
        """The folder of a trial's run with this seed."""
        return self.trial_folder(number) / f"seed{seed}"

    def config(self, values: Mapping[str, Any], seed: int) -> Config:
        """The settings of a run of a trial with these values; raises TensorqError if they do not fit each other."""
        return resolve(self.env, self.preset, **{**self.settings, **values, "seed": seed})

    @property
    def call(self) -> str:
        """The call that goes on."""
        return f"tq.resume_tune({python_arguments(self.path, self.needs)})"

    def how_to_resume(self) -> str:
        """The command, if there is one, and the call that go on."""
        return how_to_go_on(self.path, self.needs, {self.env}, self.call)

    def save(self) -> None:
        """Write search.json."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "path"}
        content |= {
            "space": to_json(self.space),
            "init_from": None if self.init_from is None else str(self.init_from),
        }
        directory.write_json(self.path / FILE, content)

    def remove_if_new(self) -> None:
        """Remove the folder if no trial has begun."""
        if not (self.path / "trials").exists():
            for file in (self.path / FILE, self.journal, self.mutex):
                file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.path.rmdir()


def is_search(path: Path) -> bool:
    """Whether a folder is that of a search."""
    return os.path.isfile(path / FILE)


def read(path: Path) -> SearchPlan:
    """Read search.json; raises TensorqError if it is missing or damaged."""
    if not is_search(path):
        raise TensorqError(f"{path} has no {FILE}, as `tensorq tune` makes it.")
    data = directory.read_json(path / FILE)
    try:
        init_from = data["init_from"]
        counts = [data[name] for name in ("trials", "seeds_per_trial", "finalists", "fresh_seeds", "sampler_seed")]
        if not all(type(each) is int for each in counts) or not isinstance(data["settings"], dict):
            raise TypeError
        return SearchPlan(
            **{
                **data,
                "path": path,
                "space": from_json(data["space"]),
                "needs": tuple(data["needs"]),
                "init_from": None if init_from is None else Path(init_from),
            }
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise TensorqError(f"{path / FILE} is damaged; {PUT_BACK}") from error


def as_preset(plan: SearchPlan, values: Mapping[str, Any]) -> str:
    """A preset file of these values, as TOML. Keywords of the environment are no part of a preset."""
    base = str(Path(plan.preset).resolve()) if plan.preset.endswith(".toml") else plan.preset
    lines = {"about": f"Found by `tensorq tune {plan.env}`: trial {plan.chosen}", "extends": base}
    content = {**lines, **plan.settings, **values}
    # A number, a text, true and false, and lists of them are written in TOML as in JSON.
    return "".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in content.items()
        if name != "env_args" and value is not None  # which TOML cannot say; it is the default of what may be None
    )
