"""Observers of a run's events: live in a terminal, plain lines in a file, JSON lines for a program, or nothing.

An observer never stops a training: when nobody can read any more (a closed pipe, a full disk) it falls silent.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TextIO, cast

from tensorq.errors import TensorqError
from tensorq.events import RECENT_EPISODES, Event, Finished, Message, Progress, Started
from tensorq.paths import shown
from tensorq.runs.directory import finite_number, plain_data
from tensorq.show.numbers import format_number, format_return
from tensorq.show.summary import summary

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

Mode = Literal["auto", "live", "plain", "json", "quiet"]

_SPARKS, _ASCII_SPARKS = "▁▂▃▄▅▆▇█", "_.-=+*%#"
_SPARK_COLUMNS, _SPARK_EPISODES, _RECENT_EVENTS = 24, 240, 20
_REFRESHES_PER_SECOND = 8
_MEAN_RETURN = f"mean return: of the last {RECENT_EPISODES} training episodes"
_MEAN_RETURN_IN_SHORT = f"mean return: last {RECENT_EPISODES} episodes"  # fits into 80 columns, beside the sparkline
_PLAIN_LINES, _PLAIN_PERIOD_SECONDS = 10, 10.0


class ProgressObserver:
    """Takes events and, as it stands, shows nothing: errors are exceptions, and whoever calls prints them."""

    def __init__(self, stream: _SafeStream) -> None:
        """Write to this stream."""
        self._stream = stream
        self._status = _Status(stream.unicode)

    def __call__(self, event: Event) -> None:
        """Take one event."""

    def close(self) -> None:
        """Give the terminal back; may be called at any time, and more than once."""


def observer(mode: Mode = "auto", stream: TextIO | None = None) -> ProgressObserver:
    """Return an observer that writes to `stream` (stdout); "auto" is live in a terminal and plain elsewhere."""
    target = _SafeStream(sys.stdout if stream is None else stream)
    if mode == "auto":
        # Not rich's own opinion: FORCE_COLOR makes it take a file for a terminal.
        mode = "live" if target.isatty() and os.environ.get("TERM") not in ("dumb", "unknown") else "plain"
    kinds = {"live": LiveObserver, "plain": PlainObserver, "json": JsonObserver, "quiet": ProgressObserver}
    if mode not in kinds:
        raise TensorqError(f"unknown progress mode {mode!r}: expected auto, {', '.join(kinds)}")
    return kinds[mode](target)


class JsonObserver(ProgressObserver):
    """One JSON object a line: "event" is the kind of event in small letters, the rest are the event's fields."""

    def __call__(self, event: Event) -> None:
        """Write one line."""
        fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
        fields.update(fields.pop("metrics", {}))
        line = json.dumps({"event": type(event).__name__.lower(), **plain_data(fields)}, allow_nan=False)
        self._stream.write_line(line)


class PlainObserver(ProgressObserver):
    """Lines for a file or a pipe: some ten in a run, more in a run of hours."""

    def __init__(self, stream: _SafeStream) -> None:
        """Write to this stream."""
        super().__init__(stream)
        self._begin = self._last = time.monotonic()
        self._tenth = 0

    def __call__(self, event: Event) -> None:
        """Write a line when there is something worth one."""
        self._status.take(event)
        if isinstance(event, Message):
            self._stream.write_line(shown(_told(event)))
        elif isinstance(event, Started):
            self._begin = self._last = time.monotonic()
            self._tenth = int(_PLAIN_LINES * self._status.fraction)
            self._stream.write_line(f"training {self._status.title}, run folder {shown(event.run_dir)}")
            self._stream.write_line(_MEAN_RETURN)
        elif isinstance(event, Finished):
            self._stream.write_line(shown("\n".join(["", *summary(event, self._status.started)])))
        elif isinstance(event, Progress):
            tenth, now = int(_PLAIN_LINES * self._status.fraction), time.monotonic()
            # The pause grows with the run, so that a night is told in some sixty lines and not in thousands.
            if tenth > self._tenth or now - self._last > max(_PLAIN_PERIOD_SECONDS, 0.1 * (now - self._begin)):
                self._tenth, self._last = tenth, now
                self._stream.write_line(self._status.line())


