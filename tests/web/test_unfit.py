"""What cannot be sent to a client: payloads that are neither object nor bytes, and names too long beside bytes."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from roost.live.channel import Channel, Payload, event
from roost.live.reply import Status
from roost.web.socket import Socket
from roost.wire import phoenix
from tests.web.stage import Client, make_live

LONG = "e" * 256
CRASH = ["1", "1", "any", "phx_error", {"reason": "channel_crash"}]
OK = {"status": "ok", "response": {}}
TOO_LARGE = {"status": "error", "response": {"reason": "TOPIC_BYTES_MAX: 256 is over the limit of 255"}}
UNFIT: dict[str, Any] = {"list": [1], "text": "x", "number": 7, "none": None, "tuple": (1, 2), "deep": {"x": object()}}


class Place(msgspec.Struct):
    """What becomes an object."""

    x: int


class Loose(Channel, topic="any"):
    """Says what it should not."""

    @event("push")
    def push_it(self, payload: Payload) -> None:
        self.push("pushed", UNFIT[str(payload["what"])])

    @event("broadcast")
    def broadcast_it(self, payload: Payload) -> None:
        self.broadcast("told", UNFIT[str(payload["what"])])

    @event("long status")
    def long_status(self, payload: Payload) -> Status:
        return Status(LONG, b"x")

    @event("long push")
    def long_push(self, payload: Payload) -> None:
        self.push(LONG, b"x")

    @event("long broadcast")
    def long_broadcast(self, payload: Payload) -> None:
        self.broadcast(LONG, b"x")

    @event("place")
    def place(self, payload: Payload) -> None:
        self.push("place", cast("Payload", Place(1)))
        self.broadcast("place", cast("Payload", Place(2)))


class Looses(Socket):
    """The socket of these tests."""

    channels = (Loose,)


async def two() -> tuple[Client, Client]:
    """Two clients of one topic."""
    live, _ = make_live()
    one, other = Client(live, Looses), Client(live, Looses)
    await one.join("any")
    await other.join("any")
    return one, other


@pytest.mark.parametrize("what", UNFIT)
@pytest.mark.parametrize("name", ["push", "broadcast"])
async def test_what_is_neither_object_nor_bytes_crashes_who_says_it_and_reaches_nobody(name: str, what: str) -> None:
    one, other = await two()
    one.say("1", "2", "any", name, {"what": what})
    assert await one.hear() == [CRASH]
    assert await other.hear() == []


@pytest.mark.parametrize("what", UNFIT)
async def test_version_1_is_sent_nothing_else_either(what: str) -> None:
    live, _ = make_live()
    client = Client(live, Looses, phoenix.V1)
    for name, payload, ref in (("phx_join", {}, "1"), ("push", {"what": what}, "2")):
        frame = {"topic": "any", "event": name, "payload": payload, "ref": ref}
        client.connection.take(msgspec.json.encode(frame), binary=False)
    [joined, crashed] = await client.hear()
    assert joined["payload"] == OK
    assert (crashed["event"], crashed["ref"]) == ("phx_error", "1")


async def test_what_becomes_an_object_is_one() -> None:
    one, other = await two()
    one.say("1", "2", "any", "place", {})
    told = [None, None, "any", "place", {"x": 2}]
    assert await one.hear() == [["1", None, "any", "place", {"x": 1}], told, ["1", "2", "any", "phx_reply", OK]]
    assert await other.hear() == [told]


@pytest.mark.parametrize("name", ["long push", "long broadcast"])
async def test_a_name_that_does_not_fit_beside_bytes_is_an_error_for_who_says_it(name: str) -> None:
    one, other = await two()
    one.say("1", "2", "any", name, {})
    assert await one.hear() == [["1", "2", "any", "phx_reply", TOO_LARGE]]
    assert await other.hear() == []


async def test_a_status_that_does_not_fit_beside_bytes_crashes_the_channel() -> None:
    one, _ = await two()
    one.say("1", "2", "any", "long status", {})
    assert await one.hear() == [CRASH]
