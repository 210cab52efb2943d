"""Both sum trees, and prioritised replay on both, against arrays that do the same slowly and against hand-made sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorq.config import Config
from tensorq.core.host_random import CounterRandom, random_bits
from tensorq.core.types import Transition
from tensorq.replay.device import DeviceReplay
from tensorq.replay.device_tree import DeviceTree
from tensorq.replay.host import HostReplay
from tensorq.replay.host_tree import HostTree
from tensorq.replay.priorities import to_priority, to_weights

# Below, at and above what one node of either tree holds, and what two levels of them do.
CAPACITIES = st.sampled_from([1, 2, 7, 8, 9, 31, 32, 33, 63, 65, 513, 1023, 1024, 1025, 2100])


class Device:
    """A DeviceTree with its state, called as a HostTree."""

    def __init__(self, capacity: int) -> None:
        self.tree = DeviceTree(capacity)
        self.state = self.tree.init()

    def set(self, places: np.ndarray, values: np.ndarray) -> None:
        self.state = self.tree.set(self.state, tf.constant(places), tf.constant(values))

    def sample(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places, probabilities = self.tree.sample(self.state, tf.constant(u))
        return places.numpy(), probabilities.numpy()

    @property
    def maximum(self) -> float:
        return float(self.tree.maximum(self.state))

    @property
    def leaves(self) -> np.ndarray:
        return self.state.levels[0].numpy().ravel()


TREES = pytest.mark.parametrize("kind", [Device, HostTree], ids=["device", "host"])


def naive_sample(numbers: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place in which each of B equal parts of the sum has its point u."""
    points = (np.arange(len(u)) + u) * numbers.sum() / len(u)
    places = np.array([next(i for i, end in enumerate(numbers.cumsum()) if end > point) for point in points])
    return places, numbers[places] / numbers.sum()


def as_often_as(counts: np.ndarray, probabilities: np.ndarray) -> bool:
    """Whether each place was drawn about as often as it should be: five standard deviations."""
    expected = counts.sum() * probabilities
    return bool((np.abs(counts - expected) <= 5 * np.sqrt(expected)).all())


@given(data=st.data(), capacity=CAPACITIES)
def test_both_trees_do_as_an_array_does(data: st.DataObject, capacity: int) -> None:
    """With whole numbers, uniforms in eighths and batches of powers of two there are no rounding errors to tell."""
    device, host, numbers = Device(capacity), HostTree(capacity), np.zeros(capacity)
    for _ in range(data.draw(st.integers(1, 4))):
        places = data.draw(st.lists(st.integers(0, capacity - 1), min_size=1, max_size=20, unique=True))
        values = np.array(data.draw(st.lists(st.integers(0, 9), min_size=len(places), max_size=len(places))), float)
        values[0] = max(values[0], 1)  # a sum of 0 has nothing to draw
        numbers[places] = values
        eighths = data.draw(st.lists(st.integers(0, 7), min_size=8, max_size=8))
        for tree in (device, host):
            tree.set(np.array(places), values)
            assert tree.maximum == numbers.max()
            np.testing.assert_array_equal(tree.leaves[:capacity], numbers)
            assert tree.leaves[capacity:].sum() == 0
            for count in (1, 4, 8):
                u = np.array(eighths[:count]) / 8
                for found, expected in zip(tree.sample(u), naive_sample(numbers, u), strict=True):
                    np.testing.assert_array_equal(found, expected)


@TREES
def test_of_a_place_given_twice_one_value_wins_and_the_sums_know(kind: Any) -> None:
    """Four places 0, 8, 40 and 90 in a tree of 100; each value is given to one place at a time, two to 8 and 40."""
    tree = kind(100)
    tree.set(np.array([0, 8, 90, 8, 40, 40]), np.array([1.0, 9.0, 4.0, 2.0, 3.0, 16.0]))
    kept = tree.leaves[:100]
    assert kept[[0, 90]].tolist() == [1, 4]
    assert kept[8] in (9, 2)
    assert kept[40] in (3, 16)
    assert tree.maximum == kept.max()
    u = random_bits(0, 0, np.arange(1), 500)[0] * 2.0**-32
    for found, expected in zip(tree.sample(u), naive_sample(kept, u), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@TREES
@given(seed=st.integers(0, 10**6), capacity=CAPACITIES, zeros=st.floats(0, 1))
def test_a_place_of_zero_is_never_drawn(kind: Any, seed: int, capacity: int, zeros: float) -> None:
    """Nor is anything beyond the end; with numbers that round, and points on the edges between places."""
    rng = np.random.default_rng(seed)
    numbers = 10.0 ** rng.uniform(-6, 3, capacity) * (rng.random(capacity) >= zeros)
    numbers[rng.integers(capacity)] = 0.1
    tree = kind(capacity)
    tree.set(np.arange(capacity), numbers)
    edges = np.minimum(numbers.cumsum() / numbers.sum(), 1 - 2.0**-53)
    points = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, 1) % 1])
    for u in (*rng.choice(points, (30, 1)), np.zeros(64), np.full(64, 1 - 2.0**-53), rng.random(64)):
        places, probabilities = tree.sample(u)
        assert places.max() < capacity
        assert (numbers[places] > 0).all()
        np.testing.assert_allclose(probabilities, numbers[places] / numbers.sum(), rtol=1e-9)


