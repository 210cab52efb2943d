"""The search of settings: its space, its trials, stops and failures, and the preset that it writes."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tensorq as tq
from tensorq import cli
from tensorq.config import FIELD_NAMES
from tensorq.errors import TensorqError
from tensorq.presets import resolve
from tensorq.search.plan import SearchPlan, read
from tensorq.search.space import checked_space, from_json, read_space, to_json, usual_space, within
from tensorq.search.study import TRIALS_BEFORE_PRUNING, Study, _rounded
from tensorq.settings import Range

pytest.importorskip("optuna")

# A table of Q-values, so that workers import no TensorFlow.
SETTINGS: dict[str, Any] = {"preset": "qtable", "steps": 500, "evaluation_episodes": 3, "env_args": {"map_name": "4x4"}}
tune = partial(tq.tune, "FrozenLake-v1", seeds_per_trial=1, fresh_seeds=1, jobs=1, progress="quiet", **SETTINGS)


def a_plan(path: Path, **others: Any) -> SearchPlan:
    """A search of two settings; best is a high gamma."""
    path.mkdir(exist_ok=True)
    usual: dict[str, Any] = {
        "env": "FrozenLake-v1", "preset": "qtable", "settings": {}, "metric": "best", "trials": 20,
        "space": {"learning_rate": Range(0.1, 1.0, log=True), "gamma": (0.9, 0.99)},
        "seeds_per_trial": 2, "finalists": 1, "fresh_seeds": 0, "sampler_seed": 0,
    }  # fmt: skip
    plan = SearchPlan(path, **{**usual, **others})
    plan.save()
    return plan


@pytest.mark.parametrize("preset", ["dqn", "pqn", "qtable", "rainbow", "blog"])
def test_every_setting_of_the_usual_space_is_one_of_the_run(preset: str) -> None:
    config = resolve("CartPole-v1", preset)
    space = usual_space(config)
    assert len(space) >= 4
    assert space.keys() <= {*FIELD_NAMES}
    assert checked_space(space) == from_json(to_json(space)) == space
    draw = random.Random(0)
    for name, each in space.items():
        values = (each.low, each.high) if isinstance(each, Range) else each
        assert all(within(value, each) for value in values)
        if preset != "pqn" or name not in ("batch_size", "rollout_length"):  # which must fit each other
            config.replace(**{name: draw.choice(values)})


def test_a_table_has_larger_steps_than_a_network() -> None:
    assert usual_space(resolve("CartPole-v1", "dqn"))["learning_rate"] == Range(1e-4, 1e-2, log=True)
    assert usual_space(resolve("FrozenLake-v1", "qtable"))["learning_rate"] == Range(0.02, 1.0, log=True)


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("learning_rate=1e-4:1e-2:log", Range(1e-4, 1e-2, log=True)),
        ("gamma=0.9:0.99", Range(0.9, 0.99)),
        ("n-step=1:10", Range(1, 10)),
        ("n_step=1,3,5", (1, 3, 5)),
        ("double=true,false", (True, False)),
        ("hidden_sizes=[64,64],[256]", ((64, 64), (256,))),
        ("head=expected,categorical", ("expected", "categorical")),
    ],
)
def test_spaces_as_text(text: str, space: Any) -> None:
    [found] = checked_space(read_space([text])).values()
    assert found == space
    assert [type(value) for value in found] == [type(value) for value in space]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gamma", "--space: received 'gamma', expected a range"),
        ("gamma=1:x", "expected two numbers"),
        ("gamma=0.9:0.8", "the lower first"),
        ("gamma=0:1:log", "expected numbers above 0 with log"),
        ("n_step=1.5:3", "expected whole numbers"),
        ("double=0:1", "expected a list of values"),
        ("seed=1,2", "received seed"),
        ("gamma=", "expected a list of values"),
    ],
)
def test_other_spaces_are_refused(text: str, message: str) -> None:
    with pytest.raises(TensorqError, match=message):
        checked_space(read_space([text]))


def test_a_search_writes_the_best_settings_as_a_preset(tmp_path: Path) -> None:
    search = tune(trials=4, finalists=2, run_dir=tmp_path / "s", learning_rate=0.5, space={"gamma": [0.9, 0.5]})
    assert [(each["number"], each["state"]) for each in search.trials] == [(n, "finished") for n in range(4)]
    assert all({*each["returns"]} == {1000} and "learning_rate" not in each["settings"] for each in search.trials)
    chosen = search.trials[read(search.path).chosen or 0]
    config = resolve("FrozenLake-v1", str(search.preset))
    assert (config.steps, config.learning_rate) == (500, 0.5)
    assert {name: getattr(config, name) for name in chosen["settings"]} == chosen["settings"]
    assert chosen["settings"]["gamma"] in (0.9, 0.5)
    finalists = [path.parent.parent.name for path in search.path.glob("trials/*/seed1002/result.json")]
    assert len(finalists) == 2 and f"{chosen['number']:04d}" in finalists
    assert [row["preset"] for row in search.fresh.compare()] == ["qtable", "best"]
    assert [run.config.seed for run in search.fresh] == [0, 0]
    assert (search.path / "tune.png").stat().st_size > 5_000
    with pytest.raises(TensorqError, match=r"its 4 trials have ended: give more of them \(--trials\)"):
        tq.resume_tune(search)
    assert len(tq.resume_tune(search, trials=5, progress="quiet").trials) == 5
    with pytest.raises(TensorqError, match="trials .*: received 3, expected at least the 5"):
        tq.resume_tune(search, trials=3)


def test_the_first_trial_has_the_settings_of_the_preset(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('extends = "qtable"\ngamma = 0.98765\nsteps = 500\n')
    own = {"preset": str(tmp_path / "own.toml"), "only": True, "space": {"gamma": tq.Range(0.1, 0.999)}}
    search = tune(trials=2, run_dir=tmp_path / "s", fresh_seeds=0, stop_return=None, **own)
    first, second = (each["settings"] for each in search.trials)
    assert first == {"gamma": 0.98765}  # not rounded
    assert second["gamma"] == round(second["gamma"], 4) != first["gamma"]


def test_a_search_with_one_job_can_be_repeated(tmp_path: Path) -> None:
    one, other, third = (
        tune(trials=4, run_dir=tmp_path / str(index), fresh_seeds=0, sampler_seed=seed)
        for index, seed in enumerate((1, 1, 2))
    )
    assert one.trials == other.trials != third.trials


def test_a_stopped_search_goes_on_with_the_trials_that_it_had_begun(tmp_path: Path) -> None:
    stop = threading.Event()

    def interrupt() -> None:
        while not (tmp_path / "s/trials/0001/seed1000/checkpoints").exists():
            stop.wait(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(tq.StoppedRuns, match=r"tensorq resume .*s`, or tq.resume_tune\('.*s'\) in Python, continues"):
        tune(trials=3, run_dir=tmp_path / "s", steps=8_000, checkpoint_period_steps=500)
    assert not (tmp_path / "s/best.toml").exists()
    search = tq.resume_tune(tmp_path / "s", progress="quiet")
    assert [(each["number"], each["state"]) for each in search.trials] == [(n, "finished") for n in range(3)]
    alone = tune(trials=3, run_dir=tmp_path / "alone", steps=8_000, checkpoint_period_steps=500, fresh_seeds=0)
    assert search.trials[:2] == alone.trials[:2]  # a sampler that goes on draws other numbers


def test_a_trial_belongs_to_one_process_until_this_ends(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, trials=3)
    one, other = Study(plan), Study(plan)
    one.start_sampling()
    other.start_sampling()
    first, second = one.begin(), other.begin()
    assert first is not None and second is not None
    assert (first.number, second.number) == (0, 1)
    assert first.settings != second.settings  # the samplers have seeds of their own
    first.folder.unlock()  # as if its process had died
    again = other.begin()
    assert again is not None and (again.number, again.settings) == (0, first.settings)
    third = other.begin()
    assert third is not None and third.number == 2
    assert one.begin() is None
    assert one.running() == 3
    for trial in (again, second, third):
        trial.returns[1000] = 1.0
        other.finish(trial)
    assert one.running() == 0


@pytest.mark.parametrize(
    ("value", "space", "rounded"),
    [
        (0.000123456, Range(1e-4, 1e-2, log=True), 0.000123),  # three digits
        (0.99876, Range(0.99, 0.9999), 0.99876),  # a thousandth of 0.0099 is about 0.00001
        (0.123456, Range(0.0, 1.0), 0.123),
        (0.0099999, Range(1e-4, 0.00999, log=True), 0.00999),  # within the range
    ],
)
def test_numbers_are_rounded_for_people(value: float, space: Range, rounded: float) -> None:
    assert _rounded(value, space) == rounded


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    study = Study(plan := a_plan(tmp_path))
    study.start_sampling()
    assert study.begin() is not None
    with plan.journal.open("a") as file:
        file.write('{"cut off\n{}\n')
    with pytest.raises(TensorqError, match=r"study.log is damaged: .*put the original file back"):
        Study(plan)
    text = (tmp_path / "search.json").read_text()
    (tmp_path / "search.json").write_text(text.replace('"trials": 20', '"trials": "x"'))
    with pytest.raises(TensorqError, match=r"search.json is damaged"):
        read(tmp_path)


def test_a_journal_of_another_search_is_refused(tmp_path: Path) -> None:
    search = tune(trials=2, run_dir=tmp_path / "s", fresh_seeds=0, finalists=1)
    (search.path / "study.log").unlink()
    with pytest.raises(TensorqError, match="study.log does not fit the runs beside it"):
        tq.resume_tune(search, trials=3, progress="quiet")


def test_a_trial_below_the_median_is_given_up(tmp_path: Path) -> None:
    study = Study(a_plan(tmp_path, trials=TRIALS_BEFORE_PRUNING + 2))
    study.start_sampling()
    for value in range(TRIALS_BEFORE_PRUNING):  # 0 to 7, whose median is 3.5
        trial = study.begin()
        assert trial is not None
        trial.returns[1000] = float(value)
        assert not study.report(trial)
        study.finish(trial)
    for value, hopeless in ((3.0, True), (4.0, False)):
        trial = study.begin()
        assert trial is not None
        trial.returns[1000] = value
        assert study.report(trial) == hopeless
        study.finish(trial, pruned=hopeless)
    assert [each["state"] for each in study.ended()[-2:]] == ["pruned", "finished"]
    assert study.ended()[-2]["value"] == 3.0


def test_the_setting_that_matters_is_the_most_important(tmp_path: Path) -> None:
    study = Study(a_plan(tmp_path))
    study.start_sampling()
    assert study.importances() == {}
    while (trial := study.begin()) is not None:
        trial.returns[1000] = trial.settings["learning_rate"]
        study.finish(trial)
    found = study.importances()
    assert found["learning_rate"] > 0.8
    assert sum(found.values()) == pytest.approx(1)


def test_settings_that_do_not_fit_each_other_are_a_failed_trial(tmp_path: Path) -> None:
    fails = {"learning_rate": [0.5, 2.0]}  # a table takes at most 1
    search = tune(trials=6, run_dir=tmp_path / "s", fresh_seeds=0, only=True, space=fails, learning_rate_final=0.1)
    states = {each["settings"]["learning_rate"]: each["state"] for each in search.trials}
    assert states == {0.5: "finished", 2.0: "failed"}
    failure = next(each["failure"] for each in search.trials if each["state"] == "failed")
    assert "expected at most 1 for a table" in failure
    with pytest.raises(TensorqError, match="the first 3 trials failed, the last with: .*at most 1 for a table"):
        tune(trials=6, run_dir=tmp_path / "t", only=True, space={"learning_rate": [2.0, 3.0]})


def test_what_cannot_work_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = partial(tune, run_dir=tmp_path / "s")
    for message, call in (
        ("trials: received 0, expected a whole number of at least 1", lambda: search(trials=0)),
        ("metric: received 'worst', expected one of best, final, average", lambda: search(metric="worst")),
        ("unknown setting 'gama': did you mean gamma", lambda: search(space={"gama": [0.9]})),
        ("gamma: received a value and a space", lambda: search(gamma=0.9, space={"gamma": [0.9]})),
        ("space: received 0.9 for gamma", lambda: search(space={"gamma": 0.9})),
        ("space: received \\[nan, 0.9\\] for gamma", lambda: search(space={"gamma": [float("nan"), 0.9]})),
        ("space: received \\['gamma'\\], expected spaces by name", lambda: search(space=["gamma"])),
        ("fresh_seeds: expected at most 1,000", lambda: search(fresh_seeds=1_001)),
        ("seed: received 1: a search has seeds of its own", lambda: search(seed=1)),
        ("nothing to search", lambda: search(only=True)),
        ("jobs", lambda: search(jobs=0)),
        ("threads: received 9999", lambda: search(threads=9_999)),
        ("init_from|does not exist", lambda: search(init_from=tmp_path / "none")),
    ):
        with pytest.raises(TensorqError, match=message):
            call()
        assert not (tmp_path / "s").exists()
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(TensorqError, match="needs the tune extra: .*install.*optuna"):
        search()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["tune", "FrozenLake-v1", "--preset", "qtable", "--steps", "500", "--evaluation-episodes", "3"]
    few = ["--trials", "2", "--seeds-per-trial", "1", "--finalists", "1", "--fresh-seeds", "2", "--jobs", "1"]
    assert cli.run([*command, *few, "--space", "gamma=0.9,0.99", "--only"]) == 0
    shown = capsys.readouterr().out
    assert "searched: gamma" in shown
    assert "trial 0: " in shown and "trial 1: " in shown
    assert "the best is trial" in shown and "best.toml" in shown
    folder = "runs/FrozenLake-v1-qtable-tune"
    assert cli.run(["train", "FrozenLake-v1", "--preset", f"{folder}/best.toml", "--quiet"]) == 0
    assert cli.run(["compare", folder]) == 0
    assert "FrozenLake-v1 best" in capsys.readouterr().out
    for wrong, message in (
        ([*command, "--space", "gamma"], "--space: received 'gamma'"),
        ([*command, "--space", "gamma=0.9", "--space", "gamma=0.8"], "received gamma twice"),
        ([*command, "--trials", "x"], "--trials: received 'x', expected a whole number"),
        (["resume", folder], "have ended: give more of them (--trials)"),
        (["resume", folder, "--steps", "900"], "is a search: expected no option but"),
        (["resume", "runs/FrozenLake-v1-best-seed0", "--trials", "3"], "is no search"),
        ([*command, "--run-dir", folder], "has a search already"),
    ):
        assert cli.run(wrong) == 2
        assert message in capsys.readouterr().err
