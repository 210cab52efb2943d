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

# Columns of DeviceReplayState.numbers, as in columns.step_dtype, and where the next observation is. They are float32,
# which holds whole numbers up to 2^24 exactly. Nothing is int32, because TensorFlow keeps variables of int32 in the
# host's memory, which a program on a GPU cannot use.
ACTION, REWARD, OVER, BACK, NEXT = range(5)
# Values of NEXT: the environment's next step, or the step itself. Those above 0 are an end's place + 1.
NEXT_STEP, ITSELF = 0, -1


class DeviceReplayState(NamedTuple):
    """The columns, as in replay.host.HostReplay, for N environments, L rows and E ends of cut episodes.

    Rows are in blocks of N, one for each environment, because to write a block costs as much as to write a row. Row r
    is [r // N, r % N]. In `obs` and `mask`, L rows of steps are followed by those beside: N for the environments'
    newest steps, and E where episodes were cut. Masks have no columns if all actions are always legal.
    """

    obs: Tensor  # [(L + N + E) / N, N, ...], each observation once, in its own dtype
    mask: Tensor  # [(L + N + E) / N, N, A] bool
    numbers: Tensor  # [L / N, N, 5] float32: see above
    end_numbers: Tensor  # [E] int64, the numbers of cut episodes' last steps
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
        count = config.num_envs
        self.length = (-(-self.capacity // count) + frame_stack - 1) * count
        self._obs_shape, self._masked_actions = obs_shape, masked_actions
        # An environment has an end in every cut_after_steps steps, and may have one more; N must be free before a step.
        self._first_ends = (self.capacity // count // cut_after_steps + 3) * count
        self._tree = DeviceTree(self.capacity) if self._settings.priority_exponent else None

    def init(self, ends: int | None = None) -> DeviceReplayState:
        """An empty replay, with room for this many ends of cut episodes, or for as many as the time limit gives."""
        count, kept = self._num_envs, ends or self._first_ends
        zero, dtype = tf.constant(0, tf.int64), self.step_dtype.fields["obs"][0].base  # type: ignore[index]
        blocks = self.length // count
        return DeviceReplayState(
            obs=tf.zeros((blocks + 1 + kept // count, count, *self._obs_shape), dtype),
            mask=tf.zeros((blocks + 1 + kept // count, count, self._masked_actions), tf.bool),
            numbers=tf.zeros((blocks, count, 5)),
            end_numbers=tf.fill([kept], tf.constant(NEVER, tf.int64)),
            written=zero,
            ends=zero,
            tree=self._tree.init() if self._tree else TreeState(()),
        )

    def add(self, state: DeviceReplayState, step: Transition) -> DeviceReplayState:
        """Store a step of each of N environments in place of the oldest N rows."""
        count, blocks = self._num_envs, self.length // self._num_envs
        block = state.written // count % blocks
        over, back = step.discount == 0, tf.where(step.age > 0, float(count), 0.0)
        place = tf.where(step.ended, float(ITSELF), NEXT_STEP)
        columns = step.action, step.reward, over, back, place
        numbers = tf.stack([tf.cast(column, tf.float32) for column in columns], axis=1)
        tree = state.tree
        if self._tree:
            highest = self._tree.maximum(tree)
            first = tf.where(highest > 0, highest, tf.constant(FIRST_PRIORITY, tf.float64))
            places = (state.written + tf.range(count, dtype=tf.int64)) % self.capacity
            tree = self._tree.set(tree, places, tf.repeat(first, count))
        state = state._replace(
            obs=_put(state.obs, (block, step.obs), (blocks, step.next_obs)),
            numbers=_put(state.numbers, (block, numbers)),
            written=state.written + count,
            tree=tree,
        )
        if step.mask is not None:
            state = state._replace(mask=_put(state.mask, (block, step.mask), (blocks, step.next_mask)))
        return self._with_ends(state, step, step.ended & ~over, block)

    def _with_ends(self, state: DeviceReplayState, step: Transition, cut: Tensor, block: Tensor) -> DeviceReplayState:
        """Keep the next observations of cut episodes [N], one by one, because mostly there are none."""
        count, kept = self._num_envs, state.end_numbers.shape[0]

        def put(column: Tensor, place: list[Any], value: Tensor) -> Tensor:
            return tf.tensor_scatter_nd_update(column, [place], tf.cast(value, column.dtype)[None])

        def keep(cut: Tensor, state: DeviceReplayState) -> tuple[Tensor, DeviceReplayState]:
            env, place = tf.argmax(cut), state.ends % kept
            row = self.length + count + place
            kept_state = state._replace(
                obs=put(state.obs, [row // count, row % count], step.next_obs[env]),
                numbers=put(state.numbers, [block, env, NEXT], place + 1),
                end_numbers=put(state.end_numbers, [place], state.written - count + env),
                ends=state.ends + 1,
            )
            if step.next_mask is not None:
                mask = put(state.mask, [row // count, row % count], step.next_mask[env])
                kept_state = kept_state._replace(mask=mask)
            return cut & (tf.range(count, dtype=tf.int64) != env), kept_state

        return tf.while_loop(lambda cut, state: tf.reduce_any(cut), keep, (cut, state))[1]

    def must_grow(self, state: DeviceReplayState) -> Tensor:
        """Whether the next step might cut more episodes than there is room for."""
        last = (state.ends + self._num_envs - 1) % state.end_numbers.shape[0]
        return state.end_numbers[last] >= state.written + self._num_envs - self.capacity

    def grown(self, state: DeviceReplayState) -> DeviceReplayState:
        """The same replay, with room for twice as many cut episodes."""
        kept, first = state.end_numbers.shape[0], self.length + self._num_envs
        ends = np.arange(max(0, int(state.ends) - kept), int(state.ends))
        before, after = ends % kept, ends % (2 * kept)

        def moved(column: Tensor) -> Tensor:
            old = column.numpy().reshape(first + kept, *column.shape[2:])
            larger = np.zeros((first + 2 * kept, *old.shape[1:]), old.dtype)
            larger[:first], larger[first + after] = old[:first], old[first + before]
            return tf.constant(larger.reshape((first + 2 * kept) // self._num_envs, *column.shape[1:]))

        numbers = np.full(2 * kept, NEVER)
        numbers[after] = state.end_numbers.numpy()[before]
        table = state.numbers.numpy()
        there = numbers[after] >= max(0, int(state.written) - self.length)  # the others' last steps are overwritten
        table.reshape(-1, 5)[numbers[after][there] % self.length, NEXT] = after[there] + 1
        return state._replace(
            obs=moved(state.obs),
            mask=moved(state.mask),
            numbers=tf.constant(table),
            end_numbers=tf.constant(numbers),
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
        following = tf.where(rows // count == newest, self.length + rows % count, (rows + count) % self.length)
        following = tf.where(place > NEXT_STEP, self.length + count + place - 1, following)
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
        numbers = np.arange(written - count, written)
        newest = state.numbers[written // count % blocks - 1, :, NEXT].numpy()
        saved = {
            "replay.written": np.array(written, np.int64),
            "replay.ends": np.array([int(state.ends), state.end_numbers.shape[0]], np.int64),
            "replay.newest": np.where(newest == NEXT_STEP, numbers, -1),
            "replay.next_obs": state.obs[blocks].numpy(),
            "replay.next_mask": state.mask[blocks].numpy(),
        }
        levels = {f"replay.tree.{index}": level.numpy() for index, level in enumerate(state.tree.levels)}
        return {**saved, **levels}

    def new(self, state: DeviceReplayState, steps: int, ends: int) -> New:
        """What is not saved yet, if `steps` and `ends` are: numbers of the first step and end, and their columns."""
        written, last_end, kept = int(state.written), int(state.ends), state.end_numbers.shape[0]
        first, first_end = max(steps, written - self.length, 0), max(ends, last_end - kept)
        rows, places = np.arange(first, written) % self.length, np.arange(first_end, last_end) % kept
        end_rows = self.length + self._num_envs + places
        new_steps, new_ends = np.empty(len(rows), self.step_dtype), np.empty(len(places), self.end_dtype)
        for name, column in (("obs", state.obs), ("mask", state.mask)):
            flat = tf.reshape(column, (column.shape[0] * column.shape[1], *column.shape[2:]))
            new_steps[name], new_ends[name] = tf.gather(flat, rows), tf.gather(flat, end_rows)
        numbers = tf.gather(tf.reshape(state.numbers, (-1, 5)), rows).numpy()[:, :NEXT]
        for name, column in zip(("action", "reward", "over", "back"), numbers.T, strict=True):
            new_steps[name] = column
        new_ends["number"] = tf.gather(state.end_numbers, places)
        return New(first, new_steps, first_end, new_ends)

    def restore(
        self, state: DeviceReplayState, tensors: dict[str, np.ndarray], blocks: Iterable[New]
    ) -> DeviceReplayState:
        """What `save` returned, and what `new` did, in blocks. The largest columns are written in place."""
        count, written = self._num_envs, int(tensors["replay.written"])
        last_end, kept = tensors["replay.ends"].tolist()
        if kept != state.end_numbers.shape[0]:
            state = tf.nest.map_structure(tf.Variable, self.init(kept))
        heads, end_numbers = self.length // count, np.full(kept, NEVER)
        beside = {
            name: np.zeros((kept, *self.end_dtype[name].shape), self.end_dtype[name].base) for name in ("obs", "mask")
        }
        for first, steps, first_end, ends in blocks:
            places = np.arange(first, first + len(steps), count) // count % heads
            numbers = np.zeros((len(steps), 5), np.float32)
            for index, name in enumerate(("action", "reward", "over", "back")):
                numbers[:, index] = steps[name]
            for column, values in ((state.obs, steps["obs"]), (state.mask, steps["mask"]), (state.numbers, numbers)):
                _overwrite(column, places, values)
            places = np.arange(first_end, first_end + len(ends)) % kept
            end_numbers[places] = ends["number"]
            for name, column in beside.items():
                column[places] = ends[name]
        for name, column in beside.items():
            _overwrite(getattr(state, name), [heads], tensors[f"replay.next_{name}"])
            _overwrite(getattr(state, name), np.arange(heads + 1, heads + 1 + kept // count), column)
        numbers = state.numbers.numpy()
        links = next_rows(
            numbers[..., BACK].ravel().astype(np.int64),
            written,
            self.length,
            np.concatenate([np.full(count, NEVER), end_numbers]),
            tensors["replay.newest"],
        )
        place = np.where(links == np.arange(self.length), ITSELF, np.maximum(~links - count + 1, NEXT_STEP))
        numbers[..., NEXT] = place.reshape(-1, count)
        tree = TreeState(tuple(tf.constant(tensors[f"replay.tree.{index}"]) for index in range(len(state.tree.levels))))
        return state._replace(
            numbers=tf.constant(numbers),
            end_numbers=tf.constant(end_numbers),
            written=tf.constant(written, tf.int64),
            ends=tf.constant(last_end, tf.int64),
            tree=tree,
        )


def _put(column: Tensor, *blocks: tuple[Any, Tensor]) -> Tensor:
    """A column with blocks [N, ...] in their places, one by one: XLA joins such a write to what comes before."""
    for place, block in blocks:
        at = tf.reshape(tf.cast(place, tf.int64), (1, 1))
        column = tf.tensor_scatter_nd_update(column, at, tf.cast(block, column.dtype)[None])
    return column


def _overwrite(column: tf.Variable, places: Any, values: np.ndarray) -> None:
    """Write rows [blocks * N, ...] into these blocks of a variable."""
    if values.size:
        blocks = tf.cast(values.reshape(-1, *column.shape[1:]), column.dtype)
        column.scatter_update(tf.IndexedSlices(blocks, tf.constant(places, tf.int64)))
