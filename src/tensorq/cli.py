"""The command line: one thin function a command. Each command imports what it needs, so that help answers at once."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Fixed, Positional, Suppress, UseAppendAction, arg

from tensorq import __version__, streams
from tensorq.config import DEFAULT_PRESET, FIELD_NAMES, Config
from tensorq.errors import TensorqError, nearest
from tensorq.options import env_arguments, last_value, parse
from tensorq.paths import absolute, remember_current_folder, shown
from tensorq.presets import resolve

if TYPE_CHECKING:
    from tensorq.envs.calls import EnvironmentMaker

Which = Literal["best", "last"]
RunFolder = Annotated[Path, Positional, arg(metavar="RUN", help_behavior_hint="")]
RunFolders = Annotated[list[Path], Positional, arg(metavar="RUN ...", help_behavior_hint="")]


def _optional(metavar: str, default: str, **keywords: Any) -> Any:
    """How the help shows an option that needs not be given: tyro itself would show that it is None."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {default})", **keywords)


Env = Annotated[str | None, _optional("ENV", "the run's own")]


@dataclasses.dataclass(frozen=True)
class TrainOptions(Config):
    """Train an agent on ENV, such as CartPole-v1. The defaults shown are those of the preset for it."""

    env: Suppress[str] = Config.env
    env_args: Suppress[Fixed[Any]] = dataclasses.field(default_factory=dict)
    pixels: Suppress[Literal["by_bounds", "by_dtype"]] = Config.pixels
    env_arg: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUE", help_behavior_hint="(may be given again)")
    ] = ()
    """A keyword for gymnasium.make, such as is_slippery=False: a Python literal, or else text."""
    run_dir: Annotated[Path | None, _optional("PATH", "runs/ENV-PRESET-seedN; -2, -3 ... if taken")] = None
    """Folder for the run, new or empty."""
    init_from: Annotated[Path | None, _optional("RUN", "new ones")] = None
    """Begin with the kept best parameters of another run, whose network must be built of the same settings. Optimizer,
    replay and schedules are new; any other setting may differ."""
    stop_return: Annotated[float | None, _optional("FLOAT", "none")] = None
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print one JSON object a line instead of text."""

    def __post_init__(self) -> None:
        """Check nothing: Config does, whose words need no wrapping."""


def train(arguments: list[str]) -> None:
    """ENV [--preset P] [--steps N] [--seed S] ...: train an agent; --help lists every setting."""
    from tensorq.envs.registry import require_known

    env = Config.env
    if arguments and not arguments[0].startswith("-"):
        env, arguments = arguments[0], arguments[1:]
        require_known(env)  # before the settings, whose errors and defaults would be of no use
    elif not {"-h", "--help"} & set(arguments):
        raise TensorqError("expected an environment first, such as: tensorq train CartPole-v1 --seed 1")
    preset = last_value(arguments, "--preset")
    settings = dataclasses.asdict(resolve(env, DEFAULT_PRESET if preset is None else preset))
    if last_value(arguments, "--head") not in (None, Config.head):
        settings["loss"] = Config.loss  # as in resolve, the preset chose among losses that this head does not have
    if last_value(arguments, "--run-dir") == "":
        raise TensorqError("run_dir: received '', expected a folder that is new or empty, such as runs/mine.")
    options = parse(TrainOptions, "train", arguments, default=TrainOptions(**settings))
    from tensorq import trainer
    from tensorq.process import process_seconds

    run_dir = None if options.run_dir is None else absolute(options.run_dir)
    if ":" in env:
        sys.path.insert(0, str(absolute(".")))  # MODULE:ID may be of a module in the current folder, as with python -m
    settings = {name: getattr(options, name) for name in FIELD_NAMES}
    config = Config(**{**settings, "env_args": {**options.env_args, **env_arguments(options.env_arg)}})

    with _progress(options.quiet, options.json) as show:
        trainer.train(
            config,
            run_dir=run_dir,
            init_from=options.init_from,
            observers=[show],
            seconds_before=process_seconds(),
        )


def _named(run: Path, env: str | None, render_mode: str | None = None) -> EnvironmentMaker | None:
    """What makes the environment that --env names, with the run's env_args; it may import a module of this folder."""
    if env is None:
        return None
    from tensorq.envs.registry import gymnasium_maker
    from tensorq.runs.directory import open as open_directory
    from tensorq.runs.directory import read_config

    sys.path.insert(0, str(absolute(".")))
    config = Config.from_saved(read_config(open_directory(run).path)["config"])
    return gymnasium_maker(env, config.env_args, render_mode)


