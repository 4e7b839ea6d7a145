"""Membership: who belongs to a cluster, what is staged, and who holds what.

A `Cluster` is one value, and every change of it is a pure function from one value to the next, or a refusal. The
values form one line: each is made from the one before it by an agreement of the voters (`core.caspaxos`), so two nodes
that know the same version know the same cluster.

Statuses of a member:

    joining   it is known and linked, and waits for the commit of its join; it owns nothing and has no vote
    valid     a full member
    leaving   its partitions are being given away; it votes until it owns nothing
    exiting   it owns nothing, and gives away what it has kept for others; no vote
    down      an operator has said that it is dead: no vote; what it owns stays its own; back to valid when it is seen

Changes are *staged* one by one, looked at together in a plan, and committed together (`core.plan`). Staged changes are
part of the value, so they survive whoever has taken them.

Invariants: members are sorted by name and each is there once; the claimant of an epoch never changes within it; a node
that owns a partition is a member, unless it was removed by force.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable
from typing import Final, Literal

import msgspec

from roost import limits
from roost.core.claim import claim
from roost.core.layout import Layout
from roost.errors import (
    AlreadyLeaving,
    AlreadyMember,
    AlreadyStaged,
    DifferentRingSizes,
    HasNoVote,
    InvalidReplacement,
    IsClaimant,
    NotMember,
    OnlyMember,
    TooLarge,
)

Status = Literal["joining", "valid", "leaving", "exiting", "down"]
STATUSES: Final[tuple[Status, ...]] = ("valid", "leaving", "exiting", "joining", "down")
Action = Literal["join", "leave", "replace", "force-replace", "force-remove", "set-zone"]
Policy = Literal["manual", "auto"]


class Member(msgspec.Struct, array_like=True, frozen=True):
    """One member of the cluster.

    Attributes:
        name: its node name.
        status: what the cluster has decided about it.
        address: where other nodes reach it, as "host:port"; "" for a node that is alone.
        web: where browsers reach it, as "host:port", or "".
        zone: what it shares the fate of: a machine, a rack, a site; "" for a zone of its own.
    """

    name: str
    status: Status
    address: str = ""
    web: str = ""
    zone: str = ""


class Change(msgspec.Struct, array_like=True, frozen=True):
    """One staged change: `action` of `node`, and by or to what: `detail` is the newcomer or the zone."""

    action: Action
    node: str
    detail: str = ""

    def __str__(self) -> str:
        link = "to" if self.action == "set-zone" else "with"
        return f"{self.action} {self.node}" + (f" {link} {self.detail}" if self.detail else "")


class Cluster(msgspec.Struct, array_like=True, frozen=True):
    """Who belongs to a cluster and who holds what, at one moment of its history.

    Attributes:
        id: its birth; two clusters of the same name have different ones.
        name: what it is called.
        generation: grows whenever an operator overrules a lost majority, and no two of them get the same; of two
            histories the one with the greater counts.
        version: grows by one with every change.
        epoch: grows with every new claimant.
        claimant: who drives the changes of this epoch.
        members: sorted by name.
        layout: who holds which copy.
        staged: changes that wait for a commit, in the order in which they were staged.
        planned: the digest of the plan that somebody has looked at last; b"" when nobody has since the last commit.
        policy: "auto" commits joins by itself.
        left: the names of nodes that left or were removed, the last ones last.
        aimed: the version in which the layout got its present goal; what was given on the way to another one counts
            no more.
    """

    id: bytes
    name: str
    generation: int
    version: int
    epoch: int
    claimant: str
    members: tuple[Member, ...]
    layout: Layout
    staged: tuple[Change, ...] = ()
    planned: bytes = b""
    policy: Policy = "manual"
    left: tuple[str, ...] = ()
    aimed: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all members."""
        return tuple(member.name for member in self.members)

    @property
    def age(self) -> tuple[int, int]:
        """What is newer is greater."""
        return self.generation, self.version

    @property
    def voters(self) -> frozenset[str]:
        """Who decides on changes: a majority of these."""
        return frozenset(member.name for member in self.members if member.status in ("valid", "leaving"))

    @property
    def gone(self) -> frozenset[str]:
        """Nodes that own something and will never give it: they were removed by force."""
        return frozenset(self.layout.nodes()) - frozenset(self.names)

    def member(self, name: str) -> Member:
        """The member of this name.

        Raises:
            NotMember: when there is none.
        """
        for member in self.members:
            if member.name == name:
                return member
        raise NotMember(name, self.name)

    def has(self, name: str) -> bool:
        """Whether `name` is a member."""
        return name in self.names

    def having(self, *statuses: Status) -> tuple[str, ...]:
        """The names of the members with one of these statuses."""
        return tuple(member.name for member in self.members if member.status in statuses)


