"""Channels: what a client talks to on one topic, each a process of its own.

::

    class RoomChannel(Channel, topic="room:*"):
        async def join(self, topic, params, socket):
            self.name = str(params["name"])
            self.track(self.name, {"online_at": ...})
            return {"welcome": self.name}

        @event("new_msg")
        def new_msg(self, payload):
            if not payload.get("body"):
                raise Refusal("a message needs a body")
            self.broadcast("new_msg", {"from": self.name, "body": payload["body"]})

A handler may be `def` or `async def`; handlers of one channel never interleave. What it returns is the reply (None is
`{}`); a Refusal that it raises is an error reply, `{"reason": str(refusal)}`, and the channel lives on. Any other
exception is a crash: the client gets `phx_error` for this topic and joins again; nobody else notices.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar, Protocol

from roost.live.event import asked, events_of, in_time, intercepts_of
from roost.live.event import event as event
from roost.live.event import intercept as intercept
from roost.live.presence_fetch import Entries, Extras
from roost.live.reply import NOTHING_ASKED, ReplyRef, Status
from roost.otp import GenServer, Reason
from roost.otp.declare import ASKED, Spec
from roost.otp.reply import Reply
from roost.wire.phoenix import Ref

Payload = dict[str, object]
"""A JSON object."""
Welcome = Payload | bytes | Status | None
"""What a join is answered with."""


class Seat(Protocol):
    """A channel's place in the world: what it can do to its client and to its topic."""

    def hurry(self) -> None:
        """The channel ends: it is killed if that takes longer than SHUTDOWN_S."""

    def push(self, event: str, payload: object) -> None:
        """Send to this channel's client."""

    def reply(self, ref: Ref, status: str, payload: object) -> None:
        """Answer one message of this channel's client."""

    def broadcast(self, event: str, payload: object, *, with_me: bool) -> None:
        """Send to every client on the topic, on all nodes."""

    def track(self, key: str, meta: Payload) -> int:
        """Add a presence under the topic that lasts as long as the channel."""

    def update(self, id: int, meta: Payload) -> None:
        """Replace the meta of such a presence."""

    def untrack(self, id: int) -> None:
        """Remove such a presence."""

    def present(self) -> dict[str, list[Payload]]:
        """Who is on the topic, on all nodes."""

    def count_present(self) -> int:
        """How many presences are on the topic, on all nodes."""


