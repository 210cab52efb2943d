"""Config: everything that decides how a run goes, in one flat, frozen, validated dataclass."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from tensorq.core.schedules import linear
from tensorq.errors import TensorqError, nearest

DEFAULT_PRESET = "dqn"
SOLVED_EPISODES = 100  # greedy episodes whose mean decides whether an environment is solved
DEFAULT_EVALUATION_EPISODES = {"compiled": 100, "host": 10}
# TD errors from 1e-6 to 1e6 then have priorities from 1e-12 to 1e12, whose sums over any replay a float64 holds.
MOST_PRIORITY_EXPONENT = 2.0


@dataclass(frozen=True)
class Config:
    """One training run. Counts carry their unit: `_steps` are environment steps summed over all environments."""

    env: str = "CartPole-v1"
    """Environment id, as in gymnasium.make; `tensorq envs` lists those there are, and which have a compiled world."""
    env_args: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    """Keywords for gymnasium.make: numbers, text, true or false, null, and lists and tables of these."""
    preset: str = DEFAULT_PRESET
    """Named settings to start from; `tensorq presets` lists them."""
    loop: Literal["auto", "compiled", "host"] = "auto"
    """Where the environment runs: in one XLA program or in Python; auto compiles where there is a compiled world."""
    seed: int = 0
    """Seed of everything random in the run."""
    steps: int = 50_000
    """Environment steps to train for."""
    episodes: int = 0
    """Stop after this many finished training episodes, if that comes first; 0 means no such limit."""
    stop_return: float | None = None
    """Stop at the first greedy evaluation whose mean return over at least 100 episodes reaches this, if that comes
    first. `tensorq resume` then goes on, until an evaluation reaches it again or the run ends."""
    num_envs: int = 1
    """Environments stepped side by side."""
    single_environment: bool = False
    """Make only one environment, for a robot or a licensed simulator. Greedy evaluations use it too, and end the
    training episode that is in progress; no video is made."""

    algorithm: Literal["dqn", "pqn", "qtable"] = "dqn"
    """Deep Q-learning from replay; from many environments at once, without replay or target network (Gallici 2025); or
    Q-learning with a table for Discrete observations, without TensorFlow (Watkins 1989)."""
    initial_value: float = 0.0
    """Q-values of a table at the start; one above what can be earned makes the agent try everything."""
    gamma: float = 0.99
    """Discount factor."""
    double: bool = False
    """Double Q-learning: the online network chooses the next action, the target network rates it (van Hasselt 2016)."""
    n_step: int = 1
    """Rewards summed before the target takes over; fewer where an episode ends (Sutton 1988)."""
    loss: Literal["mse", "huber"] = "huber"
    """Error of a TD error d: d^2, or Huber's (d^2 / 2 within 1, linear outside); only head expected has the choice."""
    hidden_sizes: tuple[int, ...] = (256,)
    """Units of each hidden layer of the default network; () in Python is a linear one."""
    scale_observations: bool = False
    """Bring observations whose space has finite bounds to [-1, 1]; pixels are always brought to [0, 1]."""
    pixels: Literal["by_bounds", "by_dtype"] = "by_bounds"
    """What is divided by 255: uint8 with bounds 0 and 255, also in a Dict or Tuple; before, any uint8 alone."""
    layer_norm: bool = False
    """Normalise each hidden layer before its ReLU (Ba 2016)."""
    dueling: bool = False
    """Separate outputs for the state's value and the actions' advantages (Wang 2016)."""
    noisy: bool = False
    """Noisy dense layers explore in place of random actions (Fortunato 2018); lower epsilon with it."""
    noisy_deviation: float = 0.5
    """Deviation of noisy layers at the start, divided by the root of their inputs."""

    head: Literal["expected", "categorical", "quantile", "implicit_quantile", "hl_gauss"] = "expected"
    """What is learned of the return: its mean (DQN), its distribution (C51, QR-DQN, IQN), its mean as a class."""
    num_atoms: int = 51
    """Atoms, quantiles, fractions drawn in an update, or bins of a head other than expected."""
    value_min: float = -100.0
    """Lowest return that categorical and hl_gauss can tell; |reward| / (1 - gamma) bounds it."""
    value_max: float = 100.0
    """Highest return that categorical and hl_gauss can tell."""
    hl_gauss_deviation: float = 0.75
    """Deviation of hl_gauss's target histogram, in bins."""
    hl_gauss_spare_bins: int = 3
    """How many of hl_gauss's bins lie beyond value_min, and as many beyond value_max: without them ends are biased."""
    munchausen: bool = False
    """Add the log-policy of the action taken to the reward, with soft targets (Vieillard 2020)."""
    munchausen_scale: float = 0.9
    """Weight of the log-policy."""
    munchausen_temperature: float = 0.03
    """Temperature of the soft policy, in units of return."""
    munchausen_clip: float = -1.0
    """Lowest temperature * log-policy."""

    batch_size: int = 64
    """Transitions in one update."""
    replay_capacity: int = 100_000
    """Transitions kept for replay."""
    priority_exponent: float = 0.0
    """How strongly replay prefers transitions of large TD error; 0 draws all alike (Schaul 2016)."""
    importance_exponent: float = 0.4
    """How far importance weights correct for that preference at the start."""
    importance_exponent_final: float = 1.0
    """How far they do after importance_anneal_updates; 1 corrects fully."""
    importance_anneal_updates: int = 50_000
    """Updates over which the importance exponent anneals linearly."""
    replay_ratio: float = 1.0
    """Updates per environment step."""
    update_period_steps: int = 1
    """Learn every this many environment steps, then all the updates that are owed; the host loop makes them in lots."""
    learning_starts_steps: int = 1_000
    """Environment steps before the first update."""
    rollout_length: int = 32
    """pqn: steps of each environment between two rounds of learning."""
    rollout_epochs: int = 2
    """pqn: how often a round goes through them, in shuffled batches of batch_size."""
    trace_decay: float = 0.65
    """pqn: lambda of its returns; 0 looks one step ahead, 1 to the end."""
    target_sync_updates: int = 100
    """Updates between two moves of the target network."""
    target_sync_rate: float = 1.0
    """How far the target network then moves towards the online one; 1 is a hard copy."""

    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Adam (Kingma and Ba 2015), or the centred RMSProp of Nature DQN."""
    learning_rate: float = 1e-3
    """Step size at the start."""
    learning_rate_final: float = 1e-3
    """Step size after learning_rate_anneal_updates, approached linearly."""
    learning_rate_anneal_updates: int = 0
    """Updates over which the step size anneals; 0 keeps learning_rate."""
    optimizer_epsilon: float = 1e-7
    """Added to the root of Adam's second moment, or within RMSProp's root."""
    max_gradient_norm: float = 0.0
    """Gradients longer than this are scaled down to it; 0 clips nothing."""

    epsilon_start: float = 1.0
    """Probability of a random action at the first step."""
    epsilon_final: float = 0.05
    """Probability of a random action after epsilon_anneal_steps."""
    epsilon_anneal_steps: int = 5_000
    """Environment steps over which epsilon anneals linearly."""

    log_period_steps: int = 1_000
    """Environment steps between two rows of metrics.csv, which has one at each evaluation and checkpoint as well."""
    evaluation_period_steps: int = 2_500
    """Environment steps between two greedy evaluations; 0 evaluates only at the end."""
    evaluation_episodes: int = 0
    """Greedy episodes in one evaluation; 0 takes 100 in the compiled loop and 10 in the host loop."""
    evaluation_max_episode_steps: int = 27_000
    """Steps after which a greedy episode is cut and scored as it stands."""
    checkpoint_period_steps: int = 10_000
    """Environment steps between two checkpoints; host environments are reset at each, so that resuming is exact."""
    threads: int = 1
    """Threads that TensorFlow uses within one operation, and NumPy within one matrix product."""
    tensor_float_32: bool = False
    """Let a GPU multiply matrices in TensorFloat-32: faster, with three decimal digits instead of seven."""

    def __post_init__(self) -> None:
        """Check every field and combination; raises TensorqError."""
        _check_types(self)
        for name, low in _AT_LEAST.items():
            value = getattr(self, name)
            if value < low:
                raise TensorqError(f"{name}: received {value}, expected {_expected(name)} of at least {low}.")
        for name in (
            "gamma",
            "epsilon_start",
            "epsilon_final",
            "importance_exponent",
            "importance_exponent_final",
            "trace_decay",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise TensorqError(f"{name}: received {getattr(self, name)}, expected a number from 0 to 1.")
        for name in (
            "learning_rate", "optimizer_epsilon", "replay_ratio", "target_sync_rate", "noisy_deviation",
            "hl_gauss_deviation", "munchausen_temperature",
        ):  # fmt: skip
            if getattr(self, name) <= 0:
                raise TensorqError(f"{name}: received {getattr(self, name)}, expected a number above 0.")
        if self.target_sync_rate > 1:
            raise TensorqError(f"target_sync_rate: received {self.target_sync_rate}, expected at most 1 (a hard copy).")
        if any(size < 1 for size in self.hidden_sizes):
            raise TensorqError(f"hidden_sizes: received {self.hidden_sizes}, expected whole numbers of at least 1.")
        if self.seed >= 2**31:
            raise TensorqError(f"seed: received {self.seed}, expected a whole number below 2**31.")
        if self.priority_exponent > MOST_PRIORITY_EXPONENT:
            raise TensorqError(
                f"priority_exponent: received {self.priority_exponent:g}, expected at most {MOST_PRIORITY_EXPONENT:g}: "
                "beyond it replay would draw little but the largest TD errors."
            )
        for name, reason in _NOT_FOR[self.algorithm].items():
            value, usual = getattr(self, name), _DEFAULTS[name]
            if value != usual:
                own = self.algorithm in ("dqn", self.preset)
                hint = "Leave it out." if own else f"Preset {self.algorithm} leaves it so."
                raise TensorqError(
                    f"{name}: received {value!r}, expected {usual!r} with algorithm {self.algorithm}: {reason}. {hint}"
                )
        if self.head != "expected" and self.loss != "huber":
            raise TensorqError(
                f"loss {self.loss} does not go with head {self.head}, which has a loss of its own: leave it at huber."
            )
        if self.head != "expected" and self.num_atoms < 2:
            raise TensorqError(f"num_atoms: received {self.num_atoms}, expected at least 2 for head {self.head}.")
        if self.head == "hl_gauss" and self.num_atoms < 2 + 2 * self.hl_gauss_spare_bins:
            raise TensorqError(
                f"num_atoms: received {self.num_atoms}, of which hl_gauss_spare_bins {self.hl_gauss_spare_bins} lie on "
                f"each side of the returns, expected at least {2 + 2 * self.hl_gauss_spare_bins}, or fewer spare bins."
            )
        if self.value_min >= self.value_max:
            raise TensorqError(f"value_min: received {self.value_min}, expected less than value_max {self.value_max}.")
        if self.munchausen_clip > 0:
            raise TensorqError(f"munchausen_clip: received {self.munchausen_clip}, expected at most 0.")
        if self.stop_return is not None and not self.evaluation_period_steps:
            raise TensorqError(
                f"stop_return: received {self.stop_return:g} with evaluation_period_steps 0, expected evaluations "
                "at which it can be reached: give evaluation_period_steps (--evaluation-period-steps) above 0."
            )
        {"dqn": self._check_dqn, "pqn": self._check_pqn, "qtable": self._check_table}[self.algorithm]()

    def __repr__(self) -> str:
        """The fields that are not at their defaults: it makes an equal Config."""
        changed = {name: value for name in FIELD_NAMES if (value := getattr(self, name)) != _DEFAULTS[name]}
        return f"Config({', '.join(f'{name}={value!r}' for name, value in {'env': self.env, **changed}.items())})"

    def _check_dqn(self) -> None:
        """Refuse sizes with which a replay would teach nothing."""
        if self.batch_size > self.replay_capacity:
            raise TensorqError(
                f"batch_size {self.batch_size} is larger than replay_capacity {self.replay_capacity}: "
                "lower the one or raise the other."
            )
        if self.n_step * self.num_envs > self.replay_capacity:
            raise TensorqError(
                f"n_step {self.n_step} in num_envs {self.num_envs} environments spans more than replay_capacity "
                f"{self.replay_capacity}: lower the one or raise the other."
            )
        if self.learning_starts_steps >= self.steps:
            raise TensorqError(
                f"learning_starts_steps {self.learning_starts_steps} is not before the end of training at "
                f"{self.steps} steps, so nothing would be learned: lower it or raise steps."
            )
        if self.updates_owed(self.steps) < 1:
            left = self.steps - self.learning_starts_steps
            raise TensorqError(
                f"replay_ratio {self.replay_ratio:g} with update_period_steps {self.update_period_steps} owes no "
                f"update in the {left} steps after learning_starts_steps, so nothing would be learned: raise "
                "replay_ratio or steps, or lower the others."
            )

    def _check_pqn(self) -> None:
        """Refuse rollouts that batches do not divide, or that never fill."""
        size = self.num_envs * self.rollout_length
        if size % self.batch_size:
            below = max(number for number in range(1, self.batch_size) if size % number == 0)
            raise TensorqError(
                f"batch_size {self.batch_size} does not divide the {size} steps of a rollout, num_envs {self.num_envs} "
                f"times rollout_length {self.rollout_length}: {below} does."
            )
        if self.steps < self.num_envs * self.rollout_length:
            raise TensorqError(
                f"steps {self.steps} end before the first rollout of {self.num_envs * self.rollout_length}, num_envs "
                f"{self.num_envs} times rollout_length {self.rollout_length}, so nothing would be learned: raise the "
                "one or lower the others."
            )

    def _check_table(self) -> None:
        """Refuse a compiled loop, and learning rates that only an optimizer could use."""
        if self.loop == "compiled":
            raise TensorqError("loop: received compiled, expected host or auto: a table of Q-values learns in Python.")
        if self.learning_rate > 1 or self.learning_rate_final > 1:
            raise TensorqError("learning_rate: expected at most 1 for a table: an update may not go past its target.")

    def updates_owed(self, steps: int) -> int:
        """Updates that should have been made once `steps` environment steps are done."""
        if self.algorithm == "pqn":
            steps_a_round = self.num_envs * self.rollout_length
            return steps // steps_a_round * self.rollout_epochs * (steps_a_round // self.batch_size)
        past = max(0, steps - self.learning_starts_steps)
        return int(self.replay_ratio * (past // self.update_period_steps * self.update_period_steps))

    @property
    def updates_per_call(self) -> int:
        """How many updates of DQN the host loop makes together: the cost is the call, not the arithmetic."""
        return min(max(int(self.replay_ratio * max(self.update_period_steps, self.num_envs)), 1), 64)

    @property
    def outputs_per_action(self) -> int:
        """How many outputs of the network belong to one action; an implicit quantile network takes more as an input."""
        return self.num_atoms if self.head in ("categorical", "quantile", "hl_gauss") else 1

    @property
    def support(self) -> tuple[float, float, int]:
        """(first, last, how many) of the evenly spaced returns that categorical's and hl_gauss's outputs stand for."""
        spare = self.hl_gauss_spare_bins if self.head == "hl_gauss" else 0
        beyond = spare * (self.value_max - self.value_min) / (self.num_atoms - 1 - 2 * spare)
        return self.value_min - beyond, self.value_max + beyond, self.num_atoms

    # Schedules take a number, or an integer tensor with minimum=tf.minimum, and return the like.

    def epsilon_at(self, steps: Any, minimum: Callable[..., Any] = min) -> Any:
        """Probability of a random action once `steps` environment steps are done."""
        return linear(self.epsilon_start, self.epsilon_final, self.epsilon_anneal_steps, steps, minimum)

    def learning_rate_at(self, updates: Any, minimum: Callable[..., Any] = min) -> Any:
        """The step size of the update that follows `updates` others."""
        length = self.learning_rate_anneal_updates
        if not length:
            return self.learning_rate
        return linear(self.learning_rate, self.learning_rate_final, length, updates, minimum)

    def importance_exponent_at(self, updates: Any, minimum: Callable[..., Any] = min) -> Any:
        """How far importance weights correct in the update that follows `updates` others."""
        first, final = self.importance_exponent, self.importance_exponent_final
        return linear(first, final, self.importance_anneal_updates, updates, minimum)

    def num_evaluation_episodes(self, loop: str) -> int:
        """Greedy episodes in one evaluation: which the compiled loop plays all at once, enough for stop_return."""
        episodes = self.evaluation_episodes or DEFAULT_EVALUATION_EPISODES[loop]
        return episodes if loop == "host" or self.stop_return is None else max(episodes, SOLVED_EPISODES)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """A Config from plain values, as read from JSON; raises TensorqError for what does not belong."""
        if not isinstance(values, Mapping):
            raise TensorqError(f"received {values!r}, expected settings by name.")
        check_names(values)
        plain = dict(values)
        if isinstance(plain.get("hidden_sizes"), list):
            plain["hidden_sizes"] = tuple(plain["hidden_sizes"])
        return cls(**plain)

    @classmethod
    def from_saved(cls, values: Mapping[str, Any]) -> Config:
        """from_dict for what a run's folder kept, perhaps before a setting was there, or refused as of no effect."""
        kept: Any = values
        if isinstance(values, Mapping):
            idle = _NOT_FOR.get(str(values.get("algorithm", cls.algorithm)), {})
            kept = {**_BEFORE, **{name: value for name, value in values.items() if name not in idle}}
        try:
            return cls.from_dict(kept)
        except TensorqError as error:
            raise TensorqError(f"in the run's config.json, {error}") from error


