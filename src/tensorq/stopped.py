"""The exception of a stopped run, whose text says how to resume it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from tensorq.runs.directory import python_arguments


def how_to_resume(run_dir: Path, steps: int, needs: Sequence[str], named: str | None) -> str:
    """The call that resumes a run, the command if there is one, and the step. `needs` and `named` are as in Started."""
    how = f"tq.resume({python_arguments(run_dir, needs)})"
    if named is not None:
        how = f"`tensorq resume {shlex.quote(str(run_dir))}{named}`, or {how} in Python,"
    return f"{how} continues from step {steps:,}"


class Stopped(KeyboardInterrupt):
    """The user stopped a run, which can be resumed. Not an Exception: a loop over seeds that catches those must end.

    `run_dir` is the run's folder, `steps` the step from which it continues.
    """

    def __init__(
        self,
        run_dir: Path,
        steps: int,
        signal_number: int,
        needs: Sequence[str] = (),
        named: str | None = "",
        finished: bool = False,
    ) -> None:
        """Take the run's folder, its last step, the signal, `needs` and `named` as in Started, and whether it finished.

        A finished run was stopped while its pictures were drawn.
        """
        run = shlex.quote(str(run_dir))
        look = f"; `tensorq plot {run}` draws its curve so far" if steps else ""
        text = f"stopped; {how_to_resume(run_dir, steps, needs, named)}{look}"
        if finished:
            text = f"stopped; the run is finished, but not all pictures are drawn: `tensorq plot {run}` draws its curve"
        super().__init__(text)
        self.run_dir, self.steps, self.exit_code = run_dir, steps, 128 + signal_number


class StoppedRuns(KeyboardInterrupt):
    """The user stopped several runs. `run_dir` is their folder."""

    def __init__(self, run_dir: Path, how: str, signal_number: int) -> None:
        """Take the folder, how to go on, and the signal."""
        super().__init__(f"stopped; {how}")
        self.run_dir, self.exit_code = run_dir, 128 + signal_number
