"""Answers: what the outcome of a handler is to the client that has asked."""

from __future__ import annotations

from typing import Final

from roost.errors import NotSendable, Overloaded, Refusal, TooLarge
from roost.live.reply import Status
from roost.wire import phoenix

UNFIT: Final = (TypeError, ValueError, RecursionError, TooLarge)
"""What a serializer raises when an answer cannot be sent to this client."""


def reply_of(value: object) -> tuple[str, object]:
    """The status and the payload for what a handler has returned."""
    if value is None:
        return phoenix.OK_STATUS, {}
    if type(value) is Status:
        return value.name, {} if value.payload is None else value.payload
    return phoenix.OK_STATUS, value


def refused_with(error: Exception) -> str | None:
    """What the client is told of an error: the words of a refusal. None when it is a bug, which is not told."""
    return str(error) if isinstance(error, Refusal | Overloaded) and not isinstance(error, NotSendable) else None
