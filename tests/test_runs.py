"""What a run leaves on disk: nothing is lost, nothing damaged is believed, nothing is written elsewhere."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import math
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import numpy as np
import pytest

from tensorq.errors import TensorqError
from tensorq.runs import checkpoint, directory
from tensorq.runs.checkpoint import Checkpoints, DamagedCheckpoint
from tensorq.runs.directory import RunDirectory
from tensorq.runs.tables import CsvTable, read_table

TENSORS: dict[str, np.ndarray] = {
    "params/kernel": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "params/scale": np.array(0.1, np.float32),
    "state/steps": np.array(2**40, np.int64),
    "state/actions": np.array([-1, 2], np.int32),
    "state/key": np.array([2**32 - 1], np.uint32),
    "replay/obs": np.arange(5, dtype=np.uint8),
    "replay/done": np.array([True, False]),
    "replay/empty": np.zeros((0, 4), np.float64),
}
METADATA = {
    "steps": 7,
    "epsilon": 0.1,
    "best": None,
    "loss": -math.inf,
    "names": ["ä", 'x"y'],
    "deep": {"b": 1, "a": 2},
}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


def disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Checkpoints


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, TENSORS, METADATA)
    tensors, metadata = checkpoint.load(path)
    assert_same(tensors, TENSORS)
    assert metadata == METADATA
    assert tensors["params/kernel"].flags.writeable


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    files = []
    for order in (1, -1) * 5:
        path = tmp_path / "a.safetensors"
        checkpoint.save(path, dict(list(TENSORS.items())[::order]), dict(list(METADATA.items())[::order]))
        files.append(path.read_bytes())
    assert len(set(files)) == 1


def test_strides_and_byte_order_do_not_matter(tmp_path: Path) -> None:
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    checkpoint.save(tmp_path / "a", {"t": table.T, "big": table.astype(">f4"), "step": table[:, ::2]}, {})
    tensors, _ = checkpoint.load(tmp_path / "a")
    assert_same(tensors, {"t": table.T.copy(), "big": table, "step": table[:, ::2].copy()})
    with pytest.raises(TypeError, match="object"):
        checkpoint.save(tmp_path / "a", {"t": np.array([None])}, {})


def test_no_flipped_bit_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, TENSORS, METADATA)
    good = path.read_bytes()
    bits = random.Random(1)
    damaged = 0
    for position in range(len(good)):
        data = bytearray(good)
        data[position] ^= 1 << bits.randrange(8)
        path.write_bytes(data)
        try:
            tensors, metadata = checkpoint.load(path)
        except DamagedCheckpoint as error:
            assert "\n" not in str(error)
            damaged += 1
        else:
            assert_same(tensors, TENSORS)
            assert metadata == METADATA
    assert damaged > 0.95 * len(good)


def header(text: str, length: int | None = None) -> bytes:
    data = text.encode()
    return (len(data) if length is None else length).to_bytes(8, "little") + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 8,
        b"\x00" * 1000,
        b"\xff" * 1000,
        header("{}"),
        header("[" * 100_000),
        header('{"__metadata__":{"tensorq":"' + "[" * 100_000 + '"}}'),
        header('{"__metadata__":{"tensorq":"[]"}}'),
        header('{"__metadata__":{"tensorq":"{\\"metadata\\":{}}"}}'),
        header('{"__metadata__":{"tensorq":"{\\"metadata\\":{},\\"sha256\\":\\"0\\"}"}}'),
        header('{"a":{"dtype":"F32","shape":[9000000000000000000],"data_offsets":[0,36000000000000000000]}}'),
        header('{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}'),
        header("{}", 2**63),
        header("{}", 17 * 1024 * 1024) + b" " * 100,
        pickle.dumps({"metadata": {}}),
        pickle.dumps(print, protocol=0),
    ],
    ids=range(16),
)
def test_what_is_not_a_checkpoint(tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(DamagedCheckpoint, match="a.safetensors"):
        checkpoint.load(path)
    assert capsys.readouterr().out == ""


def test_giant_header_and_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write((2**35).to_bytes(8, "little"))
        file.truncate(2**36)  # sparse: reading it would take 64 GB
    start = time.perf_counter()
    with pytest.raises(DamagedCheckpoint, match="its header claims 34,359,738,368"):
        checkpoint.load(path)
    assert time.perf_counter() - start < 0.5
    checkpoint.save(path, TENSORS, METADATA)
    good = path.read_bytes()
    for length in range(0, len(good), 37):
        path.write_bytes(good[:length])
        with pytest.raises(DamagedCheckpoint):
            checkpoint.load(path)


@pytest.mark.parametrize("function", ["fsync", "replace", "open"])
def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, TENSORS, {"steps": 1})
    before = path.read_bytes()
    monkeypatch.setattr(os, function, disk_full)
    with pytest.raises(
        TensorqError, match=r"a\.safetensors: No space left.*[0-9,]+ bytes were needed, .* free.*intact"
    ):
        checkpoint.save(path, TENSORS, {"steps": 2})
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.safetensors"]


def fill_disk(folder: Path) -> None:
    """Save what fits, fail at what does not, and go on after space is made."""
    kept = Checkpoints(folder / "checkpoints")
    kept.save(1, {"x": np.zeros(20_000, np.uint8)}, {})
    with CsvTable(folder / "metrics.csv", ["a", "b"]) as table:
        table.append([(1, 2.0)])
        table.flush()
        with pytest.raises(TensorqError, match="300,.* bytes were needed"):
            kept.save(2, {"x": np.zeros(300_000, np.uint8)}, {})
        table.append([(i, 1 / 3) for i in range(20_000)])
        with pytest.raises(TensorqError, match=r"metrics\.csv.*intact"):
            table.flush()
        assert (folder / "metrics.csv").read_bytes() == b"a,b\n1,2.0\n"
        table.truncate(table.path.stat().st_size)
    latest = kept.latest(pytest.fail)
    assert latest is not None and latest[2].name == "step_000000001.safetensors"
    assert os.listdir(folder / "checkpoints") == [latest[2].name]
    kept.save(3, {"x": np.ones(30_000, np.uint8)}, {})


def test_full_disk(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a small tmpfs cannot be mounted here; test_file_size_limit takes its place")
    try:
        fill_disk(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_file_size_limit(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        fill_disk(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_last_two_and_the_best_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    kept = Checkpoints(folder)
    assert kept.latest(pytest.fail) is None
    folder.mkdir()
    leftover = folder / ".step_000000001.safetensors.1.tmp"
    leftover.write_bytes(b"x")
    assert kept.latest(pytest.fail) is None and leftover.exists()  # a reader removes nothing
    kept.save_best({}, {"best": 1})
    for steps in (10, 20, 1_000_000_000, 30):  # 1_000_000_000 was given up: the run was resumed from 20
        path = kept.save(steps, {}, {"steps": steps})
    assert [path.name for path in kept.step_paths()] == ["step_000000030.safetensors", "step_000000020.safetensors"]
    assert sorted(os.listdir(folder)) == ["best.safetensors"] + [path.name for path in reversed(kept.step_paths())]
    assert kept.latest(pytest.fail) == ({}, {"steps": 30}, path)
    assert checkpoint.load(kept.best_path)[1] == {"best": 1}


def test_fall_back_to_the_checkpoint_before(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "checkpoints")
    older, newer = kept.save(10, TENSORS, {"steps": 10}), kept.save(20, TENSORS, {"steps": 20})
    newer.write_bytes(newer.read_bytes()[:-1])
    warnings: list[str] = []
    latest = kept.latest(warnings.append)
    assert latest is not None and latest[1:] == ({"steps": 10}, older)
    assert len(warnings) == 1 and "\n" not in warnings[0]
    assert f"{newer} is damaged" in warnings[0] and f"using {older} instead" in warnings[0]
    older.write_bytes(b"")
    with pytest.raises(TensorqError, match=r"step_000000020.*step_000000010"):
        kept.latest(pytest.fail)


def test_links_out_of_the_run_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    checkpoint.save(outside / "a.safetensors", {}, {})
    run = directory.create(tmp_path / "run", {})
    run.unlock()
    run.checkpoints_path.symlink_to(outside, target_is_directory=True)
    with pytest.raises(TensorqError, match="leads out of the run folder"):
        Checkpoints(run.checkpoints_path).save(1, {}, {})
    with pytest.raises(TensorqError, match="leads out of the run folder"):
        Checkpoints(run.checkpoints_path).latest(pytest.fail)
    with pytest.raises(TensorqError, match="leads out of the run folder"):
        directory.open(run.path)
    run.checkpoints_path.unlink()
    kept = Checkpoints(run.checkpoints_path)
    kept.save(1, {}, {})
    link = run.checkpoints_path / "step_000000002.safetensors"
    link.symlink_to(outside / "a.safetensors")
    with pytest.raises(TensorqError, match="step_000000002.*leads out"):
        directory.open(run.path)
    warnings: list[str] = []
    kept.latest(warnings.append)
    assert len(warnings) == 1 and "leads out" in warnings[0]
    kept.save(2, {}, {})  # replaces the link, not what it leads to
    assert not link.is_symlink() and os.listdir(outside) == ["a.safetensors"]
    run.metrics_path.symlink_to(outside / "new.csv")
    with pytest.raises(TensorqError, match="is a link"):
        CsvTable(run.metrics_path, ["a"])
    (run.path / "lock").unlink()
    (run.path / "lock").symlink_to(outside / "lock")
    with pytest.raises(TensorqError, match="is a link"):
        run.lock()
    assert os.listdir(outside) == ["a.safetensors"]


# Tables


def test_table_text_and_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    with CsvTable(path, ["steps", "loss", "return"]) as table:
        assert path.read_bytes() == b"steps,loss,return\n"
        table.append([(1, None, 500.0), (np.int64(2), 0.1, None), (True, np.float32(0.1), np.float64(1e300))])
        assert path.read_bytes() == b"steps,loss,return\n"
        table.append([(None, None, None), (3, float("nan"), -math.inf)])
        with pytest.raises(ValueError, match="2 cells"):
            table.append([(1, 2)])
    text = "steps,loss,return\n1,,500.0\n2,0.1,\n1,0.10000000149011612,1e+300\n,,\n3,nan,-inf\n"
    assert path.read_text() == text
    columns = read_table(path)
    assert list(columns) == ["steps", "loss", "return"]
    nan = math.nan
    np.testing.assert_array_equal(columns["steps"], [1, 2, 1, nan, 3])
    np.testing.assert_array_equal(columns["loss"], [nan, 0.1, np.float32(0.1), nan, nan])
    np.testing.assert_array_equal(columns["return"], [500, nan, 1e300, nan, -math.inf])


def test_a_resumed_table_is_the_uninterrupted_one(tmp_path: Path) -> None:
    path = tmp_path / "episodes.csv"
    table = CsvTable(path, ["a", "b"])
    table.append([(1, 1.5)])
    position = table.position()
    assert position == path.stat().st_size == len("a,b\n1,1.5\n")
    table.append([(2, 2.5)])
    table.close()
    table.close()
    with path.open("ab") as file:
        file.write(b"3,")  # the crash
    with CsvTable(path, ["a", "b"]) as table:
        table.append([(9, 9)])  # not yet written: forgotten too
        table.truncate(position)
        table.append([(2, 2.5)])
    assert path.read_bytes() == b"a,b\n1,1.5\n2,2.5\n"
    with CsvTable(path, ["a", "b"]) as table:
        for wrong in (position + 1, 1000):
            with pytest.raises(TensorqError, match="was changed"):
                table.truncate(wrong)
        table.truncate(0)
        table.append([(1, 1.5)])
    assert path.read_bytes() == b"a,b\n1,1.5\n"
    with pytest.raises(TensorqError, match="columns a,c"):
        CsvTable(path, ["a", "c"])
    path.write_bytes(b"a,")  # killed while it began
    CsvTable(path, ["a", "b"]).close()
    assert path.read_bytes() == b"a,b\n"
    assert {name: column.shape for name, column in read_table(path).items()} == {"a": (0,), "b": (0,)}


def test_reading_tolerates_a_crash_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"a,b\r\n1,2\r\n3,4\n5,60")
    np.testing.assert_array_equal(read_table(path)["b"], [2, 4])
    for data, why in {
        b"": "expected the names of columns in line 1",
        b"a,b": "expected the names of columns in line 1",
        b"a,\n": "expected the names of columns in line 1",
        b"a,a\n1,2\n": "expected the names of columns in line 1",
        b"a,b\n1,2\n3\n": "line 3 has 1 cells instead of 2",
        b"a,b\n1,2,3\n": "line 2 has 3 cells instead of 2",
        b"a,b\n1,x\n": "line 2 has 'x', expected a number",
        b"a,b\n\n1,2\n": "line 2 has 1 cells instead of 2",
        b"a,b\n1,\xff\n\x00,\x00\n": "it is not text",
    }.items():
        path.write_bytes(data)
        with pytest.raises(TensorqError, match=f"metrics.csv is damaged: {why}.*; put the original file back, or lea"):
            read_table(path)
    with pytest.raises(TensorqError, match="No such file"):
        read_table(tmp_path / "none.csv")


def test_a_long_table_is_read_quickly(tmp_path: Path) -> None:
    path = tmp_path / "episodes.csv"
    with CsvTable(path, ["episode", "steps", "env_index", "length", "return"]) as table:
        table.append((i, 20 * i, 0, 20, None if i % 10 == 0 else i / 7) for i in range(50_000))
    start = time.process_time()
    columns = read_table(path)
    assert time.process_time() - start < 0.5  # for 200 000 rows when nothing else runs
    assert columns["return"][-1] == 49_999 / 7 and np.isnan(columns["return"][::10]).all()


# Folders


def test_create_open_and_read(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "one"
    run = directory.create(path, {"config": {"env": "CartPole-v1", "rate": np.float32(0.5)}, "environment": {}})
    with pytest.raises(TensorqError, match="is training"):
        directory.open(path).lock()  # it is locked from its beginning
    run.unlock()
    data = directory.read_config(directory.open(path).path)
    assert data["config"] == {"env": "CartPole-v1", "rate": 0.5}
    assert list(data["versions"]) == ["python", "tensorflow", "keras", "numpy", "gymnasium", "tensorq"]
    assert data["versions"]["numpy"] == importlib.metadata.version("numpy")
    assert directory.read_result(path) is None
    directory.write_json(path / "result.json", {"a": math.nan, "b": (1, -math.inf), "c": np.array([1.5]), "p": path})
    assert directory.read_result(path) == {"a": None, "b": [1, None], "c": [1.5], "p": str(path)}
    with pytest.raises(TensorqError, match="is a run already.*resume.*--run-dir"):
        directory.create(path, {})


def test_what_is_not_a_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, message in ((tmp_path, "not empty.*'file'.*--run-dir"), (tmp_path / "file", "is a file")):
        with pytest.raises(TensorqError, match=message):
            directory.create(path, {})
    for path in (tmp_path / "file" / "run", tmp_path / ("x" * 300)):
        with pytest.raises(TensorqError, match="cannot create the run folder"):
            directory.create(path, {})
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX users")
def test_no_permission_to_write(tmp_path: Path) -> None:
    shut, empty = tmp_path / "shut", tmp_path / "shut" / "empty"
    empty.mkdir(parents=True)
    for folder in (empty, shut):
        folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:  # root may write anywhere: become nobody, who has to be let in so far
        for folder in (tmp_path, *(each for each in tmp_path.parents if each.name.startswith(("pytest-", "popen-")))):
            folder.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(TensorqError, match="cannot create the run folder .*run: Permission denied.*--run-dir"):
            directory.create(shut / "run", {})
        with pytest.raises(TensorqError, match="cannot write .*empty.*: Permission denied"):
            directory.create(empty, {})
    finally:
        os.seteuid(user)
        shut.chmod(0o755)


def test_what_is_not_a_run(tmp_path: Path) -> None:
    run = directory.create(tmp_path / "run", {})
    run.unlock()
    cases = {
        tmp_path: "without config.json",
        tmp_path / "none": "does not exist",
        run.config_path: f"is a file.*did you mean {run.path}",
    }
    for path, message in cases.items():
        with pytest.raises(TensorqError, match=f"{message}"):
            directory.open(path)
    with pytest.raises(TensorqError, match='has no "config"'):
        directory.read_config(run.path)
    directory.write_json(run.config_path, {"config": {}})
    with pytest.raises(TensorqError, match="it contains runs: give one, such as .*/run, or .*/\\* if the"):
        directory.open(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "config.json is damaged, it is empty; put the original file back, or train again into another run"),
        (b"{", "not JSON"),
        (b'{"a": NaN}', "NaN"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "expected a JSON object, received a list"),
        (b'{"a": "' + b"x" * 100 + b'"}', "larger than 50"),
    ],
)
def test_damaged_json(tmp_path: Path, data: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(data)
    if "larger" in message:
        monkeypatch.setattr(directory, "JSON_LIMIT_BYTES", 50)
    with pytest.raises(TensorqError, match=message):
        directory.read_json(path)


def test_a_damaged_result_can_be_written_again(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"finished"')
    with pytest.raises(TensorqError, match=f"damaged, it is not JSON .*; remove it, and `tensorq resume {tmp_path}`"):
        directory.read_result(tmp_path)


def test_a_failed_write_leaves_the_old_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    directory.write_json(path, {"a": 1})
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(TensorqError, match="No space left"):
        directory.write_json(path, {"a": 2})
    assert directory.read_json(path) == {"a": 1} and os.listdir(tmp_path) == ["result.json"]


def test_runs_that_begin_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    assert next(directory.default_run_dirs(Path("runs"), "CartPole-v1", "dqn", 1)) == Path("runs/CartPole-v1-dqn-seed1")
    first = "my-ALE-Pong-v5-a-b.toml-seed0"
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / f"{first}-2").symlink_to("nowhere")
    ready = threading.Barrier(8)

    def begin(_: int) -> RunDirectory:
        ready.wait()
        folders = directory.default_run_dirs(tmp_path / "runs", "../my:ALE/Pong v5", "a/b.toml", 0)
        return directory.create_in_first_free(folders, {})

    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(begin, range(8)))
    assert {run.path.name for run in runs} == {first, *(f"{first}-{number}" for number in range(3, 10))}
    assert all(run.config_path.exists() for run in runs)
    for run in runs:
        run.unlock()


def test_what_never_began_takes_back_what_it_made_and_no_more(tmp_path: Path) -> None:
    deep, given = tmp_path / "a" / "b" / "run", tmp_path / "given"
    given.mkdir()
    for path in (deep, given):
        with directory.create(path, {}) as run:
            run.metrics_path.write_text("steps\n")
            run.remove()
    assert os.listdir(tmp_path) == ["given"] and not os.listdir(given)
    with directory.create(deep, {}) as run:
        (deep / "notes.txt").write_text("of the user's")
        run.remove()
    assert os.listdir(deep) == ["notes.txt"]


def test_only_leftovers_of_our_own_are_removed(tmp_path: Path) -> None:
    run = directory.create(tmp_path / "run", {})
    run.unlock()
    ours = [".config.json.12.tmp", ".video.mp4.7.tmp"]
    others = [".mine.tmp", ".notes.txt.12.tmp", ".config.json.tmp", "config.json.12.tmp"]
    for name in (*ours, *others):
        (run.path / name).write_text("")
    (run.path / ".a.json.1.tmp").mkdir()
    (run.path / ".b.json.1.tmp").symlink_to(tmp_path)
    with run:
        kept = {".a.json.1.tmp", ".b.json.1.tmp", "config.json", "lock", *others}
        assert set(os.listdir(run.path)) == kept


def test_a_beginning_that_was_killed_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("1\n")
    (tmp_path / ".config.json.1.tmp").write_text("{")
    directory.create(tmp_path, {}).unlock()
    assert sorted(os.listdir(tmp_path)) == ["config.json", "lock"]


def test_a_file_system_without_locks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlockable(*_: object, **__: object) -> bool:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(filelock, "lock_descriptor", unlockable)
    with directory.create(tmp_path / "run", {}):
        assert (tmp_path / "run" / "lock").read_text() == f"{os.getpid()}\n"


TRAINER = """
import os, sys
from pathlib import Path
import numpy as np
from tensorq.runs import checkpoint, directory
run = directory.open(Path(sys.argv[1]))
run.lock()
if os.fork() == 0:
    sys.stdin.read()  # a worker that outlives the trainer
    os._exit(0)
