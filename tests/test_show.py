"""What a person looks at: progress, curves, tables and videos, read back as a program can."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image, ImageDraw

from tensorq.config import Config
from tensorq.envs.world import WORLDS
from tensorq.errors import TensorqError
from tensorq.evaluation.compare import REFERENCE_RETURNS, Metric, compare
from tensorq.events import Event, Finished, Message, Progress, Started
from tensorq.observers.progress import Mode, observer
from tensorq.observers.summary import summary
from tensorq.plugins import OURS
from tensorq.runs.directory import RunDirectory
from tensorq.runs.history import group_by_setting
from tensorq.runs.record import RunRecord
from tensorq.runs.saved import SavedRun
from tensorq.show import runs
from tensorq.show.curve import draw_run, draw_runs, moving_mean
from tensorq.show.intervals import draw_intervals
from tensorq.show.numbers import format_bytes, format_return
from tensorq.show.tables import print_rows, table_of
from tensorq.show.video import Frame, _number, _Scene, frame_stride, record


class Terminal(io.StringIO):
    """A terminal that remembers what was written, and says only what its encoding allows."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        text.encode(self._encoding)
        return super().write(text)


def make_run(
    path: Path,
    seed: int = 0,
    evaluations: dict[int, float] | None = None,
    finished: bool = True,
    network: str = "mlp",
    custom: bool = False,
    **config: Any,
) -> Path:
    """A run folder of 4000 steps: an episode each 100, of return steps / 10, and the given greedy evaluations."""
    evaluations = {1000: 100.0 + seed, 4000: 400.0 + seed} if evaluations is None else evaluations
    path.mkdir(parents=True)
    settings = {"env": "CartPole-v1", "preset": "dqn", "seed": seed, "epsilon_start": 1.0, **config}
    environment = {"id": "CartPole-v1", "solved_return": 475.0, "custom": custom}
    (path / "config.json").write_text(json.dumps({"config": settings, "environment": environment, "network": network}))
    rows = [f"{n},{100 * n},0,100,{10.0 * n}" for n in range(1, 41)]
    (path / "episodes.csv").write_text("\n".join(["episode,steps,env_index,length,return", *rows, ""]))
    rows = [f"{s},{s},1,{1 - s / 4000},0.001,,,,{evaluations.get(s, '')}" for s in (1000, 2000, 3000, 4000)]
    header = "steps,updates,episodes,epsilon,learning_rate,loss,mean_q,mean_return,evaluation_return"
    (path / "metrics.csv").write_text("\n".join([header, *rows, ""]))
    if finished:
        best = {"steps": 4000, "mean_return": max(evaluations.values())} if evaluations else None
        result = {"steps": 4000, "seconds": 2.0 + seed, "steps_per_second": 2000.0, "best": best, "finished": True}
        (path / "result.json").write_text(json.dumps(result))
    return path


# --- progress ---------------------------------------------------------------------------------------------------------


def progress(steps: int, **changes: Any) -> Progress:
    metrics: dict[str, Any] = {
        "epsilon": 0.5, "learning_rate": 1e-3, "loss": 0.25, "mean_q": 12.5, "mean_return": 20.0,
        "evaluation_return": None,
    }  # fmt: skip
    fields: dict[str, Any] = {
        "steps": steps, "updates": steps, "episodes": steps // 10, "best_return": None, "new_returns": [float(steps)],
        "seconds": 1.0, "steps_per_second": 1000.0,
    }  # fmt: skip
    metrics |= {name: value for name, value in changes.items() if name in metrics}
    return Progress(metrics=metrics, **fields | {name: changes[name] for name in changes if name not in metrics})


