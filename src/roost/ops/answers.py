"""What a node's console answers beside the status of its cluster: what was changed, is planned, is ready, is there."""

from __future__ import annotations

import msgspec

from roost.cluster.status import TransferStatus
from roost.live.topic_counts import TopicCounts
from roost.web.socket_counts import SocketCounts


class Done(msgspec.Struct, frozen=True):
    """Something was changed.

    Attributes:
        cluster: the cluster that was changed.
        node: who was asked.
        done: what was done, in words.
        version: of the cluster, after it.
        staged: every change that waits for a commit now.
        next_step: what to type next, or "".
    """

    cluster: str
    node: str
    done: str
    version: int
    staged: tuple[str, ...]
    next_step: str


class PlannedChange(msgspec.Struct, frozen=True):
    """One staged change: `action` of `node`; `detail` is the newcomer or the zone."""

    action: str
    node: str
    detail: str


class PlannedMember(msgspec.Struct, frozen=True):
    """One member: its status after the commit ("removed" when it will be none), and its share of the ring."""

    name: str
    status: str
    is_claimant: bool
    partitions: int
    pending_partitions: int


class Flow(msgspec.Struct, frozen=True):
    """`count` partitions, or copies of them, go from one node to another."""

    source: str
    target: str
    count: int


class PlanStatus(msgspec.Struct, frozen=True):
    """What a commit of the staged changes would do; it is for exactly this plan, whose digest is in hex.

    Attributes:
        reassigned: partitions that get another owner.
        transfers: copies that have to be given to another node.
        warnings: what the result does not fulfil, or loses, in words.
    """

    cluster: str
    node: str
    digest: str
    ring_size: int
    changes: tuple[PlannedChange, ...]
    members: tuple[PlannedMember, ...]
    reassigned: tuple[Flow, ...]
    transfers: tuple[Flow, ...]
    warnings: tuple[str, ...]


class Ready(msgspec.Struct, frozen=True):
    """Whether something is as it should be, for scripts; `reasons` say why not."""

    cluster: str
    node: str
    wanted: str
    ready: bool
    reasons: tuple[str, ...]


class Traffic(msgspec.Struct, frozen=True):
    """How many transfers a node gives and takes now, and how many it may."""

    node: str
    outgoing: int
    outgoing_max: int
    incoming: int
    incoming_max: int


class HandoffConfig(msgspec.Struct, frozen=True):
    """The limits of handoff, of the nodes that answer; `silent` are those that do not."""

    cluster: str
    node: str
    nodes: tuple[Traffic, ...]
    silent: tuple[str, ...]


class NodeSockets(msgspec.Struct, frozen=True):
    """The sockets of one node, by endpoint."""

    node: str
    endpoints: tuple[SocketCounts, ...]


class SocketsStatus(msgspec.Struct, frozen=True):
    """The sockets of the nodes that answer; `silent` are those that do not."""

    cluster: str
    node: str
    nodes: tuple[NodeSockets, ...]
    silent: tuple[str, ...]


class NodeTopics(msgspec.Struct, frozen=True):
    """The topics and presences of one node."""

    node: str
    counts: TopicCounts


class TopicsStatus(msgspec.Struct, frozen=True):
    """The topics and presences of the nodes that answer; `silent` are those that do not."""

    cluster: str
    node: str
    nodes: tuple[NodeTopics, ...]
    silent: tuple[str, ...]


class OwnTransfersAre(msgspec.Struct, frozen=True):
    """What one node has to give."""

    transfers: tuple[TransferStatus, ...]
