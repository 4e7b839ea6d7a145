"""What two nodes say to each other once they have shaken hands.

Everything that is bound for one peer within one turn of the loop leaves as ONE MessagePack array of these messages
in ONE frame. The set is closed: a tag that is not here closes the link. Bodies stay encoded until the service they
are for decodes them with its own declared types.
"""

from __future__ import annotations

import msgspec


class Request(msgspec.Struct, array_like=True, tag=1, frozen=True, gc=False):
    """A question to a service; it is answered by exactly one Reply or Refused with the same id.

    `timeout_ms` is what was left of the asker's patience when it was sent.
    """

    id: int
    timeout_ms: int
    service: str
    body: msgspec.Raw


class Reply(msgspec.Struct, array_like=True, tag=2, frozen=True, gc=False):
    """The answer to a Request."""

    id: int
    body: msgspec.Raw


class Refused(msgspec.Struct, array_like=True, tag=3, frozen=True, gc=False):
    """A Request that ended in a declared error: its code and the arguments it is made of."""

    id: int
    code: str
    arguments: msgspec.Raw


class Cast(msgspec.Struct, array_like=True, tag=4, frozen=True, gc=False):
    """Something for a service that is not answered."""

    service: str
    body: msgspec.Raw


class Heartbeat(msgspec.Struct, array_like=True, tag=5, frozen=True, gc=False):
    """Said on a link that has been idle, so that silence means trouble."""


class Goodbye(msgspec.Struct, array_like=True, tag=6, frozen=True, gc=False):
    """The last message of a node that stops in good order."""

    reason: str


class Probe(msgspec.Struct, array_like=True, tag=7, frozen=True, gc=False):
    """Say something at once: are you there? From version 2 on."""


class Doubt(msgspec.Struct, array_like=True, tag=8, frozen=True, gc=False):
    """`node` does not answer me: see for yourself whether it answers you. From version 2 on."""

    node: str


Message = Request | Reply | Refused | Cast | Heartbeat | Goodbye | Probe | Doubt

encode_batch = msgspec.msgpack.Encoder().encode
"""Encode a list of messages as one payload."""

decode_batch = msgspec.msgpack.Decoder(list[Message]).decode
"""Decode one payload; raises msgspec.MsgspecError for anything undeclared."""
