"""What an operator sees of a cluster, as data: one source for the console, the dashboard and whoever else asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from roost.cluster.membership import Membership, View
from roost.core.ring import Ring

MemberState = Literal["valid", "joining", "leaving", "exiting", "down"]


class Member(msgspec.Struct, frozen=True):
    """One member of the cluster.

    Attributes:
        name: its node name.
        status: what the cluster has decided about it.
        up: whether the node that answers can reach it.
        up_for: the members that say that they can reach it, itself among them.
        down_for: the members that say that they cannot.
        ring_percent: how much of the ring it owns.
        pending_percent: how much it will own once every planned change is made; None when nothing changes.
        web: where browsers reach it.
    """

    name: str
    status: MemberState
    up: bool
    up_for: tuple[str, ...]
    down_for: tuple[str, ...]
    ring_percent: float
    pending_percent: float | None
    web: str | None


class MemberStatus(msgspec.Struct, frozen=True):
    """The members of the cluster, as `node` sees them and as the others told it."""

    cluster: str
    node: str
    members: tuple[Member, ...]


class Handoff(msgspec.Struct, frozen=True):
    """Data that waits for its primary: `items` keys of a partition, held by `source` for `target`.

    `attempts` counts how often sending them was begun; `reason` says why they are not there yet.
    """

    partition: int
    source: str
    target: str
    items: int
    attempts: int
    reason: str


class Share(msgspec.Struct, frozen=True):
    """How many partitions a member owns."""

    node: str
    partitions: int


class RingStatus(msgspec.Struct, frozen=True):
    """The ring, as `node` sees it and as the others told it.

    Attributes:
        ready: whether every member that answers holds the same ring.
        differing: the members that hold another ring than `node`.
        size: how many partitions the ring has.
        shares: who owns how many of them.
        handoffs: data that waits for its primary, on the members that answer.
        unreachable: the members that do not answer.
    """

    cluster: str
    node: str
    ready: bool
    differing: tuple[str, ...]
    size: int
    shares: tuple[Share, ...]
    handoffs: tuple[Handoff, ...]
    unreachable: tuple[str, ...]


Views = Mapping[str, View | None]


def members(ring: Ring, membership: Membership, views: Views) -> tuple[Member, ...]:
    """The members, in the order of their names.

    Args:
        views: what each member sees, None for one that does not answer; at least this node's own.
    """
    owned = _owned(ring)
    up = membership.up()
    seen = {seer: view.up for seer, view in sorted(views.items()) if view is not None}
    return tuple(
        Member(
            name=name,
            status="valid",
            up=name in up,
            up_for=tuple(seer for seer, names in seen.items() if name in names),
            down_for=tuple(seer for seer, names in seen.items() if name not in names),
            ring_percent=100.0 * owned.get(name, 0) / ring.size,
            pending_percent=None,
            web=f"http://{membership.web[name]}" if membership.web.get(name) else None,
        )
        for name in membership.members
    )


def member_status(cluster: str, ring: Ring, membership: Membership, views: Views) -> MemberStatus:
    """Who is in the cluster, and who sees whom."""
    return MemberStatus(cluster, membership.view().node, members(ring, membership, views))


def ring_status(
    cluster: str, ring: Ring, membership: Membership, views: Views, handoffs: tuple[Handoff, ...]
) -> RingStatus:
    """Whether the cluster agrees on its ring, and what is not where it belongs."""
    mine = membership.view()
    owned = _owned(ring)
    differing = tuple(name for name, view in views.items() if view is not None and view.ring != mine.ring)
    return RingStatus(
        cluster=cluster,
        node=mine.node,
        ready=not differing,
        differing=differing,
        size=ring.size,
        shares=tuple(Share(name, owned.get(name, 0)) for name in membership.members),
        handoffs=handoffs,
        unreachable=tuple(name for name in membership.members if views.get(name) is None),
    )


def _owned(ring: Ring) -> dict[str, int]:
    owned = dict.fromkeys(ring.members, 0)
    for owner in ring.owners:
        owned[ring.members[owner]] += 1
    return owned
