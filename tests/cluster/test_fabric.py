"""Two or three fabrics on loopback: they meet, they talk, they part, and nothing in flight is forgotten."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from roost import limits
from roost.cluster.fabric import Fabric, PeerDown, PeerUp
from roost.cluster.link import Link
from roost.config import Address
from roost.errors import (
    CallTimeout,
    HandshakeRefused,
    NodeDown,
    NoQuorum,
    NoSuchProcess,
    ProcessDown,
    RoostError,
    TooLarge,
)
from roost.runtime import Runtime
from roost.wire.frames import FrameReader, frame
from roost.wire.handshake import NONCE_BYTES, Handshake, Hello, Word, decode_word, encode_word
from roost.wire.messages import Doubt, Heartbeat, Probe, Reply, Request, decode_batch, encode_batch
from tests.cluster.meadow import Echo, Meadow, configs, knowing, turns_until

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
A, B, C = "a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"


@asynccontextmanager
async def meadow(*names: str) -> AsyncIterator[Meadow]:
    story = Meadow(*configs(*names))
    await story.connect()
    try:
        yield story
    finally:
        await story.stop()


class Silent:
    """A service that keeps every request to itself."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def on_request(self, link: Link, request: Request) -> None:
        self.requests.append(request)

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        raise ValueError("a cast that fails")


class Refusing:
    """A service that refuses in two ways."""

    def on_request(self, link: Link, request: Request) -> None:
        if unpack(request.body) == "declared":
            raise NoQuorum(1, 2)
        raise KeyError("undeclared")

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        raise AssertionError


async def test_three_nodes_see_each_other_over_one_link_per_pair() -> None:
    async with meadow("a", "b", "c") as story:
        assert {name: fabric.up() for name, fabric in story.fabrics.items()} == dict.fromkeys("abc", (A, B, C))
        assert story.fabrics["a"].peers_to_dial() == (B, C)
        assert story.fabrics["c"].peers_to_dial() == ()
        ups = [event for event in story.events["a"] if isinstance(event, PeerUp)]
        assert sorted(up.node for up in ups) == [B, C]
        assert story.fabrics["a"].peer_incarnation(B) == story.fabrics["b"].incarnation


async def test_requests_are_answered_in_both_directions_and_casts_keep_their_order() -> None:
    async with meadow("a", "b") as story:
        for here, there in (("a", B), ("b", A)):
            answers = await asyncio.gather(*[story.fabrics[here].call(there, "echo", pack(n)) for n in range(1000)])
            assert [unpack(answer) for answer in answers] == list(range(1000))
        for n in range(1000):
            story.fabrics["a"].cast(B, "echo", pack(n))
        await story.fabrics["a"].call(B, "echo", pack("all before me have arrived"))
        assert story.echoes["b"].heard == list(range(1000))


async def test_large_bodies_pass_and_oversize_ones_are_refused_at_the_sender() -> None:
    async with meadow("a", "b") as story:
        large = pack(bytes(limits.MESSAGE_BYTES_MAX - 100))
        for _ in range(3):
            assert bytes(await story.fabrics["a"].call(B, "echo", large)) == large
        with pytest.raises(TooLarge):
            await story.fabrics["a"].call(B, "echo", bytes(limits.MESSAGE_BYTES_MAX + 1))
        with pytest.raises(TooLarge):
            story.fabrics["a"].cast(B, "echo", bytes(limits.MESSAGE_BYTES_MAX + 1))


async def test_a_refusal_arrives_as_the_declared_error_and_a_bug_as_process_down() -> None:
    async with meadow("a", "b") as story:
        story.fabrics["b"].serve("refusing", Refusing())
        with pytest.raises(NoQuorum) as refusal:
            await story.fabrics["a"].call(B, "refusing", pack("declared"))
        assert (refusal.value.got, refusal.value.needed) == (1, 2)
        with pytest.raises(ProcessDown, match="KeyError"):
            await story.fabrics["a"].call(B, "refusing", pack("undeclared"))
        with pytest.raises(NoSuchProcess):
            await story.fabrics["a"].call(B, "nobody", pack(1))


async def test_a_cast_that_fails_costs_the_link_nothing() -> None:
    async with meadow("a", "b") as story:
        story.fabrics["b"].serve("silent", Silent())
        story.fabrics["a"].cast(B, "silent", pack(1))
        story.fabrics["a"].cast(B, "nobody", pack(1))
        assert unpack(await story.fabrics["a"].call(B, "echo", pack("still here"))) == "still here"


