"""Tables in a terminal, or in a pipe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_PIPE_COLUMNS = 200  # a pipe has no width, and lines cut at 80 columns would lose text


def new_table(*left: str, right: Iterable[str]) -> Table:
    """An empty table with these headings; the columns on the right hold numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def print_table(table: Table) -> None:
    """Print a table."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    console.print(table)