def events(run_dir: Path, count: int = 100, **config: Any) -> Iterator[Event]:
    """All that a run of 50 000 steps says."""
    yield Message("loading TensorFlow ...", "activity")
    yield Message("the läst checkpoint is damaged", "warning")
    yield Started(Config(**config), run_dir, "compiled", 475.0, 0)
    yield progress(1, loss=None, mean_q=math.nan, mean_return=math.inf, new_returns=[1e308, -1e308])
    for index in range(1, count + 1):
        yield progress(50_000 * index // count, new_returns=np.array([float(index), math.nan]))
    counts: dict[str, Any] = {"steps": 50_000, "updates": 49_000, "episodes": 5_000, "seconds": 5.0}
    first: dict[str, Any] = {"seconds_to_solved": 8.25, "steps_to_solved": 12_500}
    yield Finished(run_dir, {**result(480.0, **counts, **first), "loss": math.nan})


def result(best_return: float, best_episodes: int = 100, **fields: Any) -> dict[str, Any]:
    """What a run of CartPole comes to whose best agent is of step 21 000."""
    best = {"steps": 21_000, "mean_return": best_return, "episodes": best_episodes}
    return RunRecord(best=best, **fields).result(475.0)


def watch(mode: Mode, stream: Any, happenings: Iterator[Event]) -> str:
    watcher = observer(mode, stream)
    for event in happenings:
        watcher(event)
    watcher.close()
    watcher.close()
    return str(stream.getvalue())


def test_plain_lines_are_few_and_end_in_a_summary(tmp_path: Path) -> None:
    (tmp_path / "curve.png").touch()
    (tmp_path / "video.gif").touch()
    text = watch("auto", io.StringIO(), events(tmp_path))
    assert text.startswith("loading TensorFlow ...\nwarning: the läst checkpoint is damaged\ntraining CartPole-v1 · ")
    assert text.count("mean return: last 100 training episodes\n") == 1
    assert text.count(" left\n") == 10
    assert "20,000 / 50,000 steps" in text and "0:00:30 left" in text
    assert text[text.index("solved:") :].splitlines() == [
        "solved: the goal of 475 was reached at step 12,500, 8.2 s after the start",
        "kept the agent with the best greedy return 480.0 at step 21,000",
        "50,000 steps, 49,000 updates, 5,000 episodes in 5.0 s of training, 10,000 steps/s",
        "",
        f"run    {tmp_path}",
        f"curve  {tmp_path / 'curve.png'}",
        f"video  {tmp_path / 'video.gif'}",
        "",
        f"next   tensorq evaluate {tmp_path}",
        f"       tensorq record {tmp_path}",
        f"       tensorq resume {tmp_path} --steps 100000",
    ]


def test_a_run_of_episodes_counts_those(tmp_path: Path) -> None:
    text = watch("plain", io.StringIO(), iter([*events(tmp_path, episodes=5000)]))
    assert "2,500 / 5,000 episodes" in text and "resume" in text and "--episodes 10000" in text
    text = watch("plain", io.StringIO(), iter([*events(tmp_path, episodes=9000)]))
    assert "25,000 / 50,000 steps" in text and "--steps 100000" in text  # it was the steps that ended it


@pytest.mark.parametrize(
    ("best", "episodes", "first"),
    [
        (480.0, 100, "solved: the goal of 475 was reached"),  # by a goal that was another before
        (470.0, 100, "not solved: best greedy return 470.0 at step 21,000 (goal 475)"),
        (480.0, 10, "best greedy return 480.0 at step 21,000 (goal 475; 10 episodes do not tell whether it is solved, "
         "100 would)"),
    ],
)  # fmt: skip
def test_the_summary_says_of_solved_what_the_result_does(
    tmp_path: Path, best: float, episodes: int, first: str
) -> None:
    started = Started(Config(), tmp_path, "host", 475.0, 0)
    assert summary(Finished(tmp_path, result(best, episodes)), started)[0] == first


@pytest.mark.parametrize(
    ("steps_done", "first"),
    [
        (0, "at step 9,000, 7.2 s after the start"),
        (8_000, "at step 9,000, 7.2 s over all processes, start included"),
        (9_000, "at step 9,000, before this process"),
    ],
)
def test_seconds_of_an_earlier_process_are_not_taken_for_this_ones(tmp_path: Path, steps_done: int, first: str) -> None:
    found = result(500.0, seconds=4.0, seconds_to_solved=7.25, steps_to_solved=9_000)
    lines = summary(Finished(tmp_path, found), Started(Config(), tmp_path, "host", 475.0, steps_done))
    assert lines[0] == f"solved: the goal of 475 was reached {first}"
    assert lines[1] == "kept the agent with the best greedy return 500.0 at step 21,000"
    assert "in 4.0 s of training, " in lines[2]


def test_a_run_that_goes_on_with_functions_is_told_how_in_python_and_of_films_only_where_there_is_one() -> None:
    started = Started(Config(), Path("a run"), "host", None, 0, ("make_env", "network"), None)
    given = "'a run', make_env=make_env, network=network"
    assert summary(Finished(Path("a run"), result(480.0, steps=50)), started)[-3:] == [
        f"next   run = tq.open_run({given})",
        "       run.evaluate().mean",
        f"       tq.resume({given}, steps=100)",
    ]
    started = Started(
        Config(env="robots.arm:Arm-v0"), Path("a run"), "host", None, 0, ("make_env",), " --env robots.arm:Arm-v0"
    )
    assert summary(Finished(Path("a run"), result(480.0, steps=50)), started)[-2:] == [
        "next   tensorq evaluate 'a run' --env robots.arm:Arm-v0",
        "       tensorq resume 'a run' --env robots.arm:Arm-v0 --steps 100",
    ]


def test_the_summary_says_why_a_run_ended_before_its_end_and_how_it_goes_on() -> None:
    finished = Finished(Path("a run"), result(480.0, steps=50, stopped="it was good enough"))
    lines = summary(finished, Started(Config(), Path("a run"), "host", None, 0))
    assert lines[1] == "stopped before its end: it was good enough"
    assert lines[-1] == "       tensorq resume 'a run'"
    started = Started(Config(), Path("a run"), "host", None, 0, ("make_env",), None)
    assert summary(finished, started)[-1] == "       tq.resume('a run', make_env=make_env)"


def test_a_run_that_came_to_nothing_still_has_a_summary(tmp_path: Path) -> None:
    started = Started(Config(), tmp_path, "host", math.nan, 0)
    text = watch("plain", io.StringIO(), iter([started, Finished(tmp_path, RunRecord().result(None))]))
    assert "no greedy evaluation gave a finite return" in text and "0 steps" in text


def test_json_lines_are_strict_json(tmp_path: Path) -> None:
    lines = [
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        for line in watch("json", io.StringIO(), events(tmp_path, count=1)).splitlines()
    ]
    assert [line["event"] for line in lines] == ["message", "message", "started", "progress", "progress", "finished"]
    assert lines[2]["config"]["env"] == "CartPole-v1" and lines[2]["run_dir"] == str(tmp_path)
    assert lines[3]["loss"] is None and lines[3]["mean_q"] is None and lines[3]["mean_return"] is None
    assert lines[4]["new_returns"] == [1.0, None]
    assert lines[5]["result"]["loss"] is None


def test_quiet_says_nothing(tmp_path: Path) -> None:
    assert watch("quiet", io.StringIO(), events(tmp_path)) == ""


@pytest.mark.parametrize("columns", ["3", "30", "120"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_live_survives_any_terminal(
    tmp_path: Path, columns: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    text = watch("auto", Terminal(encoding), events(tmp_path))
    assert "8.2 s after the start" in text
    assert ("läst" in text) == (encoding == "utf-8")


def test_live_shows_everything_while_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    watcher = observer("live", stream)
    try:
        watcher(Message("loading TensorFlow ...", "activity"))
        watcher._live.refresh()  # type: ignore[attr-defined]
        assert "loading TensorFlow ..." in stream.getvalue()
        for event in [*events(tmp_path)][2:54]:
            watcher(event)
        watcher._live.refresh()  # type: ignore[attr-defined]
    finally:
        watcher.close()
    shown = stream.getvalue()
    parts = ("25,000 / 50,000 steps", "0:00:25 left", "▁▂▂▂▃", "mean return", "epsilon", "12.5", "solved at 475")
    for part in (*parts, "mean return: last 100 training episodes"):
        assert part in shown
    assert shown.rstrip().endswith("0:00:25 left")  # what stays of a run that was interrupted


@pytest.mark.parametrize("mode", ["live", "plain", "json"])
def test_nobody_reading_does_not_stop_a_run(mode: Mode, tmp_path: Path) -> None:
    stream = Terminal()
    stream.close()
    watcher = observer(mode, stream)
    for event in events(tmp_path):
        watcher(event)
    watcher.close()


def test_without_a_stdout_there_is_nothing_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    watcher = observer()
    for event in events(tmp_path):
        watcher(event)
    watcher.close()


def test_unknown_mode() -> None:
    with pytest.raises(TensorqError, match="expected auto, live, plain, json, quiet"):
        observer("loud")  # type: ignore[arg-type]


# --- curves and tables ------------------------------------------------------------------------------------------------


def test_moving_mean() -> None:
    assert moving_mean(np.array([1.0, 2.0, 6.0, 10.0]), 2).tolist() == [1.0, 1.5, 4.0, 8.0]


def test_draw_run(tmp_path: Path) -> None:
    from PIL import Image

    run = make_run(tmp_path / "run", env="Cart$Pole$_^-v1")
    with Image.open(draw_run(SavedRun(run), tmp_path / "curve.png")) as image:
        assert image.size == (1200, 690)
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or []}
    # The moving mean, the greedy evaluations and the solved line are there.
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)} <= colours
    assert draw_run(SavedRun(run), tmp_path / "curve.svg").read_text().startswith("<?xml")
    assert draw_run(SavedRun(run), tmp_path / "curve.PDF").read_bytes().startswith(b"%PDF")
    assert not [*tmp_path.rglob(".*")]


def test_a_run_without_evaluations_or_without_episodes_is_drawn(tmp_path: Path) -> None:
    draw_run(SavedRun(make_run(tmp_path / "a", evaluations={}, finished=False)), tmp_path / "a.png")
    run = make_run(tmp_path / "b")
    (run / "episodes.csv").write_text("episode,steps,env_index,length,return\n")
    draw_run(SavedRun(run), tmp_path / "b.png")
    draw_runs([run, tmp_path / "a"], tmp_path / "c.png")


def test_each_environment_has_a_picture_of_its_own(tmp_path: Path) -> None:
    from PIL import Image

    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", 1), make_run(tmp_path / "c", env="Acrobot-v1")]
    with Image.open(draw_runs(runs, tmp_path / "c.png")) as image:
        assert image.size == (1200, 2 * 690)
    drawn = draw_runs(runs, tmp_path / "c.svg").read_text()
    for text in ("CartPole-v1", "dqn, 2 seeds", "Acrobot-v1", "dqn, 1 seed"):
        assert drawn.count(f"<!-- {text} -->") == 1


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "is a folder without config.json"),
        ("metrics.csv", None, "has no metrics.csv: its training never began"),
        ("episodes.csv", "episode,steps\n1,2\n", "no column 'return'"),
        ("metrics.csv", "steps,epsilon,evaluation_return\n1,x,\n", "line 2 has 'x', expected a number"),
        ("config.json", '{"config": []}', 'has no "config"'),
    ],
)
def test_damaged_runs_get_one_clear_line(tmp_path: Path, file: str, content: str | None, message: str) -> None:
    run = make_run(tmp_path / "run")
    (run / file).unlink()
    if content is not None:
        (run / file).write_text(content)
    for draw in (lambda: draw_run(SavedRun(run), tmp_path / "c.png"), lambda: draw_runs([run], tmp_path / "c.png")):
        with pytest.raises(TensorqError, match=message) as caught:
            draw()
        assert "\n" not in str(caught.value)


