"""The command line. Commands import what they need when they run, so that `roost --help` answers at once.

A mistake of the user is one line on standard error, which says what is wrong and what to do, and exit code 2. Exit
code 1 means that a cluster could not be reached, or failed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

import roost
from roost.errors import ConfigError, RoostError

EXIT_UNREACHABLE = 1
EXIT_MISTAKE = 2

Format = Literal["table", "json", "csv"]
NodesFlag = Annotated[int, typer.Option("--nodes", metavar="N", help="How many nodes, each a process of its own.")]
PortFlag = Annotated[
    int, typer.Option("--port", metavar="P", help="The first web port; nodes link at P + 100, P + 101, ...")
]
DataFlag = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where the data is kept; .roost/NAME when left out."),
]
FormatFlag = Annotated[Format, typer.Option("--format", help="How the answer is written.")]
ClusterFlag = Annotated[
    str | None, typer.Option("--cluster", metavar="NAME", help="Which cluster, when several run; else the newest.")
]
NodeFlag = Annotated[str | None, typer.Option("--node", metavar="NAME", help="Which node to ask; else any.")]

app = typer.Typer(
    name="roost",
    help="Stateful, distributed, fault-tolerant, real-time web applications.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        print(f"roost {roost.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def demo(nodes: NodesFlag = 3, port: PortFlag = 4000, data: DataFlag = None) -> None:
    """Run the demo: a chat, a store and the ring.

    It is a cluster on this machine, in this terminal; Ctrl-C stops all of it.
    """
    _launch("roost.demo.app:app", "demo", nodes, port, data)


@app.command()
def run(
    target: Annotated[str, typer.Argument(metavar="MODULE:ATTR", help="The application, such as chat:app.")],
    nodes: NodesFlag = 3,
    port: PortFlag = 4000,
    data: DataFlag = None,
) -> None:
    """Run your application as a cluster.

    All of its nodes run on this machine, in this terminal; Ctrl-C stops them.
    """
    from roost.ops.plan import split_target

    module, _ = split_target(target)
    _launch(target, module.rpartition(".")[2], nodes, port, data)


@app.command("member-status")
def member_status(form: FormatFlag = "table", cluster: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Show the members of the running cluster.

    Who is up, and for whom; who owns how much of the ring.
    """
    _ask("member-status", form, cluster, node)


@app.command("ring-status")
def ring_status(form: FormatFlag = "table", cluster: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Show the ring of the running cluster.

    Whether all nodes agree on it, who owns how many partitions, which data waits for its node.
    """
    _ask("ring-status", form, cluster, node)


@app.command("process-tree")
def process_tree(form: FormatFlag = "table", cluster: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Show the processes of one node.

    Each below the one that started it, with what it does and how much mail waits for it.
    """
    _ask("process-tree", form, cluster, node)


@app.command("process-info")
def process_info(
    process: Annotated[str, typer.Argument(metavar="NAME", help="Its name, or its number in process-tree.")],
    form: FormatFlag = "table",
    cluster: ClusterFlag = None,
    node: NodeFlag = None,
) -> None:
    """Show one process of one node.

    What it does, whom it waits for, who started it, what it is linked with, how much it holds.
    """
    _ask("process-info", form, cluster, node, process)


def _launch(target: str, cluster: str, nodes: int, port: int, data: Path | None) -> NoReturn:
    from roost.ops.launcher import launch

    folder = data if data is not None else Path(".roost") / cluster
    sys.exit(launch(target, cluster, nodes, port, folder))


def _ask(command: str, form: Format, cluster: str | None, node: str | None, about: str = "") -> None:
    from roost.ops.operator import ask

    print(ask(command, form, cluster, node, os.environ, about))


def main() -> NoReturn:
    """The `roost` command: run it and exit."""
    try:
        code = app(standalone_mode=False)
    except ConfigError as error:
        _fail(str(error), EXIT_MISTAKE)
    except RoostError as error:
        _fail(str(error), EXIT_UNREACHABLE)
    except typer.TyperException as error:
        _fail(f"{error.format_message().rstrip('.')}: see roost --help", EXIT_MISTAKE)
    except (KeyboardInterrupt, typer.Abort):
        _leave(130)
    except BrokenPipeError:
        _leave(EXIT_UNREACHABLE)
    _leave(code if isinstance(code, int) else 0)


def _fail(text: str, code: int) -> NoReturn:
    line = " ".join(text.split())
    try:
        print(f"roost: {line}", file=sys.stderr)
    except OSError:
        _leave(code)
    _leave(code)


def _leave(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError:
        # Nobody reads any more. Without this, the interpreter tries again at exit and complains about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
