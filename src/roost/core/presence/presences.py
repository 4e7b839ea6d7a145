"""All presences of a cluster as one node knows them: its own, those of others, and what it has told whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from zlib import crc32

from roost.core.presence.diff import Diff
from roost.core.presence.fragment import Fragment, Known, View
from roost.core.presence.presence import Origin, Presence
from roost.core.presence.reach import Reach
from roost.core.presence.shard import Shard
from roost.core.presence.spans import END
from roost.errors import TooLarge
from roost.limits import PRESENCE_SHARDS, PRESENCES_MAX, TOPIC_BYTES_MAX


class Debt(NamedTuple):
    """A peer has to be told the events of an origin after a clock."""

    shard: int
    origin: Origin
    after: int


class Presences:
    """The presences of a cluster as one node knows them.

    Args:
        node: this node.
        incarnation: which boot of it this is.
    """

    def __init__(self, node: str, incarnation: int) -> None:
        self.origin = Origin(node, incarnation)
        self._shards = tuple(Shard(number, self.origin) for number in range(PRESENCE_SHARDS))
        self._reach = Reach(node)
        self._own: dict[int, int] = {}
        self._next_id = 0
        self._told: dict[str, dict[tuple[int, Origin], int]] = {}

    def shard_of(self, topic: str) -> Shard:
        """Where the presences of a topic are."""
        return self._shards[crc32(topic.encode()) % PRESENCE_SHARDS]

    # This node's own presences

    def track(self, topic: str, key: str, meta: Mapping[str, object]) -> int:
        """Add a presence of this node; returns its id, which stays when it is updated.

        Raises:
            TooLarge: PRESENCES_MAX are on this node, PRESENCES_PER_TOPIC_MAX of this node under the topic, or `meta`,
                the topic or the key is over its limit.
            TypeError: `meta` holds something that JSON cannot express.
            UnicodeEncodeError: some text, such as half of a surrogate pair, cannot be sent to anybody.
        """
        if len(self._own) >= PRESENCES_MAX:
            raise TooLarge("PRESENCES_MAX", len(self._own) + 1, PRESENCES_MAX)
        for name in (topic, key):
            size = len(name.encode())
            if size > TOPIC_BYTES_MAX:
                raise TooLarge("TOPIC_BYTES_MAX", size, TOPIC_BYTES_MAX)
        number = crc32(topic.encode()) % PRESENCE_SHARDS
        dot = self._shards[number].track(topic, key, meta)
        id = self._next_id * PRESENCE_SHARDS + number
        self._next_id += 1
        self._own[id] = dot
        return id

    def update(self, id: int, meta: Mapping[str, object]) -> None:
        """Replace the meta of a presence of this node; clients see a leave and a join in one diff.

        Raises:
            KeyError: no such presence.
            TooLarge: `meta` is over PRESENCE_META_BYTES_MAX.
            TypeError: `meta` holds something that JSON cannot express.
        """
        self._own[id] = self._shards[id % PRESENCE_SHARDS].update(self._own[id], meta)

    def untrack(self, id: int) -> None:
        """Remove a presence of this node; harmless when it is gone."""
        dot = self._own.pop(id, None)
        if dot is not None:
            self._shards[id % PRESENCE_SHARDS].untrack(dot)

    @property
    def own(self) -> int:
        """How many presences of this node there are."""
        return len(self._own)

    def farewells(self) -> list[tuple[int, Fragment]]:
        """What tells the others, for each shard, that this node has gone and will never say anything again."""
        return [(number, Fragment(self.origin, ((0, END),), (), ())) for number in range(PRESENCE_SHARDS)]

    # Links

    def peer_up(self, node: str, incarnation: int) -> None:
        """There is a link with a node, so earlier boots of it are gone. It is told nothing before its view has come."""
        self._told.pop(node, None)
        origin = Origin(node, incarnation)
        self._reach.up(origin)
        for shard in self._shards:
            for other in [one for one in shard.known if one.node == node and one != origin]:
                shard.forget(other)
        self._refresh()

    def peer_down(self, node: str) -> None:
        """The link is gone. Its presences leave at once, unless another peer has a link with it."""
        self._told.pop(node, None)
        self._reach.down(node)
        self._refresh()

    def view(self, *, asks: bool = False) -> View:
        """What this node knows of all, for a peer."""
        direct = self._reach.direct
        origins = {self.origin: None, **dict.fromkeys(direct.values())}
        for shard in self._shards:
            origins.update(dict.fromkeys(shard.known))
        return View(tuple([self._known(origin) for origin in origins]), asks)

    def _known(self, origin: Origin) -> Known:
        clocks = tuple([shard.clock(origin) for shard in self._shards])
        if origin == self.origin:
            return Known(origin, True, clocks, clocks)
        goals = self._reach.goals(origin.node, origin)
        if goals:
            goals = tuple([max(pair) for pair in zip(clocks, goals, strict=False)])
        return Known(origin, self._reach.direct.get(origin.node) == origin, clocks, goals)

    def hear(self, peer: str, view: View) -> bool:
        """A peer that is connected says what it knows of all. Returns whether others have to be sent a view now: this
        was its first one."""
        if peer not in self._reach.direct:
            return False
        is_first = not self._reach.has_word(peer)
        owed = {self.origin, *self._reach.direct.values()}
        told = {} if view.asks else self._told.get(peer, {})
        self._told[peer] = {key: clock for key, clock in told.items() if key[1] in owed}
        self._reach.hear(peer, view)
        self._refresh()
        return is_first

    def look(self) -> bool:
        """See which peers have no links with each other; returns whether there are any. See `Reach.look`."""
        return self._reach.look()

    def merge(self, shard: int, fragment: Fragment) -> bool:
        """Take in what a peer says of any node. False when it has to be asked, with `view(asks=True)`, for what is
        missing before that."""
        is_whole = self._shards[shard].merge(fragment)
        origin = fragment.origin
        if self._shards[shard].shown.get(origin.node) != origin:
            self._refresh(origin.node)
        return is_whole

    def debts(self, peer: str) -> Iterable[Debt]:
        """What a peer has not been told; nothing before its view has come."""
        told = self._told.get(peer)
        if told is None:
            return
        for origin in (self.origin, *self._reach.relayed(peer)):
            for number, shard in enumerate(self._shards):
                clock, now = told.get((number, origin), 0), shard.clock(origin)
                if now > clock:  # for most of many peers and shards it is not, and what they say need not be looked at
                    clock = max(clock, self._reach.clock(peer, origin, number))
                    if now > clock:
                        yield Debt(number, origin, clock)

    def fragment(self, debt: Debt) -> Fragment | None:
        """What the peer has to be told."""
        return self._shards[debt.shard].after(debt.origin, debt.after)

    def pay(self, peer: str, debt: Debt) -> None:
        """The peer will be told: of what happens from now on it has to be told later."""
        self._told[peer][debt.shard, debt.origin] = self._shards[debt.shard].clock(debt.origin)

    def forget_lonely(self) -> tuple[bool, bool]:
        """Forget the nodes that could not be reached when this was last asked, and still can not.

        Returns whether there were any, so that peers have to be told that by a view that asks, and whether there are
        others that will have to be forgotten.
        """
        found = [shard.forget_lonely() for shard in self._shards]
        return any(forgotten for forgotten, _ in found), any(others for _, others in found)

    def _refresh(self, *nodes: str) -> None:
        """Show who is alive, once everything is known that whoever says so knows; hide who is not."""
        routes = self._reach.routes()
        me = self.origin.node
        for number, shard in enumerate(self._shards):
            for node in nodes or tuple(shard.shown):
                shown, route = shard.shown.get(node), routes.get(node)
                if node == me or shown is None or (route is not None and route.origin == shown):
                    continue
                if route is None:
                    shard.hide(shown)
                else:
                    shard.forget(shown)
            for node in nodes or tuple(routes):
                route = routes.get(node)
                if route is None or node in shard.shown:
                    continue
                goals = self._reach.goals(route.source, route.origin)
                if number < len(goals) and shard.clock(route.origin) >= goals[number]:
                    shard.show(route.origin)

    # What clients see

    def present(self, topic: str) -> Iterable[Presence]:
        """Everyone under a topic, on all nodes that are alive."""
        return self.shard_of(topic).present(topic)

    def count(self, topic: str) -> int:
        """How many presences that are, without looking at them."""
        return self.shard_of(topic).count(topic)

    def take_diff(self, topic: str) -> Diff:
        """What has changed under a topic since this was last asked, or as much of it as one message may hold."""
        return self.shard_of(topic).take_diff(topic)

    def drop_diff(self, topic: str) -> None:
        """Nobody has to be told what has changed under a topic so far."""
        self.shard_of(topic).drop_diff(topic)

    def news(self) -> list[str]:
        """The topics of which there may be a diff."""
        return [topic for shard in self._shards for topic in shard.news]
