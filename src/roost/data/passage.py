"""Passages: writes that this node cannot coordinate, on their way to a node that can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from roost.cluster.vnode import encode
from roost.data.kv_operation import Order
from roost.errors import CallTimeout, DeadlineExceeded, NodeDown, NoQuorum, OutcomeUnknown, Overloaded, RoostError

if TYPE_CHECKING:
    from roost.cluster.node import Node

SERVICE: Final = "kv"

OnOutcome = Callable[[msgspec.Raw | RoostError], None]
"""Called exactly once: with the encoded outcome of the write, or with why there is none."""


class Passage:
    """One write, and the nodes that it may be passed on to.

    It goes to the first of them. Where that is certain not to have begun, since it could not be sent or the node was
    too busy, it goes to the next one. A node that is lost later may have written: then nobody else is asked, since a
    second write would replace what others have written after the first one.

    Args:
        node: this node.
        holders: who can coordinate it, in order.
        order: the write.
        on_outcome: who is told.
    """

    def __init__(self, node: Node, holders: Sequence[str], order: Order, on_outcome: OnOutcome) -> None:
        self._node = node
        self._holders = list(holders)
        self._order = order
        self._on_outcome = on_outcome
        self._deadline = node.runtime.clock.now() + order.timeout_s
        self._last: RoostError = NoQuorum(0, order.terms.needed)
        self._is_sending = False
        self._is_refused = False

    def go(self) -> None:
        """Send it to the next node; tell when there is none."""
        order = self._order
        while self._holders:
            left_s = self._deadline - self._node.runtime.clock.now()
            if left_s <= 0:
                self._last = DeadlineExceeded(0, order.terms.needed, order.timeout_s)
                break
            holder = self._holders.pop(0)
            body = encode(msgspec.structs.replace(order, timeout_s=left_s))
            self._is_sending, self._is_refused = True, False
            self._node.fabric.request(holder, SERVICE, body, left_s, partial(self._heard, holder))
            self._is_sending = False
            if not self._is_refused:
                return
        self._on_outcome(self._last)

    def _heard(self, holder: str, outcome: msgspec.Raw | RoostError) -> None:
        if self._is_sending and isinstance(outcome, NodeDown | Overloaded):
            self._is_refused, self._last = True, outcome  # it was not sent at all
        elif isinstance(outcome, Overloaded):
            self._last = outcome
            self.go()
        elif isinstance(outcome, NodeDown):
            self._on_outcome(OutcomeUnknown(holder, outcome.reason))
        elif isinstance(outcome, CallTimeout):
            self._on_outcome(DeadlineExceeded(0, self._order.terms.needed, self._order.timeout_s))
        else:
            self._on_outcome(outcome)
