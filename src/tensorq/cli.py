"""The command line: one thin function for each command. Each imports only what it needs, so that help is quick."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tensorq import __version__, streams
from tensorq.config import DEFAULT_PRESET, Config, RunSettings
from tensorq.errors import TensorqError, nearest
from tensorq.options import Option, Parser, add_settings, env_arguments, folder, last_value, one_of, to_option, whole
from tensorq.paths import absolute, remember_current_folder, shown
from tensorq.presets import resolve
from tensorq.settings import all_parts, choices_of

if TYPE_CHECKING:
    from tensorq.api import Run


_READERS = {"INT": whole, "RUN": folder, "DIR": folder, "FILE": folder}


def _option(form: str, about: str, **keywords: Any) -> Option:
    """Make an option from "--name VALUE", or from "name VALUE" if it is positional. VALUE decides how it is parsed."""
    *names, value = form.split()
    reader = one_of(value.strip("{}").split(",")) if value.startswith("{") else _READERS.get(value)
    if not names[0].startswith("-"):
        keywords = {"nargs": "?", **keywords}
        value += " ..." if keywords["nargs"] == "*" else ""
        value = f"[{value}]" if "default" in keywords else value
    return Option(tuple(names), {"type": reader or str, "metavar": value, "help": about, **keywords})


def _flag(name: str, about: str) -> Option:
    return Option((name,), {"action": "store_true", "help": about})


RUN = _option("run RUN", "The run's folder.")
WHICH = _option(
    "--which {best,last}",
    "The agent that evaluated best while training, or the last. (default: best)",
    default="best",
)
ENV = _option(
    "--env ENV",
    "MODULE:ID of the environment, if the run was trained on one of your own; importing MODULE registers ID. (default: "
    "the run's own)",
)
JOBS = _option("--jobs INT", "With several runs: how many train at once. (default: as many as have cores of their own)")
MACHINES = (  # on which several runs train
    JOBS,
    _option(
        "--on {ray}",
        "With several runs: train them on the machines of a Ray cluster (the ray extra). (default: on this machine)",
    ),
    _option(
        "--address TEXT",
        "With --on ray: the cluster, as HOST:PORT, or auto on one of its machines. (default: start Ray here)",
    ),
)
EVENTS = (  # what becomes of a run's events
    _flag("--tensorboard", "Write metrics and settings for TensorBoard too, into the run's folder."),
    _option(
        "--observer MODULE:NAME",
        "An observer of your own, which is called with every event: a function, or a class whose object is called. "
        "(may be repeated)",
        action="append",
        default=[],
    ),
    _flag("--quiet", "Print nothing but errors."),
    _flag("--json", "Print one JSON object a line instead of text."),
)


class Command(NamedTuple):
    """A command: its function and its options."""

    function: Callable[..., None]
    options: tuple[Option, ...]


COMMANDS: dict[str, Command] = {}


def command(*options: Option) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command, which is called with its options by name."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        COMMANDS[function.__name__] = Command(function, options)
        return function

    return add


WHERE = (  # what is trained on, and where it is kept
    _option(
        "--env-arg NAME=VALUE",
        "A keyword for gymnasium.make, such as is_slippery=False: a Python literal, true, false or null, or "
        "else text. (may be repeated)",
        action="append",
        default=[],
    ),
    _option(
        "--run-dir PATH",
        "Folder for what is trained, new or empty. (default: such as runs/ENV-PRESET-seedN; -2, -3 ... if taken)",
    ),
    _option(
        "--init-from RUN",
        "Begin with the kept best parameters of another run, whose network must have the same settings. Other settings "
        "may differ. Optimizer, replay and schedules begin anew. (default: new parameters)",
    ),
)


@command(
    *WHERE,
    _option(
        "--seeds SEEDS",
        "Train a run for each of these seeds, such as 0-29 or 0,3,7-9, beside each other, and compare them. "
        "(default: one run, of --seed)",
    ),
    *MACHINES,
    *EVENTS,
)
def train(arguments: list[str]) -> None:
    """ENV [--preset P] [--steps N] [--seed S] ...: train an agent; --help lists every setting."""
    env, given = _read_training("train", arguments, "Train an agent on ENV, such as CartPole-v1.")
    seeds = given.pop("seeds")
    if seeds is not None:
        from tensorq.many.plan import read_seeds
        from tensorq.many.run import train_many

        train_many(env, seeds=read_seeds(seeds), **given)
        return
    for name in ("jobs", "on", "address"):
        if (value := given.pop(name)) is not None:
            raise TensorqError(
                f"--{name}: received {value} for one run, expected it with --seeds, such as --seeds 0-9."
            )
    from tensorq import api
    from tensorq.process import process_seconds

    api.train(env, **given, seconds_before=process_seconds())


@command(
    _option(
        "--set NAME=VALUES",
        "Values of a setting, as in TOML: learning_rate=1e-3,3e-4 or hidden_sizes=[[64,64],[256]]. (may be repeated)",
        action="append",
        default=[],
    ),
    _option(
        "--file FILE",
        "A TOML file with settings, preset and seeds that every run has, and a table [sweep] with lists of values.",
    ),
    _option("--seeds SEEDS", "The seeds of each combination, such as 0-4. (default: 0)"),
    *WHERE,
    *MACHINES,
    *EVENTS,
)
def sweep(arguments: list[str]) -> None:
    """ENV --set NAME=VALUE,VALUE ... [--seeds 0-4] ...: train every combination of values, and compare them."""
    from tensorq.many.grid import read_file, read_set
    from tensorq.many.plan import read_seeds
    from tensorq.many.run import train_many

    env, given = _read_training("sweep", arguments, "Train an agent on ENV for every combination of values.")
    file, texts, seeds = given.pop("file"), given.pop("set"), given.pop("seeds")
    common = {} if file is None else read_file(file)
    grid = {**common.pop("sweep", {}), **read_set(texts)}
    if not grid:
        raise TensorqError("expected values to try, such as: tensorq sweep CartPole-v1 --set learning_rate=1e-3,3e-4")
    written = common.pop("seeds", "0") if seeds is None else seeds
    text = ",".join(map(str, written)) if isinstance(written, list) else str(written)
    train_many(env, seeds=read_seeds(text), grid=grid, **{**common, **given})


@command(
    _option(
        "--trials INT", "How many settings are tried; the first are those of the preset. (default: 100)", default=100
    ),
    _option(
        "--space NAME=SPACE",
        "Where a setting is searched: LOW:HIGH, LOW:HIGH:log, or values as in TOML, such as n_step=1,3,5. (default: "
        "the usual space of the algorithm; may be repeated)",
        action="append",
        default=[],
    ),
    _flag("--only", "Search only the settings of --space."),
    _option(
        "--metric {best,final,average}",
        "Which greedy return of a run counts: that of the best agent, the last one, or the mean of all. (default: "
        "average)",
        default="average",
    ),
    _option("--seeds-per-trial INT", "Tuning seeds of a trial: 1000, 1001 ... (default: 3)", default=3),
    _option(
        "--finalists INT",
        "How many of the best trials are trained with twice as many more tuning seeds, before one is chosen. "
        "(default: 5)",
        default=5,
    ),
    _option(
        "--fresh-seeds INT",
        "Seeds 0, 1 ... with which the best settings and the preset are compared at the end. (default: 10)",
        default=10,
    ),
    _option("--sampler-seed INT", "Seed of the search itself. (default: 0)", default=0),
    *WHERE,
    *MACHINES,
    *EVENTS[2:],
)
def tune(arguments: list[str]) -> None:
    """ENV [--trials 100] [--space NAME=LOW:HIGH:log] ...: search for better settings, and write them as a preset."""
    from tensorq.search.run import tune
    from tensorq.search.space import read_space

    env, given = _read_training("tune", arguments, "Search for settings with which an agent learns ENV best.")
    tune(env, space=read_space(given.pop("space")), **given)


def _read_training(name: str, arguments: list[str], about: str) -> tuple[str, dict[str, Any]]:
    """The environment and the options of a command that trains on it, settings among them."""
    from tensorq.envs.gymnasium_ids import require_known

    env = Config.env
    if arguments and not arguments[0].startswith("-"):
        env, arguments = arguments[0], arguments[1:]
        require_known(env)  # first: for an unknown environment, errors and defaults do not help
    elif not {"-h", "--help"} & set(arguments):
        raise TensorqError(f"expected an environment first, such as: tensorq {name} CartPole-v1 --seed 1")
    preset = last_value(arguments, "--preset") or DEFAULT_PRESET
    about += " The defaults shown are those of the preset for ENV."
    parser = Parser(name, about, f"tensorq {name} ENV [-h] [OPTIONS]", COMMANDS[name].options)
    # A chosen algorithm, head or encoder has settings of its own, which become options.
    choosing = {name: choices for part in all_parts(RunSettings) for name, choices in choices_of(part)}
    wanted = {name: last_value(arguments, to_option(name)) for name in choosing}
    chosen = {name: value for name, value in wanted.items() if value is not None and value in choosing[name]}
    try:
        usual = resolve(env, preset, **chosen)
    except TensorqError:  # parsing reports it, unless other arguments correct it
        usual = resolve(env, preset)
    add_settings(parser, [*all_parts(RunSettings), *(type(part) for part in usual.parts)], usual)
    given = parser.read(arguments)
    if env_args := env_arguments(given.pop("env_arg")):
        given["env_args"] = env_args
    _take_observers(given)
    if ":" in env:
        _import_from_here()
    return env, given


def _take_observers(given: dict[str, Any]) -> None:
    """Put the keywords of api.train and api.resume in place of EVENTS; observers may be in the current folder."""
    from tensorq.plugins import load_observer

    quiet, json = given.pop("quiet"), given.pop("json")
    if "observer" in given:
        homes = given.pop("observer")
        if homes:
            _import_from_here()
        ours = ["tensorq.observers.tensorboard:TensorBoard"] if given.pop("tensorboard") else []
        given["observers"] = [load_observer(home) for home in [*homes, *ours]]
    given["progress"] = "quiet" if quiet else "json" if json else "auto"


def _import_from_here() -> None:
    """Let MODULE:ID and MODULE:NAME name a module in the current folder, as python -m does."""
    sys.path.insert(0, str(absolute(".")))


def _open(run: Path, env: str | None = None) -> Run:
    """The run in a folder, with the environment that --env names."""
    from tensorq import api

    if env is not None:
        _import_from_here()
    return api.open_run(run, make_env=env)


@command(
    RUN,
    _option(
        "--steps INT",
        "Train to this total of environment steps; a finished run needs more than it has. (default: the run's own)",
    ),
    _option("--episodes INT", "The same in episodes, if these limit the run. (default: the run's own)"),
    _option("--trials INT", "Of a search: the new number of trials. (default: the search's own)"),
    ENV,
    *MACHINES,
    *EVENTS,
)
def resume(
    run: Path,
    steps: int | None,
    episodes: int | None,
    trials: int | None,
    env: str | None,
    jobs: int | None,
    on: Any,
    address: str | None,
    **given: Any,
) -> None:
    """Continue a run, several, or a search. If stop_return ended a run, until this is reached again."""
    from tensorq import api
    from tensorq.many.plan import is_plan
    from tensorq.search.plan import is_search

    _take_observers(given)
    if is_search(run):
        from tensorq.search.run import resume_tune

        if steps is not None or episodes is not None or given.pop("observers"):
            raise TensorqError(f"{run} is a search: expected no option but --trials, --jobs and --env.")
        if env is not None:
            _import_from_here()
        resume_tune(run, trials=trials, jobs=jobs, on=on, address=address, make_env=env, **given)
        return
    if trials is not None:
        raise TensorqError(f"--trials: received {trials}, and {run} is no search: leave it out.")
    if is_plan(run):
        from tensorq.many.run import resume_many

        if env is not None:
            _import_from_here()
        resume_many(run, jobs=jobs, on=on, address=address, steps=steps, episodes=episodes, make_env=env, **given)
        return
    for name, value in (("jobs", jobs), ("on", on), ("address", address)):
        if value is not None:
            raise TensorqError(f"--{name}: received {value}, and {run} is one run: leave it out.")
    api.resume(_open(run, env), steps=steps, episodes=episodes, **given)


def _each(paths: list[Path]) -> list[Path]:
    """The paths, with its runs in place of a folder of several; for a search, those with fresh seeds."""
    from tensorq.many.plan import is_plan, read
    from tensorq.search import plan as search

    paths = [search.read(path).fresh if search.is_search(path) else path for path in paths]
    return [each for path in paths for each in (read(path).begun if is_plan(path) else [path])]


@command(
    RUN,
    _option("--episodes INT", "Number of episodes. (default: 100)", default=100),
    WHICH,
    ENV,
    _flag("--json", "Print one JSON object instead of text."),
)
def evaluate(run: Path, episodes: int, which: str, env: str | None, json: bool) -> None:
    """Play greedy episodes on seeds that the run has not seen, in Gymnasium's environment if it has this one."""
    from tensorq.show.tables import print_episodes

    if not json and sys.stderr.isatty():  # a hundred games of Atari take minutes
        print(f"playing {episodes:,} episodes ...", file=sys.stderr)
    print_episodes(run, which, _open(run, env).evaluate(episodes, which, warn=_warn), json)


