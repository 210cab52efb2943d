"""Bad input, made by chance from a seed: command lines, calls from Python and damaged run folders.

Each case runs in a process of its own, forked from this one before TensorFlow is imported. It goes wrong if it leaves a
traceback, more than one line of error or an exit code that is not 0, 2, 130 or 143, if it raises what is no
TensorqError, or if it is not over within a minute. Run folders are damaged in one or two places: bytes, JSON values,
cells, kinds of file.

python tests/bad_input.py [--commands 150] [--calls 150] [--folders 1000] [--seed 0]
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym

import tensorq as tq
from tensorq import cli, presets, trainer  # noqa: F401 -- what forked processes would import one by one
from tensorq.config import FIELD_NAMES
from tensorq.evaluation import load  # noqa: F401
from tensorq.observers import progress  # noqa: F401
from tensorq.show import curve, film, tables, video  # noqa: F401

SECONDS = 60
GOOD_CODES = (0, 2, 130, 143)
VALUES: list[Any] = [
    None, True, -1, 0, 1, 2.5, 10**9, 10**30, -(2**63), 1e308, math.inf, math.nan, "", "x", "1e9", "-0", "\0",
    "é" * 300, [], [1], [1, "x"], {}, {"a": 1}, (), b"bytes", "../..", "/dev/null", "None", "nan", "0x10", "1,5", " 7 ",
]  # fmt: skip
CELLS = ["inf", "-inf", "nan", "1e999", "9" * 500, "", "x", "1,2", "0x1", '"1"', "\0", "-1e308", "1e-999", " 5"]
SMALL = ["--steps", "300", "--learning-starts-steps", "100", "--hidden-sizes", "4", "--evaluation-episodes", "1"]


# --- one case ---------------------------------------------------------------------------------------------------------


def fork(work: Callable[[], int], folder: Path) -> tuple[int | None, str, str]:
    """(exit code, stdout, stderr) of `work` in a child process in a folder; a code of None is one that did not end."""
    files = [folder.with_name(f"{folder.name}.{name}") for name in ("out", "err")]
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.chdir(folder)
            os.setpgid(0, 0)
            for descriptor, file in enumerate(files, start=1):
                os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            code = work()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    end, status = time.monotonic() + SECONDS, None
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            break
        time.sleep(0.005)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None, *(file.read_text(errors="replace") for file in files)  # type: ignore[return-value]
    return os.waitstatus_to_exitcode(status), *(file.read_text(errors="replace") for file in files)  # type: ignore[return-value]


def judge(code: int | None, errors: str) -> str | None:
    """What is wrong with how a case ended."""
    if code is None:
        return f"did not end within {SECONDS} seconds"
    if "Traceback" in errors or "Exception ignored" in errors:
        return "left a traceback"
    if code not in GOOD_CODES:
        return f"ended with code {code}"
    lines = [line for line in errors.splitlines() if line and not line.startswith("warning: ")]
    if code == 2 and len(lines) != 1:
        return f"left {len(lines)} lines of error"
    return None


def command(arguments: list[str]) -> Callable[[], int]:
    """The command as a process runs it, with its exit code."""

    def work() -> int:
        sys.argv = ["tensorq", *arguments]
        cli.main()
        return 0

    return work


# --- command lines ----------------------------------------------------------------------------------------------------


def command_lines(chance: random.Random, run: Path) -> Iterator[list[str]]:
    """Commands with options that are unknown, misspelt, without a value or with one that cannot be."""
    options = [f"--{name.replace('_', '-')}" for name in FIELD_NAMES if name not in ("env", "env_args", "pixels")]
    others = {
        "evaluate": ["--episodes", "--which", "--env", "--json"], "record": ["-o", "--which", "--seed", "--env"],
        "plot": ["-o"], "compare": ["--metric", "-o", "--json"], "resume": ["--steps", "--episodes", "--env"],
        "runs": ["--json", "--free"], "presets": [], "envs": [], "help": [],
    }  # fmt: skip
    words = [str(value) for value in VALUES if "\0" not in str(value)]
    while True:
        if chance.random() < 0.6:
            env = chance.choice(["FrozenLake-v1", "CartPole-v1", "Nope-v0", "", "a:b:c", "no_module:X-v0", "../x", "-"])
            line = ["train", env, "--preset", chance.choice(["qtable", "qtable", "dqn", "pqn", "nope"])]
            line += [] if env == "FrozenLake-v1" and "qtable" in line else SMALL
            line += ["--steps", "200"] if chance.random() < 0.8 else []
            pool = [*options, "--run-dir", "--env-arg", "--quiet", "--json"]
        else:
            name = chance.choice(list(others))
            line = [name, *chance.choice([[str(run)], [str(run)], ["nowhere"], [""], [], [str(run), str(run)], ["/"]])]
            pool = others[name] or ["--json"]
        for _ in range(chance.randint(0, 3)):
            option = chance.choice(pool)
            if chance.random() < 0.15:
                option = option[:-1] + chance.choice("xs")
            value = chance.choice(words)
            form = chance.randrange(4)
            line += [[option, value], [f"{option}={value}"], [option], [value]][form]
        yield line


# --- calls from Python ------------------------------------------------------------------------------------------------


class Odd(gym.Env):
    """An environment in which one thing is odd."""

    observation_space: Any = gym.spaces.Discrete(3)
    action_space: Any = gym.spaces.Discrete(2)
    step_gives: Any = (1, 1.0, False, False, {})
    reset_gives: Any = (0, {})

    def __init__(self, **odd: Any) -> None:
        for name, value in odd.items():
            setattr(self, name, value)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return self.reset_gives

    def step(self, action: Any) -> Any:
        return self.step_gives


def odd_environment(chance: random.Random) -> Odd:
    """Odd in a part of what it gives, or in its spaces."""
    wrong = chance.choice(VALUES)
    place = chance.randrange(9)
    if place < 5:
        return Odd(step_gives=tuple(wrong if index == place else value for index, value in enumerate(Odd.step_gives)))
    spaces = [gym.spaces.Text(3), gym.spaces.Dict({}), gym.spaces.Box(-1, 1, (2,)), gym.spaces.Tuple([]), wrong]
    names = ("reset_gives", "step_gives", "observation_space", "action_space")
    return Odd(**{names[place - 5]: wrong if place < 7 else chance.choice(spaces)})


def calls(chance: random.Random, run: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Functions of the interface, each with an argument that cannot be."""
    base: dict[str, Any] = {"preset": "qtable", "steps": 200, "progress": "quiet", "run_dir": "new"}
    base |= {"evaluation_episodes": 2, "evaluation_max_episode_steps": 20}  # an odd environment may never end
    while True:
        wrong, kind = chance.choice(VALUES), chance.randrange(6)
        if kind == 0:
            name = chance.choice([*FIELD_NAMES, "preset", "network", "run_dir", "progress", "observers", "nope"])
            given = {**base, name: wrong}
            if name == "env":
                continue
            yield f"train({given})", lambda given=given: tq.train("FrozenLake-v1", **given)
        elif kind == 1:
            name = chance.choice(FIELD_NAMES[1:])
            given = {**base, "preset": "dqn", "hidden_sizes": (4,), "learning_starts_steps": 100, name: wrong}
            yield f"train({given})", lambda given=given: tq.train("CartPole-v1", **given)
        elif kind == 2:
            env = odd_environment(chance)
            yield f"train(Odd({vars(env)}))", lambda env=env: tq.train(lambda: env, **base, single_environment=True)
        elif kind == 3:
            function = chance.choice([tq.load, tq.open_run, tq.resume])
            yield f"{function.__name__}({wrong!r})", lambda function=function, wrong=wrong: function(wrong)
        elif kind == 4:
            yield f"act({wrong!r})", lambda wrong=wrong: tq.load(run).act(wrong)
        else:
            name = chance.choice(["evaluate", "plot", "record", "agent"])
            yield f"{name}({wrong!r})", lambda name=name, wrong=wrong: getattr(tq.open_run(run), name)(wrong)


