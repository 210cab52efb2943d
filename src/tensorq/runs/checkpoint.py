"""Checkpoints: named NumPy arrays and metadata in one safetensors file, written atomically and verified when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tensorq.errors import TensorqError

HEADER_LIMIT_BYTES = 16 * 1024 * 1024
# The temporary files of `write_atomically`, .NAME.PROCESS.tmp, for every kind of file in a run's folder.
_LEFTOVER = re.compile(r"\..+\.(json|safetensors|png|svg|pdf|gif|mp4)\.[0-9]+\.tmp")
DTYPES = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
]
# The only entry of the file's string map: with more than one, safetensors writes them in a different order each time.
METADATA_KEY = "tensorq"


class DamagedCheckpoint(TensorqError):
    """The file is not a checkpoint, or no longer the one that was written."""


def writing_failed(path: Path, error: OSError, bytes_needed: int | None = None, kept: str = "") -> TensorqError:
    """Make the error for a `path` that could not be written: the reason, bytes needed and free, what is intact."""
    parts = [f"cannot write {path}: {error.strerror or error}"]
    if bytes_needed is not None:
        with contextlib.suppress(OSError):
            parts.append(f"{bytes_needed:,} bytes were needed, {shutil.disk_usage(path.parent).free:,} bytes are free")
    if kept:
        parts.append(kept)
    return TensorqError("; ".join(parts))


def require_folder(path: Path) -> None:
    """Refuse to write to a `path` whose folder does not exist: a typing error should not create a folder."""
    if not path.parent.is_dir():
        raise TensorqError(f"cannot write {path}: there is no folder {path.parent}; create it, or give another path")


def write_atomically(path: Path, data: bytes, kept: str | None = None) -> None:
    """Replace the file `path` by `data`. After a failure or crash, the old or the new file is there, whole."""
    if kept is None:
        kept = "the old file is intact" if os.path.lexists(path) else ""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with os.fdopen(_open_no_link(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        if os.name != "nt":  # Windows cannot open a folder
            descriptor = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise writing_failed(path, error, len(data), kept) from error


def open_in_place(path: Path) -> int:
    """Open a file of a run folder to read and write it in place. Links are not followed."""
    try:
        descriptor = _open_no_link(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if os.path.islink(path):
            raise TensorqError(f"{path} is a link, expected a regular file; remove the link") from error
        raise writing_failed(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise TensorqError(f"{path} is not a regular file; remove it")
    return descriptor


def _open_no_link(path: Path, flags: int) -> int:
    for name in ("O_NOFOLLOW", "O_BINARY", "O_NONBLOCK"):  # O_NONBLOCK: do not wait for a pipe
        flags |= getattr(os, name, 0)
    return os.open(path, flags, 0o666)


def require_inside(path: Path, folder: Path) -> None:
    """Refuse a `path` that leads out of `folder` through links."""
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a link to itself
        inside = False
    if not inside:
        raise TensorqError(
            f"{path} is a link that leads out of the run folder {folder}; replace it by a copy of its target"
        )


def is_leftover(path: Path) -> bool:
    """Whether this is a temporary file that a killed `write_atomically` left, and not a hidden file of the user."""
    return bool(_LEFTOVER.fullmatch(path.name)) and path.is_file() and not path.is_symlink()


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed `write_atomically` left. The caller must hold the run's lock."""
    for leftover in filter(is_leftover, folder.glob(".*.tmp")):
        with contextlib.suppress(OSError):
            leftover.unlink()


