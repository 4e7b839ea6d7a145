"""The rules of a Phoenix socket, one by one, against a connection without a network."""

from __future__ import annotations

import asyncio

import pytest

from roost import limits
from roost.live.channel import Channel, Payload
from roost.web import connection as connection_module
from roost.web.socket import Socket
from tests.web.rooms import OK, Lobby, Room, Rooms, client_in, log_of, open_gate
from tests.web.stage import Client, make_live, settle

# 1. the socket's own topic


async def test_a_heartbeat_is_answered_with_its_ref_and_no_join_ref() -> None:
    client = Client(make_live()[0], Rooms)
    client.say("9", 90, "phoenix", "heartbeat", {})
    assert await client.hear() == [[None, 90, "phoenix", "phx_reply", OK]]


async def test_anything_else_on_the_sockets_topic_is_unmatched() -> None:
    client = Client(make_live()[0], Rooms)
    client.say(None, "1", "phoenix", "dance", {})
    client.say("2", "2", "phoenix", "phx_join", {})
    refused = {"status": "error", "response": {"reason": "unmatched topic"}}
    assert await client.hear() == [
        [None, "1", "phoenix", "phx_reply", refused],
        [None, "2", "phoenix", "phx_reply", refused],
    ]


# 2. joining


async def test_a_join_is_answered_with_what_join_returns() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("11", "1", "room:a", "phx_join", {"name": "alex"})
    client.say("12", "2", "lobby", "phx_join", {})
    client.say("13", "3", "room:b", "phx_join", {})
    heard = {message[2]: message for message in await client.hear() if message[3] == "phx_reply"}
    assert heard == {
        "room:a": ["11", "1", "room:a", "phx_reply", {"status": "ok", "response": {"hello": "alex"}}],
        "lobby": ["12", "2", "lobby", "phx_reply", {"status": "ok", "response": {"lobby": True}}],
        "room:b": ["13", "3", "room:b", "phx_reply", OK],
    }


@pytest.mark.parametrize("topic", ["hall", "lobby2", "", 7, None, {"room": 1}, ["room:a"]])
async def test_a_topic_without_a_channel_is_unmatched(topic: object) -> None:
    client = Client(make_live()[0], Rooms)
    client.say("1", "1", topic, "phx_join", {})
    refused = {"status": "error", "response": {"reason": "unmatched topic"}}
    assert await client.hear() == [[None, "1", topic, "phx_reply", refused]]
    assert client.closed_with is None


async def test_the_first_channel_whose_topic_fits_is_taken() -> None:
    assert Rooms.channel_for("room:x") is Room
    assert Rooms.channel_for("lobby") is Lobby
    assert Rooms.channel_for("lobby:x") is None


async def test_there_is_a_limit_of_channels() -> None:
    class Few(Rooms):
        channels_max = 2

    client = Client(make_live()[0], Few)
    await client.join("room:1", "1")
    await client.join("room:2", "2")
    client.say("3", "3", "room:3", "phx_join", {})
    (refused,) = await client.hear()
    assert refused == [
        "3",
        "3",
        "room:3",
        "phx_reply",
        {"status": "error", "response": {"reason": "too many channels joined"}},
    ]
    client.say("4", "4", "room:2", "phx_join", {})
    assert [message[:4:3] for message in await client.hear()] == [["4", "phx_reply"], ["2", "phx_close"]]
    client.say("1", "5", "room:1", "phx_leave", {})
    await client.hear()
    await client.join("room:3", "6")


async def test_a_refused_join_says_why_and_leaves_nothing_behind() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {"refuse": "members only"})
    assert await client.hear() == [
        ["1", "1", "room:a", "phx_reply", {"status": "error", "response": {"reason": "members only"}}]
    ]
    assert live.scheduler.processes == {}
    assert live.pubsub.subscribers("room:a") == 0
    assert log_of(client) == ["join room:a"]
    await client.join("room:a", "2")


async def test_what_was_said_behind_a_join_that_is_refused_is_unmatched() -> None:
    client = Client(make_live()[0], Rooms)
    client.say("1", "1", "room:a", "phx_join", {"wait": True, "refuse": "no"})
    client.say("1", "2", "room:a", "echo", {})
    await settle()
    open_gate(client)
    assert [[*message[:2], message[4]["response"]["reason"]] for message in await client.hear()] == [
        ["1", "1", "no"],
        [None, "2", "unmatched topic"],
    ]


async def test_a_join_that_crashes_says_so(caplog: pytest.LogCaptureFixture) -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {"crash": True})
    assert await client.hear() == [
        ["1", "1", "room:a", "phx_reply", {"status": "error", "response": {"reason": "join crashed"}}]
    ]
    assert "ValueError: no" in caplog.text
    assert live.scheduler.processes == {}
    await client.join("room:a", "2")


