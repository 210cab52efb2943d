"""The agent that a run kept: to act with, to evaluate, or as a Keras model, to be used without tensorq.

Only networks other than the default, and Keras models, import TensorFlow.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
import numpy as np

from tensorq.agents.qtable import QTable
from tensorq.agents.settings import Algorithm, QTableSettings
from tensorq.agents.trained import QFunction, TrainedAgent
from tensorq.config import MOST_EVALUATION_EPISODES, Config
from tensorq.envs.calls import Warn, close_or_warn
from tensorq.envs.host import make_host_environments, seeds_for
from tensorq.envs.spaces import obs_layout, plain_action_space, plain_observation_space, stacked_space
from tensorq.envs.world import ORIGINALS, WORLDS, make_world
from tensorq.errors import TensorqError, where_raised
from tensorq.evaluation.play import Episodes, play_episodes
from tensorq.networks.build import build_network
from tensorq.networks.encoders.mlp import state_rows
from tensorq.networks.numpy_network import NumpyNetwork, knows, num_params
from tensorq.networks.settings import frame_stack
from tensorq.process import load_tensorflow
from tensorq.runs.checkpoint import Checkpoints, require_folder, write_atomically
from tensorq.runs.checkpoint import load as load_checkpoint
from tensorq.runs.directory import python_arguments
from tensorq.runs.saved import SavedRun

if TYPE_CHECKING:
    import keras

    from tensorq.networks.network import Network

EVALUATION_ENVS = 20


class Kept(NamedTuple):
    """The parameters of an agent that a run kept, and the run."""

    run: SavedRun
    params: np.ndarray  # [P]
    path: Path  # their file
    network: Network | None = None  # if NumPy cannot compute it, once it is built

    @property
    def spaces(self) -> tuple[gym.Space, int]:
        """The observation space that the network sees, and the number of actions."""
        environment = self.run.environment
        space = plain_observation_space(environment.observation_space)
        return stacked_space(space, frame_stack(self.run.config)), int(plain_action_space(environment.action_space).n)

    @property
    def own_space(self) -> gym.Space:
        """The space of the observations that the agent is given: the environment's own, or of stacks of them."""
        return stacked_space(self.run.environment.observation_space, frame_stack(self.run.config))

    def agent(self) -> TrainedAgent:
        """Make the agent, to act with."""
        (space, num_actions), config, environment = self.spaces, self.run.config, self.run.environment
        if config.find(QTableSettings):
            q_function: QFunction = QTable(self.params, space, num_actions)
        elif self.network is None:
            q_function = NumpyNetwork(space, num_actions, config, self.params)
        else:
            q_function = _keras_q_function(self.network, space, config, self.params)
        return TrainedAgent(q_function, self.own_space, environment.action_space)


def read_kept(run: SavedRun, which: str = "best") -> Kept:
    """Read the agent that a run kept; raises TensorqError if it does not fit the run's settings or the network.

    Args:
        run: the run, with the function that built its network if it was started with one.
        which: "best", by greedy evaluation while training, or "last".
    """
    kept, run_dir, network = read_params(run, which), run.path, run.network
    config = run.config
    if (network is None) != (run.kind in ("mlp", "table")):
        keyword = "features" if "features" in (run.kind, getattr(network, "keyword", None)) else "network"
        needs = f"needs {keyword}=" if network is None else f"was trained without {keyword}="
        load, open_run = (python_arguments(run_dir, each) for each in ((keyword,), run.needs))
        call = f": in Python, tq.load({load}) or tq.open_run({open_run})" if network is None else ""
        raise TensorqError(f"{run_dir} {needs}, the function that built its Q-network{call}.")
    if config.find(QTableSettings):
        return kept  # QTable checks its size
    if network is None and knows(kept.spaces[0], config):
        expected, whose = num_params(*kept.spaces, config), "config.json describes"
    else:
        function = run.network_function()
        built = build_network(*kept.spaces, config, function, kept.own_space)
        kept = kept._replace(network=built)
        expected, whose = built.initial_params().size, "the network function built" if network else "its settings build"
    if kept.params.shape != (expected,):
        raise TensorqError(f"{run_dir}: {kept.params.size} parameters are stored, but {whose} {expected}.")
    return kept


