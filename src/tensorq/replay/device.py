"""Replay inside the compiled loop: columns of tensors, used as rings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from tensorq.core.random import to_indices, to_uniforms
from tensorq.core.types import Batch, Tensor, Transition
from tensorq.core.xla import with_block
from tensorq.replay.columns import NEVER, New, blocks_beside, end_dtype, next_rows, step_dtype
from tensorq.replay.device_tree import DeviceTree, TreeState
from tensorq.replay.priorities import FIRST_PRIORITY, to_priority, to_weights
from tensorq.replay.settings import ReplaySettings

if TYPE_CHECKING:
    from tensorq.config import Config

# Columns of DeviceReplayState.numbers, as in columns.step_dtype, and where the next observation is. They are float32,
# which holds whole numbers up to 2^24 exactly. Nothing is int32, because TensorFlow keeps variables of int32 in the
# host's memory, which a program on a GPU cannot use.
ACTION, REWARD, OVER, BACK, NEXT = range(5)
# Values of NEXT: the environment's next step, or the step itself. Those above 0 are 1 + a block beside.
NEXT_STEP, ITSELF = 0, -1


class DeviceReplayState(NamedTuple):
    """The columns, as in replay.host.HostReplay, for N environments, L rows and E blocks beside.

    Rows are in blocks of N, one for each environment, because to write a block costs as much as to write a row. Row r
    is [r // N, r % N]. In `obs` and `mask`, L rows of steps are followed by the blocks beside. Each step's next
    observations are written to such a block, which the next step's replace if no episode was cut. So one block has
    those of the newest steps, and the others those of steps at which episodes were cut. Masks have no columns if all
    actions are always legal.
    """

    obs: Tensor  # [L / N + E, N, ...], each observation once, in its own dtype
    mask: Tensor  # [L / N + E, N, A] bool
    numbers: Tensor  # [L / N, N, 5] float32: see above
    cut_numbers: Tensor  # [E] int64, for each block beside the number of its first step, or NEVER if it cut no episode
    head: Tensor  # int64 scalar, which block beside is of the newest steps
    free: Tensor  # int64 scalar, to which block beside the next step writes
    written: Tensor  # int64 scalar, how many steps came so far
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
        count = config.num_envs
        self.length = (-(-self.capacity // count) + frame_stack - 1) * count
        self._obs_shape, self._masked_actions = obs_shape, masked_actions
        self._first_beside = blocks_beside(self.capacity, count, cut_after_steps)
        self._tree = DeviceTree(self.capacity) if self._settings.priority_exponent else None

    def init(self, beside: int | None = None) -> DeviceReplayState:
        """An empty replay, with so many blocks beside, or with as many as the time limit needs."""
        count, beside = self._num_envs, beside or self._first_beside
        zero, dtype = tf.constant(0, tf.int64), self.step_dtype.fields["obs"][0].base  # type: ignore[index]
        blocks = self.length // count
        return DeviceReplayState(
            obs=tf.zeros((blocks + beside, count, *self._obs_shape), dtype),
            mask=tf.zeros((blocks + beside, count, self._masked_actions), tf.bool),
            numbers=tf.zeros((blocks, count, 5)),
            cut_numbers=tf.fill([beside], tf.constant(NEVER, tf.int64)),
            head=zero,
            free=zero,
            written=zero,
            tree=self._tree.init() if self._tree else TreeState(()),
        )

    def add(self, state: DeviceReplayState, step: Transition) -> DeviceReplayState:
        """Store a step of each of N environments in place of the oldest N rows."""
        count, blocks = self._num_envs, self.length // self._num_envs
        block, head = state.written // count % blocks, state.free
        over, back = step.discount == 0, tf.where(step.age > 0, float(count), 0.0)
        cut = step.ended & ~over
        place = tf.where(cut, tf.cast(head + 1, tf.float32), tf.where(step.ended, float(ITSELF), float(NEXT_STEP)))
        columns = step.action, step.reward, over, back, place
        numbers = tf.stack([tf.cast(column, tf.float32) for column in columns], axis=1)
        any_cut, beside = tf.reduce_any(cut), state.cut_numbers.shape[0]
        tree = state.tree
        if self._tree:
            highest = self._tree.maximum(tree)
            first = tf.where(highest > 0, highest, tf.constant(FIRST_PRIORITY, tf.float64))
            places = (state.written + tf.range(count, dtype=tf.int64)) % self.capacity
            tree = self._tree.set(tree, places, tf.repeat(first, count))
        state = state._replace(
            obs=with_block(with_block(state.obs, block, step.obs), blocks + head, step.next_obs),
            numbers=with_block(state.numbers, block, numbers),
            cut_numbers=with_block(state.cut_numbers, head, tf.where(any_cut, state.written, NEVER)),
            head=head,
            free=tf.where(any_cut, (head + 1) % beside, head),
            written=state.written + count,
            tree=tree,
        )
        if step.mask is not None:
            mask = with_block(with_block(state.mask, block, step.mask), blocks + head, step.next_mask)
            state = state._replace(mask=mask)
        return state

    def must_grow(self, state: DeviceReplayState) -> Tensor:
        """Whether the next step would replace a block beside that is still needed."""
        return state.cut_numbers[state.free] > state.written - self.capacity

    def grown(self, state: DeviceReplayState) -> DeviceReplayState:
        """The same replay, with twice as many blocks beside."""
        blocks, beside = self.length // self._num_envs, state.cut_numbers.shape[0]
        oldest_first = (state.head + 1 + tf.range(beside, dtype=tf.int64)) % beside
        moved_to = tf.cast(tf.argsort(oldest_first), tf.float32)
        place = state.numbers[..., NEXT]
        moved = tf.gather(moved_to, tf.cast(tf.maximum(place - 1, 0), tf.int64)) + 1
        numbers = [state.numbers[..., :NEXT], tf.where(place > NEXT_STEP, moved, place)[..., None]]

        def larger(column: Tensor) -> Tensor:
            empty = tf.zeros((beside, *column.shape[1:]), column.dtype)
            return tf.concat([column[:blocks], tf.gather(column[blocks:], oldest_first), empty], axis=0)

        return state._replace(
            obs=larger(state.obs),
            mask=larger(state.mask),
            numbers=tf.concat(numbers, axis=-1),
            cut_numbers=tf.concat([tf.gather(state.cut_numbers, oldest_first), tf.fill([beside], NEVER)], axis=0),
            head=tf.constant(beside - 1, tf.int64),
            free=beside - 1 + (state.free - state.head) % beside,
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
        numbers = self._take(state.numbers, rows)
        last, ends, reward, factor = self._windows(state, rows, numbers)
        following = self._following(state, last, ends)
        obs_rows, after_rows = rows, following
        if self._frame_stack > 1:
            obs_rows = self._earlier(state, rows, self._frame_stack)
            after_rows = tf.concat([self._earlier(state, last, self._frame_stack - 1), following[:, None]], axis=1)
        masked = self._masked_actions > 0
        batch = Batch(
            obs=self._take(state.obs, obs_rows),
            action=tf.cast(numbers[:, ACTION], tf.int32),
            reward=reward,
            discount=tf.where(ends[:, OVER] > 0, 0.0, factor * self._gamma),
            next_obs=self._take(state.obs, after_rows),
            weight=weight,
            mask=self._take(state.mask, rows) if masked else None,
            next_mask=self._take(state.mask, following) if masked else None,
        )
        return batch, places

    def _windows(self, state: DeviceReplayState, rows: Tensor, numbers: Tensor) -> tuple[Tensor, ...]:
        """The ends of n-step windows that begin in these rows [B], with these numbers [B, 5].

        A window ends with its episode, or with the environment's newest step. Returns the rows of the last steps, the
        numbers there, the discounted sums of rewards, and gamma^(steps - 1).
        """
        last, ends, reward = rows, numbers, numbers[:, REWARD]
        factor, goes_on = tf.ones(rows.shape), tf.ones(rows.shape, tf.bool)
        for back in range(1, self._settings.n_step):
            following = self._following(state, last, ends)
            goes_on &= (following < self.length) & (following != last)
            last = tf.where(goes_on, following, last)
            ends = self._take(state.numbers, last)
            reward = tf.where(goes_on, reward + self._gamma**back * ends[:, REWARD], reward)
            factor = tf.where(goes_on, self._gamma**back, factor)
        return last, ends, reward, factor

    def _following(self, state: DeviceReplayState, rows: Tensor, numbers: Tensor) -> Tensor:
        """Rows [B] of the observations that follow those in rows [B], which have these numbers [B, 5]."""
        count, newest = self._num_envs, (state.written // self._num_envs - 1) % (self.length // self._num_envs)
        place = tf.cast(numbers[:, NEXT], tf.int64)
        beside = tf.where(place > NEXT_STEP, place - 1, state.head)  # only if the first is needed, or the newest steps'
        following = tf.where(
            (place > NEXT_STEP) | (rows // count == newest),
            self.length + beside * count + rows % count,
            (rows + count) % self.length,
        )
        return tf.where(place == ITSELF, rows, following)

    def _take(self, column: Tensor, rows: Tensor) -> Tensor:
        return tf.gather(tf.reshape(column, (-1, *column.shape[2:])), rows)

    def _earlier(self, state: DeviceReplayState, rows: Tensor, count: int) -> Tensor:
        """Rows [B, count] of successive steps that end in these rows; an episode's first step is repeated."""
        found = [rows]
        for _ in range(count - 1):
            back = tf.cast(self._take(state.numbers, found[-1])[:, BACK], tf.int64)
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
        count, written, blocks = self._num_envs, int(state.written), self.length // self._num_envs
        newest = state.numbers[written // count % blocks - 1, :, NEXT].numpy()
        saved = {
            "replay.written": np.array(written, np.int64),
            "replay.beside": np.array(state.cut_numbers.shape[0], np.int64),
            "replay.newest": np.where(newest == NEXT_STEP, np.arange(written - count, written), -1),
            "replay.next_obs": state.obs[blocks + state.head].numpy(),
            "replay.next_mask": state.mask[blocks + state.head].numpy(),
        }
        levels = {f"replay.tree.{index}": level.numpy() for index, level in enumerate(state.tree.levels)}
        return {**saved, **levels}

    def new(self, state: DeviceReplayState, steps: int, ends: int) -> New:
        """What is not saved yet, if `steps` and `ends` are: numbers of the first step and end, and their columns."""
        count, written = self._num_envs, int(state.written)
        first = max(steps, written - self.length, 0)
        step_numbers = np.arange(first, written)
        rows = step_numbers % self.length
        numbers = self._take(state.numbers, tf.constant(rows)).numpy()
        cut = numbers[:, NEXT] > NEXT_STEP
        end_rows = self.length + (numbers[cut, NEXT].astype(np.int64) - 1) * count + rows[cut] % count
        new_steps, new_ends = np.empty(len(rows), self.step_dtype), np.empty(len(end_rows), self.end_dtype)
        for name, column in (("obs", state.obs), ("mask", state.mask)):
            flat = tf.reshape(column, (column.shape[0] * count, *column.shape[2:]))
            new_steps[name], new_ends[name] = tf.gather(flat, rows), tf.gather(flat, end_rows)
        for name, values in zip(("action", "reward", "over", "back"), numbers[:, :NEXT].T, strict=True):
            new_steps[name] = values
        new_ends["number"] = step_numbers[cut]
        return New(first, new_steps, ends, new_ends)

    def restore(
        self, state: DeviceReplayState, tensors: dict[str, np.ndarray], blocks: Iterable[New]
    ) -> DeviceReplayState:
        """What `save` returned, and what `new` did, in blocks. The largest columns are written in place."""
        count, written, length = self._num_envs, int(tensors["replay.written"]), self.length // self._num_envs
        beside = int(tensors["replay.beside"])
        if beside != state.cut_numbers.shape[0]:
            state = tf.nest.map_structure(tf.Variable, self.init(beside))
        end_numbers, free = np.full((beside, count), NEVER), 0
        ends = np.zeros((beside, count), self.end_dtype)
        for first, steps, _, cut in blocks:
            numbers = np.zeros((len(steps), 5), np.float32)
            for index, name in enumerate(("action", "reward", "over", "back")):
                numbers[:, index] = steps[name]
            places = np.arange(first, first + len(steps), count) // count % length
            for column, values in ((state.obs, steps["obs"]), (state.mask, steps["mask"]), (state.numbers, numbers)):
                _overwrite(column, places, values)
            # One block beside for each step at which an episode was cut.
            at, nth = np.unique(cut["number"] // count, return_inverse=True)
            places, envs = (free + nth) % beside, cut["number"] % count
            end_numbers[(free + np.arange(len(at))) % beside] = NEVER
            end_numbers[places, envs], ends[places, envs] = cut["number"], cut
            free = (free + len(at)) % beside
        head = (free - 1) % beside if (end_numbers[free - 1] >= written - count).any() else free
        for name in ("obs", "mask"):
            ends[name][head] = tensors[f"replay.next_{name}"]
            _overwrite(getattr(state, name), np.arange(length, length + beside), ends[name])
        numbers = state.numbers.numpy()
        links = next_rows(
            numbers[..., BACK].ravel().astype(np.int64),
            written,
            self.length,
            np.concatenate([np.full(count, NEVER), end_numbers.ravel()]),
            tensors["replay.newest"],
        )
        place = np.where(links < -count, (~links - count) // count + 1, NEXT_STEP)  # from -count to -1: of the newest
        numbers[..., NEXT] = np.where(links == np.arange(self.length), ITSELF, place).reshape(-1, count)
        tree = TreeState(tuple(tf.constant(tensors[f"replay.tree.{index}"]) for index in range(len(state.tree.levels))))
        highest = end_numbers.max(axis=1)
        return state._replace(
            numbers=tf.constant(numbers),
            cut_numbers=tf.constant(np.where(highest == NEVER, NEVER, highest // count * count)),
            head=tf.constant(head, tf.int64),
            free=tf.constant(free, tf.int64),
            written=tf.constant(written, tf.int64),
            tree=tree,
        )


def _overwrite(column: tf.Variable, places: Any, values: np.ndarray) -> None:
    """Write rows [blocks * N, ...] into these blocks of a variable."""
    if values.size:
        blocks = tf.cast(values.reshape(-1, *column.shape[1:]), column.dtype)
        column.scatter_update(tf.IndexedSlices(blocks, tf.constant(places, tf.int64)))