async def test_a_crash_report_does_not_tell_secrets(caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await client_in()
    client.say("2", "2", "room:b", "phx_join", {"crash": True, "password": "hunter2"})
    client.say("1", "3", "room:a", "crash", {"token": "abc123"})
    await settle()
    assert "room:b" in caplog.text
    assert "hunter2" not in caplog.text
    assert "abc123" not in caplog.text


@pytest.mark.parametrize("payload", [None, [], "name", 7])
async def test_a_payload_that_is_no_object_is_refused(payload: object) -> None:
    client, _ = await client_in()
    client.say("2", "2", "room:b", "phx_join", payload)
    client.say("1", "3", "room:a", "echo", payload)
    heard = await client.hear()
    assert [message[4]["status"] for message in heard] == ["error", "error"]
    assert client.closed_with is None


# 3. and 4. order around a join


async def test_a_slow_join_holds_up_neither_heartbeat_nor_other_topics() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("1", "1", "room:slow", "phx_join", {"wait": True})
    client.say("1", "2", "room:slow", "echo", {"n": 1})
    client.say(None, "3", "phoenix", "heartbeat", {})
    client.say("4", "4", "lobby", "phx_join", {})
    assert [message[1] for message in await client.hear()] == ["3", "4"]
    open_gate(client)
    assert [message[1] for message in await client.hear()] == ["1", "2"]


async def test_the_reply_to_a_join_comes_before_all_traffic_of_the_topic() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {"wait": True, "early": True})
    await settle()
    live.pubsub.broadcast("room:a", "news", {"n": 0})
    assert client.inbox == []
    open_gate(client)
    heard = await client.hear()
    assert [(message[0], message[3]) for message in heard] == [
        ("1", "phx_reply"),
        (None, "news"),
        (None, "early"),
        ("1", "early"),
    ]


# 7. events


async def test_an_event_is_answered_with_what_its_handler_returns() -> None:
    client, _ = await client_in()
    client.say("1", "2", "room:a", "echo", {"deep": [1, {"x": None}]})
    client.say(None, "3", "room:a", "slow", {"n": 2})
    client.say("1", None, "room:a", "nothing", {})
    assert await client.hear() == [
        ["1", "2", "room:a", "phx_reply", {"status": "ok", "response": {"deep": [1, {"x": None}]}}],
        ["1", "3", "room:a", "phx_reply", {"status": "ok", "response": {"n": 2}}],
        ["1", None, "room:a", "phx_reply", OK],
    ]


async def test_handlers_of_one_channel_answer_in_order() -> None:
    client, _ = await client_in()
    for ref in range(20):
        client.say("1", ref, "room:a", "slow" if ref % 3 else "echo", {})
    assert [message[1] for message in await client.hear()] == list(range(20))


async def test_an_event_of_an_earlier_join_is_dropped() -> None:
    client, _ = await client_in()
    client.say("0", "2", "room:a", "nothing", {})
    client.say(1, "3", "room:a", "nothing", {})
    assert await client.hear() == []
    assert "nothing" not in log_of(client)


async def test_an_event_without_a_join_is_unmatched() -> None:
    client = Client(make_live()[0], Rooms)
    client.say("1", "2", "room:a", "echo", {})
    refused = {"status": "error", "response": {"reason": "unmatched topic"}}
    assert await client.hear() == [[None, "2", "room:a", "phx_reply", refused]]


async def test_a_refusal_is_an_error_reply_and_the_channel_lives_on() -> None:
    client, _ = await client_in()
    client.say("1", "2", "room:a", "refuse", {})
    client.say("1", "3", "room:a", "echo", {})
    assert [message[4] for message in await client.hear()] == [
        {"status": "error", "response": {"reason": "not you"}},
        OK,
    ]


async def test_pushes_and_broadcasts() -> None:
    live, _ = make_live()
    one, two = Client(live, Rooms), Client(live, Rooms)
    await one.join("room:a", "1")
    await two.join("room:a", "7")
    one.say("1", "2", "room:a", "shout", {"x": 1})
    assert await one.hear() == [[None, None, "room:a", "shout", {"x": 1}], ["1", "2", "room:a", "phx_reply", OK]]
    assert await two.hear() == [[None, None, "room:a", "shout", {"x": 1}]]
    one.say("1", "3", "room:a", "whisper", {})
    assert [message[3] for message in await one.hear()] == ["phx_reply"]
    assert [message[3] for message in await two.hear()] == ["whisper"]
    two.say("7", "8", "room:a", "push", {"y": 2})
    assert await two.hear() == [["7", None, "room:a", "pushed", {"y": 2}], ["7", "8", "room:a", "phx_reply", OK]]
    assert await one.hear() == []


# 8. the end of a channel


