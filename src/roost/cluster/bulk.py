"""The low-priority queue of a link: requests that carry much, and wait until nothing else has to go.

They leave in frames of at most BATCH_BYTES_MAX, unless a single one is larger, and only while little is waiting in the
transport, so that a call or a heartbeat never stands behind more than one such frame and what the transport holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import NamedTuple

from roost import limits


class Bulky(NamedTuple):
    """One request that waits. `deadline` is when its time is up, as the clock tells."""

    id: int
    service: str
    body: bytes
    deadline: float


class Bulk:
    """What waits on one link, in the order in which it was asked.

    Attributes:
        waiting_bytes: bodies in the queue.
        is_pumping: whether the link is about to send some of it.
    """

    def __init__(self) -> None:
        self._queue: deque[Bulky] = deque()
        self.waiting_bytes = 0
        self.is_pumping = False

    def __bool__(self) -> bool:
        return bool(self._queue)

    def has_room(self, size_bytes: int) -> bool:
        """Whether one more of this size may wait; a single one always may."""
        return not self._queue or self.waiting_bytes + size_bytes <= limits.LINK_BULK_BYTES_MAX

    def put(self, request: Bulky) -> None:
        """Let a request wait."""
        self._queue.append(request)
        self.waiting_bytes += len(request.body)

    def take(self, wanted: Container[int]) -> list[Bulky]:
        """Remove what makes the next frame; requests that are not `wanted` any more are left out."""
        taken: list[Bulky] = []
        size_bytes = 0
        while self._queue:
            first = self._queue[0]
            is_full = size_bytes + len(first.body) > limits.BATCH_BYTES_MAX or len(taken) >= limits.BATCH_MESSAGES_MAX
            if taken and is_full:
                break
            self._queue.popleft()
            self.waiting_bytes -= len(first.body)
            if first.id in wanted:
                taken.append(first)
                size_bytes += len(first.body)
        return taken

    def clear(self) -> None:
        """Forget everything: the link is down."""
        self._queue.clear()
        self.waiting_bytes = 0
