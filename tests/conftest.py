"""What every test needs: a quiet TensorFlow of one thread, as in a run, and examples that are the same every time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs in the background with it ignored
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read by TensorFlow while it is imported
hypothesis.settings.register_profile("tensorq", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("tensorq")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Set the threads before the first test, and only where a test module imported TensorFlow: it takes seconds."""
    if tf := sys.modules.get("tensorflow"):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Where nothing may be left out, a test that is skipped fails; it says why."""
    report = yield
    if report.skipped and os.environ.get("TENSORQ_NO_SKIPS"):
        report.outcome = "failed"
    return report
