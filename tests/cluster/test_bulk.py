"""The bulk lane: much can flow over a link, and nothing else has to stand behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import msgspec
import pytest
import uvloop

from roost import limits
from roost.cluster.bulk import Bulk, Bulky
from roost.cluster.link import Link
from roost.errors import CallTimeout, NodeDown, Overloaded, RoostError, TooLarge
from roost.wire.messages import Request
from tests.cluster.meadow import Meadow, configs, turns_until
from tests.cluster.test_link import Side

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
A, B = "a@127.0.0.1", "b@127.0.0.1"
PIECE = bytes(200_000)


class Noting:
    """Notes the numbers that arrive, and answers with them."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def on_request(self, link: Link, request: Request) -> None:
        number, _ = unpack(request.body, type=tuple[int, bytes])
        self.numbers.append(number)
        link.reply(request.id, pack(number))

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        raise AssertionError("nobody casts here")


def test_bulk_leaves_in_frames_in_order_without_what_nobody_waits_for() -> None:
    bulk = Bulk()
    for number in range(10):
        bulk.put(Bulky(number, "x", bytes(limits.BATCH_BYTES_MAX // 4), 1.0))
    bulk.put(Bulky(10, "x", bytes(2 * limits.BATCH_BYTES_MAX), 1.0))
    wanted = set(range(11)) - {2}
    frames = []
    while bulk:
        frames.append([request.id for request in bulk.take(wanted)])
    assert frames == [[0, 1, 3, 4], [5, 6, 7, 8], [9], [10]]
    assert bulk.waiting_bytes == 0


async def flood(story: Meadow) -> None:
    """Much bulk to a peer that does not read for a while, and calls behind it."""
    a, noting = story.fabrics["a"], Noting()
    story.fabrics["b"].serve("noting", noting)
    link, theirs = a._peers[B], story.fabrics["b"]._peers[A]._transport
    assert theirs is not None
    written: list[int] = []
    honest = link._write

    def write(data: bytes) -> None:
        written.append(len(data))
        honest(data)

    link._write = write  # type: ignore[method-assign]  # the test listens in
    theirs.pause_reading()
    outcomes: list[msgspec.Raw | RoostError] = []
    count = limits.LINK_BULK_BYTES_MAX // len(PIECE) - 1
    for number in range(count):
        a.bulk(B, "noting", pack((number, PIECE)), 60.0, outcomes.append)
    await turns_until(lambda: link._writable is not None)
    assert link._transport is not None
    assert link._transport.get_write_buffer_size() <= 2 * limits.LINK_HIGH_BYTES
    before = len(written)
    calls = [asyncio.ensure_future(a.call(B, "noting", pack((-number, b"")), 60.0)) for number in range(1, 4)]
    await turns_until(lambda: len(written) > before)
    assert written[before] < 1000  # the calls were the next to leave, together
    sent = sum(size > 1000 for size in written)
    assert sent < count // 2
    theirs.resume_reading()
    assert [unpack(await call) for call in calls] == [-1, -2, -3]
    assert noting.numbers.index(-1) <= sent * 2
    await turns_until(lambda: len(outcomes) == count)
    assert [number for number in noting.numbers if number >= 0] == list(range(count))
    assert all(isinstance(outcome, msgspec.Raw) for outcome in outcomes)


async def between_turns(story: Meadow) -> None:
    """While bulk flows, no more than a turn's worth of it leaves between two flushes of something else."""
    a, noting = story.fabrics["a"], Noting()
    story.fabrics["b"].serve("noting", noting)
    link = a._peers[B]
    since: list[int] = [0]
    most: list[int] = []
    honest = link._write

    def write(data: bytes) -> None:
        if len(data) < 1000:
            most.append(since[0])
            since[0] = 0
        else:
            since[0] += len(data)
        honest(data)

    link._write = write  # type: ignore[method-assign]  # the test listens in
    bulk = [asyncio.ensure_future(a.call_bulk(B, "noting", pack((n, PIECE)), 60.0)) for n in range(60)]
    await asyncio.sleep(0)
    while noting.numbers.count(-1) < 5 or not all(one.done() for one in bulk):
        assert unpack(await a.call(B, "noting", pack((-1, b"")), 60.0)) == -1
    assert [unpack(await one) for one in bulk] == list(range(60))
    # A call takes its way there and back, and that is a few turns of the loop.
    assert max(most) <= 8 * limits.BULK_TURN_BYTES


async def told(coroutine: Coroutine[object, object, None], story: Meadow) -> None:
    try:
        await coroutine
    finally:
        await story.stop()


@pytest.mark.parametrize("tale", [flood, between_turns])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_flood_of_bulk_delays_nothing_else(tale: object, loop: object) -> None:
    async def whole() -> None:
        story = Meadow(*configs("a", "b"))
        await story.connect()
        await told(tale(story), story)  # type: ignore[operator]  # one of the two

    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]  # one of the two
        runner.run(whole())


async def test_bulk_ends_as_other_requests_do() -> None:
    story = Meadow(*configs("a", "b"))
    await story.connect()
    a, link = story.fabrics["a"], story.fabrics["a"]._peers[B]
    theirs = story.fabrics["b"]._peers[A]._transport
    assert theirs is not None
    theirs.pause_reading()
    outcomes: list[msgspec.Raw | RoostError] = []
    a.bulk(B, "echo", bytes(limits.MESSAGE_BYTES_MAX + 1), 1.0, outcomes.append)
    assert isinstance(outcomes.pop(), TooLarge)
    while not outcomes:
        a.bulk(B, "echo", pack(PIECE), 60.0, outcomes.append)
    assert isinstance(outcomes.pop(), Overloaded)
    await turns_until(lambda: link._writable is not None)
    a.bulk("z@127.0.0.1", "echo", b"\xc0", 60.0, outcomes.append)
    assert isinstance(outcomes.pop(), NodeDown)
    a.bulk(B, "echo", b"\xc0", 0.0, outcomes.append)
    a.expire()
    assert isinstance(outcomes.pop(), CallTimeout)
    waiting = len(link._pending)
    link.hang_up("enough", abort=True)
    assert waiting == len(outcomes) > 10
    assert all(isinstance(outcome, NodeDown) for outcome in outcomes)
    assert not link._bulk
    await story.stop()


async def numbers(side: Side) -> list[object]:
    """What the link has asked in the next turns, in the order in which it left."""
    said = [message for _ in range(4) for message in await side.said()]
    return [unpack(message.body) for message in said if isinstance(message, Request)]


async def test_what_is_asked_in_the_same_turn_leaves_before_bulk() -> None:
    side = Side()
    side.open()
    side.link.bulk("noting", pack("bulk"), 1.0, lambda _: None)
    side.link.request("noting", pack("call"), 1.0, lambda _: None)
    assert await numbers(side) == ["call", "bulk"]


async def test_bulk_waits_for_a_peer_that_does_not_keep_up_and_leaves_when_it_does() -> None:
    side = Side()
    side.open()
    side.link.pause_writing()
    side.link.bulk("noting", pack("bulk"), 1.0, lambda _: None)
    assert await numbers(side) == []
    side.link.request("noting", pack("call"), 1.0, lambda _: None)
    assert await numbers(side) == ["call"]
    side.link.resume_writing()
    assert await numbers(side) == ["bulk"]
