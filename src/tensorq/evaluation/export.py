"""A run's agent as a Keras model, to be used without tensorq."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorq.agents.qtable import QTable
from tensorq.agents.settings import QTableSettings
from tensorq.errors import TensorqError, where_raised
from tensorq.evaluation.load import read_kept
from tensorq.process import load_tensorflow
from tensorq.runs.checkpoint import require_folder, write_atomically
from tensorq.runs.saved import SavedRun

if TYPE_CHECKING:
    import keras


def keras_model(run: SavedRun, which: str = "best") -> keras.Model:
    """The agent that a run kept, as a model of plain observations [N, ...] to Q-values [N, A]; see load.read_kept."""
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
