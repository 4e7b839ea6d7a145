"""Channels as processes: what other processes say to them, or to their topic."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from roost.live import topics as pubsub
from roost.live.channel import Channel, Payload, event
from roost.live.subscription import Event
from roost.otp import info, send
from roost.web.socket import Socket
from tests.web.stage import Client, make_live, settle


@pubsub.message
class Sold(msgspec.Struct, frozen=True):
    """Something was sold."""

    sku: str


class Shop(Channel, topic="shop:*"):
    """Tells its client what is sold."""

    async def join(self, topic: str, params: Payload, socket: Shops) -> None:
        socket.channels_seen.append(self.handle)
        if "wait" in params:
            await socket.gate.wait()

    @info
    def sold(self, message: Sold) -> None:
        self.push("sold", {"sku": message.sku})


class Deaf(Channel, topic="deaf"):
    """Handles no messages."""


class Curious(Channel, topic="curious"):
    """Hears the events of its topic, too."""

    @event("say")
    def say(self, payload: Payload) -> None:
        self.broadcast("said", payload)

    @info
    def heard(self, message: Event) -> None:
        self.push("heard", {"event": message.event, "payload": message.payload})


class Shops(Socket):
    """The socket of these tests."""

    channels = (Shop, Deaf, Curious)

    def __init__(self) -> None:
        self.channels_seen: list[Channel] = []
        self.gate = asyncio.Event()


def shops_of(client: Client) -> Shops:
    socket = client.connection.socket
    assert isinstance(socket, Shops)
    return socket


async def test_a_channel_hears_messages_that_are_broadcast_on_its_topic() -> None:
    live, _ = make_live()
    client = Client(live, Shops)
    await client.join("shop:a", "11")
    live.mail.broadcast("shop:a", Sold("1337"), None, "")
    live.mail.broadcast("shop:b", Sold("7"), None, "")
    assert await client.hear() == [["11", None, "shop:a", "sold", {"sku": "1337"}]]


async def test_a_message_is_sent_to_one_channel_by_its_handle() -> None:
    live, _ = make_live()
    client = Client(live, Shops)
    await client.join("shop:a", "11")
    send(shops_of(client).channels_seen[0], Sold("1337"))
    assert await client.hear() == [["11", None, "shop:a", "sold", {"sku": "1337"}]]


async def test_a_message_during_a_join_is_handled_after_it() -> None:
    live, _ = make_live()
    client = Client(live, Shops)
    client.say("11", "1", "shop:a", "phx_join", {"wait": True})
    await settle()
    live.mail.broadcast("shop:a", Sold("1337"), None, "")
    assert await client.hear() == []
    shops_of(client).gate.set()
    assert [message[3] for message in await client.hear()] == ["phx_reply", "sold"]


async def test_a_channel_that_handles_no_messages_is_sent_none(caplog: pytest.LogCaptureFixture) -> None:
    live, _ = make_live()
    client = Client(live, Shops)
    await client.join("deaf", "11")
    live.mail.broadcast("deaf", Sold("1337"), None, "")
    assert await client.hear() == []
    assert live.pubsub.subscribers("deaf") == 1
    assert not caplog.records


async def test_a_channel_may_hear_the_events_of_its_topic_as_messages() -> None:
    live, _ = make_live()
    client = Client(live, Shops)
    await client.join("curious", "11")
    client.say("11", "1", "curious", "say", {"x": 1})
    assert [message[3:] for message in await client.hear()] == [
        ["said", {"x": 1}],
        ["phx_reply", {"status": "ok", "response": {}}],
        ["heard", {"event": "said", "payload": {"x": 1}}],
    ]


async def test_nothing_of_a_channel_that_has_ended_is_left_on_its_topic() -> None:
    live, _ = make_live()
    client = Client(live, Shops)
    await client.join("shop:a", "11")
    client.say("11", "2", "shop:a", "phx_leave", {})
    await settle()
    assert live.pubsub.subscribers("shop:a") == 0


async def test_a_join_that_finds_no_room_for_a_subscription_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.live.mail.SUBSCRIPTIONS_MAX", 0)
    live, _ = make_live()
    client = Client(live, Shops)
    client.say("11", "1", "shop:a", "phx_join", {})
    refused = {"status": "error", "response": {"reason": "join crashed"}}
    assert await client.hear() == [["11", "1", "shop:a", "phx_reply", refused]]
    assert live.scheduler.processes == {}
    assert live.pubsub.subscribers("shop:a") == 0