async def test_everything_in_flight_fails_at_once_when_the_peer_goes() -> None:
    async with meadow("a", "b") as story:
        silent = Silent()
        story.fabrics["b"].serve("silent", silent)
        outcomes: list[object] = []
        for n in range(10):
            story.fabrics["a"].request(B, "silent", pack(n), 60.0, outcomes.append)
        await story.fabrics["a"].call(B, "echo", pack(1))
        assert len(silent.requests) == 10
        await story.fabrics["b"].stop("deploy")
        await story.until(lambda: bool(story.events["a"]) and isinstance(story.events["a"][-1], PeerDown))
        assert [str(outcome) for outcome in outcomes] == [f"{B} is down: deploy"] * 10
        with pytest.raises(NodeDown):
            await story.fabrics["a"].call(B, "echo", pack(1))
        with pytest.raises(NodeDown):
            story.fabrics["a"].cast(B, "echo", pack(1))


async def test_a_request_whose_time_is_up_ends_and_its_late_reply_is_dropped() -> None:
    async with meadow("a", "b") as story:
        silent = Silent()
        story.fabrics["b"].serve("silent", silent)
        outcomes: list[object] = []
        story.fabrics["a"].request(B, "silent", pack(1), 0.0, outcomes.append)
        await story.fabrics["a"].call(B, "echo", pack(1))
        assert outcomes == []
        story.fabrics["a"].expire()
        assert isinstance(outcomes[0], CallTimeout)
        link = next(iter(story.fabrics["b"]._peers.values()))
        link.reply(silent.requests[0].id, pack("late"))
        await story.fabrics["a"].call(B, "echo", pack(1))
        assert len(outcomes) == 1


async def test_silence_is_noticed_but_not_by_a_node_that_slept_itself() -> None:
    now = 0.0

    class Hands:
        def now(self) -> float:
            return now

    story = Meadow(*configs("a", "b"))
    fabric = story.fabrics["a"]
    await story.connect()
    link = fabric._peers[B]
    link._clock = Hands()  # type: ignore[assignment]  # a clock whose hands the test moves
    link.heard_at = now
    for step in range(1, limits.HEARTBEATS_MISSED_MAX + 1):
        now = step * limits.HEARTBEAT_S
        link.heard = False
        link.beat(now, lagged=False)
        assert link.is_open
    now = 1000.0
    link.heard = False
    link.beat(now, lagged=True)
    assert link.is_open
    now += limits.HEARTBEAT_S * (limits.HEARTBEATS_MISSED_MAX + 1)
    link.heard = False
    link.beat(now, lagged=False)
    assert fabric.up() == (A,)
    await story.stop()


async def test_an_idle_link_says_something_at_every_other_beat() -> None:
    async with meadow("a", "b") as story:
        theirs = story.fabrics["b"]._peers[A]
        theirs.heard = False
        story.fabrics["a"].beat()
        story.fabrics["a"].beat()
        await story.fabrics["b"].call(A, "echo", pack(1))
        assert theirs.heard


async def test_a_peer_that_connects_anew_replaces_its_old_connection() -> None:
    story = Meadow(*configs("a", "b"))
    await story.connect()
    old = story.fabrics["a"].incarnation
    again = knowing(story.fabrics["a"]._config)
    await again.dial(B)
    await story.until(lambda: len(story.events["b"]) == 3)
    assert story.events["b"] == [
        PeerUp(A, old),
        PeerDown(A, old, "replaced by a new connection"),
        PeerUp(A, again.incarnation),
    ]
    await again.stop("done")
    await story.stop()


@pytest.mark.parametrize(
    ("identity", "cookie", "cluster"),
    [(b"other", b"meadow", "meadow"), (b"id", b"x", "meadow"), (b"id", b"meadow", "x")],
)
async def test_a_stranger_is_told_why_and_gets_no_further(identity: bytes, cookie: bytes, cluster: str) -> None:
    config = configs("a", "b")
    host = Meadow(config[1])
    await host.fabrics["b"].listen()
    stranger = knowing(dataclasses.replace(config[0], cookie=cookie, cluster=cluster), identity)
    lost = asyncio.Event()
    closed: list[str] = []

    def remember(link: Link, reason: str) -> None:
        closed.append(reason)
        lost.set()

    stranger.closed = remember  # type: ignore[method-assign]  # the test listens in
    await stranger.dial(B)
    await lost.wait()
    assert host.events["b"] == []
    assert stranger.up() == (A,)
    assert any(word in closed[0] for word in ("another cluster", "cookies differ", "belongs to cluster"))
    await host.stop()
    await stranger.stop("done")


