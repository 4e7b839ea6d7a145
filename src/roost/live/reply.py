"""Replies to a client that are more than a payload: with a status of their own, or later."""

from __future__ import annotations

import enum
from typing import ClassVar, Final, Protocol

import msgspec

from roost.wire.phoenix import OK_STATUS, Payload, Ref


class Status(msgspec.Struct, frozen=True):
    """A reply with another status than "ok": the client's `receive(name, ...)` gets its payload.

    Args:
        name: the status, at most TOPIC_BYTES_MAX bytes when the payload is bytes.
        payload: what comes with it; None is `{}`.
    """

    name: str
    payload: Payload | None = None


class Answering(Protocol):
    """Who can answer a client."""

    def reply(self, ref: Ref, status: str, payload: object) -> None:
        """Answer one message of the client; lost when it has left."""


class ReplyRef:
    """One message of a client that is to be answered later, by whoever has this: any process of the node."""

    __slots__ = ("_ref", "_seat")
    __sendable__: ClassVar = True

    def __init__(self, seat: Answering, ref: Ref) -> None:
        self._seat = seat
        self._ref = ref

    def __repr__(self) -> str:
        return f"<ReplyRef {self._ref!r}>"


def reply(ref: ReplyRef, payload: Payload | None = None, status: str = OK_STATUS) -> None:
    """Answer a client's message for which a channel has put off the reply.

    It may be called any number of times, also from another process of the node; what the client makes of a second
    reply is its affair. When the channel has ended, or the client is gone, it does nothing.

    Args:
        ref: what `self.reply_ref()` gave to the handler.
        payload: None is `{}`.
        status: what the client's `receive` listens to.

    Raises:
        TypeError: `payload` holds something that JSON cannot express, or is bytes for a client of version 1.
        TooLarge: `payload` is bytes, and the status or a reference is over TOPIC_BYTES_MAX.
    """
    ref._seat.reply(ref._ref, status, {} if payload is None else payload)


class _Sign(enum.Enum):
    UNANSWERED = enum.auto()
    NOTHING_ASKED = enum.auto()


UNANSWERED: Final = _Sign.UNANSWERED
"""What a handler returns that does not answer, or not yet."""
NOTHING_ASKED: Final = _Sign.NOTHING_ASKED
"""Stands for the reference of a message when no handler of an event runs."""
