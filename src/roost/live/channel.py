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

from collections.abc import Awaitable, Callable, Mapping
from types import FunctionType
from typing import Any, ClassVar, Protocol, TypeVar

from roost.otp import GenServer, Reason
from roost.otp.declare import ASKED, Spec
from roost.otp.reply import Reply

Payload = dict[str, object]
"""A JSON object."""

HandlerT = TypeVar("HandlerT", bound=Callable[..., object])


class Seat(Protocol):
    """A channel's place in the world: what it can do to its client and to its topic."""

    def push(self, event: str, payload: object) -> None:
        """Send to this channel's client."""

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


def event(name: str) -> Callable[[HandlerT], HandlerT]:
    """Declare the handler of one event of the client.

    It takes the payload, a dict that is its own, and returns the payload of the reply, or None for an empty one.
    """

    def declare(function: HandlerT) -> HandlerT:
        function.__dict__["__event__"] = name
        return function

    return declare


class Channel(GenServer):
    """The base of every channel class; `topic` is an exact name, or a prefix that ends with `*`."""

    __events__: ClassVar[Mapping[str, Spec]] = {}
    """The declared events by name: the closed table of what a client may send."""
    __join__: ClassVar[Spec]
    __pattern__: ClassVar[str] = ""

    topic: str
    """The topic that was joined."""
    _seat: Seat
    _presence: int | None

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
        events: dict[str, Spec] = {}
        for base in reversed(cls.__mro__):
            for member in vars(base).values():
                name = getattr(member, "__event__", None)
                if isinstance(name, str) and isinstance(member, FunctionType):
                    events[name] = Spec(member, ASKED, cls.__name__, {})
        cls.__events__ = events
        cls.__join__ = Spec(cls.join, ASKED, cls.__name__, {})

    def init(self, topic: str, seat: Seat) -> None:
        """Take the seat. What a channel needs to begin with belongs into `join`."""
        self.topic = topic
        self._seat = seat
        self._presence = None

    # Any: each application narrows `socket` to its own class, and may leave out the `async`.
    def join(self, topic: str, params: Payload, socket: Any) -> Awaitable[Payload | None] | Payload | None:
        """Let the client in: return the reply (None is `{}`), or raise a Refusal, which the client gets as the reason.

        Runs before anything else in this channel. What is pushed and broadcast meanwhile reaches the client after the
        reply, in order. May be `async def`; other topics of the same socket do not wait for it.
        """
        return None

    def terminate(self, reason: Reason) -> Awaitable[None] | None:
        """Clean up; may be `async def`.

        Runs when the client leaves or joins anew, when the socket closes ("shutdown:..."), and after a crash.
        Presences and the subscription end by themselves.
        """

    def push(self, event: str, payload: Payload) -> Awaitable[None]:
        """Send an event to this channel's client. It has happened when this returns; awaiting it is optional.

        Raises:
            TypeError: `payload` holds something that JSON cannot express.
        """
        self._seat.push(event, payload)
        return _HAPPENED

    def broadcast(self, event: str, payload: Payload) -> Awaitable[None]:
        """Send an event to every client on the topic, on all nodes, this one among them. At most once.

        It is on its way when this returns; awaiting it is optional. Nodes that are down do not get it.

        Raises:
            TypeError: `payload` holds something that JSON cannot express.
        """
        self._seat.broadcast(event, payload, with_me=True)
        return _HAPPENED

    def broadcast_from(self, event: str, payload: Payload) -> Awaitable[None]:
        """The same, but not to this channel's client."""
        self._seat.broadcast(event, payload, with_me=False)
        return _HAPPENED

    def track(self, key: str, meta: Payload) -> None:
        """Show this client under the topic, on all nodes, until the channel ends; again: replace its meta.

        The first time, the client is sent `presence_state`; everybody on the topic gets `presence_diff`.

        Raises:
            TooLarge: PRESENCES_PER_TOPIC_MAX of this node are under the topic already, or `meta` is over
                PRESENCE_META_BYTES_MAX.
            TypeError: `meta` holds something that JSON cannot express.
        """
        if self._presence is None:
            self._presence = self._seat.track(key, meta)
        else:
            self._seat.update(self._presence, meta)

    def untrack(self) -> None:
        """Do not show this client any more; harmless when it is not shown."""
        if self._presence is not None:
            self._seat.untrack(self._presence)
            self._presence = None

    def present(self) -> dict[str, list[Payload]]:
        """Who is on the topic, on all nodes: the metas of each key."""
        return self._seat.present()


_HAPPENED: Awaitable[None] = Reply(None)  # type: ignore[assignment]  # a reply of None that is already here
