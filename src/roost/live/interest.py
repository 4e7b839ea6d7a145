"""Tells the other nodes which topics are wanted here, and knows what they want.

The decisions are in `core.interest`. What is wanted newly goes out at the end of the turn, as one request to each
peer, and the peer's reply says that it knows: that is one *wave*. What is not wanted any more follows within FADE_S, so
that a page that is loaded anew costs no message. A peer that comes up is told everything in parts, each when the one
before is answered. Links deliver in order, so what a node knows of a peer's wishes is exact, up to what is still on its
way.

When things fail: a peer that could not be told, or was silent for CALL_TIMEOUT_S, is not waited for, and is told
everything after RESYNC_S. Meanwhile it goes by what it knew. With a peer of another release, that has another number of
buckets, all is sent both ways, and nothing is told.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Annotated, Final

import msgspec

from roost.cluster.fabric import Fabric, PeerDown, PeerUp
from roost.cluster.link import Link
from roost.core.interest import BUCKETS, Interested, Part, Wishes
from roost.errors import BadMessage, NodeDown, NoSuchProcess, RoostError
from roost.limits import CALL_TIMEOUT_S, TOPIC_BUCKETS_PER_MESSAGE
from roost.live.turn import Turn
from roost.runtime.clock import Clock, Timer
from roost.wire.handshake import TOPICS
from roost.wire.messages import Request

RESYNC_S: Final = 0.25
"""The pause before a peer that could not be told is told everything again."""
FADE_S: Final = 0.5
"""How long it takes at most until the others are told that a topic is not wanted any more."""
_NOTHING: Final = -1
"""The wave that a peer knows which is not through with being told everything."""

logger = logging.getLogger("roost.pubsub")

_Bucket = Annotated[int, msgspec.Meta(ge=0, lt=BUCKETS)]
_Buckets = Annotated[list[_Bucket], msgspec.Meta(max_length=TOPIC_BUCKETS_PER_MESSAGE)]


class Changed(msgspec.Struct, array_like=True, frozen=True, tag=1, gc=False):
    """What the sender wants, and does not want any more, from now on."""

    wanted: _Buckets
    unwanted: _Buckets


class Everything(msgspec.Struct, array_like=True, frozen=True, tag=2, gc=False):
    """All that the sender wants of the buckets from `first` to before `end`."""

    first: _Bucket
    end: Annotated[int, msgspec.Meta(ge=0, le=BUCKETS)]
    wanted: _Buckets


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Changed | Everything).decode
_DONE: Final = _encode(None)


class _Peer:
    """What a connected node knows of the wishes of this one.

    Attributes:
        at: from which bucket on it must be told everything; None when it has been told, or is not to be told now.
        knows: the last wave that it has confirmed; infinite when it is not waited for.
        hears: whether it takes what is said. Otherwise it is told everything later.
        round: how often it was begun to tell it everything.
    """

    __slots__ = ("at", "hears", "knows", "name", "round")

    def __init__(self, name: str) -> None:
        self.name = name
        self.at: int | None = None
        self.knows: float = math.inf
        self.hears = False
        self.round = 0


class Interest:
    """Both directions of interest for one node.

    Args:
        fabric: its links.
        service: who listens to interest over there.
        clock: its clock.
        turn: when what is new is told.

    Attributes:
        peers: which connected nodes want a bucket.
    """

    def __init__(self, fabric: Fabric, service: str, clock: Clock, turn: Turn) -> None:
        self._fabric, self._service, self._clock, self._turn = fabric, service, clock, turn
        self._wishes = Wishes()
        self._interested = Interested()
        self.peers = self._interested.peers
        self._told: dict[str, _Peer] = {}
        self._slowest: _Peer | None = None
        self._wave = 0
        self._waves: deque[tuple[int, list[int]]] = deque()
        self._unconfirmed: dict[int, int] = {}
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._fade: Timer | None = None

    # What is wanted here

    def want(self, bucket: int) -> None:
        """One more topic of the bucket is wanted here."""
        if self._wishes.add(bucket):
            self._turn.mark(self)

    def unwant(self, bucket: int) -> None:
        """One topic less."""
        if self._wishes.remove(bucket) and self._fade is None:
            self._fade = self._clock.call_later(FADE_S, self._tell_faded)

    def when_settled(self, bucket: int, action: Callable[[], None]) -> None:
        """Call `action` when every connected node knows that the bucket is wanted; at once when all do."""
        wave = self._wave + 1 if self._wishes.is_news(bucket) else self._unconfirmed.get(bucket, 0)
        if wave <= self._known():
            action()
            return
        self._number += 1
        heapq.heappush(self._waiting, (wave, self._number, action))

    def flush(self) -> None:
        """The turn ends: tell what is new."""
        news = self._wishes.take_news()
        if not news and not self._waiting:
            return
        self._wave = wave = self._wave + 1
        hearers = [peer for peer in self._told.values() if peer.hears]
        if not hearers:
            return
        self._unconfirmed.update(dict.fromkeys(news, wave))
        self._waves.append((wave, news))
        for at in range(0, len(news) or 1, TOPIC_BUCKETS_PER_MESSAGE):
            body = _encode(Changed(news[at : at + TOPIC_BUCKETS_PER_MESSAGE], []))
            is_last = at + TOPIC_BUCKETS_PER_MESSAGE >= len(news)
            for peer in hearers:
                self._tell(peer, body, partial(self._confirm, peer, wave) if is_last else _nothing)

    def _tell_faded(self) -> None:
        self._fade = None
        faded = self._wishes.take_faded()
        for at in range(0, len(faded), TOPIC_BUCKETS_PER_MESSAGE):
            body = _encode(Changed([], faded[at : at + TOPIC_BUCKETS_PER_MESSAGE]))
            for peer in list(self._told.values()):
                if peer.hears:
                    self._tell(peer, body, _nothing)

    # Who knows it

    def _known(self) -> float:
        """The last wave that everybody knows who is waited for."""
        if self._slowest is None and self._told:
            self._slowest = _slowest(self._told)
        return math.inf if self._slowest is None else self._slowest.knows

    def _confirm(self, peer: _Peer, wave: int) -> None:
        if peer.at is None:
            peer.knows = wave
            if self._slowest is None or peer is self._slowest:  # nobody else's word changes what all know
                self._slowest = None
                self._settle()

    def _settle(self) -> None:
        if not self._waves and not self._waiting:
            return
        known = self._known()
        waves, unconfirmed = self._waves, self._unconfirmed
        while waves and waves[0][0] <= known:
            wave, buckets = waves.popleft()
            for bucket in buckets:
                if unconfirmed.get(bucket) == wave:
                    del unconfirmed[bucket]
        waiting = self._waiting
        while waiting and waiting[0][0] <= known:
            _, _, action = heapq.heappop(waiting)
            try:
                action()
            except Exception:  # its own affair: the others have waited long enough
                logger.exception("what waited until a topic was known everywhere has failed")
            known = self._known()

    # Telling one peer

    def _tell_everything(self, peer: _Peer) -> None:
        peer.hears, peer.at, peer.knows = True, 0, _NOTHING
        self._slowest = None
        peer.round += 1
        self._tell_part(peer)

    def _tell_part(self, peer: _Peer) -> None:
        self.flush()  # no part holds what is news: who takes that back in this turn would tell nobody
        if peer.at is None:  # it could not be told even that
            return
        part, wave = self._wishes.part(peer.at, TOPIC_BUCKETS_PER_MESSAGE), self._wave
        self._tell(peer, _encode(Everything(*part)), partial(self._told_part, peer, peer.round, part.end, wave))

    def _told_part(self, peer: _Peer, round: int, end: int, wave: int) -> None:
        if round != peer.round:
            return
        if end < BUCKETS:
            peer.at = end
            self._tell_part(peer)
        else:
            peer.at = None
            self._confirm(peer, wave)

    def _tell(self, peer: _Peer, body: bytes, done: Callable[[], None]) -> None:
        def on_reply(outcome: msgspec.Raw | RoostError) -> None:
            if self._told.get(peer.name) is not peer or isinstance(outcome, NodeDown):
                return
            if isinstance(outcome, RoostError):
                self._lose(peer, outcome)
            elif peer.hears:
                done()

        self._fabric.request(peer.name, self._service, body, CALL_TIMEOUT_S, on_reply)

    def _lose(self, peer: _Peer, error: RoostError) -> None:
        """It does not take what is said: do not wait for it, and try again."""
        if not peer.hears:
            return
        peer.hears, peer.at, peer.knows = False, None, math.inf
        self._slowest = None
        if not isinstance(error, NoSuchProcess):  # then it has no topics, and will say so itself when it has
            if peer.round & (peer.round - 1) == 0:  # one that is behind for long is tried several times a second
                logger.warning("%s does not know which topics are wanted here: %s", peer.name, error)
            self._clock.call_later(RESYNC_S, lambda: self._resync(peer))
        self._settle()

    def _resync(self, peer: _Peer) -> None:
        if self._told.get(peer.name) is peer and not peer.hears:
            self._tell_everything(peer)

    # Hearing the others

    def on_request(self, link: Link, request: Request) -> None:
        """What another node wants. Raises BadMessage."""
        peer = self._told.get(link.peer)
        try:
            said = _decode(request.body)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"interest in topics: {error}") from error
        if peer is None:
            raise BadMessage(f"interest in topics of {link.peer}, which is no peer")
        if isinstance(said, Everything):
            self._interested.replace(peer.name, Part(said.first, said.end, said.wanted))
            self._resync(peer)
        else:
            self._interested.change(peer.name, said.wanted, said.unwanted)
        link.reply(request.id, _DONE)

    def on_peer(self, event: PeerUp | PeerDown) -> None:
        """A node has come, or is gone."""
        self._interested.forget(event.node)
        self._told.pop(event.node, None)
        self._slowest = None
        if isinstance(event, PeerUp):
            self._interested.add(event.node)
            if TOPICS in self._fabric.peer_features(event.node):
                peer = self._told[event.node] = _Peer(event.node)
                self._tell_everything(peer)
            else:
                self._interested.add_all(event.node)
                logger.warning("%s divides topics in another way: it is sent every broadcast", event.node)
        self._settle()


def _slowest(peers: dict[str, _Peer]) -> _Peer:
    """Who knows least; the last of several, because they are told, and mostly answer, in this order."""
    return min(reversed(peers.values()), key=lambda peer: peer.knows)


def _nothing() -> None:
    """Nobody waits for this to be known."""
