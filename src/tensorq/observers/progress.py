"""Observers of a run's events: live in a terminal, plain lines in a file, JSON lines for a program, or nothing.

They never stop a run: if their output cannot be written (a closed pipe, a full disk), the output is lost.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Literal, TextIO, cast

from tensorq.errors import TensorqError
from tensorq.events import RECENT_EPISODES, Event, Finished, Message, Progress, Started
from tensorq.observers.summary import summary
from tensorq.paths import shown
from tensorq.runs.directory import LARGEST, finite_number, plain_data
from tensorq.show.numbers import format_number, format_return

if TYPE_CHECKING:
    from rich.console import RenderableType

Mode = Literal["auto", "live", "plain", "json", "quiet"]

_SPARK_COLUMNS, _SPARK_EPISODES, _RECENT_EVENTS = 24, 240, 20
_MEAN_RETURN = f"mean return: last {RECENT_EPISODES} training episodes"  # fits beside the sparkline in 80 columns
_PLAIN_LINES, _PLAIN_PERIOD_SECONDS = 10, 10.0


class SafeStream:
    """A text stream that replaces letters which its encoding lacks, and drops text that cannot be written."""

    def __init__(self, stream: TextIO | None) -> None:
        """Write to this stream, or nowhere: sys.stdout is None if it was closed."""
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.unicode = self.encoding.lower().startswith("utf")

    def write(self, text: str) -> int:
        """Write text at once; returns its length."""
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed
                self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
                self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Do nothing, as all is written."""


class ProgressObserver:
    """The base of all: takes events and shows nothing. Errors are exceptions, which the caller prints."""

    def __init__(self, stream: SafeStream) -> None:
        """Write to this stream."""
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Take one event."""

    def close(self) -> None:
        """Restore the terminal; may be called at any time, and more than once."""


_KINDS = ("live", "plain", "json", "quiet")


def observer(mode: Mode = "auto", stream: TextIO | None = None) -> ProgressObserver:
    """Return an observer that writes to `stream` (stdout); "auto" is live in a terminal and plain elsewhere."""
    chosen, safe = chosen_mode(mode, stream)
    kinds = dict(zip(_KINDS, (LiveObserver, PlainObserver, JsonObserver, ProgressObserver), strict=True))
    return kinds[chosen](safe)


def chosen_mode(mode: Mode, stream: TextIO | None = None) -> tuple[Mode, SafeStream]:
    """The mode, in place of "auto" live in a terminal and plain elsewhere, and the stream to write to (stdout)."""
    stream = sys.stdout if stream is None else stream
    if mode == "auto":
        # Not rich's own check: with FORCE_COLOR it takes a file for a terminal.
        terminal = stream is not None and not stream.closed and stream.isatty()
        mode = "live" if terminal and os.environ.get("TERM") not in ("dumb", "unknown") else "plain"
    if mode not in _KINDS:
        raise TensorqError(f"unknown progress mode {mode!r}: expected auto, {', '.join(_KINDS)}")
    return mode, SafeStream(stream)


class JsonObserver(ProgressObserver):
    """One JSON object a line: "event" is the kind of event in small letters, the rest are the event's fields."""

    def __call__(self, event: Event) -> None:
        """Write one line."""
        fields = plain_data(event)
        fields.update(fields.pop("metrics", {}))
        self._stream.write(json.dumps({"event": type(event).__name__.lower(), **fields}, allow_nan=False) + "\n")


class TextObserver(ProgressObserver):
    """The base of the plain and the live one: the status of the run, and the lines that stay."""

    def __init__(self, stream: SafeStream) -> None:
        """Write to this stream; nothing is shown before the first event."""
        super().__init__(stream)
        self._status: Status | None = None  # while the run trains

    def __call__(self, event: Event) -> None:
        """Remember what is new; write notes, warnings and the summary."""
        if isinstance(event, Message) and event.kind != "activity":
            self._write(f"warning: {event.text}" if event.kind == "warning" else event.text)
        elif isinstance(event, Started):
            self._status = Status(event, self._stream.unicode)
        elif isinstance(event, Progress) and self._status is not None:
            self._status.take(event)
        elif isinstance(event, Finished) and self._status is not None:
            first, *others = summary(event, self._status.started)
            self._status = None
            self.close()
            self._write(f"\n{first}", "bold green")
            self._write("\n".join(others))

    def _write(self, text: str, style: str = "") -> None:
        self._stream.write(f"{shown(text)}\n")


class PlainObserver(TextObserver):
    """Lines for a file or a pipe: about ten in a run, more in a run of hours."""

    def __call__(self, event: Event) -> None:
        """Write a line at each tenth of the run, or after a pause."""
        super().__call__(event)
        status, now = self._status, time.monotonic()
        if isinstance(event, Message) and event.kind == "activity":
            self._write(event.text)
        elif isinstance(event, Started) and status is not None:
            self._begin, self._last, self._tenth = now, now, int(_PLAIN_LINES * status.fraction)
            self._write(f"training {status.title}, run folder {event.run_dir}\n{_MEAN_RETURN}")
        elif isinstance(event, Progress) and status is not None:
            tenth = int(_PLAIN_LINES * status.fraction)
            # The pause grows with the run, so that a run of a night has about sixty lines, not thousands.
            if tenth > self._tenth or now - self._last > max(_PLAIN_PERIOD_SECONDS, 0.1 * (now - self._begin)):
                self._tenth, self._last = tenth, now
                self._write(status.line())