def read_params(run: SavedRun, which: str = "best") -> Kept:
    """The same without checks, and without building a network."""
    if which not in ("best", "last"):
        raise TensorqError(f"which: received {which!r}, expected 'best' or 'last'.")
    run.config, run.environment  # noqa: B018  # first raise errors in config.json
    checkpoints = Checkpoints(run.files.checkpoints_path)
    if which == "last":
        found = checkpoints.latest(lambda text: None)
        if found is None:
            raise TensorqError(f"{run.path} has no checkpoint yet.")
        tensors, _, path = found
        return Kept(run, tensors[f"agent.{run.config.part(Algorithm).plays_by}"], path)
    path = checkpoints.best_path
    if not path.exists():
        why = f"{run.path} has kept no agent yet: no greedy evaluation gave a finite return before it stopped"
        if run.files.metrics_path.exists() and np.isfinite(run.metrics.get("evaluation_return", [])).any():
            why = f"{path} is missing: put it back"
        raise TensorqError(f"{why}{_instead(checkpoints)}.")
    try:
        tensors, _ = load_checkpoint(path)
    except TensorqError as error:
        raise TensorqError(f"{error}{_instead(checkpoints)}.") from error
    return Kept(run, tensors["agent.params"], path)


def _instead(checkpoints: Checkpoints) -> str:
    return "; the last agent can be used: --which last, or which='last' in Python" if checkpoints.step_paths() else ""


def _keras_q_function(network: Network, space: gym.Space, config: Config, params: np.ndarray) -> QFunction:
    import tensorflow as tf

    from tensorq.agents.agent import make_agent

    agent, (dtype, shape) = make_agent(config, network), obs_layout(space)
    stored = tf.constant(params)
    function = tf.function(lambda obs: agent.q_values(stored, obs), autograph=False, reduce_retracing=True)
    rate = function.get_concrete_function(tf.TensorSpec((None, *shape), dtype))

    def q_function(obs: np.ndarray) -> np.ndarray:
        if isinstance(space, gym.spaces.Discrete):
            state_rows(obs, int(space.start), int(space.n))  # refuses others: Keras' one_hot makes zeros of them
        return rate(tf.constant(obs)).numpy()

    return q_function


def evaluate_run(run: SavedRun, episodes: int = 100, *, which: str = "best", warn: Warn = warnings.warn) -> Episodes:
    """Play greedy episodes on seeds that training and selection do not use.

    They are played in Gymnasium's environment. A run of the compiled loop on a world that Gymnasium does not have is
    evaluated in this world, in one XLA program.
    """
    if isinstance(episodes, bool) or not isinstance(episodes, (int, np.integer)) or episodes < 1:
        raise TensorqError(f"episodes: received {episodes!r}, expected a whole number of at least 1.")
    if episodes > MOST_EVALUATION_EPISODES:
        raise TensorqError(f"episodes: received {episodes}, expected at most {MOST_EVALUATION_EPISODES:,}.")
    kept, config = read_kept(run, which), run.config
    compiled = run.document.get("loop") == "compiled" and run.make_env is None
    if compiled and config.env in {*WORLDS} - {*ORIGINALS}:
        world = make_world(config.env, config.env_args)  # loads TensorFlow
        from tensorq.evaluation.compiled import play_unseen

        run.environment.require_same(run.path, world.observation_space, world.action_space)
        network = kept.network or build_network(*kept.spaces, config)
        return play_unseen(config, world, network, kept.params, episodes)
    agent, most = kept.agent(), 1 if config.single_environment else EVALUATION_ENVS
    envs = make_host_environments(run.environment_maker(), min(most, episodes), frame_stack(config))
    try:
        run.environment.require_same(run.path, envs.native_observation_space, envs.native_action_space)
        seeds = seeds_for(0, 0, episodes, evaluation=True)
        return play_episodes(envs, agent.q_values, seeds, config.evaluation_max_episode_steps)
    finally:
        close_or_warn(envs, warn)


def keras_model(run: SavedRun, which: str = "best") -> keras.Model:
    """The agent that a run kept, as a model of plain observations [N, ...] to Q-values [N, A]; see read_kept."""
    load_tensorflow()
    from tensorq.networks import standard

    kept, config = read_kept(run, which), run.config
    space: Any = kept.spaces[0]
    if config.find(QTableSettings):
        return standard.standard_table(space, QTable(kept.params, *kept.spaces).table)
    if kept.network is None:
        return standard.standard_mlp(*kept.spaces, config, kept.params)
    return standard.custom_model(kept.network, config, kept.params)


def save_model(run: SavedRun, file: Path, which: str = "best") -> Path:
    """Write the agent as a .keras file, atomically, and return its path."""
    if file.suffix != ".keras":
        raise TensorqError(f"output: received {str(file)!r}, expected a file name that ends in .keras.")
    require_folder(file)
    model = keras_model(run, which)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "agent.keras")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # NumPy warns about Keras
                model.save(written)
        except Exception as error:  # a user's own layers may raise anything
            raise TensorqError(f"{type(model).__name__} cannot be saved: {where_raised(error)}") from error
        write_atomically(file, written.read_bytes())
    return file
