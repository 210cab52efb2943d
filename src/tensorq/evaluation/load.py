"""Loading a run's agent and playing its environment. Only networks other than the default import TensorFlow."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import gymnasium as gym
import numpy as np

from tensorq.agents.qtable import QTable
from tensorq.agents.settings import QTableSettings
from tensorq.agents.trained import QFunction, TrainedAgent
from tensorq.config import MOST_EVALUATION_EPISODES, Config
from tensorq.envs.calls import EnvironmentMaker, Warn, close_or_warn, new_each_time
from tensorq.envs.description import SavedEnvironment, read_environment
from tensorq.envs.host import make_host_environments, seeds_for
from tensorq.envs.registry import gymnasium_maker, saved_id
from tensorq.envs.spaces import obs_layout, plain_action_space, plain_observation_space
from tensorq.errors import TensorqError
from tensorq.evaluation.play import Episodes, play_episodes
from tensorq.networks.build import NetworkBuilder, build_network, fitting_function
from tensorq.networks.numpy_network import NumpyNetwork, knows, num_params, state_rows
from tensorq.runs import directory
from tensorq.runs.checkpoint import Checkpoints
from tensorq.runs.checkpoint import load as load_checkpoint
from tensorq.runs.tables import read_table

if TYPE_CHECKING:
    from tensorq.networks.network import Network

EVALUATION_ENVS = 20


class Kept(NamedTuple):
    """The parameters of an agent that a run kept, and what they belong to: its folder, read once."""

    run_dir: Path
    config: Config
    params: np.ndarray  # [P]
    path: Path  # the file that they are in
    environment: SavedEnvironment
    kind: object  # what holds the Q-values, as config.json names it: "mlp", "custom" or "table"
    own_space: bool  # whether a function of the user's is given the environment's own space
    network: Network | None = None  # of what NumPy does not know, once it is built

    @property
    def spaces(self) -> tuple[gym.Space, int]:
        """The observation space that the network sees, and the number of actions."""
        space = plain_observation_space(self.environment.observation_space)
        return space, int(plain_action_space(self.environment.action_space).n)

    def agent(self) -> TrainedAgent:
        """To act with."""
        space, num_actions = self.spaces
        if self.config.find(QTableSettings):
            q_function: QFunction = QTable(self.params, space, num_actions)
        elif self.network is None:
            q_function = NumpyNetwork(space, num_actions, self.config, self.params)
        else:
            q_function = _keras_q_function(self.network, space, self.config, self.params)
        return TrainedAgent(q_function, self.environment.observation_space, self.environment.action_space)

    def environment_maker(self, make: EnvironmentMaker | None, render_mode: str | None = None) -> EnvironmentMaker:
        """`make`, or what makes the run's environment by its id; raises TensorqError where there is no such id."""
        if make is not None:
            return new_each_time(make)
        if self.environment.custom:
            call = f"tq.open_run({directory.python_arguments(self.run_dir, ['make_env'])})"
            raise TensorqError(
                f"{self.run_dir} was trained on an environment of your own: name it, as in --env MODULE:ID, or in "
                f"Python give the function, {call}."
            )
        return gymnasium_maker(saved_id(self.config.env), self.config.env_args, render_mode)


def load_agent(run_dir: Path, which: str = "best", network: NetworkBuilder | None = None) -> TrainedAgent:
    """The agent that a run kept, as read_kept says."""
    return read_kept(run_dir, which, network).agent()


def read_kept(run_dir: Path, which: str, network: NetworkBuilder | None) -> Kept:
    """What a run kept of its agent; raises TensorqError where it does not go with its settings or the network.

    Args:
        run_dir: the run's folder.
        which: "best", by greedy evaluation while training, or "last".
        network: the function that built the network, if the run was started with one.
    """
    kept = read_params(run_dir, which)
    config, environment = kept.config, kept.environment
    if (network is None) != (kept.kind in ("mlp", "table")):
        keyword = "features" if "features" in (kept.kind, getattr(network, "keyword", None)) else "network"
        needs = f"needs {keyword}=" if network is None else f"was trained without {keyword}="
        names = ("make_env", keyword) if environment.custom else (keyword,)
        load, open_run = (directory.python_arguments(run_dir, each) for each in ((keyword,), names))
        call = f": in Python, tq.load({load}) or tq.open_run({open_run})" if network is None else ""
        raise TensorqError(f"{run_dir} {needs}, the function that built its Q-network{call}.")
    if config.find(QTableSettings):
        return kept  # which QTable checks
    if network is None and knows(kept.spaces[0], config):
        expected, whose = num_params(*kept.spaces, config), "config.json describes"
    else:
        function = network and fitting_function(network, kept.kind, kept.own_space, run_dir)
        built = build_network(*kept.spaces, config, function, environment.observation_space)
        kept = kept._replace(network=built)
        expected, whose = built.initial_params().size, "the network function built" if network else "its parts build"
    if kept.params.shape != (expected,):
        raise TensorqError(f"{run_dir}: {kept.params.size} parameters are stored, {whose} {expected}.")
    return kept


