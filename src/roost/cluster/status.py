"""What an operator sees of a cluster, as data: one source for the console, the dashboard and whoever else asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from roost.cluster.membership import Membership
from roost.core.layout import Transfer
from roost.core.membership import Cluster, Status
from roost.core.ring import partition_and_index
from roost.wire.membership import View

Kind = Literal["ownership", "hinted", "repair"]
DONE: Final = ("given", "done")
"""Phases of a transfer in which nothing is left to send."""


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
        zone: what it shares its fate with, or "".
        is_claimant: whether it drives the changes of the cluster.
    """

    name: str
    status: Status
    up: bool
    up_for: tuple[str, ...]
    down_for: tuple[str, ...]
    ring_percent: float
    pending_percent: float | None
    web: str | None
    zone: str
    is_claimant: bool


class MemberStatus(msgspec.Struct, frozen=True):
    """The members of the cluster, as `node` sees them and as the others told it; and changes that wait for a commit."""

    cluster: str
    node: str
    members: tuple[Member, ...]
    staged: tuple[str, ...]


class TransferStatus(msgspec.Struct, frozen=True):
    """One copy of a partition on its way from one node to another.

    Attributes:
        kind: "ownership": the target will hold the copy; "hinted": it holds the copy, and the source has kept something
            for it; "repair": the target has asked for it.
        index: which copy of the partition it is.
        phase: "waiting", or how far it is: "asking", "giving", "closing", "relaying", "given".
        items_done: how many of `items_total` items the target has.
        bytes_done: how much had to be sent for that.
        rate_bytes_s: how fast that goes.
        eta_s: how much longer it will take at this rate; None when nobody knows.
        attempts: how often it was begun.
        reason: why it is not under way; "" when it is.
        started_s_ago: when the last attempt began.
        ring: which of the rings of the application the copy belongs to.
    """

    kind: Kind
    partition: int
    index: int
    source: str
    target: str
    phase: str
    items_done: int
    items_total: int
    bytes_done: int
    rate_bytes_s: float
    eta_s: float | None
    attempts: int
    reason: str
    started_s_ago: float
    ring: str

    @property
    def is_waiting(self) -> bool:
        """Whether nothing of it is under way."""
        return self.phase == "waiting"

    @property
    def is_given(self) -> bool:
        """Whether the target has all of it, and waits for the rest of the partition."""
        return self.phase in DONE


class Transfers(msgspec.Struct, frozen=True):
    """What is on its way between the members that answer.

    Attributes:
        moving: how many partitions are on their way to other nodes.
        transfers: by source, partition and copy.
        silent: the members that do not answer: what they have to give is not among the transfers.
    """

    cluster: str
    node: str
    moving: int
    transfers: tuple[TransferStatus, ...]
    silent: tuple[str, ...]

    @property
    def is_over(self) -> bool:
        """Whether nothing moves, and nothing waits to."""
        return not (self.moving or self.transfers)


class Pending(msgspec.Struct, frozen=True):
    """Partitions that go from one owner to the next, or stay with it while other copies of them move.

    Attributes:
        copies: how many copies have to be given before all of them may arrive.
        why: what the first of them waits for.
    """

    owner: str
    next_owner: str
    partitions: tuple[int, ...]
    copies: int
    why: str


class Sight(msgspec.Struct, frozen=True):
    """The members that `node` cannot reach."""

    node: str
    missing: tuple[str, ...]


class Share(msgspec.Struct, frozen=True):
    """How many partitions a member owns now, and how many once every planned change is made."""

    node: str
    partitions: int
    pending: int


class RingStatus(msgspec.Struct, frozen=True):
    """The ring, as `node` sees it and as the others told it.

    Attributes:
        claimant: who drives its changes, in its `epoch`.
        claimant_up: whether the node that answers can reach it.
        version: how often the cluster has changed.
        ready: whether every member that answers knows this version.
        differing: the members that know another version, or another cluster.
        size: how many partitions the ring has.
        moving: how many of them are on their way to other nodes.
        shares: who owns how many of them.
        pending: which partitions these are, and what they wait for.
        transfers: data on its way, on the members that answer.
        unreachable: the members that do not answer.
        sights: the members that answer and cannot reach everybody.
        staged: changes that wait for a commit.
    """

    cluster: str
    node: str
    claimant: str
    claimant_up: bool
    epoch: int
    version: int
    ready: bool
    differing: tuple[str, ...]
    size: int
    moving: int
    shares: tuple[Share, ...]
    pending: tuple[Pending, ...]
    transfers: tuple[TransferStatus, ...]
    unreachable: tuple[str, ...]
    sights: tuple[Sight, ...]
    staged: tuple[str, ...]


Views = Mapping[str, View | None]


