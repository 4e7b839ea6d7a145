"""Plain tables in Riak's style: 79 columns, a banner, columns that fit what is in them, a rule, a closing line."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 79


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