# Each numeric field's smallest value; those that must lie above 0 or within [0, 1] are checked in __post_init__.
_AT_LEAST: dict[str, float] = {
    "seed": 0, "steps": 1, "episodes": 0, "num_envs": 1, "batch_size": 1, "replay_capacity": 1, "n_step": 1,
    "num_atoms": 1, "rollout_length": 1, "rollout_epochs": 1,
    "hl_gauss_spare_bins": 0, "munchausen_scale": 0, "priority_exponent": 0, "importance_anneal_updates": 0,
    "update_period_steps": 1, "learning_starts_steps": 0, "target_sync_updates": 1, "learning_rate_final": 0,
    "learning_rate_anneal_updates": 0, "max_gradient_norm": 0, "epsilon_anneal_steps": 0, "log_period_steps": 1,
    "evaluation_period_steps": 0, "evaluation_episodes": 0, "evaluation_max_episode_steps": 1,
    "checkpoint_period_steps": 1, "threads": 1,
}  # fmt: skip
# The value that a setting had, without being one, in runs whose config.json lacks it; others take their default.
_BEFORE: dict[str, Any] = {"hl_gauss_spare_bins": 0, "pixels": "by_dtype"}
_TYPES: dict[str, Any] = get_type_hints(Config)
_NO_REPLAY, _NO_TARGET, _NO_LAYERS = "it has no replay", "it has no target network", "it has no layers"
_FROM_REPLAY, _AT_ONCE = "it learns from replay; rollouts are pqn's", "it learns from each step at once"
# What an algorithm does not look at, though it would decide what is learned or when, and why. Sizes (hidden_sizes,
# batch_size, replay_capacity, num_atoms), loss and whatever tunes a switch that is off (munchausen_scale, value_min,
# importance_exponent) may be there without effect: sections of presets and sweeps set them for several algorithms.
_NOT_FOR: dict[str, dict[str, str]] = {
    "dqn": {
        "initial_value": "it has no table of Q-values; preset qtable has one",
        "rollout_length": _FROM_REPLAY,
        "rollout_epochs": _FROM_REPLAY,
        "trace_decay": "it has n_step in its place",
    },
    "pqn": {
        "initial_value": "it has no table of Q-values; preset qtable has one",
        "double": "it has no second network",
        "n_step": "it has trace_decay in its place",
        "noisy": "it explores by epsilon",
        "head": "its returns are expected ones",
        "munchausen": _NO_TARGET,
        "priority_exponent": _NO_REPLAY,
        "replay_ratio": "it goes through each rollout rollout_epochs times",
        "update_period_steps": "it learns whenever a rollout is full",
        "learning_starts_steps": "it learns whenever a rollout is full",
        "target_sync_updates": _NO_TARGET,
        "target_sync_rate": _NO_TARGET,
    },
    "qtable": {
        "double": _NO_TARGET,
        "n_step": _AT_ONCE,
        "layer_norm": _NO_LAYERS,
        "scale_observations": _NO_LAYERS,
        "dueling": _NO_LAYERS,
        "noisy": _NO_LAYERS,
        "head": "it holds the mean return of each action, not a distribution",
        "munchausen": "it has no soft policy",
        "priority_exponent": _NO_REPLAY,
        "replay_ratio": "each step is one update",
        "update_period_steps": "each step is one update",
        "learning_starts_steps": _AT_ONCE,
        "rollout_length": _AT_ONCE,
        "rollout_epochs": _AT_ONCE,
        "trace_decay": "it looks one step ahead",
        "target_sync_updates": _NO_TARGET,
        "target_sync_rate": _NO_TARGET,
        "optimizer": "it needs none, learning_rate is the whole rule",
        "max_gradient_norm": "it has no gradient",
    },
}
_DEFAULTS: dict[str, Any] = {
    field.name: field.default_factory() if callable(field.default_factory) else field.default
    for field in dataclasses.fields(Config)
}
FIELD_NAMES = tuple(field.name for field in dataclasses.fields(Config))


