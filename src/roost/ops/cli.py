"""The command line. Commands import what they need when they run, so that `roost --help` answers at once.

A mistake of the user is one line on standard error, which says what is wrong and what to do, and exit code 2. Exit
code 1 means that a cluster could not be reached, or failed, or is not as a script wants it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

import roost
from roost.errors import ChangeFailed, ConfigError, NotReachable, Refusal, RoostError, TransfersPending
from roost.ops.cluster_cli import cluster, handoff
from roost.ops.options import ClusterFlag, FormatFlag, NodeFlag, ask, show

EXIT_UNREACHABLE = 1
EXIT_MISTAKE = 2
WORLDLY = (ChangeFailed, NotReachable, TransfersPending)
"""Refusals that are not the operator's mistake: the same command may work later."""

NodesFlag = Annotated[
    int | None, typer.Option("--nodes", metavar="N", help="How many nodes, each a process of its own.")
]
PortFlag = Annotated[
    int | None, typer.Option("--port", metavar="P", help="The first web port; nodes link at P + 100, P + 101, ...")
]
DataFlag = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where the data is kept; .roost/NAME when left out."),
]
JoinFlag = Annotated[
    str | None,
    typer.Option("--join", metavar="WHERE", help="Join a running cluster: its name here, or HOST:PORT of a node."),
]
NameFlag = Annotated[str | None, typer.Option("--name", metavar="NAME", help="With --join: the first node's name.")]
AutoFlag = Annotated[bool, typer.Option("--auto", help="Let the new cluster commit joins by itself.")]

app = typer.Typer(
    name="roost",
    help="Stateful, distributed, fault-tolerant, real-time web applications.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(cluster)
app.add_typer(handoff)


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
def demo(
    nodes: NodesFlag = None,
    port: PortFlag = None,
    data: DataFlag = None,
    join: JoinFlag = None,
    name: NameFlag = None,
    auto: AutoFlag = False,
) -> None:
    """Run the demo: a chat, a store and the ring.

    It is a cluster on this machine, in this terminal; Ctrl-C stops all of it.
    """
    _launch("roost.demo.app:app", "demo", join, nodes=nodes, port=port, data=data, name=name, auto=auto)


@app.command()
def run(
    target: Annotated[str, typer.Argument(metavar="MODULE:ATTR", help="The application, such as chat:app.")],
    nodes: NodesFlag = None,
    port: PortFlag = None,
    data: DataFlag = None,
    join: JoinFlag = None,
    name: NameFlag = None,
    auto: AutoFlag = False,
) -> None:
    """Run your application as a cluster.

    All of its nodes run on this machine, in this terminal; Ctrl-C stops them. With --join they are further nodes of a
    cluster that runs already.
    """
    from roost.ops.plan import split_target

    module, _ = split_target(target)
    called = module.rpartition(".")[2]
    _launch(target, called, join, nodes=nodes, port=port, data=data, name=name, auto=auto)


@app.command("member-status")
def member_status(form: FormatFlag = "table", cluster: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Show the members of the running cluster.

    Who is up, and for whom; who owns how much of the ring; which changes are staged.
    """
    ask("member-status", form, cluster, node)


@app.command("ring-status")
def ring_status(form: FormatFlag = "table", cluster: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Show the ring of the running cluster.

    Whether all nodes agree on it, who owns how many partitions, what is on its way and why, who sees whom.
    """
    ask("ring-status", form, cluster, node)


@app.command("transfers")
def transfers(
    watch: Annotated[bool, typer.Option("--watch", help="Draw it anew until nothing moves.")] = False,
    form: FormatFlag = "table",
    cluster: ClusterFlag = None,
    node: NodeFlag = None,
) -> None:
    """Show what is on its way between nodes.

    How far it is, and what it waits for.
    """
    if not watch:
        ask("transfers", form, cluster, node)
        return
    from roost.ops.operator import find
    from roost.ops.watch import watch_transfers

    if form != "table":
        raise ConfigError("--watch", "it draws for people: ask for --format json or csv without it, again and again")
    watch_transfers(find(cluster, node, os.environ))


@app.command("ringready")
def ringready(form: FormatFlag = "table", cluster: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Say whether all nodes agree on the ring.

    The exit code is 0 when they do, or 1.
    """
    ask("ringready", form, cluster, node)


@app.command("wait-for-settled")
def wait_for_settled(
    timeout_s: Annotated[float, typer.Option("--timeout", metavar="S", help="When to give up, in seconds.")] = 300.0,
    form: FormatFlag = "table",
    cluster: ClusterFlag = None,
    node: NodeFlag = None,
) -> None:
    """Wait until all data is where it belongs.

    The exit code is 0, or 1 when that takes too long.
    """
    from roost.ops.operator import find, wait_until_settled

    show(*wait_until_settled(form, find(cluster, node, os.environ), timeout_s))


@app.command("process-tree")
def process_tree(form: FormatFlag = "table", cluster: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Show the processes of one node.

    Each below the one that started it, with what it does and how much mail waits for it.
    """
    ask("process-tree", form, cluster, node)


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
    ask("process-info", form, cluster, node, about=process)


@app.command("sockets")
def sockets(form: FormatFlag = "table", cluster: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Show who is connected to the nodes.

    How many clients and channels each endpoint has, how many clients do not keep up, and what was done about them.
    """
    ask("sockets", form, cluster, node)


@app.command("topics")
def topics(form: FormatFlag = "table", cluster: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Show what the topics and presences of the nodes are at.

    How many topics, subscribers and presences each node has, and how many messages did not arrive, by reason.
    """
    ask("topics", form, cluster, node)


def _launch(
    target: str,
    cluster: str,
    join: str | None,
    *,
    nodes: int | None,
    port: int | None,
    data: Path | None,
    name: str | None,
    auto: bool,
) -> NoReturn:
    from roost.ops.launcher import launch
    from roost.ops.start import Wish, new_cluster, newcomers

    wish = Wish(nodes, port, data, name, "auto" if auto else "manual")
    start = new_cluster(cluster, wish, os.environ) if join is None else newcomers(cluster, join, wish, os.environ)
    sys.exit(launch(start, target))


def main() -> NoReturn:
    """The `roost` command: run it and exit."""
    try:
        code = app(standalone_mode=False)
    except RoostError as error:
        is_mistake = isinstance(error, Refusal) and not isinstance(error, WORLDLY)
        _fail(str(error), EXIT_MISTAKE if is_mistake else EXIT_UNREACHABLE)
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