def read_params(run_dir: Path, which: str = "best") -> Kept:
    """The same with nothing compared, and no network built."""
    if which not in ("best", "last"):
        raise TensorqError(f"which: received {which!r}, expected 'best' or 'last'.")
    run = directory.open(run_dir)
    content = directory.read_config(run_dir)
    config, environment = Config.from_saved(content["config"]), read_environment(run_dir, content)
    checkpoints = Checkpoints(run.checkpoints_path)
    if which == "best":
        path = checkpoints.best_path
        if not path.exists():
            raise TensorqError(_why_no_best(run_dir, checkpoints))
        try:
            tensors, _ = load_checkpoint(path)
        except TensorqError as error:
            raise TensorqError(f"{error}{_instead(checkpoints)}.") from error
    else:
        found = checkpoints.latest(lambda text: None)
        if found is None:
            raise TensorqError(f"{run_dir} has no checkpoint yet.")
        tensors, _, path = found
    kind, own_space = content.get("network"), content.get("network_space") == "own"
    return Kept(run_dir, config, tensors["agent.params"], path, environment, kind, own_space)


def _why_no_best(run_dir: Path, checkpoints: Checkpoints) -> str:
    """Whether there has been a best agent, and what there is instead."""
    metrics, instead = run_dir / "metrics.csv", _instead(checkpoints)
    if metrics.exists() and np.isfinite(read_table(metrics).get("evaluation_return", [])).any():
        return f"{checkpoints.best_path} is missing: put it back{instead}."
    return f"{run_dir} has kept no agent yet: no greedy evaluation gave a finite return before it stopped{instead}."


def _instead(checkpoints: Checkpoints) -> str:
    return "; the last agent is there: --which last, or which='last' in Python" if checkpoints.step_paths() else ""


def _keras_q_function(network: Network, space: gym.Space, config: Config, params: np.ndarray) -> QFunction:
    import tensorflow as tf

    from tensorq.agents.agent import make_agent

    agent, (dtype, shape) = make_agent(config, network), obs_layout(space)
    stored = tf.constant(params)
    function = tf.function(lambda obs: agent.q_values(stored, obs), autograph=False, reduce_retracing=True)
    rate = function.get_concrete_function(tf.TensorSpec((None, *shape), dtype))

    def q_function(obs: np.ndarray) -> np.ndarray:
        if isinstance(space, gym.spaces.Discrete):
            state_rows(obs, int(space.start), int(space.n))  # refuse others: Keras' one_hot makes zeros of them
        result: np.ndarray = rate(tf.constant(obs)).numpy()
        return result

    return q_function


def evaluate_run(
    run_dir: Path,
    episodes: int = 100,
    *,
    which: str = "best",
    make: EnvironmentMaker | None = None,
    network: NetworkBuilder | None = None,
    warn: Warn = warnings.warn,
) -> Episodes:
    """Greedy episodes in Gymnasium's own environment, on seeds that neither training nor selection has used."""
    if isinstance(episodes, bool) or not isinstance(episodes, (int, np.integer)) or episodes < 1:
        raise TensorqError(f"episodes: received {episodes!r}, expected a whole number of at least 1.")
    if episodes > MOST_EVALUATION_EPISODES:
        raise TensorqError(f"episodes: received {episodes}, expected at most {MOST_EVALUATION_EPISODES:,}.")
    kept = read_kept(run_dir, which, network)
    agent, most = kept.agent(), 1 if kept.config.single_environment else EVALUATION_ENVS
    envs = make_host_environments(kept.environment_maker(make), min(most, episodes))
    try:
        kept.environment.require_same(run_dir, envs.native_observation_space, envs.native_action_space)
        seeds = seeds_for(0, 0, episodes, evaluation=True)
        return play_episodes(envs, agent.q_values, seeds, kept.config.evaluation_max_episode_steps)
    finally:
        close_or_warn(envs, warn)
