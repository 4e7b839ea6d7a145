"""What nodes say to each other about their cluster. The set is closed; bodies that are clusters stay encoded."""

from __future__ import annotations

import msgspec

from roost.core.caspaxos import Accept, Acceptor, Ballot, Prepare
from roost.core.membership import Member


class Look(msgspec.Struct, array_like=True, frozen=True, tag=11):
    """What do you see? The answer is a View."""


class View(msgspec.Struct, array_like=True, frozen=True):
    """What one node sees.

    Attributes:
        node: who.
        incarnation: which life of it.
        cluster: the identity of its cluster.
        generation, version: which value of it the node knows.
        claimant: who drives its changes, as far as the node knows.
        up: whom it can reach.
        has_vote: whether it may vote.
    """

    node: str
    incarnation: int
    cluster: bytes
    generation: int
    version: int
    claimant: str
    up: tuple[str, ...]
    has_vote: bool


class Pull(msgspec.Struct, array_like=True, frozen=True, tag=12):
    """What is the newest cluster that you know? The answer is a Learned."""


class Learned(msgspec.Struct, array_like=True, frozen=True, tag=13):
    """A cluster that was chosen, and the ballot at which it was."""

    ballot: Ballot
    cluster: bytes


class Join(msgspec.Struct, array_like=True, frozen=True, tag=14):
    """Let this node be a member; its ring has `ring_size` partitions. The answer is a Learned."""

    member: Member
    ring_size: int


class Rumour(msgspec.Struct, array_like=True, frozen=True, tag=15):
    """I know this value of the cluster; ask me when yours is older."""

    cluster: bytes
    generation: int
    version: int


class Given(msgspec.Struct, array_like=True, frozen=True, tag=16):
    """The transfers for which the sender has given everything, as pairs of slots; it says all of them every time.

    Attributes:
        aimed: on the way to which goal, see `Cluster.aimed`.
        transfers: the slots from and to, and who took it.
    """

    aimed: int
    transfers: tuple[tuple[int, int, str], ...]


class Empty(msgspec.Struct, array_like=True, frozen=True, tag=17):
    """The sender is exiting, and holds nothing any more that belongs to others."""


class Moved(msgspec.Struct, array_like=True, frozen=True, tag=18):
    """The sender is a member, and is reached elsewhere than its cluster knows. The answer is a Learned."""

    member: Member


class Recall(msgspec.Struct, array_like=True, frozen=True, tag=19):
    """What do you know, and what have you voted for? Of a voter that has lost its memory; the answer is a Memory."""


class Memory(msgspec.Struct, array_like=True, frozen=True):
    """What one voter remembers.

    Attributes:
        learned: what it knows to be chosen.
        acceptor: what it has promised and accepted.
    """

    learned: Learned
    acceptor: Acceptor


Question = Look | Pull | Join | Moved | Recall | Prepare | Accept
Word = Learned | Rumour | Given | Empty

encode = msgspec.msgpack.Encoder().encode
decode_question = msgspec.msgpack.Decoder(Question).decode
decode_word = msgspec.msgpack.Decoder(Word).decode
decode_view = msgspec.msgpack.Decoder(View).decode
decode_memory = msgspec.msgpack.Decoder(Memory).decode
decode_learned = msgspec.msgpack.Decoder(Learned).decode
