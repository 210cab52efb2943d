"""One run: advance a loop from stop to stop, save what it learns, and send events to observers.

TensorFlow is imported when training begins, not with this module.
"""

from __future__ import annotations

import contextlib
import math
import shlex
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tensorq.agents.settings import ExplorationSettings, LearningRateSettings
from tensorq.config import Config
from tensorq.envs.calls import close_or_warn
from tensorq.envs.description import Environment
from tensorq.errors import TensorqError
from tensorq.events import RECENT_EPISODES, Audience, Evaluated, Finished, Message, Progress, Saved, Started
from tensorq.loops.build import build_loop, loop_kind
from tensorq.loops.loop import (
    ENVIRONMENT_FAILURES,
    KEPT,
    LEARNED_PARAMS,
    UNREPORTED,
    Episode,
    Interrupted,
    Loop,
    NotFinite,
    Report,
    require_fitting,
)
from tensorq.networks.build import NetworkFunction
from tensorq.networks.settings import NetworkSettings
from tensorq.process import Signals, tensorflow_running
from tensorq.runs import directory as run_directory
from tensorq.runs.checkpoint import Checkpoints, load
from tensorq.runs.directory import RunDirectory
from tensorq.runs.freeing import after_freeing, why_lost, with_empty_replay, without_old_replay
from tensorq.runs.record import RunRecord
from tensorq.runs.saved import SavedRun, needed_functions, network_kind
from tensorq.runs.tables import CsvTable, read_table
from tensorq.stopped import Stopped, how_to_resume

EPISODES = ("episode", "steps", "env_index", "length", "return")
BEST = "best."  # prefix of the tensors of the best agent in a checkpoint
Checkpoint = tuple[dict[str, np.ndarray], dict[str, Any], Path]