@command(
    _option("runs RUN", "The runs' folders.", nargs="*"),
    _option(
        "-o --output FILE",
        "File to write: .png, .svg or .pdf. (default: curve.png in the run's folder; curves.png here for several)",
    ),
)
def plot(runs: list[Path], output: Path | None) -> None:
    """Draw the learning curve of one run, or several overlaid; seeds of one setting become a mean with an interval."""
    from tensorq.runs.saved import SavedRun
    from tensorq.show.curve import draw_run, draw_runs

    runs = _each(runs)
    if len(runs) == 1:  # without the Python interface, which would import Gymnasium
        print(shown(draw_run(SavedRun(runs[0]), output)))
    else:
        print(shown(draw_runs(runs, output or absolute("curves.png"))))


@command(
    RUN,
    _option(
        "-o --output FILE",
        "File to write, .gif, or .mp4 (which needs the video extra). (default: video.gif in the run's folder)",
    ),
    _flag("--plain", "Leave out the Q-values."),
    WHICH,
    _option("--seed INT", "Seed of the episode. (default: the first seed of evaluate)"),
    ENV,
)
def record(run: Path, output: Path | None, plain: bool, which: str, seed: int | None, env: str | None) -> None:
    """Film one greedy episode, with the Q-values drawn beside it. Needs no screen."""
    print(shown(_open(run, env).record(output, plain=plain, which=which, seed=seed, warn=_warn)))


