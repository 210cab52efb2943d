"""The Python interface: train, resume, load, and a run to ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorq import trainer
from tensorq.agents.trained import TrainedAgent
from tensorq.config import DEFAULT_PRESET, resolve
from tensorq.envs.host import EnvironmentMaker, gymnasium_maker, require_known
from tensorq.evaluation.load import evaluate_run, load_agent
from tensorq.evaluation.play import Episodes
from tensorq.events import Observer
from tensorq.networks.build import NetworkBuilder
from tensorq.runs import directory
from tensorq.show.progress import Mode, observer


@dataclass(frozen=True)
class Run:
    """A run's folder, and what can be done with it."""

    path: Path
    make_env: EnvironmentMaker | None = None
    network: NetworkBuilder | None = None

    @property
    def result(self) -> dict[str, Any]:
        """What result.json says: steps, seconds, the best and the final evaluation. Empty for an unfinished run."""
        return directory.read_result(self.path) or {}

    def evaluate(self, episodes: int = 100, which: str = "best") -> Episodes:
        """Greedy episodes in Gymnasium's own environment, on seeds that the run has not seen; `.mean` is their mean."""
        return evaluate_run(self.path, episodes, which=which, make=self.make_env, network=self.network)

    def plot(self, output: str | Path | None = None) -> Path:
        """Draw the learning curve (to curve.png in the run's folder) and return where it is."""
        from tensorq.show.curve import draw_run

        return draw_run(self.path, Path(output) if output else self.path / "curve.png", self.make_env)

    def record(self, output: str | Path, *, plain: bool = False, which: str = "best", seed: int | None = None) -> Path:
        """Film one greedy episode as .gif or .mp4; `plain` leaves out the Q-values beside the picture."""
        from tensorq.show.film import film

        return film(
            self.path, Path(output), plain=plain, which=which, seed=seed, make=self.make_env, network=self.network
        )

    def agent(self, which: str = "best") -> TrainedAgent:
        """The agent to act with: the best by greedy evaluation, or the last."""
        return load_agent(self.path, which, self.network)


def train(
    env: str | EnvironmentMaker,
    *,
    preset: str = DEFAULT_PRESET,
    network: NetworkBuilder | None = None,
    run_dir: str | Path | None = None,
    progress: Mode = "auto",
    observers: Sequence[Observer] = (),
    **settings: Any,
) -> Run:
    """Train an agent and return its run.

    Args:
        env: an id such as "CartPole-v1", or a function that makes a gymnasium.Env or VectorEnv.
        preset: the settings to start from.
        network: build_model(observation_space, num_actions) -> keras.Model, instead of the default MLP.
        run_dir: a folder that is new or empty; by default one below runs/.
        progress: "auto", "live", "plain", "json" or "quiet".
        observers: further callables that get every event.
        settings: any field of Config.

    Raises:
        TensorqError: a setting, environment or folder that cannot work; the message says how to fix it.
        Stopped: after Ctrl-C or SIGTERM; `resume` goes on from there.
    """
    if isinstance(env, str):
        require_known(env)  # before the settings, whose errors would be of no use
        make, name = None, env
    else:
        make, name = env, getattr(env, "__name__", "custom").strip("<>")
    config = resolve(name, preset, **settings)
    show = observer(progress)
    try:
        path = trainer.train(
            config,
            make=make,
            network=network,
            run_dir=Path(run_dir) if run_dir else None,
            observers=[show, *observers],
        )
    finally:
        show.close()
    if ":" in config.env:  # an id that is not looked up in a folder, as it imports a module; here it was given
        make = gymnasium_maker(config.env)
    return Run(path, make, network)


def resume(
    path: str | Path,
    *,
    steps: int | None = None,
    episodes: int | None = None,
    make_env: EnvironmentMaker | None = None,
    network: NetworkBuilder | None = None,
    progress: Mode = "auto",
    observers: Sequence[Observer] = (),
) -> Run:
    """Go on with a run from its last checkpoint, to more steps or episodes if given; see trainer.resume."""
    show = observer(progress)
    try:
        trainer.resume(
            Path(path), steps=steps, episodes=episodes, make=make_env, network=network, observers=[show, *observers]
        )
    finally:
        show.close()
    return Run(Path(path), make_env, network)


def open_run(
    path: str | Path, *, make_env: EnvironmentMaker | None = None, network: NetworkBuilder | None = None
) -> Run:
    """The run in a folder."""
    return Run(directory.open(Path(path)).path, make_env, network)


def load(path: str | Path, which: str = "best", *, network: NetworkBuilder | None = None) -> TrainedAgent:
    """The agent that a run kept: the best by greedy evaluation, or which="last"."""
    return load_agent(Path(path), which, network)
