"""A package of its own that adds a world, a head, an encoder, a preset and an observer, from the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import tensorq as tq
from tensorq.errors import TensorqError
from tensorq.plugins import Registry, load, load_observer

PACKAGE = Path(__file__).parent / "plugin"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as an installer leaves it: its wheel, unpacked."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=PACKAGE, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    def call(*arguments: str, code: int = 0, with_package: bool = True) -> subprocess.CompletedProcess[str]:
        path = [*([str(installed)] if with_package else []), *sys.path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "COLUMNS": "120"}
        command = [sys.executable, "-m", "tensorq", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done

    return call


def test_what_a_package_brings_is_trained_evaluated_filmed_and_resumed(run: Run, tmp_path: Path) -> None:
    given = ["--preset", "corridor", "--env-arg", "length=4", "--wave-count", "3", "--run-dir", "run", "--quiet"]
    done = run("train", "Corridor-v0", *given, "--observer", "tensorq_corridor.observer:Counts")
    assert not done.stderr  # TensorFlow's own lines, which a world imports
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert kept["plugins"] == {"tensorq-corridor": "1.2"} and kept["loop"] == "compiled"
    assert [kept["config"][name] for name in ("wave_count", "log_cosh_width", "encoder")] == [3, 1.0, "waves"]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["solved"] and result["solved_return"] == 0.86
    assert "Evaluated=3" in (tmp_path / "counts.txt").read_text()
    assert (tmp_path / "run" / "video.gif").stat().st_size > 1000
    done = run("evaluate", "run", "--episodes", "20", "--json")
    assert not done.stderr and json.loads(done.stdout)["mean"] > 0.86
    run("record", "run", "-o", "again.gif")
    assert "threads" not in run("train", "Corridor-v0", "--preset", "corridor", "--steps", "300").stdout  # no warning
    run("resume", "run", "--steps", "3500", "--quiet")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 3500
    line = "run was trained with the package tensorq-corridor 1.2, which is not installed: install it."
    for command in (["evaluate", "run"], ["resume", "run", "--steps", "4000"], ["record", "run"]):
        assert line in run(*command, code=2, with_package=False).stderr


def test_in_the_host_loop_and_with_a_preset_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "corridor"\nloop = "host"\nsteps = 400\nwave_count = 1\n')
    run("train", "Corridor-v0", "--preset", "./mine.toml", "--quiet")
    kept = json.loads((tmp_path / "runs" / "Corridor-v0-mine-seed0" / "config.json").read_text())
    assert (kept["config"]["preset"], kept["config"]["wave_count"], kept["loop"]) == ("mine", 1, "host")
    played = json.loads(run("evaluate", "runs/Corridor-v0-mine-seed0", "--episodes", "2", "--json").stdout)
    assert len(played["returns"]) == 2
    (tmp_path / "mine.toml").write_text("steps = ")
    assert "cannot read mine.toml" in run("train", "Corridor-v0", "--preset", "mine.toml", code=2).stderr
    (tmp_path / "mine.toml").write_text("gama = 0.9")
    refused = run("train", "Corridor-v0", "--preset", "mine.toml", "--steps", "400", code=2).stderr
    assert "mine.toml: unknown setting 'gama': did you mean gamma?" in refused


def test_help_lists_the_settings_of_a_chosen_part_and_imports_no_tensorflow(run: Run, installed: Path) -> None:
    shown = run("train", "--help", "--encoder", "waves").stdout
    assert "encoder waves:" in shown and "--wave-count INT" in shown
    assert "--wave-count" not in run("train", "--help").stdout
    code = "import sys; from tensorq import cli; cli.run(sys.argv[1:]); sys.exit('tensorflow' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), *sys.path])}
    command = [sys.executable, "-c", code, "train", "--help", "--encoder", "waves", "--head", "log_cosh"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "--log-cosh-width FLOAT" in done.stdout
    line = "unknown option --wave-count"
    assert line in run("train", "CartPole-v1", "--wave-count", "3", code=2).stderr
    assert (
        "expected one of auto, cnn, impala, mlp, nature, waves."
        in run("train", "CartPole-v1", "--encoder", "x", code=2).stderr
    )


def test_a_package_that_raises_or_clashes_gets_a_line_with_its_name(run: Run, tmp_path: Path) -> None:
    for content, line in [
        ("1 / 0", "the package bad, which extends tensorq, raised ZeroDivisionError"),
        (
            "import tensorq\ntensorq.register_head('expected', 'a:B')",
            "head 'expected' is registered twice, by tensorq and",
        ),
        ("import tensorq\ntensorq.register_world('CartPole-v1', 'a:B')", "world 'CartPole-v1' is registered twice, by"),
    ]:
        (tmp_path / "bad.py").write_text(content)
        (tmp_path / "bad-1.dist-info").mkdir(exist_ok=True)
        (tmp_path / "bad-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1\n")
        (tmp_path / "bad-1.dist-info" / "entry_points.txt").write_text("[tensorq.plugins]\nbad = bad\n")
        done = run("train", "CartPole-v1", "--encoder", "waves", code=2, with_package=False)
        assert line in done.stderr and len(done.stderr.strip().splitlines()) == 1
        run("train", "CartPole-v1", "--help", with_package=False)  # which nobody asks for what is unknown


def test_a_part_of_a_package_that_raises_gets_a_line_with_its_name(run: Run, installed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tensorq_corridor"
    shutil.copytree(installed / "tensorq_corridor", copy)  # the current folder comes first
    head = (copy / "head.py").read_text()
    (copy / "head.py").write_text(head.replace("error = (mean", "raise ZeroDivisionError(1)\n        error = (mean"))
    done = run("train", "Corridor-v0", "--preset", "corridor", "--run-dir", "run", "--quiet", code=2)
    assert "an extension by the package tensorq-corridor raised ZeroDivisionError" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "run").exists()


def test_names_are_loaded_or_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "others.py").write_text(
        "def watch(event): pass\nclass Never:\n    def __init__(self): 1 / 0\nnumber = 3\n"
    )
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_observer("others:watch").__name__ == "watch"
    for home, line in [
        ("others", "observer: received 'others', expected MODULE:NAME"),
        ("others:nothing", "observer: the module others has no 'nothing'"),
        ("others:number", "observer others:number: received 3, expected a function that takes one event"),
        ("others:Never", "observer others:Never cannot be made: ZeroDivisionError"),
        ("broken:x", "observer, broken:x, cannot be imported: ZeroDivisionError"),
        ("no_such:x", "observer: Python finds no module 'no_such'"),
    ]:
        with pytest.raises(TensorqError, match=line):
            load_observer(home)
    registry = Registry("thing", {"a": "others:watch"})
    registry.register("a", "others:watch")  # again, as when a module is imported twice
    with pytest.raises(TensorqError, match="thing 'a' is registered twice, by tensorq and others:number"):
        registry.register("a", "others:number")
    assert load("others:number", "thing") == 3


def test_a_world_is_told_what_is_wrong_with_it(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)
    import tensorflow as tf
    from gymnasium.utils.env_checker import check_env
    from tensorq_corridor.world import Corridor

    tq.check_world(Corridor())
    check_env(tq.GymView(Corridor(), render_mode="rgb_array"), skip_render_check=True)
    step, one = Corridor.step, tf.Variable(0.0)

    def changed(change: Callable[..., object]) -> Callable[..., object]:
        return lambda self, state, action, u: change(*step(self, state, action, u))

    for name, value, line in [
        ("max_episode_steps", 2.5, "Corridor.max_episode_steps: received 2.5, expected int"),
        ("step_uniforms", -1, "Corridor.step_uniforms: received -1, expected at least 0"),
        (
            "step",
            changed(lambda s, r, t, c: (s, r, t)),
            r"Corridor.step: received .*, expected \(state, reward, ",
        ),
        (
            "step",
            changed(lambda s, r, t, c: (s, r[0], t, c)),
            r"Corridor.step's reward: received float32 of",
        ),
        ("step", changed(lambda s, r, t, c: (s[:1], r, t, c)), "Corridor.step: received a state of"),
        ("step", changed(lambda s, r, t, c: (s, r + one.assign_add(1.0), t, c)), "the same state, action and u"),
        ("step", changed(lambda s, r, t, c: (s, r + tf.reduce_sum(r), t, c)), "independent rows"),
        ("observe", lambda self, state: state[1], r"Corridor.observe: received float32 of shape \(3,\)"),
        (
            "observe",
            lambda self, state: tf.zeros((3, 2)) + 2,
            r"Corridor.observe: received \[2. 2.\], expected an",
        ),
        ("render", lambda self, state: 3, "Corridor.render: received 3, expected a NumPy array"),
        ("reset", lambda self, u: 1 / 0, "Corridor.reset raised ZeroDivisionError"),
    ]:
        with monkeypatch.context() as patched:
            patched.setattr(Corridor, name, value)
            with pytest.raises(TensorqError, match=line):
                tq.check_world(Corridor())


def test_the_examples_of_the_page_on_extending_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs" / "extending.md").read_text()
    first, *blocks = re.findall("```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "tensorq_mine.py").write_text("\n".join(["import tensorq as tq\n", *blocks]))
    preset = re.findall("```toml\n(about.*?)```", page, re.DOTALL)[0]
    (tmp_path / "mine.toml").write_text(preset)
    program = f"""
import sys
{first}
import tensorq_mine
tq.register_preset("mine", "mine.toml")
losses = tensorq_mine.Losses()
run = tq.train("Coin-v0", preset="mine", encoder="doubled", observers=[losses], run_dir="run", progress="quiet")
assert run.result["best"]["mean_return"] > 9 and losses.losses, run.result
assert run.config.squared_weight == 0.5 and run.evaluate(3).mean > 9
print(tq.load(run.path).act([1.0]))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