@command(
    _option("runs RUN", "The runs' folders, or .csv tables of returns: env, setting, seed, best_return ...", nargs="*"),
    _option(
        "--metric {best,final,average}",
        "Which greedy return of a seed counts: that of the best agent, the last one, or the mean of all. (default: "
        "best)",
        default="best",
    ),
    _option("-o --output FILE", "Draw the intervals too, to a .png, .svg or .pdf. (default: no picture)"),
    _flag("--json", "Print JSON instead of a table."),
)
def compare(runs: list[Path], metric: Literal["best", "final", "average"], output: Path | None, json: bool) -> None:
    """Compare runs in a table; seeds of one setting become an interquartile mean with an interval."""
    from tensorq.evaluation import compare as comparison
    from tensorq.show.tables import print_rows

    if output:
        from tensorq.show.style import check_output

        check_output(output)
    rows = comparison.compare(_each(runs), metric)
    print_rows(rows, metric, as_json=json)
    if output:
        from tensorq.show.intervals import draw_intervals

        path = draw_intervals(rows, metric, output)
        if not json:
            print(shown(path))


@command(
    _option("directory DIR", "A folder that holds runs, or folders of runs. (default: runs)", default="runs"),
    _flag("--free", "List the replays of finished runs, and delete them if you agree; agents and tables stay."),
    _flag("--yes", "Delete the replays without asking."),
    _flag("--json", "Print JSON instead of a table."),
)
def runs(directory: Path, free: bool, yes: bool, json: bool) -> None:
    """List the runs in a folder with their state, steps, best return and size, or free the disk space of replays."""
    from tensorq.show import runs as show

    if free and json or yes and not free:
        raise TensorqError("expected --yes only with --free, and --json only without --free")
    if free:
        show.free_replays(directory, yes)
    else:
        show.print_runs(directory, as_json=json)