def resume(
    run: RunFolder,
    steps: Annotated[int | None, _optional("INT", "those the run was given")] = None,
    episodes: Annotated[int | None, _optional("INT", "those the run was given")] = None,
    env: Env = None,
    quiet: bool = False,
    json: bool = False,
) -> None:
    """Go on with a run from its last checkpoint. One that stop_return ended goes on until that is reached again.

    Args:
        run: The run's folder.
        steps: Train to this many environment steps; more are needed if the run is finished.
        episodes: The same for a run that is limited by episodes.
        env: The environment, of a run on one of your own: MODULE:ID imports MODULE, which registers ID.
        quiet: Print nothing but errors.
        json: Print one JSON object a line instead of text.
    """
    from tensorq import trainer

    with _progress(quiet, json) as show:
        trainer.resume(run, steps=steps, episodes=episodes, make=_named(run, env), observers=[show])


def evaluate(run: RunFolder, episodes: int = 100, which: Which = "best", env: Env = None, json: bool = False) -> None:
    """Play greedy episodes in Gymnasium's own environment, on seeds that the run has not seen.

    Args:
        run: The run's folder.
        episodes: How many.
        which: The agent that evaluated best while training, or the last.
        env: The environment, of a run on one of your own: MODULE:ID imports MODULE, which registers ID.
        json: Print one JSON object instead of text.
    """
    from tensorq.evaluation.load import evaluate_run
    from tensorq.show import episodes as show

    played = evaluate_run(run, episodes, which=which, make=_named(run, env), warn=_warn)
    (show.print_json if json else show.print_episodes)(run, which, played)


def plot(
    runs: RunFolders,
    output: Annotated[
        Path | None, _optional("FILE", "curve.png in the run's folder; curves.png here for several", aliases=["-o"])
    ] = None,
) -> None:
    """Draw the learning curve of one run, or several overlaid; seeds of one setting become a mean with an interval.

    Args:
        runs: The runs' folders.
        output: File to write: .png, .svg or .pdf.
    """
    from tensorq.show.curve import draw_run, draw_runs

    if len(runs) == 1:
        print(shown(draw_run(runs[0], output or runs[0] / "curve.png")))
    else:
        print(shown(draw_runs(runs, output or absolute("curves.png"))))


def record(
    run: RunFolder,
    output: Annotated[Path | None, _optional("FILE", "video.gif in the run's folder", aliases=["-o"])] = None,
    plain: bool = False,
    which: Which = "best",
    seed: Annotated[int | None, _optional("INT", "the first of those that evaluate plays")] = None,
    env: Env = None,
) -> None:
    """Film one greedy episode, with the Q-values drawn beside it. Needs no screen.

    Args:
        run: The run's folder.
        output: File to write, .gif, or .mp4 (which needs the video extra).
        plain: Leave the Q-values out.
        which: The agent that evaluated best while training, or the last.
        seed: Of the episode.
        env: The environment, of a run on one of your own: MODULE:ID imports MODULE, which registers ID.
    """
    from tensorq.show.film import film

    make = _named(run, env, render_mode="rgb_array")
    path = film(run, output or run / "video.gif", plain=plain, which=which, seed=seed, make=make, warn=_warn)
    print(shown(path))


def compare(
    runs: RunFolders,
    metric: Literal["best", "final", "average"] = "best",
    output: Annotated[Path | None, _optional("FILE", "no picture", aliases=["-o"])] = None,
    json: bool = False,
) -> None:
    """Put runs side by side in a table; seeds of one setting become an interquartile mean with an interval.

    Args:
        runs: The runs' folders, or .csv tables of returns: env, setting, seed, best_return ...
        metric: Which greedy return of a seed counts: that of the best agent, the last one, or the mean of all.
        output: Draw the intervals too, to a .png, .svg or .pdf.
        json: Print JSON instead of a table.
    """
    from tensorq.show import tables

    if output:
        from tensorq.show.style import check_output

        check_output(output)
    rows = (tables.print_json if json else tables.print_table)(runs, metric)
    if output:
        from tensorq.show.intervals import draw_intervals

        path = draw_intervals(rows, metric, output)
        if not json:
            print(shown(path))


