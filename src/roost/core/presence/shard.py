"""The presences of some topics: what is known of every node, and what of it is shown."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from roost.core.presence.diff import Diff
from roost.core.presence.fragment import Fragment
from roost.core.presence.presence import Origin, Presence
from roost.core.presence.replica import Change, Replica
from roost.errors import TooLarge
from roost.limits import PRESENCE_META_BYTES_MAX, PRESENCE_REPLICAS_MAX, PRESENCES_PER_TOPIC_MAX


class Shard:
    """One shard of one node.

    Args:
        number: which one.
        origin: this node.

    Attributes:
        own: this node's own presences.
        shown: which boot of each node is shown, this node's among them.
    """

    def __init__(self, number: int, origin: Origin) -> None:
        self.own = Replica(origin)
        self.shown: dict[str, Origin] = {origin.node: origin}
        self._replicas: dict[Origin, Replica] = {origin: self.own}
        self._topics: dict[str, dict[str, Presence]] = {}
        self._own_counts: dict[str, int] = {}
        self._news: dict[str, Diff] = {}
        self._lonely: dict[Origin, None] = {}
        seed = hashlib.blake2b(f"{origin.node} {origin.incarnation} {number}".encode(), digest_size=6).digest()
        self._ref_prefix = base64.urlsafe_b64encode(seed).decode()

    # This node's own presences

    def track(self, topic: str, key: str, meta: Mapping[str, object]) -> int:
        """Add a presence of this node; returns its dot.

        Raises:
            TooLarge: PRESENCES_PER_TOPIC_MAX of this node are under the topic already, or `meta` is over
                PRESENCE_META_BYTES_MAX.
            TypeError: `meta` holds something that JSON cannot express.
        """
        count = self._own_counts.get(topic, 0)
        if count >= PRESENCES_PER_TOPIC_MAX:
            raise TooLarge("PRESENCES_PER_TOPIC_MAX", count + 1, PRESENCES_PER_TOPIC_MAX)
        presence = self._describe(self.own.clock + 1, topic, key, meta, None)
        self._own_counts[topic] = count + 1
        self.own.add(presence)
        self._come(presence)
        return presence.dot

    def update(self, dot: int, meta: Mapping[str, object]) -> int:
        """Replace the meta of a presence of this node; returns its new dot. Clients see a leave and a join in one diff.

        Raises:
            KeyError: no such presence.
            TooLarge: `meta` is over PRESENCE_META_BYTES_MAX.
            TypeError: `meta` holds something that JSON cannot express.
        """
        old = self.own.rows[dot]
        presence = self._describe(self.own.clock + 2, old.topic, old.key, meta, old.ref)
        self._go(self.own.remove(dot))
        self.own.add(presence)
        self._come(presence)
        return presence.dot

    def untrack(self, dot: int) -> None:
        """Remove a presence of this node.

        Raises:
            KeyError: no such presence.
        """
        gone = self.own.remove(dot)
        count = self._own_counts[gone.topic] - 1
        if count:
            self._own_counts[gone.topic] = count
        else:
            del self._own_counts[gone.topic]
        self._go(gone)

    def _describe(self, dot: int, topic: str, key: str, meta: Mapping[str, object], previous: str | None) -> Presence:
        ref = f"{self._ref_prefix}{dot:x}"
        full = {**meta, "phx_ref": ref}
        if previous is not None:
            full["phx_ref_prev"] = previous
        encoded = msgspec.json.encode(full)
        if len(encoded) > PRESENCE_META_BYTES_MAX:
            raise TooLarge("PRESENCE_META_BYTES_MAX", len(encoded), PRESENCE_META_BYTES_MAX)
        return Presence(dot, topic, key, ref, encoded)

    # What is known

    @property
    def known(self) -> Iterable[Origin]:
        """The boots of nodes of which presences are known, or were."""
        return self._replicas

    def clock(self, origin: Origin) -> int:
        """Up to which event everything of an origin was seen."""
        replica = self._replicas.get(origin)
        return 0 if replica is None else replica.clock

    def after(self, origin: Origin, clock: int) -> Fragment | None:
        """What somebody has to be told of an origin who has seen its events up to `clock`; None when nothing."""
        replica = self._replicas.get(origin)
        return None if replica is None else replica.after(clock)

    def merge(self, fragment: Fragment) -> bool:
        """Take in what anybody says of a node. False when something is missing before it, that has to be asked for.

        What is said of this node's own boots is not taken: nobody knows that better.
        """
        origin = fragment.origin
        if origin.node == self.own.origin.node:
            return True
        replica = self._replicas.get(origin)
        if replica is None:
            if len(self._replicas) >= PRESENCE_REPLICAS_MAX:
                return True
            replica = self._replicas[origin] = Replica(origin)
        change = replica.merge(fragment)
        if change is None:
            return False
        if self.shown.get(origin.node) == origin:
            self._tell(change)
        return not replica.has_gaps

    def forget(self, origin: Origin) -> None:
        """Know nothing of an origin any more."""
        self.hide(origin)
        self._replicas.pop(origin, None)

    def forget_lonely(self) -> tuple[bool, bool]:
        """Forget who was not shown when this was last asked, and is not shown now.

        Returns whether there were any, and whether there are others that are not shown.
        """
        hidden = {one: None for one in self._replicas if self.shown.get(one.node) != one}
        lonely = [one for one in hidden if one in self._lonely]
        for one in lonely:
            del self._replicas[one], hidden[one]
        self._lonely = hidden
        return bool(lonely), bool(hidden)

    # What is shown

    def show(self, origin: Origin) -> None:
        """Show a node's presences from now on."""
        self.shown[origin.node] = origin
        replica = self._replicas.get(origin)
        if replica is not None:
            self._tell(Change([*replica.rows.values()], []))

    def hide(self, origin: Origin) -> None:
        """Do not show a node's presences any more; harmless when they are not."""
        if self.shown.get(origin.node) != origin:
            return
        del self.shown[origin.node]
        replica = self._replicas.get(origin)
        if replica is not None:
            self._tell(Change([], [*replica.rows.values()]))

    def present(self, topic: str) -> Iterable[Presence]:
        """Everyone under a topic who is shown."""
        return self._topics.get(topic, {}).values()

    def count(self, topic: str) -> int:
        """How many that are."""
        return len(self._topics.get(topic, ()))

    def take_diff(self, topic: str) -> Diff:
        """What has changed under a topic since this was last asked, or as much of it as one message may hold."""
        diff = self._news.get(topic)
        if diff is None:
            return Diff()
        part = diff.take()
        if not diff:
            del self._news[topic]
        return part

    def drop_diff(self, topic: str) -> None:
        """Nobody has to be told what has changed under a topic so far."""
        self._news.pop(topic, None)

    @property
    def news(self) -> Iterable[str]:
        """The topics of which there may be a diff."""
        return self._news

    def _tell(self, change: Change) -> None:
        for presence in change.gone:
            self._go(presence)
        for presence in change.came:
            self._come(presence)

    def _come(self, presence: Presence) -> None:
        self._topics.setdefault(presence.topic, {})[presence.ref] = presence
        self._diff(presence.topic).join(presence)

    def _go(self, presence: Presence) -> None:
        present = self._topics[presence.topic]
        del present[presence.ref]
        if not present:
            del self._topics[presence.topic]
        self._diff(presence.topic).leave(presence)

    def _diff(self, topic: str) -> Diff:
        diff = self._news.get(topic)
        if diff is None:
            diff = self._news[topic] = Diff()
        return diff
