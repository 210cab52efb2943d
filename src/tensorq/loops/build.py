"""Which loop a run takes, and how it is put together. TensorFlow is imported where a network is built."""

from __future__ import annotations

import functools
from pathlib import Path

from tensorq.agents.settings import QTableSettings
from tensorq.config import Config
from tensorq.envs.description import Environment, choose_loop
from tensorq.loops.loop import Loop
from tensorq.loops.table import TableLoop
from tensorq.networks.build import NetworkBuilder, build_network
from tensorq.networks.numpy_network import NumpyNetwork, knows


def loop_kind(config: Config, environment: Environment) -> str:
    """ "compiled" or "host"; a table learns in Python, also where there is a compiled world."""
    loop = "host" if config.find(QTableSettings) else config.loop
    return choose_loop(loop, environment)


def build_loop(config: Config, environment: Environment, network: NetworkBuilder | None, replay_path: Path) -> Loop:
    """Network, agent and loop; the host's replay is a file at `replay_path`."""
    if config.find(QTableSettings):
        return TableLoop(config, environment.make)

    from tensorq.agents.agent import make_agent

    spaces = environment.observation_space, int(environment.action_space.n)
    q_network = build_network(*spaces, config, network, environment.native_observation_space)
    agent = make_agent(config, q_network)
    if loop_kind(config, environment) == "compiled":
        from tensorq.envs.world import make_world
        from tensorq.loops.compiled import CompiledLoop

        return CompiledLoop(config, agent, make_world(config.env, config.env_args))
    from tensorq.loops.host import HostLoop

    numpy_q = functools.partial(NumpyNetwork, *spaces, config) if network is None and knows(spaces[0], config) else None
    return HostLoop(config, agent, environment.make, replay_path, numpy_q)
