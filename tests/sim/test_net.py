from __future__ import annotations

import asyncio

import pytest

from roost.config import Address
from roost.sim.life import Life
from roost.sim.loop import running_loop
from roost.sim.net import SimNetwork
from roost.sim.running import run
from roost.sim.trace import Trace
from roost.sim.weather import Climate

CALM = Climate(split_chance=0.0, stall_chance=0.0)
PORT = 7000


class Ear(asyncio.Protocol):
    """Remembers what happens to its connection."""

    def __init__(self) -> None:
        self.heard = b""
        self.chunks: list[bytes] = []
        self.events: list[str] = []
        self.error: Exception | None = None
        self.transport: asyncio.Transport
        self.changed = asyncio.Event()

    def _note(self, event: str) -> None:
        self.events.append(event)
        self.changed.set()
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._note("made")

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.chunks.append(data)
        self._note("data")

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self._note("lost")

    async def until(self, event: str) -> None:
        async with asyncio.timeout(60.0):
            while event not in self.events:
                await self.changed.wait()

    async def hears(self, size_bytes: int) -> bytes:
        async with asyncio.timeout(60.0):
            while len(self.heard) < size_bytes:
                await self.changed.wait()
        return self.heard


class Pair:
    """A network with a listening node b, and a connection from node a to it."""

    def __init__(self, climate: Climate = CALM) -> None:
        self.trace = Trace(running_loop().time)
        self.network = SimNetwork(running_loop(), self.trace, climate)
        self.a, self.b = Life("a"), Life("b")
        self.near, self.far = Ear(), Ear()

    async def connect(self) -> None:
        await self.network.net(self.b).listen(Address("b", PORT), lambda: self.far)
        await self.network.net(self.a).connect(Address("b", PORT), lambda: self.near, 1.0)
        await self.far.until("made")


@pytest.mark.virtual_time
async def test_bytes_flow_both_ways_and_take_time() -> None:
    pair = Pair()
    await pair.connect()
    began_s = running_loop().time()
    pair.near.transport.write(b"hello")
    assert pair.far.heard == b""
    assert await pair.far.hears(5) == b"hello"
    assert running_loop().time() - began_s >= CALM.delay_min_s
    pair.far.transport.writelines([b"good", b"bye"])
    assert await pair.near.hears(7) == b"goodbye"
    assert pair.near.transport.get_extra_info("peername") == ("b", PORT)


def test_writes_arrive_in_pieces_that_differ_by_seed_and_in_order() -> None:
    async def story() -> tuple[int, ...]:
        pair = Pair(Climate(split_chance=0.7))
        await pair.connect()
        sent = b"".join(b"%04d" % number for number in range(100))
        for at in range(0, len(sent), 4):
            pair.near.transport.write(sent[at : at + 4])
        assert await pair.far.hears(len(sent)) == sent
        return tuple(map(len, pair.far.chunks))

    shapes = [run(seed, story()) for seed in range(6)]
    assert len(set(shapes)) == 6
    assert any(size % 4 for shape in shapes for size in shape)
    assert any(size > 4 for shape in shapes for size in shape)
    assert [run(seed, story()) for seed in range(6)] == shapes


@pytest.mark.virtual_time
async def test_nobody_listening_refuses_and_a_taken_port_is_an_error() -> None:
    pair = Pair()
    with pytest.raises(ConnectionRefusedError):
        await pair.network.net(pair.a).connect(Address("b", PORT), Ear, 1.0)
    listener = await pair.network.net(pair.b).listen(Address("b", PORT), Ear)
    with pytest.raises(OSError, match="taken"):
        await pair.network.net(pair.b).listen(Address("b", PORT), Ear)
    with pytest.raises(OSError, match="not this host"):
        await pair.network.net(pair.b).listen(Address("a", PORT), Ear)
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        await pair.network.net(pair.a).connect(Address("b", PORT), Ear, 1.0)
    assert (await pair.network.net(pair.b).listen(Address("b", 0), Ear)).address.port > 0


