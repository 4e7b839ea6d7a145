"""What handoffs do while a story is told, counted by listening in: the product knows nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from roost.cluster.handoff import HandoffManager, Handoffs
from roost.cluster.outgoing import Outgoing
from roost.cluster.sender import OnReply, Sender
from roost.sim.trace import Trace

HANDOFF_MARKS: Final = (
    "a write was sent along while its slot was given",
    "a write was answered by the next holder",
    "a command came to a node that holds the slot no more",
    "a transfer was interrupted",
    "a transfer was taken up again",
    "a taker had some of it already",
    "a node started with something that others hold",
    "something was given back to its holder",
    "a slot was given to its next holder",
)
"""What must come about in handoffs."""


@contextmanager
def overheard(trace: Trace) -> Iterator[dict[str, int]]:
    """Count each of HANDOFF_MARKS within the block, on all nodes.

    Args:
        trace: is told when a transfer begins, and when it sends something.
    """
    marks = dict.fromkeys(HANDOFF_MARKS, 0)
    usual = {
        (kind, name): getattr(kind, name)
        for kind, name in (
            (Outgoing, "forward"),
            (Outgoing, "relay"),
            (Outgoing, "begin"),
            (Outgoing, "_failed"),
            (Outgoing, "_offer"),
            (Outgoing, "_send_items"),
            (Handoffs, "over"),
            (Handoffs, "open"),
            (Handoffs, "pass_on"),
        )
    }

    def forward(self: Outgoing, command: bytes, mode: int) -> None:
        marks["a write was sent along while its slot was given"] += self.giving.is_following
        usual[Outgoing, "forward"](self, command, mode)

    def relay(self: Outgoing, command: bytes, on_reply: OnReply, mode: int) -> None:
        marks["a write was answered by the next holder"] += 1
        usual[Outgoing, "relay"](self, command, on_reply, mode)

    def begin(self: Outgoing) -> None:
        marks["a transfer was taken up again"] += self.giving.attempt > 0
        trace.add("transfer", self.kind, self.source, self.target, self.taker)
        usual[Outgoing, "begin"](self)

    def failed(self: Outgoing, attempt: int, reason: str) -> None:
        marks["a transfer was interrupted"] += self.is_active and attempt == self.giving.attempt
        usual[Outgoing, "_failed"](self, attempt, reason)

    def offer(self: Outgoing, ticket: int, keys: tuple[bytes, ...]) -> None:
        marks["a taker had some of it already"] += 1
        usual[Outgoing, "_offer"](self, ticket, keys)

    def send_items(self: Outgoing, ticket: int, keys: tuple[bytes, ...]) -> None:
        usual[Outgoing, "_send_items"](self, ticket, keys)
        trace.add("items", self.source, self.taker, len(keys))

    def over(self: Handoffs, one: Outgoing) -> None:
        marks["something was given back to its holder"] += one.kind == "hinted" and one.giving.phase == "done"
        marks["a slot was given to its next holder"] += one.kind == "ownership" and one.giving.phase == "given"
        usual[Handoffs, "over"](self, one)

    def opened(self: Handoffs, manager: HandoffManager) -> None:
        usual[Handoffs, "open"](self, manager)
        marks["a node started with something that others hold"] += self.keeps_strays()

    # Any: a command is whatever its ring takes.
    def pass_on(self: Handoffs, slot: int, command: Any, sender: Sender) -> None:
        marks["a command came to a node that holds the slot no more"] += 1
        usual[Handoffs, "pass_on"](self, slot, command, sender)

    ears = (forward, relay, begin, failed, offer, send_items, over, opened, pass_on)
    try:
        for (kind, name), ear in zip(usual, ears, strict=True):
            setattr(kind, name, ear)
        yield marks
    finally:
        for (kind, name), honest in usual.items():
            setattr(kind, name, honest)