def birth(id: bytes, name: str, members: Iterable[Member], ring_size: int, policy: Policy = "manual") -> Cluster:
    """A new cluster, of members that know of each other beforehand; the first by name is its claimant.

    Raises:
        ValueError: when there is no member, or the size is not a power of 2.
    """
    known = _sorted(members)
    names = tuple(member.name for member in known)
    ring = claim(names, ring_size, tuple(member.zone for member in known))
    return Cluster(id, name, 0, 1, 1, names[0], known, Layout.settled(ring), policy=policy)


def stage_join(cluster: Cluster, newcomer: Member, ring_size: int) -> Cluster:
    """A node asks to join: from now on it is known; the commit of a plan makes it own something.

    Asking again, from the same name and address, changes nothing.

    Raises:
        AlreadyMember: when the name is taken.
        DifferentRingSizes: when its ring has another number of partitions.
        TooLarge: when there would be more than NODES_MAX members.
    """
    if cluster.has(newcomer.name):
        known = cluster.member(newcomer.name)
        if known.status == "joining" and known.address == newcomer.address:
            return cluster
        raise AlreadyMember(newcomer.name, known.status)
    if ring_size != cluster.layout.size:
        raise DifferentRingSizes(newcomer.name, ring_size, cluster.layout.size)
    if len(cluster.members) >= limits.NODES_MAX:
        raise TooLarge("members of one cluster", len(cluster.members) + 1, limits.NODES_MAX)
    joining = msgspec.structs.replace(newcomer, status="joining")
    return _next(
        cluster,
        members=_sorted([*cluster.members, joining]),
        staged=(*cluster.staged, Change("join", newcomer.name)),
        left=tuple(name for name in cluster.left if name != newcomer.name),
    )


def once(stage: Callable[[Cluster], Cluster]) -> Callable[[Cluster], Cluster]:
    """The same staging, for a change that is attempted several times: its own work is no reason to refuse it."""
    mine: list[Change] = []

    def attempt(cluster: Cluster) -> Cluster:
        if mine and mine[-1] in cluster.staged:
            return cluster
        after = stage(cluster)
        mine.extend(after.staged[-1:])
        return after

    return attempt


def stage_leave(cluster: Cluster, node: str) -> Cluster:
    """A node shall give everything away, and go.

    Raises:
        NotMember, AlreadyLeaving, AlreadyStaged, OnlyMember: as they say.
    """
    _check_goes(cluster, node)
    return _staged(cluster, Change("leave", node))


def stage_force_remove(cluster: Cluster, node: str) -> Cluster:
    """A node is lost for good: it shall be a member no more, and the other copies of what it held are copied anew.

    Raises:
        IsClaimant: when it is the claimant.
        NotMember, AlreadyStaged, OnlyMember: as they say.
    """
    if cluster.member(node).status not in ("leaving", "exiting"):
        _check_goes(cluster, node)
    if node == cluster.claimant:
        raise IsClaimant(node)
    return _staged(cluster, Change("force-remove", node))


