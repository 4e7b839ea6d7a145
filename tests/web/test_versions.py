"""The two versions of the protocol and binary payloads, against a connection without a network.

The join's reference is 11 and the first message's 1: whoever takes one for the other is found out.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from roost.live.channel import Channel, Payload, event
from roost.live.reply import Status
from roost.web.socket import Socket
from roost.wire import phoenix
from tests.web.rooms import Rooms, open_gate
from tests.web.stage import Client, make_live, settle


class Blob(Channel, topic="blob:*"):
    """Takes and gives bytes."""

    def join(self, topic: str, params: Payload, socket: object) -> bytes | None:
        if params.get("early"):
            self.push("early", b"\x00\x01")
        return b"\xff" if params.get("bytes") else None

    @event("echo")
    def echo(self, payload: Payload | bytes) -> Payload | bytes:
        return payload

    @event("size")
    def size(self, payload: bytes) -> Payload:
        return {"size": len(payload)}

    @event("status")
    def status(self, payload: bytes) -> Status:
        return Status("raw", payload)

    @event("push")
    def push_back(self, payload: Payload | bytes) -> None:
        self.push("pushed", payload)

    @event("shout")
    def shout(self, payload: Payload | bytes) -> None:
        self.broadcast("shouted", payload)

    @event("bytes")
    def some_bytes(self, payload: Payload) -> bytes:
        return b"\x01\x02"

    @event("shout bytes")
    def shout_bytes(self, payload: Payload) -> None:
        self.broadcast("shouted", b"\x42")

    def handle_in(self, event: str, payload: object) -> Payload:
        return {"event": event, "is_binary": isinstance(payload, bytes)}


class Blobs(Socket):
    """The socket of these tests."""

    channels = (Blob,)


def binary(join_ref: str, ref: str, topic: str, event: str, data: bytes) -> bytes:
    """What a client of version 2 pushes."""
    names = [name.encode() for name in (join_ref, ref, topic, event)]
    return bytes((0, *map(len, names))) + b"".join(names) + data


class OldClient(Client):
    """A client of version 1."""

    def __init__(self, live: Any, kind: type[Socket]) -> None:
        super().__init__(live, kind, phoenix.V1)

    def tell(self, topic: object, event: str, payload: object, ref: object) -> None:
        self.connection.take(
            phoenix.encode_payload({"topic": topic, "event": event, "payload": payload, "ref": ref}), binary=False
        )


def old_reply(topic: object, ref: object, status: str, response: object) -> dict[str, object]:
    payload = {"status": status, "response": response}
    return {"topic": topic, "event": "phx_reply", "payload": payload, "ref": ref}


# binary payloads


async def test_bytes_go_both_ways() -> None:
    client = Client(make_live()[0], Blobs)
    await client.join("blob:a", "11")
    said = [("echo", b"\x00\xff"), ("size", b"abc"), ("status", b"\x07"), ("dance", b"")]
    for ref, (name, data) in enumerate(said):
        client.connection.take(binary("11", str(ref), "blob:a", name, data), binary=True)
    assert await client.hear() == [
        b"\x01\x02\x01\x06\x02110blob:aok\x00\xff",
        ["11", "1", "blob:a", "phx_reply", {"status": "ok", "response": {"size": 3}}],
        b"\x01\x02\x01\x06\x03112blob:araw\x07",
        ["11", "3", "blob:a", "phx_reply", {"status": "ok", "response": {"event": "dance", "is_binary": True}}],
    ]


async def test_bytes_are_pushed_and_broadcast() -> None:
    live, _ = make_live()
    one, two = Client(live, Blobs), Client(live, Blobs)
    await one.join("blob:a", "11")
    await two.join("blob:a", "12")
    one.connection.take(binary("11", "1", "blob:a", "push", b"\x09"), binary=True)
    one.connection.take(binary("11", "2", "blob:a", "shout", b"\x42"), binary=True)
    assert await one.hear() == [
        b"\x00\x02\x06\x0611blob:apushed\x09",
        ["11", "1", "blob:a", "phx_reply", {"status": "ok", "response": {}}],
        b"\x02\x06\x07blob:ashouted\x42",
        ["11", "2", "blob:a", "phx_reply", {"status": "ok", "response": {}}],
    ]
    assert await two.hear() == [b"\x02\x06\x07blob:ashouted\x42"]


async def test_a_binary_message_without_references_is_one_of_the_channel() -> None:
    client = Client(make_live()[0], Blobs)
    await client.join("blob:a", "11")
    client.connection.take(binary("", "", "blob:a", "size", b"ab"), binary=True)
    client.connection.take(binary("10", "2", "blob:a", "size", b"ab"), binary=True)
    client.connection.take(binary("11", "3", "blob:b", "size", b"ab"), binary=True)
    assert await client.hear() == [
        ["11", None, "blob:a", "phx_reply", {"status": "ok", "response": {"size": 2}}],
        [None, "3", "blob:b", "phx_reply", {"status": "error", "response": {"reason": "unmatched topic"}}],
    ]


async def test_a_join_may_be_answered_with_bytes_but_not_be_made_with_them() -> None:
    client = Client(make_live()[0], Blobs)
    client.say("11", "1", "blob:a", "phx_join", {"bytes": True, "early": True})
    client.connection.take(binary("12", "2", "blob:b", "phx_join", b"ab"), binary=True)
    assert await client.hear() == [
        b"\x01\x02\x01\x06\x02111blob:aok\xff",
        b"\x00\x02\x06\x0511blob:aearly\x00\x01",
        [
            "12",
            "2",
            "blob:b",
            "phx_reply",
            {"status": "error", "response": {"reason": "a join takes an object, not bytes"}},
        ],
    ]


@pytest.mark.parametrize("data", [b"", b"\x00\x01", b"\x01\x00\x00\x00\x00", b"\x00\x09\x01\x01\x01ab"])
async def test_what_is_no_binary_frame_closes_the_socket(data: bytes) -> None:
    client = Client(make_live()[0], Blobs)
    client.connection.take(data, binary=True)
    assert client.closed_with == 1011


# version 1


async def test_version_1_joins_talks_and_leaves() -> None:
    client = OldClient(make_live()[0], Rooms)
    client.tell("phoenix", "heartbeat", {}, "1")
    client.tell("room:a", "phx_join", {"name": "alex"}, "11")
    client.tell("room:a", "echo", {"x": 1}, 12)
    client.tell("room:a", "push", {"y": 2}, None)
    client.tell("room:a", "phx_leave", {}, "14")
    assert await client.hear() == [
        old_reply("phoenix", "1", "ok", {}),
        old_reply("room:a", "11", "ok", {"hello": "alex"}),
        old_reply("room:a", 12, "ok", {"x": 1}),
        {"topic": "room:a", "event": "pushed", "payload": {"y": 2}, "ref": None},
        old_reply("room:a", None, "ok", {}),
        old_reply("room:a", "14", "ok", {}),
        {"topic": "room:a", "event": "phx_close", "payload": {}, "ref": "11"},
    ]
    assert client.connection.live.scheduler.processes == {}


async def test_version_1_is_refused_crashes_and_joins_anew() -> None:
    client = OldClient(make_live()[0], Rooms)
    client.tell("hall", "phx_join", {}, "1")
    client.tell("room:a", "echo", {}, "2")
    client.tell(7, "phx_leave", {}, "3")
    client.tell("room:a", "phx_join", {"refuse": "no"}, "4")
    unmatched = {"reason": "unmatched topic"}
    assert await client.hear() == [
        old_reply("hall", "1", "error", unmatched),
        old_reply("room:a", "2", "error", unmatched),
        old_reply(7, "3", "error", unmatched),
        old_reply("room:a", "4", "error", {"reason": "no"}),
    ]
    client.tell("room:a", "phx_join", {}, "5")
    assert await client.hear() == [old_reply("room:a", "5", "ok", {})]
    client.tell("room:a", "phx_join", {}, "6")
    assert await client.hear() == [
        old_reply("room:a", "6", "ok", {}),
        {"topic": "room:a", "event": "phx_close", "payload": {}, "ref": "5"},
    ]
    client.tell("room:a", "crash", {}, "7")
    assert await client.hear() == [
        {"topic": "room:a", "event": "phx_error", "payload": {"reason": "channel_crash"}, "ref": "6"}
    ]


async def test_both_versions_hear_a_broadcast_each_in_its_own_form() -> None:
    live, _ = make_live()
    old, older, new = OldClient(live, Rooms), OldClient(live, Rooms), Client(live, Rooms)
    for client in (old, older):
        client.tell("room:a", "phx_join", {}, "11")
    await new.join("room:a", "11")
    assert len(await old.hear()) == len(await older.hear()) == 1
    old.tell("room:a", "shout", {"x": 1}, "12")
    heard = {"topic": "room:a", "event": "shout", "payload": {"x": 1}, "ref": None}
    assert await old.hear() == [heard, old_reply("room:a", "12", "ok", {})]
    assert await older.hear() == [heard]
    assert await new.hear() == [[None, None, "room:a", "shout", {"x": 1}]]
    older.tell("room:a", "whisper", {}, "13")
    assert [message["event"] for message in await old.hear()] == ["whisper"]
    assert [message["event"] for message in await older.hear()] == ["phx_reply"]
    old.tell("room:a", "phx_leave", {}, "14")
    await old.hear()
    live.pubsub.broadcast("room:a", "news", {})
    assert await old.hear() == []
    assert [message["event"] for message in await older.hear()] == ["news"]


async def test_the_reply_to_a_join_comes_before_all_traffic_in_version_1_too() -> None:
    live, _ = make_live()
    client = OldClient(live, Rooms)
    client.tell("room:a", "phx_join", {"wait": True, "early": True}, "11")
    await settle()
    live.pubsub.broadcast("room:a", "news", {})
    assert client.inbox == []
    open_gate(client)
    assert [message["event"] for message in await client.hear()] == ["phx_reply", "news", "early", "early"]


async def test_version_1_goes_without_broadcasts_of_bytes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    live, _ = make_live()
    old, new = OldClient(live, Blobs), Client(live, Blobs)
    old.tell("blob:a", "phx_join", {}, "11")
    await new.join("blob:a", "11")
    await old.hear()
    for ref in ("12", "13"):
        old.tell("blob:a", "shout bytes", {}, ref)
    assert await old.hear() == [old_reply("blob:a", "12", "ok", {}), old_reply("blob:a", "13", "ok", {})]
    assert await new.hear() == [b"\x02\x06\x07blob:ashouted\x42"] * 2
    assert live.unfit.count == 2
    assert caplog.text.count("are not sent to clients of protocol version 1") == 1


async def test_a_reply_of_bytes_crashes_a_channel_of_version_1() -> None:
    client = OldClient(make_live()[0], Blobs)
    client.tell("blob:a", "phx_join", {}, "11")
    client.tell("blob:a", "bytes", {}, "12")
    assert (await client.hear())[1:] == [
        {"topic": "blob:a", "event": "phx_error", "payload": {"reason": "channel_crash"}, "ref": "11"}
    ]


async def test_a_binary_frame_closes_a_client_of_version_1() -> None:
    client = OldClient(make_live()[0], Blobs)
    client.connection.take(binary("1", "1", "blob:a", "phx_join", b""), binary=True)
    assert client.closed_with == 1011
