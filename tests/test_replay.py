"""Both replays against a list that does the same slowly; and what a replay on disk survives."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tensorq.core import random
from tensorq.core.host_random import CounterRandom
from tensorq.core.types import Batch
from tensorq.errors import TensorqError
from tensorq.replay import memory
from tensorq.replay.device import DeviceReplay, DeviceReplayState
from tensorq.replay.host import HostReplay, row_dtype

SHAPES = st.sampled_from([(), (3,), (2, 2)])


def each_once(size: int) -> np.ndarray:
    """Random words that pick each of `size` transitions once: ceil(index * 2^32 / size)."""
    return np.array([-(-index * 2**32 // size) for index in range(size)], np.uint32)


def transitions(first: int, count: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Transitions first, first + 1 ... in which every number tells which one it belongs to."""
    numbers = np.arange(first, first + count)
    obs = 10 * numbers.reshape(count, *[1] * len(shape)) + np.arange(int(np.prod(shape))).reshape(shape)
    return {
        "obs": obs.astype(np.float32),
        "action": (numbers % 7).astype(np.int32),
        "reward": numbers / 4,
        "discount": (numbers % 5) / 8,
        "next_obs": (obs + 5).astype(np.float32),
    }


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(array) for name, array in arrays.items()}


def plain(found: Any) -> list[tuple[Any, ...]]:
    """Transitions as a sorted list, to be compared."""
    names = ("obs", "action", "reward", "discount", "next_obs")
    columns = [np.asarray(getattr(found, name) if isinstance(found, Batch) else found[name]) for name in names]
    return sorted(tuple(np.asarray(column[row], float).ravel().tolist() for column in columns)
                  for row in range(len(columns[0])))  # fmt: skip


def evenly(counts: np.ndarray) -> bool:
    """Whether each of the cells was met about as often as the others: five standard deviations."""
    expected = counts.sum() / counts.size
    return bool((np.abs(counts - expected) < 5 * np.sqrt(expected)).all())


# --- on the device ----------------------------------------------------------------------------------------------------


@given(capacity=st.integers(1, 12), num_envs=st.integers(1, 4), calls=st.integers(1, 20), shape=SHAPES)
def test_device_replay_is_a_list_of_the_last(capacity: int, num_envs: int, calls: int, shape: tuple[int, ...]) -> None:
    num_envs = min(num_envs, capacity)  # Config allows no other
    replay = DeviceReplay(capacity, shape)
    state = replay.init()
    for call in range(calls):
        state = replay.add(
            state, **{k: tf.constant(v) for k, v in transitions(call * num_envs, num_envs, shape).items()}
        )
        written = (call + 1) * num_envs
        size = min(written, capacity)
        batch = replay.sample(state, tf.constant(each_once(size)))
        assert plain(batch) == plain(transitions(written - size, size, shape))
        assert int(state.written) == written
    assert batch.obs.shape == (size, *shape)
    assert batch.action.dtype == tf.int32
    np.testing.assert_array_equal(batch.weight, np.ones(size))


