"""One connection to one other node, and everything that is in flight on it.

Theory of operation. The messages for the peer of one turn of the loop are collected and leave as one MessagePack array
in one write, BATCH_MESSAGES_MAX at a time; the peer decodes each array with one call. Batching matters more than the
transport: it is what makes a hundred concurrent calls cost a fraction of a hundred single ones.

When things fail: whatever the connection is lost by, every request in flight ends at once with NodeDown, nothing is
sent again, and the link never comes back: a new connection is a new Link. While the link is up messages arrive in the
order in which they were sent, and "down" comes after the last of them.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

import msgspec

from roost import limits
from roost.cluster.bulk import Bulk, Bulky
from roost.errors import (
    BadMessage,
    CallTimeout,
    HandshakeRefused,
    NodeDown,
    NoSuchProcess,
    Overloaded,
    RoostError,
    TooLarge,
)
from roost.runtime.clock import Clock
from roost.runtime.tls import certified_hosts
from roost.wire.failures import decode_failure, encode_failure
from roost.wire.frames import FrameReader, frame
from roost.wire.handshake import (
    PROBE_VERSION,
    Denied,
    Handshake,
    Hello,
    Proof,
    Role,
    Welcome,
    decode_word,
    encode_word,
)
from roost.wire.messages import (
    Cast,
    Doubt,
    Goodbye,
    Heartbeat,
    Message,
    Probe,
    Refused,
    Reply,
    Request,
    decode_batch,
    encode_batch,
)

logger = logging.getLogger("roost.link")

OnReply = Callable[[msgspec.Raw | RoostError], None]
"""Called exactly once per request: with the encoded reply, or with the error that ended it."""

HEARTBEAT: Final = frame(encode_batch([Heartbeat()]))
TLS_RECORD: Final = b"\x16\x03"
"""What the first bytes of TLS are."""
TIMEOUT_S_MAX: Final = 365 * 24 * 3600.0
"""What the peer is told of a patience that is longer; here it is as long as it is."""


class Service(Protocol):
    """Something on a node that other nodes may ask."""

    def on_request(self, link: Link, request: Request) -> None:
        """Answer `request` with exactly one `link.reply` or `link.refuse`, now or later."""

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Take something that needs no answer."""


class Owner(Protocol):
    """What a link tells of its life to the fabric that it belongs to."""

    def services_for(self, role: Role) -> Mapping[str, Service]:
        """What a peer of this role may ask for; looked up in anew for every message."""

    def connected(self, link: Link) -> None:
        """There is a connection; with TLS, its certificates are in order. What was made before may never come to be."""

    def admit(self, peer: Hello) -> None:
        """The peer has proved that it knows the cookie: may it come in?

        Raises:
            HandshakeRefused: when it may not.
        """

    def opened(self, link: Link) -> None:
        """The handshake is done."""

    def doubted(self, node: str) -> None:
        """The peer does not hear from `node` any more."""

    def closed(self, link: Link, reason: str) -> None:
        """The link is down, or will never be up; nothing is taken from it any more."""

    def released(self, link: Link) -> None:
        """The connection below a closed link has been given back to the system."""


