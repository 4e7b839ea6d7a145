"""What an operator changes through the console: who belongs to the cluster.

Each is a few words around `Membership`, which has the voters agree. A refusal crosses to the operator as it is.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from roost.config import ZONE_NAME
from roost.core import membership as core
from roost.core.membership import Cluster
from roost.errors import ConfigError
from roost.ops import questions
from roost.ops.answers import Done, Flow, PlannedChange, PlannedMember, PlanStatus
from roost.ops.table import count

if TYPE_CHECKING:
    from roost.cluster.node import Node

JOIN_S: Final = 20.0
"""How long a node may take to get into a cluster."""
TRANSFERS_MAX: Final = 64
"""The most transfers that a node can be told to give, or take, at a time."""
TO_PLAN: Final = "roost cluster plan"
TO_COMMIT: Final = "roost cluster commit"
TO_WATCH: Final = "roost transfers --watch"


def whole_name(cluster: Cluster, text: str) -> str:
    """The name of the member that an operator means: `text` may be the part before the "@" when only one has it."""
    if cluster.has(text):
        return text
    found = [name for name in cluster.names if name.partition("@")[0] == text]
    return found[0] if len(found) == 1 else text


async def join(node: Node, asked: questions.Join) -> Done:
    """See `Joiner.join`. The node that is asked joins."""
    from roost.cluster.joining import Joiner
    from roost.cluster.node import JOINER

    joiner = Joiner.whereis(JOINER).with_timeout(JOIN_S)
    await joiner.join(asked.host, asked.port)
    cluster = node.membership.cluster
    return _done(
        node, cluster, f"Staged: join {node.name} to {cluster.name}, beside {count(len(cluster.names) - 1, 'other')}"
    )


async def leave(node: Node, asked: questions.Leave) -> Done:
    """See `Membership.leave`."""
    member = _named(node, asked.member)
    return _done(node, await node.membership.leave(member), f"Staged: leave {member}")


async def replace(node: Node, asked: questions.Replace) -> Done:
    """See `Membership.replace`."""
    member, newcomer = _named(node, asked.member), _named(node, asked.newcomer)
    cluster = await node.membership.replace(member, newcomer)
    return _done(node, cluster, f"Staged: replace {member} with {newcomer}")


async def force_remove(node: Node, asked: questions.ForceRemove) -> Done:
    """See `Membership.force_remove`."""
    member = _named(node, asked.member)
    return _done(node, await node.membership.force_remove(member), f"Staged: force-remove {member}")


async def force_replace(node: Node, asked: questions.ForceReplace) -> Done:
    """See `Membership.replace`, by force."""
    member, newcomer = _named(node, asked.member), _named(node, asked.newcomer)
    cluster = await node.membership.replace(member, newcomer, force=True)
    return _done(node, cluster, f"Staged: force-replace {member} with {newcomer}")


async def set_zone(node: Node, asked: questions.SetZone) -> Done:
    """See `Membership.set_zone`.

    Raises:
        ConfigError: when it is no name for a zone.
    """
    if not ZONE_NAME.fullmatch(asked.zone):
        raise ConfigError("ZONE", f"{asked.zone!r} may only have letters, digits, '_', '.' and '-'")
    member = _named(node, asked.member)
    cluster = await node.membership.set_zone(member, asked.zone)
    return _done(node, cluster, f"Staged: set-zone {member} to {asked.zone or 'a zone of its own'}")


async def down(node: Node, asked: questions.Down) -> Done:
    """See `Membership.down`."""
    members = [_named(node, member) for member in asked.members]
    cluster = await node.membership.down(*members)
    text = f"Marked as down: {', '.join(members)}. The claimant is {cluster.claimant}"
    return _done(node, cluster, text, "roost member-status")


async def set_policy(node: Node, asked: questions.SetPolicy) -> Done:
    """Say whether joins are committed by themselves.

    Raises:
        ConfigError: when it is neither "auto" nor "manual".
    """
    match asked.policy:
        case "auto" | "manual" as policy:
            cluster = await node.membership.change(partial(core.set_policy, policy=policy))
        case _:
            raise ConfigError("POLICY", f"{asked.policy!r} is neither auto nor manual")
    who = "joins are committed by themselves" if policy == "auto" else "an operator commits every change"
    return _done(node, cluster, f"From now on {who}", "roost member-status")


async def plan(node: Node, asked: questions.PlanOf) -> PlanStatus:
    """See `Membership.plan`."""
    found = await node.membership.plan()
    cluster = node.membership.cluster
    return PlanStatus(
        cluster=cluster.name,
        node=node.name,
        digest=found.digest.hex(),
        ring_size=cluster.layout.size,
        changes=tuple(PlannedChange(change.action, change.node, change.detail) for change in found.changes),
        members=tuple(
            PlannedMember(share.node, share.status, share.node == cluster.claimant, share.now, share.then)
            for share in found.shares
        ),
        reassigned=tuple(Flow(flow.source, flow.target, flow.count) for flow in found.reassigned),
        transfers=tuple(Flow(flow.source, flow.target, flow.count) for flow in found.transfers),
        warnings=found.warnings,
    )


async def commit(node: Node, asked: questions.Commit) -> Done:
    """See `Membership.commit`."""
    cluster = await node.membership.commit()
    moving = len(cluster.layout.moving())
    text = f"Committed: {count(moving, 'partition')} on the way" if moving else "Committed: nothing has to move"
    return _done(node, cluster, text, TO_WATCH if moving else "roost member-status")


async def clear(node: Node, asked: questions.Clear) -> Done:
    """See `Membership.clear`."""
    staged = len(node.membership.cluster.staged)
    cluster = await node.membership.clear()
    text = f"Cleared: {count(staged, 'staged change')}" if staged else "There were no staged changes"
    return _done(node, cluster, text, "")


def _named(node: Node, text: str) -> str:
    return whole_name(node.membership.cluster, text)


def _done(node: Node, cluster: Cluster, text: str, next_step: str = TO_PLAN) -> Done:
    staged = tuple(str(change) for change in cluster.staged)
    return Done(cluster.name, node.name, text, cluster.version, staged, next_step)