def test_a_file_of_a_run_leads_to_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(TensorqError, match=f"did you mean {run}"):
        draw_run(SavedRun(run / "metrics.csv"), tmp_path / "c.png")


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", evaluations={})
    with pytest.raises(TensorqError, match=r"\.png, \.svg or \.pdf"):
        draw_run(SavedRun(run), tmp_path / "curve.jpeg")
    with pytest.raises(TensorqError, match="cannot write"):
        draw_run(SavedRun(run), run / "config.json" / "curve.png")
    with pytest.raises(TensorqError, match="there is no folder .*/none; create it, or give another path"):
        draw_run(SavedRun(run), tmp_path / "none" / "curve.png")
    assert not (tmp_path / "none").exists()
    with pytest.raises(TensorqError, match="no runs given"):
        draw_runs([], tmp_path / "curve.png")
    (run / "episodes.csv").write_text("episode,steps,env_index,length,return\n")
    for draw in (lambda: draw_run(SavedRun(run), tmp_path / "c.png"), lambda: draw_runs([run], tmp_path / "c.png")):
        with pytest.raises(TensorqError, match="no finished episode and no evaluation"):
            draw()


def test_a_network_or_an_environment_of_ones_own_is_another_setting(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a"),
        make_run(tmp_path / "b", network="custom"),
        make_run(tmp_path / "c", custom=True),
        make_run(tmp_path / "d", network="custom"),
    ]
    document = json.loads((runs[-1] / "config.json").read_text())
    (runs[-1] / "config.json").write_text(json.dumps({**document, "network_name": "wide"}))
    labels = [setting.label for setting in group_by_setting(runs)]
    assert labels[1:] == ["dqn network=custom", "dqn network=mlp environment.custom=True", "dqn network=wide"]
    labels = [setting.label for setting in group_by_setting(runs[:3])]
    assert labels == ["dqn", "dqn network=custom", "dqn environment.custom=True"]  # what most have goes without saying


@pytest.mark.parametrize(
    ("env", "arguments", "labels"),
    [
        ("own:Grid-v0", [{}, {}], [f"dqn environment.observation_space={{'discrete': {size}}}" for size in (4, 9)]),
        ("FrozenLake-v1", [{}, {}], ["dqn"]),
        ("FrozenLake-v1", [{}, {"map_name": "8x8"}], ["dqn"]),
    ],
)
def test_environments_differ_by_their_arguments_or_if_their_code_may_by_their_spaces(
    tmp_path: Path, env: str, arguments: list[Any], labels: list[str]
) -> None:
    runs = [make_run(tmp_path / str(seed), seed) for seed in (0, 1, 2)]
    for run, size, given in zip(runs, (4, 9, 4), [*arguments, arguments[0]], strict=True):
        document = json.loads((run / "config.json").read_text())
        document["config"] |= {"env": env, "env_args": given}
        document["environment"]["observation_space"] = {"discrete": size}
        (run / "config.json").write_text(json.dumps(document))
    found = group_by_setting(runs)
    assert sorted({setting.label for setting in found}) == labels
    names = [f"{env} map_name=8x8" if given else env for given in arguments]
    assert {setting.env for setting in found} == {*names}  # other arguments make another environment
    document["config"]["env_args"] = ["damaged"]
    (run / "config.json").write_text(json.dumps(document))
    assert len(group_by_setting(runs)) > 1


