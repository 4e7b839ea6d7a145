"""Plain tables in Riak's style: 79 columns, a banner, columns that fit what is in them, a rule, a closing line."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

WIDTH = 79

Rows = tuple[Sequence[str], Sequence[Sequence[str]]]
"""A header and rows of as many cells, for programs."""


def banner(title: str) -> str:
    """The title in the middle of a line of "="; the odd column falls to the right, as in Riak."""
    text = f" {title} "
    left = max((WIDTH - len(text)) // 2, 0)
    return ("=" * left + text).ljust(WIDTH, "=")


def rule() -> str:
    """A line across."""
    return "-" * WIDTH


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), gap: int = 4) -> list[str]:
    """The header and the rows, each column as wide as its widest cell, `gap` blanks between them.

    Args:
        header: the names of the columns.
        rows: the cells; each row has as many as the header.
        right: the indices of the columns that line up on the right.
    """
    widths = [max(len(row[index]) for row in (header, *rows)) for index in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        parts = [
            f"{cell:>{width}}" if index in right else f"{cell:<{width}}"
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return (" " * gap).join(parts).rstrip()

    return [line(header), *map(line, rows)]


def csv_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The header and the rows as CSV, without a final line end."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def flag(value: bool) -> str:
    """ "true" or "false"."""
    return str(value).lower()


def count(number: int, what: str) -> str:
    """ "1 partition", "2 partitions"."""
    return f"{number} {what}" + "s" * (number != 1)


def size(bytes_: float) -> str:
    """How much that is, in the largest unit that leaves a whole number: "512 B", "1.2 MB"."""
    for unit in ("B", "KB", "MB", "GB"):
        if bytes_ < 1000 or unit == "GB":
            break
        bytes_ /= 1000
    return f"{bytes_:.0f} {unit}" if unit == "B" else f"{bytes_:.1f} {unit}"


def span(seconds: float) -> str:
    """How long that is: "12 s", "3 min 5 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {left} s"
    return f"{minutes // 60} h {minutes % 60} min"
