"""The settings of each algorithm, and those that several share: exploration, learning rate, optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tensorq.core.schedules import linear
from tensorq.errors import TensorqError
from tensorq.heads import HEADS
from tensorq.heads.expected import Expected
from tensorq.networks.settings import NetworkSettings, NoiseSettings
from tensorq.replay.settings import ReplaySettings
from tensorq.settings import Choices, Part, Range, setting

if TYPE_CHECKING:
    from tensorq.config import Config

MOST_UPDATES_AT_ONCE = 1_000_000  # with more, the run would seem to hang

ALGORITHMS = Choices(
    "algorithm",
    {
        "dqn": "tensorq.agents.settings:DQNSettings",
        "pqn": "tensorq.agents.settings:PQNSettings",
        "qtable": "tensorq.agents.settings:QTableSettings",
    },
)


@dataclass(frozen=True)
class ExplorationSettings(Part):
    """Settings of epsilon-greedy exploration."""

    subject = "exploration"
    searched = {"epsilon_final": Range(0.01, 0.2, log=True), "epsilon_anneal_steps": Range(100, 20_000, log=True)}

    epsilon_start: float = setting(1.0, "Probability of a random action at the first step.", at_least=0, at_most=1)
    epsilon_final: float = setting(
        0.05, "Probability of a random action after epsilon_anneal_steps.", at_least=0, at_most=1
    )
    epsilon_anneal_steps: int = setting(5_000, "Environment steps over which epsilon anneals linearly.", at_least=0)
    epsilon_spread: float = setting(
        1.0,
        "With S above 1, each environment has an epsilon of its own: from epsilon / S to epsilon * S, evenly by their "
        "logarithms.",
        at_least=1,
    )

    def epsilon_at(self, steps: Any, minimum: Callable[..., Any] = min) -> Any:
        """Probability of a random action after `steps` environment steps; see schedules.linear."""
        return linear(self.epsilon_start, self.epsilon_final, self.epsilon_anneal_steps, steps, minimum)

    def epsilon_factors(self, num_envs: int) -> float | list[float]:
        """What each environment multiplies epsilon by, or 1 for all; above 1, every action is random, as with 1.

        Ape-X has such a range of epsilons (Horgan et al. 2018, section 4).
        """
        if self.epsilon_spread == 1:
            return 1.0
        return [self.epsilon_spread ** (2 * index / (num_envs - 1) - 1) for index in range(num_envs)]


@dataclass(frozen=True)
class LearningRateSettings(Part):
    """Settings of the size of a learning step."""

    subject = "learning rate"
    searched = {"learning_rate": Range(1e-4, 1e-2, log=True)}

    learning_rate: float = setting(1e-3, "Step size at the start.", above=0)
    learning_rate_final: float = setting(
        1e-3, "Step size after learning_rate_anneal_updates, approached linearly.", at_least=0
    )
    learning_rate_anneal_updates: int = setting(
        0, "Updates over which the step size anneals; 0 keeps learning_rate.", at_least=0
    )

    def learning_rate_at(self, updates: Any, minimum: Callable[..., Any] = min) -> Any:
        """The step size of the next update after `updates` updates; see schedules.linear."""
        length = self.learning_rate_anneal_updates
        if not length:
            return self.learning_rate
        return linear(self.learning_rate, self.learning_rate_final, length, updates, minimum)


@dataclass(frozen=True)
class OptimizerSettings(Part):
    """Settings of the step that changes parameters by a gradient."""

    subject = "optimizer"

    optimizer: Literal["adam", "rmsprop"] = setting(
        "adam", "Adam (Kingma and Ba 2015), or the centred RMSProp of Nature DQN."
    )
    optimizer_epsilon: float = setting(
        1e-7, "Added to the root of Adam's second moment, or within RMSProp's root.", above=0, idle=True
    )
    max_gradient_norm: float = setting(
        0.0, "Gradients longer than this are scaled down to it; 0 clips nothing.", at_least=0
    )
    overlap_learning: bool = setting(
        False,
        "Learn in a thread beside the environments of the host loop, which pays if both are slow. Actions are chosen "
        "by parameters that are one learning phase older.",
    )

    def check(self, config: Config) -> None:
        """Refuse what would change while it learns beside the environments."""
        if self.overlap_learning:
            for name in ("priority_exponent", "normalize_observations", "averaging_rate"):
                if getattr(config, name):
                    raise TensorqError(
                        f"{name} {getattr(config, name)} with overlap_learning true: expected one of the two, because "
                        f"what {name} keeps would change during learning."
                    )


@dataclass(frozen=True)
class Algorithm(Part):
    """Settings that every algorithm has."""

    agent: ClassVar[str]
    """The class that acts and learns, as "module:Class"."""

    gamma: float = setting(0.99, "Discount factor.", at_least=0, at_most=1)

    @property
    def plays_by(self) -> str:
        """The part of AgentState by which greedy episodes are played, and which is kept of the best agent."""
        return "params"

    def updates_owed(self, steps: int, num_envs: int) -> int:
        """The number of updates that are due, in all, after `steps` environment steps."""
        raise NotImplementedError


@dataclass(frozen=True)
class DQNSettings(Algorithm):
    """Deep Q-learning from replay (Mnih 2015)."""

    subject = "dqn"
    searched = {
        "gamma": (0.97, 0.98, 0.99, 0.995),
        "double": (False, True),
        "replay_ratio": (0.25, 0.5, 1.0, 2.0),
        "target_sync_updates": Range(10, 2_000, log=True),
    }
    agent = "tensorq.agents.dqn:DQN"
    uses = (
        ReplaySettings, NetworkSettings, NoiseSettings, LearningRateSettings, OptimizerSettings, ExplorationSettings,
    )  # fmt: skip

    double: bool = setting(
        False,
        "Double Q-learning: the online network chooses the next action, the target network rates it (van Hasselt "
        "2016).",
    )
    head: str = setting(
        "expected",
        "What is learned: the mean return (DQN; HL-Gauss by classification), or its distribution (C51, QR-DQN, IQN).",
        choices=HEADS,
    )
    munchausen: bool = setting(
        False, "Add the log-policy of the action taken to the reward, with soft targets (Vieillard 2020)."
    )
    munchausen_scale: float = setting(0.9, "Weight of the log-policy.", at_least=0, idle=True)
    munchausen_temperature: float = setting(
        0.03, "Temperature of the soft policy, in units of return.", above=0, idle=True
    )
    munchausen_clip: float = setting(-1.0, "Lowest temperature * log-policy.", at_most=0, idle=True)
    replay_ratio: float = setting(1.0, "Updates per environment step.", above=0, at_most=1_000)
    update_period_steps: int = setting(
        1,
        "Environment steps between learning phases; a phase runs every update due since the last one. The host loop "
        "makes several updates at a time.",
        at_least=1,
    )
    learning_starts_steps: int = setting(1_000, "Environment steps before the first update.", at_least=0)
    target_sync_updates: int = setting(100, "Updates between two moves of the target network.", at_least=1)
    target_sync_rate: float = setting(
        1.0, "How far the target network then moves towards the online one; 1 is a hard copy.", above=0, at_most=1
    )

    def updates_owed(self, steps: int, num_envs: int) -> int:
        """replay_ratio updates per step, due at each multiple of update_period_steps after learning has started."""
        past = max(0, steps - self.learning_starts_steps)
        return int(self.replay_ratio * (past // self.update_period_steps * self.update_period_steps))

    def updates_per_call(self, num_envs: int) -> int:
        """How many updates the host loop makes in one call, because a call costs more than its arithmetic."""
        return min(max(int(self.replay_ratio * max(self.update_period_steps, num_envs)), 1), 64)

    def check(self, config: Config) -> None:
        """Refuse a run that would learn nothing before its end, or that would seem to hang."""
        if self.replay_ratio * self.update_period_steps > MOST_UPDATES_AT_ONCE:
            raise TensorqError(
                f"update_period_steps: received {self.update_period_steps}, which with replay_ratio "
                f"{self.replay_ratio:g} gives more than {MOST_UPDATES_AT_ONCE:,} updates at once: lower it."
            )
        if self.learning_starts_steps >= config.steps:
            raise TensorqError(
                f"learning_starts_steps {self.learning_starts_steps} is not before the end of training at "
                f"{config.steps} steps, so nothing would be learned: lower it or raise steps."
            )
        if self.updates_owed(config.steps, config.num_envs) < 1:
            left = config.steps - self.learning_starts_steps
            raise TensorqError(
                f"replay_ratio {self.replay_ratio:g} with update_period_steps {self.update_period_steps} gives no "
                f"update in the {left} steps after learning_starts_steps, so nothing would be learned: raise "
                "replay_ratio or steps, or lower the others."
            )


@dataclass(frozen=True)
class PQNSettings(Algorithm):
    """Deep Q-learning from many environments at once, without replay or target network (Gallici 2025)."""

    subject = "pqn"
    searched = {
        "gamma": (0.97, 0.98, 0.99, 0.995),
        "rollout_length": (8, 16, 32, 64),
        "rollout_epochs": (1, 2, 4),
        "batch_size": (32, 64, 128, 256),
        "trace_decay": Range(0.3, 0.95),
    }
    agent = "tensorq.agents.pqn:PQN"
    uses = (Expected, NetworkSettings, LearningRateSettings, OptimizerSettings, ExplorationSettings)

    batch_size: int = setting(64, "Transitions in one update.", at_least=1, idle=True)
    rollout_length: int = setting(32, "Steps of each environment between two rounds of learning.", at_least=1)
    rollout_epochs: int = setting(
        2,
        "Passes over the rollout in each round of learning, in shuffled batches of batch_size.",
        at_least=1,
        at_most=1_000,
    )
    trace_decay: float = setting(
        0.65, "Lambda of the returns; 0 looks one step ahead, 1 to the end.", at_least=0, at_most=1
    )
    cut_traces: bool = setting(
        False,
        "Whether returns end before actions that were not greedy, as in Watkins's Q(lambda), so that epsilon can stay "
        "higher.",
    )
    averaging_rate: float = setting(
        0.0,
        "With r above 0, greedy episodes are played by averaged parameters, which move by this share towards the "
        "learned ones at each update; they are also what is kept.",
        at_least=0,
        at_most=1,
    )

    @property
    def plays_by(self) -> str:
        """The averaged parameters are where DQN has those of its target network."""
        return "target_params" if self.averaging_rate else "params"

    def updates_owed(self, steps: int, num_envs: int) -> int:
        """rollout_epochs times the number of batches, for each full rollout."""
        steps_a_round = num_envs * self.rollout_length
        return steps // steps_a_round * self.rollout_epochs * (steps_a_round // self.batch_size)

    def check(self, config: Config) -> None:
        """Refuse a rollout that is not a multiple of the batch size, or that is longer than the run."""
        count, length, size = config.num_envs, self.rollout_length, config.num_envs * self.rollout_length
        if size % self.batch_size:
            below = max(number for number in range(1, self.batch_size) if size % number == 0)
            raise TensorqError(
                f"batch_size {self.batch_size} does not divide the {size} steps of a rollout, num_envs {count} times "
                f"rollout_length {length}: give a divisor, such as {below}."
            )
        if config.steps < size:
            raise TensorqError(
                f"steps {config.steps} end before the first rollout of {size}, num_envs {count} times rollout_length "
                f"{length}, so nothing would be learned: raise steps or lower the others."
            )


@dataclass(frozen=True)
class QTableSettings(Algorithm):
    """Q-learning with a table for Discrete observations, without TensorFlow (Watkins 1989)."""

    subject = "qtable"
    searched = {"learning_rate": Range(0.02, 1.0, log=True), "gamma": (0.97, 0.98, 0.99, 0.995)}
    uses = (LearningRateSettings, ExplorationSettings)

    initial_value: float = setting(
        0.0, "Initial Q-values of a table; a value above every possible return makes the agent try all actions."
    )

    def updates_owed(self, steps: int, num_envs: int) -> int:
        """One update for each step."""
        return steps

    def check(self, config: Config) -> None:
        """Refuse a compiled loop, and learning rates above 1."""
        if config.loop == "compiled":
            raise TensorqError("loop: received compiled, expected host or auto: a table of Q-values learns in Python.")
        rate = config.part(LearningRateSettings)
        if rate.learning_rate > 1 or rate.learning_rate_final > 1:
            raise TensorqError("learning_rate: expected at most 1 for a table: an update must not go past its target.")
