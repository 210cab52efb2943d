"""The folder of a run: its paths, how it is created, and the lock that keeps a second process out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from tensorq.errors import TensorqError
from tensorq.plugins import require_packages
from tensorq.runs.checkpoint import Checkpoints, is_leftover, require_inside, write_atomically
from tensorq.runs.lock import LockableFolder

PUT_BACK = "put the original file back, or train again into another run folder"
LARGEST = 1e300  # of what is drawn: the differences of larger numbers overflow, so they count as missing
JSON_LIMIT_BYTES = 16 * 1024 * 1024


class RunDirectory(LockableFolder):
    """A run's folder and the paths in it. `with run:` locks it: one process trains in a folder at a time."""

    def __init__(self, path: Path, made: Sequence[Path] = ()) -> None:
        """Set the paths; the disk is not touched. `made` are the folders made for this run, outermost first."""
        super().__init__(path)
        self._made = made
        self.config_path = path / "config.json"  # all that is needed to run it again
        self.metrics_path = path / "metrics.csv"  # a row for each stop of training
        self.episodes_path = path / "episodes.csv"  # a row for each finished episode
        self.checkpoints_path = path / "checkpoints"  # the folder for `checkpoint.Checkpoints`
        self.replay_path = path / "replay.bin"  # the replay, which only a resume needs
        self.result_path = path / "result.json"  # the outcome of a finished run
        self.curve_path = path / "curve.png"
        self.video_path = path / "video.gif"

    def remove(self) -> None:
        """Remove a run that never began: its files, and the folders made for it if they are then empty."""
        tables = (self.metrics_path, self.episodes_path)
        initial = Checkpoints(self.checkpoints_path).initial_path
        for file in (self.config_path, *tables, self.replay_path, initial, self.lock_path):
            with contextlib.suppress(OSError):
                file.unlink()
        for folder in (self.checkpoints_path, *reversed(self._made)):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def __enter__(self) -> RunDirectory:
        self.lock()
        return self

    def __exit__(self, *exception: object) -> None:
        self.unlock()


def create(path: Path, config_json: dict[str, Any]) -> RunDirectory:
    """Begin a run: make the folder, which must be new or empty, lock it, and write config.json with the versions."""
    _refuse_taken(path)
    return _begin(path, make_folders(path), config_json)


def create_in_first_free(paths: Iterable[Path], config_json: dict[str, Any]) -> RunDirectory:
    """Begin a run in the first of these folders that does not exist, even if other processes do so at the same time."""
    for path in paths:
        if path in (made := make_folders(path)):
            return _begin(path, made, config_json)
    raise ValueError("none of these folders is new")


def make_folders(path: Path) -> list[Path]:
    """Make a folder and its missing parents; returns the folders that this process made, outermost first."""
    made = []
    try:
        for folder in reversed([path, *path.parents]):
            if not os.path.isdir(folder):
                with contextlib.suppress(FileExistsError):  # another process was quicker
                    folder.mkdir()
                    made.append(folder)
    except OSError as error:
        raise TensorqError(
            f"cannot create the run folder {path}: {error.strerror}; choose another run_dir (--run-dir)"
        ) from error
    return made


def _begin(path: Path, made: list[Path], config_json: dict[str, Any]) -> RunDirectory:
    run = RunDirectory(path, made)
    with contextlib.ExitStack() as undo:
        undo.enter_context(run)
        _refuse_taken(path)  # another process may have been quicker
        undo.callback(run.remove)
        write_json(run.config_path, {**config_json, "versions": versions()})
        undo.pop_all()
    return run


def open(path: Path) -> RunDirectory:
    """Return the run in `path`; refuses other folders, and a run with links that lead out of its folder."""
    run = RunDirectory(path)
    if not os.path.isfile(run.config_path):
        found = "is a file" if os.path.exists(path) else "does not exist"
        found = "is a folder without config.json" if os.path.isdir(path) else found
        near = [*list(path.parents)[:2], path.parent / "runs" / path.name]
        nearby = [folder for folder in near if os.path.isfile(folder / "config.json")]
        inside = [entry for entry in _entries(path) if (entry / "config.json").is_file()]
        hint = f"; did you mean {nearby[0]}?" if nearby else ""
        if inside:
            hint = f"; it contains runs: give one, such as {inside[0]}, or {path / '*'} if the command takes several"
        raise TensorqError(f"{path} {found}; expected the folder of a run, as `tensorq train` makes it{hint}")
    for folder in (path, run.checkpoints_path):
        for entry in _entries(folder):
            if entry.is_symlink():
                require_inside(entry, path)
    return run


