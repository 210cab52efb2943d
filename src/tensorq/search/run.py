"""Search settings, go on with a search, and look at its trials."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from tensorq import api
from tensorq.api import Run
from tensorq.config import DEFAULT_PRESET, check_names
from tensorq.envs.calls import EnvironmentMaker
from tensorq.errors import TensorqError
from tensorq.evaluation.compare import METRIC_NAMES, Metric
from tensorq.many import plan as plans
from tensorq.many.machines import On, check_machines, machines
from tensorq.many.plan import is_plan
from tensorq.many.pool import Pool, to_bytes
from tensorq.many.progress import ManyProgress
from tensorq.many.run import Runs, RunsFolder, check_jobs, jobs_at_once, resume_many, train_many
from tensorq.many.worker import Functions, Task
from tensorq.networks.build import FeatureBuilder, NetworkBuilder
from tensorq.observers.progress import Mode
from tensorq.paths import absolute, shown
from tensorq.process import Signals
from tensorq.runs.checkpoint import write_atomically
from tensorq.runs.history import short
from tensorq.runs.lock import LockableFolder
from tensorq.runs.saved import needed_functions, network_kind, require_functions
from tensorq.search.plan import TUNING_SEED, SearchPlan, as_preset, is_search, read
from tensorq.search.space import SpaceGiven, checked_space, usual_space
from tensorq.search.study import Study, import_optuna
from tensorq.search.trials import Trials, counted, finished_return, free, mean
from tensorq.show.numbers import format_return
from tensorq.stopped import StoppedRuns


@dataclass(frozen=True)
class Search(RunsFolder):
    """A folder of a search."""

    @property
    def trials(self) -> list[dict[str, Any]]:
        """The trials that have ended: number, state, value, returns by seed, settings, failure."""
        return Study(read(self.path)).ended()

    @property
    def preset(self) -> Path:
        """The preset of the best settings, best.toml, which `preset` (`--preset`) takes."""
        return read(self.path).best

    @property
    def fresh(self) -> Runs:
        """The runs with fresh seeds: of the preset that the search began with, and of the best settings."""
        return Runs(read(self.path).fresh, self.make_env, self.network)

    def __repr__(self) -> str:
        return f"<Search {str(self.path)!r}: {len(self.trials)} of {read(self.path).trials} trials>"


def tune(
    env: str | EnvironmentMaker,
    *,
    trials: int = 100,
    space: SpaceGiven | None = None,
    only: bool = False,
    metric: Metric = "average",
    seeds_per_trial: int = 3,
    finalists: int = 5,
    fresh_seeds: int = 10,
    sampler_seed: int = 0,
    jobs: int | None = None,
    on: On | None = None,
    address: str | None = None,
    preset: str = DEFAULT_PRESET,
    network: NetworkBuilder | None = None,
    features: FeatureBuilder | None = None,
    run_dir: str | Path | None = None,
    init_from: Run | str | Path | None = None,
    progress: Mode = "auto",
    **settings: Any,
) -> Search:
    """Search for the settings with the highest greedy return, beginning with those of a preset.

    A trial is trained with seeds 1000, 1001 ...; one that does worse than the median after some of them is given up.
    The best trials are trained with more of these seeds. The best of them becomes a preset, best.toml, and is compared
    with the preset of the beginning on seeds 0, 1 ..., which no choice has seen.

    Args:
        trials: how many settings are tried; the first are those of the preset.
        space: tq.Range or a list of values, by the name of a setting, in addition to the usual space or in its place.
        only: leave out the usual space.
        metric: which greedy return of a run counts: of the kept best agent ("best"), the last ("final"), or the mean of
            all evaluations, the area under the curve ("average").
        seeds_per_trial, finalists, fresh_seeds: seeds of a trial; trials that get twice as many more; seeds at the end.
        sampler_seed: the seed of the sampler (TPE: Bergstra et al. 2011). With one job, the search can be repeated.
        jobs, on, address, preset, network, features, run_dir, init_from, progress: as in tq.train_many.
        settings: what all trials have, which is not varied.

    Raises:
        TensorqError: for bad arguments, without the extra `tune`, or if the first trials all fail.
        StoppedRuns: after Ctrl-C or SIGTERM, a KeyboardInterrupt; `resume_tune` goes on from there.
    """
    import_optuna()
    check_jobs(jobs)
    check_machines(on, address)
    if metric not in get_args(Metric):
        raise TensorqError(f"metric: received {metric!r}, expected one of {', '.join(get_args(Metric))}.")
    counts = {"trials": (trials, 1), "seeds_per_trial": (seeds_per_trial, 1), "finalists": (finalists, 1)}
    counts |= {"fresh_seeds": (fresh_seeds, 0), "sampler_seed": (sampler_seed, 0)}
    for name, (count, least) in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or not least <= count <= 2**31:
            raise TensorqError(f"{name}: received {count!r}, expected a whole number of at least {least}.")
    if max(fresh_seeds, seeds_per_trial) > TUNING_SEED:
        raise TensorqError(f"seeds_per_trial and fresh_seeds: expected at most {TUNING_SEED:,}.")
    if "seed" in settings:
        raise TensorqError(f"seed: received {settings['seed']!r}: a search has seeds of its own, 1000, 1001 ...")
    asked = api.understood(env, preset, network, features, run_dir, init_from, (), settings)
    given = checked_space(space or {})
    check_names(given, known=vars(asked.config))
    if both := given.keys() & settings.keys():
        raise TensorqError(f"{min(both)}: received a value and a space: leave one out.")
    usual = {} if only else usual_space(asked.config)
    wanted = {name: each for name, each in {**usual, **given}.items() if name not in settings}
    if not wanted:
        raise TensorqError("nothing to search: give a space (--space), such as learning_rate=1e-4:1e-2:log.")
    if asked.run_dir is None:
        folder = plans.first_free(absolute("runs"), f"{asked.config.environment_name}-{asked.config.preset}-tune")
    elif is_search(asked.run_dir):
        raise TensorqError(f"{asked.run_dir} has a search already: `tensorq resume {asked.run_dir}` goes on with it.")
    else:
        folder = plans.new_folder(asked.run_dir)
    plan = SearchPlan(
        path=folder,
        env=asked.config.env,
        preset=str(absolute(preset)) if preset.endswith(".toml") else preset,
        settings={name: getattr(asked.config, name) for name in settings},
        space=wanted,
        metric=metric,
        trials=trials,
        seeds_per_trial=seeds_per_trial,
        finalists=finalists,
        fresh_seeds=fresh_seeds,
        sampler_seed=sampler_seed,
        needs=needed_functions(asked.config, asked.make is not None, network_kind(asked.config, asked.network)),
        init_from=asked.init_from,
    )
    functions = Functions(asked.make, asked.network)
    packed = to_bytes(functions, "a function")
    plan.save()
    Study(plan).propose({name: getattr(asked.config, name) for name in wanted})
    try:
        _carry_out(plan, functions, packed, jobs, progress, on, address)
    finally:
        plan.remove_if_new()
    return Search(folder, asked.make_env, asked.network)


def resume_tune(
    path: Search | str | Path,
    *,
    trials: int | None = None,
    jobs: int | None = None,
    on: On | None = None,
    address: str | None = None,
    make_env: EnvironmentMaker | str | None = None,
    network: NetworkBuilder | None = None,
    features: FeatureBuilder | None = None,
    progress: Mode = "auto",
) -> Search:
    """Go on with a search, also beside other processes that work at it.

    Args:
        path: the search, or its folder.
        trials: a new number of trials in all.
        jobs, on, address, make_env, network, features, progress: as in tq.resume_many.
    """
    if isinstance(path, Search):
        make_env = path.make_env if make_env is None else make_env
        network = path.network if network is None and features is None else network
        path = path.path
    folder = Run(path).path  # type: ignore[arg-type]  # it takes a text, too
    import_optuna()
    check_jobs(jobs)
    check_machines(on, address)
    built = api.checked_functions(network, features, (), make_env)
    plan = read(folder)
    require_functions(plan.path, plan.needs, make_env, built, plan.call)
    if trials is not None:
        if isinstance(trials, bool) or not isinstance(trials, int) or trials < plan.trials:
            raise TensorqError(f"trials (--trials): received {trials!r}, expected at least the {plan.trials} so far.")
        plan = dataclasses.replace(plan, trials=trials)
        plan.save()
    functions = Functions(make_env, built)
    _carry_out(plan, functions, to_bytes(functions, "a function"), jobs, progress, on, address)
    return Search(folder, make_env, built)


def _carry_out(
    plan: SearchPlan,
    functions: Functions,
    packed: bytes,
    jobs: int | None,
    progress: Mode,
    on: On | None,
    address: str | None,
) -> None:
    """Work at a search until it has its trials; then choose, draw and compare, unless others still work at some."""
    from tensorq.show.search import draw_search

    study = Study(plan)
    if len(study.ended()) >= plan.trials and plan.chosen is not None and _is_compared(plan):
        raise TensorqError(f"{plan.path}: its {plan.trials} trials have ended: give more of them (--trials) to go on.")
    study.start_sampling()

    def summary(counts: Counter[str]) -> str:
        ended = study.ended()
        best = max((each["value"] for each in ended if each["state"] == "finished"), default=None)
        text = "" if best is None else f", the best has {format_return(best)}"
        return f"{len(ended)} of {plan.trials} trials{text}, {counted(counts['training'], 'run')} in training"

    first = plan.config({}, plan.tuning_seeds[0])
    with contextlib.ExitStack() as closing:
        show = closing.enter_context(contextlib.closing(ManyProgress(progress, summary, ends=False)))
        where = closing.enter_context(machines(on, address))  # Ray has a handler of signals, too: ours comes after it
        signals = closing.enter_context(Signals())
        at_once = jobs_at_once(jobs, [first], where)
        pool = closing.enter_context(Pool(at_once, signals, where.worker))
        work = closing.enter_context(
            contextlib.closing(Trials(plan, study, packed, at_once if where.share_memory else 1, show, signals))
        )
        seeds = counted(plan.seeds_per_trial, "seed")
        show.write(f"{counted(plan.trials, 'trial')} of {seeds} in {plan.path}, {counted(at_once, 'run')} at once")
        show.write(f"searched: {', '.join(plan.space)}; a trial's value: {METRIC_NAMES[plan.metric]}")
        if not study.ended() and not study.running():
            check = iter([("check", work.task(0, {}, plan.tuning_seeds[0], kind="check"))])
            checked = pool.carry_out(lambda: next(check, None)).get("check")
            if checked is not None and checked.how == "failed" and not signals():
                raise TensorqError(checked.text)
            if checked is not None and checked.how == "finished":
                work.memory_bytes = float(checked.text)
        pool.carry_out(work.next_task, work.told)
        while not signals.received and not work.failure and work.look_again():
            pool.carry_out(work.next_task, work.told)
        if work.failure:
            raise TensorqError(work.failure)
        if signals.received:
            begun = study.ended() or study.running()
            raise StoppedRuns(
                plan.path, f"{plan.how_to_resume()} continues" if begun else "no trial had begun", signals.received
            )
        if others := study.running():
            show.write(f"other processes work at {counted(others, 'trial')}; the last of them compares the best")
            return
        with _finishing(plan):
            best = _choose(plan, study, work, pool, show, signals)
            if signals.received:
                raise StoppedRuns(plan.path, f"{plan.how_to_resume()} continues", signals.received)
            plan = dataclasses.replace(read(plan.path), chosen=best["number"])
            write_atomically(plan.best, as_preset(plan, best["settings"]).encode())
            draw_search(study.ended(), best["number"], study.importances(), plan.metric, plan.picture)
            plan.save()
    if progress not in ("json", "quiet"):
        values = ", ".join(f"{name} {short(value)}" for name, value in best["settings"].items())
        print(f"the best is trial {best['number']}: {values}\n{shown(plan.best)}\n{shown(plan.picture)}")
    _compare_on_fresh_seeds(plan, functions, jobs, progress, on, address)
    if progress not in ("json", "quiet"):
        print(shown(f"next: tensorq train {shlex.quote(plan.env)} --preset {shlex.quote(str(plan.best))}"))


@contextlib.contextmanager
def _finishing(plan: SearchPlan) -> Any:
    """Keep other processes from choosing the best, too."""
    folder = LockableFolder(plan.path)
    folder.lock()
    try:
        yield
    finally:
        folder.unlock()


def _choose(
    plan: SearchPlan, study: Study, work: Trials, pool: Pool, show: ManyProgress, signals: Signals
) -> dict[str, Any]:
    """Train the best trials with more seeds, and return the best of them."""
    complete = [each for each in study.ended() if each["state"] == "finished"]
    if not complete:
        raise TensorqError(f"{plan.path}: no trial has ended without a failure: {study.ended()[-1]['failure']}")
    finalists = sorted(complete, key=lambda each: (-each["value"], each["number"]))[: plan.finalists]
    if len(finalists) == 1:
        return finalists[0]
    left = {
        f"trial{each['number']}-seed{seed}": (each, seed)
        for each in finalists
        for seed in plan.final_seeds
        if finished_return(plan, each["number"], seed) is None
    }
    waiting = iter(left)

    def next_task() -> tuple[str, Task] | None:
        name = next(waiting, None)
        if name is None:
            return None
        each, seed = left[name]
        show.begin(name, plan.config(each["settings"], seed))
        return name, work.task(each["number"], each["settings"], seed)

    if left:
        show.write(f"the {len(finalists)} best trials are trained with {2 * plan.seeds_per_trial} more seeds")

    def told(name: str, event: dict[str, Any]) -> None:
        show(name, event)
        if event["event"] == "ended" and event["how"] == "finished":
            each, seed = left[name]
            free(plan, each["number"], seed)
        elif event["event"] == "ended" and not signals.received:
            show.write(f"{name} failed, and counts as the worst seed of its trial: {event['text']}")

    pool.carry_out(next_task, told)
    means = {}
    for each in finalists:
        returns = [finished_return(plan, each["number"], seed) for seed in plan.final_seeds]
        known = [value for value in returns if value is not None]
        means[each["number"]] = mean(value if value is not None else min(known) for value in returns)
        if not signals.received:
            show.write(f"trial {each['number']}: {format_return(means[each['number']])} with {len(returns)} seeds")
    return max(finalists, key=lambda each: means[each["number"]])


def _compare_on_fresh_seeds(
    plan: SearchPlan, functions: Functions, jobs: int | None, progress: Mode, on: On | None, address: str | None
) -> None:
    """Train the best settings, and the preset that the search began with, with seeds that no choice has seen."""
    if _is_compared(plan):
        return
    if not is_plan(plan.fresh):
        train_many(
            functions.make_env or plan.env,
            seeds=range(plan.fresh_seeds),
            grid={"preset": [plan.preset, str(plan.best)]},
            jobs=jobs,
            on=on,
            address=address,
            network=functions.network,
            run_dir=plan.fresh,
            init_from=plan.init_from,
            progress=progress,
            **plan.settings,
        )
    else:
        resume_many(
            plan.fresh,
            jobs=jobs,
            on=on,
            address=address,
            make_env=functions.make_env,
            network=functions.network,
            progress=progress,
        )


def _is_compared(plan: SearchPlan) -> bool:
    """Whether there is nothing to train with fresh seeds."""
    return plan.fresh_seeds == 0 or (is_plan(plan.fresh) and not plans.read(plan.fresh).unfinished)