class Link(asyncio.Protocol):
    """One connection to one other node.

    Attributes:
        peer: the other node's name; "" until the handshake is done.
        incarnation: which boot of that node this is.
        role: what the other side is: a member ("node"), a console or a guest.
        dialled: whether this side opened the connection.
        heard: whether bytes came in since this was last set to False.
        heard_at: when bytes last came in, as the clock tells, to within one heartbeat.
    """

    def __init__(self, owner: Owner, clock: Clock, handshake: Handshake, *, dialled: bool) -> None:
        # No more than 30 attributes: with more of them CPython keeps them in a slower kind of dict.
        self._owner = owner
        self._clock = clock
        self._handshake = handshake
        self.dialled = dialled
        self.peer = ""
        self.incarnation = 0
        self.role: Role = "node"
        self.is_open = False
        self._is_lost = False
        self.heard = False
        self.heard_at = clock.now()
        self._deadline = self.heard_at + limits.HANDSHAKE_S
        self._spoke = True
        self._is_owed = False
        self._owed_at = math.inf
        self._has_answered = False
        self._reason = ""
        self._frames = FrameReader(limits.HANDSHAKE_BYTES_MAX)
        self._on_frame: Callable[[memoryview], None] = self._on_word
        self._out: list[Message] = []
        self._out_bytes = 0
        self._services: Mapping[str, Service] = {}
        self._pending: dict[int, tuple[OnReply, float, float]] = {}
        self._next_id = 0
        self._bulk = Bulk()
        self._writable: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # What the fabric and the services say.

    def request(self, service: str, body: bytes, timeout_s: float, on_reply: OnReply) -> None:
        """Ask the peer; `on_reply` is called exactly once, possibly before this returns.

        It is given the encoded reply, or NodeDown when the link is down or goes down, CallTimeout, Overloaded when
        too much is in flight already, TooLarge, or the declared error with which the peer refused.
        """
        if not self.is_open:
            on_reply(NodeDown(self.peer, self._reason or "no connection"))
            return
        if len(body) > limits.MESSAGE_BYTES_MAX:
            on_reply(TooLarge("a request between nodes", len(body), limits.MESSAGE_BYTES_MAX))
            return
        if len(self._pending) >= limits.LINK_REQUESTS_MAX or self._is_choked():
            on_reply(Overloaded(f"the link to {self.peer}", limits.HEARTBEAT_S))
            return
        self._next_id = request_id = self._next_id + 1
        self._pending[request_id] = (on_reply, self._clock.now() + timeout_s, timeout_s)
        self._send(
            Request(request_id, int(min(TIMEOUT_S_MAX, timeout_s) * 1000), service, msgspec.Raw(body)), len(body)
        )

    def bulk(self, service: str, body: bytes, timeout_s: float, on_reply: OnReply) -> None:
        """Ask the peer something that carries much; as `request`, but everything else on the link goes first.

        Such requests keep their order among themselves, not with others.
        """
        if not self.is_open:
            on_reply(NodeDown(self.peer, self._reason or "no connection"))
        elif len(body) > limits.MESSAGE_BYTES_MAX:
            on_reply(TooLarge("a request between nodes", len(body), limits.MESSAGE_BYTES_MAX))
        elif len(self._pending) >= limits.LINK_REQUESTS_MAX or not self._bulk.has_room(len(body)):
            on_reply(Overloaded(f"the bulk lane to {self.peer}", limits.HEARTBEAT_S))
        else:
            self._next_id = request_id = self._next_id + 1
            deadline = self._clock.now() + timeout_s
            self._pending[request_id] = (on_reply, deadline, timeout_s)
            self._bulk.put(Bulky(request_id, service, body, deadline))
            self._pump_soon()

    async def call(self, service: str, body: bytes, timeout_s: float, *, is_bulk: bool = False) -> msgspec.Raw:
        """Ask the peer, as `bulk` or as `request` does, and wait for its encoded reply.

        Raises:
            RoostError: whatever would have been handed to `on_reply`.
        """
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()

        def on_reply(outcome: msgspec.Raw | RoostError) -> None:
            if answer.done():
                return
            if isinstance(outcome, RoostError):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        (self.bulk if is_bulk else self.request)(service, body, timeout_s, on_reply)
        return await answer

    def cast(self, service: str, body: bytes) -> None:
        """Tell the peer something that is not answered.

        Raises:
            NodeDown: when the link is down.
            Overloaded: when the peer does not keep up and the buffer is full.
            TooLarge: when the body is over MESSAGE_BYTES_MAX.
        """
        if not self.is_open:
            raise NodeDown(self.peer, self._reason or "no connection")
        if len(body) > limits.MESSAGE_BYTES_MAX:
            raise TooLarge("a cast between nodes", len(body), limits.MESSAGE_BYTES_MAX)
        if self._is_choked():
            raise Overloaded(f"the link to {self.peer}", limits.HEARTBEAT_S)
        self._send(Cast(service, msgspec.Raw(body)), len(body))

    def reply(self, request_id: int, body: bytes) -> None:
        """Answer a request of the peer; nothing happens when the link is down by now."""
        if len(body) > limits.MESSAGE_BYTES_MAX:
            self.refuse(request_id, TooLarge("a reply between nodes", len(body), limits.MESSAGE_BYTES_MAX))
        elif self.is_open:
            self._send(Reply(request_id, msgspec.Raw(body)), len(body))

    def refuse(self, request_id: int, error: BaseException) -> None:
        """Answer a request of the peer with an error; nothing happens when the link is down by now."""
        if self.is_open:
            code, arguments = encode_failure(error, self.peer)
            if len(arguments) > limits.MESSAGE_BYTES_MAX:
                too_large = TooLarge("a refusal between nodes", len(arguments), limits.MESSAGE_BYTES_MAX)
                code, arguments = encode_failure(too_large, self.peer)
            self._send(Refused(request_id, code, msgspec.Raw(arguments)), len(arguments))

    async def writable(self) -> None:
        """Wait until the peer keeps up again; returns at once when it does. Awaitable back-pressure.

        Raises:
            NodeDown: when the link is down, or goes down meanwhile.
        """
        if not self.is_open:
            raise NodeDown(self.peer, self._reason or "no connection")
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def beat(self, now: float, *, lagged: bool) -> None:
        """Called every HEARTBEAT_S: speak if there was silence from here, hang up if there was too much from there.

        This is the rule for peers of version 1 and for guests. Between others, `is_overdue` and `probe` take its place.

        Args:
            lagged: this node itself was late, so it has no right to accuse the peer.
        """
        if self.heard or lagged:
            self.heard = False
            self.heard_at = now
        if not self.is_open:
            if now > self._deadline:
                self.hang_up("the handshake took too long")
        elif now - self.heard_at > limits.HEARTBEAT_S * limits.HEARTBEATS_MISSED_MAX:
            self.hang_up("silence", abort=True)
        elif not self._spoke:
            self._send(Heartbeat(), 0)
        self._spoke = False

    @property
    def knows_probe(self) -> bool:
        """Whether the other side is a member that can be asked whether it is there."""
        return self.version >= PROBE_VERSION and self.role == "node"

    @property
    def has_answered(self) -> bool:
        """Whether anything came in since `probe(expecting=True)`."""
        return self.heard or self._has_answered

    def is_overdue(self, now: float, *, lagged: bool, watched: bool) -> bool:
        """Called every HEARTBEAT_S: whether the peer should have been heard by now; speak, if it watches this node.

        Args:
            now: what the clock says.
            lagged: this node itself was late, so it has no right to accuse the peer.
            watched: whether the two watch each other; otherwise only what was said and not answered counts.
        """
        if self.heard or lagged:
            self.heard = False
            self.heard_at = now
            self._owed_at = math.inf
            self._has_answered = True
        if self._is_owed and math.isinf(self._owed_at):
            self._owed_at = now
        if watched and not self._spoke:
            self._send(Heartbeat(), 0)
        self._spoke = False
        since = self.heard_at if watched else self._owed_at
        return now - since > limits.HEARTBEAT_S * limits.DOUBT_BEATS

    def probe(self, *, expecting: bool = False) -> None:
        """Ask whether the peer is there. With `expecting`, `has_answered` tells from now on whether it is."""
        if expecting:
            now = self._clock.now()
            if self.heard:
                self.heard, self.heard_at = False, now
            self._has_answered = False
        self._send(Probe(), 0)

    def tell_doubt(self, node: str) -> None:
        """Tell the peer that `node` is not heard from here."""
        self._send(Doubt(node), len(node))

    def expire(self, now: float) -> None:
        """End the requests whose time is up. A reply that comes later is dropped."""
        late = [request_id for request_id, (_, deadline, _) in self._pending.items() if deadline <= now]
        for request_id in late:
            on_reply, _, timeout_s = self._pending.pop(request_id)
            self._answer(on_reply, CallTimeout(self.peer, timeout_s))

    def hang_up(self, reason: str, *, abort: bool = False) -> None:
        """End the connection; what was sent before still goes out unless `abort`."""
        self._reason = self._reason or reason
        transport = self._transport
        if transport is None:
            return
        if abort:
            transport.abort()
        elif transport.is_closing():
            return
        else:
            if self.is_open:
                self._out.append(Goodbye(reason))
                self._flush()
            transport.close()
        self._lost()

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Dialler: introduce this node. Acceptor: wait for that."""
        # A uvloop transport has all of asyncio.Transport, but does not inherit from it.
        self._transport = transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self._handshake.certified = certified_hosts(transport)
        transport.set_write_buffer_limits(high=limits.LINK_HIGH_BYTES)
        self._owner.connected(self)
        if self.dialled:
            transport.write(frame(encode_word(self._handshake.open())))

    def data_received(self, data: bytes) -> None:
        """Cut the stream into frames and act on each."""
        self.heard = True
        self._is_owed = False
        try:
            for payload in self._frames.feed(data):
                self._on_frame(payload)
        except (TooLarge, BadMessage) as error:
            reason = str(error)
            if not self.is_open and data.startswith(TLS_RECORD):
                reason = "the other side speaks TLS, and this node has no certificate"
            logger.warning("%s: hanging up on %s: %s", self._local, self.peer or "a stranger", reason)
            self.hang_up(reason, abort=True)

    def pause_writing(self) -> None:
        """The peer does not keep up: whoever asks `writable` waits."""
        if self._writable is None and self._loop is not None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None
        self._pump_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail everything in flight."""
        self._reason = self._reason or (str(exc) if exc else "connection closed")
        self._lost()
        self._owner.released(self)

    # The handshake.

    def _on_word(self, payload: memoryview) -> None:
        try:
            try:
                answer, is_open = self._handshake.step(decode_word(payload))
            except (ValueError, RecursionError) as error:  # MsgspecError is a ValueError, as is text that is no UTF-8
                raise HandshakeRefused(f"not a word of the handshake: {error}") from None
            if self._handshake.peer is not None and isinstance(answer, Proof | Welcome):
                self._owner.admit(self._handshake.peer)
            if isinstance(answer, Proof):
                # The acceptor has proved itself, and its first batch may come in one read with its welcome.
                self._frames.size_bytes_max = limits.FRAME_BYTES_MAX
            if answer is not None:
                self._write(frame(encode_word(answer)))
            if is_open:
                self._open()
        except HandshakeRefused as refusal:
            self._write(frame(encode_word(Denied(refusal.reason))))
            self.hang_up(refusal.reason)

    def _open(self) -> None:
        hello = self._handshake.peer
        assert hello is not None
        self.peer, self.incarnation, self.role = hello.node, hello.incarnation, hello.role
        self._services = self._owner.services_for(hello.role)
        self._frames.size_bytes_max = limits.FRAME_BYTES_MAX
        self._on_frame = self._on_batch
        self.is_open = True
        self._owner.opened(self)

    # Batches.

    def _send(self, message: Message, size_bytes: int) -> None:
        out = self._out
        if not out:
            assert self._loop is not None
            self._loop.call_soon(self._flush)
        out.append(message)
        self._out_bytes += size_bytes
        if len(out) >= limits.BATCH_MESSAGES_MAX or self._out_bytes >= limits.BATCH_BYTES_MAX:
            self._flush()

    def _flush(self) -> None:
        out = self._out
        if out:
            self._out = []
            self._out_bytes = 0
            self._spoke = self._is_owed = True
            self._write(frame(encode_batch(out)))

    def _pump_soon(self) -> None:
        if self._bulk and not self._bulk.is_pumping and self._loop is not None:
            self._bulk.is_pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Send bulk while nothing else has to go and the transport holds little; go on in the next turn."""
        self._bulk.is_pumping = False
        sent_bytes = 0
        while self._bulk and self._has_calm() and sent_bytes < limits.BULK_TURN_BYTES:
            now = self._clock.now()
            batch: list[Message] = []
            for id, service, body, deadline in self._bulk.take(self._pending):
                left_s = min(TIMEOUT_S_MAX, max(0.0, deadline - now))
                batch.append(Request(id, int(left_s * 1000), service, msgspec.Raw(body)))
                sent_bytes += len(body)
            if batch:
                self._spoke = self._is_owed = True
                self._write(frame(encode_batch(batch)))
        if self._writable is None:
            self._pump_soon()

    def _has_calm(self) -> bool:
        transport = self._transport
        return (
            self._writable is None
            and not self._out
            and transport is not None
            and transport.get_write_buffer_size() <= limits.LINK_HIGH_BYTES
        )

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _is_choked(self) -> bool:
        return (
            self._writable is not None
            and self._transport is not None
            and self._transport.get_write_buffer_size() > limits.LINK_BUFFER_BYTES_MAX
        )

    def _on_batch(self, payload: memoryview) -> None:
        try:
            batch = decode_batch(payload)
        except (ValueError, RecursionError) as error:  # MsgspecError is a ValueError, as is text that is no UTF-8
            raise BadMessage(str(error)) from None
        pending, services = self._pending, self._services
        for message in batch:
            if isinstance(message, Reply):
                entry = pending.pop(message.id, None)
                if entry is not None:
                    self._answer(entry[0], message.body)
            elif isinstance(message, Request):
                self._serve(services.get(message.service), message)
            elif isinstance(message, Cast):
                self._take(services.get(message.service), message)
            elif isinstance(message, Refused):
                entry = pending.pop(message.id, None)
                if entry is not None:
                    self._answer(entry[0], decode_failure(message.code, message.arguments))
            elif isinstance(message, Goodbye):
                self._reason = message.reason
            elif isinstance(message, Probe):
                self._spoke = True
                self._write(HEARTBEAT)  # not through _flush: an answer needs no answer
            elif isinstance(message, Doubt):
                self._owner.doubted(message.node)
            elif self._handshake.me.role != "node":
                self._send(message, 0)  # a heartbeat comes back: nobody else lets a guest's heart beat

    def _serve(self, service: Service | None, request: Request) -> None:
        if service is None:
            self.refuse(request.id, NoSuchProcess(request.service))
            return
        if self._writable is not None and self._is_choked():
            # The peer asks, and does not take the answers: what they need would gather here without bound.
            self.refuse(request.id, Overloaded(f"the link to {self.peer}", limits.HEARTBEAT_S))
            return
        try:
            service.on_request(self, request)
        except RoostError as error:
            self.refuse(request.id, error)
        except Exception as error:
            logger.exception("%s: service %s failed on a request of %s", self._local, request.service, self.peer)
            self.refuse(request.id, error)

    def _take(self, service: Service | None, cast: Cast) -> None:
        if service is None:
            logger.warning("%s: %s speaks to service %s, which is not here", self._local, self.peer, cast.service)
            return
        try:
            service.on_cast(self, cast.body)
        except Exception:
            logger.exception("%s: service %s failed on a cast of %s", self._local, cast.service, self.peer)

    def _answer(self, on_reply: OnReply, outcome: msgspec.Raw | RoostError) -> None:
        try:
            on_reply(outcome)
        except Exception:
            logger.exception("%s: a reply of %s was not taken", self._local, self.peer)

    def _lost(self) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        self._on_frame = self._ignore
        self.is_open = False
        down = NodeDown(self.peer, self._reason)
        self._bulk.clear()
        waiting, self._pending = self._pending, {}
        for on_reply, _, _ in waiting.values():
            self._answer(on_reply, down)
        if self._writable is not None and not self._writable.done():
            self._writable.set_exception(down)
            self._writable.exception()  # nobody may be waiting; the error is not lost, the link is
        self._owner.closed(self, self._reason)

    def _ignore(self, payload: memoryview) -> None:
        """Whatever still arrives on a connection that this side has given up."""

    @property
    def peer_wanted(self) -> str | None:
        """Whom this side dialled; None when the other side did."""
        return self._handshake.expected

    @property
    def version(self) -> int:
        """The version of the protocol that both sides speak; 0 until the other side has introduced itself."""
        return self._handshake.version

    @property
    def features(self) -> frozenset[str]:
        """What both sides can do beyond that."""
        return self._handshake.features

    @property
    def hello(self) -> Hello:
        """How this side has introduced itself."""
        return self._handshake.me

    @property
    def peer_hello(self) -> Hello | None:
        """How the other side has introduced itself; believe it only when the link is open."""
        return self._handshake.peer

    @property
    def _local(self) -> str:
        return self._handshake.me.node
