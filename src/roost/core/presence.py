"""Who is present under which topic, on the whole cluster: the replicated state behind `live.presence`.

Every node is the only writer of its own presences, so replicas never conflict: a node's state is one `Replica`,
ordered by its clock, and the newest state wins. Changes travel as deltas with contiguous clocks; a receiver that
finds a gap asks for the whole state. This is the tracker of Phoenix (an optimized observed-remove set, Bieniusa et
al. 2012) reduced by two facts: links deliver in order or break, and a broken link is noticed. A replica whose node is
down leaves at once and comes back, changed or not, with the next snapshot.

What clients have to hear accumulates per topic until it is taken, so that many joins become one message. A presence
that came and went in between is not mentioned: each announced join has at most one leave, and no leave is without a
join.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

import msgspec

from roost.errors import TooLarge
from roost.limits import PRESENCE_META_BYTES_MAX, PRESENCES_PER_TOPIC_MAX

SNAPSHOT_CHUNK: Final = 2_000
"""Presences in one Snapshot message; more follow in further ones."""
SNAPSHOT_BYTES: Final = 256 * 1024
"""Metas and names in one Snapshot message; a presence that is larger travels alone."""


class Presence(msgspec.Struct, array_like=True, frozen=True, tag=1, gc=False):
    """Someone, under a topic. `id` is their node's number for them and stays; `ref` is new with every update.

    `meta` is a JSON object, encoded, with `phx_ref` in it, and `phx_ref_prev` after an update.
    """

    id: int
    topic: str
    key: str
    ref: str
    meta: bytes


class Absence(msgspec.Struct, array_like=True, frozen=True, tag=2, gc=False):
    """The presence `id` of the sender is gone."""

    id: int


class Delta(msgspec.Struct, array_like=True, frozen=True, tag="delta"):
    """The changes of one node after its clock was `since`, one tick each."""

    since: int
    changes: tuple[Presence | Absence, ...]


class Snapshot(msgspec.Struct, array_like=True, frozen=True, tag="snapshot"):
    """A part of all presences of one node at `clock`. Parts follow each other; `last` completes them."""

    clock: int
    presences: tuple[Presence, ...]
    last: bool


class Diff:
    """What the clients of one topic have not heard yet, by reference."""

    __slots__ = ("joins", "leaves")

    def __init__(self) -> None:
        self.joins: dict[str, Presence] = {}
        self.leaves: dict[str, Presence] = {}

    def __bool__(self) -> bool:
        return bool(self.joins or self.leaves)


class Replica:
    """What is known of one node."""

    __slots__ = ("clock", "incarnation", "incoming", "incoming_clock", "present")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.clock = -1
        self.present: dict[int, Presence] = {}
        self.incoming: dict[int, Presence] = {}
        self.incoming_clock = -1


class Presences:
    """The presences of a cluster as one node knows them."""

    def __init__(self, node: str, incarnation: int) -> None:
        self.node = node
        self._own = Replica(incarnation)
        self._own.clock = 0
        self._replicas: dict[str, Replica] = {}
        self._topics: dict[str, dict[str, Presence]] = {}
        self._own_counts: dict[str, int] = {}
        self._news: dict[str, Diff] = {}
        self._outbox: list[Presence | Absence] = []
        self._next_id = 1
        origin = hashlib.blake2b(f"{node} {incarnation}".encode(), digest_size=6).digest()
        self._ref_prefix = base64.urlsafe_b64encode(origin).decode()

    # This node's own presences

    def track(self, topic: str, key: str, meta: dict[str, object]) -> int:
        """Add a presence of this node; returns its id.

        Raises:
            TooLarge: PRESENCES_PER_TOPIC_MAX of this node are under the topic already, or `meta` is over
                PRESENCE_META_BYTES_MAX.
            TypeError: `meta` holds something that JSON cannot express.
        """
        count = self._own_counts.get(topic, 0)
        if count >= PRESENCES_PER_TOPIC_MAX:
            raise TooLarge("PRESENCES_PER_TOPIC_MAX", count + 1, PRESENCES_PER_TOPIC_MAX)
        presence = self._describe(self._next_id, topic, key, meta, None)
        self._next_id += 1
        self._own_counts[topic] = count + 1
        self._change(presence)
        return presence.id

    def update(self, id: int, meta: dict[str, object]) -> None:
        """Replace the meta of a presence of this node; clients see a leave and a join in one diff.

        Raises:
            KeyError: no such presence.
            TooLarge: `meta` is over PRESENCE_META_BYTES_MAX.
            TypeError: `meta` holds something that JSON cannot express.
        """
        old = self._own.present[id]
        self._change(self._describe(id, old.topic, old.key, meta, old.ref))

    def untrack(self, id: int) -> None:
        """Remove a presence of this node; harmless when it is gone."""
        old = self._own.present.get(id)
        if old is None:
            return
        count = self._own_counts[old.topic] - 1
        if count:
            self._own_counts[old.topic] = count
        else:
            del self._own_counts[old.topic]
        self._change(Absence(id))

    def _describe(self, id: int, topic: str, key: str, meta: dict[str, object], previous: str | None) -> Presence:
        ref = f"{self._ref_prefix}{self._own.clock + 1:x}"
        full = {**meta, "phx_ref": ref}
        if previous is not None:
            full["phx_ref_prev"] = previous
        encoded = msgspec.json.encode(full)
        if len(encoded) > PRESENCE_META_BYTES_MAX:
            raise TooLarge("PRESENCE_META_BYTES_MAX", len(encoded), PRESENCE_META_BYTES_MAX)
        return Presence(id, topic, key, ref, encoded)

    def _change(self, change: Presence | Absence) -> None:
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
        """All presences of this node, in parts. Deltas that overlap with it do no harm."""
        chunks: list[list[Presence]] = [[]]
        size = 0
        for presence in self._own.present.values():
            added = len(presence.topic) + len(presence.key) + len(presence.meta)
            chunk = chunks[-1]
            if chunk and (len(chunk) >= SNAPSHOT_CHUNK or size + added > SNAPSHOT_BYTES):
                chunks.append(chunk := [])
                size = 0
            chunk.append(presence)
            size += added
        clock = self._own.clock
        return [Snapshot(clock, tuple(chunk), number == len(chunks)) for number, chunk in enumerate(chunks, 1)]

    def peer_up(self, node: str, incarnation: int) -> None:
        """A node is connected; its snapshot will follow."""
        self.peer_down(node)
        self._replicas[node] = Replica(incarnation)

    def peer_down(self, node: str) -> None:
        """A node is not connected any more: its presences leave at once."""
        replica = self._replicas.pop(node, None)
        if replica is not None:
            for id in list(replica.present):
                self._apply(replica, Absence(id))

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

    def _merge_snapshot(self, replica: Replica, part: Snapshot) -> None:
        if part.clock != replica.incoming_clock:
            # What came of an earlier one that was never completed may have left since.
            replica.incoming = {}
            replica.incoming_clock = part.clock
        for presence in part.presences:
            replica.incoming[presence.id] = presence
        if not part.last:
            return
        incoming, replica.incoming = replica.incoming, {}
        if part.clock < replica.clock:
            return
        for id in [id for id in replica.present if id not in incoming]:
            self._apply(replica, Absence(id))
        for presence in incoming.values():
            if replica.present.get(presence.id) != presence:
                self._apply(replica, presence)
        replica.clock = part.clock

    # What clients see

    def _apply(self, replica: Replica, change: Presence | Absence) -> None:
        old = replica.present.pop(change.id, None)
        if old is not None:
            self._leave(old)
        if isinstance(change, Presence):
            replica.present[change.id] = change
            self._topics.setdefault(change.topic, {})[change.ref] = change
            diff = self._diff(change.topic)
            if diff.leaves.pop(change.ref, None) is None:
                diff.joins[change.ref] = change

    def _leave(self, old: Presence) -> None:
        present = self._topics[old.topic]
        del present[old.ref]
        if not present:
            del self._topics[old.topic]
        diff = self._diff(old.topic)
        if diff.joins.pop(old.ref, None) is None:
            diff.leaves[old.ref] = old

    def _diff(self, topic: str) -> Diff:
        diff = self._news.get(topic)
        if diff is None:
            diff = self._news[topic] = Diff()
        return diff

    def take_diffs(self) -> dict[str, Diff]:
        """What changed since this was last asked, by topic."""
        news, self._news = self._news, {}
        return {topic: diff for topic, diff in news.items() if diff}

    def present(self, topic: str) -> list[Presence]:
        """Everyone under a topic, on all connected nodes."""
        return list(self._topics.get(topic, {}).values())

    @property
    def has_news(self) -> bool:
        """Whether there is something for other nodes or for clients."""
        return bool(self._outbox or self._news)


def by_key(presences: list[Presence]) -> dict[str, dict[str, list[msgspec.Raw]]]:
    """The shape in which Phoenix clients expect presences: `{key: {"metas": [...]}}`, ready to be encoded as JSON."""
    grouped: dict[str, dict[str, list[msgspec.Raw]]] = {}
    for presence in presences:
        entry = grouped.get(presence.key)
        if entry is None:
            grouped[presence.key] = {"metas": [msgspec.Raw(presence.meta)]}
        else:
            entry["metas"].append(msgspec.Raw(presence.meta))
    return grouped
