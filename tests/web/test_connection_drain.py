"""A connection whose node stops: its channels end in order, then the client is told to come back."""

from __future__ import annotations

import pytest

from roost import limits
from tests.web.rooms import OK, Rooms, client_in, log_of, open_gate
from tests.web.stage import Client, make_live, settle


async def test_channels_end_with_terminate_and_then_the_connection_closes_with_1012() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    await client.join("room:a", "1", {"parting": True})
    await client.join("room:b", "2")
    client.connection.drain()
    assert await client.hear() == [["1", None, "room:a", "parting", {"n": 1}]]
    assert client.closed_with == 1012
    assert sorted(log_of(client)[-2:]) == ["terminate room:a shutdown:drain", "terminate room:b shutdown:drain"]
    assert live.scheduler.processes == {}
    assert live.pubsub.subscribers("room:a") == 0


async def test_a_connection_without_channels_closes_at_once() -> None:
    client = Client(make_live()[0], Rooms)
    client.connection.drain()
    client.connection.drain()
    assert client.closed_with == 1012
    assert not client.connection.is_open


async def test_what_was_said_before_is_answered_and_what_comes_after_is_not_acted_on() -> None:
    client, _ = await client_in()
    client.say("1", "2", "room:a", "hold", {})
    client.say("1", "3", "room:a", "echo", {})
    await settle()
    client.connection.drain()
    client.say("1", "4", "room:a", "echo", {})
    client.say("5", "5", "room:b", "phx_join", {})
    client.say(None, "6", "phoenix", "heartbeat", {})
    client.connection.live.pubsub.broadcast("room:a", "news", {})
    assert [message[1:4:2] for message in await client.hear()] == [["6", "phx_reply"], [None, "news"]]
    assert client.connection.is_open
    open_gate(client)
    assert [message[1] for message in await client.hear()] == ["2", "3"]
    assert client.closed_with == 1012


async def test_a_channel_that_does_not_end_holds_the_others_up_for_a_bounded_time() -> None:
    live, clock = make_live()
    client = Client(live, Rooms)
    await client.join("stubborn", "1")
    await client.join("room:a", "2")
    client.connection.drain()
    await client.hear()
    assert log_of(client)[-1] == "terminate room:a shutdown:drain"
    assert client.connection.is_open
    clock.advance(limits.SHUTDOWN_S + 0.1)
    await settle()
    assert client.closed_with == 1012
    assert live.scheduler.processes == {}


async def test_a_join_is_finished_first() -> None:
    client = Client(make_live()[0], Rooms)
    client.say("1", "1", "room:a", "phx_join", {"wait": True})
    await settle()
    client.connection.drain()
    assert await client.hear() == []
    open_gate(client)
    assert await client.hear() == [["1", "1", "room:a", "phx_reply", OK]]
    assert client.closed_with == 1012
    assert log_of(client)[-1] == "terminate room:a shutdown:drain"


async def test_a_join_that_waits_for_an_old_channel_never_begins() -> None:
    live, clock = make_live()
    client = Client(live, Rooms)
    await client.join("stubborn", "1")
    client.say("2", "2", "stubborn", "phx_join", {})
    client.say("2", "3", "stubborn", "echo", {})
    client.connection.drain()
    await client.hear()
    assert client.connection.is_open
    clock.advance(limits.SHUTDOWN_S + 0.1)
    assert "2" not in [message[1] for message in await client.hear()]
    assert client.closed_with == 1012
    assert live.scheduler.processes == {}


@pytest.mark.parametrize("end", ["loss", "leave"])
async def test_a_client_that_goes_meanwhile_is_no_trouble(end: str) -> None:
    client, _ = await client_in()
    client.say("1", "2", "room:a", "hold", {})
    await settle()
    if end == "leave":
        client.say("1", "3", "room:a", "phx_leave", {})
    client.connection.drain()
    if end == "loss":
        client.connection.lost()
    open_gate(client)
    heard = [message[3] for message in await client.hear()]
    assert heard == (["phx_reply", "phx_reply", "phx_close"] if end == "leave" else [])
    assert client.connection.live.scheduler.processes == {}