class LiveObserver(ProgressObserver):
    """A panel that is redrawn in place, and a summary at the end."""

    def __init__(self, stream: _SafeStream) -> None:
        """Write to this stream; nothing is shown before the first event."""
        super().__init__(stream)
        self._live: Live | None = None
        self._finished = False

    def __call__(self, event: Event) -> None:
        """Remember what is new; a thread of rich redraws the panel."""
        self._status.take(event)
        if isinstance(event, Finished):
            self._finished = True
            console = self._start().console
            self.close()
            for number, line in enumerate(summary(event, self._status.started)):
                console.print(shown(line), style="bold green" if number == 0 else "", soft_wrap=True)
            return
        console = self._start().console
        if isinstance(event, Message) and event.kind != "activity":
            console.print(shown(_told(event)), soft_wrap=True)

    def close(self) -> None:
        """Clear the panel; a run that was interrupted leaves one line that says how far it came."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()
            if not self._finished and self._status.progress is not None:
                self._stream.write_line(self._status.line())

    def _start(self) -> Live:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        if self._live is None:
            file = cast(TextIO, self._stream)
            console = Console(file=file, force_terminal=True, highlight=False, markup=False, emoji=False)
            self._width = console.width
            self._spinner = Spinner("dots" if self._stream.unicode else "line", style="cyan")
            self._live = Live(
                get_renderable=self._render, console=console, refresh_per_second=_REFRESHES_PER_SECOND, transient=True
            )
            self._live.start()
        return self._live

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        status, spinner = self._status, self._spinner
        if status.activity is not None:
            spinner.update(text=Text(status.activity, overflow="ellipsis", no_wrap=True))
        if status.started is None:
            return spinner if status.activity is not None else Text()
        bar = Table.grid(expand=True, padding=(0, 1))
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        bar.add_row(
            ProgressBar(total=1.0, completed=status.fraction, complete_style="cyan"), f"{status.done}  {status.left}"
        )
        cells = [Text.assemble((f"{name} ", "dim"), value) for name, value in status.values()]
        width = 3 if self._width >= 76 else 1 + (self._width >= 48)
        grid = Table.grid(expand=True, padding=(0, 1))
        for _ in range(width):
            grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for first in range(0, len(cells), width):
            grid.add_row(*cells[first : first + width])
        sparkline = Text.assemble(
            ("returns ", "dim"), (status.sparkline(), "cyan"), (f"  {_MEAN_RETURN_IN_SHORT}", "dim"), no_wrap=True,
            overflow="ellipsis",
        )  # fmt: skip
        parts: list[RenderableType] = [bar, sparkline, grid, *([spinner] if status.activity is not None else [])]
        return Panel(
            Group(*parts), title=Text(f" {status.title} "),
            subtitle=Text(f" {shown(status.started.run_dir)} ", "dim"),
            title_align="left", subtitle_align="left", border_style="dim",
        )  # fmt: skip


class _Status:
    """What is known of a run by now, and how to say it."""

    def __init__(self, unicode: bool) -> None:
        self.started: Started | None = None
        self.progress: Progress | None = None
        self.activity: str | None = None
        self._unicode = unicode
        self._returns: deque[float] = deque(maxlen=_SPARK_EPISODES)
        self._low, self._high = math.inf, -math.inf
        self._times: deque[tuple[float, int]] = deque(maxlen=_RECENT_EVENTS)

    def take(self, event: Event) -> None:
        if isinstance(event, Message):
            self.activity = event.text if event.kind == "activity" else self.activity
        elif isinstance(event, Started):
            self.started = event  # "compiling ..." goes on until the first progress
        elif isinstance(event, Progress):
            self.progress, self.activity = event, None
            self._times.append((event.seconds, event.steps))
            returns = [float(value) for value in event.new_returns if math.isfinite(value)]
            self._returns.extend(returns)
            self._low, self._high = min([self._low, *returns]), max([self._high, *returns])

    @property
    def steps(self) -> int:
        if self.progress is not None:
            return self.progress.steps
        return 0 if self.started is None else self.started.steps_done

    @property
    def fraction(self) -> float:
        """How much is done, by steps or by episodes, whichever is nearer to its end."""
        if self.started is None:
            return 0.0
        config = self.started.config
        shares = [self.steps / max(config.steps, 1)]
        if config.episodes > 0 and self.progress is not None:
            shares.append(self.progress.episodes / config.episodes)
        return min(max(shares), 1.0)

    @property
    def title(self) -> str:
        if self.started is None:
            return ""
        config = self.started.config
        goal = finite_number(self.started.solved_return)
        arguments = [f"{name}={value}" for name, value in config.env_args.items()]
        parts = [
            " ".join([config.env, *arguments]),
            f"preset {config.preset}",
            f"seed {config.seed}",
            f"{self.started.loop} loop",
        ]
        parts += [] if goal is None else [f"solved at {goal:g}"]
        return (" · " if self._unicode else ", ").join(parts)

    @property
    def done(self) -> str:
        """How far it is."""
        if self.started is None:
            return f"{self.steps:,} steps"
        config = self.started.config
        if config.episodes > 0:
            return f"{0 if self.progress is None else self.progress.episodes:,} / {config.episodes:,} episodes"
        return f"{self.steps:,} / {config.steps:,} steps"

    @property
    def left(self) -> str:
        """How long it will take, at the speed and with the episodes' length so far; "" while there is no telling."""
        now, speed = self.progress, self.steps_per_second
        if self.started is None or now is None or not speed or speed < 0:
            return ""
        config = self.started.config
        steps = config.steps - now.steps
        if config.episodes > 0:
            steps = min(steps, (config.episodes - now.episodes) * now.steps // max(now.episodes, 1))
        return f"{_duration(max(steps, 0) / speed)} left"

    @property
    def steps_per_second(self) -> float | None:
        """The speed of late: the mean since the start has the time in it that compiling took."""
        if self.progress is None:
            return None
        (first_seconds, first_steps), (seconds, steps) = self._times[0], self._times[-1]
        if seconds > first_seconds:
            return (steps - first_steps) / (seconds - first_seconds)
        return finite_number(self.progress.steps_per_second)

    def values(self) -> Iterator[tuple[str, str]]:
        """Names and values worth showing."""
        now = self.progress
        yield "mean return", format_return(now and now.mean_return)
        yield "best greedy", format_return(now and now.best_return)
        yield "epsilon", format_number(now and now.epsilon, ".3f")
        yield "loss", format_number(now and now.loss, ".2g")
        yield "mean Q", format_number(now and now.mean_q, ".4g")
        yield "steps/s", format_number(self.steps_per_second, ",.0f")

    def line(self) -> str:
        """All of it in one line."""
        return "  ".join(
            [f"{self.done:<22}", *(f"{name} {value:<6}" for name, value in self.values()), self.left]
        ).rstrip()

    def sparkline(self) -> str:
        """Recent training returns, each column the mean of a few, between the lowest and the highest of the run."""
        returns, sparks = list(self._returns), _SPARKS if self._unicode else _ASCII_SPARKS
        width = max(1, -(-len(returns) // _SPARK_COLUMNS))
        means = [sum(part) / len(part) for part in (returns[i : i + width] for i in range(0, len(returns), width))]
        span = self._high - self._low
        return "".join(
            sparks[round((mean - self._low) / span * (len(sparks) - 1)) if span > 0 else 0] for mean in means
        )


class _SafeStream:
    """A text stream that replaces what its encoding cannot say, and falls silent when it cannot be written to."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or io.StringIO()
        self._broken = stream is None  # as sys.stdout is where it was closed
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.unicode = self.encoding.lower().replace("-", "").startswith("utf")

    def write(self, text: str) -> int:
        if not self._broken:
            try:
                self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
            except (OSError, ValueError):  # ValueError: the stream is closed
                self._broken = True
        return len(text)

    def flush(self) -> None:
        if not self._broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._broken = True

    def isatty(self) -> bool:
        return not self._broken and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write_line(self, text: str) -> None:
        self.write(text + "\n")
        self.flush()


def _told(event: Message) -> str:
    return f"warning: {event.text}" if event.kind == "warning" else event.text


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds) // 60, round(seconds) // 3600
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {round(seconds) % 60:02d} s" if minutes else f"{round(seconds)} s"
