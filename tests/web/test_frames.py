"""The fast path of a socket over a transport that only notes what is done to it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.protocol import State

from roost.core.backlog import CloseSlow, DropOldest, Policy, SlowReaders
from roost.limits import BACKLOG_FRAME_BYTES, SOCKET_WRITE_BYTES
from roost.web import frames as frames_module
from roost.web.frames import FrameProtocol
from roost.wire import phoenix

COST = 1 + BACKLOG_FRAME_BYTES
"""What a frame of one byte counts while it waits."""
NARROW = CloseSlow(4 * COST)


class Noted:
    """What a protocol hands over."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, bool]] = []
        self.count = 0

    def append_both(self, data: bytes, binary: bool) -> None:
        self.heard.append((data, binary))

    def append_one(self) -> None:
        self.count += 1


MESSAGES, PINGS = Noted(), Noted()


class NotingTransport:
    """A transport whose buffer the test fills and empties."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.log.append(bytes(data))

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == SOCKET_WRITE_BYTES

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


def connected(policy: Policy = NARROW) -> tuple[FrameProtocol, NotingTransport]:
    config = uvicorn.Config(no_app, ws=FrameProtocol, log_config=None)
    config.load()
    protocol = FrameProtocol(config, ServerState(), {})
    transport = NotingTransport()
    protocol.connection_made(cast("asyncio.Transport", transport))
    protocol.handshake_initiated = protocol.handshake_complete = True
    protocol.request = protocol.response = None  # type: ignore[assignment]  # no handshake was made
    protocol.listen(MESSAGES.append_both, PINGS.append_one, SlowReaders(policy, phoenix.look))
    return protocol, transport


def send(protocol: FrameProtocol, *frames: bytes) -> None:
    """One turn with these frames."""
    for frame in frames:
        protocol.write(frame)
    protocol.flush()


def readers_of(protocol: FrameProtocol) -> SlowReaders:
    assert protocol._readers is not None
    return protocol._readers


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


async def test_what_a_slow_client_does_not_take_waits_until_it_has_caught_up() -> None:
    protocol, transport = connected()
    protocol.pause_writing()
    for frame in (b"1", b"2", b"3"):
        send(protocol, frame)
    assert transport.log == []
    assert readers_of(protocol).behind == 1
    protocol.resume_writing()
    assert transport.log == [b"123"]
    send(protocol, b"4")
    assert transport.log == [b"123", b"4"]
    assert (readers_of(protocol).behind, readers_of(protocol).waiting_bytes) == (0, 0)
    protocol.connection_lost(None)


async def test_what_waits_leaves_in_parts_as_the_client_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol, transport = connected(CloseSlow())
    monkeypatch.setattr(frames_module, "SOCKET_WRITE_BYTES", 2)
    protocol.pause_writing()
    for frame in (b"1", b"2", b"3", b"4", b"5"):
        send(protocol, frame)

    def write(data: bytes) -> None:
        transport.log.append(data)
        protocol.pause_writing()

    monkeypatch.setattr(transport, "write", write)
    protocol.resume_writing()
    assert transport.log == [b"12"]
    protocol.resume_writing()
    protocol.resume_writing()
    assert transport.log == [b"12", b"34", b"5"]
    protocol.connection_lost(None)


async def test_a_turn_of_more_than_the_transport_may_hold_waits_as_soon_as_it_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    protocol, transport = connected()
    monkeypatch.setattr(frames_module, "SOCKET_WRITE_BYTES", 2)

    def write(data: bytes) -> None:
        transport.log.append(data)
        if len(transport.log) == 2:
            protocol.pause_writing()

    monkeypatch.setattr(transport, "write", write)
    send(protocol, b"1", b"2", b"345", b"6", b"7")
    assert transport.log == [b"12", b"345"]
    assert readers_of(protocol).waiting_bytes == 2 * COST
    protocol.resume_writing()
    assert transport.log == [b"12", b"345", b"67"]
    protocol.connection_lost(None)


async def test_a_client_over_its_budget_is_closed_and_holds_nothing_any_more() -> None:
    protocol, transport = connected()
    protocol.pause_writing()
    for frame in (b"1", b"2", b"3", b"4", b"5"):
        send(protocol, frame)
    assert queued(protocol) == [{"type": "roost.close", "code": 1013}]
    readers = readers_of(protocol)
    assert (readers.behind, readers.waiting_bytes, readers.closed) == (0, 0, 1)
    protocol.resume_writing()
    send(protocol, b"6")
    assert transport.log == []
    protocol.connection_lost(None)


async def test_a_client_whose_policy_drops_the_oldest_stays_open() -> None:
    protocol, transport = connected(DropOldest(2 * 300))
    protocol.pause_writing()
    frames = [phoenix.V2.broadcast("a", "said", {"n": number}) for number in range(9)]
    for frame in frames:
        send(protocol, frame)
    protocol.resume_writing()
    assert transport.log == [frames[7] + frames[8]]
    assert readers_of(protocol).dropped == 7
    protocol.connection_lost(None)


async def test_a_close_comes_after_what_waits() -> None:
    protocol, transport = connected()
    protocol.pause_writing()
    send(protocol, b"1")
    protocol.close(1001)
    assert queued(protocol) == []
    protocol.resume_writing()
    assert transport.log == [b"1"]
    assert queued(protocol) == [{"type": "roost.close", "code": 1001}]
    protocol.connection_lost(None)


async def test_a_shutdown_sends_what_waits() -> None:
    protocol, transport = connected()
    protocol.conn.send_close = lambda code: None  # type: ignore[assignment, method-assign, misc]  # no handshake was made
    protocol.pause_writing()
    send(protocol, b"1", b"2")
    protocol.shutdown()
    assert transport.log[0] == b"12"
    protocol.connection_lost(None)


async def test_a_client_that_is_gone_is_not_behind_any_more() -> None:
    protocol, _ = connected()
    protocol.pause_writing()
    send(protocol, b"1")
    protocol.connection_lost(None)
    assert (readers_of(protocol).behind, readers_of(protocol).waiting_bytes) == (0, 0)


async def test_a_close_of_a_client_that_breaks_the_rules_meanwhile_is_no_error() -> None:
    protocol, transport = connected()
    protocol.close(1001)
    protocol.close_sent = True
    [close] = queued(protocol)
    assert close == {"type": "roost.close", "code": 1001}
    await protocol.send({"type": "websocket.close", "code": 1001, "reason": ""})
    assert (transport.log, queued(protocol)) == ([], [])


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


def masked(first: int, content: bytes) -> bytes:
    """A short frame of a client, under a mask of zeros."""
    return bytes((first, 0x80 | len(content))) + b"\0\0\0\0" + content


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


async def test_a_client_that_pings_and_does_not_read_is_answered_once_it_reads() -> None:
    protocol, transport = upgraded()
    protocol.pause_writing()
    protocol.data_received(pings(1))
    protocol.data_received(pings(1))
    assert transport.log == []
    protocol.resume_writing()
    assert pongs(transport) == 1
    protocol.connection_lost(None)


async def test_a_client_that_pings_without_end_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "SOCKET_CONTROLS_PER_S_MAX", 5)
    protocol, _ = upgraded()
    protocol.data_received(pings(5))
    assert queued(protocol) == []
    protocol.data_received(b"\x8a\x80\0\0\0\0")
    assert queued(protocol) == [{"type": "roost.close", "code": 1008}]
    protocol.connection_lost(None)


async def test_a_ping_is_a_sign_of_life_but_not_in_the_middle_of_a_message() -> None:
    protocol, _ = upgraded()
    PINGS.count = 0
    protocol.data_received(pings(2))
    protocol.data_received(masked(0x01, b"half"))
    protocol.data_received(pings(2))
    assert PINGS.count == 2
    protocol.data_received(masked(0x80, b"whole"))
    protocol.data_received(pings(1))
    assert PINGS.count == 3
    protocol.connection_lost(None)


async def test_messages_are_handed_over_with_their_kind() -> None:
    protocol, _ = upgraded()
    MESSAGES.heard.clear()
    protocol.data_received(masked(0x81, b"text") + masked(0x82, b"\0\1") + masked(0x02, b"\0") + masked(0x80, b"\2"))
    protocol.data_received(masked(0x82, b""))
    assert MESSAGES.heard == [(b"text", False), (b"\0\1", True), (b"\0\2", True), (b"", True)]
    protocol.connection_lost(None)


@pytest.mark.parametrize("content", [b"1", b""])
async def test_a_message_in_too_many_fragments_is_closed(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "SOCKET_FRAGMENTS_MAX", 3)
    protocol, _ = upgraded()
    protocol.data_received(masked(0x01, content) + masked(0x00, content) * 2)
    assert queued(protocol) == []
    protocol.data_received(masked(0x00, content))
    assert queued(protocol) == [{"type": "roost.close", "code": 1009}]
    assert protocol.frames == []
    protocol.connection_lost(None)