def test_device_replay_samples_evenly() -> None:
    replay = DeviceReplay(10, ())
    state = replay.init()
    for first in range(0, 25, 5):
        state = replay.add(state, **tensors(transitions(first, 5, ())))
    bits = random.random_bits(0, random.REPLAY, 0, 20_000)
    counts = np.bincount(replay.sample(state, bits).obs.numpy().astype(int) // 10, minlength=25)
    assert counts[:15].sum() == 0
    assert evenly(counts[15:])


def test_device_replay_in_one_program() -> None:
    """In a loop under XLA, as it is used."""
    replay = DeviceReplay(4, (2,))

    def body(index: Any, state: DeviceReplayState) -> tuple[Any, DeviceReplayState]:
        obs = tf.fill((1, 2), tf.cast(index, tf.float32))
        return index + 1, replay.add(state, obs, index[None], tf.ones(1), tf.ones(1), obs + 1)

    @tf.function(jit_compile=True)
    def program() -> Batch:
        _, state = tf.while_loop(lambda index, state: index < 11, body, (tf.constant(0), replay.init()))
        return replay.sample(state, tf.constant(each_once(4)))

    assert sorted(program().action.numpy()) == [7, 8, 9, 10]


# --- on the host ------------------------------------------------------------------------------------------------------


class Rows:
    """A HostReplay in a folder of its own, and the list of all that was stored."""

    def __init__(self, folder: str, capacity: int, slack: int, shape: tuple[int, ...] = ()) -> None:
        self.shape, self.dtype = shape, row_dtype(np.dtype(np.float32), shape)
        self.path = Path(folder) / "replay.bin"
        self.arguments = (self.path, capacity, slack, self.dtype)
        self.replay = HostReplay(*self.arguments)

    def add(self, valid: list[bool]) -> None:
        """Store transitions where valid; the others are junk."""
        new = transitions(self.replay.written, sum(valid), self.shape)
        columns = {name: np.full((len(valid), *column.shape[1:]), 99, column.dtype) for name, column in new.items()}
        for name, column in columns.items():
            column[np.array(valid, bool)] = new[name]
        self.replay.add(**columns, valid=np.array(valid, bool))

    def reopen(self) -> None:
        """As another process would."""
        self.replay.close()
        self.replay = HostReplay(*self.arguments)

    def live(self) -> list[tuple[Any, ...]]:
        size = min(self.replay.written, self.replay.capacity)
        return plain(self.replay.sample(each_once(size)).view(self.dtype)[:, 0])

    def expected(self, written: int) -> list[tuple[Any, ...]]:
        size = min(written, self.replay.capacity)
        return plain(transitions(written - size, size, self.shape))


@given(
    capacity=st.integers(1, 12),
    slack=st.integers(0, 9),
    steps=st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=20),
    shape=SHAPES,
)
def test_host_replay_is_a_list_of_the_last(
    capacity: int, slack: int, steps: list[list[bool]], shape: tuple[int, ...]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows, written = Rows(folder, capacity, slack, shape), 0
        for valid in steps:
            rows.add(valid)
            written += sum(valid)
            assert rows.replay.written == written
            if written:
                assert rows.live() == rows.expected(written)
        assert rows.path.stat().st_size == (capacity + slack) * rows.dtype.itemsize


def test_host_replay_samples_evenly(tmp_path: Path) -> None:
    rows = Rows(str(tmp_path), capacity=10, slack=3)
    rows.add([True] * 25)
    found = rows.replay.sample(CounterRandom(0, 0, 20_000).row(0).reshape(2, -1)).view(rows.dtype)
    assert found.shape == (2, 10_000, 1)
    counts = np.bincount(found["obs"].ravel().astype(int) // 10, minlength=25)
    assert counts[:15].sum() == 0
    assert evenly(counts[15:])


@given(
    capacity=st.integers(1, 20),
    period=st.integers(1, 9),
    num_envs=st.integers(1, 3),
    before=st.integers(1, 5),
    after=st.integers(0, 2),
)
def test_a_checkpoint_survives_two_periods_of_writing(
    capacity: int, period: int, num_envs: int, before: int, after: int
) -> None:
    """They come every `period` steps, up to num_envs - 1 late; the slack is what the host loop gives."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Rows(folder, capacity, slack=3 * (period + num_envs))

        def write_a_period() -> dict[str, np.ndarray]:
            start = rows.replay.written
            while rows.replay.written // period == start // period:
                rows.add([True] * num_envs)
            return rows.replay.save()

        for _ in range(before):
            saved = write_a_period()
        written, expected = rows.replay.written, rows.live()
        newer = [write_a_period() for _ in range(after)]
        rows.reopen()
        rows.replay.restore(saved)
        assert rows.replay.written == written
        assert rows.live() == expected == rows.expected(written)
        again = [write_a_period() for _ in range(after)]  # going on saves what it saved before
        for one, other in zip(newer, again, strict=True):
            assert {name: array.tolist() for name, array in one.items()} == {k: v.tolist() for k, v in other.items()}


@given(position=st.integers(0, 15 * 20 - 1))
def test_damage_is_found(position: int) -> None:
    """A ring of 15 rows of 20 bytes after 22 transitions: the last 10 lie in rows 12 to 14 and 0 to 6."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Rows(folder, capacity=10, slack=5)
        assert rows.dtype.itemsize == 20
        for count in (8, 4, 10):
            rows.add([True] * count)
            saved = rows.replay.save()
        rows.replay.close()
        content = bytearray(rows.path.read_bytes())
        content[position] ^= 0x10
        rows.path.write_bytes(content)
        replay = HostReplay(*rows.arguments)
        if position // 20 in range(7, 12):  # not among the last 10
            replay.restore(saved)
        else:
            with pytest.raises(TensorqError, match="damaged: transitions 12 to 22 are not those that were saved"):
                replay.restore(saved)


def test_a_file_that_is_missing_or_of_another_size_is_refused(tmp_path: Path) -> None:
    rows = Rows(str(tmp_path), capacity=10, slack=5)
    rows.add([True] * 3)
    saved = rows.replay.save()
    rows.path.write_bytes(rows.path.read_bytes()[:-1])
    with pytest.raises(TensorqError, match=r"found 299 bytes, expected 300"):
        rows.reopen()
    rows.path.unlink()
    rows.reopen()
    with pytest.raises(TensorqError, match="is damaged"):
        rows.replay.restore(saved)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "replay.bin").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TensorqError, match=r"cannot open the replay .*replay.bin: it is a link, remove that"):
        Rows(str(tmp_path), capacity=10, slack=5)
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(TensorqError, match="the replay needs 300 bytes of disk, and they are not free"):
        Rows(str(tmp_path), capacity=10, slack=5)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_does_not_fit_is_refused_with_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**30)
    memory.check_network_fits(2**26, (8, 8))  # 4 vectors of 2^26 float32
    with pytest.raises(TensorqError, match=r"hidden_sizes 8 8 make 67,108,865 parameters, .* 1.0 GiB of memory"):
        memory.check_network_fits(2**26 + 1, (8, 8))


def test_a_replay_that_does_not_fit_is_refused_with_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 * 2**30)
    memory.check_fits(3 * 2**30, 1000)
    # 0.8 * 1000 * 3 / 4 = 600
    with pytest.raises(TensorqError, match=r"1,000 needs 4.0 GiB of memory and 3.0 GiB are available: .* about 600"):
        memory.check_fits(4 * 2**30, 1000)
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    memory.check_fits(2**60, 1000)
    monkeypatch.undo()
    assert 2**20 < (memory.available_bytes() or 0) < 2**50