def members(membership: Membership, views: Views) -> tuple[Member, ...]:
    """The members, in the order of their names.

    Args:
        views: what each member sees, None for one that does not answer; at least this node's own.
    """
    cluster, up = membership.cluster, membership.up()
    layout = cluster.layout
    now, then = layout.counts(), layout.goal.counts()
    seen = {seer: view.up for seer, view in sorted(views.items()) if view is not None}
    return tuple(
        Member(
            name=member.name,
            status=member.status,
            up=member.name in up,
            up_for=tuple(seer for seer, names in seen.items() if member.name in names),
            down_for=tuple(seer for seer, names in seen.items() if member.name not in names),
            ring_percent=100.0 * now.get(member.name, 0) / layout.size,
            pending_percent=None if layout.is_settled else 100.0 * then.get(member.name, 0) / layout.size,
            web=f"http://{member.web}" if member.web else None,
            zone=member.zone,
            is_claimant=member.name == cluster.claimant,
        )
        for member in cluster.members
    )


def member_status(membership: Membership, views: Views) -> MemberStatus:
    """Who is in the cluster, and who sees whom."""
    cluster = membership.cluster
    staged = tuple(str(change) for change in cluster.staged)
    return MemberStatus(cluster.name, membership.view().node, members(membership, views), staged)


def ring_status(membership: Membership, views: Views, transfers: tuple[TransferStatus, ...], depth: int) -> RingStatus:
    """Whether the cluster agrees on its ring, and what is not where it belongs.

    Args:
        views: as for `members`.
        transfers: what the members say that they have to give.
        depth: the largest number of copies that anything in this cluster has.
    """
    cluster, mine = membership.cluster, membership.view()
    layout = cluster.layout
    now, then = layout.counts(), layout.goal.counts()
    known = (mine.cluster, mine.generation, mine.version)
    answering = {name: view for name, view in views.items() if view is not None}
    return RingStatus(
        cluster=cluster.name,
        node=mine.node,
        claimant=cluster.claimant,
        claimant_up=cluster.claimant in mine.up,
        epoch=cluster.epoch,
        version=cluster.version,
        ready=not (differing := _differing(answering, known)),
        differing=differing,
        size=layout.size,
        moving=len(layout.moving()),
        shares=tuple(Share(name, now.get(name, 0), then.get(name, 0)) for name in cluster.names),
        pending=pending(cluster, mine.up, transfers, depth),
        transfers=transfers,
        unreachable=tuple(name for name in cluster.names if name not in answering),
        sights=tuple(
            Sight(name, missing)
            for name, view in sorted(answering.items())
            if (missing := tuple(other for other in cluster.names if other not in view.up))
        ),
        staged=tuple(str(change) for change in cluster.staged),
    )


def _differing(views: Mapping[str, View], known: tuple[bytes, int, int]) -> tuple[str, ...]:
    return tuple(name for name, view in views.items() if (view.cluster, view.generation, view.version) != known)


def pending(
    cluster: Cluster, up: Sequence[str], transfers: Iterable[TransferStatus], depth: int
) -> tuple[Pending, ...]:
    """What is on its way from one owner to the next, by these two, and what it waits for.

    Args:
        up: the members that can be reached.
        transfers: what the members say that they have to give.
        depth: the largest number of copies that anything in this cluster has.
    """
    layout, gone = cluster.layout, cluster.gone
    reported: dict[tuple[int, str, str], list[TransferStatus]] = {}
    for one in transfers:
        if one.kind == "ownership":
            reported.setdefault((one.partition, one.source, one.target), []).append(one)
    groups: dict[tuple[str, str], list[int]] = {}
    for partition in layout.moving():
        groups.setdefault((layout.owner(partition), layout.goal.order(partition)[0]), []).append(partition)
    found: list[Pending] = []
    for (owner, next_owner), partitions in sorted(groups.items()):
        copies = [one for partition in partitions for one in layout.transfers(partition, depth, gone)]
        why = _obstacle(copies, up) or _progress(
            [
                status
                for copy in copies
                for status in reported.get((partition_and_index(copy.target)[0], copy.giver, copy.taker), ())
            ]
        )
        found.append(Pending(owner, next_owner, tuple(partitions), len(copies), why))
    return tuple(found)


def _obstacle(copies: Iterable[Transfer], up: Sequence[str]) -> str:
    """Who has to give or to take one of these copies, and cannot."""
    missing = sorted({node for copy in copies for node in (copy.giver, copy.taker) if node not in up})
    return f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} down" if missing else ""


def _progress(transfers: Sequence[TransferStatus]) -> str:
    """How far these are; if none is under way, why the first one is not."""
    open_ = [one for one in transfers if not one.is_given]
    if not open_:
        return "all of it is given: the claimant lets them arrive"
    under_way = sum(not one.is_waiting for one in open_)
    return f"{under_way} transfer{'s' * (under_way > 1)} under way" if under_way else open_[0].reason
