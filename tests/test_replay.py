"""Both replays against a list of episodes that does the same slowly; and what a replay on disk survives."""

from __future__ import annotations

import copy
import errno
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.spaces import Box
from hypothesis import given
from hypothesis import strategies as st

from tensorq import preflight
from tensorq.config import Config
from tensorq.core import random
from tensorq.core.host_random import CounterRandom
from tensorq.core.types import Batch, Transition
from tensorq.errors import TensorqError
from tensorq.replay.device import DeviceReplay, DeviceReplayState
from tensorq.replay.host import HostReplay
from tensorq.runs.replay_file import ReplayFile, most_steps

GAMMA, ACTIONS = 0.5, 3  # powers of it, and sums of quarters times them, are exact
ENDINGS = ("terminated", "truncated", "both")
Row = list[float]


class Settings(NamedTuple):
    """What both replays are made for."""

    n_step: int = 1
    num_envs: int = 1
    capacity: int = 10
    shape: tuple[int, ...] = ()
    masked: bool = False
    prioritised: bool = False
    frame_stack: int = 1

    @property
    def config(self) -> Config:
        return Config(
            n_step=self.n_step, num_envs=self.num_envs, replay_capacity=self.capacity, gamma=GAMMA, batch_size=1,
            priority_exponent=0.5 * self.prioritised,
        )  # fmt: skip

    def each_once(self, size: int) -> np.ndarray:
        """Random words that pick each of `size` transitions once: ceil(index * 2^32 / size); of equal parts, all."""
        if self.prioritised:  # all priorities are equal here
            return np.full(size, 2**31, np.uint32)
        return np.array([-(-index * 2**32 // size) for index in range(size)], np.uint32)


@st.composite
def any_settings(draw: st.DrawFn) -> Settings:
    """n_step 1 to 5, up to 3 environments, any capacity that Config allows with them, stacks of up to 4."""
    n_step, num_envs = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    capacity = n_step * num_envs + draw(st.integers(0, 9))
    shape, frame_stack = draw(st.sampled_from([(), (3,), (2, 2)])), draw(st.sampled_from([1, 1, 2, 4]))
    return Settings(n_step, num_envs, capacity, shape, draw(st.booleans()), draw(st.booleans()), frame_stack)


def what_happens(*more: str) -> st.SearchStrategy[list[list[str]]]:
    """Of up to 24 steps of 3 environments, each: mostly an episode goes on, else it ends, or `more`."""
    return st.lists(
        st.lists(st.sampled_from(["goes on"] * 5 + list(ENDINGS + more)), min_size=3, max_size=3),
        min_size=1,
        max_size=24,
    )


class Reference:
    """All transitions ever stored, and to which episode each belongs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.episodes: list[list[int]] = []  # of transitions' numbers
        self.of: list[list[int]] = []  # each transition's episode
        self.frames: list[int] = []  # which observation each was made from; the one after it is one more
        self.terminated: list[bool] = []
        self.running: list[list[int] | None] = [None] * settings.num_envs
        self.newest = [1000 * env for env in range(settings.num_envs)]  # each environment's newest observation

    @property
    def ages(self) -> list[int]:
        return [len(episode or ()) for episode in self.running]

    def add(self, env: int, event: str) -> dict[str, Any]:
        """The next transition, in which every number tells which one it is."""
        number, episode = len(self.of), self.running[env]
        if episode is None:
            episode = []
            self.episodes.append(episode)
            self.newest[env] += 1
        episode.append(number)
        self.of.append(episode)
        self.frames.append(self.newest[env])
        self.newest[env] += 1
        self.terminated.append(event in ("terminated", "both"))
        self.running[env] = None if event in ENDINGS else episode
        return self.step(number)

    def obs(self, frame: int) -> dict[str, np.ndarray]:
        """Observation and mask number `frame`."""
        shape = self.settings.shape
        obs = 10 * frame + np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
        return {"obs": obs, **({"mask": frame % 8 // np.array([1, 2, 4]) % 2 == 1} if self.settings.masked else {})}

    def step(self, number: int) -> dict[str, Any]:
        """Transition `number` by itself."""
        frame, discount = self.frames[number], GAMMA * (1 - self.terminated[number])
        step = {**self.obs(frame), "action": number % 7, "reward": number % 16 / 4, "discount": discount}
        return {**step, **{f"next_{name}": value for name, value in self.obs(frame + 1).items()}}

    def cut(self) -> None:
        self.running = [None] * self.settings.num_envs

    def expected(self) -> list[Row]:
        """What a replay of that capacity holds: of each of the last transitions its window."""
        return sorted(self.window(number) for number in range(len(self.of))[-self.settings.capacity :])

    def window(self, number: int) -> Row:
        """Up to n steps of one episode, from this one on; in place of its observations stacks of them."""
        episode, place = self.of[number], self.of[number].index(number)
        steps = [self.step(later) for later in episode[place : place + self.settings.n_step]]
        end = {name: steps[-1][name] for name in ("next_obs", "next_mask") if name in steps[-1]}
        reward = sum(GAMMA**back * step["reward"] for back, step in enumerate(steps))
        discount = GAMMA ** (len(steps) - 1) * steps[-1]["discount"]
        frames = [self.step(each)["obs"] for each in episode]
        if (count := self.settings.frame_stack) > 1:
            first, last = [frames[0]] * (count - 1), place + len(steps)
            stack = [*first, *frames[: place + 1]][-count:]
            following = [*first, *frames[:last], end["next_obs"]][-count:]
            steps[0]["obs"], end["next_obs"] = np.array(stack), np.array(following)
        return plain({**steps[0], **end, "reward": reward, "discount": discount})


def plain(row: Any) -> Row:
    """A transition as numbers, without the next state where that counts nothing."""
    names = ["obs", "action", "reward", "discount", "mask"] + ["next_obs", "next_mask"] * bool(row["discount"])
    return [number for name in names if name in row for number in np.asarray(row[name], float).ravel().tolist()]


def rows_of(batch: Batch) -> list[Row]:
    """The transitions of a batch, sorted."""
    columns = {name: column.numpy() for name, column in batch._asdict().items() if column is not None}
    return sorted(plain({name: column[row] for name, column in columns.items()}) for row in range(len(columns["obs"])))


def evenly(counts: np.ndarray) -> bool:
    """Whether each of the cells was met about as often as the others: five standard deviations."""
    expected = counts.sum() / counts.size
    return bool((np.abs(counts - expected) < 5 * np.sqrt(expected)).all())


class OnDevice:
    """A DeviceReplay with its state, and the reference that is told the same."""

    def __init__(self, settings: Settings, cut_after_steps: int = 1) -> None:
        self.settings, self.reference = settings, Reference(settings)
        masked = ACTIONS * settings.masked
        self.replay = DeviceReplay(
            settings.config, np.float32, settings.shape, masked, settings.frame_stack, cut_after_steps
        )
        self.state = self.replay.init()

    def add(self, events: list[str]) -> None:
        """One step of each environment."""
        ages = self.reference.ages
        steps = [self.reference.add(env, event) for env, event in enumerate(events)]
        columns = {name: tf.constant(np.array([step[name] for step in steps])) for name in steps[0]}
        for name in ("reward", "discount"):
            columns[name] = tf.cast(columns[name], tf.float32)
        columns["action"] = tf.cast(columns["action"], tf.int32)
        ended = tf.constant([event in ENDINGS for event in events])
        if self.replay.must_grow(self.state):
            self.state = self.replay.grown(self.state)
        self.state = self.replay.add(self.state, Transition(**columns, age=tf.constant(ages, tf.int32), ended=ended))

    def sample(self, bits: np.ndarray) -> Batch:
        return self.replay.sample(self.state, tf.constant(bits), tf.constant(0.5, tf.float64))[0]

    def live(self) -> list[Row]:
        """What it holds."""
        size = min(int(self.state.written), self.settings.capacity)
        batch = self.sample(self.settings.each_once(size))
        stack = (self.settings.frame_stack,) if self.settings.frame_stack > 1 else ()
        assert batch.obs.shape == (size, *stack, *self.settings.shape)
        assert batch.action.dtype == tf.int32
        assert (batch.mask is not None) == self.settings.masked
        np.testing.assert_array_equal(batch.weight, np.ones(size))
        return rows_of(batch)


class OnHost:
    """A HostReplay with its file in a folder of its own, and the reference that is told the same."""

    def __init__(self, folder: str | Path, settings: Settings) -> None:
        self.settings, self.reference = settings, Reference(settings)
        self.path = Path(folder) / "replay.bin"
        self.reopen()

    def add(self, events: list[str]) -> None:
        """One step of each environment; where one is "invalid", junk that looks like an end."""
        valid = np.array([event != "invalid" for event in events])
        ended = np.array([event in ENDINGS for event in events])
        ages = np.array(self.reference.ages, np.int32)
        steps = [self.reference.add(env, event) if valid[env] else None for env, event in enumerate(events)]
        junk = {name: np.full_like(value, 99) for name, value in self.reference.step(0).items()} if valid.any() else {}
        columns = {name: np.array([(step or junk)[name] for step in steps]) for name in junk}
        if columns:
            self.replay.add(Transition(**columns, ended=ended | ~valid, age=ages, valid=valid))

    def cut(self) -> None:
        self.replay.cut()
        self.reference.cut()

    def reopen(self) -> None:
        """As another process would."""
        settings = self.settings
        masked = ACTIONS * settings.masked
        self.replay = HostReplay(
            settings.config, settings.num_envs, np.dtype(np.float32), settings.shape, masked, settings.frame_stack
        )
        self.file = ReplayFile(self.path, self.replay.step_dtype, self.replay.end_dtype, self.replay.length)

    def save(self) -> dict[str, np.ndarray]:
        """As a loop does."""
        return {**self.replay.save(), "replay.blocks": self.file.save(self.replay.new(*self.file.saved))}

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """As a loop does."""
        self.replay.restore(saved, self.file.restore(saved["replay.blocks"], int(saved["replay.written"])))

    def live(self) -> list[Row]:
        """What it holds."""
        size = min(self.replay.written, self.replay.capacity)
        batch = self.replay.unpack(tf.constant(self.replay.sample(self.settings.each_once(size)[None], 0.5)[0][0]))
        np.testing.assert_array_equal(batch.weight, np.ones(size))
        return rows_of(batch)


# --- n-step windows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["device", "host"])
def test_three_steps_by_hand(kind: str, tmp_path: Path) -> None:
    """With gamma 1/2: four steps that terminate, two that are truncated, one of an episode that goes on.

    Rewards 1, 2, 4, 8: 1 + 2/2 + 4/4 = 3, with 1/8 of what follows; 2 + 4/2 + 8/4 = 6, 4 + 8/2 = 8 and 8 with nothing.
    Rewards 16, 32: 16 + 32/2 = 32 with 1/4 of what the truncation cut off, 32 with 1/2 of it. Reward 64, with 1/2.
    """
    events = ["goes on"] * 3 + ["terminated", "goes on", "truncated", "goes on"]
    ages, rewards = [0, 1, 2, 3, 0, 1, 0], [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    settings = Settings(n_step=3)
    replay: Any = OnDevice(settings) if kind == "device" else OnHost(tmp_path, settings)
    for number, (event, age, reward) in enumerate(zip(events, ages, rewards, strict=True)):
        now, later = np.float32([number]), np.float32([number + 1 - 0.5 * (event != "goes on")])
        discount, ended = np.float32([0.5 * (event != "terminated")]), np.array([event != "goes on"])
        step = (now, np.int32([0]), np.float32([reward]), discount, later, ended, np.int32([age]))
        if kind == "device":
            replay.state = replay.replay.add(replay.state, Transition(*map(tf.constant, step)))
        else:
            replay.replay.add(Transition(*step))
    expected = [[0, 3, 1 / 8, 3], [1, 6, 0], [2, 8, 0], [3, 8, 0]]
    expected += [[4, 32, 1 / 4, 5.5], [5, 32, 1 / 2, 5.5], [6, 64, 1 / 2, 7]]
    assert [[row[0], *row[2:]] for row in replay.live()] == expected


@hypothesis.settings(max_examples=60)
@given(settings=any_settings(), events=what_happens())
def test_device_replay_holds_what_a_list_of_episodes_does(settings: Settings, events: list[list[str]]) -> None:
    replay = OnDevice(settings)
    for index, step in enumerate(events, start=1):
        replay.add(step[: settings.num_envs])
        assert int(replay.state.written) == index * settings.num_envs
        assert replay.live() == replay.reference.expected()


@hypothesis.settings(max_examples=100)
@given(settings=any_settings(), events=what_happens("invalid"), cuts=st.sets(st.integers(0, 23), max_size=3))
def test_host_replay_holds_what_a_list_of_episodes_does(
    settings: Settings, events: list[list[str]], cuts: set[int]
) -> None:
    """Also where some rows are no experience, and where all episodes are cut."""
    with tempfile.TemporaryDirectory() as folder:
        replay = OnHost(folder, settings)
        for index, step in enumerate(events):
            replay.add(step[: settings.num_envs])
            if index in cuts:
                replay.cut()
            assert replay.replay.written == len(replay.reference.of)
            if replay.replay.written:
                assert replay.live() == replay.reference.expected()


def test_every_transition_of_every_episode_is_there() -> None:
    """None of an episode's first or last is lost, with any n; said of the reference itself, which the others equal."""
    reference = Reference(Settings(n_step=4, num_envs=2, capacity=99))
    for event in ("goes on", "terminated", "terminated", "goes on", "goes on", "goes on", "truncated", "goes on"):
        for env in range(2):
            reference.add(env, event)
    assert len(reference.expected()) == 16
    assert [len(episode) for episode in reference.episodes] == [2, 2, 1, 1, 4, 4, 1, 1]


def test_device_replay_in_one_program() -> None:
    """In a loop under XLA, as it is used: with n_step 2, rewards 7 + 8 / 2 = 11, 8 + 9 / 2, 9 + 10 / 2 and 10."""
    replay = DeviceReplay(Settings(n_step=2, capacity=4).config, np.float32, (2,))

    def body(index: Any, state: DeviceReplayState) -> tuple[Any, DeviceReplayState]:
        obs = tf.fill((1, 2), tf.cast(index, tf.float32))
        step = Transition(obs, index[None], obs[:, 0], tf.constant([GAMMA]), obs + 1, index[None] < 0, index[None])
        return index + 1, replay.add(state, step)

    @tf.function(jit_compile=True)
    def program() -> Batch:
        _, state = tf.while_loop(lambda index, state: index < 11, body, (tf.constant(0), replay.init()))
        return replay.sample(state, tf.constant(Settings().each_once(4)), tf.constant(1.0, tf.float64))[0]

    batch = program()
    found = sorted(zip(batch.action.numpy(), batch.reward.numpy(), batch.discount.numpy(), strict=True))
    assert found == [(7, 11, 0.25), (8, 12.5, 0.25), (9, 14, 0.25), (10, 10, 0.5)]


# --- uniform sampling -------------------------------------------------------------------------------------------------


def steps_of_five(obs: np.ndarray) -> np.ndarray:
    """The numbers of steps of five environments: observation 10 * (1000 * environment + 1 + age)."""
    return obs.astype(int) // 10_000 + 5 * (obs.astype(int) % 10_000 // 10 - 1)


def test_device_replay_samples_evenly() -> None:
    replay = OnDevice(Settings(num_envs=5))
    for _ in range(5):
        replay.add(["goes on"] * 5)
    bits = random.random_bits(0, random.REPLAY, 0, 50_000)
    counts = np.bincount(steps_of_five(replay.sample(bits.numpy()).obs.numpy()), minlength=25)
    assert counts[:15].sum() == 0
    assert evenly(counts[15:])


def test_host_replay_samples_evenly(tmp_path: Path) -> None:
    replay = OnHost(tmp_path, Settings(num_envs=5))
    for _ in range(5):
        replay.add(["goes on"] * 5)
    bits = CounterRandom(0, 0, 50_000).row(0).reshape(2, -1)
    batches = replay.replay.sample(bits, 1.0)[0]
    found = np.concatenate([replay.replay.unpack(tf.constant(batch)).obs for batch in batches])
    assert found.shape == (50_000,)
    counts = np.bincount(steps_of_five(found), minlength=25)
    assert counts[:15].sum() == 0
    assert evenly(counts[15:])


# --- on disk ----------------------------------------------------------------------------------------------------------


@hypothesis.settings(max_examples=100)
@given(
    settings=any_settings(),
    period=st.integers(1, 9),
    events=what_happens("invalid"),
    before=st.integers(1, 5),
    after=st.integers(0, 2),
    same_process=st.booleans(),
    cuts=st.booleans(),
    again_at_once=st.booleans(),
)
def test_a_checkpoint_survives_two_periods_of_writing(
    settings: Settings,
    period: int,
    events: list[list[str]],
    before: int,
    after: int,
    same_process: bool,
    cuts: bool,
    again_at_once: bool,
) -> None:
    """They come every `period` steps, up to num_envs - 1 late."""
    bits = CounterRandom(0, 0, 64).row(0).reshape(4, 16)
    with tempfile.TemporaryDirectory() as folder:
        replay = OnHost(folder, settings)

        def write_a_period() -> dict[str, np.ndarray]:
            start = replay.replay.written
            while (now := replay.replay.written) // period == start // period:
                step = events[now % len(events)][: settings.num_envs]
                replay.add(step if "invalid" not in step else ["goes on"] * settings.num_envs)
            places = replay.replay.sample(bits, 0.5)[1]
            replay.replay.prioritise(places, np.linspace(0, 3, bits.size).reshape(bits.shape))
            if cuts:  # as the host loop does at a boundary; a run that is stopped saves in the middle of its episodes
                replay.cut()
            if again_at_once:  # at the same step: this checkpoint replaces the one before
                replay.save()
            saved = replay.save()
            # Each step may have an end; and some place may be free between blocks of different sizes.
            both = replay.replay.step_dtype.itemsize + replay.replay.end_dtype.itemsize
            steps = most_steps(replay.replay.length, period + settings.num_envs)
            assert replay.path.stat().st_size <= 1.5 * both * (steps + 2 * settings.num_envs)
            return saved

        def drawn() -> bytes:
            return replay.replay.sample(bits, 0.5)[0].tobytes()

        for _ in range(before):
            saved = write_a_period()
        reference, expected = copy.deepcopy(replay.reference), drawn()
        newer = [write_a_period() for _ in range(after)]
        if same_process:  # which may have gone astray
            replay.restore(saved)
            replay.add(["goes on"] * settings.num_envs)
        else:
            replay.reopen()
        replay.restore(saved)
        replay.reference = reference
        assert replay.replay.written == len(reference.of)
        assert drawn() == expected
        if not settings.prioritised:
            assert replay.live() == reference.expected()
        again = [write_a_period() for _ in range(after)]  # going on saves what it saved before
        for one, other in zip(newer, again, strict=True):
            for name in one.keys() - {"replay.blocks"}:
                assert one[name].tolist() == other[name].tolist()


@hypothesis.settings(max_examples=20)
@hypothesis.example(settings=Settings(num_envs=2, capacity=30), events=[["truncated"] * 3], periods=[9, 9])
@given(settings=any_settings(), events=what_happens(), periods=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_a_device_replay_comes_back_from_its_file(
    settings: Settings, events: list[list[str]], periods: list[int]
) -> None:
    """Episodes are cut far more often than by their time limit of 99, so that room for their ends must grow."""
    bits, step = CounterRandom(0, 0, 16).row(0), 0
    with tempfile.TemporaryDirectory() as folder:

        def new() -> tuple[OnDevice, ReplayFile]:
            """As another process would."""
            device = OnDevice(settings, cut_after_steps=99)
            replay = device.replay
            return device, ReplayFile(Path(folder) / "replay.bin", replay.step_dtype, replay.end_dtype, replay.length)

        device, file = new()
        for period in periods:
            for _ in range(period):
                device.add(events[step % len(events)][: settings.num_envs])
                assert settings.prioritised or device.live() == device.reference.expected()
                step += 1
            cursor = file.save(device.replay.new(device.state, *file.saved))
            saved = device.replay.save(device.state)
            again, file = new()
            again.state = tf.nest.map_structure(tf.Variable, again.state)
            again.state = again.replay.restore(again.state, saved, file.restore(cursor, int(saved["replay.written"])))
            again.state = tf.nest.map_structure(tf.convert_to_tensor, again.state)
            again.reference = device.reference
            for one, other in zip(again.sample(bits), device.sample(bits), strict=True):
                assert one is other is None or one.numpy().tobytes() == other.numpy().tobytes()
            device = again


@pytest.mark.parametrize(("capacity", "limit"), [(20, 4), (30, 1), (9, 50), (24, 4)])
def test_a_time_limit_needs_no_more_room_than_there_is(capacity: int, limit: int) -> None:
    """If all episodes are cut by it, and by nothing else, at once or one environment after the other."""
    for late in (0, 1):
        replay = OnDevice(Settings(num_envs=3, capacity=capacity), cut_after_steps=limit)
        for age in range(60):
            assert not replay.replay.must_grow(replay.state)
            replay.add(["truncated" if (age + late * env) % limit == limit - 1 else "goes on" for env in range(3)])


@given(position=st.integers(0, 22 * 17 - 1))
def test_damage_is_found(position: int) -> None:
    """A checkpoint needs the last 10 of 22 steps of 17 bytes, of which the first 12 belong to those before it."""
    with tempfile.TemporaryDirectory() as folder:
        rows = OnHost(folder, Settings(num_envs=2))
        for count in (8, 4, 10):
            for _ in range(count // 2):
                rows.add(["goes on"] * 2)
            saved = rows.save()
        content = bytearray(rows.path.read_bytes())
        assert (rows.replay.step_dtype.itemsize, len(content)) == (17, 22 * 17)
        content[position] ^= 0x10
        rows.path.write_bytes(content)
        rows.reopen()
        if position < 12 * 17:
            rows.restore(saved)
        else:
            with pytest.raises(TensorqError, match="damaged: steps 12 to 22 are not those that were saved"):
                rows.restore(saved)


def test_a_file_that_is_missing_or_cut_is_refused_and_a_longer_one_is_not(tmp_path: Path) -> None:
    rows = OnHost(tmp_path, Settings())
    for _ in range(3):
        rows.add(["goes on"])
    saved, expected = rows.save(), rows.live()
    content = rows.path.read_bytes()
    rows.path.write_bytes(content + b"a block that no checkpoint names")
    rows.reopen()
    rows.restore(saved)
    assert rows.live() == expected
    rows.path.write_bytes(content[:-1])
    rows.reopen()
    with pytest.raises(TensorqError, match="is damaged"):
        rows.restore(saved)
    rows.path.unlink()
    with pytest.raises(TensorqError, match="cannot read the replay"):
        rows.restore(saved)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "replay.bin").symlink_to(tmp_path / "elsewhere")
    rows = OnHost(tmp_path, Settings())
    rows.add(["goes on"])
    with pytest.raises(TensorqError, match=r"replay.bin is a link"):
        rows.save()
    assert not (tmp_path / "elsewhere").exists()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    rows = OnHost(tmp_path, Settings())
    rows.add(["goes on"])
    saved = rows.save()
    rows.path.unlink()
    os.mkfifo(rows.path)
    with pytest.raises(TensorqError, match="is not a regular file"):
        rows.restore(saved)


def test_a_larger_capacity_than_was_saved_is_refused(tmp_path: Path) -> None:
    rows = OnHost(tmp_path, Settings(capacity=10))
    for _ in range(5):
        for _ in range(10):
            rows.add(["goes on"])
        saved = rows.save()
    larger = OnHost(tmp_path, Settings(capacity=40))
    with pytest.raises(TensorqError, match=r"does not fit config.json: .* fewer steps than replay_capacity needs"):
        larger.restore(saved)


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = OnHost(tmp_path, Settings())
    rows.add(["goes on"])
    saved, expected = rows.save(), rows.live()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        rows.add(["goes on"])
        with pytest.raises(
            TensorqError, match="cannot write .*replay.bin: no space; 17 bytes were needed, .* is intact"
        ):
            rows.save()
    rows.reopen()
    rows.restore(saved)
    assert rows.live() == expected


def test_what_does_not_fit_is_refused_by_the_setting_that_is_too_large() -> None:
    config = Config(num_atoms=1_000, head="quantile", batch_size=100)
    by_both = preflight.Demand(("batch_size", "num_atoms"), lambda config: config.batch_size * config.num_atoms**2)
    preflight.check_fits(config, [by_both], 100 * 1_000**2)
    preflight.check_fits(config, [by_both], None)  # nobody knows how much there is
    # 64 * 1000^2 with the default of the one, 100 * 51^2 with that of the other; 0.8 * 1000 * 10 / 95.4 = 83
    with pytest.raises(
        TensorqError, match=r"^num_atoms 1,000 needs 95 MiB of memory, and 10 MiB .*-num-atoms\) to abo"
    ):
        preflight.check_fits(config, [by_both], 10 * 2**20)
    by_one = preflight.Demand(("replay_capacity",), lambda config: config.replay_capacity * 2**15)
    # 100 000 times 32 KiB are 3.05 GiB; 0.8 * 100 000 / 3.05 = 26 214
    with pytest.raises(
        TensorqError, match="^replay_capacity 100,000 needs 3.1 GiB of disk, .* 1.0 GiB .* about 26,214"
    ):
        preflight.check_fits(config, [by_one], 2**30, what="disk")
    demands = preflight.demands(Box(-1, 1, (1_000,)), 2, default_network=True, world_limit=None)
    # 4 float32 vectors of 1000 * 256 weights; of 1000 * 8 they would fit
    with pytest.raises(
        TensorqError, match="^the environment's observations and actions need a network of 4 MiB of mem"
    ):
        preflight.check_fits(config, demands[:1], 2**20)
    preflight.check_fits(Config(hidden_sizes=(8,)), demands[:2], 2**20)


def test_available_memory_is_told() -> None:
    assert 2**20 < (preflight.available_bytes() or 0) < 2**50