def call(function: Callable[[], Any]) -> Callable[[], int]:
    """The call in a process: a TensorqError is one line and code 2."""

    def work() -> int:
        try:
            function()
        except tq.TensorqError as error:
            print(error, file=sys.stderr)
            return 2
        return 0

    return work


# --- damaged run folders ----------------------------------------------------------------------------------------------


def damage(folder: Path, chance: random.Random) -> str:
    """Damage one file of a run folder; returns how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".png", ".gif"))
    file = chance.choice(files)
    name = str(file.relative_to(folder))
    if file.suffix == ".json" and chance.random() < 0.8:
        with contextlib.suppress(ValueError, IndexError):  # it may be damaged already
            content = json.loads(file.read_text())
            where = change_json(content, chance)
            file.write_text(json.dumps(content))
            return f"{name}: {where}"
    if file.suffix == ".csv" and chance.random() < 0.7:
        lines = file.read_text(errors="replace").split("\n")
        row = chance.randrange(min(len(lines), 4))
        cells = lines[row].split(",")
        cells[chance.randrange(len(cells))] = chance.choice(CELLS)
        lines[row] = ",".join(cells)
        file.write_text("\n".join(lines))
        return f"{name}: line {row + 1} is {lines[row][:60]}"
    data = file.read_bytes()
    how = chance.choice(
        ["removed", "empty", "cut", "flipped", "longer", "folder", "fifo", "link", "text", "null", "other"]
    )
    file.unlink()
    if how == "empty":
        file.touch()
    elif how == "cut":
        file.write_bytes(data[: chance.randrange(len(data) + 1)])
    elif how == "flipped" and data:
        changed = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(changed)
    elif how == "longer":
        file.write_bytes(data + chance.randbytes(100))
    elif how == "folder":
        file.mkdir()
    elif how == "fifo":
        os.mkfifo(file)
    elif how == "link":
        file.symlink_to(chance.choice(["/dev/zero", "/etc/hostname", "nowhere", file.name]))
    elif how == "text":
        file.write_text("hello\n" * 10)
    elif how == "null":
        file.symlink_to("/dev/null")
    elif how == "other":
        shutil.copy(chance.choice([other for other in files if other != file]), file)
    return f"{name}: {how}"


def change_json(content: Any, chance: random.Random) -> str:
    """Change or remove one value anywhere in JSON; returns where."""
    where, here = "", content
    while True:
        key = chance.choice(list(here) if isinstance(here, dict) else list(range(len(here))))
        where += f".{key}"
        value = here[key]
        if isinstance(value, (dict, list)) and value and chance.random() < 0.85:
            here = value
            continue
        if chance.random() < 0.15:
            del here[key]
            return f"without {where}"
        usable = [each for each in VALUES if not isinstance(each, bytes)]
        here[key] = copy.deepcopy(chance.choice(usable))
        return f"{where} is {here[key]!r:.60}"


def folder_commands(chance: random.Random, other: Path) -> list[str]:
    """What is done with a damaged run folder."""
    return chance.choice(
        [["evaluate", "run", "--episodes", "2"], ["evaluate", "run", "--which", "last", "--episodes", "2"],
         ["plot", "run"], ["compare", "run", str(other)], ["record", "run"], ["resume", "run", "--steps", "700"],
         ["resume", "run"], ["runs", "."]]
    )  # fmt: skip


# --- all of it --------------------------------------------------------------------------------------------------------


def make_runs(folder: Path) -> list[Path]:
    """Small runs to damage: a table, a network on the host, and an unfinished one."""
    quiet: dict[str, Any] = {"progress": "quiet", "evaluation_episodes": 2}
    host = {"hidden_sizes": (4,), "learning_starts_steps": 100, "loop": "host", "replay_capacity": 300}
    made = []
    for name, env, settings in (
        ("table", "FrozenLake-v1", {"preset": "qtable", "steps": 500}),
        ("network", "CartPole-v1", {"steps": 400, **host}),
        ("unfinished", "FrozenLake-v1", {"preset": "qtable", "steps": 600}),
    ):
        path = folder / name

        def work(path: Path = path, env: str = env, settings: dict[str, Any] = settings) -> int:
            tq.train(env, run_dir=path, **quiet, **settings)
            return 0

        code, _, errors = fork(work, folder)
        assert code == 0, errors
        made.append(path)
    (made[2] / "result.json").unlink()
    return made


def cases(
    arguments: argparse.Namespace, runs: list[Path], folder: Path
) -> Iterator[tuple[str, str, Callable[[], int], Path]]:
    """(kind, description, work, folder to work in)."""
    chance = random.Random(arguments.seed)

    def fresh(number: int) -> Path:
        path = folder / f"case{number}"
        path.mkdir()
        return path

    number = 0
    lines, functions = command_lines(chance, runs[0]), calls(chance, runs[0])
    for _ in range(arguments.commands):
        number += 1
        line = next(lines)
        yield "command lines", " ".join(map(repr, line)), command(line), fresh(number)
    for _ in range(arguments.calls):
        number += 1
        text, function = next(functions)
        yield "calls", text, call(function), fresh(number)
    for index in range(arguments.folders):
        number += 1
        here = fresh(number)
        # Resuming a network takes seconds, so there are fewer of them.
        shutil.copytree(runs[1] if index % 5 == 0 else chance.choice([runs[0], runs[2]]), here / "run")
        how = "; ".join(damage(here / "run", chance) for _ in range(chance.choice([1, 1, 2])))
        line = folder_commands(chance, runs[0])
        yield "run folders", f"{' '.join(line)}, {how}", command(line), here


def main() -> None:
    """Run all cases; prints each error, and counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, count in (("commands", 150), ("calls", 150), ("folders", 1000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=count)
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, text, work, here in cases(arguments, make_runs(folder), folder):
            code, _, errors = fork(work, here)
            counts[f"{kind}, code {code}"] += 1
            if why := judge(code, errors):
                wrong += 1
                print(f"{kind}: {text}\n  {why}: {errors.strip()[-600:]}", flush=True)
            shutil.rmtree(here, ignore_errors=True)
    for key, count in sorted(counts.items()):
        print(f"{count:6,} {key}")
    print(f"{wrong} went wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