def _expected(name: str) -> str:
    return "a whole number" if _TYPES[name] is int else "a number"


def _check_types(config: Config) -> None:
    """Refuse values of the wrong type; whole floats and NumPy numbers become what the field wants."""
    for name, wanted in _TYPES.items():
        value = getattr(config, name)
        if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
            value = value.item()
        if type(None) in get_args(wanted):
            if value is None:
                continue
            wanted = get_args(wanted)[0]
        if get_args(wanted) and isinstance(get_args(wanted)[0], str):
            if value not in get_args(wanted):
                raise TensorqError(f"{name}: received {value!r}, expected one of {', '.join(get_args(wanted))}.")
        elif wanted is bool or wanted is str:
            if not isinstance(value, wanted):
                raise TensorqError(
                    f"{name}: received {value!r}, expected {'true or false' if wanted is bool else 'text'}."
                )
        elif wanted is int or wanted is float:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 2**63:
                bound = " below 2^63" if isinstance(value, int) and abs(value) >= 2**63 else ""
                raise TensorqError(f"{name}: received {value!r}, expected {_expected(name)}{bound}.")
            if wanted is int and value != int(value):
                raise TensorqError(f"{name}: received {value!r}, expected {_expected(name)}.")
            value = wanted(value)
        elif name == "env_args":
            value = _plain_arguments(value)
        elif isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            raise TensorqError(f"{name}: received {value!r}, expected whole numbers such as 256 256.")
        else:
            value = tuple(x.item() if hasattr(x, "item") else x for x in value)
            if any(isinstance(x, bool) or not isinstance(x, int) for x in value):
                raise TensorqError(f"{name}: received {value!r}, expected whole numbers such as 256 256.")
        object.__setattr__(config, name, value)


def _plain_arguments(value: Any) -> dict[str, Any]:
    """Keywords that config.json can hold; tuples become lists."""

    def plain(name: str, value: Any) -> Any:
        if hasattr(value, "tolist"):  # NumPy
            value = value.tolist()
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {key: plain(name, part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(name, part) for part in value]
        if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
            return value
        raise TensorqError(
            f"env_args: received {value!r} for {name}, expected a finite number, text, true or false, None, or a list "
            "or dict of these, which config.json can hold; give other things in a function that makes the environment."
        )

    if not isinstance(value, Mapping) or not all(isinstance(name, str) and name.isidentifier() for name in value):
        raise TensorqError(f"env_args: received {value!r}, expected values by name, such as {{'is_slippery': False}}.")
    return {name: plain(name, part) for name, part in value.items()}


def check_names(values: Iterable[str], others: Iterable[str] = ()) -> None:
    """Refuse names that are not Config fields; `others` are what else may have been meant."""
    for name in values:
        if name not in FIELD_NAMES:
            expected = ", ".join(["a field of tq.Config (`tensorq train --help` explains each)", *others])
            hint = nearest(str(name), [*FIELD_NAMES, *others], f"expected {expected}.")
            raise TensorqError(f"unknown setting {name!r}: {hint}")
