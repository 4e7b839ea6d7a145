"""`roost cluster ...` and `roost handoff ...`: the commands that change a running cluster."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from roost import limits
from roost.ops.options import ClusterFlag, FormatFlag, NodeFlag, ask, show

MemberArgument = Annotated[str, typer.Argument(metavar="NODE", help="A member: c@127.0.0.1, or c.")]
MembersArgument = Annotated[list[str], typer.Argument(metavar="NODE", help="Members: c@127.0.0.1, or c.")]
NewcomerArgument = Annotated[str, typer.Argument(metavar="NEWCOMER", help="A node whose join is staged.")]
NodesArgument = Annotated[list[str] | None, typer.Argument(metavar="NODE", help="Which members; else all.")]
OutgoingFlag = Annotated[
    int | None, typer.Option("--outgoing", metavar="N", help="How many transfers a node gives at a time.")
]
IncomingFlag = Annotated[
    int | None, typer.Option("--incoming", metavar="N", help="How many transfers a node takes at a time.")
]

cluster = typer.Typer(
    name="cluster",
    help="Change who belongs to the cluster.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
handoff = typer.Typer(
    name="handoff", help="Limit how much moves at a time.", rich_markup_mode=None, no_args_is_help=True
)


@cluster.command("join")
def join(
    where: Annotated[str, typer.Argument(metavar="WHERE", help="HOST:PORT of a member's link, or its name here.")],
    form: FormatFlag = "table",
    name: ClusterFlag = None,
    node: NodeFlag = None,
) -> None:
    """Stage that a running node joins a cluster.

    The node that is asked joins the cluster of the node that listens at WHERE. --node names it; when it is left out,
    the only node that is in no cluster is meant.
    """
    from roost.ops.operator import ask as ask_running
    from roost.ops.operator import contact, find_newcomer
    from roost.ops.questions import Join

    address, _ = contact(where, os.environ)
    runs = find_newcomer(name, node, os.environ)
    show(*ask_running(Join(address.host, address.port), form, runs))


@cluster.command("leave")
def leave(member: MemberArgument, form: FormatFlag = "table", name: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Stage that a node gives everything away, and goes."""
    ask("cluster leave", form, name, node, member=member)


@cluster.command("replace")
def replace(
    member: MemberArgument,
    newcomer: NewcomerArgument,
    form: FormatFlag = "table",
    name: ClusterFlag = None,
    node: NodeFlag = None,
) -> None:
    """Stage that a newcomer takes the place of a node.

    Nothing else moves. The node gives what it has to the newcomer, and goes.
    """
    ask("cluster replace", form, name, node, member=member, newcomer=newcomer)


@cluster.command("force-remove")
def force_remove(
    member: MemberArgument, form: FormatFlag = "table", name: ClusterFlag = None, node: NodeFlag = None
) -> None:
    """Stage that a node is lost.

    It gives nothing; what it held is made anew from the other copies.
    """
    ask("cluster force-remove", form, name, node, member=member)


@cluster.command("force-replace")
def force_replace(
    member: MemberArgument,
    newcomer: NewcomerArgument,
    form: FormatFlag = "table",
    name: ClusterFlag = None,
    node: NodeFlag = None,
) -> None:
    """Stage that a newcomer takes the place of a node that is lost."""
    ask("cluster force-replace", form, name, node, member=member, newcomer=newcomer)


@cluster.command("set-zone")
def set_zone(
    member: MemberArgument,
    zone: Annotated[str, typer.Argument(metavar="ZONE", help='A rack, a site; "" for a zone of its own.')],
    form: FormatFlag = "table",
    name: ClusterFlag = None,
    node: NodeFlag = None,
) -> None:
    """Stage that a node lies in another zone."""
    ask("cluster set-zone", form, name, node, member=member, zone=zone)


@cluster.command("plan")
def plan(form: FormatFlag = "table", name: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Show what the staged changes come to."""
    ask("cluster plan", form, name, node)


@cluster.command("commit")
def commit(form: FormatFlag = "table", name: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Let the staged changes happen, as the plan has shown them."""
    ask("cluster commit", form, name, node)


@cluster.command("clear")
def clear(form: FormatFlag = "table", name: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Take all staged changes back."""
    ask("cluster clear", form, name, node)


@cluster.command("down")
def down(members: MembersArgument, form: FormatFlag = "table", name: ClusterFlag = None, node: NodeFlag = None) -> None:
    """Say, at once, that nodes are dead: the others decide without them."""
    ask("cluster down", form, name, node, members=members)


@cluster.command("policy")
def policy(
    policy: Annotated[str, typer.Argument(metavar="POLICY", help="auto: joins commit by themselves; or manual.")],
    form: FormatFlag = "table",
    name: ClusterFlag = None,
    node: NodeFlag = None,
) -> None:
    """Say, at once, whether joins are committed by themselves."""
    ask("cluster policy", form, name, node, policy=policy)


@handoff.command("config")
def config(
    members: NodesArgument = None,
    outgoing: OutgoingFlag = None,
    incoming: IncomingFlag = None,
    form: FormatFlag = "table",
    name: ClusterFlag = None,
    node: NodeFlag = None,
) -> None:
    """Show, or change at once, how many transfers nodes give and take at a time."""
    ask("handoff config", form, name, node, members=members or [], outgoing=outgoing, incoming=incoming)


@handoff.command("disable")
def disable(
    members: NodesArgument = None, form: FormatFlag = "table", name: ClusterFlag = None, node: NodeFlag = None
) -> None:
    """Let nodes begin no transfer, neither give nor take; those under way go on."""
    ask("handoff config", form, name, node, members=members or [], outgoing=0, incoming=0)


@handoff.command("enable")
def enable(
    members: NodesArgument = None, form: FormatFlag = "table", name: ClusterFlag = None, node: NodeFlag = None
) -> None:
    """Let nodes give and take as many transfers at a time as when they start: two."""
    limit = {"outgoing": limits.HANDOFFS_OUTGOING, "incoming": limits.HANDOFFS_INCOMING}
    ask("handoff config", form, name, node, members=members or [], **limit)
