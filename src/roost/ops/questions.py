"""What can be asked of a node's console: a closed set of questions, each with its arguments.

On the wire a question is a map with its name under "command". Names of nodes may be short, "c" for "c@127.0.0.1", where
only one member is called so.
"""

from __future__ import annotations

import msgspec


class Question(msgspec.Struct, frozen=True, tag_field="command"):
    """The root of all questions."""


class MemberStatusOf(Question, frozen=True, tag="member-status"):
    """Who belongs to the cluster."""


class RingStatusOf(Question, frozen=True, tag="ring-status"):
    """Who owns how much, and what is on its way."""


class TransfersOf(Question, frozen=True, tag="transfers"):
    """What is on its way, copy by copy."""


class RingReadyOf(Question, frozen=True, tag="ringready"):
    """Whether every member knows the same cluster."""


class SettledOf(Question, frozen=True, tag="settled"):
    """Whether nothing moves, and nobody comes or goes."""


class Join(Question, frozen=True, tag="cluster join"):
    """The node that is asked shall belong to the cluster of the node that listens at `host`:`port`."""

    host: str
    port: int


class Leave(Question, frozen=True, tag="cluster leave"):
    """Stage that a node gives everything away, and goes."""

    member: str


class Replace(Question, frozen=True, tag="cluster replace"):
    """Stage that a newcomer takes the place of a node, which gives it what it has."""

    member: str
    newcomer: str


class ForceRemove(Question, frozen=True, tag="cluster force-remove"):
    """Stage that a node is lost."""

    member: str


class ForceReplace(Question, frozen=True, tag="cluster force-replace"):
    """Stage that a newcomer takes the place of a node that is lost."""

    member: str
    newcomer: str


class SetZone(Question, frozen=True, tag="cluster set-zone"):
    """Stage that a node lies in another zone; "" is a zone of its own."""

    member: str
    zone: str


class Down(Question, frozen=True, tag="cluster down"):
    """Say, at once, that nodes are dead."""

    members: tuple[str, ...]


class SetPolicy(Question, frozen=True, tag="cluster policy"):
    """Say, at once, whether joins are committed by themselves: "auto", or "manual"."""

    policy: str


class PlanOf(Question, frozen=True, tag="cluster plan"):
    """What the staged changes come to; a commit is for this plan."""


class Commit(Question, frozen=True, tag="cluster commit"):
    """Let the staged changes happen, as planned."""


class Clear(Question, frozen=True, tag="cluster clear"):
    """Take all staged changes back."""


class ConfigureHandoff(Question, frozen=True, tag="handoff config"):
    """How many transfers nodes may give and take at a time; None changes nothing. No members are all members."""

    members: tuple[str, ...] = ()
    outgoing: int | None = None
    incoming: int | None = None


class ProcessTreeOf(Question, frozen=True, tag="process-tree"):
    """The processes of the node that is asked."""


class ProcessInfoOf(Question, frozen=True, tag="process-info"):
    """One process of the node that is asked, by its name or number."""

    about: str


class SocketsOf(Question, frozen=True, tag="sockets"):
    """Who is connected to the nodes, and who does not keep up."""


class TopicsOf(Question, frozen=True, tag="topics"):
    """How many topics, subscribers and presences the nodes have, and what did not arrive."""


class OwnTopics(Question, frozen=True, tag="own topics"):
    """The same of the node that is asked. Nodes ask each other."""


class OwnTransfers(Question, frozen=True, tag="own transfers"):
    """What the node that is asked has to give. Nodes ask each other."""


class OwnSockets(Question, frozen=True, tag="own sockets"):
    """Who is connected to the node that is asked. Nodes ask each other."""


class OwnTraffic(Question, frozen=True, tag="own traffic"):
    """How many transfers the node that is asked gives and takes, and may; limits are changed first. Nodes ask each
    other."""

    outgoing: int | None = None
    incoming: int | None = None


Asked = (
    MemberStatusOf
    | RingStatusOf
    | TransfersOf
    | RingReadyOf
    | SettledOf
    | Join
    | Leave
    | Replace
    | ForceRemove
    | ForceReplace
    | SetZone
    | Down
    | SetPolicy
    | PlanOf
    | Commit
    | Clear
    | ConfigureHandoff
    | ProcessTreeOf
    | ProcessInfoOf
    | SocketsOf
    | TopicsOf
    | OwnTransfers
    | OwnTraffic
    | OwnSockets
    | OwnTopics
)
"""Every question that a node takes."""

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Asked).decode
