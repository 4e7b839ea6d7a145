"""What the topics and presences of one node are at, for consoles and metrics."""

from __future__ import annotations

import msgspec


class TopicCounts(msgspec.Struct, frozen=True):
    """One node.

    Attributes:
        topics: topics that somebody here has subscribed to.
        subscribers: clients and processes that have, each as often as it has topics.
        presences: presences of this node.
        lost: messages that other nodes could not take because they did not keep up, so far.
        refused: messages that a process here could not take because its mailbox was full, so far.
        unknown: messages of a class, or for a dispatcher, that this node does not know, so far.
        failed: messages with which a dispatcher has failed, so far.
        bad: messages of other nodes that were none, so far.
        unfit: broadcasts of bytes that a client of version 1 could not be sent, each client counted, so far.
        unwanted: messages of other nodes that nobody here wanted, so far; some are usual.
    """

    topics: int = 0
    subscribers: int = 0
    presences: int = 0
    lost: int = 0
    refused: int = 0
    unknown: int = 0
    failed: int = 0
    bad: int = 0
    unfit: int = 0
    unwanted: int = 0