def save(path: Path, tensors: Mapping[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Write a checkpoint atomically. Equal content gives equal bytes."""
    import safetensors.numpy

    arrays = {name: _plain(name, tensors[name]) for name in sorted(tensors)}
    content = {"metadata": metadata, "sha256": _digest(arrays, metadata)}
    data = safetensors.numpy.save(arrays, {METADATA_KEY: _canonical_json(content)})
    write_atomically(path, data, "the last checkpoint is intact: correct this, then `tensorq resume` continues from it")


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors and the metadata of a verified checkpoint."""
    if not os.path.isfile(path):
        raise TensorqError(f"there is no checkpoint {path}")
    try:
        arrays, content = _read(path)
        metadata, digest = content["metadata"], content["sha256"]
    except DamagedCheckpoint:
        raise
    except OSError as error:
        raise TensorqError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error
    except Exception as error:  # parsers raise all kinds of errors for foreign bytes
        reason = f"{type(error).__name__} {error}".strip()[:200]
        raise DamagedCheckpoint(f"{path} is damaged or not a checkpoint ({reason})") from error
    if not isinstance(metadata, dict) or digest != _digest(arrays, metadata):
        raise DamagedCheckpoint(f"{path} is damaged: its content does not match its checksum")
    return arrays, metadata


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    import safetensors.numpy

    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header_bytes = int.from_bytes(file.read(8), "little")
        if size < 10:
            raise DamagedCheckpoint(f"{path} is damaged: it has {size} bytes")
        if header_bytes > min(size - 8, HEADER_LIMIT_BYTES):
            raise DamagedCheckpoint(
                f"{path} is damaged or not a checkpoint: it has {size:,} bytes, its header claims {header_bytes:,}"
            )
        file.seek(0)
        data = file.read()
    header = json.loads(data[8 : 8 + header_bytes])
    content = json.loads(header["__metadata__"][METADATA_KEY])
    return safetensors.numpy.load(data), content


def _plain(name: str, tensor: np.ndarray) -> np.ndarray:
    # safetensors reads raw memory, so the array must be contiguous and in native byte order. asarray keeps shape ().
    array = np.asarray(tensor, order="C")
    if array.dtype.name not in DTYPES or name == "__metadata__":
        raise TypeError(f"cannot store {name!r} of dtype {array.dtype} in a checkpoint; expected one of {DTYPES}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _canonical_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _digest(arrays: Mapping[str, np.ndarray], metadata: dict[str, Any]) -> str:
    names = sorted(arrays)
    index = [[name, arrays[name].dtype.name, arrays[name].shape] for name in names]
    digest = hashlib.sha256(_canonical_json([metadata, index]).encode())
    for name in names:
        digest.update(arrays[name].data)
    return digest.hexdigest()


class Checkpoints:
    """The checkpoints of one run: the last two and the best. `folder` lies in the run folder."""

    def __init__(self, folder: Path) -> None:
        """Create nothing yet: a reader may look at a run that is being trained."""
        self.folder = folder
        self._ready = False

    @property
    def best_path(self) -> Path:
        """Where the best agent is kept; the file may not exist yet."""
        return self.folder / "best.safetensors"

    @property
    def initial_path(self) -> Path:
        """The copy of another run's checkpoint whose parameters this run began with (init_from), if it did."""
        return self.folder / "initial.safetensors"

    def step_paths(self) -> list[Path]:
        """Return the periodic checkpoints, newest first, verified or not."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise TensorqError(f"cannot read the checkpoints in {self.folder}: {error.strerror or error}") from error
        matches = [match for name in names if (match := re.fullmatch(r"step_([0-9]{9,})\.safetensors", name))]
        return [self.folder / match[0] for match in sorted(matches, key=lambda match: int(match[1]), reverse=True)]

    def newest_steps(self) -> int:
        """The environment steps of the newest checkpoint, verified or not; 0 if there is none."""
        paths = self.step_paths()
        return int(paths[0].stem.removeprefix("step_")) if paths else 0

    def save(self, steps: int, tensors: Mapping[str, np.ndarray], metadata: dict[str, Any]) -> Path:
        """Write the checkpoint of `steps` environment steps, then remove all but the last two."""
        path = self.folder / f"step_{steps:09d}.safetensors"
        self._make_ready()
        save(path, tensors, metadata)
        paths = self.step_paths()
        position = paths.index(path)
        # Newer files are damaged, or later than the checkpoint from which the run was resumed.
        for old in paths[:position] + paths[position + 2 :]:
            with contextlib.suppress(OSError):
                old.unlink()
        return path

    def save_best(self, tensors: Mapping[str, np.ndarray], metadata: dict[str, Any]) -> Path:
        """Replace the best agent."""
        self._make_ready()
        save(self.best_path, tensors, metadata)
        return self.best_path

    def save_initial(self, data: bytes) -> None:
        """Keep the bytes of a checkpoint that the run begins with."""
        self._make_ready()
        write_atomically(self.initial_path, data)

    def latest(self, warn: Callable[[str], None]) -> tuple[dict[str, np.ndarray], dict[str, Any], Path] | None:
        """Load the newest good checkpoint; None if there are no checkpoints. Warns if newer ones cannot be used."""
        require_inside(self.folder, self.folder.parent)
        errors: list[TensorqError] = []
        for path in self.step_paths():
            try:
                require_inside(path, self.folder.parent)
                tensors, metadata = load(path)
            except TensorqError as error:
                errors.append(error)
                continue
            if errors:
                warn(f"{'; '.join(map(str, errors))}; using {path} instead")
            return tensors, metadata, path
        if errors:
            raise TensorqError(
                f"no checkpoint of this run can be used: {'; '.join(map(str, errors))};"
                " train again into another run_dir (--run-dir)"
            )
        return None

    def _make_ready(self) -> None:
        if self._ready:
            return
        require_inside(self.folder, self.folder.parent)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise writing_failed(self.folder, error) from error
        remove_leftovers(self.folder)
        self._ready = True
