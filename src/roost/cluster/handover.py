"""What two nodes say to each other while a slot moves."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Kind = Literal["ownership", "hinted", "repair"]


class Propose(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """Will you take `target`? The reply says how much is there already.

    Attributes:
        target: the slot at the taker.
        attempt: numbers the attempts of one giver.
        kind: why it moves.
        replace: whether the giver is in charge of it, alone, so that its values replace what the taker has.
        items: how many items there are to give.
    """

    target: int
    attempt: int
    kind: Kind
    replace: bool
    items: int


class Accepted(msgspec.Struct, array_like=True, frozen=True):
    """Yes: and so many items are here already."""

    items: int


class Compare(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """These keys are at the giver, with these digests. The reply names those that must be sent.

    Attributes:
        absent: keys that the giver had when it began, and has no more.
    """

    target: int
    attempt: int
    offers: tuple[tuple[bytes, bytes], ...]
    absent: tuple[bytes, ...] = ()


class Missing(msgspec.Struct, array_like=True, frozen=True):
    """These must be sent; all the others are here, safely."""

    keys: tuple[bytes, ...]


class Take(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """Store these items. The reply, nil, comes when they are safe.

    Attributes:
        absent: keys that the giver has named, and has no more.
    """

    target: int
    attempt: int
    items: tuple[tuple[bytes, bytes], ...]
    absent: tuple[bytes, ...] = ()


class Conclude(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """That was everything. The reply, nil, comes when everything is safe."""

    target: int
    attempt: int


class Request(msgspec.Struct, array_like=True, tag=5, frozen=True):
    """Give what you hold of `source` to the sender of this, for its `target`: a repair. The reply is nil."""

    source: int
    target: int


class Restart(msgspec.Struct, array_like=True, tag=6, frozen=True):
    """From the taker to the giver: begin again, the vnode that took it has ended, perhaps with what it had. The reply
    is nil."""

    target: int
    attempt: int


Handover = Propose | Compare | Take | Conclude | Request | Restart

NIL: Final = b"\xc0"
encode: Final = msgspec.msgpack.Encoder().encode
decode: Final = msgspec.msgpack.Decoder(Handover).decode
decode_accepted: Final = msgspec.msgpack.Decoder(Accepted).decode
decode_missing: Final = msgspec.msgpack.Decoder(Missing).decode
