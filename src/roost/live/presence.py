"""Presence: who is on a topic, on all nodes, pushed to the clients as Phoenix does.

The decisions are in `core.presence`. This shell tells this node's clients, and `presence_peers` the other nodes. Both
happen once per tick, so a thousand people who join at once cost each client a few frames instead of a thousand.

When things fail: the presences of a node that is lost leave within the 2 s in which a lost link is noticed, and are
back when it is; those of a node that stops in order leave at once. In a netsplit each side sees its own, and who has a
link with some node that both sides reach is seen through that node.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from roost.cluster.fabric import Fabric
from roost.core.presence.diff import Diff
from roost.core.presence.presence import Presence as One
from roost.core.presence.presence import by_key
from roost.core.presence.presences import Presences
from roost.errors import NotLocal, TooLarge
from roost.limits import PRESENCE_TICK_S
from roost.live.presence_fetch import Extras, Fetches, FetchFor, entries, with_extras
from roost.live.presence_peers import PresencePeers
from roost.live.pubsub import PubSub
from roost.otp import Down, GenServer, Monitor, Process, Scheduler
from roost.otp.remote import target_of
from roost.runtime.clock import Timer

logger = logging.getLogger("roost.presence")

STATE_EVENT: Final = "presence_state"
DIFF_EVENT: Final = "presence_diff"

Welcome = Callable[[str, object], None]
"""Pushes an event with a payload to one client."""
Meta = Mapping[str, object]
"""What is told of a presence: a JSON object."""

_encode_json: Final = msgspec.json.Encoder().encode
_decode_meta: Final = msgspec.json.Decoder(dict[str, object]).decode


class _Owner:
    """A process, and the presences that end with it."""

    __slots__ = ("ids", "monitor")

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.ids: dict[int, None] = {}


class Presence:
    """The presences of the cluster on one node.

    Args:
        scheduler: the processes of this node.
        fabric: its links.
        pubsub: its topics.
        fetch_for: which hook, if any, adds something to what the clients of a topic are told. It is asked at every
            diff, so it should only look it up.
    """

    def __init__(
        self, scheduler: Scheduler, fabric: Fabric, pubsub: PubSub, *, fetch_for: FetchFor | None = None
    ) -> None:
        self._scheduler, self._pubsub = scheduler, pubsub
        self._clock = scheduler.runtime.clock
        self._fetch_for = fetch_for
        self._state = Presences(fabric.node, fabric.incarnation)
        self._fetches = Fetches(scheduler)
        self._arrivals: dict[str, list[Welcome]] = {}
        self._owners: dict[Process, _Owner] = {}
        self._owner_of: dict[int, Process] = {}
        self._tick: Timer | None = None
        self._is_stopped = False
        self._peers = PresencePeers(fabric, self._clock, self._state, self._soon)

    # What an application does

    def track(self, topic: str, key: str | int, meta: Meta, *, owner: GenServer | None = None) -> int:
        """Add a presence of this node, told to all nodes and their clients at the next tick; returns its id.

        Args:
            topic: under which topic.
            key: who it is, such as the id of a user; there may be many presences of the same. A number becomes text.
            meta: a JSON object, which is told to clients.
            owner: a process of this node; the presence ends with it. Without one it ends with `untrack`.

        Raises:
            TooLarge: PRESENCES_MAX are on this node, PRESENCES_PER_TOPIC_MAX of this node under the topic, or `meta`,
                the topic or the key is over its limit.
            TypeError: `meta` holds something that JSON cannot express.
            UnicodeEncodeError: some text, such as half of a surrogate pair, cannot be sent to anybody.
            NotLocal: the owner is a process of another node.
            ProcessDown: the owner has ended.
        """
        process = None if owner is None else self._local(owner)
        id = self._state.track(topic, str(key), meta)
        if process is not None:
            self._own(process, id)
        self._soon()
        return id

    def update(self, id: int, meta: Meta) -> None:
        """Replace the meta of a presence of this node. Clients hear of it as a leave and a join in one diff, where the
        new meta names the old one's reference as `phx_ref_prev`.

        Raises:
            KeyError: no such presence.
            TooLarge: `meta` is over PRESENCE_META_BYTES_MAX.
            TypeError: `meta` holds something that JSON cannot express.
        """
        self._state.update(id, meta)
        self._soon()

    def untrack(self, id: int) -> None:
        """Remove a presence of this node; harmless when it is gone."""
        process = self._owner_of.pop(id, None)
        if process is not None:
            owner = self._owners[process]
            del owner.ids[id]
            if not owner.ids:
                owner.monitor.cancel()
                del self._owners[process]
        self._state.untrack(id)
        self._soon()

    def welcome(self, topic: str, push: Welcome) -> None:
        """Push `presence_state` to one client at the next tick; the diffs that follow go on from there.

        The client must be subscribed to the topic already. The payload is encoded once for all who come in one tick.
        """
        self._arrivals.setdefault(topic, []).append(push)
        self._soon()

    def list(self, topic: str) -> dict[str, list[dict[str, object]]]:
        """Who is on a topic now, on all nodes that can be reached: the metas of each key."""
        listing: dict[str, list[dict[str, object]]] = {}
        for presence in self._state.present(topic):
            listing.setdefault(presence.key, []).append(_decode_meta(presence.meta))
        return listing

    def count(self, topic: str) -> int:
        """How many presences are under a topic now, on all nodes that can be reached. It costs the same for any number.

        A user with two open tabs counts twice: it is the number of metas, not of keys.
        """
        return self._state.count(topic)

    @property
    def own(self) -> int:
        """How many presences of this node there are, on all topics."""
        return self._state.own

    @property
    def bad(self) -> int:
        """How many messages of other nodes about presences were none."""
        return self._peers.bad

    def stop(self) -> None:
        """Tell the other nodes that this one has gone, so that its presences leave at once; then tell nobody anything.

        To be called before the links close. Harmless when it was.
        """
        if self._is_stopped:
            return
        self._is_stopped = True
        if self._tick is not None:
            self._tick.cancel()
        self._peers.stop()
        self._fetches.stop()

    # Owners

    def _local(self, handle: GenServer) -> Process:
        if target_of(handle) is not None or handle._process.scheduler is not self._scheduler:
            raise NotLocal(repr(handle))
        process = handle._process
        if not process.alive:
            raise process.down()
        return process

    def _own(self, process: Process, id: int) -> None:
        owner = self._owners.get(process)
        if owner is None:
            monitor = Monitor(process, None, partial(self._bereave, process))
            process.tied.monitors[monitor] = None
            owner = self._owners[process] = _Owner(monitor)
        owner.ids[id] = None
        self._owner_of[id] = process

    def _bereave(self, process: Process, down: Down) -> None:
        for id in list(self._owners[process].ids):
            self.untrack(id)

    # The tick

    def _soon(self) -> None:
        if self._tick is None and not self._is_stopped:
            self._tick = self._clock.call_later(PRESENCE_TICK_S, self._flush)

    def _flush(self) -> None:
        self._tick = None
        is_behind = self._peers.flush()
        topics = dict.fromkeys((*self._state.news(), *self._arrivals))
        for topic in topics:
            if not self._fetches.is_busy(topic):
                try:
                    self._tell(topic)
                except Exception:  # the others have nothing to do with it
                    logger.exception("the clients on %s were not told who is there", topic)
        if is_behind or any(not self._fetches.is_busy(topic) for topic in self._state.news()):
            self._soon()

    def _tell(self, topic: str) -> None:
        """Tell the clients of one topic what has changed, and those who have come everything."""
        welcomes = self._arrivals.pop(topic, [])
        if not self._pubsub.subscribers(topic):
            self._state.drop_diff(topic)
        diffs = [self._state.take_diff(topic)]
        while welcomes and diffs[-1]:  # what they are told later must go on from the list
            diffs.append(self._state.take_diff(topic))
        diffs = [diff for diff in diffs if diff]
        if not diffs and not welcomes:
            return
        everyone = [*self._state.present(topic)] if welcomes else []
        fetch = None if self._fetch_for is None else self._fetch_for(topic)
        if fetch is None:
            self._push(topic, diffs, everyone, welcomes, {})
            return
        # Once for all of it: who joins or leaves, and, when somebody has come, who is there already.
        seen = {one.ref: one for diff in diffs for one in (*diff.joins.values(), *diff.leaves.values())}
        seen.update((one.ref, one) for one in everyone)

        def done(extras: Extras) -> None:
            if not self._is_stopped:
                self._push(topic, diffs, everyone, welcomes, extras)
                self._soon()

        self._fetches.run(topic, fetch, entries(seen.values()), done)

    def _push(
        self, topic: str, diffs: Iterable[Diff], everyone: Sequence[One], welcomes: Sequence[Welcome], extras: Extras
    ) -> None:
        for diff in diffs:
            try:
                self._broadcast(topic, diff, extras)
            except TooLarge as error:
                logger.warning("what fetch adds for %s is too much, clients are told without it: %s", topic, error)
                self._broadcast(topic, diff, {})
        if welcomes:
            state = msgspec.Raw(_encode_json(with_extras(by_key(everyone), extras)))
            for welcome in welcomes:
                welcome(STATE_EVENT, state)

    def _broadcast(self, topic: str, diff: Diff, extras: Extras) -> None:
        joins, leaves = (with_extras(by_key(side.values()), extras) for side in (diff.joins, diff.leaves))
        self._pubsub.local_broadcast(topic, DIFF_EVENT, {"joins": joins, "leaves": leaves})