async def test_noise_before_the_handshake_is_hung_up_on_within_its_limit() -> None:
    config = configs("b")[0]
    host = Meadow(config)
    await host.fabrics["b"].listen()
    assert config.listen is not None
    for noise in (b"GET / HTTP/1.1\r\n\r\n", (limits.HANDSHAKE_BYTES_MAX + 1).to_bytes(4, "big"), b"\0\0\0\1\xc1"):
        reader, writer = await asyncio.open_connection(*config.listen)
        writer.write(noise)
        await reader.read()
        writer.close()
        await writer.wait_closed()
    await host.stop()


async def test_back_pressure_can_be_awaited_and_the_buffer_is_bounded() -> None:
    async with meadow("a", "b") as story:
        link = story.fabrics["a"]._peers[B]
        theirs = story.fabrics["b"]._peers[A]._transport
        assert theirs is not None
        theirs.pause_reading()
        body, sent = pack(bytes(limits.BATCH_BYTES_MAX)), 0
        outcomes: list[object] = []
        while not any(isinstance(outcome, RoostError) for outcome in outcomes):
            link.request("echo", body, 60.0, outcomes.append)
            sent += len(body)
            assert sent < 64 * 1024 * 1024
        waiting = asyncio.get_running_loop().create_task(story.fabrics["a"].writable(B))
        await asyncio.sleep(0)
        assert not waiting.done()
        theirs.resume_reading()
        await waiting
        assert unpack(await story.fabrics["a"].call(B, "echo", pack("again"))) == "again"


async def test_a_node_that_is_no_member_any_more_is_hung_up_on_and_stays_out() -> None:
    async with meadow("a", "b", "c") as story:
        a, b = story.fabrics["a"], story.fabrics["b"]
        a.know({A: a.known[B], C: a.known[C]})
        await story.until(lambda: b.up() == (B, C))
        lost = story.events["b"][-1]
        assert isinstance(lost, PeerDown)
        assert lost.reason == f"{B} is no member of this cluster any more"
        assert a.up() == (A, C)
        assert a.peers_to_dial() == (C,)
        await a.dial(B)
        assert not any(link.peer_wanted == B for link in a._links)


async def test_a_node_that_becomes_a_member_is_let_in() -> None:
    settings = configs("a", "b")
    story = Meadow(*settings)
    a, b = story.fabrics["a"], story.fabrics["b"]
    places = dict(b.known)
    b.know({})
    refused: list[str] = []
    a.closed = lambda link, reason: refused.append(reason)  # type: ignore[method-assign]  # the test listens in
    await b.listen()
    await a.dial(B)
    await turns_until(lambda: bool(refused))
    assert "is not a member of this cluster" in refused[0]
    told: list[str] = []
    forget = b.on_known(lambda: told.append("b"))
    b.know(places)
    forget()
    b.know(places)
    assert told == ["b"]
    await turns_until(lambda: not a._links)
    await a.dial(B)
    await story.until(lambda: a.up() == b.up() == (A, B))
    await story.stop()


async def test_a_node_that_goes_over_to_another_cluster_leaves_the_former_one() -> None:
    async with meadow("a", "b") as story:
        a, b = story.fabrics["a"], story.fabrics["b"]
        a.identity = b"id"
        assert a.up() == (A, B)
        a.identity = b"new"
        await story.until(lambda: b.up() == (B,))
        b.identity = b"new"
        await a.dial(B)
        await story.until(lambda: a.up() == b.up() == (A, B))


async def test_a_guest_is_answered_only_by_what_is_served_for_guests() -> None:
    async with meadow("a", "b") as story:
        a, listen = story.fabrics["a"], story.fabrics["b"]._config.listen
        assert listen is not None
        story.fabrics["b"].serve("porch", Echo(), guests=True)
        stranger = Fabric(dataclasses.replace(a._config, name="z@127.0.0.1", seeds=()), Runtime.real(), b"elsewhere")
        async with stranger.guest(listen) as guest:
            assert (guest.peer.node, guest.peer.cluster_id) == (B, b"id")
            assert guest.peer.incarnation == story.fabrics["b"].incarnation
            assert unpack(await guest.call("porch", pack("hello"))) == "hello"
            with pytest.raises(NoSuchProcess):
                await guest.call("echo", pack("hello"))
            assert story.fabrics["b"].up() == (A, B)
        assert unpack(await a.call(B, "porch", pack("members, too"))) == "members, too"


