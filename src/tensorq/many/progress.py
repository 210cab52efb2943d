"""What is shown while several runs train: a table in a terminal, lines elsewhere, JSON for a program, or nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tensorq.config import Config
from tensorq.observers.progress import Mode, chosen_mode
from tensorq.paths import shown
from tensorq.runs.directory import finite_number
from tensorq.show.numbers import format_number, format_return

if TYPE_CHECKING:
    from rich.console import RenderableType

_MOST_ROWS = 16  # of runs that train, in the table


class ManyProgress:
    """Is told of the events of several runs, and shows them."""

    def __init__(self, mode: Mode, summary: Callable[[Counter[str]], str], *, ends: bool = True) -> None:
        """Show runs; `summary` makes a line from how many are training, finished, failed and stopped.

        Without `ends`, no line says that a run has ended.
        """
        self._mode, self._stream = chosen_mode(mode)
        self._rows: dict[str, _Row] = {}
        self._summary, self._ends = summary, ends
        self._live = self._make_live() if self._mode == "live" else None

    def begin(self, name: str, config: Config) -> None:
        """Show a run of this name from now on."""
        self._rows[name] = _Row(config)

    def __call__(self, name: str, event: dict[str, Any]) -> None:
        """Show one event of the run of this name."""
        if self._mode == "json":
            self._stream.write(json.dumps({"run": name, **event}, allow_nan=False) + "\n")
        row = self._rows.get(name)
        if row is None or self._mode in ("json", "quiet"):
            return
        row.take(event)
        if event["event"] == "message" and event["kind"] == "warning":
            self.write(f"{name}: warning: {event['text']}")
        elif event["event"] == "ended" and self._ends:
            reason = f": {event['text']}" if event["how"] == "failed" else ""
            self.write(f"{name} {event['how']}{reason or row.outcome}")
        if self._live is not None and not self._live.is_started:
            self._live.start()

    def write(self, text: str) -> None:
        """Write a line that stays."""
        if self._live is not None:
            self._live.console.print(shown(text), soft_wrap=True)
        elif self._mode == "plain":
            self._stream.write(f"{shown(text)}\n")

    def close(self) -> None:
        """Restore the terminal."""
        if self._live is not None and self._live.is_started:
            self._live.stop()

    def _make_live(self) -> Any:
        from typing import TextIO, cast

        from rich.console import Console
        from rich.live import Live

        file = cast(TextIO, self._stream)
        console = Console(file=file, force_terminal=True, highlight=False, markup=False, emoji=False)
        return Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        from tensorq.show.tables import new_table

        rows = [(name, row) for name, row in self._rows.items() if row.how == "training"]
        table = new_table("run", "", right=("steps", "mean return", "best greedy", "steps/s"))
        for name, row in rows[:_MOST_ROWS]:
            bar = ProgressBar(1.0, row.fraction, width=20, complete_style="cyan")
            table.add_row(name, bar, f"{row.steps:,}", row.mean_return, row.best_return, row.speed)
        line = self._summary(Counter(row.how for row in self._rows.values()))
        return Group(table, Text(line, style="dim"))


class _Row:
    """The state of one run."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.how, self.steps, self.fraction = "training", 0, 0.0
        self.mean_return = self.best_return = self.speed = ""
        self.outcome = ""

    def take(self, event: dict[str, Any]) -> None:
        """Take an event, as JSON has it."""
        if event["event"] == "ended":
            self.how = event["how"]
        elif event["event"] == "finished":
            result = event["result"]
            best, seconds = result.get("best") or {}, finite_number(result.get("seconds")) or 0.0
            self.outcome = (
                f": best greedy return {format_return(best.get('mean_return'))}, "
                f"{result.get('steps', 0):,} steps in {seconds:.1f} s"
            )
        elif event["event"] == "progress":
            config = self._config
            self.steps = event["steps"]
            done = [self.steps / config.steps, *([event["episodes"] / config.episodes] if config.episodes else [])]
            self.fraction = min(1.0, max(done))
            self.mean_return, self.best_return = (format_return(event[name]) for name in ("mean_return", "best_return"))
            self.speed = format_number(event["steps_per_second"], ",.0f")