class LiveObserver(TextObserver):
    """A panel that a thread of rich redraws in place, and a summary at the end."""

    def __init__(self, stream: SafeStream) -> None:
        """Write to this stream as to a terminal, whatever it is."""
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        super().__init__(stream)
        file = cast(TextIO, stream)
        console = Console(file=file, force_terminal=True, highlight=False, markup=False, emoji=False)
        self._spinner = Spinner("dots" if stream.unicode else "line", style="cyan")
        self._activity: list[RenderableType] = []  # the spinner, or nothing
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8, transient=True)

    def __call__(self, event: Event) -> None:
        """Show the panel, from the first event on."""
        from rich.text import Text

        if isinstance(event, Message) and event.kind == "activity":
            self._spinner.update(text=Text(event.text, no_wrap=True, overflow="ellipsis"))
            self._activity = [self._spinner]
        elif isinstance(event, Progress):
            self._activity = []
        if not isinstance(event, Finished):
            self._live.start()
        super().__call__(event)

    def close(self) -> None:
        """Clear the panel; a run that was interrupted leaves one line with its status."""
        if self._live.is_started:
            self._live.stop()
            if self._status is not None and self._status.values:
                self._write(self._status.line())

    def _write(self, text: str, style: str = "") -> None:
        self._live.console.print(shown(text), style=style, soft_wrap=True)

    def _render(self) -> RenderableType:
        from rich.columns import Columns
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Column, Table
        from rich.text import Text

        status = self._status
        if status is None:
            return Group(*self._activity)
        bar = Table.grid(Column(ratio=1), Column(justify="right", no_wrap=True), expand=True, padding=(0, 1))
        bar.add_row(ProgressBar(1.0, status.fraction, complete_style="cyan"), f"{status.done}  {status.left}")
        sparkline = Text.assemble(("returns ", "dim"), (status.sparkline, "cyan"), (f"  {_MEAN_RETURN}", "dim"))
        # Padded, so that the columns stay where they are while numbers become longer.
        values = [Text.assemble((f"{name} ", "dim"), f"{value:<11}") for name, value in status.values.items()]
        for text in (sparkline, *values):
            text.no_wrap, text.overflow = True, "ellipsis"
        return Panel(
            Group(bar, sparkline, Columns(values, equal=True, expand=True), *self._activity),
            title=Text(f" {status.title} "), subtitle=Text(f" {shown(status.started.run_dir)} ", "dim"),
            title_align="left", subtitle_align="left", border_style="dim",
        )  # fmt: skip


class Status:
    """The status of a run that trains, as text."""

    def __init__(self, started: Started, unicode: bool) -> None:
        """Begin with what is known at the start."""
        config, goal = started.config, finite_number(started.solved_return)
        separator, self._sparks = (" · ", "▁▂▃▄▅▆▇█") if unicode else (", ", "_.-=+*%#")
        parts = [config.environment_name, f"preset {config.preset}", f"seed {config.seed}", f"{started.loop} loop"]
        self.started = started
        self.title = separator.join([*parts, *([] if goal is None else [f"solved at {goal:g}"])])
        self.sparkline, self.values = "", dict[str, str]()
        self._recent: deque[Progress] = deque(maxlen=_RECENT_EVENTS)
        self._returns: deque[float] = deque(maxlen=_SPARK_EPISODES)
        self._low, self._high = math.inf, -math.inf
        self._count(started.steps_done, 0, None)

    def take(self, event: Progress) -> None:
        """Update the status."""
        self._recent.append(event)
        first, speed = self._recent[0], finite_number(event.steps_per_second)
        if event.seconds > first.seconds:  # else the mean since the start, which includes compiling
            speed = (event.steps - first.steps) / (event.seconds - first.seconds)
        self._count(event.steps, event.episodes, speed)
        self.sparkline = self._draw(event.new_returns)
        self.values = {
            "mean return": format_return(event.mean_return),
            "best greedy": format_return(event.best_return),
            "epsilon": format_number(event.epsilon, ".3f"),
            "loss": format_number(event.loss, ".2g"),
            "mean Q": format_number(event.mean_q, ".4g"),
            "steps/s": format_number(speed, ",.0f"),
        }

    def _count(self, steps: int, episodes: int, speed: float | None) -> None:
        """Set the share done of the limit that will end the run, and the time that the rest takes at this speed."""
        config = self.started.config
        limits = [(episodes, config.episodes, "episodes"), (steps, config.steps, "steps")]
        done, limit, unit = max((each for each in limits if each[1]), key=lambda each: each[0] / each[1])
        self.fraction, self.done, self.left = min(done / limit, 1.0), f"{done:,} / {limit:,} {unit}", ""
        if speed and speed > 0 and done:
            minutes, seconds = divmod(round(max(limit - done, 0) / done * steps / speed), 60)
            self.left = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left"

    def line(self) -> str:
        """The status in one line."""
        values = [f"{name} {value:<6}" for name, value in self.values.items()]
        return "  ".join([f"{self.done:<22}", *values, self.left]).rstrip()

    def _draw(self, new_returns: Sequence[float]) -> str:
        """Recent training returns: each column is a mean of a few, scaled from the lowest to the highest of the run."""
        new = [float(value) for value in new_returns if abs(value) < LARGEST]
        self._low, self._high = min([self._low, *new]), max([self._high, *new])
        self._returns.extend(new)
        returns, span = list(self._returns), self._high - self._low or 1
        width = math.ceil(len(returns) / _SPARK_COLUMNS) or 1
        means = [fmean(returns[first : first + width]) for first in range(0, len(returns), width)]
        return "".join(self._sparks[round((mean - self._low) / span * (len(self._sparks) - 1))] for mean in means)
