"""Where a connection's frames wait until the client polls: the outlet of a long poll."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from roost.core.backlog import Backlog, SlowReaders
from roost.limits import LONGPOLL_BYTES_MAX, LONGPOLL_FRAME_BYTES_MAX
from roost.runtime.clock import Clock
from roost.web.outlet import TOO_SLOW

TOO_BIG: Final = 1009
"""The close code after a message that is too long (RFC 6455, 7.4.1)."""

logger = logging.getLogger("roost.socket")


class Buffer:
    """The outlet of one session.

    A client that does not fetch what waits for it is treated as any slow reader, by the policy of its socket class.

    Args:
        readers: the policy, and what waits for all sessions that share it.
        clock: tells turns of the loop apart.
        on_ready: called at the end of a turn in which something was written.
        on_closed: called once, with the close code, in the turn after the one in which the outlet was closed.

    Attributes:
        code: the close code; None while anything can be written.
        backlog: what waits.
    """

    __slots__ = ("_clock", "_on_closed", "_on_ready", "_readers", "backlog", "code")

    def __init__(
        self, readers: SlowReaders, clock: Clock, on_ready: Callable[[], None], on_closed: Callable[[int], None]
    ) -> None:
        self._readers = readers
        self._clock = clock
        self._on_ready = on_ready
        self._on_closed = on_closed
        self.backlog = Backlog(readers)
        self.code: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything can be written."""
        return self.code is None

    def write(self, frame: bytes) -> None:
        """Let one frame wait. Over the budget of the client, or of all of them together, it is closed instead."""
        if not self.is_open:
            return
        if len(frame) > LONGPOLL_FRAME_BYTES_MAX:
            logger.warning("closing a long poll: a message of %d bytes is too large for it", len(frame))
            self.close(TOO_BIG)
        elif self._readers.waiting_bytes + len(frame) > LONGPOLL_BYTES_MAX:
            logger.warning("closing a long poll: %d bytes wait for all of them", self._readers.waiting_bytes)
            self.backlog.clear()
            self.close(TOO_SLOW)
        elif not self.backlog.add(frame):
            logger.warning("closing a long poll that does not fetch what waits for it")
            self.close(TOO_SLOW)

    def flush(self) -> None:
        """The turn ends: let a poll that waits have what was written."""
        if self.is_open and self.backlog:
            self._on_ready()

    def close(self, code: int) -> None:
        """Take nothing more. What waits can still be fetched."""
        if self.is_open:
            self.code = code
            # Whoever closes may be in the middle of a broadcast, or of taking a frame.
            self._clock.call_later(0.0, lambda: self._on_closed(code))

    def pause(self) -> None:
        """The session asks the connection whether it may go on; nothing to do here."""

    def resume(self) -> None:
        """See `pause`."""
