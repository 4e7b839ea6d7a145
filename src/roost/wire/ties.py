"""What two nodes say to each other about processes: handles that cross, monitors, links and exit signals.

Everything here travels as a cast, in the order of the link, and dies with the link: a reference means nothing on the
next one. A process is meant by its name, or by its number, which is its own for one boot of its node.
"""

from __future__ import annotations

import msgspec

Who = str | int
"""A process of the node that is spoken to: its name, or its number."""


class HandleAt(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A handle, inside an argument or a reply. `incarnation` is the boot that a number belongs to; 0 for a name."""

    node: str
    incarnation: int
    who: Who


class Cause(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Why a process ended: a word, or a declared error with its code and arguments."""

    text: str
    code: str = ""
    arguments: bytes = b""


class Sender(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The process of the node that speaks: both ways in which it may be known over there."""

    pid: int
    name: str | None


class Watch(msgspec.Struct, array_like=True, frozen=True, tag=1, gc=False):
    """Tell me when `who` ends, once, under `ref`."""

    ref: int
    who: Who


class Unwatch(msgspec.Struct, array_like=True, frozen=True, tag=2, gc=False):
    """Do not tell me any more."""

    ref: int


class Ended(msgspec.Struct, array_like=True, frozen=True, tag=3, gc=False):
    """The answer to a Watch: it has ended, or was not there."""

    ref: int
    cause: Cause


class LinkTo(msgspec.Struct, array_like=True, frozen=True, tag=4, gc=False):
    """`sender` and `who` end together from now on."""

    sender: Sender
    who: Who


class Unlink(msgspec.Struct, array_like=True, frozen=True, tag=5, gc=False):
    """`sender` and `who` end apart from now on."""

    sender: Sender
    who: Who


class Signal(msgspec.Struct, array_like=True, frozen=True, tag=6, gc=False):
    """`sender`, which is linked to `who`, has ended."""

    sender: Sender
    who: Who
    cause: Cause


class ExitTo(msgspec.Struct, array_like=True, frozen=True, tag=7, gc=False):
    """An exit signal that somebody sends to `who`."""

    who: Who
    cause: Cause


class StopTo(msgspec.Struct, array_like=True, frozen=True, tag=8, gc=False):
    """`who` is to end after the mail that waits."""

    who: Who
    cause: Cause


Tie = Watch | Unwatch | Ended | LinkTo | Unlink | Signal | ExitTo | StopTo

encode_tie = msgspec.msgpack.Encoder().encode
"""Encode one of them."""

decode_tie = msgspec.msgpack.Decoder(Tie).decode
"""Decode one of them; raises msgspec.MsgspecError for anything undeclared."""
