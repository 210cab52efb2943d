"""What a run that was stopped says: how to go on with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from tensorq.runs.directory import python_arguments


def how_to_resume(run_dir: Path, steps: int, needs: Sequence[str], named: str | None) -> str:
    """Which call goes on with a run, or which command too, and from where; `needs` and `named` as Started has them."""
    how = f"tq.resume({python_arguments(run_dir, needs)})"
    if named is not None:
        how = f"`tensorq resume {shlex.quote(str(run_dir))}{named}`, or {how} in Python,"
    return f"{how} goes on from step {steps:,}"


class Stopped(KeyboardInterrupt):
    """The user stopped a run that can go on later. No Exception: a loop over seeds that outlives those has to end.

    `run_dir` is the run's folder, `steps` where it will go on.
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
        """Name the run, its last step, the signal that ended it, how Started says to go on, and whether it is finished.

        A finished run was only being drawn.
        """
        run = shlex.quote(str(run_dir))
        look = f"; `tensorq plot {run}` draws how far it came" if steps else ""
        text = f"stopped; {how_to_resume(run_dir, steps, needs, named)}{look}"
        if finished:
            text = f"stopped; the run is finished, without all of its pictures: `tensorq plot {run}` draws its curve"
        super().__init__(text)
        self.run_dir, self.steps, self.exit_code = run_dir, steps, 128 + signal_number