@pytest.mark.virtual_time
async def test_close_delivers_what_was_written_and_ends_both_sides() -> None:
    pair = Pair()
    await pair.connect()
    pair.near.transport.write(b"last words")
    pair.near.transport.close()
    assert pair.near.transport.is_closing()
    pair.near.transport.write(b"too late")
    await pair.far.until("lost")
    await pair.near.until("lost")
    assert (pair.far.heard, pair.far.error, pair.near.error) == (b"last words", None, None)
    assert pair.network.connections() == 0


@pytest.mark.virtual_time
async def test_abort_resets_the_other_side() -> None:
    pair = Pair()
    await pair.connect()
    pair.near.transport.write(b"x" * 1000)
    pair.near.transport.abort()
    await pair.far.until("lost")
    assert isinstance(pair.far.error, ConnectionResetError)
    assert pair.far.heard == b""
    assert pair.near.error is None


@pytest.mark.virtual_time
async def test_a_full_connection_pauses_its_writer_until_the_reader_reads() -> None:
    pair = Pair()
    await pair.connect()
    pair.far.transport.pause_reading()
    size_bytes = 0
    while "pause" not in pair.near.events:
        pair.near.transport.write(b"x" * 10_000)
        size_bytes += 10_000
    assert size_bytes == 140_000, "window of 64 KiB and high-water mark of 64 KiB"
    await asyncio.sleep(10.0)
    assert pair.far.heard == b""
    assert "resume" not in pair.near.events
    pair.far.transport.resume_reading()
    await pair.near.until("resume")
    assert len(await pair.far.hears(size_bytes)) == size_bytes
    assert pair.near.transport.get_write_buffer_size() == 0


@pytest.mark.virtual_time
async def test_a_netsplit_is_silence_and_heals_with_nothing_lost() -> None:
    pair = Pair()
    await pair.connect()
    pair.network.block(["a"], ["b"])
    pair.network.block(["b"], ["a"])
    pair.near.transport.write(b"held")
    await asyncio.sleep(100.0)
    assert pair.far.events == ["made"]
    assert pair.near.events == ["made"]
    with pytest.raises(TimeoutError):
        await pair.network.net(pair.a).connect(Address("b", PORT), Ear, 1.0)
    pair.network.heal()
    assert await pair.far.hears(4) == b"held"
    assert pair.far.events == ["made", "data"], "the attempt that timed out leaves nothing behind"


@pytest.mark.virtual_time
async def test_a_one_way_split_lets_the_other_direction_through() -> None:
    pair = Pair()
    await pair.connect()
    pair.network.block(["a"], ["b"])
    pair.near.transport.write(b"held")
    pair.far.transport.write(b"through")
    assert await pair.near.hears(7) == b"through"
    await asyncio.sleep(10.0)
    assert pair.far.heard == b""
    pair.network.heal()
    assert await pair.far.hears(4) == b"held"


def test_a_reset_cuts_the_stream_somewhere() -> None:
    async def story() -> int:
        pair = Pair()
        await pair.connect()
        for _ in range(10):
            pair.near.transport.write(b"1234")
        assert pair.network.reset("a", "b") == 1
        await pair.far.until("lost")
        await pair.near.until("lost")
        assert isinstance(pair.far.error, ConnectionResetError)
        assert isinstance(pair.near.error, ConnectionResetError)
        assert (b"1234" * 10).startswith(pair.far.heard)
        return len(pair.far.heard)

    lengths = {run(seed, story()) for seed in range(20)}
    assert len(lengths) > 4


@pytest.mark.virtual_time
async def test_a_killed_process_is_reset_by_its_kernel() -> None:
    pair = Pair()
    await pair.connect()
    pair.network.cut(pair.b, dark=False)
    running_loop().kill(pair.b)
    pair.far.transport.write(b"from the grave")
    await pair.near.until("lost")
    assert isinstance(pair.near.error, ConnectionResetError)
    assert pair.near.heard == b""
    assert "lost" not in pair.far.events
    with pytest.raises(ConnectionRefusedError):
        await pair.network.net(pair.a).connect(Address("b", PORT), Ear, 1.0)