def runs(
    folder: Annotated[Path, Positional, arg(metavar="[DIR]", help_behavior_hint="(default: runs)")] = Path("runs"),
    free: bool = False,
    yes: bool = False,
    json: bool = False,
) -> None:
    """List the runs in a folder with their state, steps, best return and size, or free the disk that replays take.

    Args:
        folder: A folder that holds runs, or folders of runs.
        free: List the replays of finished runs, and drop them after a yes; agents, tables and pictures stay.
        yes: Drop them without asking.
        json: Print JSON instead of a table.
    """
    from tensorq.show import runs as show

    if free and json or yes and not free:
        raise TensorqError("expected --yes together with --free, and --json without it")
    if free:
        show.free_replays(folder, yes)
    else:
        (show.print_json if json else show.print_table)(folder)


def envs() -> None:
    """List the environments that can be trained on by name."""
    from tensorq.show.catalogue import print_environments

    print_environments()


def presets(name: Annotated[str, Positional, arg(metavar="[NAME]", help_behavior_hint="")] = "") -> None:
    """List the presets, and what each changes; or show one of them in full.

    Args:
        name: A preset; by default all, in short.
    """
    from tensorq.show import catalogue

    if name:
        catalogue.print_preset(name)
    else:
        catalogue.print_presets()


def doctor() -> None:
    """Show versions, devices, threads and extras, and how to install what is missing."""
    from tensorq.process import import_tensorflow
    from tensorq.show.catalogue import print_diagnosis

    import_tensorflow(1)
    print_diagnosis()


COMMANDS: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (train, resume, evaluate, plot, record, compare, runs, envs, presets, doctor)
}


def main() -> None:
    """Entry point of the `tensorq` command.

    It exits with 0 for success, also when the reader of its output (such as `head`) stops reading; with 2 for what the
    user can mend, 130 after Ctrl-C and 143 after SIGTERM.
    """
    streams.open_missing()
    remember_current_folder()
    output, _ = streams.watch("stdout"), streams.watch("stderr")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt as stop:
        code = getattr(stop, "exit_code", 130)
    sys.stdout.flush()
    if output.error is not None and not isinstance(output.error, BrokenPipeError):
        _tell(f"cannot write the output: {output.error.strerror or output.error}")
        code = code or 2
    if "tensorflow" in sys.modules:
        # All is on disk, and TensorFlow takes more than half a second to take itself apart.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


class _Terminated(KeyboardInterrupt):
    """SIGTERM where no run is to be saved: what was begun is taken away, as after Ctrl-C."""

    exit_code = 128 + signal.SIGTERM


def _terminate(number: int, frame: object) -> None:
    raise _Terminated


def _tell(text: str) -> None:
    print(shown(f"tensorq: {text}"), file=sys.stderr)


def run(arguments: list[str]) -> int:
    """Carry out a command line and return the exit code."""
    name, *rest = arguments or ["--help"]
    if name == "help" and rest:
        name, rest = rest[0], [*rest[1:], "--help"]
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0
    if name in ("-V", "--version"):
        print(f"tensorq {__version__}")
        return 0
    try:
        if name not in COMMANDS:
            raise TensorqError(f"unknown command {name!r}: {nearest(name, COMMANDS)}")
        if name == "train":
            train(rest)
        else:
            parse(COMMANDS[name], name, rest)
    except TensorqError as error:
        _tell(str(error))
        return 2
    except SystemExit as stop:  # --help, or an environment that ends the process where there is no run to save
        if stop.code:
            _tell(f"stopped by SystemExit: {stop.code}")
        return 2 if stop.code else 0
    except KeyboardInterrupt as stop:  # training.Stopped says more
        _tell(str(stop) or "stopped")
        return int(getattr(stop, "exit_code", 130))
    return 0


def _warn(text: str) -> None:
    print(shown(f"warning: {text}"), file=sys.stderr)


def _help() -> str:
    lines = ["tensorq: deep Q-learning on TensorFlow", "", "commands:"]
    lines += [f"  {name:<10}{(function.__doc__ or '').splitlines()[0]}" for name, function in COMMANDS.items()]
    lines += ["", "`tensorq help COMMAND` tells more. Begin with: tensorq train CartPole-v1"]
    return "\n".join(lines)


@contextlib.contextmanager
def _progress(quiet: bool, json: bool) -> Iterator[Any]:
    from tensorq.show.progress import observer

    show = observer("quiet" if quiet else "json" if json else "auto")
    try:
        yield show
    finally:
        show.close()
