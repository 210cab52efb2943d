"""Replay inside the compiled loop: columns of tensors, used as rings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from tensorq.core.random import to_indices, to_uniforms
from tensorq.core.types import Batch, Tensor, Transition
from tensorq.replay.columns import NEVER, New, end_dtype, next_rows, step_dtype
from tensorq.replay.device_tree import DeviceTree, TreeState
from tensorq.replay.priorities import FIRST_PRIORITY, to_priority, to_weights
from tensorq.replay.settings import ReplaySettings

if TYPE_CHECKING:
    from tensorq.config import Config

# Columns of DeviceReplayState.numbers, as in columns.step_dtype. They are float32, which holds them exactly. Nothing is
# int32, because TensorFlow keeps variables of int32 in the host's memory, which a program on a GPU cannot use.
ACTION, REWARD, OVER, BACK = range(4)


class DeviceReplayState(NamedTuple):
    """The columns, as in replay.host.HostReplay, for L rows, N environments and E ends of cut episodes.

    Masks have no columns if all actions are always legal. The last row beside takes what is not kept.
    """

    obs: Tensor  # [L, ...], each observation once, in its own dtype
    mask: Tensor  # [L, A] bool
    numbers: Tensor  # [L, 4] float32: see above
    following: Tensor  # [L + 1] int64, row of the next observation; below 0 it is ~row, beside
    beside_obs: Tensor  # [N + E + 1, ...], after each environment's newest step, then where episodes were cut
    beside_mask: Tensor  # [N + E + 1, A] bool
    end_numbers: Tensor  # [N + E + 1] int64, the numbers of cut episodes' last steps
    written: Tensor  # int64 scalar, how many steps came so far
    ends: Tensor  # int64 scalar, how many episodes were cut so far
    tree: TreeState  # of priorities; it has no levels if draws are uniform


class DeviceReplay:
    """Replay of n-step transitions over the last `capacity` steps; functions on DeviceReplayState."""

    def __init__(
        self,
        config: Config,
        obs_dtype: Any,
        obs_shape: tuple[int, ...],
        masked_actions: int = 0,
        frame_stack: int = 1,
        cut_after_steps: int = 1,
    ) -> None:
        """Prepare the columns.

        Args:
            config: the settings of the run.
            obs_dtype: the dtype of an observation.
            obs_shape: the shape of one.
            masked_actions: the number of actions if the world has an action mask, else 0.
            frame_stack: as for replay.host.HostReplay.
            cut_after_steps: the time limit. An episode that is cut earlier needs room that `grown` makes.
        """
        self._settings, self._gamma = config.part(ReplaySettings), config.gamma
        self.capacity, self._num_envs, self._frame_stack = self._settings.replay_capacity, config.num_envs, frame_stack
        self.step_dtype = step_dtype(np.dtype(obs_dtype), obs_shape, masked_actions)
        self.end_dtype = end_dtype(self.step_dtype)
        self.length = self.capacity + (frame_stack - 1) * config.num_envs
        self._obs_shape, self._masked_actions = obs_shape, masked_actions
        self._first_ends = min(self.length, self.capacity // cut_after_steps) + 2 * config.num_envs
        self._tree = DeviceTree(self.capacity) if self._settings.priority_exponent else None

    def init(self) -> DeviceReplayState:
        """An empty replay."""
        zero, dtype = tf.constant(0, tf.int64), self.step_dtype.fields["obs"][0].base  # type: ignore[index]
        beside = self._num_envs + self._first_ends + 1
        return DeviceReplayState(
            obs=tf.zeros((self.length, *self._obs_shape), dtype),
            mask=tf.zeros((self.length, self._masked_actions), tf.bool),
            numbers=tf.zeros((self.length, 4)),
            following=tf.zeros(self.length + 1, tf.int64),
            beside_obs=tf.zeros((beside, *self._obs_shape), dtype),
            beside_mask=tf.zeros((beside, self._masked_actions), tf.bool),
            end_numbers=tf.fill([beside], tf.constant(NEVER, tf.int64)),
            written=zero,
            ends=zero,
            tree=self._tree.init() if self._tree else TreeState(()),
        )

    def add(self, state: DeviceReplayState, step: Transition) -> DeviceReplayState:
        """Store a step of each of N environments in place of the oldest N rows."""
        count = self._num_envs
        envs = tf.range(count, dtype=tf.int64)
        written = state.written + count
        rows = (state.written + envs) % self.length
        goes_on, over = step.age > 0, step.discount == 0
        cut = step.ended & ~over
        kept = self._ends_kept(state)
        end = tf.cumsum(tf.cast(cut, tf.int64), exclusive=True) + state.ends
        end_rows = tf.where(cut, count + end % kept, count + kept)
        back = tf.where(goes_on, float(count), 0.0)
        numbers = tf.stack([*(tf.cast(each, tf.float32) for each in (step.action, step.reward, over)), back], axis=1)
        # The steps before now have a next row; those of ended episodes keep theirs, and the last place takes the rest.
        before = tf.where(goes_on, (state.written + envs - count) % self.length, self.length)
        following = tf.where(step.ended, tf.where(cut, ~end_rows, rows), ~envs)
        beside = tf.concat([envs, end_rows], axis=0)
        tree = state.tree
        if self._tree:
            highest = self._tree.maximum(tree)
            first = tf.where(highest > 0, highest, tf.constant(FIRST_PRIORITY, tf.float64))
            places = (state.written + tf.range(count, dtype=tf.int64)) % self.capacity
            tree = self._tree.set(tree, places, tf.repeat(first, count))
        state = state._replace(
            obs=_scattered(state.obs, rows, step.obs),
            numbers=_scattered(state.numbers, rows, numbers),
            # One after the other, because the rows overlap if there are more environments than half the rows.
            following=_scattered(_scattered(state.following, before, rows), rows, following),
            beside_obs=_scattered(state.beside_obs, beside, tf.concat([step.next_obs] * 2, 0)),
            end_numbers=_scattered(state.end_numbers, end_rows, written - count + tf.range(count, dtype=tf.int64)),
            written=written,
            ends=state.ends + tf.reduce_sum(tf.cast(cut, tf.int64)),
            tree=tree,
        )
        if step.mask is None:
            return state
        return state._replace(
            mask=_scattered(state.mask, rows, step.mask),
            beside_mask=_scattered(state.beside_mask, beside, tf.concat([step.next_mask] * 2, 0)),
        )

    def _ends_kept(self, state: DeviceReplayState) -> int:
        size: int = state.end_numbers.shape[0]
        return size - self._num_envs - 1

    def must_grow(self, state: DeviceReplayState) -> Tensor:
        """Whether the next step might cut more episodes than there is room for."""
        last = self._num_envs + (state.ends + self._num_envs - 1) % self._ends_kept(state)
        return state.end_numbers[last] >= state.written + self._num_envs - self.capacity

    def grown(self, state: DeviceReplayState) -> DeviceReplayState:
        """The same replay, with room for twice as many cut episodes."""
        kept, count = self._ends_kept(state), self._num_envs
        ends = np.arange(max(0, int(state.ends) - kept), int(state.ends))
        before, after = count + ends % kept, count + ends % (2 * kept)

        def moved(column: Tensor, empty: int = 0) -> Tensor:
            old = column.numpy()
            larger = np.full((count + 2 * kept + 1, *old.shape[1:]), empty, old.dtype)
            larger[:count], larger[after] = old[:count], old[before]
            return tf.constant(larger)

        numbers, following = state.end_numbers.numpy()[before], state.following.numpy()
        there = numbers >= max(0, int(state.written) - self.length)  # the others' last steps are overwritten
        following[numbers[there] % self.length] = ~after[there]
        return state._replace(
            following=tf.constant(following),
            beside_obs=moved(state.beside_obs),
            beside_mask=moved(state.beside_mask),
            end_numbers=moved(state.end_numbers, NEVER),
        )

    def sample(self, state: DeviceReplayState, bits: Tensor, importance_exponent: Tensor) -> tuple[Batch, Tensor]:
        """Draw B transitions with replacement, for B random uint32 words. Also returns their places [B].

        Without priorities, draws are uniform and weights are 1. With priorities, one draw is from each of B equal parts
        of their sum. Its weight is (size * probability)^-importance_exponent, divided by the batch's largest weight
        (Schaul et al. 2016, section 3.4). A place has the newest step whose number, mod the capacity, is this place.
        """
        size = tf.minimum(state.written, self.capacity)
        if self._tree:
            places, probability = self._tree.sample(state.tree, to_uniforms(bits))
            weight = to_weights(probability * tf.cast(size, tf.float64), importance_exponent, tf.reduce_max)
            weight = tf.cast(weight, tf.float32)
        else:
            places, weight = to_indices(bits, size), tf.ones(bits.shape[0])
        rows = tf.cast(places, tf.int64)
        if self.length > self.capacity:
            newest = state.written - 1
            rows = (newest - (newest - rows) % self.capacity) % self.length
        numbers = tf.gather(state.numbers, rows)
        last, reward, factor = self._windows(state, rows, numbers[:, REWARD])
        over = tf.gather(state.numbers, last)[:, OVER] > 0 if self._settings.n_step > 1 else numbers[:, OVER] > 0
        obs, next_obs = tf.gather(state.obs, rows), _after(state.obs, state.beside_obs, state.following, last)
        if self._frame_stack > 1:
            obs = tf.gather(state.obs, self._earlier(state, rows, self._frame_stack))
            older = tf.gather(state.obs, self._earlier(state, last, self._frame_stack - 1))
            next_obs = tf.concat([older, next_obs[:, None]], axis=1)
        masked = self._masked_actions > 0
        batch = Batch(
            obs=obs,
            action=tf.cast(numbers[:, ACTION], tf.int32),
            reward=reward,
            discount=tf.where(over, 0.0, factor * self._gamma),
            next_obs=next_obs,
            weight=weight,
            mask=tf.gather(state.mask, rows) if masked else None,
            next_mask=_after(state.mask, state.beside_mask, state.following, last) if masked else None,
        )
        return batch, places

    def _windows(self, state: DeviceReplayState, rows: Tensor, reward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the last steps of n-step windows, their discounted sums of rewards, and gamma^(steps - 1).

        A window ends with its episode, or with the environment's newest step.
        """
        last, factor, goes_on = rows, tf.ones(rows.shape), tf.ones(rows.shape, tf.bool)
        for back in range(1, self._settings.n_step):
            following = tf.gather(state.following, last)
            goes_on &= (following >= 0) & (following != last)
            last = tf.where(goes_on, following, last)
            later = self._gamma**back * tf.gather(state.numbers, last)[:, REWARD]
            reward = tf.where(goes_on, reward + later, reward)
            factor = tf.where(goes_on, self._gamma**back, factor)
        return last, reward, factor

    def _earlier(self, state: DeviceReplayState, rows: Tensor, count: int) -> Tensor:
        """Rows [B, count] of successive steps that end in these rows; an episode's first step is repeated."""
        found = [rows]
        for _ in range(count - 1):
            back = tf.cast(tf.gather(state.numbers, found[-1])[:, BACK], tf.int64)
            found.append((found[-1] - back) % self.length)
        return tf.stack(found[::-1], axis=1)

    def prioritise(self, tree: TreeState, places: Tensor, td_error: Tensor) -> TreeState:
        """The tree with new priorities for the transitions in these places, from their TD errors [B]."""
        if not self._tree:
            return tree
        priority = to_priority(tf.cast(tf.abs(td_error), tf.float64), self._settings.priority_exponent)
        return self._tree.set(tree, places, priority)

    # --- outside of programs: states of tf.Variables ------------------------------------------------------------------

    def save(self, state: DeviceReplayState) -> dict[str, np.ndarray]:
        """What a checkpoint holds besides `new`."""
        count, written, ends = self._num_envs, int(state.written), int(state.ends)
        numbers = np.arange(written - count, written)
        newest = tf.gather(state.following, numbers % self.length).numpy()
        saved = {
            "replay.written": np.array(written, np.int64),
            "replay.ends": np.array([ends, self._ends_kept(state)], np.int64),
            "replay.newest": np.where(newest == ~np.arange(count), numbers, -1),
            "replay.next_obs": state.beside_obs[:count].numpy(),
            "replay.next_mask": state.beside_mask[:count].numpy(),
        }
        levels = {f"replay.tree.{index}": level.numpy() for index, level in enumerate(state.tree.levels)}
        return {**saved, **levels}

    def new(self, state: DeviceReplayState, steps: int, ends: int) -> New:
        """What is not saved yet, if `steps` and `ends` are: numbers of the first step and end, and their columns."""
        written, last_end = int(state.written), int(state.ends)
        first, first_end = max(steps, written - self.length, 0), max(ends, last_end - self._ends_kept(state))
        rows = np.arange(first, written) % self.length
        new_steps = np.empty(len(rows), self.step_dtype)
        new_steps["obs"], new_steps["mask"] = tf.gather(state.obs, rows), tf.gather(state.mask, rows)
        numbers = tf.gather(state.numbers, rows).numpy()
        for name, column in zip(("action", "reward", "over", "back"), numbers.T, strict=True):
            new_steps[name] = column
        rows = self._num_envs + np.arange(first_end, last_end) % self._ends_kept(state)
        new_ends = np.empty(len(rows), self.end_dtype)
        columns = state.beside_obs, state.beside_mask, state.end_numbers
        for name, column in zip(("obs", "mask", "number"), columns, strict=True):
            new_ends[name] = tf.gather(column, rows)
        return New(first, new_steps, first_end, new_ends)

    def restore(
        self, state: DeviceReplayState, tensors: dict[str, np.ndarray], blocks: Iterable[New]
    ) -> DeviceReplayState:
        """What `save` returned, and what `new` did, in blocks. The largest columns are written in place."""
        count, written, (last_end, kept) = self._num_envs, int(tensors["replay.written"]), tensors["replay.ends"]
        beside_obs, beside_mask = (
            np.zeros((count + kept + 1, *column.shape[1:]), column.dtype.as_numpy_dtype)
            for column in (state.beside_obs, state.beside_mask)
        )
        beside_obs[:count], beside_mask[:count] = tensors["replay.next_obs"], tensors["replay.next_mask"]
        end_numbers = np.full(count + kept + 1, NEVER)
        for first, steps, first_end, ends in blocks:
            rows = np.arange(first, first + len(steps)) % self.length
            numbers = [steps[name] for name in ("action", "reward", "over", "back")]
            columns = (state.obs, steps["obs"]), (state.mask, steps["mask"]), (state.numbers, np.stack(numbers, axis=1))
            for column, values in columns:
                if values.size:
                    column.scatter_update(tf.IndexedSlices(tf.cast(values, column.dtype), rows))
            rows = count + np.arange(first_end, first_end + len(ends)) % kept
            beside_obs[rows], beside_mask[rows], end_numbers[rows] = ends["obs"], ends["mask"], ends["number"]
        links = next_rows(
            state.numbers.numpy()[:, BACK].astype(np.int64),
            written,
            self.length,
            end_numbers[:-1],
            tensors["replay.newest"],
        )
        tree = TreeState(tuple(tf.constant(tensors[f"replay.tree.{index}"]) for index in range(len(state.tree.levels))))
        return state._replace(
            following=tf.constant(np.append(links, 0)),
            beside_obs=tf.constant(beside_obs),
            beside_mask=tf.constant(beside_mask),
            end_numbers=tf.constant(end_numbers),
            written=tf.constant(written, tf.int64),
            ends=tf.constant(int(last_end), tf.int64),
            tree=tree,
        )


def _scattered(column: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    return tf.tensor_scatter_nd_update(column, rows[:, None], tf.cast(values, column.dtype))


def _after(column: Tensor, beside: Tensor, following: Tensor, rows: Tensor) -> Tensor:
    """Observations or masks after the steps in these rows [B]; where nothing counts after a step, its own."""
    row = tf.gather(following, rows)
    outside = tf.reshape(row < 0, (-1, *[1] * (len(column.shape) - 1)))
    return tf.where(outside, tf.gather(beside, tf.maximum(~row, 0)), tf.gather(column, tf.maximum(row, 0)))
