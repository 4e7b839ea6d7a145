"""What the launcher prints: each node's lines with its name in front, in colour on a terminal, and its own notices."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TextIO

from roost.config import Config

OWN_NAME = "roost"
COLOURS = ("36", "33", "35", "32", "34", "31", "96", "93", "95", "92", "94", "91")
"""ANSI foreground colours of the nodes, in turn: cyan, yellow, magenta, green, blue, red, and their bright forms."""


class Screen:
    """The launcher's output.

    Args:
        out: where everything goes.
        names: the short names of all nodes.
        environ: NO_COLOR in it turns colours off, as https://no-color.org has it.
    """

    def __init__(self, out: TextIO, names: Sequence[str], environ: Mapping[str, str] = os.environ) -> None:
        self._out = out
        self.colourful = out.isatty() and "NO_COLOR" not in environ and environ.get("TERM") != "dumb"
        width = max(map(len, (OWN_NAME, *names)))
        self._prefixes = {OWN_NAME: self._paint(f"{OWN_NAME:{width}} |", "1")}
        for index, name in enumerate(names):
            self._prefixes[name] = self._paint(f"{name:{width}} |", COLOURS[index % len(COLOURS)])

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colourful else text

    def line(self, name: str, text: str) -> None:
        """Print one line of the node `name`.

        Raises:
            OSError: when nobody reads any more.
        """
        self._out.write(f"{self._prefixes[name]} {text}\n")
        self._out.flush()

    def notice(self, text: str) -> None:
        """Print one line of the launcher itself. Raises as `line` does."""
        self.line(OWN_NAME, text)

    def banner(self, title: str, nodes: Sequence[Config], pids: Sequence[int]) -> None:
        """Print the table of nodes and their addresses. Raises as `line` does."""
        rows = [("node", "web", "node link", "process")]
        rows += [
            (node.name, f"http://{node.web}/" if node.web else "-", str(node.listen or "-"), str(pid))
            for node, pid in zip(nodes, pids, strict=True)
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "   ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        rule = "-" * max(map(len, lines))
        text = "\n  ".join((lines[0], rule, *lines[1:]))
        self._out.write(f"\n  {self._paint(title, '1')}\n\n  {text}\n\n")
        if nodes and nodes[0].web:
            self._out.write(f"  open {self._paint(f'http://{nodes[0].web}/', '4')}  (Ctrl-C stops everything)\n\n")
        self._out.flush()