def default_run_dirs(parent: Path, env: str, preset: str, seed: int) -> Iterator[Path]:
    """The default folders of a run: for example runs/CartPole-v1-dqn-seed1, then the same name with -2, -3 ..."""
    yield from numbered(parent, f"{env}-{preset}-seed{seed}")


def numbered(parent: Path, text: str) -> Iterator[Path]:
    """A folder named by a text, without letters that paths should not have, then the same name with -2, -3 ..."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".-")[-150:]
    yield parent / name
    yield from (parent / f"{name}-{number}" for number in count(2))


def read_config(run_dir: Path) -> dict[str, Any]:
    """Return config.json of a run: its "config", "versions", "environment"."""
    data = read_json(run_dir / "config.json")
    if not isinstance(data.get("config"), dict):
        raise TensorqError(
            f'{run_dir / "config.json"} has no "config", the settings that `tensorq train` writes there; {PUT_BACK}'
        )
    require_packages(data.get("plugins"), str(run_dir))
    return data


def read_result(run_dir: Path) -> dict[str, Any] | None:
    """Return result.json of a run, or None while it is not finished."""
    path = run_dir / "result.json"
    if not os.path.lexists(path):
        return None
    return read_json(path, f"remove it, and `tensorq resume {run_dir}` writes it again")


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write `data` atomically; numbers that JSON does not know (NaN, infinities) become null."""
    write_atomically(path, (json.dumps(plain_data(data), indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path, way_out: str = PUT_BACK) -> dict[str, Any]:
    """Return the object in a JSON file, which is only data. `way_out` is how to correct a damaged file, for errors."""
    try:
        if not os.path.isfile(path):
            raise TensorqError(f"there is no file {path}")
        with path.open("rb") as file:
            text = file.read(JSON_LIMIT_BYTES + 1)
    except OSError as error:
        raise TensorqError(f"cannot read {path}: {error.strerror or error}") from error
    if len(text) > JSON_LIMIT_BYTES:
        raise TensorqError(f"{path} is larger than {JSON_LIMIT_BYTES:,} bytes, so tensorq did not write it; {way_out}")
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        why = "it is empty" if not text.strip() else f"it is not JSON ({error})"
        raise TensorqError(f"{path} is damaged, {why}; {way_out}") from error
    if not isinstance(data, dict):
        raise TensorqError(f"{path} is damaged, expected a JSON object, received a {type(data).__name__}; {way_out}")
    return data


def versions() -> dict[str, str | None]:
    """Return the versions of what a run depends on, without importing any of it."""
    import platform
    from importlib import metadata

    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("tensorflow", "keras", "numpy", "gymnasium", "tensorq"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def python_arguments(run_dir: Path, needs: Iterable[str] = ()) -> str:
    """The arguments of tq.resume and tq.open_run for this run: its folder, and the functions that it `needs`."""
    return ", ".join([repr(str(run_dir)), *(f"{name}={name}" for name in needs)])


def _entries(folder: Path) -> list[Path]:
    """What a folder has, by name; nothing if there is no such folder."""
    try:
        return sorted(folder.iterdir()) if os.path.isdir(folder) else []
    except OSError as error:
        raise TensorqError(f"cannot read the folder {folder}: {error.strerror}") from error


def _refuse_taken(path: Path) -> None:
    if not os.path.isdir(path):
        if os.path.exists(path):
            raise TensorqError(f"{path} is a file; choose another run_dir (--run-dir)")
        return
    if os.path.exists(path / "config.json"):
        raise TensorqError(
            f"{path} is a run already; continue it by `tensorq resume {path}`, or give another run_dir (--run-dir)"
        )
    # A run that was killed at its start leaves only the lock and a temporary file.
    found = [entry.name for entry in _entries(path) if entry.name != "lock" and not is_leftover(entry)]
    if found:
        raise TensorqError(
            f"{path} is not empty (it contains {found[0]!r}) and is not a run; choose a new run_dir (--run-dir)"
        )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def plain_data(value: Any) -> Any:
    """Convert a value to numbers, text, lists and dicts for JSON; numbers that are not finite become None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    elif hasattr(value, "tolist"):  # NumPy
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def finite_number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
