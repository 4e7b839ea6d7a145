"""Which processes are in which groups, on the whole cluster: the replicated state behind `roost.pg`.

Every node is the only writer of the memberships of its own processes, so replicas never conflict: a node's state is one
replica, ordered by its clock. Changes travel as deltas with contiguous clocks; a receiver that finds a gap asks for the
whole state. A replica whose node is down leaves at once, and comes back with its next snapshot; nothing passes through
a third node, as in `roost.core.presence` it does. The semantics are those of Erlang's pg.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from roost.errors import TooLarge
from roost.limits import MEMBERSHIPS_MAX, NAME_BYTES_MAX

SNAPSHOT_PART: Final = 1_000
"""Memberships in one Snapshot message; more follow in further ones."""


class Join(msgspec.Struct, array_like=True, frozen=True, tag=1, gc=False):
    """A process of the sender is in a group. `id` is the number of this membership, which a process may have twice."""

    id: int
    scope: str
    group: str
    pid: int


class Leave(msgspec.Struct, array_like=True, frozen=True, tag=2, gc=False):
    """The membership `id` of the sender is over."""

    id: int


class Delta(msgspec.Struct, array_like=True, frozen=True, tag="delta"):
    """The changes of one node after its clock was `since`, one tick each."""

    since: int
    changes: tuple[Join | Leave, ...]


class Snapshot(msgspec.Struct, array_like=True, frozen=True, tag="snapshot"):
    """A part of all memberships of one node at `clock`. Parts follow each other; `last` completes them."""

    clock: int
    joins: tuple[Join, ...]
    last: bool


class Member(NamedTuple):
    """A process that is in a group: its node, the boot of that, and its number there."""

    node: str
    incarnation: int
    pid: int


class News(NamedTuple):
    """Who has come into a group, and who has gone, in one step."""

    scope: str
    group: str
    joined: tuple[Member, ...]
    left: tuple[Member, ...]


class _Replica:
    """What is known of one node."""

    __slots__ = ("clock", "incarnation", "incoming", "incoming_clock", "joins", "node")

    def __init__(self, node: str, incarnation: int) -> None:
        self.node, self.incarnation = node, incarnation
        self.clock = -1
        self.joins: dict[int, Join] = {}
        self.incoming: dict[int, Join] = {}
        self.incoming_clock = -1

    def member(self, join: Join) -> Member:
        return Member(self.node, self.incarnation, join.pid)


class Groups:
    """The groups of a cluster as one node knows them.

    Args:
        node: this node.
        incarnation: which boot of it this is.
    """

    def __init__(self, node: str, incarnation: int) -> None:
        self._own = _Replica(node, incarnation)
        self._own.clock = 0
        self._replicas: dict[str, _Replica] = {}
        self._groups: dict[tuple[str, str], dict[tuple[str, int], Member]] = {}
        self._by_pid: dict[int, dict[int, None]] = {}
        self._news: dict[tuple[str, str], tuple[list[Member], list[Member]]] = {}
        self._outbox: list[Join | Leave] = []
        self._next_id = 1

    # This node's own processes

    def join(self, scope: str, group: str, pid: int) -> None:
        """A process of this node comes into a group; it may do so several times.

        Raises:
            TooLarge: when the name is over NAME_BYTES_MAX, or this node has MEMBERSHIPS_MAX.
        """
        for name in (scope, group):
            if len(name.encode()) > NAME_BYTES_MAX:
                raise TooLarge("NAME_BYTES_MAX", len(name.encode()), NAME_BYTES_MAX)
        if len(self._own.joins) >= MEMBERSHIPS_MAX:
            raise TooLarge("MEMBERSHIPS_MAX", len(self._own.joins) + 1, MEMBERSHIPS_MAX)
        join = Join(self._next_id, scope, group, pid)
        self._next_id += 1
        self._by_pid.setdefault(pid, {})[join.id] = None
        self._change(join)

    def leave(self, scope: str, group: str, pid: int) -> bool:
        """A process of this node goes out of a group, once. Returns whether it was in it."""
        for id in self._by_pid.get(pid, ()):
            join = self._own.joins[id]
            if (join.scope, join.group) == (scope, group):
                self._leave(join)
                return True
        return False

    def ended(self, pid: int) -> None:
        """A process of this node has ended: it is in no group any more."""
        for id in list(self._by_pid.get(pid, ())):
            self._leave(self._own.joins[id])

    def is_member(self, pid: int) -> bool:
        """Whether a process of this node is in any group."""
        return pid in self._by_pid

    def _leave(self, join: Join) -> None:
        mine = self._by_pid[join.pid]
        del mine[join.id]
        if not mine:
            del self._by_pid[join.pid]
        self._change(Leave(join.id))

    def _change(self, change: Join | Leave) -> None:
        self._own.clock += 1
        self._apply(self._own, change)
        self._outbox.append(change)

    # Between nodes

    def take_delta(self) -> Delta | None:
        """This node's changes since this was last asked; None when there are none."""
        if not self._outbox:
            return None
        changes = tuple(self._outbox)
        self._outbox.clear()
        return Delta(self._own.clock - len(changes), changes)

    def snapshot(self) -> list[Snapshot]:
        """All memberships of this node, in parts. Deltas that overlap with it do no harm."""
        joins = list(self._own.joins.values())
        parts = [joins[at : at + SNAPSHOT_PART] for at in range(0, len(joins), SNAPSHOT_PART)] or [[]]
        last = len(parts) - 1
        return [Snapshot(self._own.clock, tuple(part), at == last) for at, part in enumerate(parts)]

    def peer_up(self, node: str, incarnation: int) -> None:
        """A node is connected; its snapshot will follow."""
        self.peer_down(node)
        self._replicas[node] = _Replica(node, incarnation)

    def peer_down(self, node: str) -> None:
        """A node is not connected any more: its processes leave at once."""
        replica = self._replicas.pop(node, None)
        if replica is not None:
            for id in list(replica.joins):
                self._apply(replica, Leave(id))

    def merge(self, node: str, message: Delta | Snapshot) -> bool:
        """Take in what `node` said. False when there is a gap: ask it for a snapshot."""
        replica = self._replicas.get(node)
        if replica is None:
            return True
        if isinstance(message, Snapshot):
            self._merge_snapshot(replica, message)
            return True
        if replica.clock < 0 or message.since > replica.clock:
            return False
        for clock, change in enumerate(message.changes, message.since + 1):
            if clock > replica.clock:
                self._apply(replica, change)
                replica.clock = clock
        return True

    def _merge_snapshot(self, replica: _Replica, part: Snapshot) -> None:
        if part.clock != replica.incoming_clock:
            replica.incoming = {}
            replica.incoming_clock = part.clock
        for join in part.joins:
            replica.incoming[join.id] = join
        if not part.last:
            return
        incoming, replica.incoming = replica.incoming, {}
        if part.clock < replica.clock:
            return
        for id in [id for id in replica.joins if id not in incoming]:
            self._apply(replica, Leave(id))
        for id, join in incoming.items():
            if id not in replica.joins:
                self._apply(replica, join)
        replica.clock = part.clock

    # What processes see

    def members(self, scope: str, group: str) -> Iterable[Member]:
        """Every process in a group, on all connected nodes: as often as it has joined."""
        return self._groups.get((scope, group), {}).values()

    def local_members(self, scope: str, group: str) -> Iterable[Member]:
        """Those of this node."""
        return [member for member in self.members(scope, group) if member.node == self._own.node]

    def groups(self, scope: str) -> list[str]:
        """The groups of a scope that have members, sorted."""
        return sorted(group for its, group in self._groups if its == scope)

    def take_news(self) -> list[News]:
        """Who has come and gone since this was last asked."""
        news, self._news = self._news, {}
        return [News(*key, tuple(joined), tuple(left)) for key, (joined, left) in news.items()]

    def _apply(self, replica: _Replica, change: Join | Leave) -> None:
        if isinstance(change, Join):
            key, member = (change.scope, change.group), replica.member(change)
            replica.joins[change.id] = change
            self._groups.setdefault(key, {})[replica.node, change.id] = member
            self._news.setdefault(key, ([], []))[0].append(member)
            return
        old = replica.joins.pop(change.id, None)
        if old is None:
            return
        key = (old.scope, old.group)
        members = self._groups[key]
        del members[replica.node, change.id]
        if not members:
            del self._groups[key]
        self._news.setdefault(key, ([], []))[1].append(replica.member(old))