@TREES
@pytest.mark.parametrize("batch_size", [50, 50_000])
def test_50_000_draws_have_the_right_frequencies(kind: Any, batch_size: int) -> None:
    capacity = 90
    numbers = np.arange(capacity) % 7 * 1.1
    tree: Any = kind(capacity)
    tree.set(np.arange(capacity), numbers)
    sample = tree.sample
    if kind is Device:
        compiled = tf.function(lambda u: tree.tree.sample(tree.state, u), jit_compile=True)
        sample = lambda u: tuple(part.numpy() for part in compiled(tf.constant(u)))  # noqa: E731
    words = CounterRandom(1, 0, batch_size)
    counts = np.zeros(capacity)
    for call in range(50_000 // batch_size):
        places, _ = sample(words.row(call) * 2.0**-32)
        counts += np.bincount(places, minlength=capacity)
    expected = 50_000 * numbers / numbers.sum()
    assert as_often_as(counts, numbers / numbers.sum())
    assert not as_often_as(counts, np.full(capacity, 1 / capacity))
    if batch_size == 50_000:  # one from each of as many equal parts: only the two at a place's ends can go astray
        assert np.abs(counts - expected).max() <= 2


@TREES
def test_the_maximum_follows_what_the_tree_holds(kind: Any) -> None:
    tree = kind(40)
    assert tree.maximum == 0
    for place, value, maximum in (
        (3, 5, 5), (35, 7, 7), (35, 6, 6), (35, 1, 5), (4, 5, 5), (3, 2, 5), (4, 4, 4), (4, 4, 4), (4, 0, 2), (3, 0, 1),
    ):  # fmt: skip
        tree.set(np.array([place]), np.array([float(value)]))
        assert tree.maximum == maximum


def test_a_restored_host_tree_draws_to_the_bit_what_the_other_does() -> None:
    """Whatever was in it before, and in whatever portions the other had been filled."""
    rng = np.random.default_rng(0)
    for size in (0, 1, 33, 1_000, 3_000):
        tree, other = HostTree(3_000), HostTree(3_000)
        other.set(np.arange(3_000), rng.random(3_000) + 9)
        other.sample(np.array([0.5]))
        for first in range(0, size, 10):
            tree.set(np.arange(first, min(first + 10, size)), rng.random(min(first + 10, size) - first) ** 3)
            changed = rng.integers(0, first + 1, 7)
            tree.set(changed, rng.random(7))
            tree.sample(np.array([0.5]))
        other.restore(tree.leaves[:size].copy())
        assert other.maximum == tree.maximum
        np.testing.assert_array_equal(other.leaves, tree.leaves)
        if size:
            u = rng.random(64)
            for found, expected in zip(other.sample(u), tree.sample(u), strict=True):
                np.testing.assert_array_equal(found, expected)
        last = np.array([2_999])
        other.set(last, np.array([1.0]))  # goes on as a fresh one: nothing of what was there before
        place, probability = other.sample(np.array([1 - 2.0**-40]))
        assert place == last
        np.testing.assert_allclose(probability, 1 / (tree.leaves.sum() - tree.leaves[2_999] + 1), rtol=1e-12)


# --- the arithmetic ---------------------------------------------------------------------------------------------------


def test_priorities_by_hand() -> None:
    """(3.999999 + 0.000001)^0.5 = 2, (0 + 0.000001)^0.5 = 0.001; with exponent 1, |d| + 0.000001."""
    np.testing.assert_allclose(to_priority(np.array([3.999999, 0.0]), 0.5), [2, 0.001], rtol=1e-12)
    np.testing.assert_allclose(to_priority(np.array([3.0, 0.0]), 1.0), [3.000001, 0.000001], rtol=1e-12)


def test_weights_by_hand() -> None:
    """Of 4 transitions, with probabilities 1/2, 1/4 and 1/16: (4 P)^-b is 2^-b, 1 and 4^b, over the largest, 4^b."""
    relative = 4 * np.array([1 / 2, 1 / 4, 1 / 16])
    np.testing.assert_array_equal(to_weights(relative, 0.0, np.max), [1, 1, 1])
    np.testing.assert_allclose(to_weights(relative, 0.5, np.max), [0.5 / np.sqrt(2), 0.5, 1], rtol=1e-12)
    np.testing.assert_array_equal(to_weights(relative, 1.0, np.max), [1 / 8, 1 / 4, 1])


# --- in the replays ---------------------------------------------------------------------------------------------------


class Both:
    """A device and a host replay that are told the same; transition number n has n as its observation."""

    def __init__(self, capacity: int, num_envs: int, **settings: Any) -> None:
        self.config = Config(replay_capacity=capacity, batch_size=1, num_envs=num_envs, **settings)
        self.num_envs = num_envs
        self.device = DeviceReplay(self.config, np.float32, ())
        self.state = self.device.init()
        self.host = HostReplay(self.config, num_envs, np.dtype(np.float32), ())

    def add(self) -> None:
        """One more transition of each environment, in an episode that goes on."""
        numbers = np.arange(self.host.written, self.host.written + self.num_envs).astype(np.float32)
        age = np.full(self.num_envs, self.host.written // self.num_envs, np.int32)
        ones = np.ones(self.num_envs, np.float32)
        step = Transition(numbers, age, ones, ones, numbers, age < 0, age)
        self.state = self.device.add(self.state, Transition(*[tf.constant(part) for part in step[:7]]))
        self.host.add(step)

    def sample(self, bits: np.ndarray, exponent: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers [B], weights [B] and places [B], the same from both."""
        batch, places = self.device.sample(self.state, tf.constant(bits), tf.constant(exponent, tf.float64))
        rows, host_places = self.host.sample(bits[None], exponent)
        found = self.host.unpack(tf.constant(rows[0]))
        np.testing.assert_array_equal(host_places, places.numpy()[None])
        np.testing.assert_array_equal(found.obs, batch.obs)
        np.testing.assert_allclose(found.weight, batch.weight, rtol=1e-6)
        return found.obs.numpy().astype(int), found.weight.numpy(), places.numpy()

    def prioritise(self, places: np.ndarray, td_error: np.ndarray) -> None:
        tree = self.device.prioritise(self.state.tree, tf.constant(places), tf.constant(td_error, tf.float32))
        self.state = self.state._replace(tree=tree)
        self.host.prioritise(places[None], td_error.astype(np.float32)[None])

    def priorities(self) -> np.ndarray:
        """Of the transitions now in the replay, oldest first; the same in both."""
        written, capacity = self.host.written, self.config.replay_capacity
        places = np.arange(max(0, written - capacity), written) % capacity
        saved = self.host.save()["replay.priorities"]
        np.testing.assert_allclose(saved[places], self.state.tree.levels[0].numpy().ravel()[places], rtol=1e-6)
        return saved[places]


def test_drawing_and_weighting_by_hand() -> None:
    """Priorities 1 and 3 of two: probabilities 1/4 and 3/4, (2 P)^-1 = 2 and 2/3, over the largest 1 and 1/3."""
    both = Both(4, 1, priority_exponent=1.0)
    both.add()
    both.add()
    both.prioritise(np.array([0, 1]), np.array([1 - 1e-6, -3 + 1e-6]))  # the sign is nothing
    np.testing.assert_allclose(both.priorities(), [1, 3], rtol=1e-6)
    half = np.full(4, 2**31, np.uint32)  # points in the middles of four quarters: 0.5, 1.5, 2.5 and 3.5 of 4
    numbers, weights, _ = both.sample(half, 1.0)
    assert numbers.tolist() == [0, 1, 1, 1]
    np.testing.assert_allclose(weights, [1, 1 / 3, 1 / 3, 1 / 3], rtol=1e-5)
    np.testing.assert_allclose(both.sample(half, 0.5)[1], [1] + 3 * [1 / np.sqrt(3)], rtol=1e-5)
    np.testing.assert_allclose(both.sample(half, 0.0)[1], np.ones(4), rtol=1e-6)
    # Over the largest of the batch, which here has only the second.
    np.testing.assert_allclose(both.sample(np.full(1, 2**31, np.uint32), 1.0)[1], [1], rtol=1e-6)


def test_batches_drawn_at_once_have_each_the_right_frequencies_and_weights() -> None:
    """The host loop draws for all updates of a call; here four batches of 8, each from 8 equal parts of everything."""
    both, calls, size = Both(40, 1, priority_exponent=1.0), 1_600, 40
    for _ in range(size):
        both.add()
    both.prioritise(np.arange(size), np.arange(size) % 7 + 1.0)
    probabilities = both.priorities() / both.priorities().sum()
    words, counts = CounterRandom(1, 0, 32), np.zeros((4, size))
    for call in range(calls):
        bits = words.row(call).reshape(4, 8)
        rows, places = both.host.sample(bits, 0.5)
        found = [both.host.unpack(tf.constant(batch)) for batch in rows]
        drawn, weights = (np.array([getattr(batch, name) for batch in found]) for name in ("obs", "weight"))
        drawn = drawn.astype(int)
        assert places is not None
        np.testing.assert_array_equal(places, drawn)
        np.testing.assert_array_equal(drawn[3], naive_sample(probabilities, bits[3] * 2.0**-32)[0])
        relative = (size * probabilities[drawn]) ** -0.5
        np.testing.assert_allclose(weights, relative / relative.max(axis=1, keepdims=True), rtol=1e-6)
        for batch in range(4):
            counts[batch] += np.bincount(drawn[batch], minlength=size)
    assert all(as_often_as(of_batch, probabilities) for of_batch in counts)
    assert not any(as_often_as(of_batch, np.full(size, 1 / size)) for of_batch in counts)


def test_new_transitions_enter_at_the_maximum_now_in_the_replay() -> None:
    both = Both(3, 1, priority_exponent=1.0)
    both.add()
    np.testing.assert_allclose(both.priorities(), [1])  # the first of all
    both.prioritise(np.array([0]), np.array([7.0]))
    both.add()
    both.add()
    np.testing.assert_allclose(both.priorities(), [7, 7, 7], rtol=1e-6)
    both.prioritise(np.array([0, 1, 2]), np.array([0.5, 4.0, 2.0]))
    both.add()  # over 0.5
    np.testing.assert_allclose(both.priorities(), [4, 2, 4], rtol=1e-6)  # not 7, of which nothing is left
    both.prioritise(np.array([0, 1]), np.array([0.25, 0.25]))
    both.add()  # over 0.25
    np.testing.assert_allclose(both.priorities(), [2, 0.25, 2], rtol=1e-5)
    both.add()  # over the first 2 while another is there, and over that one next
    both.add()
    np.testing.assert_allclose(both.priorities(), [2, 2, 2], rtol=1e-5)
    both.prioritise(np.array([0, 1, 2]), np.array([0.25, 0.5, 0.25]))  # all below the first of all
    both.add()
    np.testing.assert_allclose(both.priorities().max(), 0.5, rtol=1e-5)


def test_a_replay_of_one() -> None:
    both = Both(1, 1, priority_exponent=0.6)
    for number in range(4):
        both.add()
        numbers, weights, places = both.sample(np.array([2**32 - 1], np.uint32), 0.7)
        assert (numbers.tolist(), weights.tolist(), places.tolist()) == ([number], [1.0], [0])
        both.prioritise(places, np.array([0.0]))
        np.testing.assert_allclose(both.priorities(), [1e-6**0.6], rtol=1e-6)


@settings(max_examples=15)
@given(
    capacity=st.integers(1, 40),
    num_envs=st.integers(1, 3),
    exponents=st.tuples(st.sampled_from([0.5, 1.0]), st.floats(0, 1)),
    calls=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    seed=st.integers(0, 999),
)
def test_both_replays_prioritise_as_a_list_does(
    capacity: int,
    num_envs: int,
    exponents: tuple[float, float],
    calls: list[int],
    seed: int,
) -> None:
    """After any number of steps between updates of batches of 8, drawn by the same words."""
    capacity = max(capacity, num_envs)
    alpha, beta = exponents
    both = Both(capacity, num_envs, priority_exponent=alpha)
    rng, kept = np.random.default_rng(seed), np.zeros(0)  # priorities of what is in the replay, oldest first
    for adds in calls:
        for _ in range(adds):
            both.add()
            kept = np.concatenate([kept, np.full(num_envs, kept.max(initial=0) or 1.0)])[-capacity:]
        np.testing.assert_allclose(both.priorities(), kept, rtol=1e-6)
        bits = (rng.integers(0, 2**24, 8) << 8).astype(np.uint32)  # words that both turn into the same uniforms
        numbers, weights, places = both.sample(bits, beta)
        first = both.host.written - len(kept)
        assert places.tolist() == [number % capacity for number in numbers]
        relative = (len(kept) * kept[numbers - first] / kept.sum()) ** -beta
        np.testing.assert_allclose(weights, relative / relative.max(), rtol=1e-5)
        td_error = np.array([0.0, -1.0, 2.0, 0.25, -3.0, 0.125, 1.5, -0.5])[numbers % 8]  # one number, one error
        both.prioritise(places, td_error)
        kept[numbers - first] = (np.abs(td_error) + 1e-6) ** alpha