class Channel(GenServer):
    """The base of every channel class; `topic` is an exact name, or a prefix that ends with `*`."""

    __events__: ClassVar[Mapping[str, Spec]] = {}
    """The declared events by name: the closed table of what a client may send."""
    __intercepts__: ClassVar[Mapping[str, Spec]] = {}
    """The declared events, by name, that are not sent on to the client when somebody broadcasts them."""
    __join__: ClassVar[Spec]
    __fallback__: ClassVar[Spec]
    __pattern__: ClassVar[str] = ""

    redacted: ClassVar[frozenset[str]] = frozenset(("password", "secret", "token"))

    topic: str
    """The topic that was joined."""
    assigns: dict[str, object]
    """What the socket has set in `connect`, copied for this channel alone; yours to change."""
    _seat: Seat
    _presences: dict[str, int] | None
    _asked: object

    def __init_subclass__(cls, topic: str | None = None, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "__handle_of__" in vars(cls):
            return
        if cls.__init_async__:
            raise TypeError(f"{cls.__name__}: init may not be async: what a channel must wait for belongs into join")
        if topic is not None:
            if "*" in topic[:-1] or not topic:
                raise TypeError(f"{cls.__name__}: the topic {topic!r} may have a '*' only at its end")
            cls.__pattern__ = topic
        cls.__events__ = events_of(cls)
        cls.__intercepts__ = intercepts_of(cls)
        cls.__fallback__ = asked(cls.handle_in, cls)
        cls.terminate = in_time(cls.terminate)  # type: ignore[assignment, method-assign]  # what every class of channels gets
        cls.__join__ = Spec(cls.join, ASKED, cls.__name__, {})

    def init(self, topic: str, seat: Seat, assigns: dict[str, object]) -> None:
        """Take the seat. What a channel needs to begin with belongs into `join`."""
        self.topic = topic
        self.assigns = assigns
        self._seat = seat
        self._presences = None
        self._asked = NOTHING_ASKED

    # Any: each application narrows `socket` to its own class, and may leave out the `async`.
    def join(self, topic: str, params: Payload, socket: Any) -> Awaitable[Welcome] | Welcome:
        """Let the client in: return the reply (None is `{}`), or raise a Refusal, which the client gets as the reason.

        A Status other than "ok" keeps the client out too, when it is to get more than a reason.

        Runs before anything else in this channel. What is pushed and broadcast meanwhile reaches the client after the
        reply, in order. May be `async def`; other topics of the same socket do not wait for it.
        """
        return None

    def terminate(self, reason: Reason) -> Awaitable[None] | None:
        """Clean up; may be `async def`.

        Runs when the client leaves ("shutdown:left") or joins anew ("shutdown:duplicate_join"), when the connection
        ends ("shutdown:closed") or the node stops ("shutdown:drain"), and after a crash. What it pushes reaches a
        client that is still there: after the reply and `phx_close`, as in Phoenix. It may take SHUTDOWN_S seconds;
        then the channel is killed. Presences and the subscription end by themselves.
        """

    # Any: applications narrow the payload to what their clients send.
    def handle_in(self, event: str, payload: Any) -> Any:
        """Handle an event of the client that no method declares; may be `async def`. Otherwise as those.

        Raises:
            LookupError: always, unless a class defines it: an unknown event crashes the channel, as in Phoenix.
        """
        raise LookupError(f"{type(self).__name__} declares no event {event!r}")

    def reply_ref(self) -> ReplyRef:
        """In the handler of an event: what answers this message later, with `reply(ref, ...)`; then `raise NoReply`.

        ::

            @event("price")
            def price(self, payload):
                Task.start(quote, payload["item"], self.reply_ref())
                raise NoReply

        Raises:
            RuntimeError: when no handler of an event runs.
        """
        if self._asked is NOTHING_ASKED:
            raise RuntimeError("reply_ref is for handlers of events: the client asks nothing now")
        return ReplyRef(self._seat, self._asked)  # type: ignore[arg-type]  # only references are put there

    def push(self, event: str, payload: Payload | bytes) -> Awaitable[None]:
        """Send an event to this channel's client. It has happened when this returns; awaiting it is optional.

        During `join` it is held back until the client has the reply.

        Raises:
            TypeError: `payload` is neither an object nor bytes, holds something that JSON cannot express, or is bytes
                for a client of version 1.
            TooLarge: `payload` is bytes, and the event is over TOPIC_BYTES_MAX.
        """
        self._seat.push(event, payload)
        return _HAPPENED

    def broadcast(self, event: str, payload: Payload | bytes) -> Awaitable[None]:
        """Send an event to every client on the topic, on all nodes, this one among them. At most once.

        It is on its way when this returns; awaiting it is optional. Nodes that are down do not get it, and clients of
        version 1 get none whose payload is bytes.

        Raises:
            TypeError: `payload` is neither an object nor bytes, or holds something that JSON cannot express.
            TooLarge: it is over MESSAGE_BYTES_MAX; or `payload` is bytes, and the event is over TOPIC_BYTES_MAX. As a
                Refusal, it is an error reply when nobody catches it.
        """
        self._seat.broadcast(event, payload, with_me=True)
        return _HAPPENED

    def broadcast_from(self, event: str, payload: Payload | bytes) -> Awaitable[None]:
        """The same, but not to this channel's client. Whoever has the topic open twice gets it at the other place."""
        self._seat.broadcast(event, payload, with_me=False)
        return _HAPPENED

    def track(self, key: str, meta: Payload) -> None:
        """Show this client under the topic, on all nodes, until the channel ends.

        With the same key again it replaces the meta; another key adds a second presence. The first time, the client
        is sent `presence_state`; everybody on the topic gets `presence_diff`.

        Raises:
            TooLarge: PRESENCES_PER_TOPIC_MAX of this node are under the topic already, or `meta` is over
                PRESENCE_META_BYTES_MAX.
            TypeError: `meta` holds something that JSON cannot express.
            ProcessDown: the channel has been killed, and its handler has not noticed yet.
        """
        if self._presences is None:
            self._presences = {}
        id = self._presences.get(key)
        if id is None:
            self._presences[key] = self._seat.track(key, meta)
        else:
            self._seat.update(id, meta)

    def update(self, key: str, meta: Payload) -> None:
        """Replace the meta of what this channel shows under `key`.

        Raises:
            KeyError: it shows nothing under that key.
            TooLarge: `meta` is over PRESENCE_META_BYTES_MAX.
            TypeError: `meta` holds something that JSON cannot express.
        """
        self._seat.update((self._presences or {})[key], meta)

    def untrack(self, key: str | None = None) -> None:
        """Do not show this client any more under `key`, or under any when none is named; harmless when it is not."""
        tracked = self._presences
        if tracked:
            for gone in list(tracked) if key is None else [key] if key in tracked else []:
                self._seat.untrack(tracked.pop(gone))

    def present(self) -> dict[str, list[Payload]]:
        """Who is on the topic, on all nodes: the metas of each key."""
        return self._seat.present()

    def count_present(self) -> int:
        """How many presences are on the topic, on all nodes; a key with two metas counts twice."""
        return self._seat.count_present()

    @classmethod
    def fetch(cls, topic: str, presences: Entries) -> Awaitable[Extras] | Extras:
        """What clients are to be told of presences beside what was tracked, such as names from a database.

        It is called once for each change of a topic and node, in order, with all the keys that are told of; may be
        `async def`, and may take PRESENCE_FETCH_S. When it fails, clients are told without it.

        Args:
            topic: the topic.
            presences: `{key: {"metas": [meta, ...]}}`.

        Returns: what to add to the entries of keys, beside their metas.
        """
        return {}

    @classmethod
    def has_fetch(cls) -> bool:
        """Whether the class defines `fetch`."""
        return cls.fetch.__func__ is not Channel.fetch.__func__  # type: ignore[attr-defined]  # both are methods


_HAPPENED: Awaitable[None] = Reply(None)  # type: ignore[assignment]  # a reply of None that is already here