def test_seeds_become_one_setting_and_the_same_seed_counts_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [make_run(tmp_path / f"a{seed}", seed, gamma=0.99) for seed in (3, 1)]
    again = make_run(tmp_path / "again", 3, gamma=0.99)
    other = make_run(tmp_path / "b", 3, gamma=0.9)
    blog = make_run(tmp_path / "c", 3, gamma=0.5, preset="blog")
    settings = group_by_setting([*runs, other, again, blog])
    assert [[run.path for run in setting.runs] for setting in settings] == [runs, [other], [blog]]
    assert [setting.label for setting in settings] == ["dqn gamma=0.99", "dqn gamma=0.9", "blog"]
    warning = f"warning: {again} is left out: it has the same setting and seed as {runs[0]}\n"
    assert capsys.readouterr().err == warning


Drawn = list[tuple[str, tuple[Any, ...]]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """What is plotted and filled, in order: the method's name, and what it is given by place."""
    from matplotlib.axes import Axes

    kept: Drawn = []
    for name in ("plot", "fill_between"):
        real = getattr(Axes, name)

        def keep(axes: Axes, *args: Any, _real: Any = real, _name: str = name, **options: Any) -> Any:
            kept.append((_name, args))
            return _real(axes, *args, **options)

        monkeypatch.setattr(Axes, name, keep)
    return kept


def test_overlaid_seeds_are_a_mean_within_a_band(tmp_path: Path, drawn: Drawn) -> None:
    draw_runs([make_run(tmp_path / f"a{seed}", seed) for seed in (0, 10)], tmp_path / "c.png")
    (_, thin), (_, thick), (_, band) = drawn
    assert [part.tolist() for part in thin] == [part.tolist() for part in thick] == [[1000, 4000], [105, 405]]
    assert [part.tolist() for part in band] == [[1000, 4000], [100, 400], [110, 410]]


def test_a_seed_that_ends_early_does_not_cut_the_others(tmp_path: Path, drawn: Drawn) -> None:
    runs = [
        make_run(tmp_path / "a", 0, {1000: 10.0, 2000: 20.0, 3000: 30.0, 4000: 40.0}),
        make_run(tmp_path / "b", 1, {1000: 14.0, 2000: 28.0, 3000: 34.0}),
        make_run(tmp_path / "c", 2, {2000: 60.0}, finished=False),
        make_run(tmp_path / "d", 3, {}, finished=False),
    ]
    picture = draw_runs(runs, tmp_path / "c.svg").read_text()
    (_, thin), (_, thick), (_, (_, low, high)) = drawn
    # Means of 10 and 14; of 20, 28 and 60; of 30 and 34; and 40 alone, which has no interval.
    assert thin[0].tolist() == [1000, 2000, 3000, 4000] and thin[1].tolist() == [12, 36, 32, 40]
    assert np.array_equal(thick[1], [np.nan, 36, np.nan, np.nan], equal_nan=True)
    assert low.tolist()[:3] == [10, 20, 30] and high.tolist()[:3] == [14, 60, 34] and np.isnan([low[3], high[3]]).all()
    for text in ("dqn, 3 of 4 seeds", "mean and 95 % bootstrap interval, thin: fewer seeds"):
        assert picture.count(f"<!-- {text} -->") == 1


def test_no_episode_is_hidden(tmp_path: Path, drawn: Drawn) -> None:
    """One far below the others would flatten the curve: it points down from the lower end."""
    run = make_run(tmp_path / "run")
    rows = [f"{n},{10 * n},0,100,{-1e6 if n == 200 else 500}" for n in range(1, 401)]
    (run / "episodes.csv").write_text("\n".join(["episode,steps,env_index,length,return", *rows, ""]))
    draw_run(SavedRun(run), tmp_path / "c.png")
    (steps, floor), *others = [args[:2] for _, args in drawn if len(args) == 3 and args[2] == "v"]
    assert steps.tolist() == [2000] and -1e6 < floor[0] < 500 and not others


def test_an_epsilon_of_0_has_no_panel(tmp_path: Path, drawn: Drawn) -> None:
    draw_run(SavedRun(make_run(tmp_path / "a")), tmp_path / "a.png")
    assert [name for name, _ in drawn].count("fill_between") == 1
    greedy = make_run(tmp_path / "b", epsilon_start=0.0, epsilon_final=0.0)
    picture = draw_run(SavedRun(greedy), tmp_path / "b.svg").read_text()
    assert [name for name, _ in drawn].count("fill_between") == 1
    assert "<!-- epsilon -->" not in picture and picture.count("<!-- environment steps -->") == 1


def test_runs_of_a_nameless_function_and_the_loop_that_was_taken(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", env="lambda", custom=True)
    assert "<!-- environment of a function -->" in draw_run(SavedRun(run), tmp_path / "a.svg").read_text()
    names = (("b", "auto", 0), ("c", "host", 0), ("d", "auto", 1))
    runs = [make_run(tmp_path / name, seed, loop=loop) for name, loop, seed in names]
    for path, loop in zip(runs, ("compiled", "host", None), strict=True):
        document = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**document, **({"loop": loop} if loop else {})}))
    settings = group_by_setting(runs)
    assert [setting.label for setting in settings] == ["dqn loop=compiled", "dqn loop=host"]
    assert len(settings[0].runs) == 2  # the last is from before it was kept


def test_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path / f"a{seed}", seed) for seed in (2, 0)]
    runs.append(make_run(tmp_path / "b", 1, evaluations={2000: 50.0}, finished=False, gamma=0.5))
    rows = compare(runs)
    assert [row["seeds"] for row in rows] == [[2, 0], [1]]
    first, second = rows
    assert (first["interquartile_mean"], first["interquartile_low"], first["interquartile_high"]) == (401, 400, 402)
    assert (first["worst_return"], first["worst_seed"], first["seconds"], first["unfinished"]) == (400.0, 0, 3.0, 0)
    assert (second["interquartile_mean"], second["interquartile_low"], second["unfinished"]) == (50.0, None, 1)
    assert second["seconds"] is None and second["steps"] == 4000.0
    print_rows(rows, "best", as_json=True)
    assert json.loads(capsys.readouterr().out) == rows
    print_rows(rows, "best")
    shown = capsys.readouterr().out
    for part in ("400.0 to 402.0", "CartPole-v1 dqn ", "  gamma 0.5 ", " 1 unfinished "):
        assert part in shown


