"""Broadcasts that some clients cannot have: bytes, on a topic that clients of version 1 have joined."""

from __future__ import annotations

import logging
from typing import Final

TOPICS_NAMED_MAX: Final = 1_000
"""Topics that the log names; about those after them it says nothing, they are only counted."""

logger = logging.getLogger("roost.socket")


class Unfit:
    """What one node has left out.

    Attributes:
        count: how many broadcasts were not sent to a client, each client counted.
    """

    __slots__ = ("_named", "count")

    def __init__(self) -> None:
        self.count = 0
        self._named: dict[str, None] = {}

    def note(self, topic: str) -> None:
        """One client did not get a broadcast on `topic`; the log says so once for each topic."""
        self.count += 1
        if topic not in self._named and len(self._named) < TOPICS_NAMED_MAX:
            self._named[topic] = None
            logger.warning("%s: broadcasts of bytes are not sent to clients of protocol version 1", topic)