@command()
def envs() -> None:
    """List the environments that can be trained on by name."""
    from tensorq.show.catalogue import print_environments

    print_environments()


@command(_option("name NAME", "A preset to show in full. (default: all presets, in short)", default=""))
def presets(name: str) -> None:
    """List the presets, and what each changes; or show one of them in full."""
    from tensorq.show import catalogue

    if name:
        catalogue.print_preset(name)
    else:
        catalogue.print_presets()


@command()
def doctor() -> None:
    """Show versions, devices, threads and extras, and how to install what is missing."""
    from tensorq.process import import_tensorflow
    from tensorq.show.catalogue import print_diagnosis

    import_tensorflow(1)
    print_diagnosis()


def main() -> None:
    """Entry point of the `tensorq` command.

    It exits with 0 for success, also when the reader of its output (such as `head`) stops reading; with 2 for
    errors that the user can correct, 130 after Ctrl-C and 143 after SIGTERM.
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
        # Everything is on disk, and TensorFlow's own shutdown takes more than half a second.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


class _Terminated(KeyboardInterrupt):
    """SIGTERM while there is no run to save: a run that has just begun is removed, as after Ctrl-C."""

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
        if name in ("train", "sweep", "tune"):
            COMMANDS[name].function(rest)
        else:
            _carry_out(name, rest)
    except TensorqError as error:
        _tell(str(error))
        return 2
    except SystemExit as stop:  # from --help, or from an environment while there is no run to save
        if stop.code:
            _tell(f"stopped by SystemExit: {stop.code}")
        return 2 if stop.code else 0
    except KeyboardInterrupt as stop:  # the text of Stopped says how to resume
        _tell(str(stop) or "stopped")
        return int(getattr(stop, "exit_code", 130))
    return 0


def _carry_out(name: str, arguments: list[str]) -> None:
    """Parse the arguments of a command and call it."""
    function, options = COMMANDS[name]
    names = [option.keywords["metavar"] for option in options if not option.names[0].startswith("-")]
    parser = Parser(name, _about(function), " ".join(["tensorq", name, *names, "[-h] [OPTIONS]"]), options)
    given = parser.read(arguments)
    if RUN in options and given["run"] is None:
        parser.error("expected the run's folder, such as runs/CartPole-v1-dqn-seed0")
    function(**given)


def _about(function: Callable[..., None]) -> str:
    return (function.__doc__ or "").partition("\n")[0]


def _warn(text: str) -> None:
    print(shown(f"warning: {text}"), file=sys.stderr)


def _help() -> str:
    lines = ["tensorq: deep Q-learning on TensorFlow", "", "commands:"]
    lines += [f"  {name:<10}{_about(function)}" for name, (function, _) in COMMANDS.items()]
    lines += ["", "`tensorq help COMMAND` lists its options. Begin with: tensorq train CartPole-v1"]
    return "\n".join(lines)