@pytest.mark.parametrize(("metric", "expected"), [("best", 400.0), ("final", 300.0), ("average", 350.0)])
def test_compare_takes_the_return_that_is_asked_for(tmp_path: Path, metric: Metric, expected: float) -> None:
    run = make_run(tmp_path / "run", evaluations={1000: 400.0, 4000: 300.0})
    assert compare([run], metric)[0]["interquartile_mean"] == expected


RETURNS = """env,setting,seed,best_return
CartPole-v1,dqn,0,475
CartPole-v1,dqn,1,248.6
CartPole-v1,dqn,2,475
MountainCar-v0,dqn,0,-200
MountainCar-v0,dqn,1,-155
CartPole-v1,per,0,300
"""


def test_compare_reads_tables_of_returns_and_puts_environments_together(tmp_path: Path) -> None:
    file = tmp_path / "returns.csv"
    file.write_text(RETURNS)
    rows = compare([file])
    assert [(row["env"], row["preset"], row["interquartile_mean"]) for row in rows[:3]] == [
        ("CartPole-v1", "dqn", pytest.approx(1198.6 / 3)),
        ("CartPole-v1", "per", 300.0),  # beside the other setting of its environment, wherever it is in the file
        ("MountainCar-v0", "dqn", -177.5),
    ]
    # Two of CartPole's three, as there are of MountainCar: (475 - 22.2) / 452.8 = 1 and (248.6 - 22.2) / 452.8 = 0.5;
    # MountainCar: 0 and (-155 + 200) / 90 = 0.5.
    (together,) = rows[3:]  # per was not tried in MountainCar
    assert together["returns"] == pytest.approx([1.0, 0.5, 0.0, 0.5])
    assert together["interquartile_mean"] == pytest.approx(0.5)  # the middle two of the four
    assert (together["preset"], together["worst_return"]) == ("dqn", 0.0)
    drawn = draw_intervals(rows, "best", tmp_path / "intervals.svg").read_text()
    texts = ["CartPole-v1", "all, normalised", "399.5", "248.6 to 475.0", "−177.5", "0.500"]
    assert [drawn.count(f"<!-- {text} -->") for text in texts] == [1] * len(texts)


def test_the_picture_of_a_comparison_fills_its_frame_and_nothing_overlaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from itertools import combinations

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *rest, **options: seen.append(figure))
    long = "dqn learning_rate=0.0003 hidden_sizes=" + "x".join(["512"] * 40)
    for environments, settings, seeds in ((1, ["dqn"], 1), (1, ["dqn", long], 3), (7, ["$a$_^", long, "W" * 20], 2)):
        lines = ["env,setting,seed,best_return"]
        for env in range(environments):
            for index, setting in enumerate(settings):
                seed_returns = [(seed, (-1) ** env * 10.0 ** (env + index) + seed) for seed in range(seeds)]
                lines += [f"module.of$mine$_^:{'Long' * env}-v{env},{setting},{seed},{r}" for seed, r in seed_returns]
        (tmp_path / "returns.csv").write_text("\n".join(lines))
        draw_intervals(compare([tmp_path / "returns.csv"]), "best", tmp_path / "c.png")
    for figure in seen:
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
        for axes in figure.axes:
            low, high = axes.get_xlim()
            unseen = [text for text in axes.get_xticklabels() if not low <= text.get_position()[0] <= high]
            texts = [text for text in texts if text not in unseen]
        boxes = [text.get_window_extent(renderer) for text in texts]
        right = max(box.x1 for box in boxes)
        assert min(box.x0 for box in boxes) > 0 and min(box.y0 for box in boxes) > 0
        assert figure.bbox.x1 - 0.35 * figure.dpi < right < figure.bbox.x1
        assert max(box.y1 for box in boxes) < figure.bbox.y1
        assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    alone = [text.get_text() for text in (*seen[0].axes[0].texts, *seen[0].subfigs[0].texts)]
    assert alone == ["1.00", "", "best greedy return of one seed"]
    assert (
        seen[1].subfigs[0].texts[0].get_text()
        == "best greedy return: interquartile mean over seeds, 95 % bootstrap interval"
    )


def test_all_environments_together_have_no_interval_where_each_has_one_seed(tmp_path: Path) -> None:
    file = tmp_path / "returns.csv"
    file.write_text("env,setting,seed,best_return\nCartPole-v1,dqn,0,475\nMountainCar-v0,dqn,0,-155\n")
    together = compare([file])[-1]
    assert (together["interquartile_mean"], together["seeds"]) == (pytest.approx(0.75), ["0", "0"])
    assert together["interquartile_low"] is together["interquartile_high"] is None


def test_seeds_are_those_whose_returns_are_told(tmp_path: Path) -> None:
    file = tmp_path / "returns.csv"
    rows = ["CartPole-v1,dqn,0,", "CartPole-v1,dqn,1,475", "CartPole-v1,dqn,2,22.2", "MountainCar-v0,dqn,3,-155"]
    file.write_text("\n".join(["env,setting,seed,best_return", *rows]))
    found = [(row["seeds"], row["returns"]) for row in compare([file])]
    assert found == [(["1", "2"], [475, 22.2]), (["3"], [-155]), (["1", "3"], [1, 0.5])]


def test_a_seed_that_comes_again_in_a_table_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "returns.csv"
    file.write_text(f"{RETURNS}CartPole-v1,per,0,100\nCartPole-v1,dqn,1,1\n")
    rows = compare([file])
    assert capsys.readouterr().err.splitlines() == [
        f"warning: line 8 of {file} is left out: line 7 has the same env, setting and seed",
        f"warning: line 9 of {file} is left out: line 3 has the same env, setting and seed",
    ]
    assert [row["returns"] for row in rows[:3]] == [[475, 248.6, 475], [300], [-200, -155]]


