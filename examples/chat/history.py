"""What a room remembers: a value of the store that every node may add to at the same time."""

from __future__ import annotations

from typing import Final, cast

HISTORY_MAX: Final = 100
"""Messages that a room remembers."""

Message = dict[str, object]


def merge_histories(histories: tuple[object, ...]) -> object:
    """One history of several that were written without knowing of each other: every message once, the newest last."""
    messages = {str(message["id"]): message for history in histories for message in cast("list[Message]", history)}
    ordered = sorted(messages.values(), key=lambda message: (cast("int", message["at"]), str(message["id"])))
    return ordered[-HISTORY_MAX:]


def added(old: object, message: Message) -> object:
    """A history with one message more, which is later than all before even when this node's clock is behind."""
    history = cast("list[Message]", old or [])
    if history:
        message["at"] = max(cast("int", message["at"]), cast("int", history[-1]["at"]) + 1)
    return merge_histories((history, [message]))
