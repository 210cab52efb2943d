"""The expected return, learned by log cosh of the TD error, which is smooth everywhere."""

from dataclasses import dataclass

from tensorq import setting
from tensorq.core.lazy import tf
from tensorq.heads.head import Head, mean


@dataclass(frozen=True)
class LogCosh(Head):
    """One output an action."""

    subject = "head log_cosh"
    in_numpy = True  # its Q-values are the means of its outputs

    log_cosh_width: float = setting(1.0, "TD errors beyond this are taken about linearly.", above=0)

    def losses(self, taken, fractions, points, probabilities):
        """width^2 log cosh(d / width), whose gradient is width tanh(d / width)."""
        error = (mean(points, probabilities) - taken[:, 0]) / self.log_cosh_width
        return self.log_cosh_width**2 * (tf.abs(error) + tf.math.softplus(-2 * tf.abs(error)) - tf.math.log(2.0))
