"""Replay of the host loop: columns of NumPy arrays. TensorFlow is imported only to unpack a batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorq.core.host_random import to_indices, to_uniforms
from tensorq.core.types import Batch, Tensor, Transition
from tensorq.replay.columns import NEVER, New, batch_columns, end_dtype, next_rows, step_dtype
from tensorq.replay.host_tree import HostTree
from tensorq.replay.priorities import FIRST_PRIORITY, to_priority, to_weights
from tensorq.replay.settings import ReplaySettings

if TYPE_CHECKING:
    from tensorq.config import Config

# What a batch has of a step besides observations and masks; it is one column, because a gather costs the same for three
# numbers as for one. The discount is gamma, or 0 if nothing that comes later counts.
NUMBERS = np.dtype([("action", np.int32), ("reward", np.float32), ("discount", np.float32)])


class HostReplay:
    """Replay of n-step transitions over the last `capacity` steps; each observation is stored once, in its own dtype.

    Steps are numbered from 0 as they come, and step n is in row n mod the number of rows. The next observation of a
    step is that of its episode's next step. Two kinds of next observations belong to no step and are beside: in the
    first N rows those of each environment's newest step, then those at which episodes were cut.
    """

    def __init__(
        self,
        config: Config,
        num_envs: int,
        obs_dtype: np.dtype,
        obs_shape: tuple[int, ...],
        masked_actions: int = 0,
        frame_stack: int = 1,
    ) -> None:
        """An empty replay for N environments.

        Args:
            config: the settings of the run.
            num_envs: N.
            obs_dtype: the dtype of an observation.
            obs_shape: the shape of one.
            masked_actions: the number of actions if they are masked, else 0.
            frame_stack: how many successive observations a batch has in place of each one, oldest first. At the start
                of an episode its first observation is repeated, as by Gymnasium's FrameStackObservation.
        """
        self._settings, self._gamma = config.part(ReplaySettings), config.gamma
        self.capacity, self._num_envs, self._frame_stack = self._settings.replay_capacity, num_envs, frame_stack
        self.step_dtype = step_dtype(obs_dtype, obs_shape, masked_actions)
        self.end_dtype = end_dtype(self.step_dtype)
        self._batch = batch_columns(self.step_dtype, frame_stack, bool(self._settings.priority_exponent))
        self.transition_bytes = sum(dtype.itemsize for dtype in self._batch.values())
        # More rows than the capacity, so that the stacks of the oldest transitions are there, too.
        self.length = self.capacity + (frame_stack - 1) * num_envs
        self._columns = _columns(self.step_dtype, self.length)
        self._numbers = np.zeros(self.length, NUMBERS)
        self._action, self._reward, self._discount = (self._numbers[name] for name in NUMBERS.names or ())  # views
        self._next = np.zeros(self.length, np.int64)  # row of the next observation; below 0 it is ~row, beside
        self._beside = _beside(self.end_dtype, num_envs, num_envs)
        self._each, self._heads = np.arange(num_envs), ~np.arange(num_envs)
        self._newest = np.full(num_envs, -1, np.int64)  # row of each running episode's newest step; else -1
        self._all_running, self._newest_place = False, self._newest  # rows, as a slice where they are one
        self.written = self.ends = 0  # how many steps came so far, and how many episodes were cut
        self._tree = HostTree(self.capacity) if self._settings.priority_exponent else None

    def add(self, step: Transition) -> None:
        """Store the valid steps of N environments."""
        each: Any = slice(self._num_envs)  # a slice takes less time than indices
        count, before, heads = self._num_envs, self._newest, self._heads
        if step.valid is not None and False in step.valid.tolist():  # all() takes five times as long for few
            each = np.flatnonzero(step.valid)
            step = Transition(*(column if column is None else column[each] for column in step))
            count, before, heads = len(each), self._newest[each], ~each
            if not count:
                return
        row, self.written = self.written % self.length, self.written + count
        rows = np.arange(row, row + count)
        place: Any = slice(row, row + count)
        if place.stop > self.length:
            rows %= self.length
            place = rows
        columns = self._columns
        columns["obs"][place] = step.obs
        self._action[place], self._reward[place], self._discount[place] = step.action, step.reward, step.discount
        if self._all_running and count == self._num_envs:  # so the steps before these are the N newest
            columns["back"][place] = self._num_envs % self.length
            self._next[self._newest_place] = rows
        else:
            goes_on = before >= 0
            columns["back"][place] = np.where(goes_on, (rows - before) % self.length, 0)
            self._next[before[goes_on]] = rows[goes_on]
        self._next[place] = heads
        self._beside["obs"][each] = step.next_obs
        if step.mask is not None:
            assert step.next_mask is not None
            columns["mask"][place], self._beside["mask"][each] = step.mask, step.next_mask
        self._all_running = count == self._num_envs
        if self._all_running:
            self._newest, self._newest_place = rows, place
        else:
            self._newest[each] = rows
        if self._tree is not None:
            self._tree.set_to_maximum(np.arange(self.written - count, self.written) % self.capacity, FIRST_PRIORITY)
        if True in step.ended.tolist():
            ended, over, each = step.ended, step.discount == 0, self._each[each]
            self._cut(each[ended & ~over])
            last = ended & over
            self._next[rows[last]] = rows[last]
            self._newest[each[ended]] = -1
            self._all_running = False

    def cut(self) -> None:
        """Cut all running episodes here."""
        self._cut(np.flatnonzero(self._newest >= 0))

    def _cut(self, envs: np.ndarray) -> None:
        """End the episodes of these environments after their newest steps; the observations after those are kept."""
        if not len(envs):
            return
        places = np.arange(self.ends, self.ends + len(envs))
        while self._beside["number"][self._end_rows(places)].max() >= self.written - self.capacity:
            self._double_ends()
        rows = self._end_rows(places)
        for name in ("obs", "mask"):
            self._beside[name][rows] = self._beside[name][envs]
        self._beside["number"][rows] = self._numbers_of(self._newest[envs])
        self._next[self._newest[envs]] = ~rows
        self._newest[envs], self._all_running = -1, False
        self.ends += len(envs)

    def _numbers_of(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of the steps that are in these rows now."""
        newest = self.written - 1
        return newest - (newest - rows) % self.length

    @property
    def _ends_kept(self) -> int:
        return len(self._beside["number"]) - self._num_envs

    def _end_rows(self, ends: np.ndarray) -> np.ndarray:
        """The rows beside in which the ends of these numbers are."""
        return self._num_envs + ends % self._ends_kept

    def _double_ends(self) -> None:
        """Make room for twice as many cut episodes."""
        ends, old = np.arange(max(0, self.ends - self._ends_kept), self.ends), self._beside
        before = self._end_rows(ends)
        self._beside = _beside(self.end_dtype, self._num_envs, 2 * self._ends_kept)
        heads = np.arange(self._num_envs)
        for name, column in self._beside.items():
            column[heads], column[self._end_rows(ends)] = old[name][heads], old[name][before]
        rows = self._end_rows(ends)
        numbers = self._beside["number"][rows]
        there = numbers >= self._oldest  # the others' last steps are overwritten
        self._next[numbers[there] % self.length] = ~rows[there]

    def sample(self, bits: np.ndarray, importance_exponent: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Draw K batches as bytes [K, B * bytes] for random words [K, B]. With priorities, also return places [K, B].

        Draws are uniform with replacement, or by priorities with weights, as in replay.device.DeviceReplay.sample. All
        K batches are drawn from the same priorities.
        """
        size = min(self.written, self.capacity)
        places = None
        if self._tree is None:
            rows = to_indices(bits, size).view(np.int64)
            if self.written > size:
                rows = (rows + (self.written - size)) % self.length
        else:
            places, probability = self._tree.sample(to_uniforms(bits))
            # A place has the newest step whose number, mod the capacity, is this place.
            newest = self.written - 1
            rows = places if self.written == size else (newest - (newest - places) % self.capacity) % self.length
        last, numbers = rows, self._numbers.take(rows)
        if self._settings.n_step > 1:
            last = self._lengthen(rows, numbers)
        parts: list[Any] = [self._stacks(rows), self._next_stacks(last), numbers]
        if self._columns["mask"].shape[1]:
            parts += [self._columns["mask"].take(rows, axis=0), self._following("mask", last)]
        if places is not None:
            weights = to_weights(probability * size, importance_exponent, lambda w: w.max(axis=1, keepdims=True))
            parts.append(weights.astype(np.float32))
        if len(bits) == 1:  # to join bytes takes a fraction of the time
            return np.frombuffer(b"".join(parts), np.uint8)[None], places
        return np.concatenate([part.view(np.uint8).reshape(len(bits), -1) for part in parts], axis=1), places

    def _lengthen(self, rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Give n-step windows from these rows their rewards and discounts, and return the rows of their last steps.

        A window ends with its episode, or with the environment's newest step.
        """
        last, goes_on = rows, np.ones(rows.shape, bool)
        for back in range(1, self._settings.n_step):
            following = self._next.take(last)
            goes_on &= (following >= 0) & (following != last)
            last = np.where(goes_on, following, last)
            gamma, later = np.float32(self._gamma**back), self._numbers.take(last)
            numbers["reward"] += np.where(goes_on, gamma * later["reward"], np.float32(0))
            numbers["discount"] = np.where(goes_on, gamma * later["discount"], numbers["discount"])
        return last

    def _following(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Observations or masks after the steps in these rows; where nothing counts after a step, its own."""
        following = self._next.take(rows)
        found = self._columns[name].take(following, axis=0, mode="wrap")
        beside = following < 0
        if np.count_nonzero(beside):  # a third of any()'s time
            found[beside] = self._beside[name][~following[beside]]
        return found

    def _stacks(self, rows: np.ndarray) -> np.ndarray:
        """Observations in these rows, or stacks of them."""
        if self._frame_stack == 1:
            return self._columns["obs"].take(rows, axis=0)
        return self._columns["obs"].take(self._earlier(rows, self._frame_stack), axis=0)

    def _next_stacks(self, rows: np.ndarray) -> np.ndarray:
        """Observations after the steps in these rows, or stacks that end with them."""
        newest = self._following("obs", rows)
        if self._frame_stack == 1:
            return newest
        older = self._columns["obs"].take(self._earlier(rows, self._frame_stack - 1), axis=0)
        return np.concatenate([older, newest[:, :, None]], axis=2)

    def _earlier(self, rows: np.ndarray, count: int) -> np.ndarray:
        """Rows [..., count] of successive steps that end in these rows; an episode's first step is repeated."""
        found = [rows]
        for _ in range(count - 1):
            found.append((found[-1] - self._columns["back"].take(found[-1])) % self.length)
        return np.stack(found[::-1], axis=-1)

    def unpack(self, rows: Tensor) -> Batch:
        """One batch of `sample`, [B * transition_bytes] uint8 as a tensor, as a Batch."""
        import tensorflow as tf

        sizes = [dtype.itemsize for dtype in self._batch.values()]
        count = rows.shape[0] // sum(sizes)
        found: dict[str, Tensor] = {"weight": tf.ones(count)}
        parts = tf.split(rows, [count * size for size in sizes])
        for part, (name, dtype) in zip(parts, self._batch.items(), strict=True):
            if dtype.base.kind == "b":
                part = tf.cast(part, tf.bool)
            else:  # bitcast needs the bytes of a number in the last axis
                part = tf.bitcast(
                    part if dtype.base.itemsize == 1 else tf.reshape(part, (-1, dtype.base.itemsize)), dtype.base
                )
            found[name] = tf.reshape(part, (count, *dtype.shape))
        action, reward, discount = tf.unstack(found.pop("numbers"), axis=1)
        floats = {"reward": tf.bitcast(reward, tf.float32), "discount": tf.bitcast(discount, tf.float32)}
        return Batch(action=action, **floats, **found)

    def prioritise(self, places: np.ndarray | None, td_error: np.ndarray) -> None:
        """Set new priorities for the transitions at these places, from their TD errors [K, B]."""
        if self._tree is not None and places is not None:
            priorities = to_priority(np.abs(td_error.astype(np.float64)), self._settings.priority_exponent)
            self._tree.set(places.ravel(), priorities.ravel())

    def save(self) -> dict[str, np.ndarray]:
        """What a checkpoint holds besides `new`."""
        saved: dict[str, np.ndarray] = {
            "replay.written": np.array(self.written, np.int64),
            "replay.ends": np.array([self.ends, self._ends_kept], np.int64),
            "replay.newest": np.where(self._newest < 0, -1, self._numbers_of(self._newest)),
            **{f"replay.next_{name}": self._beside[name][: self._num_envs].copy() for name in ("obs", "mask")},
        }
        if self._tree is not None:
            saved["replay.priorities"] = self._tree.leaves[: min(self.written, self.capacity)].copy()
        return saved

    def new(self, steps: int, ends: int) -> New:
        """What is not saved yet, if `steps` and `ends` are: numbers of the first step and end, and their columns."""
        first, first_end = max(steps, self._oldest), max(ends, self.ends - self._ends_kept)
        rows, end_rows = np.arange(first, self.written) % self.length, self._end_rows(np.arange(first_end, self.ends))
        new_steps, new_ends = np.empty(len(rows), self.step_dtype), np.empty(len(end_rows), self.end_dtype)
        for name, column in self._columns.items():
            new_steps[name] = column[rows]
        for name, column in self._beside.items():
            new_ends[name] = column[end_rows]
        numbers = self._numbers[rows]
        new_steps["action"], new_steps["reward"] = numbers["action"], numbers["reward"]
        new_steps["over"] = numbers["discount"] == 0
        return New(first, new_steps, first_end, new_ends)

    @property
    def _oldest(self) -> int:
        """The number of the oldest step that is still there."""
        return max(0, self.written - self.length)

    def restore(self, tensors: dict[str, np.ndarray], blocks: Iterable[New]) -> None:
        """Restore what `save` returned, and what `new` did, in blocks."""
        self.written = int(tensors["replay.written"])
        self.ends, kept = tensors["replay.ends"].tolist()
        self._beside = _beside(self.end_dtype, self._num_envs, kept)
        for name in ("obs", "mask"):
            self._beside[name][: self._num_envs] = tensors[f"replay.next_{name}"]
        newest = tensors["replay.newest"]
        self._newest = np.where(newest < 0, -1, newest % self.length)
        self._all_running, self._newest_place = bool((newest >= 0).all()), self._newest
        for first, steps, first_end, ends in blocks:
            rows = np.arange(first, first + len(steps)) % self.length
            for name, column in self._columns.items():
                column[rows] = steps[name]
            self._numbers["action"][rows], self._numbers["reward"][rows] = steps["action"], steps["reward"]
            self._numbers["discount"][rows] = np.where(steps["over"], 0, np.float32(self._gamma))
            rows = self._end_rows(np.arange(first_end, first_end + len(ends)))
            for name, column in self._beside.items():
                column[rows] = ends[name]
        back, numbers = self._columns["back"], self._beside["number"]
        self._next = next_rows(back, self.written, self.length, numbers, newest)
        if self._tree is not None:
            self._tree.restore(tensors["replay.priorities"])


def _columns(dtype: np.dtype, rows: int) -> dict[str, np.ndarray]:
    """An array for each field that is no number of NUMBERS. Their memory is taken only when rows are written."""
    fields: Any = dtype.fields
    kept = {name: field[0] for name, field in fields.items() if name not in ("action", "reward", "over")}
    return {name: np.zeros((rows, *each.shape), each.base) for name, each in kept.items()}


def _beside(ends: np.dtype, num_envs: int, kept: int) -> dict[str, np.ndarray]:
    """Columns for observations that belong to no step; the numbers of ends that never were are below all others."""
    columns = _columns(ends, num_envs + kept)
    columns["number"][:] = NEVER
    return columns
