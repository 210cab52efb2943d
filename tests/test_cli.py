"""The real command: what it refuses, how it stops, and that it answers at once."""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from forked import in_a_fork, run, start
from tensorq import cli
from tensorq.errors import TensorqError
from tensorq.options import last_value
from tensorq.paths import absolute, shown
from tensorq.process import Signals, _quiet_stderr

QUICK = [
    "--hidden-sizes",
    "16",
    "--batch-size",
    "16",
    "--learning-starts-steps",
    "100",
    "--evaluation-period-steps",
    "0",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run, through the command."""
    folder = tmp_path_factory.mktemp("cli")
    run("train", "CartPole-v1", "--steps", "2000", "--run-dir", "run", *QUICK, cwd=folder)
    return folder / "run"


def one_more(run: Path) -> int:
    """An episode more than a run has finished."""
    return (run / "episodes.csv").read_text().count("\n")  # with the header's


REFUSED = [
    (["train", "tensorq.worlds:tensorq/Snake-v0"], "expected 'tensorq/Snake-v0': tensorq knows its own worlds"),
    (["train", "CartPol-v1"], "unknown environment 'CartPol-v1': did you mean CartPole-v1?"),
    (["train", "CartPole-v1", "--preset", "dqm"], "unknown preset 'dqm': did you mean dqn?"),
    (["train", "CartPole-v1", "--preset="], "unknown preset ''"),
    (["train", "CartPole-v1", "--step", "5"], "tensorq: unknown option --step: did you mean --steps"),
    (["train", "CartPole-v1", "--lr", "0.1"], "unknown option --lr: did you mean --learning-rate? `tensorq train"),
    (["train", "CartPole-v1", "--&&&", "3"], "unknown option --&&&. `tensorq train --help` lists the options."),
    (
        ["train", "CartPole-v1", "--gama=1", "--foo", "3"],
        "unknown options --gama (did you mean --gamma?), --foo (a keyword",
    ),
    (
        ["train", "FrozenLake-v1", "--is-slippery", "False"],
        "a keyword of the environment is given as --env-arg is_slippery=VALUE. `",
    ),
    (["train", "CartPole-v1", "--no-double=1", "--no-noisy=2"], "--no-double takes no value: received '1'. `tensorq"),
    (["train", "CartPole-v1", ""], "unexpected ''. `tensorq"),
    (["train", "Foo-v0", "--help"], "unknown environment 'Foo-v0': `tensorq envs` lists known ones."),
    (["runs"], "there is no folder runs; expected a folder of runs"),
    (["runs", ".", "--yes"], "expected --yes only with --free"),
    (["help", "evaluat"], "unknown command 'evaluat': did you mean evaluate?"),
    (["presets", "rainbo"], "unknown preset 'rainbo': did you mean rainbow?"),
    (["train", "CartPole-v1", "more"], "unexpected 'more'. `tensorq"),
    (["train", "CartPole-v1", "--double", "false"], "--double takes no value: give --no-double. `tensorq"),
    (["train", "CartPole-v1", "--double=0"], "--double takes no value: give --no-double. `tensorq"),
    (["train", "CartPole-v1", "--double", "true"], "--double takes no value: received 'true'"),
    (["train", "CartPole-v1", "--steps", "many"], "tensorq: --steps: received 'many', expected a whole number. `tens"),
    (["train", "CartPole-v1", "--steps", "1.5"], "--steps: received '1.5', expected a whole number"),
    (["train", "CartPole-v1", "--steps", "inf"], "--steps: received 'inf', expected a whole number"),
    (["train", "CartPole-v1", "--gamma", "x"], "--gamma: received 'x', expected a number"),
    (["train", "CartPole-v1", "--hidden-sizes", "64", "a"], "--hidden-sizes: received '64', 'a', expected whole num"),
    (["train", "CartPole-v1", "--hidden-sizes"], "--hidden-sizes: received nothing, expected whole numbers such as"),
    (["train", "CartPole-v1", "--hidden-sizes", "64x0"], "hidden_sizes: received (64, 0)"),
    (["train", "CartPole-v1", "--seed"], "tensorq: --seed: expected one argument. `tensorq"),
    (["train", "CartPole-v1", "--run-dir", ""], "run_dir: received '', expected a path, such as"),
    (["evaluate"], "tensorq: expected the run's folder, such as runs/"),
    (["evaluate", "nowhere", "--which", "first"], "--which: received 'first', expected one of best, last. `tens"),
    (["evaluate", "nowhere", "--json", "no"], "--json takes no value: leave it out"),
    (["plot"], "no runs given"),
    (["train", "CartPole-v1", "--steps", "-5"], "steps: received -5, expected a whole number of at least 1"),
    (
        ["train", "CartPole-v1", "--preset", "blog", "--head", "quantile", "--loss", "mse"],
        "loss: received 'mse', expected 'hub",
    ),
    # The preset's own loss is left out, so what is wrong is something else.
    (["train", "CartPole-v1", "--preset", "blog", "--head", "quantile", "--steps", "9"], "learning_starts_steps 500"),
    (["train", "CartPole-v1", "--loss", "l1"], "tensorq: --loss: received 'l1', expected one of mse, huber. `tensorq"),
    (["train", "CartPole-v1", "--replay-capacity", "1000000000000"], "replay_capacity 1,000,000,000,000 needs"),
    (["train", ""], "the environment's name is empty"),
    (["train", ":"], "environment ':': expected an id such as CartPole-v1, or MODULE:ID"),
    (["train", "a:b:c"], "environment 'a:b:c': expected an id"),
    (["train", "Pendulum-v1"], "expected Discrete or MultiDiscrete actions"),
    (["train", "FrozenLake-v1", "--loop", "compiled"], "FrozenLake-v1 has no compiled world"),
    (["train"], "expected an environment first"),
    (["train", "CartPole-v1", "--run-dir", "/proc/run"], "/proc/run"),
    (["train", "FrozenLake-v1", "--env-arg", "is_slippery"], "--env-arg: received 'is_slippery', expected NAME=VALUE"),
    (
        ["train", "FrozenLake-v1", "--env-arg", "wet=1"],
        "env_args (--env-arg): FrozenLake-v1 takes no 'wet': known: desc, map_name",
    ),
    (["trian"], "unknown command 'trian': did you mean train"),
    (["resume", "."], "expected the folder of a run"),
    (["resume", "nowhere"], "nowhere does not exist"),
    (["evaluate", "nowhere"], "nowhere does not exist"),
    (["compare", "nowhere"], "nowhere"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_gets_one_line_and_code_2(arguments: list[str], words: str, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    done = run(*arguments, cwd=folder, code=2)
    assert words in done.errors
    assert len(done.errors.strip().splitlines()) == 1
    assert not done.output and not list(folder.iterdir())


def test_a_module_is_looked_for_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "worlds_of_mine.py").write_text(
        "import gymnasium\ngymnasium.register('Pole-v0', 'gymnasium.envs.classic_control:CartPoleEnv', None, 200)\n"
    )
    run("train", "worlds_of_mine:Pole-v0", "--steps", "200", "--run-dir", "run", *QUICK, cwd=tmp_path)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 200


def test_a_run_on_an_environment_of_ones_own_goes_on_where_it_is_named_again(tmp_path: Path) -> None:
    (tmp_path / "my_lakes.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Lake-v0', 'gymnasium.envs.toy_text:FrozenLakeEnv', max_episode_steps=30)\n"
    )
    shown = run(
        "train", "my_lakes:Lake-v0", "--preset", "qtable", "--steps", "300", "--run-dir", "run", "--env-arg",
        "is_slippery=false", "--env-arg", "desc=['SG']", "--epsilon-start", "1", cwd=tmp_path,
    ).output  # fmt: skip
    assert "tensorq evaluate run --env my_lakes:Lake-v0" in shown
    named = ["--env", "my_lakes:Lake-v0"]
    for command in (["evaluate", "run"], ["record", "run"], ["resume", "run", "--steps", "400"]):
        assert "--env my_lakes:Lake-v0" in run(*command, cwd=tmp_path, code=2).errors
        run(*command, *named, cwd=tmp_path)
    assert json.loads(run("evaluate", "run", *named, "--json", cwd=tmp_path).output)["returns"] == [1.0] * 100
    assert "environment 'Lake-v0'" in run("evaluate", "run", "--env", "Lake-v0", cwd=tmp_path, code=2).errors
    assert (
        "was started without make_env (--env)"
        in run(
            "train",
            "FrozenLake-v1",
            "--preset",
            "qtable",
            "--steps",
            "200",
            "--run-dir",
            "other",
            "--quiet",
            cwd=tmp_path,
        ).errors
        + run("resume", "other", "--env", "FrozenLake-v1", "--steps", "300", cwd=tmp_path, code=2).errors
    )


def test_paths_stay_whole_where_an_environment_has_changed_the_folder(tmp_path: Path) -> None:
    (tmp_path / "sim").mkdir()
    (tmp_path / "wandering.py").write_text(
        "import os, gymnasium\nfrom gymnasium.envs.toy_text import FrozenLakeEnv\n"
        "class Lake(FrozenLakeEnv):\n    def reset(self, **keywords):\n"
        "        if os.path.isdir('sim'):\n            os.chdir('sim')\n        return super().reset(**keywords)\n"
        "gymnasium.register('Lake-v0', Lake, max_episode_steps=30)\n"
    )
    done = run("train", "wandering:Lake-v0", "--preset", "qtable", "--steps", "200", "--run-dir", "run", cwd=tmp_path)
    assert f"tensorq evaluate {tmp_path}/run" in done.output
    assert (tmp_path / "run" / "result.json").exists() and not list((tmp_path / "sim").iterdir())


def test_a_finished_run_is_protected_and_can_go_on(finished: Path) -> None:
    cwd = finished.parent
    assert "is a run already" in run("train", "CartPole-v1", "--run-dir", "run", cwd=cwd, code=2).errors
    assert "give steps (--steps) above 2000" in run("resume", "run", cwd=cwd, code=2).errors
    assert "(--steps) above 2000" in run("resume", "run", "--steps", "1500", cwd=cwd, code=2).errors
    lines = run("resume", "run", "--steps", "2.5e3", "--json", cwd=cwd).output.splitlines()
    assert json.loads(lines[-1])["result"]["steps"] >= 2500  # 8 environments step at once


def test_what_a_run_leaves(finished: Path) -> None:
    assert {"config.json", "metrics.csv", "episodes.csv", "result.json", "curve.png", "video.gif"} <= set(
        os.listdir(finished)
    )
    result = json.loads(run("evaluate", "run", "--episodes", "5", "--json", cwd=finished.parent).output)
    assert len(result["returns"]) == 5
    run("plot", "run", "-o", "curve.svg", cwd=finished.parent)
    run("record", "run", "-o", "clip.gif", "--plain", cwd=finished.parent)
    assert (finished.parent / "curve.svg").exists() and (finished.parent / "clip.gif").exists()


def test_episodes_that_were_cut_are_counted(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    content = json.loads((tmp_path / "run" / "config.json").read_text())
    content["config"]["evaluation_max_episode_steps"] = 5
    (tmp_path / "run" / "config.json").write_text(json.dumps(content))
    lines = run("evaluate", "run", "--episodes", "7", cwd=tmp_path).output
    assert "7 episodes were cut at the step limit and scored as they stood" in lines


def test_a_damaged_checkpoint_gives_way_to_the_one_before(finished: Path, tmp_path: Path) -> None:
    run("train", "CartPole-v1", "--steps", "2000", "--checkpoint-period-steps", "1000", "--run-dir", "run", *QUICK,
            cwd=tmp_path)  # fmt: skip
    first, last = sorted((tmp_path / "run" / "checkpoints").glob("step_*"))
    last.write_bytes(last.read_bytes()[:-100])
    lines = run("resume", "run", "--steps", "3000", cwd=tmp_path).output
    assert last.name in lines and first.name in lines


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    wild = ["--learning-rate", "1e18", "--loss", "mse", "--checkpoint-period-steps", "80", "--run-dir", "run"]
    errors = run("train", "CartPole-v1", *QUICK, *wild, cwd=tmp_path, code=2).errors
    assert "the loss is not finite at update" in errors and "learning_rate" in errors
    assert "The last good checkpoint is run/checkpoints/step_" in errors


def test_nothing_that_is_loaded_runs_code(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    (tmp_path / "evil.py").write_text("open('ran', 'w')")
    content = json.loads((copy / "config.json").read_text())
    content["config"]["env"] = "evil:Env-v0"
    (copy / "config.json").write_text(json.dumps(content))
    for command in (["evaluate", "run"], ["record", "run"], ["resume", "run", "--steps", "9000"]):
        assert "run folders must not run code" in run(*command, cwd=tmp_path, code=2).errors
    content["config"]["env"], content["config"]["hidden_sizes"] = "CartPole-v1", ["__import__('os')"]
    (copy / "config.json").write_text(json.dumps(content))
    assert "hidden_sizes: received" in run("evaluate", "run", cwd=tmp_path, code=2).errors
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_costs_nothing_but_the_wait(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], check=False).returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        options = ["--steps", "1000000", "--replay-capacity", "1000", "--checkpoint-period-steps", "1000", *QUICK]
        process = start("train", "CartPole-v1", *options, "--run-dir", disk / "run", cwd=tmp_path)
        checkpoints = disk / "run" / "checkpoints"
        while not list(checkpoints.glob("step_*")) and process.process.is_alive():
            time.sleep(0.02)
        with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError):
            while True:
                filler.write(bytes(65_536))
        assert process.wait() == 2
        assert "No space left on device" in process.errors and "Traceback" not in process.errors
        (disk / "filler").unlink()
        reached = int(max(checkpoints.glob("step_*")).stem.removeprefix("step_"))
        run("resume", disk / "run", "--steps", "1000000", "--episodes", one_more(disk / "run"), cwd=tmp_path)
        assert json.loads((disk / "run" / "result.json").read_text())["steps"] >= reached
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(("number", "code", "loop"), [(signal.SIGINT, 130, "compiled"), (signal.SIGTERM, 143, "host")])
def test_a_signal_stops_the_run_where_it_can_go_on(number: int, code: int, loop: str, tmp_path: Path) -> None:
    options = ["--steps", "100000000", "--loop", loop, "--checkpoint-period-steps", "500", "--run-dir", "run", *QUICK]
    process = start("train", "CartPole-v1", *options, "--log-period-steps", "500", cwd=tmp_path)
    checkpoints = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 60
    while not list(checkpoints.glob("step_*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.process.pid or 0, number)
    assert process.wait() == code
    assert "tensorq resume run" in process.errors and "Traceback" not in process.errors
    steps = int(max(checkpoints.glob("step_*")).stem.removeprefix("step_"))
    run("resume", "run", "--steps", str(100_000_000), "--episodes", one_more(tmp_path / "run"), cwd=tmp_path)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] >= steps


def test_a_second_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    written: list[tuple[int, bytes]] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(os, "isatty", lambda stream: stream == 1)
    monkeypatch.setattr(os, "write", lambda *arguments: written.append(arguments))
    with Signals() as signals:
        signal.raise_signal(signal.SIGINT)
        assert signals() and codes == []
        signal.raise_signal(signal.SIGINT)
    assert codes == [130]
    assert written == [(1, b"\x1b[?25h")]  # the cursor, in the terminal only


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_the_signals_that_there_were_before() -> None:
    def handlers() -> str:
        return f"{signal.getsignal(signal.SIGTERM)} {signal.getsignal(signal.SIGINT)} {signal.set_wakeup_fd(-1)}"

    before = handlers()
    with Signals(), Signals():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert in_a_fork(handlers) == before


def test_other_signals_are_told_to_who_was_told_before() -> None:
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    handler = signal.signal(signal.SIGUSR1, lambda *_: None)
    before = signal.set_wakeup_fd(writer.fileno())
    try:
        with reader, writer:
            with Signals():
                signal.raise_signal(signal.SIGUSR1)
                reader.settimeout(10)
                assert reader.recv(1) == bytes([signal.SIGUSR1])
            assert signal.set_wakeup_fd(before) == writer.fileno()
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGUSR1, handler)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs a system that tells who handles signals")
def test_handlers_that_c_has_installed_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    faulthandler.register(signal.SIGTERM)  # Python knows nothing of it
    try:
        with Signals():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    finally:
        faulthandler.unregister(signal.SIGTERM)
    monkeypatch.setattr(signal, "getsignal", lambda number: None)  # one that was there before Python
    with Signals() as signals:
        assert signals._previous == {}


def test_a_signal_is_told_while_the_main_thread_is_busy() -> None:
    told: list[float] = []
    with Signals(lambda: told.append(time.monotonic())):
        threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        began = time.monotonic()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000)  # one call: no handler runs before it is over
        seconds = time.monotonic() - began
    assert len(told) == 1 and told[0] - began < 0.7 * seconds


def test_ctrl_c_while_modules_are_read_leaves_no_traceback() -> None:
    code = (
        "import sys\n"
        "class Slow:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'tensorq.options':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Slow())\n"
        "from tensorq.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


def test_closed_streams_are_neither_missed_nor_given_to_files() -> None:
    code = (
        "import os, sys; from tensorq import streams; streams.open_missing(); print('lost', flush=True)\n"
        "sys.exit(os.open(os.devnull, os.O_RDONLY) < 3 or None in (sys.stdin, sys.stdout, sys.stderr))"
    )
    assert subprocess.run(["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code]).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(
    ("arguments", "unbuffered"), [(["--help"], ""), (["presets"], "1"), (["compare", "run", "--json"], "")]
)
def test_output_that_cannot_be_written_gets_one_line(finished: Path, arguments: list[str], unbuffered: str) -> None:
    command = [sys.executable, "-X", "dev", "-m", "tensorq", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, cwd=finished.parent, env=environment, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (2, "tensorq: cannot write the output: No space left on device\n")


def test_who_reads_no_further_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-X", "dev", "-m", "tensorq", "presets"]
    done = subprocess.run(command, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_paths_are_whole_in_use_and_short_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "a b"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert absolute("run") == here / "run" and absolute("~/run") == tmp_path / "run" and absolute(here) == here
    assert shown(f"{here}/run: `tensorq resume {here}/run`, tq.resume('{here}/run')") == (
        "run: `tensorq resume run`, tq.resume('run')"
    )
    for text in (str(here), f"/mnt{here}/run", f"{here}s/run", f"in {here}/ or", str(tmp_path / "run")):
        assert shown(text) == text
    os.chdir("/")
    assert shown("/run: 3 / 4") == "/run: 3 / 4"
    with pytest.raises(TensorqError, match="~nobody-here/run: there is no such home folder; write the whole path"):
        absolute("~nobody-here/run")
    os.chdir(here)
    here.rmdir()
    with pytest.raises(TensorqError, match="run: the current folder has been removed"):
        absolute("run")
    assert shown(here / "run") == f"{here}/run"


def test_sigterm_ends_a_command_that_has_no_run_to_save(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from tensorq import cli\n"
        "cli.COMMANDS['envs'] = cli.Command(lambda: signal.raise_signal(signal.SIGTERM), ())\n"
        "sys.argv = ['tensorq', 'envs']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                          capture_output=True, text=True)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "tensorq: stopped\n")


def test_tensorflow_can_be_imported_without_a_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(descriptor: int) -> int:
        raise OSError

    monkeypatch.setattr(sys, "stderr", None)
    with _quiet_stderr():
        pass
    monkeypatch.setattr(os, "dup", closed)
    with _quiet_stderr():
        pass


def test_the_last_preset_counts() -> None:
    assert last_value(["--preset", "blog", "--preset=dqn"], "--preset") == "dqn"
    assert last_value(["--preset=dqn", "--seed", "1", "--preset", "blog"], "--preset") == "blog"


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("train", ["usage: tensorq train ENV [-h]", "--run-dir PATH", "runs/ENV-PRESET-seedN; -2, -3 ... if taken)"]),
        ("plot", ["RUN ...", "(default: curve.png in the run's folder; curves.png here for several)"]),
        ("record", ["-o FILE", "(default: video.gif in the run's folder)", "--seed INT"]),
        ("resume", ["--steps INT", "(default: the run's own)"]),
    ],
)
def test_help_shows_what_happens_by_default(command: str, parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([command, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split()).replace("- ", "-")  # which lines are broken after
    assert all(part in shown for part in parts), shown
    assert "None" not in shown
    if command == "train":  # settings by the parts that they belong to, each once; --env-arg and ENV give these two
        assert not {"--env", "--env-args", "--pixels"} & {*shown.split()}
        groups = ["run:", "dqn:", "replay:", "network:", "exploration:", "head categorical:", "pqn:", "qtable:"]
        assert [shown.index(f" {group} ") for group in groups] == sorted(shown.index(f" {group} ") for group in groups)
        assert shown.count("--num-atoms INT") == 1


def test_presets_say_what_they_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["presets"]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown[:2] == ["dqn: DQN as tensorq recommends it (the default)", "double True instead of False"]
    per = next(place for place, line in enumerate(shown) if line.startswith("per:"))
    assert shown[per : per + 2] == [
        "per: dqn with prioritised replay (Schaul et al. 2016)", "priority_exponent 0.6 instead of 0"
    ]  # fmt: skip
    assert shown[per + 2].startswith("pqn:")
    assert "noisy_deviation 0.1 instead of 0.5" in shown  # not what only CartPole-v1 has
    assert "num_envs 64 instead of 1" in shown
    for line in ("loss mse instead of huber", "head categorical instead of expected", "n_step 3 instead of 1"):
        assert line in shown


def test_a_preset_is_shown_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["presets", "rainbow"]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    everywhere, cartpole, acrobot = (shown.index(line) for line in ("everywhere", "for CartPole-v1", "for Acrobot-v1"))
    assert shown[0].startswith("rainbow: All six of Hessel et al. 2018") and shown[2] == "extends dqn"
    assert {"n_step 3 instead of 1", "max_gradient_norm 10 instead of 0"} <= {*shown[everywhere:cartpole]}  # dqn's, too
    # Its own section, and dqn's; n_step 5, which dqn sets for Acrobot-v1, gives way to rainbow's 3.
    assert {"noisy_deviation 0.5 instead of 0.1", "num_envs 8 instead of 1"} <= {*shown[cartpole:acrobot]}
    assert "replay_ratio 2 instead of 1" in shown[acrobot:] and not any("n_step" in line for line in shown[cartpole:])


def test_help_takes_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["help", "plot"]) == cli.run(["plot", "--help"]) == 0
    text = capsys.readouterr().out
    assert text[: len(text) // 2] == text[len(text) // 2 :] and text.startswith("usage: tensorq plot")


def test_help_is_quick_and_imports_no_tensorflow() -> None:
    code = "import sys; from tensorq import cli; cli.run(sys.argv[1:]); sys.exit('tensorflow' in sys.modules)"
    for arguments in (["train", "--help"], ["presets"], ["runs", "."]):
        assert subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True).returncode == 0
