"""HTTP requests that do not arrive: what one connection may hold on to is bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from roost.config import Address
from roost.runtime import Runtime
from roost.web import cork
from roost.web.answer import answer
from roost.web.serving import WebServer

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def web(scope: Any, receive: Any, send: Any) -> None:
    """Reads the whole body, then says hello."""
    while (await receive()).get("more_body", False):
        pass
    await answer(send, 200, b'"hello"')


@asynccontextmanager
async def client() -> AsyncIterator[Streams]:
    server = WebServer(web, Runtime.real())
    address = await server.start(Address("127.0.0.1", 0))
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await server.stop()


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """All that still comes; nothing after a reset."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_a_head_over_its_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cork, "HEAD_BYTES_MAX", 100)
    async with client() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100)
        assert (await rest_of(reader)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHo"])
async def test_a_head_that_does_not_arrive_ends_the_connection(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cork, "HEAD_S", 0.01)
    async with client() as (reader, writer):
        writer.write(sent)
        assert await rest_of(reader) == b""


async def test_a_head_that_trickles_does_not_gain_time_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cork, "HEAD_S", 0.05)
    async with client() as (reader, writer):
        rest = asyncio.create_task(rest_of(reader))
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        while not rest.done():
            writer.write(b"x")
            await asyncio.sleep(0)
        assert await rest == b""


async def test_a_refusal_is_seen_by_who_goes_on_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cork, "LINGER_S", 0.05)
    async with client() as (reader, writer):
        writer.write(b"no request\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        writer.write(b"x" * 100_000)
        await writer.drain()
        assert (await rest_of(reader)).startswith(b"Invalid HTTP request")


async def test_a_body_that_does_not_arrive_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cork, "BODY_SILENCE_S", 0.01)
    async with client() as (reader, writer):
        writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        assert await rest_of(reader) == b""


async def test_many_requests_on_one_connection_are_counted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cork, "HEAD_BYTES_MAX", 100)
    async with client() as (reader, writer):
        for _ in range(5):
            writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\n")
            await asyncio.sleep(0)
            writer.write(b"Content-Length: 200\r\n\r\n" + b"x" * 100)
            await asyncio.sleep(0)
            writer.write(b"x" * 100)
            assert (await reader.readuntil(b'"hello"')).startswith(b"HTTP/1.1 200 ")
