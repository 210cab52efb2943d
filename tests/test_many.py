"""Several runs in one folder, by worker processes: the same results as alone, whatever happens to some of them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import tensorq as tq
from tensorq import cli, preflight
from tensorq.config import Config
from tensorq.envs.description import describe
from tensorq.errors import TensorqError
from tensorq.events import Event, Started
from tensorq.many import plan as plans
from tensorq.many import pool
from tensorq.many.grid import combinations, read_set
from tensorq.many.progress import ManyProgress
from tensorq.preflight import Demand, check_fits
from tensorq.stopped import StoppedRuns

# A table of Q-values, so that workers import no TensorFlow.
SETTINGS: dict[str, Any] = {"preset": "qtable", "steps": 3_000, "progress": "quiet", "evaluation_episodes": 3}
FILES = ("metrics.csv", "episodes.csv", "checkpoints/best.safetensors")


def lake() -> gym.Env:
    return gym.make("FrozenLake-v1", is_slippery=False)


class Trap(gym.Wrapper):
    """Does something bad at the reset with seed 1 of the run, as long as a file is there."""

    def __init__(self, file: Path, deed: str) -> None:
        super().__init__(lake())
        self.file, self.deed, self.resets = file, deed, 0

    def step(self, action: Any) -> Any:
        self.resets += 1
        if self.resets > 500 and self.file.exists():
            if self.deed == "raise":
                raise ValueError("a trap")
            self.file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


def contents(run: Path) -> list[bytes]:
    return [(run / name).read_bytes() for name in FILES]


@pytest.mark.parametrize("seeds", [[0], [0, 1, 2], [3, 5, 6, 7, 10]])
def test_seeds_as_text(seeds: list[int]) -> None:
    assert plans.read_seeds(plans.seeds_text(seeds)) == seeds


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "1,1", "0-99999999", "-1"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(TensorqError, match="seeds: received"):
        plans.read_seeds(text)


def test_each_seed_has_the_run_that_it_has_alone(tmp_path: Path) -> None:
    runs = tq.train_many(lambda: lake(), seeds=[0, 1, 2], jobs=2, run_dir=tmp_path / "runs", **SETTINGS)
    assert [run.config.seed for run in runs] == [0, 1, 2]
    for run in runs:
        alone = tq.train(lake, seed=run.config.seed, run_dir=tmp_path / f"alone{run.config.seed}", **SETTINGS)
        assert contents(run.path) == contents(alone.path)
    assert len({path.read_bytes() for path in runs.path.glob("*/episodes.csv")}) == 3
    [row] = runs.compare()
    assert row["seeds"] == [0, 1, 2]
    assert (runs.path / "compare.png").stat().st_size > 1_000
    assert not (runs.path / "output").exists()
    with pytest.raises(TensorqError, match=r"its 3 runs have reached their end: give steps \(--steps\)"):
        tq.resume_many(runs, progress="quiet")
    longer = tq.resume_many(runs, steps=4_000, progress="quiet")
    assert [run.result["steps"] for run in longer] == [4_000] * 3


@pytest.mark.parametrize(("deed", "text"), [("raise", "ValueError: a trap"), ("die", "ended with signal SIGKILL")])
def test_a_run_that_fails_stops_no_other_and_can_be_resumed(deed: str, text: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.touch()

    def make() -> gym.Env:
        return Trap(trap, deed)

    with pytest.raises(TensorqError, match=f"runs failed, seed0 with: .*{text}"):
        tq.train_many(make, seeds=[0, 1], jobs=1, run_dir=tmp_path / "runs", **SETTINGS)
    trap.unlink(missing_ok=True)
    with pytest.raises(TensorqError, match="needs make_env"):
        tq.resume_many(tmp_path / "runs")
    runs = tq.resume_many(tmp_path / "runs", make_env=make, progress="quiet")
    for run in runs:
        alone = tq.train(lake, seed=run.config.seed, run_dir=tmp_path / f"alone{run.config.seed}", **SETTINGS)
        assert contents(run.path)[1:] == contents(alone.path)[1:]


def test_a_signal_stops_all_where_they_can_go_on(tmp_path: Path) -> None:
    settings = {**SETTINGS, "steps": 15_000, "checkpoint_period_steps": 500}
    begun = threading.Event()

    def stop() -> None:
        while not all(list((tmp_path / f"runs/seed{seed}/checkpoints").glob("step_*")) for seed in (0, 1)):
            begun.wait(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(StoppedRuns, match=r"tensorq resume .*runs`, or tq.resume_many\('.*runs'\)") as stopped:
        tq.train_many("FrozenLake-v1", seeds=[0, 1, 2], jobs=2, run_dir=tmp_path / "runs", **settings)
    assert stopped.value.exit_code == 130
    runs = tq.resume_many(tmp_path / "runs", progress="quiet")
    for run in runs:
        alone = tq.train(
            "FrozenLake-v1", seed=run.config.seed, run_dir=tmp_path / f"alone{run.config.seed}", **settings
        )
        assert contents(run.path) == contents(alone.path)


def test_new_limits_and_the_first_parameters_outlast_a_stop(tmp_path: Path) -> None:
    other = tq.train("FrozenLake-v1", run_dir=tmp_path / "other", **SETTINGS)
    runs = tq.train_many("FrozenLake-v1", seeds=[0, 1], run_dir=tmp_path / "runs", init_from=other, **SETTINGS)
    tq.resume_many(runs, steps=3_500, progress="quiet")
    shutil.rmtree(runs.path / "seed1")  # as if it had not begun
    (runs.path / "seed0" / "result.json").unlink()
    tq.resume_many(runs, progress="quiet")
    assert [run.result["steps"] for run in runs] == [3_500, 3_500]
    assert [run.saved.document["init_from"]["path"] for run in runs] == [
        str(other.path / "checkpoints/best.safetensors")
    ] * 2
    with pytest.raises(TensorqError, match=r"was started without make_env \(--env\): leave it out"):
        tq.resume_many(runs, make_env=lake)


def test_two_commands_take_two_folders(tmp_path: Path) -> None:
    one, other = (plans.Plan(plans.first_free(tmp_path, "a name"), {"seed0": Config()}) for _ in range(2))
    assert (one.path.name, other.path.name) == ("a-name", "a-name-2")
    with plans.created(one), pytest.raises(TensorqError, match="is training in"):
        tq.resume_many(one.path)


def test_observers_go_to_the_runs(tmp_path: Path) -> None:
    def note(event: Event, file: Path) -> None:
        with file.open("a") as lines:
            lines.write(f"{type(event).__name__}\n")

    noted = [partial(note, file=tmp_path / "events")]
    tq.train_many("FrozenLake-v1", seeds=[4, 5], run_dir=tmp_path / "runs", observers=noted, **SETTINGS)
    assert (tmp_path / "events").read_text().splitlines().count("Finished") == 2


def test_what_cannot_work_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    lock = threading.Lock()
    train = partial(tq.train_many, "FrozenLake-v1", run_dir=tmp_path / "runs")
    for message, call in (
        ("cannot go to another process", lambda: train(seeds=[0], observers=[lambda event: lock], **SETTINGS)),
        ("seeds: received 1 twice", lambda: train(seeds=[1, 1])),
        ("seed: expected seeds= alone", lambda: train(seeds=[1], seed=1)),
        ("jobs .*received 0", lambda: train(seeds=[1], jobs=0, **SETTINGS)),
        ("initial_value: received", lambda: train(seeds=[1], initial_value="x", **SETTINGS)),
        ("threads: received 9999", lambda: train(seeds=[1], threads=9_999, **SETTINGS)),
        ("seeds: received 30, expected", lambda: train(seeds=30)),
        ("init_from|does not exist", lambda: train(seeds=[1, 2], init_from=tmp_path / "none", **SETTINGS)),
        (
            "expected 1 with single_environment",
            lambda: train(seeds=[1, 2], jobs=2, single_environment=True, **SETTINGS),
        ),
    ):
        with pytest.raises(TensorqError, match=message):
            call()
        assert not (tmp_path / "runs").exists(), message


@pytest.mark.parametrize("mode", ["live", "plain", "json", "quiet"])
def test_what_is_shown(mode: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config, numbers = Config(steps=2_000), {"episodes": 3, "mean_return": 7.25, "steps_per_second": 1234.0}
    with contextlib.closing(ManyProgress(mode, lambda counts: f"{counts['training']} training")) as show:
        for name in ("seed0", "seed1"):
            show.begin(name, config)
        show("seed0", {"event": "progress", "steps": 400, "best_return": 8.5, **numbers})
        show("seed1", {"event": "message", "kind": "warning", "text": "beware"})
        if mode == "live":
            show._live.refresh()
        show("seed0", {"event": "finished", "result": {"steps": 2_000, "seconds": 2.0, "best": {"mean_return": 9.5}}})
        show("seed0", {"event": "ended", "how": "finished", "text": ""})
        show("seed1", {"event": "ended", "how": "failed", "text": "the reason."})
    shown = capsys.readouterr().out
    lines = (
        "seed1: warning: beware",
        "seed0 finished: best greedy return 9.50, 2,000 steps in 2.0 s",
        "seed1 failed: the",
    )
    if mode in ("live", "plain"):
        assert all(line in shown for line in lines)
    if mode == "live":
        assert re.search(r"seed0 .* 400 +7.25 +8.50 +1,234", shown)
        assert "2 training" in shown
    if mode == "json":
        assert [json.loads(line)["run"] for line in shown.splitlines()] == ["seed0", "seed1", "seed0", "seed0", "seed1"]
    if mode == "quiet":
        assert shown == ""


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", "FrozenLake-v1", "--preset", "qtable", "--steps", "500", "--evaluation-episodes", "3"]
    assert cli.run([*command, "--seeds", "0-1,7", "--jobs", "1", "--quiet"]) == 0
    folder = "runs/FrozenLake-v1-qtable-seeds0-1-7"
    assert sorted(path.parent.name for path in Path(folder).glob("*/config.json")) == ["seed0", "seed1", "seed7"]
    assert cli.run(["compare", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["seeds"] == [0, 1, 7]
    assert cli.run(["resume", folder, "--steps", "600", "--quiet"]) == 0
    for wrong, message in (
        ([*command, "--seeds", "x"], "seeds: received 'x'"),
        ([*command, "--jobs", "2"], "--jobs: received 2 for one run"),
        (["resume", f"{folder}/seed0", "--jobs", "2"], "is one run"),
        (["resume", folder], "have reached their end"),
    ):
        assert cli.run(wrong) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("learning_rate=1e-3,3e-4", [1e-3, 3e-4]),
        ("learning_rate=[1e-3,3e-4]", [1e-3, 3e-4]),
        ("double=true,false", [True, False]),
        ("hidden_sizes=[64,64],[256]", [[64, 64], [256]]),
        ("hidden_sizes=[[64,64],[256]]", [[64, 64], [256]]),
        ("hidden_sizes=[64,64]", [[64, 64]]),
        ("head=expected,'categorical'", ["expected", "categorical"]),
        ("steps=5_000", [5_000]),
    ],
)
def test_values_of_a_grid(text: str, values: list[Any]) -> None:
    assert read_set([text]) == {text.partition("=")[0]: values}


@pytest.mark.parametrize("texts", [["double"], ["=1"], ["gamma=[1"], ["gamma=0.9", "gamma=0.8"], ["gamma="]])
def test_other_grids_are_refused(texts: list[str]) -> None:
    with pytest.raises(TensorqError, match=r"--set: received|expected a list of values"):
        combinations(read_set(texts), 100)


def test_a_sweep_trains_every_combination_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweep.toml").write_text('preset = "qtable"\nsteps = 500\nseeds = [3, 4]\n[sweep]\ngamma = [0.9, 0.8]\n')
    command = ["sweep", "FrozenLake-v1", "--quiet", "--evaluation-episodes", "3"]
    assert cli.run([*command, "--file", "sweep.toml", "--set", "learning_rate=0.1,1", "--run-dir", "s"]) == 0
    names = [f"gamma={gamma},learning_rate={rate}" for gamma in ("0.9", "0.8") for rate in ("0.1", "1")]
    assert sorted(path.parent.name for path in Path("s").glob("*/result.json")) == sorted(
        f"{name}-seed{seed}" for name in names for seed in (3, 4)
    )
    config = tq.open_run("s/gamma=0.8,learning_rate=1-seed4").config
    assert (config.gamma, config.learning_rate, config.seed, config.steps) == (0.8, 1.0, 4, 500)
    assert cli.run(["compare", "s", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4
    for wrong, message in (
        (command, "expected values to try"),
        ([*command, "--set", "gamma=2"], "gamma: received 2"),
        ([*command, "--set", "gama=0.9"], "unknown setting 'gama': did you mean gamma?"),
        ([*command, "--file", "none.toml"], "cannot read none.toml: No such file"),
        ([*command, "--set", "seed=1,2"], "seed: give seeds"),
        ([*command, "--set", "env=CartPole-v1"], "env: a sweep has one environment"),
    ):
        assert cli.run(wrong) == 2
        assert message in capsys.readouterr().err


def test_memory_must_do_for_all_runs_at_once() -> None:
    demand = Demand(("replay_capacity",), lambda config: 100.0 * config.replay_capacity)
    config = Config(replay_capacity=1_000)
    check_fits(config, [demand], 200_000, runs=2)
    with pytest.raises(TensorqError, match="replay_capacity 1,000 needs 0 MiB of memory for 3 runs"):
        check_fits(config, [demand], 200_000, runs=3)


def test_memory_counts_runs_at_once_and_the_disk_all_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[int, str]] = []
    monkeypatch.setattr(
        preflight, "check_fits", lambda config, wanted, available, runs, what="memory": asked.append((runs, what))
    )
    config = Config(env="CartPole-v1", loop="host", num_envs=8)  # whose updates come eight at once
    environment = describe("CartPole-v1", None, {}, single=False, warn=print)
    preflight.check(config, environment, None, tmp_path)
    preflight.check(config, environment, None, tmp_path, at_once=2, in_all=5)
    assert asked == [(1, "memory"), (1, "disk"), (2, "memory"), (5, "disk")]


def test_a_worker_is_replaced_before_it_has_grown_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "RUNS_OF_A_WORKER", 3)  # a check and two runs
    processes = tmp_path / "processes"

    def note(event: Event, file: Path) -> None:
        if isinstance(event, Started):
            with file.open("a") as lines:
                lines.write(f"{os.getpid()}\n")

    noted = [partial(note, file=processes)]
    tq.train_many("FrozenLake-v1", seeds=range(4), jobs=1, run_dir=tmp_path / "runs", observers=noted, **SETTINGS)
    first, second, third, fourth = processes.read_text().split()
    assert first == second != third == fourth


def test_a_plan_names_only_folders_inside(tmp_path: Path) -> None:
    wanted = plans.Plan(tmp_path / "runs", {"seed0": Config()}, ("make_env",), tmp_path / "other", 70_000)
    plans.new_folder(wanted.path)
    with plans.created(wanted) as plan:
        assert plans.read(plan.path) == plan == wanted
        data = json.loads((plan.path / plans.FILE).read_text())
        data["runs"]["../seed0"] = data["runs"].pop("seed0")
        (plan.path / plans.FILE).write_text(json.dumps(data))
        with pytest.raises(TensorqError, match="is damaged"):
            plans.read(plan.path)
