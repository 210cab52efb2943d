"""tensorq: deep Q-learning on TensorFlow.

    import tensorq as tq
    run = tq.train("CartPole-v1", steps=50_000, seed=1)
    run.evaluate(episodes=100).returns.mean()

The public names are loaded when they are first used: `import tensorq` is quick and imports no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tensorq.agents.trained import TrainedAgent
    from tensorq.api import Run, flatten_space, load, open_run, resume, train
    from tensorq.config import Config
    from tensorq.errors import TensorqError
    from tensorq.events import StopTraining
    from tensorq.show.tensorboard import TensorBoard
    from tensorq.stopped import Stopped

_HOMES = {
    "Config": "tensorq.config",
    "Run": "tensorq.api",
    "StopTraining": "tensorq.events",
    "Stopped": "tensorq.stopped",
    "TensorBoard": "tensorq.show.tensorboard",
    "TensorqError": "tensorq.errors",
    "TrainedAgent": "tensorq.agents.trained",
    "flatten_space": "tensorq.api",
    "load": "tensorq.api",
    "open_run": "tensorq.api",
    "resume": "tensorq.api",
    "train": "tensorq.api",
}
__all__ = [
    "Config", "Run", "StopTraining", "Stopped", "TensorBoard", "TensorqError", "TrainedAgent", "flatten_space",
    "load", "open_run", "resume", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tensorq' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