def test_reference_returns_end_at_gymnasiums_thresholds() -> None:
    for env, (_, solved) in REFERENCE_RETURNS.items():
        assert gym.spec(env).reward_threshold == solved


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("env,setting,best_return\n", "has no column 'seed'; expected env, setting, seed and best_return"),
        ("best_return,seed,env,setting\n500,1\n", "line 2 of .* has no env and setting"),
        (None, "cannot be read"),
    ],
)
def test_compare_refuses_what_is_no_table_of_returns(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "returns.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(TensorqError, match=message):
        compare([file])


def test_a_comparison_fits_into_80_columns(tmp_path: Path) -> None:
    from rich.console import Console

    odd = {"gamma": 0.8999999761581421, "hidden_sizes": [], "learning_starts_steps": 123_456}
    runs = [make_run(tmp_path / "a", gamma=0.99, hidden_sizes=[8, 9]), make_run(tmp_path / "b", finished=False, **odd)]
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as captured:
        console.print(table_of(compare(runs), "best"))
    words = " ".join(captured.get().split())
    for part in ("gamma 0.99", "hidden_sizes 8x9", "gamma 0.9 ", "hidden_sizes none", "123456", "unfinished", "400.0"):
        assert part in words


def test_runs_of_two_versions_are_one_setting_where_they_did_the_same(tmp_path: Path) -> None:
    """A run before kept fewer settings, and each bound of a space; HL-Gauss had no spare bins."""
    paths = {
        head: [make_run(tmp_path / f"{head}{seed}", seed, head=head) for seed in (0, 1)]
        for head in ("expected", "hl_gauss")
    }
    for path in (paths["expected"][1], paths["hl_gauss"][1]):
        document = json.loads((path / "config.json").read_text())
        document["config"] = dataclasses.asdict(Config.from_dict(document["config"]))
        document["loop"] = "compiled"
        (path / "config.json").write_text(json.dumps(document))
    for path, bound in zip(paths["expected"], ([1.0, 1.0], 1.0), strict=True):
        document = json.loads((path / "config.json").read_text())
        document["environment"]["observation_space"] = {
            "shape": [2],
            "dtype": "float32",
            "low": bound,
            "high": [2.0, 2.0],
        }
        (path / "config.json").write_text(json.dumps(document))
    assert [len(setting.runs) for setting in group_by_setting(paths["expected"])] == [2]
    first, second = group_by_setting(paths["hl_gauss"])
    assert (first.changes, second.changes) == ({"hl_gauss_spare_bins": 0}, {"hl_gauss_spare_bins": 3})


@pytest.mark.parametrize("use", [compare, group_by_setting])
def test_a_run_that_cannot_be_used_does_not_keep_others_from_it(
    tmp_path: Path, use: Callable[[list[Path]], list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    good, bare, damaged = (make_run(tmp_path / name) for name in ("good", "bare", "damaged"))
    (bare / "metrics.csv").unlink()
    (damaged / "metrics.csv").write_text("steps,epsilon,evaluation_return\n1,x,\n")
    assert len(use([bare, good, damaged])) == 1
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2
    assert warnings[0].startswith(f"warning: left out: {bare} has no metrics.csv")
    assert warnings[1].startswith(f"warning: left out: {damaged / 'metrics.csv'} is damaged")
    with pytest.raises(TensorqError, match="none of these 2 runs can be used"):
        use([bare, damaged])


def test_a_damaged_result_costs_only_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    (run / "result.json").write_text('{"fini')
    row = compare([run])[0]
    assert (row["mean"], row["seconds"]) == (400.0, None)
    assert f"warning: {run / 'result.json'} is damaged" in capsys.readouterr().err


def test_legends_of_many_runs_and_long_numbers_stay_in_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *rest, **options: seen.append(figure))
    many: list[dict[str, Any]] = [{}, {"gamma": 0.5}, {"hidden_sizes": [512] * 30}, {"preset": "blog"}]
    many += [{"learning_rate": rate, "batch_size": 8, "replay_ratio": 0.25, "num_envs": 16} for rate in (1, 2, 3, 4)]
    draw_runs([make_run(tmp_path / f"r{index}", **changes) for index, changes in enumerate(many)], tmp_path / "a.png")
    draw_runs([make_run(tmp_path / f"{e}", env=f"Environment{e}-v1") for e in range(4)], tmp_path / "b.png")
    low = make_run(tmp_path / "low", evaluations={1000: -98765.0})
    draw_run(SavedRun(low), tmp_path / "c.png")
    lake = {"is_slippery": False, "map_name": "8x8", "desc": ["WWWWWWWWWW"] * 5}
    draw_run(SavedRun(make_run(tmp_path / "lake", env="FrozenLake-v1", env_args=lake)), tmp_path / "d.png")
    for page in seen:
        FigureCanvasAgg(page).draw()
    titles = []
    for part in (part for page in seen for part in page.subfigs):
        whole, axes = part.bbox, part.axes[0]
        legend, (details,) = axes.get_legend(), axes.texts
        assert legend
        boxes = [shown.get_window_extent() for shown in (legend, legend.get_title(), details)]
        for box in (*boxes, axes.get_tightbbox()):
            assert box and box.x0 >= 0 and box.x1 <= whole.x1 and box.y0 >= whole.y0 and box.y1 <= whole.y1
        assert boxes[0].y0 > axes.get_window_extent().y1 and axes.get_window_extent().height > 0.4 * whole.height
        assert boxes[1].x1 < boxes[2].x0 and all(boxes[2].y0 > text.get_window_extent().y1 for text in legend.texts)
        titles.append(legend.get_title().get_text())
    assert seen[2].axes[0].get_ylim()[0] < -98765  # lines are shown whole
    assert titles[-1].startswith("FrozenLake-v1 is_slippery=False\nmap_name=8x8")


# --- videos -----------------------------------------------------------------------------------------------------------


def frames(count: int, height: int = 200, width: int = 300, actions: int = 2) -> list[Frame]:
    """A square that moves over a background, and a number of Q-values."""
    made = []
    for index in range(count):
        image = Image.new("RGB", (width, height), "white")
        image.paste((0, 132, 66), (5 * index, 20, 5 * index + 20, 40))
        image.paste((253, 251, 248), (0, 60, 20, 80))  # hardly to be told from white, which has to stay white
        made.append(Frame(image, np.arange(actions) + float(index), index % actions, float(index), index))
    return made


def black(height: int, width: int, *q_values: float, action: int | None = None, step: int = 0) -> Frame:
    return Frame(Image.new("RGB", (width, height)), np.array(q_values or [0.0]), action, 0.0, step)


def enlarged(image: Image.Image, factor: int) -> np.ndarray:
    return np.asarray(image).repeat(factor, axis=0).repeat(factor, axis=1)


def read_gif(path: Path) -> tuple[list[np.ndarray], list[int]]:
    pictures, milliseconds = [], []
    with Image.open(path) as image:
        for index in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(index)
            pictures.append(np.asarray(image.convert("RGB")))
            milliseconds.append(image.info["duration"])
    return pictures, milliseconds


def test_a_plain_gif_holds_the_frames(tmp_path: Path) -> None:
    shown = frames(10)
    pictures, milliseconds = read_gif(record(iter(shown), tmp_path / "clip.gif", fps=30, plain=True))
    assert len(pictures) == 10
    for picture, frame in zip(pictures, shown, strict=True):
        assert np.array_equal(picture, enlarged(frame.image, 2))
    assert sum(milliseconds) == 1330  # 10 / 30 s, rounded, and a second to look at the last
    assert [*tmp_path.iterdir()] == [tmp_path / "clip.gif"]


@pytest.mark.parametrize(("output", "fps", "stride"), [("a.gif", 50, 2), ("a.gif", 30, 1), ("a.mp4", 50, 1)])
def test_only_a_gif_leaves_out_frames(output: str, fps: int, stride: int) -> None:
    assert frame_stride(Path(output), fps) == stride


def test_frames_that_do_not_change_cost_nothing(tmp_path: Path) -> None:
    still = frames(1) * 25
    pictures, milliseconds = read_gif(record(still, tmp_path / "clip.gif", fps=25, plain=True))
    assert len(pictures) == 1 and milliseconds == [2000]


def test_the_panel_shows_the_chosen_action(tmp_path: Path) -> None:
    names = ["left", "right"]
    shown = [*frames(6), frames(7)[6]._replace(action=None)]  # none follows the last state
    pictures, _ = read_gif(record(shown, tmp_path / "clip.gif", fps=25, action_names=names))
    assert pictures[0].shape == (400, 816, 3) and not bar_widths(pictures[6], CHOSEN)
    for index, picture in enumerate(pictures[:6]):
        rows = np.flatnonzero((picture[:, 600:] == CHOSEN).all(axis=2).any(axis=1))
        assert (rows.min() > 200) == bool(index % 2)  # the second bar lies below the first
    assert np.array_equal(pictures[2][:, :600], enlarged(frames(3)[2].image, 2))


@pytest.mark.parametrize(
    ("shape", "width"), [((84, 84), 588), ((16, 16), 592), ((256, 256), 512), ((400, 600), 600), ((1200, 1500), 750)]
)
def test_pictures_are_brought_to_a_size_that_can_be_read(tmp_path: Path, shape: tuple[int, int], width: int) -> None:
    (picture,), _ = read_gif(record([black(*shape)], tmp_path / "clip.gif", fps=25, plain=True))
    assert picture.shape == (width * shape[0] // shape[1], width, 3)


CHOSEN, OTHER = (90, 181, 231), (173, 189, 206)


def bar_widths(picture: np.ndarray, colour: tuple[int, int, int]) -> list[int]:
    """How wide the bars of a colour are, each once."""
    return sorted({int(row.sum()) for row in (picture == colour).all(axis=2)} - {0})


def test_the_panel_tells_actions_apart_in_any_picture(tmp_path: Path) -> None:
    shown = [black(40, 300, 500.0, 500.01, 499.91, action=1), black(40, 300, 10.0, 10.01, 9.91, action=1, step=1)]
    pictures, _ = read_gif(record(shown, tmp_path / "clip.gif", fps=25))
    assert pictures[0].shape == (142 + 3 * 40, 816, 3)  # rows with a bar below each text, the picture in the middle
    assert (pictures[0][91:171, :600] == 0).all() and (pictures[0][:91, :600] > 0).all()
    for picture in pictures:  # however high the values are: full, a tenth of the largest gap below, and all of it
        assert bar_widths(picture, CHOSEN)[-1] == 1 + 184
        assert bar_widths(picture, OTHER) == [1 + round(0.04 * 184), 1 + round((1 - 0.96 * 0.1**0.5) * 184)]


def test_the_panel_says_how_far_below_the_best_an_action_is(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    real = ImageDraw.ImageDraw.text

    def keep(draw: Any, place: Any, text: str, *args: Any, **options: Any) -> None:
        drawn.append(text)
        real(draw, place, text, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", keep)
    first = black(400, 600, 98.31, 98.35, -np.inf, action=1, step=7)._replace(total_return=2.5)
    scene = _Scene([first], False, ["left", "right", "up"])
    assert drawn == ["step", "return", "highest Q", "Q minus the highest Q;\nbars: square-root scale"]
    drawn.clear()
    scene.draw(first)
    assert drawn == ["7", "2.5", "98.35", "left", "-0.04000", "right", "0", "up", "-"]
    drawn.clear()
    scene.draw(black(400, 600, 1.0, -99.0, np.nan, action=0, step=8))
    assert drawn == ["8", "0", "1.00", "left", "0", "right", "-100.0", "up", "nan"]
    assert [_number(-2.5, largest) for largest in (2.5e4, 25, 0.25)] == ["-2", "-2.50", "-2.5000"]
    assert (_number(-2.5e6, 2.5e6), _number(-2.5e-6, 2.5e-6)) == ("-2.5e+06", "-2.5e-06")


def test_small_returns_have_two_decimals() -> None:
    assert [format_return(value) for value in (0.744, -9.994, 9.999, 10, -78.44, None)] == [
        "0.74", "-9.99", "10.00", "10.0", "-78.4", "-",
    ]  # fmt: skip


def test_an_illegal_action_has_no_bar_and_does_not_widen_the_scale(tmp_path: Path) -> None:
    shown = black(200, 300, 1.0, -np.inf, 0.0, action=0)
    (picture,), _ = read_gif(record([shown], tmp_path / "clip.gif", fps=25))
    assert bar_widths(picture, CHOSEN)[-1] == 185 and bar_widths(picture, OTHER) == [8]


@pytest.mark.parametrize("actions", [1, 18, 40])
@pytest.mark.parametrize("size", [(210, 160), (10, 10), (401, 601), (1, 2000)])
def test_any_number_of_actions_and_any_size(tmp_path: Path, actions: int, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0)
    shown = [
        frame._replace(image=Image.fromarray(noise.integers(0, 256, (*size, 3), np.uint8)))
        for frame in frames(3, actions=actions)
    ]
    shown[1].q_values[0] = np.nan
    pictures, _ = read_gif(record(shown, tmp_path / "clip.gif", fps=25))
    assert len(pictures) == 3


def test_mp4(tmp_path: Path) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = record(frames(10, 201, 301), tmp_path / "clip.mp4", fps=30)
    assert imageio_ffmpeg.count_frames_and_secs(str(path)) == (10, pytest.approx(10 / 30, abs=0.01))
    assert [*tmp_path.iterdir()] == [path]


def test_an_ffmpeg_that_fails_costs_neither_the_old_video_nor_a_line_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    resource = pytest.importorskip("resource")
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        with pytest.raises(TensorqError, match=r"clip.mp4: ffmpeg stopped before the end .* bytes are free") as caught:
            record(frames(10, 201, 301), path, fps=30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    with pytest.raises(TensorqError, match=r"clip.mp4: ffmpeg does not start: .*none.*; write a .gif"):
        record(frames(10, 201, 301), path, fps=30)
    assert path.read_bytes() == b"old" and [*tmp_path.iterdir()] == [path]
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Iterator[Frame]:
        yield frames(1)[0]
        raise RuntimeError("the environment broke")

    for wrong, output, message in (
        (frames(2), "clip.avi", r"\.gif or \.mp4"),
        ([], "clip.gif", "no frames"),
        (frames(2), "none/clip.gif", "there is no folder .*/none; create it, or give another path"),
        ([*frames(1), *frames(1, 10, 10)], "clip.gif", "like the first"),
    ):
        with pytest.raises(TensorqError, match=message):
            record(wrong, tmp_path / output, fps=25)
    with pytest.raises(TensorqError, match="fps"):
        record(frames(2), tmp_path / "clip.gif", fps=0)
    with pytest.raises(RuntimeError, match="broke"):
        record(fail(), tmp_path / "clip.gif", fps=25)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(TensorqError, match="needs the video extra: .* pip install .*imageio-ffmpeg"):
        record(frames(2), tmp_path / "clip.mp4", fps=25)
    assert not [*tmp_path.iterdir()]


# --- the runs in a folder ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Runs in every state, two of them a folder deeper."""
    folder = tmp_path / "runs"
    make_run(folder / "grid" / "seed10")
    make_run(folder / "grid" / "seed2", finished=False)
    make_run(folder / "busy<b>")
    make_run(folder / "torn")
    (folder / "torn" / "config.json").write_text("{")
    (folder / "notes").mkdir()
    return folder


def test_runs_are_told_by_their_state(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunDirectory(folder / "busy<b>"):
        runs.print_runs(folder, as_json=True)
    found = json.loads(capsys.readouterr().out)
    keys = ("run", "state", "steps", "best_return", "seconds")
    assert [[each[key] for key in keys] for each in found] == [
        [str(folder / "busy<b>"), "training", 4000, 400.0, None],
        [str(folder / "grid/seed2"), "stopped", 4000, 400.0, None],
        [str(folder / "grid/seed10"), "finished", 4000, 400.0, 2.0],
        [str(folder / "torn"), "damaged", 0, None, None],
    ]
    assert all(each["disk_bytes"] >= 1000 for each in found) and "is not JSON" in found[-1]["problem"]
    assert not (folder / "torn" / "lock").exists()  # looking leaves no trace
    runs.print_runs(folder)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [str(folder / "grid/seed2"), "stopped", "4,000", "of", "50,000", "400.0"] in [line[:6] for line in lines]
    assert lines[-1][:2] == ["4", "runs,"]
    runs.print_runs(folder / "notes")
    assert "no runs in" in capsys.readouterr().out
    with pytest.raises(TensorqError, match="there is no folder .*nowhere; expected a folder of runs"):
        runs.print_runs(folder / "nowhere")


def test_a_notebook_shows_any_run(folder: Path) -> None:
    whole = runs.to_html(SavedRun(folder / "busy<b>"))
    assert "busy&lt;b&gt;" in whole and "<b>" not in whole and "finished, 4,000 steps, best return 400.0" in whole
    picture = base64.b64decode(whole.partition("base64,")[2].partition('"')[0])
    assert picture.startswith(b"\x89PNG") and "http" not in whole
    for path in (folder / "torn", folder / "notes", folder / "nowhere"):
        assert "damaged (" in runs.to_html(SavedRun(path)) and "<img" not in runs.to_html(SavedRun(path))


def test_replays_of_finished_runs_are_freed_after_a_yes(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    replays = [run / "replay.bin" for run in (folder / "busy<b>", folder / "grid/seed2", folder / "grid/seed10")]
    for replay in replays:
        replay.write_bytes(bytes(2_000_000))
    with pytest.raises(TensorqError, match="give --yes to free 4 MB of 2 runs, as no terminal can ask"):
        runs.free_replays(folder, agreed=False)
    for answer in ("", "n", "maybe"):
        monkeypatch.setattr(sys, "stdin", Terminal())
        sys.stdin.write(f"{answer}\n")
        sys.stdin.seek(0)
        runs.free_replays(folder, agreed=False)
        assert capsys.readouterr().out.endswith("free 4 MB of 2 runs? [y/N] nothing was freed\n")
    assert all(replay.exists() for replay in replays)
    with RunDirectory(folder / "busy<b>"):
        runs.free_replays(folder, agreed=True)
    assert "2 MB  " in (shown := capsys.readouterr().out) and "busy" not in shown and shown.endswith("freed 2 MB\n")
    assert [replay.exists() for replay in replays] == [True, True, False]
    runs.free_replays(folder, agreed=True)
    runs.free_replays(folder, agreed=True)
    assert "nothing to free" in capsys.readouterr().out and [replay.exists() for replay in replays][:2] == [False, True]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (999.6, "1 kB"), (66_349_000, "66.3 MB"), (2e12, "2 TB")]
)
def test_sizes_have_three_digits(count: float, text: str) -> None:
    assert format_bytes(count) == text


def test_environments_of_other_packages_hide_none_of_gymnasiums() -> None:
    code = (
        "import gymnasium as gym; from tensorq.show.catalogue import print_environments\n"
        "gym.register('CartPole-v9', entry_point='elsewhere:CartPole'); print_environments()"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names = [line.split()[0] for line in shown.splitlines() if line]
    assert "CartPole-v1" in names and "CartPole-v0" not in names and "CartPole-v9" not in names
    ours = {name for name in WORLDS if WORLDS.owner(name) == OURS}
    assert ours < set(names)  # those that Gymnasium does not have, too


# --- all of it --------------------------------------------------------------------------------------------------------


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    heavy = ["tensorflow", "keras", "matplotlib", "rich", "PIL", "imageio", "imageio_ffmpeg", "gymnasium", "pygame"]
    code = (
        "import sys, tensorq.observers.progress, tensorq.cli\n"
        "import tensorq.show.curve, tensorq.show.tables, tensorq.show.runs\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