@pytest.mark.virtual_time
async def test_a_dark_machine_says_nothing_until_it_is_back() -> None:
    pair = Pair()
    await pair.connect()
    pair.network.cut(pair.b, dark=True)
    running_loop().kill(pair.b)
    pair.near.transport.write(b"anybody?")
    with pytest.raises(TimeoutError):
        await pair.network.net(pair.a).connect(Address("b", PORT), Ear, 1.0)
    assert pair.near.events == ["made"]
    pair.network.light("b")
    await pair.near.until("lost")
    assert isinstance(pair.near.error, ConnectionResetError)


@pytest.mark.virtual_time
async def test_a_paused_node_accepts_in_its_kernel_and_answers_when_it_runs_again() -> None:
    pair = Pair()
    await pair.network.net(pair.b).listen(Address("b", PORT), lambda: pair.far)
    running_loop().pause(pair.b)
    await pair.network.net(pair.a).connect(Address("b", PORT), lambda: pair.near, 1.0)
    pair.near.transport.write(b"hello")
    await asyncio.sleep(5.0)
    assert pair.far.events == []
    running_loop().resume(pair.b)
    assert await pair.far.hears(5) == b"hello"
    assert pair.far.events == ["made", "data"]


def test_a_caller_that_dies_while_its_call_is_held_is_accepted_and_lost_at_once() -> None:
    """When the split heals the call and the reset that ended it arrive in the same moment."""

    async def story() -> tuple[str, ...]:
        pair = Pair()
        await pair.network.net(pair.b).listen(Address("b", PORT), lambda: pair.far)
        pair.network.block(["a"], ["b"])
        calling = running_loop().create_task(
            pair.network.net(pair.a).connect(Address("b", PORT), lambda: pair.near, 9.0), context=pair.a.context
        )
        await asyncio.sleep(1.0)
        pair.network.cut(pair.a, dark=False)
        running_loop().kill(pair.a)
        await asyncio.sleep(1.0)
        pair.network.heal()
        await asyncio.sleep(60.0)
        assert pair.near.events == []
        assert pair.network.connections() == 0
        running_loop().bury(pair.a)
        calling.cancel()
        await asyncio.wait([calling])
        return tuple(pair.far.events)

    assert {run(seed, story()) for seed in range(20)} == {(), ("made", "lost")}


class Pool(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.heard = b""
        self.buffer = bytearray(3)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.heard += self.buffer[:nbytes]


@pytest.mark.virtual_time
async def test_a_buffered_protocol_is_fed_through_its_buffer() -> None:
    pair = Pair()
    pool = Pool()
    # The seam is typed for Protocol; the transport serves both kinds, as asyncio's does.
    await pair.network.net(pair.b).listen(Address("b", PORT), lambda: pool)  # type: ignore[arg-type,return-value]  # see above
    await pair.network.net(pair.a).connect(Address("b", PORT), lambda: pair.near, 1.0)
    pair.near.transport.write(b"0123456789")
    await asyncio.sleep(1.0)
    assert pool.heard == b"0123456789"


class Faulty(Ear):
    def data_received(self, data: bytes) -> None:
        raise ValueError(data.decode())


def test_a_protocol_that_fails_is_reported_and_loses_its_connection() -> None:
    async def story() -> list[str]:
        pair = Pair()
        pair.far = Faulty()
        await pair.connect()
        pair.near.transport.write(b"boom")
        await pair.near.until("lost")
        problems = [*running_loop().problems]
        running_loop().problems.clear()
        assert isinstance(pair.far.error, ValueError)
        return problems

    assert run(0, story()) == ["Fatal error: protocol failed: ValueError('boom')"]


def test_equal_seeds_leave_equal_traces() -> None:
    async def story() -> str:
        pair = Pair(Climate(split_chance=0.5))
        await pair.connect()
        for number in range(20):
            pair.near.transport.write(b"%d" % number)
        await pair.far.hears(30)
        return pair.trace.digest

    digests = [run(seed, story()) for seed in range(5)]
    assert [run(seed, story()) for seed in range(5)] == digests
    assert len(set(digests)) == 5
