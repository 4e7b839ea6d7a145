"""The fast path of a socket over a transport that only notes what is done to it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.protocol import State

from roost.web import frames as frames_module
from roost.web.frames import FrameProtocol


class NotingTransport:
    """A transport whose buffer the test fills and empties."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self.buffered = 0
        self.closing = False

    def write(self, data: bytes) -> None:
        self.log.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.log.append("pause")

    def resume_reading(self) -> None:
        self.log.append("resume")

    def abort(self) -> None:
        self.log.append("abort")

    def close(self) -> None:
        self.closing = True

    def get_extra_info(self, name: str) -> None:
        return None


async def no_app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("nothing is served here")


def connected() -> tuple[FrameProtocol, NotingTransport]:
    config = uvicorn.Config(no_app, ws=FrameProtocol, log_config=None)
    config.load()
    protocol = FrameProtocol(config, ServerState(), {})
    transport = NotingTransport()
    protocol.connection_made(cast("asyncio.Transport", transport))
    protocol.handshake_complete = True
    return protocol, transport


def queued(protocol: FrameProtocol) -> list[object]:
    found: list[object] = []
    while not protocol.queue.empty():
        found.append(protocol.queue.get_nowait())
    return found


async def test_the_frames_of_a_turn_are_one_write() -> None:
    protocol, transport = connected()
    protocol.write(b"1")
    protocol.write(b"2")
    assert transport.log == []
    protocol.flush()
    protocol.flush()
    protocol.write(b"3")
    protocol.flush()
    assert transport.log == [b"12", b"3"]


async def test_what_was_written_before_a_close_is_sent_and_what_comes_after_is_not() -> None:
    protocol, transport = connected()
    protocol.write(b"1")
    protocol.close(1011)
    protocol.close(1002)
    protocol.write(b"2")
    protocol.flush()
    assert transport.log == [b"1"]
    assert queued(protocol) == [{"type": "roost.close", "code": 1011}]
    protocol.connection_lost(None)


async def test_what_was_written_before_a_shutdown_is_sent() -> None:
    protocol, transport = connected()
    protocol.write(b"1")
    protocol.conn.send_close = lambda code: None  # type: ignore[assignment, method-assign, misc]  # no handshake was made
    protocol.shutdown()
    protocol.write(b"2")
    protocol.flush()
    assert transport.log[0] == b"1"
    assert b"2" not in transport.log
    protocol.connection_lost(None)


async def test_a_slow_client_is_watched_until_it_has_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "SOCKET_BUFFER_BYTES_MAX", 10)
    protocol, transport = connected()

    def send(data: bytes) -> None:
        protocol.write(data)
        protocol.flush()

    protocol.pause_writing()
    transport.buffered = 9
    send(b"1")
    protocol.resume_writing()
    transport.buffered = 100
    send(b"2")
    assert transport.log == [b"1", b"2"]
    assert queued(protocol) == []
    protocol.pause_writing()
    send(b"3")
    send(b"4")
    assert transport.log == [b"1", b"2"]
    assert queued(protocol) == [{"type": "roost.close", "code": 1013}]
    protocol.resume_writing()
    send(b"5")
    assert transport.log == [b"1", b"2"]
    protocol.connection_lost(None)


async def test_a_client_that_does_not_answer_a_close_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "CLOSING_S", 0.0)
    protocol, transport = connected()
    protocol.close(1002)
    cut = asyncio.Event()
    monkeypatch.setattr(transport, "abort", cut.set)
    await cut.wait()
    protocol.connection_lost(None)


async def test_reading_pauses_once_and_resumes_once() -> None:
    protocol, transport = connected()
    for step in (protocol.resume, protocol.pause, protocol.pause, protocol.resume, protocol.resume):
        step()
    assert transport.log == ["pause", "resume"]
    transport.closing = True
    protocol.pause()
    protocol.resume()
    assert transport.log == ["pause", "resume"]


def pings(count: int) -> bytes:
    """Pings of a client, each with a payload of four."""
    return b"\x89\x84\0\0\0\0ping" * count


def pongs(transport: NotingTransport) -> int:
    """How many pings were answered."""
    return b"".join(each for each in transport.log if isinstance(each, bytes)).count(b"\x8a\x04ping")


def upgraded() -> tuple[FrameProtocol, NotingTransport]:
    """A protocol whose connection takes frames."""
    protocol, transport = connected()
    protocol.conn.state = State.OPEN
    protocol.conn.parser = protocol.conn.parse()
    next(protocol.conn.parser)
    return protocol, transport


async def test_much_at_once_is_acted_on_in_parts_one_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "SOCKET_TURN_BYTES", 25)
    protocol, transport = upgraded()
    protocol.data_received(pings(7))
    assert transport.log == ["pause"]
    answered = []
    while "resume" not in transport.log:
        await asyncio.sleep(0)
        answered.append(pongs(transport))
    assert answered == [2, 5, 7]
    protocol.data_received(pings(1))
    assert pongs(transport) == 8
    protocol.connection_lost(None)


async def test_a_pause_also_holds_what_has_arrived_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "SOCKET_TURN_BYTES", 10)
    protocol, transport = upgraded()
    protocol.data_received(pings(3))
    await asyncio.sleep(0)
    protocol.pause()
    for _ in range(5):
        await asyncio.sleep(0)
    assert pongs(transport) == 1
    protocol.resume()
    for _ in range(5):
        await asyncio.sleep(0)
    assert pongs(transport) == 3
    assert transport.log[-1] == "resume"
    protocol.connection_lost(None)


async def test_a_client_that_pings_and_does_not_read_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "SOCKET_BUFFER_BYTES_MAX", 10)
    protocol, transport = upgraded()
    protocol.pause_writing()
    transport.buffered = 9
    protocol.data_received(pings(3))
    assert transport.log == []
    assert queued(protocol) == [{"type": "roost.close", "code": 1013}]
    protocol.connection_lost(None)
