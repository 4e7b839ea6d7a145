"""What the sockets of one endpoint are at, for consoles and metrics."""

from __future__ import annotations

import msgspec


class SocketCounts(msgspec.Struct, frozen=True):
    """One endpoint of one node.

    Attributes:
        path: where it is mounted.
        sockets: WebSockets that are connected.
        channels: topics that they have joined, or are joining.
        polls: long-poll sessions.
        behind: clients for whom something waits because they do not keep up.
        waiting_bytes: what waits for them.
        dropped: messages that were left out for slow clients, so far.
        coalesced: messages that a newer one has replaced, so far.
        closed_slow: clients that were closed because too much waited for them, so far.
    """

    path: str
    sockets: int
    channels: int
    polls: int
    behind: int
    waiting_bytes: int
    dropped: int
    coalesced: int
    closed_slow: int