def stage_replace(cluster: Cluster, node: str, newcomer: str, *, force: bool = False) -> Cluster:
    """A node that has just joined shall take the place of another, and nothing else shall move.

    Args:
        force: whether the other one is lost, and gives nothing.

    Raises:
        InvalidReplacement: when the newcomer's join is not staged, or it replaces another node already.
        IsClaimant: by force, when it is the claimant.
        NotMember, AlreadyLeaving, AlreadyStaged: as they say.
    """
    if cluster.member(node).status in ("leaving", "exiting"):
        raise AlreadyLeaving(node)
    if force and node == cluster.claimant:
        raise IsClaimant(node)
    if cluster.member(newcomer).status != "joining":
        raise InvalidReplacement(newcomer, f"its status is {cluster.member(newcomer).status}, not joining")
    for change in cluster.staged:
        if change.detail == newcomer:
            raise InvalidReplacement(newcomer, f"it is staged to replace {change.node} already")
    return _staged(cluster, Change("force-replace" if force else "replace", node, newcomer))


def stage_zone(cluster: Cluster, node: str, zone: str) -> Cluster:
    """A node lies in another zone than was known.

    Raises:
        NotMember: when it is none.
        TooLarge: when the name is over NAME_BYTES_MAX.
    """
    cluster.member(node)
    if len(zone.encode()) > limits.NAME_BYTES_MAX:
        raise TooLarge("the name of a zone", len(zone.encode()), limits.NAME_BYTES_MAX)
    others = tuple(change for change in cluster.staged if (change.action, change.node) != ("set-zone", node))
    return _next(cluster, staged=(*others, Change("set-zone", node, zone)))


def clear(cluster: Cluster) -> Cluster:
    """Take all staged changes back. Nodes that were joining are members no more, and go on as clusters of their own."""
    if not cluster.staged:
        return cluster
    return removed(_next(cluster, staged=(), planned=b""), cluster.having("joining"))


def planned(cluster: Cluster, digest: bytes) -> Cluster:
    """Somebody has looked at the plan with this digest."""
    return cluster if cluster.planned == digest else _next(cluster, planned=digest)


def arrive(cluster: Cluster, partitions: Iterable[int]) -> Cluster:
    """The transfers of these partitions are done: their next holders serve them from now on."""
    moving = frozenset(cluster.layout.moving())
    due = [partition for partition in partitions if partition in moving]
    if not due:
        return cluster
    return _next(cluster, layout=cluster.layout.arrive(due))


def advance(cluster: Cluster, ready_to_exit: Iterable[str] = ()) -> Cluster:
    """What follows by itself: who leaves and owns nothing is exiting; who is exiting and holds nothing is out.

    A claimant that is exiting hands its office on: it may be one that has overruled a majority while it was leaving.

    Args:
        ready_to_exit: nodes that say that they hold nothing that belongs to others.
    """
    owners = cluster.layout.nodes()
    done = [member.name for member in cluster.members if member.status == "leaving" and member.name not in owners]
    if done:
        cluster = _next(cluster, members=with_status(cluster, done, "exiting"))
        valid = cluster.having("valid")
        if cluster.claimant in done and valid:
            return msgspec.structs.replace(cluster, epoch=cluster.epoch + 1, claimant=valid[0])
        return cluster
    out = [name for name in ready_to_exit if name in cluster.having("exiting") and name != cluster.claimant]
    return removed(_next(cluster), out) if out else cluster


def succeed(cluster: Cluster, node: str) -> Cluster:
    """`node` is the claimant from now on, in a new epoch; nothing changes when it is already."""
    if cluster.claimant == node:
        return cluster
    return _next(cluster, epoch=cluster.epoch + 1, claimant=node)


