"""The trials that this process works at: which run is trained next, and what an ended run says about its trial."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tensorq.errors import TensorqError
from tensorq.evaluation.compare import greedy_return
from tensorq.many.progress import ManyProgress
from tensorq.many.worker import Task
from tensorq.replay.settings import ReplaySettings
from tensorq.runs.directory import PUT_BACK
from tensorq.runs.freeing import free_replay
from tensorq.runs.history import read_history
from tensorq.runs.saved import SavedRun
from tensorq.search.plan import SearchPlan
from tensorq.search.study import Study, Trial
from tensorq.show.numbers import format_return

FAILURES_AT_FIRST = 3  # so many trials that fail before any other has ended end the search


class Trials:
    """Decides which run a worker trains next, and learns from those that have ended."""

    def __init__(
        self,
        plan: SearchPlan,
        study: Study,
        functions: bytes,
        at_once: int,
        show: ManyProgress,
        interrupted: Callable[[], bool],
    ) -> None:
        self.failure = ""
        self.memory_bytes = 0.0  # of a run, once it is known
        self._at_once, self._interrupted = at_once, interrupted
        self._plan, self._study, self._functions, self._show = plan, study, functions, show
        self._trials: list[Trial] = []
        self._runs: dict[str, tuple[Trial, int]] = {}
        self._enough = False
        self._failed = self._others = 0

    def task(self, number: int, values: Mapping[str, Any], seed: int, kind: str | None = None) -> Task:
        """A run of a trial, which is resumed if it has begun."""
        run_dir = self._plan.run_folder(number, seed)
        return Task(
            kind=kind or ("resume" if os.path.isfile(run_dir / "config.json") else "train"),
            run_dir=run_dir,
            config=self._plan.config(values, seed).to_dict(),
            functions=self._functions,
            output=(self._plan.path if kind else self._plan.trial_folder(number)) / f"seed{seed}.txt",
            init_from=self._plan.init_from,
            at_once=self._at_once,
            memory_bytes=self.memory_bytes,
        )

    def next_task(self) -> tuple[str, Task] | None:
        """A seed of a trial that has none in training; else of a new trial; else a further seed of any."""
        if self.failure:
            return None
        while True:
            trial = next((each for each in self._trials if each.waiting and not each.running), None)
            trial = trial or self._new_trial() or next((each for each in self._trials if each.waiting), None)
            if trial is None:
                return None
            seed = trial.waiting.pop(0)
            try:
                task = self.task(trial.number, trial.settings, seed)
            except TensorqError as error:  # settings that do not fit each other
                self._fail(trial, str(error))
                if self.failure:
                    return None
                continue
            trial.running += 1
            name = f"trial{trial.number}-seed{seed}"
            self._runs[name] = trial, seed
            self._show.begin(name, self._plan.config(trial.settings, seed))
            return name, task

    def _new_trial(self) -> Trial | None:
        while not self._enough:
            trial = self._study.begin()
            if trial is None:
                self._enough = True
                return None
            self._trials.append(trial)
            for seed in self._plan.tuning_seeds:
                value = finished_return(self._plan, trial.number, seed)
                if value is not None and self._is_of_another(trial, seed):
                    raise TensorqError(f"{self._plan.journal} does not fit the runs beside it; {PUT_BACK}")
                if value is None:
                    trial.waiting.append(seed)
                else:
                    trial.returns[seed] = value
            if trial.waiting:
                return trial
            self._end(trial)  # all of its runs had ended, and then its process
        return None

    def _is_of_another(self, trial: Trial, seed: int) -> bool:
        """Whether a run has other settings than its trial, as with the journal of another search."""
        return SavedRun(self._plan.run_folder(trial.number, seed)).config != self._plan.config(trial.settings, seed)

    def look_again(self) -> bool:
        """Whether another process has left a trial in the meantime, by ending."""
        self._enough = False
        return self._new_trial() is not None

    def told(self, name: str, event: dict[str, Any]) -> None:
        """Take an event of a run."""
        self._show(name, event)
        if event["event"] != "ended":
            return
        trial, seed = self._runs.pop(name)
        trial.running -= 1
        if event["how"] == "finished":
            free(self._plan, trial.number, seed)
        # It was given up; or all are stopped, of which a process that has just begun dies.
        if trial not in self._trials or event["how"] != "finished" and self._interrupted():
            return
        value = finished_return(self._plan, trial.number, seed) if event["how"] == "finished" else None
        if event["how"] == "failed":
            self._fail(trial, event["text"])
        elif value is None:
            self._fail(trial, "it has no greedy evaluation")
        else:
            trial.returns[seed] = value
            hopeless = self._study.report(trial)
            if hopeless or not (trial.waiting or trial.running):
                self._end(trial, pruned=hopeless and bool(trial.waiting or trial.running))

    def _end(self, trial: Trial, pruned: bool = False) -> None:
        self._trials.remove(trial)
        self._study.finish(trial, pruned=pruned)
        self._others += 1
        how = f", given up after {counted(len(trial.returns), 'seed')}" if pruned else ""
        self._show.write(f"trial {trial.number}: {format_return(mean(trial.returns.values()))}{how}")

    def _fail(self, trial: Trial, text: str) -> None:
        self._trials.remove(trial)
        self._study.finish(trial, failure=text)
        self._failed += 1
        self._show.write(f"trial {trial.number} failed: {text}")
        if self._failed >= FAILURES_AT_FIRST and not self._others:
            self.failure = f"the first {self._failed} trials failed, the last with: {text}"

    def close(self) -> None:
        """Leave the trials that have not ended to others."""
        for trial in self._trials:
            trial.folder.unlock()


def finished_return(plan: SearchPlan, number: int, seed: int) -> float | None:
    """What a finished run of a trial reached; None if it has not finished."""
    folder = plan.run_folder(number, seed)
    if not os.path.lexists(folder / "result.json"):
        return None
    return greedy_return(read_history(SavedRun(folder)), plan.metric)


def free(plan: SearchPlan, number: int, seed: int) -> None:
    """Delete the replay of a finished run: a search would fill the disk with replays."""
    run = SavedRun(plan.run_folder(number, seed))
    if run.config.find(ReplaySettings) is not None:
        free_replay(run)


def mean(values: Iterable[float]) -> float:
    """The mean of at least one number."""
    found = [*values]
    return math.fsum(found) / len(found)


def counted(count: int, noun: str) -> str:
    """A number of things in words: 2 trials."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