async def test_a_guest_of_a_quiet_node_is_not_taken_for_dead() -> None:
    async with meadow("b") as story:
        b, listen = story.fabrics["b"], story.fabrics["b"]._config.listen
        assert listen is not None
        silent = Silent()
        b.serve("silent", silent, guests=True)
        b.serve("porch", Echo(), guests=True)
        stranger = Fabric(dataclasses.replace(b._config, name="z@127.0.0.1", seeds=()), Runtime.real(), b"")
        async with stranger.guest(listen) as guest:
            (link,) = b._links
            link.heard = False
            b.beat()
            b.beat()
            await turns_until(lambda: link.heard)
            assert unpack(await guest.call("porch", pack("still here"))) == "still here"


async def test_guests_without_the_cookie_and_guests_beyond_the_limit_are_refused() -> None:
    async with meadow("b") as story:
        b, listen = story.fabrics["b"], story.fabrics["b"]._config.listen
        assert listen is not None
        config = dataclasses.replace(b._config, name="z@127.0.0.1", seeds=())
        stranger = Fabric(dataclasses.replace(config, cookie=b"other"), Runtime.real(), b"")
        with pytest.raises(HandshakeRefused, match="cookies differ"):
            await stranger.guest(listen).__aenter__()
        visitor = Fabric(config, Runtime.real(), b"")
        guests = [visitor.guest(listen) for _ in range(limits.GUESTS_MAX)]
        for guest in guests:
            await guest.__aenter__()
        with pytest.raises(HandshakeRefused, match="guests are connected already"):
            await visitor.guest(listen).__aenter__()
        await guests.pop().__aexit__(None, None, None)
        await turns_until(lambda: len(b._links) < limits.GUESTS_MAX)
        guests.append(visitor.guest(listen))
        await guests[-1].__aenter__()
        for guest in guests:
            await guest.__aexit__(None, None, None)


async def test_a_peer_of_the_former_version_is_linked_and_asked_nothing_that_it_does_not_know() -> None:
    async with meadow("b") as story:
        b, listen = story.fabrics["b"], story.fabrics["b"]._config.listen
        assert listen is not None
        b.know({A: Address("127.0.0.1", 1)})
        b.serve("silent", Silent())
        reader, writer = await asyncio.open_connection(*listen)
        old = Handshake(Hello(1, 1, "meadow", A, 7, "node", b"id", b"A" * NONCE_BYTES), b"meadow", B)
        word: Word | None = old.open()
        is_open = False
        while not is_open:
            if word is not None:
                writer.write(frame(encode_word(word)))
            word, is_open = old.step(decode_word(await payload(reader)))
        await story.until(lambda: b.up() == (A, B))
        link = b._peers[A]
        assert (link.version, old.version) == (1, 1)
        writer.write(frame(encode_batch([Request(1, 1000, "echo", msgspec.Raw(pack("old")))])))
        (reply,) = decode_batch(await payload(reader))
        assert isinstance(reply, Reply)
        for _ in range(2):
            b.beat()
        assert decode_batch(await payload(reader)) == [Heartbeat()]
        b.doubted(A)
        link.heard_at = now = link._clock.now()
        for beats in range(limits.HEARTBEATS_MISSED_MAX + 2):
            assert link.is_open
            link.heard = False
            b._pulse.beat(b.up(), now + beats * limits.HEARTBEAT_S, lagged=False)
            b.expire()
        assert b.up() == (B,)
        rest = await reader.read()
        assert not any(isinstance(message, Probe | Doubt) for message in messages_of(rest))
        writer.close()
        await writer.wait_closed()


async def payload(reader: asyncio.StreamReader) -> bytes:
    """The next frame."""
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))


def messages_of(stream: bytes) -> list[object]:
    """What these frames say."""
    return [message for part in FrameReader(limits.FRAME_BYTES_MAX).feed(stream) for message in decode_batch(part)]


async def test_a_peer_that_is_asked_whether_it_is_there_says_so() -> None:
    async with meadow("a", "b") as story:
        link = story.fabrics["a"]._peers[B]
        story.fabrics["a"].doubted(B)
        await story.fabrics["b"].call(A, "echo", pack("something"))
        await turns_until(lambda: link.has_answered)
        story.fabrics["a"].expire()
        story.fabrics["a"].doubted(B)
        await turns_until(lambda: link.has_answered)
        for _ in range(2 * limits.DOUBT_TURNS):
            story.fabrics["a"].expire()
        assert story.fabrics["a"].is_up(B)
