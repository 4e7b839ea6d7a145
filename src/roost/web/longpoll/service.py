"""The long-poll sessions of one node, and the way to those of the others.

A session stays on the node where it began. Whatever node a request of its client comes to finds the session's node in
the token and relays the request there, as a request of the fabric: a poll waits at the session's node and is answered
when something comes. Nothing of a session is kept anywhere else.

When things fail: a session whose node is gone, was started anew, cannot be reached or does not answer in time is over
for its client (410), which starts a new one and joins its channels again; messages that were on the way are lost as
those of a broken WebSocket are. When the node that relays is lost while a poll waits, nothing is taken out of the
session. A session that its client cannot reach ends there by the client's silence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import msgspec

from roost.cluster.fabric import Fabric
from roost.cluster.link import Link
from roost.core.backlog import SlowReaders
from roost.errors import BadMessage, CallTimeout, NodeDown, Overloaded, RoostError, TooLarge
from roost.limits import LINK_HIGH_BYTES, LONGPOLL_RELAY_S, LONGPOLL_SESSIONS_MAX, LONGPOLL_WINDOW_S
from roost.runtime import Runtime
from roost.web.admission import Admitted
from roost.web.connection import RESTART, Connection, Live
from roost.web.longpoll.answers import FAILED, GONE, TIMEOUT, UNAVAILABLE, Polled, Posted
from roost.web.longpoll.body import Said
from roost.web.longpoll.buffer import Buffer
from roost.web.longpoll.session import OVER, Inlet, Poll, Session
from roost.web.longpoll.token import Place, derive_key, seal, unseal
from roost.wire.messages import Request

SERVICE: Final = "longpoll"
SESSION_BYTES: Final = 16
"""What makes the name of a session unpredictable."""

logger = logging.getLogger("roost.socket")


class AskPoll(msgspec.Struct, array_like=True, frozen=True, tag=1, gc=False):
    """A poll that came to another node, where it has a number."""

    session: bytes
    path: str
    number: int


class AskPost(msgspec.Struct, array_like=True, frozen=True, tag=2, gc=False):
    """A post that came to another node."""

    session: bytes
    path: str
    frames: tuple[Said, ...]


class Abandon(msgspec.Struct, array_like=True, frozen=True, tag=3, gc=False):
    """Whoever polled there is gone."""

    session: bytes
    number: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_request: Final = msgspec.msgpack.Decoder(AskPoll | AskPost).decode
_decode_cast: Final = msgspec.msgpack.Decoder(Abandon).decode
_decode_polled: Final = msgspec.msgpack.Decoder(Polled).decode
_decode_posted: Final = msgspec.msgpack.Decoder(Posted).decode


@dataclass(frozen=True, slots=True)
class LongPollCounts:
    """What the long polls of one node are at.

    Attributes:
        sessions: sessions here.
        waiting: polls that wait here.
        opened: sessions that have begun here, so far.
        refused: clients that were refused because there were LONGPOLL_SESSIONS_MAX sessions in use, so far.
        relayed: requests that came here and were for a session of another node, so far.
        served: requests of other nodes for sessions here, so far.
    """

    sessions: int
    waiting: int
    opened: int
    refused: int
    relayed: int
    served: int


@dataclass(frozen=True, slots=True)
class Mount:
    """One place where clients come in.

    Attributes:
        path: where; a session of one mount is found under no other.
        window_s: how long a poll waits for messages, in seconds.
        readers: the policy for those who do not fetch what waits for them.
        frame_bytes_max: one message of a client; a longer one closes it, as a WebSocket, with 1009.
    """

    path: str
    window_s: float
    readers: SlowReaders
    frame_bytes_max: int


@dataclass(frozen=True, slots=True)
class _Seat:
    session: Session
    path: str


class LongPolls:
    """What the long-poll endpoints of one node share. It is a service of the fabric.

    Args:
        fabric: the node's links.
        runtime: the node's clock and entropy.
        live: its topics and presences.
        context: the context in which the node is current.
        cookie: the secret of the cluster, from which the key of the tokens is derived. A node without one is alone,
            and draws a key for itself.
    """

    def __init__(self, fabric: Fabric, runtime: Runtime, live: Live, context: Context, cookie: bytes) -> None:
        self.live = live
        self._fabric = fabric
        self._runtime = runtime
        self._context = context
        self._cookie = cookie or runtime.entropy.token(32)
        self._seats: dict[bytes, _Seat] = {}
        self._unasked: dict[bytes, None] = {}
        """The sessions whose clients have not come back yet, oldest first."""
        self._polls = self._opened = self._refused = self._relayed = self._served = 0
        self._is_draining = False
        fabric.serve(SERVICE, self)

    @cached_property
    def _key(self) -> bytes:
        return derive_key(self._cookie)

    # What the node asks

    @property
    def sessions(self) -> int:
        """How many sessions there are here."""
        return len(self._seats)

    def sessions_at(self, path: str) -> int:
        """How many sessions of one mount there are here. O(sessions)."""
        return sum(seat.path == path for seat in self._seats.values())

    def counts(self) -> LongPollCounts:
        """For consoles and metrics. O(sessions)."""
        waiting = sum(seat.session.is_waiting for seat in self._seats.values())
        return LongPollCounts(len(self._seats), waiting, self._opened, self._refused, self._relayed, self._served)

    def clients(self) -> list[Session]:
        """The sessions here, to be drained."""
        return [seat.session for seat in self._seats.values()]

    def refuse(self) -> None:
        """Begin no session any more: the node stops, and clients start anew on other ones."""
        self._is_draining = True

    def cut(self) -> None:
        """End every session at once (1012), whatever waits for its client."""
        for session in self.clients():
            session.finish(RESTART)

    # Sessions here

    def check_room(self) -> None:
        """Raise Overloaded when no session can begin here: all that there may be are in use, or the node stops."""
        if self._is_draining:
            raise Overloaded(f"{self._fabric.node}, which stops,", 1.0)
        if len(self._seats) >= LONGPOLL_SESSIONS_MAX and not self._unasked:
            self._refused += 1
            raise Overloaded("the list of long-poll sessions", LONGPOLL_WINDOW_S)

    def open(self, mount: Mount, client: Admitted, *, encoded: bool) -> str:
        """Begin a session; returns its token.

        Args:
            mount: what it belongs to; it is found under no other.
            client: who it is for.
            encoded: whether the client knows the encoded form of binary frames.

        Raises:
            Overloaded: as `check_room`.
        """
        self.check_room()
        if len(self._seats) >= LONGPOLL_SESSIONS_MAX:
            # Anybody can begin sessions, and never come back for them: that must not keep out those who do.
            self._seats[next(iter(self._unasked))].session.finish(RESTART)
        runtime, live = self._runtime, self.live
        name = runtime.entropy.token(SESSION_BYTES)

        def make_buffer(on_ready: Callable[[], None], on_closed: Callable[[int], None]) -> Buffer:
            return Buffer(mount.readers, runtime.clock, on_ready, on_closed)

        def connect(buffer: Buffer) -> Inlet:
            connection = Connection(live, client.socket, client.serializer, buffer, client.id)

            def take(said: Said) -> None:
                if len(said.data) > mount.frame_bytes_max:
                    raise TooLarge("frame_bytes_max", len(said.data), mount.frame_bytes_max)
                self._context.copy().run(connection.take, said.data, binary=said.is_binary)

            return Inlet(take, connection.when_ready, connection.drain, connection.close)

        def ended() -> None:
            self._seats.pop(name, None)
            self._unasked.pop(name, None)

        session = Session(runtime.clock, mount.window_s, encoded, make_buffer, connect, ended)
        self._seats[name] = _Seat(session, mount.path)
        self._unasked[name] = None
        self._opened += 1
        place = Place(self._fabric.node, self._fabric.incarnation, name, int(runtime.clock.wall()))
        return seal(self._key, place)

    def _find(self, name: bytes, path: str) -> Session | None:
        seat = self._seats.get(name)
        self._unasked.pop(name, None)
        return seat.session if seat is not None and seat.path == path else None

    # What endpoints ask, for sessions anywhere

    def place_of(self, token: str) -> Place | None:
        """Where the session of a token is; None when the token is bad or too old, or its node gone or started anew."""
        try:
            place = unseal(self._key, token, self._runtime.clock.wall())
        except BadMessage as error:
            logger.info("a long poll without a session: %s", error)
            return None
        here = place.node == self._fabric.node
        incarnation = self._fabric.incarnation if here else self._fabric.peer_incarnation(place.node)
        return place if incarnation == place.incarnation else None

    def poll(self, place: Place, mount: Mount, answer: Callable[[Polled], None]) -> int:
        """Ask for messages; `answer` is called once, possibly before this returns. Returns what `abandon` needs."""
        self._polls = number = self._polls + 1
        if place.node == self._fabric.node:
            self._poll_here(place.session, mount.path, Poll(number, lambda: True, answer))
            return number

        def on_reply(outcome: msgspec.Raw | RoostError) -> None:
            if isinstance(outcome, Overloaded):
                answer(Polled(FAILED))
                return
            try:
                if isinstance(outcome, RoostError):
                    raise outcome
                polled = _decode_polled(outcome)
            except (RoostError, msgspec.MsgspecError) as error:
                # Whether messages were on the way is not known: the client has to begin anew.
                logger.info("a long poll has lost its session on %s: %s", place.node, error)
                polled = Polled(GONE)
            answer(polled)

        self._ask(place, mount, AskPoll(place.session, mount.path, number), on_reply)
        return number

    def abandon(self, place: Place, number: int) -> None:
        """Whoever polled is gone: what comes now waits for the next poll."""
        if place.node != self._fabric.node:
            try:
                self._fabric.cast(place.node, SERVICE, _encode(Abandon(place.session, number)))
            except RoostError as error:
                logger.debug("%s is not told of a client that is gone: %s", place.node, error)
        elif place.session in self._seats:
            self._seats[place.session].session.abandon(number)

    def post(self, place: Place, mount: Mount, frames: Sequence[Said], answer: Callable[[Posted], None]) -> None:
        """Act on frames of a client, in order; `answer` is called once, possibly before this returns."""
        if place.node == self._fabric.node:
            self._post_here(place.session, mount.path, frames, answer)
            return

        def on_reply(outcome: msgspec.Raw | RoostError) -> None:
            try:
                if isinstance(outcome, RoostError):
                    raise outcome
                posted = _decode_posted(outcome)
            except CallTimeout:
                posted = Posted(TIMEOUT, 0, f"{place.node} has not answered; it may have taken some of this")
            except NodeDown as error:
                posted = Posted(GONE, 0, str(error))
            except (RoostError, msgspec.MsgspecError) as error:
                posted = Posted(UNAVAILABLE, 0, str(error))
            answer(posted)

        self._ask(place, mount, AskPost(place.session, mount.path, tuple(frames)), on_reply)

    def _ask(
        self, place: Place, mount: Mount, asked: AskPoll | AskPost, on_reply: Callable[[msgspec.Raw | RoostError], None]
    ) -> None:
        self._relayed += 1
        body = _encode(asked)
        ask = self._fabric.request if len(body) <= LINK_HIGH_BYTES else self._fabric.bulk
        ask(place.node, SERVICE, body, mount.window_s + LONGPOLL_RELAY_S, on_reply)

    def _poll_here(self, name: bytes, path: str, poll: Poll) -> None:
        session = self._find(name, path)
        if session is None:
            poll.answer(Polled(GONE))
        else:
            session.poll(poll)

    def _post_here(self, name: bytes, path: str, frames: Sequence[Said], answer: Callable[[Posted], None]) -> None:
        session = self._find(name, path)
        if session is None:
            answer(Posted(GONE, 0, OVER))
        else:
            session.post(frames, answer)

    # What other nodes ask

    def on_request(self, link: Link, request: Request) -> None:
        """A request of a client came to another node."""
        try:
            asked = _decode_request(request.body)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"a relayed long poll: {error}") from None
        self._served += 1

        def answer(outcome: Polled | Posted) -> None:
            link.reply(request.id, _encode(outcome))

        if isinstance(asked, AskPoll):
            poll = Poll((link.peer, link.incarnation, asked.number), lambda: link.is_open, answer)
            self._poll_here(asked.session, asked.path, poll)
        else:
            self._post_here(asked.session, asked.path, asked.frames, answer)

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """A client that polled at another node is gone."""
        try:
            abandon = _decode_cast(body)
        except msgspec.MsgspecError as error:
            logger.warning("%s: a cast of %s was not taken: %s", self._fabric.node, link.peer, error)
            return
        seat = self._seats.get(abandon.session)
        if seat is not None:
            seat.session.abandon((link.peer, link.incarnation, abandon.number))
