"""Choose a run's loop and build it. TensorFlow is imported only if a network is built."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from tensorq.agents.settings import QTableSettings
from tensorq.config import Config, RunSettings
from tensorq.envs.description import Environment, choose_loop
from tensorq.envs.spaces import stacked_space
from tensorq.envs.world import WORLDS
from tensorq.errors import TensorqError, where_raised
from tensorq.loops.host import HostLoop
from tensorq.loops.loop import Loop
from tensorq.loops.table import TableLearner
from tensorq.networks.build import NetworkBuilder, build_network
from tensorq.networks.numpy_network import NumpyNetwork, knows
from tensorq.networks.settings import frame_stack
from tensorq.plugins import OURS
from tensorq.settings import choices_of

_SLOW_CONVOLUTIONS = (
    "the network has keras.layers.Conv2D, which is slow in the compiled loop on a CPU: tq.layers.Conv2D has the same "
    "arguments, weights and results, and is faster there"
)


def loop_kind(config: Config, environment: Environment) -> str:
    """ "compiled" or "host"; a table learns in Python, even if there is a compiled world."""
    loop = "host" if config.find(QTableSettings) else config.loop
    return choose_loop(loop, environment)


def packages(config: Config) -> list[str]:
    """The packages from which a run's parts and world come, without tensorq itself."""
    chosen = [each for part in (RunSettings, *map(type, config.parts)) for each in choices_of(part)]
    owners = [*(choices.owner(getattr(config, name)) for name, choices in chosen), WORLDS.owner(config.env)]
    return sorted({*owners} - {"", OURS})


def build_loop(
    config: Config,
    environment: Environment,
    network: NetworkBuilder | None,
    replay_path: Path,
    hint: Callable[[str], None] = lambda text: None,
) -> Loop:
    """Build network, agent and loop, with compiled programs. `replay_path` is the replay's file.

    `hint` gets a line for the user if the network could be faster. If a part from another package raises an error,
    TensorqError names this package.
    """
    try:
        return _build(config, environment, network, replay_path, hint)
    except TensorqError:
        raise
    except Exception as error:
        if not (others := packages(config)):
            raise
        raise TensorqError(f"an extension by the package {' or '.join(others)} raised {where_raised(error)}") from error


def _build(
    config: Config,
    environment: Environment,
    network: NetworkBuilder | None,
    replay_path: Path,
    hint: Callable[[str], None],
) -> Loop:
    if config.find(QTableSettings):
        return HostLoop(config, environment.make, functools.partial(TableLearner, config))

    from tensorq.agents.agent import make_agent

    frames = frame_stack(config)
    spaces = stacked_space(environment.observation_space, frames), int(environment.action_space.n)
    own_space = stacked_space(environment.native_observation_space, frames)
    q_network = build_network(*spaces, config, network, own_space)
    agent = make_agent(config, q_network)
    if loop_kind(config, environment) == "compiled":
        if config.overlap_learning:
            raise TensorqError(
                f"overlap_learning is for the host loop, and {config.env} runs in the compiled one: leave it at false, "
                'or give loop="host" (--loop host).'
            )
        from tensorq.core.xla import has_gpu
        from tensorq.envs.world import make_world
        from tensorq.loops.compiled import CompiledLoop
        from tensorq.networks.layers import is_slow_in_xla

        if any(map(is_slow_in_xla, q_network.convolutions)) and not has_gpu():
            hint(_SLOW_CONVOLUTIONS)
        return CompiledLoop(config, agent, make_world(config.env, config.env_args), replay_path)
    from tensorq.loops.host_learning import make_learner

    numpy_q = functools.partial(NumpyNetwork, *spaces, config) if network is None and knows(spaces[0], config) else None
    learner = functools.partial(make_learner, config, agent, numpy_q, replay_path)
    return HostLoop(config, environment.make, learner)
