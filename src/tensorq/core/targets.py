"""Targets of temporal-difference learning.

The value of an action is a distribution over M points: `points` and `probabilities` [B, A, M]. Ordinary Q-learning is
the case of one point, the expected return, which is all that `lambda_returns` have.
"""

from __future__ import annotations

import tensorflow as tf

from tensorq.core.types import Tensor

NEVER = -1e30  # the value of an illegal action; finite, because infinity times zero is NaN


def take(values: Tensor, action: Tensor) -> Tensor:
    """The values of the given actions: [B, A] and [B] -> [B]; [B, A, M] and [B] -> [B, M].

    It is a masked sum, because XLA fuses this and would not fuse a gather.
    """
    chosen = tf.one_hot(action, values.shape[1], dtype=values.dtype)
    return tf.reduce_sum(values * (chosen if len(values.shape) == 2 else chosen[:, :, None]), axis=1)


def legal(q_values: Tensor, mask: Tensor | None) -> Tensor:
    """Q-values [B, A], with those of illegal actions replaced by NEVER, so that no maximum selects them."""
    return q_values if mask is None else tf.where(mask, q_values, NEVER)


def greedy(q_values: Tensor, mask: Tensor | None = None) -> Tensor:
    """The first of the best legal actions: [B, A] -> [B] int32."""
    return tf.argmax(legal(q_values, mask), axis=-1, output_type=tf.int32)


def log_policy(q_values: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """log of softmax(q / temperature) over legal actions: [B, A] -> [B, A]; stable for small temperatures.

    Vieillard et al. 2020, appendix B.1: with v the maximum, q - v - temperature * log sum exp((q - v) / temperature),
    divided by the temperature. Illegal actions get a finite, hugely negative number.
    """
    scores = legal(q_values, mask)
    scores = (scores - tf.reduce_max(scores, axis=-1, keepdims=True)) / temperature
    return tf.maximum(scores - tf.reduce_logsumexp(scores, axis=-1, keepdims=True), NEVER)


def munchausen_bonus(log_policy_taken: Tensor, scale: float, temperature: float, lowest: float) -> Tensor:
    """alpha * clip(temperature * log pi(a|s), lowest, 0), to be added to the reward: [B] -> [B].

    Vieillard et al. 2020, M-DQN; the clip is the one in their experiments.
    """
    return scale * tf.clip_by_value(temperature * log_policy_taken, lowest, 0.0)


def greedy_target(
    reward: Tensor, discount: Tensor, points: Tensor, probabilities: Tensor, action: Tensor
) -> tuple[Tensor, Tensor]:
    """Points and probabilities [B, M] of reward + discount * Z(next state, action); no gradient flows through.

    Args:
        reward, discount: [B]; discount is gamma^k * (1 - terminated).
        points, probabilities: [B, A, M], from the target network at the next state.
        action: [B], the best action by the target network (Mnih et al. 2015, equation 1) or, for double Q-learning, by
            the online network (van Hasselt et al. 2016, Double DQN).
    """
    value = reward[:, None] + discount[:, None] * take(points, action)
    return tf.stop_gradient(value), tf.stop_gradient(take(probabilities, action))


def soft_target(
    reward: Tensor, discount: Tensor, points: Tensor, probabilities: Tensor, log_policy: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """The distribution of reward + discount * (Z(s', a') - temperature * log pi(a'|s')), a' drawn from the policy.

    This is M-DQN (Vieillard et al. 2020) for distributions: a mixture over the actions, of A * M points. Its mean is
    the paper's target.

    Arguments as for greedy_target, and log_policy [B, A] at the next state. The temperature is that of the entropy
    bonus. Returns points [B, A * M] and probabilities [B, A * M].
    """
    policy = tf.exp(log_policy)
    # The policy of an illegal action is 0; its hugely negative logarithm must not enter the entropy.
    entropy = tf.where(policy > 0, -temperature * log_policy, 0.0)
    value = reward[:, None, None] + discount[:, None, None] * (points + entropy[:, :, None])
    weights = probabilities * policy[:, :, None]
    flat = (-1, points.shape[1] * points.shape[2])
    return tf.stop_gradient(tf.reshape(value, flat)), tf.stop_gradient(tf.reshape(weights, flat))


def lambda_returns(reward: Tensor, discount: Tensor, next_value: Tensor, ended: Tensor, decay: float) -> Tensor:
    """Q(lambda) targets: G_t = r_t + discount_t * ((1 - lambda) max_a Q(s_{t+1}, a) + lambda G_{t+1}).

    Gallici et al. 2025, equation 8 (Peng and Williams 1996, without their off-policy correction). If the episode ends,
    by termination or truncation, and at the last step, next_value alone takes the place of the weighted sum. Returns
    [T, N].

    Args:
        reward, discount: [T, N]; discount is gamma * (1 - terminated).
        next_value: [T, N], the value of the true next observation.
        ended: [T, N] bool, whether next_value alone follows this step: an episode's last one, or one before a cut.
        decay: lambda in [0, 1]: 0 is one-step Q-learning, 1 sums rewards to the end.
    """
    last = reward.shape[0] - 1

    def earlier(later: Tensor, step: tuple[Tensor, ...]) -> Tensor:
        reward, discount, value, ended = step
        return reward + discount * tf.where(ended, value, (1 - decay) * value + decay * later)

    ended = tf.concat([ended[:last], tf.ones_like(ended[last:])], axis=0)
    steps = (reward, discount, next_value, ended)
    return tf.scan(earlier, steps, initializer=tf.zeros_like(reward[0]), reverse=True)
