"""Channels that look at what is broadcast before their client gets it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from roost.live.channel import Channel, Payload, event, intercept
from roost.live.pubsub import Publish
from roost.web.socket import Socket
from roost.wire import phoenix
from tests.live.cable import Cables
from tests.web.stage import Client, make_live, settle


class Whispering(Channel, topic="room:*"):
    """Lets through what is not said by somebody who is ignored."""

    async def join(self, topic: str, params: Payload, socket: Rooms) -> None:
        self.gate = socket.gate
        self.ignored = params.get("ignored")
        if "wait" in params:
            await socket.gate.wait()

    @event("say")
    def say(self, payload: Payload) -> None:
        self.broadcast("said", payload)

    @event("note")
    def note(self, payload: Payload) -> None:
        self.broadcast_from("noted", payload)

    @event("hold")
    async def hold(self, payload: Payload) -> None:
        await self.gate.wait()

    @intercept("said")
    def said(self, payload: Payload) -> None:
        if payload.get("crash"):
            raise ZeroDivisionError
        if "by" not in payload or payload["by"] != self.ignored:
            payload["seen"] = int(str(payload.get("seen", 0))) + 1
            self.push("said", payload)

    @intercept("raw")
    async def raw(self, payload: bytes) -> None:
        await asyncio.sleep(0)
        self.push("raw", payload[::-1])


class Rooms(Socket):
    """The socket of these tests."""

    channels = (Whispering,)

    def __init__(self) -> None:
        self.gate = asyncio.Event()


async def test_an_intercepted_event_reaches_the_client_only_through_the_channel() -> None:
    live, _ = make_live()
    one, two = Client(live, Rooms), Client(live, Rooms)
    await one.join("room:a", "11")
    await two.join("room:a", "12", {"ignored": "bo"})
    one.say("11", "1", "room:a", "say", {"by": "alex"})
    assert await one.hear() == [
        ["11", "1", "room:a", "phx_reply", {"status": "ok", "response": {}}],
        ["11", None, "room:a", "said", {"by": "alex", "seen": 1}],
    ]
    assert await two.hear() == [["12", None, "room:a", "said", {"by": "alex", "seen": 1}]]
    one.say("11", "2", "room:a", "say", {"by": "bo"})
    assert len(await one.hear()) == 2
    assert await two.hear() == []


async def test_what_is_not_intercepted_goes_straight_to_the_client() -> None:
    live, _ = make_live()
    one, two = Client(live, Rooms), Client(live, Rooms)
    await one.join("room:a", "11")
    await two.join("room:a", "12")
    one.say("11", "1", "room:a", "note", {"x": 1})
    assert [message[3] for message in await one.hear()] == ["phx_reply"]
    assert await two.hear() == [[None, None, "room:a", "noted", {"x": 1}]]


async def test_bytes_are_intercepted_too() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    await client.join("room:a", "11")
    live.pubsub.broadcast("room:a", "raw", b"abc")
    assert await client.hear() == [b"\x00\x02\x06\x0311room:arawcba"]


async def test_version_1_is_intercepted_too() -> None:
    live, _ = make_live()
    client = Client(live, Rooms, phoenix.V1)
    frame = {"topic": "room:a", "event": "phx_join", "payload": {}, "ref": "11"}
    client.connection.take(phoenix.encode_payload(frame), binary=False)
    await client.hear()
    live.pubsub.broadcast("room:a", "said", {})
    assert await client.hear() == [{"topic": "room:a", "event": "said", "payload": {"seen": 1}, "ref": None}]


async def test_an_intercepted_event_is_handled_in_the_order_of_the_mailbox() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    await client.join("room:a", "11")
    client.say("11", "1", "room:a", "hold", {})
    await settle()
    live.pubsub.broadcast("room:a", "said", {"n": 1})
    live.pubsub.broadcast("room:a", "noted", {"n": 2})
    assert [message[3] for message in await client.hear()] == ["noted"]
    gates = client.connection.socket
    assert isinstance(gates, Rooms)
    gates.gate.set()
    assert [message[3] for message in await client.hear()] == ["phx_reply", "said"]


async def test_what_is_intercepted_during_a_join_follows_its_reply() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("11", "1", "room:a", "phx_join", {"wait": True})
    await settle()
    live.pubsub.broadcast("room:a", "said", {})
    assert await client.hear() == []
    gates = client.connection.socket
    assert isinstance(gates, Rooms)
    gates.gate.set()
    assert [message[3] for message in await client.hear()] == ["phx_reply", "said"]


async def test_a_crash_in_an_intercept_is_a_crash_of_this_channel_alone(caplog: pytest.LogCaptureFixture) -> None:
    live, _ = make_live()
    one, two = Client(live, Rooms), Client(live, Rooms)
    await one.join("room:a", "11")
    await two.join("room:b", "12")
    live.pubsub.broadcast("room:a", "said", {"crash": True})
    assert await one.hear() == [["11", "11", "room:a", "phx_error", {"reason": "channel_crash"}]]
    assert live.pubsub.subscribers("room:a") == 0
    assert len(live.scheduler.processes) == 1


async def test_a_channel_that_does_not_keep_up_with_what_it_intercepts_crashes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Whispering, "mailbox_messages_max", 5)
    live, _ = make_live()
    client = Client(live, Rooms)
    await client.join("room:a", "11")
    client.say("11", "1", "room:a", "hold", {})
    await settle()
    for number in range(7):
        live.pubsub.broadcast("room:a", "said", {"n": number})
    assert [message[3] for message in await client.hear()] == ["phx_error"]


async def test_nothing_is_intercepted_after_the_end() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    await client.join("room:a", "11")
    client.say("11", "1", "room:a", "phx_leave", {})
    live.pubsub.broadcast("room:a", "said", {})
    assert [message[3] for message in await client.hear()] == ["phx_reply", "phx_close"]
    assert live.pubsub.subscribers("room:a") == 0


async def test_what_another_node_broadcasts_is_intercepted() -> None:
    cables = Cables()
    live, clock = make_live("a", cables.fabric("a"))
    other, _ = make_live("b", cables.fabric("b"))
    cables.plug("a", "b")
    cables.flow()
    client = Client(live, Rooms)
    client.say("11", "1", "room:a", "phx_join", {})
    await settle()
    clock.advance(0.0)
    cables.flow()
    await client.hear()
    other.pubsub.broadcast("room:a", "said", {"from": "b"})
    cables.flow()
    assert await client.hear() == [["11", None, "room:a", "said", {"from": "b", "seen": 1}]]


@pytest.mark.parametrize(
    "content", [b"hi", b'[null,null,"room:a","said",{"by":"\xff"}]', b'[1,2,"t","said",{"n":1e999}]']
)
async def test_what_is_no_broadcast_is_left_out_and_logged(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    cables = Cables()
    live, clock = make_live("a", cables.fabric("a"))
    peer = cables.fabric("b")
    make_live("b", peer)
    cables.plug("a", "b")
    cables.flow()
    client = Client(live, Rooms)
    client.say("11", "1", "room:a", "phx_join", {})
    await settle()
    clock.advance(0.0)
    cables.flow()
    await client.hear()
    peer.cast("a", "pubsub", msgspec.msgpack.encode(Publish("room:a", phoenix.text_frame(content))))
    cables.flow()
    live.pubsub.broadcast("room:a", "said", {})
    assert [message[3] for message in await client.hear()] == ["said"]
    assert "no broadcast" in caplog.text
