"""The line between a launcher and one of its nodes: a pair of connected sockets.

The node says over it, once, that it is ready or why it cannot start. When the launcher's end closes, because the
launcher let go or died in whatever way, the node stops by itself: no node outlives its launcher.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, MutableMapping

import msgspec

from roost.errors import ConfigError

VARIABLE = "ROOST_LEASH"
WORD_BYTES_MAX = 16 * 1024


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """The node serves."""

    pid: int


class Refused(msgspec.Struct, tag="refused", frozen=True):
    """The node cannot start as it is told to: the setting that is wrong, and why."""

    setting: str
    reason: str


Word = Ready | Refused


class Leash(asyncio.Protocol):
    """The launcher's end.

    Args:
        on_word: called with each thing that the node says.
    """

    def __init__(self, on_word: Callable[[Word], None]) -> None:
        self._on_word = on_word
        self._unread = b""
        self._transport: asyncio.BaseTransport | None = None

    @classmethod
    async def attach(cls, on_word: Callable[[Word], None]) -> tuple[Leash, socket.socket]:
        """A new leash, and the node's end of it, which the caller passes on and then closes."""
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        _, leash = await loop.create_unix_connection(lambda: cls(on_word), sock=ours)
        return leash, theirs

    def let_go(self) -> None:
        """Close this end: the node stops by itself."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the leash is attached."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio: the node spoke. What is no declared word is dropped."""
        *lines, self._unread = (self._unread + data).split(b"\n")
        self._unread = self._unread[-WORD_BYTES_MAX:]
        for line in lines:
            try:
                word = msgspec.json.decode(line, type=Word)
            except msgspec.MsgspecError:
                continue
            self._on_word(word)


class NodeEnd:
    """The node's end; a node that was started without a launcher has none."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> NodeEnd | None:
        """The end that the launcher passed on, or None; processes that the node starts do not inherit it.

        Raises:
            ConfigError: when ROOST_LEASH is set but is no open socket.
        """
        number = environ.pop(VARIABLE, None)
        if number is None:
            return None
        try:
            os.set_inheritable(int(number), False)
            return cls(socket.socket(fileno=int(number)))
        except (ValueError, OSError):
            raise ConfigError(VARIABLE, f"{number!r} is not an open socket") from None

    def say(self, word: Word) -> None:
        """Tell the launcher; harmless when it is gone."""
        try:
            self._end.sendall(msgspec.json.encode(word) + b"\n")
        except OSError:
            return

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Call `on_gone` once, on the running loop, when the launcher has let go or died."""
        loop = asyncio.get_running_loop()
        self._end.setblocking(False)

        def readable() -> None:
            try:
                data = self._end.recv(WORD_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                loop.remove_reader(self._end)
                on_gone()

        loop.add_reader(self._end, readable)
