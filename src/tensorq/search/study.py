"""The trials of a search, kept by Optuna in a journal, which several processes may write at once.

A trial is a choice of settings, trained with a few seeds. The process that works at one holds the lock of its folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import filelock

from tensorq.errors import TensorqError
from tensorq.extras import extra_command
from tensorq.runs.directory import PUT_BACK
from tensorq.runs.lock import LockableFolder
from tensorq.search.plan import SearchPlan
from tensorq.search.space import within
from tensorq.settings import Range, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

NAME = "tensorq"
_AS_GIVEN = "as_given"  # of the trial whose settings are those of the preset
# The median of fewer trials says little.
TRIALS_BEFORE_PRUNING = 8


@dataclass
class Trial:
    """A trial that this process works at.

    Args:
        number: its number in the search, from 0.
        folder: where its runs are.
        settings: the values that were chosen.
        returns: what each seed that is finished reached.
        waiting: the seeds that are to be trained.
        running: the number of its runs that train now.
    """

    number: int
    folder: LockableFolder
    settings: dict[str, Any]
    returns: dict[int, float] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    running: int = 0


class Study:
    """The trials of a search's folder."""

    def __init__(self, plan: SearchPlan) -> None:
        """Open the journal, or make it."""
        optuna = import_optuna()
        self._plan, self._space = plan, plan.space
        self._mutex = filelock.FileLock(plan.mutex)
        self._states = optuna.trial.TrialState
        self._distributions = {name: _distribution(each) for name, each in plan.space.items()}
        try:
            with self._mutex:
                lock = optuna.storages.journal.JournalFileOpenLock(str(plan.journal))
                backend = optuna.storages.journal.JournalFileBackend(str(plan.journal), lock_obj=lock)
                self._storage = optuna.storages.JournalStorage(backend)
                self._study = optuna.create_study(
                    study_name=NAME,
                    storage=self._storage,
                    load_if_exists=True,
                    direction="maximize",
                    pruner=optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING),
                )
        except (ValueError, KeyError, TypeError, OSError) as error:  # a line that was cut off, or is none
            raise TensorqError(f"{plan.journal} is damaged: {error}; {PUT_BACK}") from error

    def start_sampling(self) -> None:
        """Seed the sampler. It must not repeat the numbers that it drew before, nor those of a process beside it."""
        import optuna

        with self._mutex:
            starts = int(self._study.user_attrs.get("starts", 0))
            self._study.set_user_attr("starts", starts + 1)
        self._study.sampler = optuna.samplers.TPESampler(seed=self._plan.sampler_seed + 1_000_003 * starts)

    def propose(self, settings: Mapping[str, Any]) -> None:
        """Let the next new trial have these settings, as far as they are in the space."""
        known = {name: value for name, value in settings.items() if within(value, self._space[name])}
        self._study.enqueue_trial({name: _as_choice(value) for name, value in known.items()}, {_AS_GIVEN: True})

    def begin(self) -> Trial | None:
        """A trial to work at: one that a process left, or else a new one; None if there are enough."""
        with self._mutex:
            trials = self._study.get_trials(deepcopy=False)
            for left in trials:
                if left.state == self._states.RUNNING and (folder := self._locked(left.number)):
                    return Trial(left.number, folder, self._settings(left))
            if sum(each.state != self._states.WAITING for each in trials) >= self._plan.trials:
                return None
            asked = self._study.ask(self._distributions)
            folder = self._locked(asked.number)
            if folder is None:
                raise TensorqError(
                    f"{self._plan.trial_folder(asked.number)} is in use, though trial {asked.number} is new."
                )
            return Trial(asked.number, folder, self._settings(asked))

    def report(self, trial: Trial) -> bool:
        """Report the mean of a trial's seeds so far. Whether it is to be given up, because others do better."""
        live = self._live(trial)
        live.report(_mean(trial.returns), len(trial.returns) - 1)
        return live.should_prune()

    def finish(self, trial: Trial, pruned: bool = False, failure: str | None = None) -> None:
        """End a trial: it is complete, or was given up, or failed."""
        live = self._live(trial)
        if failure is not None:
            live.set_user_attr("failure", failure)
        else:
            live.set_user_attr("returns", {str(seed): value for seed, value in trial.returns.items()})
        state = self._states.FAIL if failure is not None else self._states.PRUNED if pruned else None
        with self._mutex:  # another process must not take it for one that was left
            self._study.tell(trial.number, _mean(trial.returns) if state is None else None, state)
            trial.folder.unlock()

    def ended(self) -> list[dict[str, Any]]:
        """The trials that have ended, in the order of their numbers, as plain dicts."""
        states = {
            self._states.COMPLETE: "finished",
            self._states.PRUNED: "pruned",
            self._states.FAIL: "failed",
        }
        return [
            {
                "number": each.number,
                "state": states[each.state],
                "value": each.value,  # of a pruned trial, the mean of its seeds so far
                "returns": {int(seed): value for seed, value in each.user_attrs.get("returns", {}).items()},
                "settings": self._settings(each),
                "failure": each.user_attrs.get("failure"),
            }
            for each in self._study.get_trials(deepcopy=False)
            if each.state in states
        ]

    def running(self) -> int:
        """How many trials have begun and not ended."""
        return sum(each.state == self._states.RUNNING for each in self._study.get_trials(deepcopy=False))

    def importances(self) -> dict[str, float]:
        """How much each setting decides whether a trial is among the best tenth, by PED-ANOVA (Watanabe et al. 2023).

        They add up to 1. Empty if there are too few trials to say.
        """
        import optuna

        done = self._study.get_trials(deepcopy=False, states=(self._states.COMPLETE,))
        if len(done) < 10 or len({each.value for each in done}) == 1:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return dict(optuna.importance.get_param_importances(self._study, evaluator=evaluator))

    def _locked(self, number: int) -> LockableFolder | None:
        """The folder of a trial, locked; None if another process works at it."""
        path = self._plan.trial_folder(number)
        path.mkdir(parents=True, exist_ok=True)
        folder = LockableFolder(path)
        if folder.is_locked():
            return None
        folder.lock()
        return folder

    def _live(self, trial: Trial) -> Any:
        import optuna

        study = self._storage.get_study_id_from_name(NAME)
        return optuna.trial.Trial(
            self._study, self._storage.get_trial_id_from_study_id_trial_number(study, trial.number)
        )

    def _settings(self, trial: FrozenTrial | Any) -> dict[str, Any]:
        """The settings of a trial, in the order of the space. Numbers have three digits, which are easy to read."""
        choices = {
            name: {_as_choice(value): value for value in each}
            for name, each in self._space.items()
            if not isinstance(each, Range)
        }
        found: dict[str, Any] = {}
        for name in self._space:
            if name in trial.params:
                value = trial.params[name]
                given, space = trial.user_attrs.get(_AS_GIVEN), self._space[name]
                if name in choices:
                    value = choices[name][value]
                elif isinstance(space, Range) and isinstance(value, float) and not given:
                    value = _rounded(value, space)
                found[name] = value
        return found


def import_optuna() -> Any:
    """Optuna, which says nothing but errors; raises TensorqError if it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise TensorqError(f"a search needs the tune extra: {extra_command('tune')}") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _distribution(space: Space) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(space, Range):
        return CategoricalDistribution([_as_choice(each) for each in space])
    if isinstance(space.low, int):
        return IntDistribution(space.low, int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


def _rounded(value: float, space: Range) -> float:
    """A number with three digits, or on a linear range with a thousandth of it; within the range."""
    digits = 2 - math.floor(math.log10(value)) if space.log else 3 - math.floor(math.log10(space.high - space.low))
    return min(max(round(value, digits), space.low), space.high)


def _as_choice(value: Any) -> Any:
    """A value as Optuna takes it; it has no lists."""
    return json.dumps(value) if isinstance(value, (list, tuple)) else value


def _mean(returns: Mapping[int, float]) -> float:
    return sum(returns.values()) / len(returns)