def mark_down(cluster: Cluster, nodes: Collection[str], by: str) -> Cluster:
    """An operator says that these nodes are dead; when the claimant is among them, `by` succeeds it, if it is valid.

    Raises:
        NotMember: when one of them is none.
        HasNoVote: when one of them is joining or exiting.
    """
    for name in nodes:
        if (status := cluster.member(name).status) in ("joining", "exiting"):
            raise HasNoVote(name, status)
    dead = [name for name in nodes if cluster.member(name).status in ("valid", "leaving")]
    if not dead:
        return cluster
    changed = _next(cluster, members=with_status(cluster, dead, "down"))
    if cluster.claimant in dead:
        valid = changed.having("valid")
        heir = by if by in valid or not valid else valid[0]
        return msgspec.structs.replace(changed, epoch=cluster.epoch + 1, claimant=heir)
    return changed


def overrule(cluster: Cluster, generation: int) -> Cluster:
    """The same, in a history of its own: an operator has decided without a majority.

    Args:
        generation: of the ballot by which that is agreed on; nobody else has the same.
    """
    if generation <= cluster.generation:
        return cluster
    return msgspec.structs.replace(cluster, generation=generation)


def seen_again(cluster: Cluster, nodes: Iterable[str]) -> Cluster:
    """Nodes that were marked as down are there: they are valid again, or go on leaving when they own nothing ahead."""
    back = [name for name in nodes if name in cluster.having("down")]
    if not back:
        return cluster
    ahead = cluster.layout.goal.counts()
    leaving = [name for name in back if not ahead.get(name)]
    members = with_status(cluster, back, "valid")
    changed = _next(cluster, members=members)
    return msgspec.structs.replace(changed, members=with_status(changed, leaving, "leaving"))


def relocate(cluster: Cluster, member: Member) -> Cluster:
    """A member is reached at another address, or serves the web elsewhere, than was known; "" says nothing about it.

    Its zone is not changed here: that moves copies, so it is staged.

    Raises:
        NotMember: when it is none.
    """
    known = cluster.member(member.name)
    moved = msgspec.structs.replace(known, address=member.address or known.address, web=member.web or known.web)
    if moved == known:
        return cluster
    return _next(cluster, members=_sorted([moved if one is known else one for one in cluster.members]))


def set_policy(cluster: Cluster, policy: Policy) -> Cluster:
    """Whether joins commit by themselves."""
    return cluster if cluster.policy == policy else _next(cluster, policy=policy)


def _check_goes(cluster: Cluster, node: str) -> None:
    """See that a node may go: it is there to stay, nothing is staged for it, and others remain."""
    status = cluster.member(node).status
    if status in ("leaving", "exiting"):
        raise AlreadyLeaving(node)
    _check_free(cluster, node)
    going = {change.node for change in cluster.staged if change.action not in ("join", "set-zone")}
    if not set(cluster.having("valid", "joining", "down")) - going - {node}:
        raise OnlyMember(node)


def _check_free(cluster: Cluster, node: str) -> None:
    for change in cluster.staged:
        if change.node == node and change.action != "set-zone":
            raise AlreadyStaged(node, change.action)


def _staged(cluster: Cluster, change: Change) -> Cluster:
    _check_free(cluster, change.node)
    return _next(cluster, staged=(*cluster.staged, change))


def _next(cluster: Cluster, **fields: object) -> Cluster:
    changed: Cluster = msgspec.structs.replace(cluster, version=cluster.version + 1, **fields)
    return changed


def removed(cluster: Cluster, names: Iterable[str]) -> Cluster:
    """The same version without these members; they are remembered as having left."""
    out = frozenset(names)
    left = (*(name for name in cluster.left if name not in out), *sorted(out))
    return msgspec.structs.replace(
        cluster,
        members=tuple(member for member in cluster.members if member.name not in out),
        left=left[-limits.NODES_MAX :],
    )


def with_status(cluster: Cluster, names: Container[str], status: Status) -> tuple[Member, ...]:
    """The members, those of these names with another status."""
    return tuple(
        msgspec.structs.replace(member, status=status) if member.name in names else member for member in cluster.members
    )


def _sorted(members: Iterable[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: member.name))
