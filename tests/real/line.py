"""A line to a node: one HTTP connection that is kept open, with one question at a time."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast

from roost.config import Address


class Answer(NamedTuple):
    """What came back. `body` is not decoded yet."""

    status: int
    body: bytes


class Line(asyncio.Protocol):
    """The connection. Made by `Line.to`."""

    def __init__(self) -> None:
        self._unread = b""
        self._answer: asyncio.Future[Answer] | None = None
        self._is_lost = False
        self._transport: asyncio.Transport

    @classmethod
    async def to(cls, address: Address, timeout_s: float) -> Line:
        """Dial a node.

        Raises:
            OSError, TimeoutError: nobody answers.
        """
        async with asyncio.timeout(timeout_s):
            _, line = await asyncio.get_running_loop().create_connection(cls, *address)
        return line

    async def ask(self, method: str, path: str, body: bytes = b"", timeout_s: float | None = None) -> Answer:
        """Send one request and wait for its answer.

        Raises:
            ConnectionError: the node went away before it has answered.
            TimeoutError: no answer yet; the line is of no more use.
        """
        if self._is_lost:
            raise ConnectionError("hung up")
        self._answer = asyncio.get_running_loop().create_future()
        head = f"{method} {path} HTTP/1.1\r\nHost: shop\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        async with asyncio.timeout(timeout_s):
            return await self._answer

    @property
    def is_lost(self) -> bool:
        """Whether the node has hung up."""
        return self._is_lost

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the line stands."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """asyncio: a piece of the answer."""
        self._unread += data
        head, blank, rest = self._unread.partition(b"\r\n\r\n")
        if not blank or self._answer is None:
            return
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) >= size:
            self._unread = b""
            if not self._answer.done():
                self._answer.set_result(Answer(int(head.split(b" ", 2)[1]), rest))

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: the node is gone."""
        self._is_lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(str(error or "hung up")))