@dataclass(eq=False)
class Training:
    """One run from its folder's present state to its end."""

    config: Config
    environment: Environment
    network: NetworkFunction | None
    directory: RunDirectory
    audience: Audience
    began: float  # by time.perf_counter, when the command or call began
    on_restored: Callable[[int, int], None] = lambda steps, episodes: None  # called once these are known
    _: KW_ONLY
    env_id: str | None = None  # the id MODULE:ID that was given for the environment
    goes_on: bool = False  # the run had finished before, so the reason why it was stopped no longer counts
    has_initial_params: bool = False  # it begins with another run's, which are in its folder of checkpoints

    def __post_init__(self) -> None:
        """Prepare the run; the disk is not touched."""
        self.ready = False  # for training; an error before that changes nothing on disk
        network = network_kind(self.config, self.network)
        self._needs = needed_functions(self.config, self.environment.custom, network)
        self._named = _named(self.config, self._needs)
        self._tell, self._warn = self.audience.tell, self.audience.warn
        self._started, self._started_steps = self.began, 0  # time and steps when training began in this process
        self._checkpoints = Checkpoints(self.directory.checkpoints_path)
        self._record, self._before = RunRecord(), RunRecord()  # now, and as it was when this process began
        self._recent: deque[float] = deque(maxlen=RECENT_EPISODES)
        self._best_params: dict[str, np.ndarray] = {}
        self._checkpoint_steps = 0
        self._report: Report | None = None  # about steps that have no row in metrics.csv yet
        self._told_of_cut_episodes = False

    def run(self) -> None:
        """Train to the end; raises Stopped, and TensorqError for what the user can correct."""
        self._refuse_lost_tables()
        with (
            Signals(lambda: self._tell(Message("stopping ...", "activity"))) as signals,
            contextlib.ExitStack() as stack,
        ):
            deep = self.config.find(NetworkSettings) is not None
            if deep:
                self._tell(Message("loading TensorFlow ...", "activity"))
                running = tensorflow_running(
                    self.config.threads, self.config.tensor_float_32, calls=1 + self.config.overlap_learning
                )
                warning = stack.enter_context(running)
                if warning:
                    self._warn(warning)
            if signals():
                raise self._stopped(self._checkpoints.newest_steps(), signals.received)
            if deep:
                self._tell(Message("compiling ...", "activity"))
            kind = loop_kind(self.config, self.environment)
            if kind == "host":
                self._warn_of_cut_episodes()
            for text in self.environment.warnings(kind, self.config.loop):
                self._warn(text)
            found = self._checkpoints.latest(self._warn)
            if found is not None and "metrics_bytes" not in found[1]:
                raise TensorqError(
                    f"{found[2]} holds only an agent, like best.safetensors, not a whole run: put the original file "
                    "back; or remove this one, and `tensorq resume` uses the checkpoint before it."
                )
            if found is not None:
                found = without_old_replay(found)
            config, path = self._loop_config(found), self.directory.replay_path
            loop = build_loop(config, self.environment, self.network, path, lambda text: self._tell(Message(text)))
            metrics = CsvTable(self.directory.metrics_path, columns(loop.metric_names))
            episodes = CsvTable(self.directory.episodes_path, EPISODES)
            with contextlib.ExitStack() as closing, metrics, episodes:
                closing.callback(close_or_warn, loop, self._warn)
                self._restore(loop, found, metrics, episodes)
                del found  # or its replay would stay in memory
                self.on_restored(loop.steps, self._record.episodes)
                self.ready = True
                self._started, self._started_steps = time.perf_counter(), loop.steps
                if self._record.stopped and self.goes_on:
                    self._record.stopped = None
                    self._save(loop, metrics, episodes)  # or a run that is killed would count as stopped
                path, goal = self.directory.path, self.environment.solved_return
                self._tell(Started(self.config, path, kind, goal, loop.steps, self._needs, self._named))
                try:
                    self._train(loop, metrics, episodes, signals)
                except Interrupted as interrupted:
                    self._record_episodes(interrupted.episodes, episodes)
                    self._save(loop, metrics, episodes)
                    raise self._ended_by(interrupted.__cause__, signals) from _origin(interrupted.__cause__)
                except NotFinite as error:
                    raise TensorqError(f"{error} {self._last_checkpoint()}") from error
            if not loop.updates:
                begins = self.config.learning_starts_steps
                waits = ", and with overlap_learning an update counts when the next one begins"
                why = f"{loop.steps:,} steps, and learning_starts_steps is {begins:,}"
                self._warn(f"nothing was learned: {why}{waits if deep and self.config.overlap_learning else ''}")
            self._count(loop)
            result = self._record.result(goal)
            run_directory.write_json(self.directory.result_path, result)
        stopped = signals.received
        try:
            if not stopped:
                self._show()
        except KeyboardInterrupt as interrupt:  # exit_code tells which signal it was
            stopped = getattr(interrupt, "exit_code", 128 + signal.SIGINT) - 128
        self._tell(Finished(self.directory.path, result))
        if stopped:
            raise self._stopped(loop.steps, stopped, finished=True)

    def _stopped(self, steps: int, signal_number: int, finished: bool = False) -> Stopped:
        return Stopped(self.directory.path, steps, signal_number, self._needs, self._named, finished)

    def _ended_by(self, failure: BaseException | None, signals: Signals) -> BaseException:
        """The exception to raise after a signal or an environment interrupted training and the run was saved."""
        if isinstance(failure, TensorqError):
            how = how_to_resume(self.directory.path, self._checkpoint_steps, self._needs, self._named)
            return TensorqError(f"{str(failure).rstrip('.')}; the run is saved: {how}")
        # An environment that ends the process, for example because its window was closed, does so for the user.
        return self._stopped(self._checkpoint_steps, signals.received or signal.SIGINT)

    def _warn_of_cut_episodes(self) -> None:
        period, count = self._reset_period, self.config.num_envs
        limit = self.environment.max_episode_steps
        if limit is not None and period < min(2 * limit * count, self.config.steps):
            self._warn(
                f"the host loop resets each environment after {period // count} steps, so many episodes of up to "
                f"{limit} steps are cut: give reset_period_steps {2 * limit * count} (--reset-period-steps) or more"
            )

    @property
    def _reset_period(self) -> int:
        """Steps between two resets; the compiled loop resets nothing, so it does not stop for that."""
        compiled = loop_kind(self.config, self.environment) == "compiled"
        return (not compiled and self.config.reset_period_steps) or self.config.checkpoint_period_steps

    # --- the run on disk ------------------------------------------------------------------------------------------

    def _loop_config(self, found: Checkpoint | None) -> Config:
        """Take over a checkpoint's record; returns the config for the loop: updates begin later after freeing."""
        if found is None:
            return self.config
        self._record, self._before = RunRecord.from_metadata(found[1]), RunRecord.from_metadata(found[1])
        config, self._record.refill_steps, filling = after_freeing(self.config, found[1], self.directory.path)
        if filling:
            self._warn(
                f"the replay {why_lost(found[1])}: a new one fills for {filling:,} steps before anything is learned, "
                "and the run is not exact any more"
            )
        return config

    def _restore(self, loop: Loop, found: Checkpoint | None, metrics: CsvTable, episodes: CsvTable) -> None:
        """Go back to the last good checkpoint, or to the beginning if there is none."""
        if found is None:
            self._refuse_lost_checkpoints()
            metrics.truncate(0)
            episodes.truncate(0)
            if self.has_initial_params:
                self._begin_with(load(self._checkpoints.initial_path)[0], loop)
            return
        tensors, metadata, path = found
        best = {f"agent.{name.removeprefix(BEST)}": tensors.pop(name) for name in [*tensors] if name.startswith(BEST)}
        fresh = loop.save()
        tensors = with_empty_replay(tensors, metadata, fresh)
        require_fitting(tensors, fresh, path)
        if best and self._record.best is None:  # with a mean return that was not finite
            self._checkpoints.best_path.unlink(missing_ok=True)
        elif best:  # replaces an agent that was kept after this checkpoint
            self._keep(best)
        if not loop.restore(tensors):
            self._warn("the same actions gave other observations: the episodes begin again, and the run is not exact")
        metrics.truncate(metadata["metrics_bytes"])
        episodes.truncate(metadata["episodes_bytes"])
        self._checkpoint_steps = loop.steps
        self._recent.extend(read_table(self.directory.episodes_path)["return"][-RECENT_EPISODES:].tolist())

    def _begin_with(self, taken: dict[str, np.ndarray], loop: Loop) -> None:
        """Give a new loop the parameters of another run's kept best agent; everything else stays new."""
        tensors, params = loop.save(), taken["agent.params"]
        expected = tensors["agent.params"].size
        if params.size != expected:
            raise TensorqError(
                f"init_from: the network of that run has {params.size:,} parameters, this run's has {expected:,}: "
                "give the network function that it was trained with."
            )
        for name in ("agent.params", "agent.target_params", LEARNED_PARAMS):
            if name in tensors and tensors[name].size:
                tensors[name] = params
        tensors.update({name: taken[name] for name in taken if name in tensors and name.startswith(KEPT)})
        loop.restore(tensors)

    def _refuse_lost_tables(self) -> None:
        """Refuse to resume if there are checkpoints, but a table is missing."""
        if self._checkpoints.newest_steps():
            for path in (self.directory.metrics_path, self.directory.episodes_path):
                if not path.exists():
                    raise TensorqError(
                        f"{path} is missing: put it back, or train again into another run_dir (--run-dir)."
                    )

    def _refuse_lost_checkpoints(self) -> None:
        """Refuse to begin again if there must have been a checkpoint; otherwise say that training begins again."""
        steps = read_table(self.directory.metrics_path)["steps"]
        # A second row at or after checkpoint_period_steps is written only after a checkpoint.
        if self.directory.result_path.exists() or (steps >= self.config.checkpoint_period_steps).sum() > 1:
            raise TensorqError(
                f"{self.directory.path} has no checkpoint left to continue from, though it came to step "
                f"{steps.max(initial=0):,.0f}: put its {self.directory.checkpoints_path.name}/step_*.safetensors back, "
                "or train again into another run_dir (--run-dir)."
            )
        if steps.size:
            self._tell(Message(f"no checkpoint had been made by step {steps.max():,.0f}: training begins again"))

    def _save(self, loop: Loop, metrics: CsvTable, episodes: CsvTable) -> None:
        self._count(loop)
        positions = {"metrics_bytes": metrics.position(), "episodes_bytes": episodes.position()}
        metadata = {**self._record.to_metadata(), **positions}
        tensors = {**loop.save(), **self._best_params}
        if self._report is not None:  # saved, because the resumed run writes its row
            tensors[UNREPORTED] = self._report.sums
        path = self._checkpoints.save(loop.steps, tensors, metadata)
        self._checkpoint_steps = loop.steps
        self._tell(Saved(loop.steps, path))

    def _count(self, loop: Loop) -> None:
        """Bring the record's counts and times up to now."""
        record, before, now = self._record, self._before, time.perf_counter()
        record.steps, record.updates = loop.steps, loop.updates
        record.seconds = before.seconds + now - self._started
        record.elapsed_seconds = before.elapsed_seconds + now - self.began

    def _last_checkpoint(self) -> str:
        paths = self._checkpoints.step_paths()
        if paths:
            return f"The last good checkpoint is {paths[0]}."
        path = self.directory.path
        return f"No checkpoint had been made: train again, into another run_dir (--run-dir) or after removing {path}."

    # --- training -------------------------------------------------------------------------------------------------

    def _train(self, loop: Loop, metrics: CsvTable, episodes: CsvTable, signals: Signals) -> None:
        config = self.config
        # If an environment failed at a stop and the run was saved there, a resume begins with the work due there.
        while self._record.settled_steps < loop.steps or not self._over(loop):
            self._listen(loop)
            before = self._record.settled_steps
            left = config.episodes - self._record.episodes if config.episodes else None
            stop = loop.steps if self._over(loop) else self._next_stop(before)
            self._report = loop.advance(stop, left, signals)
            new_returns = self._record_episodes(self._report.episodes, episodes)

            def due(period: int, before: int = before) -> bool:
                return self._over(loop) or (period > 0 and loop.steps // period > before // period)

            # Until the row is written, a resume repeats this work, so it must have the same result when repeated.
            evaluation = self._evaluate(loop, signals) if due(config.evaluation_period_steps) else None
            progress = self._progress(loop, self._report, new_returns, evaluation)
            self._listen(loop)
            if evaluation is None and self._over(loop):
                progress = self._progress(loop, self._report, (), self._evaluate(loop, signals))
            if due(self._reset_period):
                with _interrupting():
                    loop.boundary()
            metrics.append([[progress.steps, progress.updates, progress.episodes, *progress.metrics.values()]])
            metrics.flush()  # so that an unfinished run can be drawn
            episodes.flush()
            self._report, self._record.settled_steps = None, loop.steps
            if due(config.checkpoint_period_steps):
                self._save(loop, metrics, episodes)

    def _listen(self, loop: Loop) -> None:
        """End the run if an observer asked for it before it is finished."""
        if self.audience.stop_reason and not self._finished(loop):
            self._record.stopped = self.audience.stop_reason

    def _over(self, loop: Loop) -> bool:
        return self._record.stopped is not None or self._finished(loop)

    def _finished(self, loop: Loop) -> bool:
        config = self.config
        return loop.steps >= config.steps or (config.episodes > 0 and self._record.episodes >= config.episodes)

    def _next_stop(self, steps: int) -> int:
        """The next multiple of any period, or the end. A vector environment may step past it."""
        config = self.config
        periods = (
            config.log_period_steps, config.evaluation_period_steps, config.checkpoint_period_steps, self._reset_period
        )  # fmt: skip
        return min(config.steps, *((steps // period + 1) * period for period in periods if period))

    def _record_episodes(self, finished: Sequence[Episode], table: CsvTable) -> list[float]:
        returns = [episode.total_return for episode in finished]
        first = self._record.episodes + 1
        table.append((first + index, *episode) for index, episode in enumerate(finished))
        self._record.episodes += len(returns)
        self._recent.extend(returns)
        return returns

    def _evaluate(self, loop: Loop, interrupted: Callable[[], bool]) -> float:
        """Play greedy episodes; keep the agent if none before was better; a run that reaches stop_return is over."""
        with _interrupting():
            played = loop.evaluate(interrupted)
            if self.config.single_environment:  # the evaluation was played in it
                loop.boundary()
        mean, count = played.mean, len(played.returns)
        if played.unfinished and not self._told_of_cut_episodes:
            self._told_of_cut_episodes = True
            self._warn(
                f"{played.unfinished} of {count} greedy episodes were cut after "
                f"{self.config.evaluation_max_episode_steps:,} steps and scored as they stood: the limit is "
                "evaluation_max_episode_steps (--evaluation-max-episode-steps)"
            )
        self._count(loop)
        known_before = self._record.final_return
        is_best = self._record.evaluated(mean, count)
        if is_best:
            self._keep(loop.kept())
            self._count(loop)
            self._record.note_solved(self.environment.solved_return)
        elif not math.isfinite(mean) and (known_before is None or math.isfinite(known_before)):  # warn once
            self._warn(
                f"the greedy evaluation at step {loop.steps:,} gave a mean return of {mean}: rewards or "
                "their sum are not finite. This agent is not kept as the best"
            )
        goal = self.config.stop_return
        if goal is not None and goal <= mean < math.inf and not self._over(loop):
            self._record.stopped = f"the mean return of {count} greedy episodes, {mean:g}, reached stop_return {goal:g}"
        with _interrupting():
            self._tell(Evaluated(loop.steps, mean, count, is_best))
        return mean

    def _keep(self, agent: dict[str, np.ndarray]) -> None:
        """Keep this agent as the best."""
        assert self._record.best is not None
        self._best_params = {f"{BEST}{name.removeprefix('agent.')}": tensor for name, tensor in agent.items()}
        self._checkpoints.save_best(agent, self._record.best)

    def _progress(self, loop: Loop, report: Report, new_returns: Sequence[float], evaluation: float | None) -> Progress:
        """Tell observers the state of the run, and return it."""
        self._count(loop)
        progress = Progress(
            steps=loop.steps,
            updates=loop.updates,
            episodes=self._record.episodes,
            metrics={
                "epsilon": self.config.part(ExplorationSettings).epsilon_at(loop.steps),
                "learning_rate": self.config.part(LearningRateSettings).learning_rate_at(loop.updates),
                **report.metrics,
                "mean_return": float(np.mean(self._recent)) if self._recent else None,
                "evaluation_return": evaluation,
            },
            best_return=self._record.best["mean_return"] if self._record.best else None,
            new_returns=new_returns,
            seconds=self._record.seconds,
            steps_per_second=(loop.steps - self._started_steps) / (time.perf_counter() - self._started),
        )
        with _interrupting():
            self._tell(progress)
        return progress

    # --- the end --------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Draw the curve and the video. If this fails, the finished run is still good."""

        def curve() -> None:
            from tensorq.show.curve import draw_run

            draw_run(run)

        def video() -> None:
            from tensorq.show.film import film

            film(run, short=True, warn=self._warn)

        # With single_environment no second one can be made and filmed.
        single = self.config.single_environment
        make = self.env_id or (self.environment.make if self.environment.custom and not single else None)
        run = SavedRun(self.directory.path, make, self.network)
        pictures = [curve] if single else [curve, video]
        self._tell(Message(f"drawing the {' and the '.join(draw.__name__ for draw in pictures)} ...", "activity"))
        for draw in pictures:
            try:
                draw()
            except (Exception, SystemExit) as error:  # an environment's own drawing may fail in any way
                self._tell(Message(f"no {draw.__name__}: {' '.join(str(error).split()) or type(error).__name__}"))


def columns(metric_names: Sequence[str]) -> tuple[str, ...]:
    """The columns of metrics.csv, for a loop that reports these metrics of updates."""
    before, after = ("steps", "updates", "episodes", "epsilon", "learning_rate"), ("mean_return", "evaluation_return")
    return (*before, *metric_names, *after)


def _named(config: Config, needs: Sequence[str]) -> str | None:
    """The option that names the environment in commands for a run; None if they would need functions."""
    if not needs:
        return ""
    return f" --env {shlex.quote(config.env)}" if ":" in config.env and needs == ("make_env",) else None


@contextlib.contextmanager
def _interrupting() -> Iterator[None]:
    """Interrupt training if an environment fails in an evaluation or at a boundary, or an observer raises."""
    try:
        yield
    except ENVIRONMENT_FAILURES as failure:
        raise Interrupted from failure


def _origin(failure: BaseException | None) -> BaseException | None:
    """The error that an environment raised, also if ours was made from it."""
    return failure.__cause__ or failure if failure else None
