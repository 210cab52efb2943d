"""Train several runs, go on with them, and compare them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tensorq import api
from tensorq.api import Run
from tensorq.config import DEFAULT_PRESET, Config
from tensorq.envs.calls import EnvironmentMaker
from tensorq.errors import TensorqError
from tensorq.evaluation.compare import Metric, compare
from tensorq.events import Observer
from tensorq.many import plan as plans
from tensorq.many.grid import Grid, combinations, folder_name
from tensorq.many.machines import Machines, On, check_machines, machines
from tensorq.many.plan import Plan
from tensorq.many.pool import Pool, to_bytes
from tensorq.many.progress import ManyProgress
from tensorq.many.worker import Functions, Task
from tensorq.networks.build import FeatureBuilder, NetworkBuilder
from tensorq.observers.progress import Mode
from tensorq.paths import absolute, shown
from tensorq.process import Signals
from tensorq.runs.saved import needed_functions, network_kind, require_functions
from tensorq.stopped import StoppedRuns


@dataclass(frozen=True)
class RunsFolder:
    """A folder with several runs in it, and the functions that each of them was started with.

    Args:
        path: the folder.
        make_env, network: as in Run; every run has them.
    """

    path: Path
    make_env: EnvironmentMaker | str | None = None
    network: NetworkBuilder | None = None

    def __post_init__(self) -> None:
        """Refuse a value that is not a path."""
        object.__setattr__(self, "path", Run(self.path).path)


@dataclass(frozen=True)
class Runs(RunsFolder):
    """A folder of several runs."""

    def __iter__(self) -> Iterator[Run]:
        """Each run, in the order of the plan; one that has not begun is left out."""
        return (Run(folder, self.make_env, self.network) for folder in plans.read(self.path).begun)

    def compare(self, metric: Metric = "best") -> list[dict[str, Any]]:
        """The rows of tensorq.evaluation.compare.compare for these runs: one for each setting."""
        return compare([run.path for run in self], metric)

    def __repr__(self) -> str:
        plan = plans.read(self.path)
        return f"<Runs {str(self.path)!r}: {len(plan.runs) - len(plan.unfinished)} of {len(plan.runs)} finished>"


def train_many(
    env: str | EnvironmentMaker,
    *,
    seeds: Iterable[int],
    grid: Grid | None = None,
    jobs: int | None = None,
    on: On | None = None,
    address: str | None = None,
    preset: str = DEFAULT_PRESET,
    network: NetworkBuilder | None = None,
    features: FeatureBuilder | None = None,
    run_dir: str | Path | None = None,
    init_from: Run | str | Path | None = None,
    progress: Mode = "auto",
    observers: Sequence[Observer] = (),
    **settings: Any,
) -> Runs:
    """Train one agent for each seed, in processes beside each other, and compare them.

    Args:
        seeds: the seeds, such as range(30).
        grid: lists of values of settings, such as {"learning_rate": [1e-3, 3e-4], "double": [True, False]}: each
            combination is trained with each seed.
        jobs: how many runs train at once; by default as many as have cores of their own (`threads` for each).
        on: "ray" trains the runs on the machines of a Ray cluster, the one at `address` ("auto" for a machine of the
            cluster, or HOST:PORT), or one that is started here; by default they train on this machine. Run folders on
            storage that the machines share are used there; others come back at each checkpoint.
        run_dir: the folder, new or empty, in which each run has a folder of its own; by default one below runs/.
        observers: each run gets a copy of them, in its own process.
        env: as in tq.train. Write an id that only importing a module registers as MODULE:ID.
        preset, network, features, init_from, progress, settings: as in tq.train. Functions go to the processes
            by cloudpickle.

    Raises:
        TensorqError: as tq.train does; and if runs failed, once the others have finished.
        StoppedRuns: after Ctrl-C or SIGTERM, a KeyboardInterrupt; `resume_many` goes on from there.
    """
    chosen = plans.check_seeds(seeds)
    check_jobs(jobs)
    check_machines(on, address)
    if "seed" in settings:
        raise TensorqError("seed: expected seeds= alone, which has every seed.")
    configs: dict[str, Config] = {}
    for values in combinations(grid or {}, plans.MOST_RUNS // len(chosen)):
        all_settings = {"preset": preset, **settings, **values}
        its_preset = all_settings.pop("preset")
        asked = api.understood(env, its_preset, network, features, run_dir, init_from, observers, all_settings)
        for seed in chosen:
            name = folder_name(values, seed) if grid else f"seed{seed}"
            while name in configs:  # two values may look alike, such as presets of two folders
                name += "-2"
            configs[name] = asked.config.replace(seed=seed)
    packed = to_bytes(Functions(asked.make, asked.network, tuple(observers)), "a function or an observer")
    needs = needed_functions(asked.config, asked.make is not None, network_kind(asked.config, asked.network))
    if asked.run_dir is None:
        sweep = "sweep-" if grid else ""
        name = f"{asked.config.environment_name}-{asked.config.preset}-{sweep}seeds{plans.seeds_text(chosen)}"
        folder = plans.first_free(absolute("runs"), name)
    else:
        folder = plans.new_folder(asked.run_dir)
    with plans.created(Plan(folder, configs, needs, asked.init_from)) as plan:
        _carry_out(plan, packed, jobs, progress, on, address)
    return Runs(plan.path, asked.make_env, asked.network)


def resume_many(
    path: Runs | str | Path,
    *,
    jobs: int | None = None,
    on: On | None = None,
    address: str | None = None,
    steps: int | None = None,
    episodes: int | None = None,
    make_env: EnvironmentMaker | str | None = None,
    network: NetworkBuilder | None = None,
    features: FeatureBuilder | None = None,
    progress: Mode = "auto",
    observers: Sequence[Observer] = (),
) -> Runs:
    """Go on with what is unfinished in a folder of several runs, exactly as if it had never stopped.

    Args:
        path: the runs, or their folder.
        steps, episodes: new limits of every run, as in tq.resume; runs that have reached them stay as they are.
        jobs, on, address: as in train_many.
        make_env, network, features, progress, observers: as in tq.resume.
    """
    if isinstance(path, Runs):
        make_env = path.make_env if make_env is None else make_env
        network = path.network if network is None and features is None else network
        path = path.path
    folder = Run(path).path  # type: ignore[arg-type]  # it takes a text, too
    check_jobs(jobs)
    check_machines(on, address)
    built = api.checked_functions(network, features, observers, make_env)
    plan = plans.read(folder)
    require_functions(plan.path, plan.needs, make_env, built, plan.call)
    packed = to_bytes(Functions(make_env, built, tuple(observers)), "a function or an observer")
    with plans.locked(plan.path):
        if steps is not None or episodes is not None:
            plan = dataclasses.replace(
                plan,
                steps=plan.steps if steps is None else steps,
                episodes=plan.episodes if episodes is None else episodes,
            )
            for name in plan.runs:
                plan.config(name)  # which checks them
            plan.save()
        if not plan.unfinished:
            limit = "" if plan.steps is None else f" above {plan.steps}"
            raise TensorqError(
                f"{plan.path}: its {len(plan.runs)} runs have reached their end: give steps (--steps){limit} to go on."
            )
        _carry_out(plan, packed, jobs, progress, on, address)
    return Runs(plan.path, make_env, built)


def _carry_out(
    plan: Plan, functions: bytes, jobs: int | None, progress: Mode, on: On | None, address: str | None
) -> None:
    """Train what is not finished, then write and show the comparison; raises as train_many does."""
    configs = {name: plan.config(name) for name in plan.unfinished}

    def task(name: str, kind: str = "", memory_bytes: float = 0.0) -> Task:
        return Task(
            kind=kind or ("resume" if plan.has_begun(name) else "train"),
            run_dir=plan.folder(name),
            config=configs[name].to_dict(),
            functions=functions,
            output=plan.output(name),
            init_from=plan.init_from,
            steps=plan.steps,
            episodes=plan.episodes,
            at_once=at_once if where.share_memory else 1,
            in_all=len(configs),
            memory_bytes=memory_bytes,
        )

    def following() -> tuple[str, Task] | None:
        if name := next(waiting, None):
            show.begin(name, configs[name])
            return name, task(name, memory_bytes=memory_bytes)
        return None

    def summary(counts: Counter[str]) -> str:
        finished = len(plan.runs) - len(configs) + counts["finished"]
        failed = f", {counts['failed']} failed" if counts["failed"] else ""
        left = f"{counts['training']} training, {len(configs) - counts.total()} waiting"
        return f"{finished} of {len(plan.runs)} finished, {left}{failed}"

    first, waiting = next(iter(configs)), iter(configs)
    (plan.path / plans.OUTPUT).mkdir(exist_ok=True)
    with contextlib.ExitStack() as closing:
        show = closing.enter_context(contextlib.closing(ManyProgress(progress, summary)))
        where = closing.enter_context(machines(on, address))  # Ray has a handler of signals, too: ours comes after it
        signals = closing.enter_context(Signals())
        at_once = min(jobs_at_once(jobs, list(configs.values()), where), len(configs))
        pool = closing.enter_context(Pool(at_once, signals, where.worker))
        counted = "1 run" if len(configs) == 1 else f"{len(configs)} runs, {at_once} at once,"
        show.write(f"{counted} in {plan.path}")
        checked = pool.carry_out(partial(next, iter([(first, task(first, "check"))]), None)).get(first)
        if checked is not None and checked.how == "failed" and not signals():
            raise TensorqError(checked.text)
        memory_bytes = float(checked.text or 0.0) if checked is not None and checked.how == "finished" else 0.0
        ended = pool.carry_out(following, show)
    with contextlib.suppress(OSError):
        (plan.path / plans.OUTPUT).rmdir()
    if signals.received and plan.unfinished:
        how = f"{plan.how_to_resume()} continues" if plan.begun else "no run had begun"
        raise StoppedRuns(plan.path, how, signals.received)
    failed = {name: ended[name] for name in configs if name in ended and ended[name].how != "finished"}
    _show_comparison(plan, progress)
    if failed:
        name, each = next(iter(failed.items()))
        some = f"{len(failed)} of {len(ended)} runs failed" if len(ended) > 1 else "the run failed"
        raise TensorqError(f"{some}, {name} with: {each.text} -- {plan.how_to_resume()} goes on with what is left.")


def jobs_at_once(jobs: int | None, configs: list[Config], where: Machines) -> int:
    """How many runs train at once."""
    if any(config.single_environment for config in configs):
        if jobs not in (None, 1):
            raise TensorqError(f"jobs (--jobs): received {jobs}, expected 1 with single_environment.")
        return 1
    usual = where.runs_at_once(max(config.threads for config in configs))
    return usual if jobs is None else jobs


def check_jobs(jobs: Any) -> None:
    """Refuse a number of jobs that is none; raises TensorqError."""
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
        raise TensorqError(f"jobs (--jobs): received {jobs!r}, expected a whole number of at least 1.")


def _show_comparison(plan: Plan, progress: Mode) -> None:
    """Draw compare.png, and print the table if it is for a person; nothing if no run has anything to compare."""
    try:
        rows = compare(plan.begun)
    except TensorqError:  # every run failed before its first row
        return
    if any(row["returns"] for row in rows):
        from tensorq.show.intervals import draw_intervals

        draw_intervals(rows, "best", plan.picture)
    if progress not in ("json", "quiet"):
        from tensorq.show.tables import print_rows

        print_rows(rows, "best")
        if plan.picture.exists():
            print(shown(plan.picture))
