"""What many commands of the command line share: their flags, and how they ask a running cluster."""

from __future__ import annotations

import os
from typing import Annotated, Final, Literal

import typer

Format = Literal["table", "json", "csv"]
FormatFlag = Annotated[Format, typer.Option("--format", help="How the answer is written.")]
ClusterFlag = Annotated[
    str | None, typer.Option("--cluster", metavar="NAME", help="Which cluster, when several run; else the newest.")
]
NodeFlag = Annotated[str | None, typer.Option("--node", metavar="NAME", help="Which node to ask; else any.")]

EXIT_NOT_SO: Final = 1
"""The cluster is not as the script wants it."""


def ask(command: str, form: Format, cluster: str | None, node: str | None, **arguments: object) -> None:
    """Ask a running cluster, and print its answer.

    Args:
        command: a name of `roost.ops.console.COMMANDS`.
        form: how the answer is written.
        cluster, node: who is asked.
        arguments: those of the command's question.
    """
    import msgspec

    from roost.ops.console import COMMANDS
    from roost.ops.operator import ask as ask_running
    from roost.ops.operator import find

    question = msgspec.convert({"command": command, **arguments}, COMMANDS[command].question)
    show(*ask_running(question, form, find(cluster, node, os.environ)))


def show(text: str, is_well: bool) -> None:
    """Print an answer; end with EXIT_NOT_SO when it is not what a script hopes for."""
    print(text)
    if not is_well:
        raise typer.Exit(EXIT_NOT_SO)
