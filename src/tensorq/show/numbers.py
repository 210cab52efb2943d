"""Numbers that may be missing or not finite, as text."""

from __future__ import annotations

from typing import Any

from tensorq.runs.directory import finite_number


def format_number(value: Any, form: str) -> str:
    """The number as text, or "-" if there is none."""
    number = finite_number(value)
    return "-" if number is None else format(number, form)


def format_bytes(count: float) -> str:
    """A size in three digits: 66.3 MB."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    power = next((power for power in range(len(units) - 1) if count < 999.5 * 1000**power), len(units) - 1)
    return f"{count / 1000**power:.3g} {units[power]}"


def format_return(value: Any) -> str:
    """A return as text with one decimal, or two if it is below 10."""
    number = finite_number(value)
    return format_number(number, ".1f" if number is None or abs(number) >= 10 else ".2f")