@pytest.mark.parametrize("event", ["crash", "never declared", "unfit", "join", "terminate", "__init__"])
async def test_a_crash_ends_one_channel_and_nothing_else(event: str, caplog: pytest.LogCaptureFixture) -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    await client.join("room:a", "1")
    await client.join("room:b", "2")
    client.say("1", "3", "room:a", event, {})
    heard = await client.hear()
    assert heard[-1] == ["1", "1", "room:a", "phx_error", {"reason": "channel_crash"}]
    assert all(message[4] != OK for message in heard)
    assert caplog.text
    client.say("2", "4", "room:b", "echo", {})
    assert await client.hear() == [["2", "4", "room:b", "phx_reply", OK]]
    assert live.pubsub.subscribers("room:a") == 0
    await client.join("room:a", "5")


async def test_a_channel_that_ends_by_itself_closes() -> None:
    client, _ = await client_in()
    client.say("1", "2", "room:a", "quit", {})
    assert await client.hear() == [
        ["1", "2", "room:a", "phx_reply", {"status": "ok", "response": {"bye": True}}],
        ["1", "1", "room:a", "phx_close", {}],
    ]


async def test_a_lost_connection_ends_its_channels_with_terminate() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    await client.join("room:a", "1")
    await client.join("room:b", "2")
    client.say("3", "3", "room:c", "phx_join", {"wait": True})
    await settle()
    client.connection.lost()
    assert live.pubsub.subscribers("room:a") == 0
    assert await client.hear() == []
    assert sorted(log_of(client)[-2:]) == ["terminate room:a shutdown:closed", "terminate room:b shutdown:closed"]
    assert live.scheduler.processes == {}
    client.say("1", "4", "room:a", "echo", {})
    assert await client.hear() == []


async def test_a_channel_that_does_not_end_is_killed() -> None:
    class Stubborn(Channel, topic="s"):
        def join(self, topic: str, params: Payload, socket: object) -> None:
            return None

        async def terminate(self, reason: object) -> None:
            await asyncio.Event().wait()

    class Sockets(Socket):
        channels = (Stubborn,)

    live, clock = make_live()
    client = Client(live, Sockets)
    await client.join("s", "1")
    client.say("1", "2", "s", "phx_leave", {})
    assert await client.hear() == []
    clock.advance(limits.SHUTDOWN_S + 0.1)
    assert [message[3] for message in await client.hear()] == ["phx_reply", "phx_close"]
    assert live.scheduler.processes == {}


# 9. what is no frame


@pytest.mark.parametrize("text", ["hello", "{}", '["1","2","t","e"]', "[" * 2000])
async def test_what_is_no_frame_closes_the_socket(text: str) -> None:
    client, _ = await client_in()
    client.connection.take(text, binary=False)
    assert client.closed_with == 1011
    await settle()
    assert client.connection.live.scheduler.processes == {}


# flow


async def test_a_client_that_asks_too_much_at_once_is_read_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SOCKET_PENDING_MAX", 4)
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {"wait": True})
    for ref in range(2, 5):
        assert not client.is_paused
        client.say("1", str(ref), "room:a", "echo", {})
    assert client.is_paused
    open_gate(client)
    assert len(await client.hear()) == 4
    assert not client.is_paused


async def test_long_messages_count_as_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SOCKET_PENDING_MAX", 8)
    client, _ = await client_in()
    client.say("1", "2", "room:a", "hold", {})
    client.say("1", "3", "room:a", "echo", {"text": "x" * 2 * limits.SOCKET_PENDING_UNIT_BYTES})
    assert is_read(client)
    client.say("1", "4", "room:a", "echo", {"text": "x" * 3 * limits.SOCKET_PENDING_UNIT_BYTES})
    assert not is_read(client)
    open_gate(client)
    assert len(await client.hear()) == 3
    assert is_read(client)
    assert client.connection._pending == 0


def is_read(client: Client) -> bool:
    return not client.is_paused


@pytest.mark.parametrize("superseded", [False, True])
async def test_what_waits_for_an_old_channel_to_end_is_owed_until_it_is_answered_or_given_up(
    superseded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "SOCKET_PENDING_MAX", 4)
    live, clock = make_live()
    client = Client(live, Rooms)
    await client.join("stubborn", "1")
    client.say("2", "2", "stubborn", "phx_join", {})
    for ref in range(4):
        assert is_read(client)
        client.say("2", ref, "stubborn", "echo", {})
    assert not is_read(client)
    if superseded:
        client.say("3", "3", "stubborn", "phx_join", {})
        assert is_read(client)
    clock.advance(limits.SHUTDOWN_S)
    assert len(await client.hear()) == (3 if superseded else 6)
    assert is_read(client)


async def test_a_lost_connection_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SOCKET_PENDING_MAX", 1)
    client = Client(make_live()[0], Rooms)
    ready: list[bool] = []
    client.say("1", "1", "room:a", "phx_join", {"wait": True})
    await settle()
    assert not client.connection.when_ready(lambda: ready.append(True))
    client.connection.lost()
    assert ready == [True]
    assert not client.is_paused
    assert client.connection.when_ready(lambda: ready.append(False))
    await settle()
    assert ready == [True]
