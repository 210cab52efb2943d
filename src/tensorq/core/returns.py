"""Returns, computed backwards over a rollout."""

from __future__ import annotations

import tensorflow as tf

from tensorq.core.types import Tensor


def lambda_returns(reward: Tensor, discount: Tensor, next_value: Tensor, ended: Tensor, decay: float) -> Tensor:
    """Q(lambda) targets: G_t = r_t + discount_t * ((1 - lambda) max_a Q(s_{t+1}, a) + lambda G_{t+1}).

    Gallici et al. 2025, equation 8 (Peng and Williams 1996, without their off-policy correction). If the episode ends,
    by termination or truncation, and at the last step, next_value alone takes the place of the weighted sum.

    Args:
        reward, discount: [T, N]; discount is gamma * (1 - terminated).
        next_value: [T, N], the value of the true next observation.
        ended: [T, N] bool, whether the step was an episode's last.
        decay: lambda in [0, 1]: 0 is one-step Q-learning, 1 sums rewards to the end.

    Returns:
        [T, N].
    """
    last = reward.shape[0] - 1

    def earlier(later: Tensor, step: tuple[Tensor, ...]) -> Tensor:
        reward, discount, value, ended = step
        return reward + discount * tf.where(ended, value, (1 - decay) * value + decay * later)

    ended = tf.concat([ended[:last], tf.ones_like(ended[last:])], axis=0)
    steps = (reward, discount, next_value, ended)
    result: Tensor = tf.scan(earlier, steps, initializer=tf.zeros_like(reward[0]), reverse=True)
    return result
