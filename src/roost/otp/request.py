"""Messages that are declared as classes, for processes that are written with one `match`."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

ReplyT_co = TypeVar("ReplyT_co", covariant=True)


class Request(msgspec.Struct, Generic[ReplyT_co], frozen=True, tag=True):
    """A message that is answered with a `ReplyT`: `await handle.call(Pop())` has that type.

    ::

        class Pop(Request[str], frozen=True):
            pass

        class Push(Request[None], frozen=True):
            item: str

        class Stack(GenServer):
            def init(self) -> None:
                self.items: list[str] = []

            def handle_call(self, message: Pop | Push) -> str | None:
                match message:
                    case Push(item):
                        return self.items.append(item)
                    case Pop():
                        return self.items.pop()
    """