kept = checkpoint.Checkpoints(run.checkpoints_path)
for steps in range(10**9):
    kept.save(steps, {"x": np.full(10_000, steps)}, {"steps": steps})
    if steps == 2:
        print("ready", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_lock_ends_with_its_process_and_the_checkpoint_stays(tmp_path: Path) -> None:
    run = directory.create(tmp_path / "run", {})
    run.unlock()
    command = [sys.executable, "-c", TRAINER, str(run.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as trainer:
        try:
            assert trainer.stdout is not None and trainer.stdout.readline() == b"ready\n"
            with pytest.raises(TensorqError, match=f"process {trainer.pid} is training in .*run"):
                run.lock()
        finally:
            trainer.kill()
        trainer.wait()
        with directory.open(run.path) as again:
            again.lock()
            with pytest.raises(TensorqError, match=f"process {os.getpid()} is training"):
                run.lock()
        run.lock()
        run.unlock()
        latest = Checkpoints(run.checkpoints_path).latest(pytest.fail)
        assert latest is not None
        np.testing.assert_array_equal(latest[0]["x"], np.full(10_000, latest[1]["steps"]))


def test_config_json_is_readable_text(tmp_path: Path) -> None:
    run = directory.create(tmp_path / "run", {"config": {"b": 1, "a": 2}})
    run.unlock()
    text = run.config_path.read_text()
    assert text.startswith('{\n  "config": {\n    "b": 1,') and text.endswith("}\n")
    assert json.loads(text) == directory.read_config(run.path)
