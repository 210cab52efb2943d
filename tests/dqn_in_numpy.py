"""What DQN learns, in float64 NumPy and independent of tensorq's own: targets and losses of each head."""

from __future__ import annotations

import math

import numpy as np

from tensorq.config import Config
from tensorq.core.types import Batch


def softmax(x: np.ndarray) -> np.ndarray:
    weights = np.exp(x - x.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def distribution(config: Config, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and probabilities of the return."""
    if config.head == "expected":
        return outputs, np.ones_like(outputs)
    if config.head in ("quantile", "implicit_quantile"):
        return outputs, np.full_like(outputs, 1 / outputs.shape[-1])
    support = config.value_min + bin_width(config) * (np.arange(config.num_atoms) - spare_bins(config))
    probabilities = softmax(outputs)
    if config.head == "categorical":
        return np.broadcast_to(support, outputs.shape), probabilities
    return (probabilities @ support)[..., None], np.ones((*outputs.shape[:-1], 1))


def spare_bins(config: Config) -> int:
    """How many points of the support lie below value_min, and as many above value_max."""
    return config.hl_gauss_spare_bins if config.head == "hl_gauss" else 0


def bin_width(config: Config) -> float:
    return (config.value_max - config.value_min) / (config.num_atoms - 1 - 2 * spare_bins(config))


def expectation(config: Config, outputs: np.ndarray) -> np.ndarray:
    points, probabilities = distribution(config, outputs)
    return (points * probabilities).sum(axis=-1)


def target_of(
    config: Config, batch: Batch, q_now: np.ndarray, next_q: np.ndarray, next_outputs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points and probabilities to learn, [B, M'].

    From the target network's Q at obs, the chooser's at the next state, and the target network's outputs there.
    """
    points, probabilities = distribution(config, next_outputs)
    if not config.munchausen:
        legal = next_q if batch.next_mask is None else np.where(batch.next_mask, next_q, -np.inf)
        best = legal.argmax(axis=1), np.arange(len(batch.reward))
        value = batch.reward[:, None] + batch.discount[:, None] * points[best[1], best[0]]
        return value, probabilities[best[1], best[0]]
    temperature = config.munchausen_temperature
    values, weights = [], []
    for i in range(len(batch.reward)):
        legal_now = range(q_now.shape[1]) if batch.mask is None else np.flatnonzero(batch.mask[i])
        total = sum(math.exp(q_now[i, a] / temperature) for a in legal_now)
        log_taken = q_now[i, batch.action[i]] / temperature - math.log(total)
        reward = batch.reward[i] + config.munchausen_scale * max(temperature * log_taken, config.munchausen_clip)
        legal_next = np.ones(q_now.shape[1], bool) if batch.next_mask is None else batch.next_mask[i]
        share = np.where(legal_next if legal_next.any() else True, np.exp(next_q[i] / temperature), 0)
        policy = share / share.sum()
        surprise = -temperature * np.log(np.where(policy > 0, policy, 1))
        values.append((reward + batch.discount[i] * (points[i] + surprise[:, None])).ravel())
        weights.append((policy[:, None] * probabilities[i]).ravel())
    return np.array(values), np.array(weights)


def loss_and_slope(
    config: Config,
    taken: np.ndarray,
    points: np.ndarray,
    probabilities: np.ndarray,
    fractions: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """[B], and its derivatives by the outputs `taken` [B, M]."""
    value = (points * probabilities).sum(axis=1)
    if config.head == "expected":
        error = value - taken[:, 0]
        if config.loss == "mse":
            return error**2, -2 * error[:, None]
        small = np.abs(error) <= 1
        loss = np.where(small, error**2 / 2, np.abs(error) - 0.5)
        return loss, -np.clip(error, -1, 1)[:, None]
    count = taken.shape[1]
    if config.head in ("quantile", "implicit_quantile"):
        at = (np.arange(count) + 0.5) / count if fractions is None else fractions
        error = points[:, None, :] - taken[:, :, None]
        share = np.abs(np.broadcast_to(at, taken.shape)[:, :, None] - (error < 0)) * probabilities[:, None, :]
        huber = np.where(np.abs(error) <= 1, error**2 / 2, np.abs(error) - 0.5)
        return (share * huber).sum(axis=(1, 2)), -(share * np.clip(error, -1, 1)).sum(axis=2)
    spacing = bin_width(config)
    wanted = np.zeros_like(taken)
    for i in range(len(taken)):
        if config.head == "categorical":
            for point, probability in zip(points[i], probabilities[i], strict=True):
                place = (min(max(point, config.value_min), config.value_max) - config.value_min) / spacing
                for atom in range(count):
                    wanted[i, atom] += probability * max(0, 1 - abs(place - atom))
        else:
            place = (min(max(value[i], config.value_min), config.value_max) - config.value_min) / spacing
            place += config.hl_gauss_spare_bins
            scale = config.hl_gauss_deviation * math.sqrt(2)
            edges = [math.erf((atom - 0.5 - place) / scale) for atom in range(count + 1)]
            wanted[i] = np.diff(edges) / (edges[-1] - edges[0])
    predicted = softmax(taken)
    return -(wanted * np.log(predicted)).sum(axis=1), predicted - wanted
