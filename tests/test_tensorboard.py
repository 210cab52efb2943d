"""TensorBoard's event files, read back by TensorBoard itself."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import pytest

import tensorq as tq
from tensorq.observers import tensorboard
from tensorq.observers.tensorboard import TensorBoard


def test_a_checksum_is_crc32c_masked() -> None:
    # RFC 3720, B.4: the CRC-32C of 32 zeros is 0x8A9136AA; masked, that is rotated by 15 bits, plus 0xA282EAD8.
    rotated = (0x8A9136AA >> 15 | 0x8A9136AA << 17) & 0xFFFFFFFF
    assert int.from_bytes(tensorboard._checksum(bytes(32)), "little") == (rotated + 0xA282EAD8) % 2**32


def test_a_number_that_float32_does_not_hold_stops_no_run() -> None:
    assert [struct.unpack("<f", tensorboard._float32(value)) for value in (-1e300, 1e300)] == [
        (-math.inf,),
        (math.inf,),
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_tensorboard_reads_what_a_run_and_its_resume_have_written(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    settings: dict[str, Any] = {
        "steps": 400,
        "hidden_sizes": (4,),
        "learning_starts_steps": 100,
        "evaluation_episodes": 2,
    }
    settings |= {"progress": "quiet", "log_period_steps": 100}
    run = tq.train("CartPole-v1", run_dir=tmp_path / "run", observers=[TensorBoard()], **settings)
    tq.resume(run, steps=600, progress="quiet", observers=[TensorBoard()])
    found = reader.EventAccumulator(str(run.path / "tensorboard"))
    found.Reload()
    for name in ("loss", "mean_q", "mean_return", "epsilon"):
        rows = zip(run.metrics["steps"], run.metrics[name], strict=True)
        written = [(steps, value) for steps, value in rows if value == value]  # NaN is an empty cell
        read = [(event.step, pytest.approx(event.value, rel=1e-6)) for event in found.Scalars(name)]
        assert written == read and read[-1][0] == 600
    plugin = found.summary_metadata["_hparams_/session_start_info"].plugin_data
    kept = HParamsPluginData.FromString(plugin.content).session_start_info.hparams
    assert kept["learning_starts_steps"].number_value == 100 and kept["env"].string_value == "CartPole-v1"
    assert kept["double"].bool_value is True
