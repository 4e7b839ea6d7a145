"""The life of one joined topic: joining again, leaving, and the presences that end with it."""

from __future__ import annotations

import pytest

from roost import limits
from roost.web import seat as seat_module
from tests.live.cable import Cables
from tests.web.rooms import OK, Rooms, client_in, log_of, open_gate
from tests.web.stage import Client, make_live, settle

# 5. joining again


async def test_a_second_join_replaces_the_first_and_is_answered_before_its_close() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    await client.join("room:a", "1")
    client.say("2", "2", "room:a", "phx_join", {})
    assert await client.hear() == [
        ["2", "2", "room:a", "phx_reply", OK],
        ["1", "1", "room:a", "phx_close", {}],
    ]
    assert log_of(client) == ["join room:a", "terminate room:a shutdown:duplicate_join", "join room:a"]
    live.pubsub.broadcast("room:a", "news", {})
    assert len(await client.hear()) == 1
    assert len(live.scheduler.processes) == 1


async def test_joining_thrice_at_once_leaves_the_last() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    await client.join("room:a", "1")
    for ref in ("2", "3", "4"):
        client.say(ref, ref, "room:a", "phx_join", {})
    heard = await client.hear()
    assert heard[-1][3] == "phx_close" or heard[-1][1] == "4"
    replies = [message[1] for message in heard if message[3] == "phx_reply" and message[4]["status"] == "ok"]
    assert replies[-1] == "4"
    client.say("4", "5", "room:a", "echo", {"x": 1})
    assert (await client.hear())[0][4] == {"status": "ok", "response": {"x": 1}}
    assert len(live.scheduler.processes) == 1
    assert live.pubsub.subscribers("room:a") == 1


async def test_joins_that_wait_for_an_old_channel_to_end_are_answered_by_the_last() -> None:
    live, clock = make_live()
    client = Client(live, Rooms)
    await client.join("stubborn", "1")
    for ref in ("2", "3", "4"):
        client.say(ref, ref, "stubborn", "phx_join", {})
    client.say("4", "5", "stubborn", "echo", {})
    live.pubsub.broadcast("stubborn", "news", {})
    unmatched = {"status": "error", "response": {"reason": "unmatched topic"}}
    assert await client.hear() == [["4", "5", "stubborn", "phx_reply", unmatched]]
    clock.advance(limits.SHUTDOWN_S)
    superseded = {"status": "error", "response": {"reason": "replaced by a newer join"}}
    assert await client.hear() == [
        ["4", "4", "stubborn", "phx_reply", OK],
        ["1", "1", "stubborn", "phx_error", {"reason": "channel_crash"}],
        ["2", "2", "stubborn", "phx_reply", superseded],
        ["3", "3", "stubborn", "phx_reply", superseded],
    ]
    assert live.pubsub.subscribers("stubborn") == 1


async def test_a_join_that_waits_can_be_left() -> None:
    live, clock = make_live()
    client = Client(live, Rooms)
    await client.join("stubborn", "1")
    client.say("2", "2", "stubborn", "phx_join", {})
    client.say("2", "3", "stubborn", "phx_leave", {})
    assert await client.hear() == [
        ["2", "3", "stubborn", "phx_reply", OK],
        ["2", "2", "stubborn", "phx_close", {}],
    ]
    clock.advance(limits.SHUTDOWN_S)
    await client.hear()
    assert live.scheduler.processes == {}
    await client.join("stubborn", "4")


async def test_joining_again_during_a_slow_join_gives_up_the_slow_one() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {"wait": True})
    await settle()
    client.say("2", "2", "room:a", "phx_join", {})
    heard = await client.hear()
    assert ["2", "2", "room:a", "phx_reply", OK] in heard
    assert [message[4]["response"]["reason"] for message in heard if message[0] == "1"] == ["replaced by a newer join"]
    assert len(live.scheduler.processes) == 1


async def test_a_join_that_takes_too_long_on_a_busy_topic_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat_module, "SOCKET_HELD_FRAMES_MAX", 3)
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {"wait": True})
    await settle()
    for number in range(4):
        live.pubsub.broadcast("room:a", "news", {"n": number})
    refused = {"status": "error", "response": {"reason": "join crashed"}}
    assert await client.hear() == [["1", "1", "room:a", "phx_reply", refused]]
    assert live.pubsub.subscribers("room:a") == 0
    await client.join("room:a", "2")


# 6. leaving


@pytest.mark.parametrize("join_ref", ["1", None])
async def test_a_leave_is_answered_and_then_the_channel_closes(join_ref: str | None) -> None:
    client, _ = await client_in()
    client.say(join_ref, "5", "room:a", "phx_leave", {})
    assert await client.hear() == [["1", "5", "room:a", "phx_reply", OK], ["1", "1", "room:a", "phx_close", {}]]
    assert log_of(client)[-1] == "terminate room:a shutdown:left"
    assert client.connection.live.pubsub.subscribers("room:a") == 0


async def test_a_leave_of_an_earlier_join_is_ignored() -> None:
    client, _ = await client_in()
    client.say("0", "5", "room:a", "phx_leave", {})
    client.say(1, "6", "room:a", "phx_leave", {})
    assert await client.hear() == []
    client.say("1", "7", "room:a", "echo", {})
    assert len(await client.hear()) == 1


async def test_leaving_what_was_not_joined_is_fine() -> None:
    client = Client(make_live()[0], Rooms)
    client.say("4", "5", "room:a", "phx_leave", {})
    assert await client.hear() == [["4", "5", "room:a", "phx_reply", OK]]


async def test_what_was_said_before_a_leave_is_answered_and_what_comes_after_is_swallowed() -> None:
    client, _ = await client_in()
    client.say("1", "2", "room:a", "slow", {})
    client.say("1", "3", "room:a", "echo", {})
    client.say("1", "4", "room:a", "phx_leave", {})
    client.say("1", "5", "room:a", "echo", {})
    heard = await client.hear()
    assert [(message[1], message[3]) for message in heard] == [
        ("2", "phx_reply"),
        ("3", "phx_reply"),
        ("4", "phx_reply"),
        ("1", "phx_close"),
    ]


async def test_only_the_first_leave_counts_and_nothing_more_is_heard() -> None:
    client, _ = await client_in()
    client.say("1", "2", "room:a", "hold", {})
    client.say("1", "3", "room:a", "phx_leave", {})
    client.say("1", "4", "room:a", "phx_leave", {})
    client.connection.live.pubsub.broadcast("room:a", "news", {})
    assert await client.hear() == []
    open_gate(client)
    assert [(message[1], message[3]) for message in await client.hear()] == [
        ("2", "phx_reply"),
        ("3", "phx_reply"),
        ("1", "phx_close"),
    ]


async def test_a_join_is_answered_when_the_other_nodes_know() -> None:
    cables = Cables()
    live, _ = make_live("a", cables.fabric("a"))
    make_live("b", cables.fabric("b"))
    cables.plug("a", "b")
    cables.flow()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {})
    assert await client.hear() == []
    cables.flow()
    assert await client.hear() == [["1", "1", "room:a", "phx_reply", OK]]


@pytest.mark.parametrize("ends_by", ["leave", "loss", "another join"])
async def test_what_ends_before_the_other_nodes_know_leaves_nothing_behind(ends_by: str) -> None:
    cables = Cables()
    live, _ = make_live("a", cables.fabric("a"))
    make_live("b", cables.fabric("b"))
    cables.plug("a", "b")
    cables.flow()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {})
    await settle()
    if ends_by == "leave":
        client.say("1", "2", "room:a", "phx_leave", {})
    elif ends_by == "loss":
        client.connection.lost()
    else:
        client.say("2", "2", "room:a", "phx_join", {})
    cables.flow()
    heard = await client.hear()
    cables.flow()
    heard += await client.hear()
    assert [(message[1], message[3]) for message in heard] == {
        "leave": [("1", "phx_reply"), ("2", "phx_reply"), ("1", "phx_close")],
        "loss": [],
        "another join": [("1", "phx_reply"), ("2", "phx_reply"), ("1", "phx_close")],
    }[ends_by]
    assert live.pubsub.subscribers("room:a") == (ends_by == "another join")
    assert log_of(client)[1].startswith("terminate room:a shutdown")


async def test_leaving_during_a_slow_join_lets_it_finish_first() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {"wait": True})
    client.say("1", "2", "room:a", "phx_leave", {})
    assert await client.hear() == []
    open_gate(client)
    assert [(message[1], message[3]) for message in await client.hear()] == [
        ("1", "phx_reply"),
        ("2", "phx_reply"),
        ("1", "phx_close"),
    ]
    assert live.pubsub.subscribers("room:a") == 0
    assert live.scheduler.processes == {}


@pytest.mark.parametrize("end", ["refuse", "crash"])
async def test_leaving_is_answered_even_when_the_join_fails(end: str) -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {"wait": True, end: "no"})
    client.say("1", "2", "room:a", "phx_leave", {})
    open_gate(client)
    heard = await client.hear()
    assert [(message[0], message[1], message[3], message[4]["status"]) for message in heard] == [
        ("1", "1", "phx_reply", "error"),
        ("1", "2", "phx_reply", "ok"),
    ]
    assert live.scheduler.processes == {}


async def test_a_leave_is_answered_when_another_join_overtakes_it() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {"wait": True})
    client.say("1", "2", "room:a", "phx_leave", {})
    client.say("3", "3", "room:a", "phx_join", {})
    heard = await client.hear()
    assert ["1", "2", "room:a", "phx_reply", OK] in heard
    assert ["3", "3", "room:a", "phx_reply", OK] in heard


async def test_joining_right_after_leaving_works() -> None:
    client, _ = await client_in()
    client.say("1", "2", "room:a", "phx_leave", {})
    client.say("3", "3", "room:a", "phx_join", {})
    heard = await client.hear()
    assert [(message[0], message[3]) for message in heard] == [
        ("3", "phx_reply"),
        ("1", "phx_reply"),
        ("1", "phx_close"),
    ]
    client.say("3", "4", "room:a", "echo", {"x": 1})
    assert (await client.hear())[0][4]["response"] == {"x": 1}


# presence


async def test_presences_of_a_channel_end_with_it() -> None:
    live, clock = make_live()
    one, two = Client(live, Rooms), Client(live, Rooms)
    await one.join("room:a", "1", {"name": "alex"})
    await two.join("room:a", "2", {"name": "bo"})
    clock.advance(0.1)
    (diff, state) = await one.hear()
    assert diff[:4] == [None, None, "room:a", "presence_diff"]
    assert sorted(diff[4]["joins"]) == ["alex", "bo"]
    assert state[:4] == ["1", None, "room:a", "presence_state"]
    assert sorted(state[4]) == ["alex", "bo"]
    (meta,) = state[4]["alex"]["metas"]
    assert set(meta) == {"node", "phx_ref"}
    await two.hear()
    one.say("1", "3", "room:a", "crash", {})
    await settle()
    clock.advance(0.1)
    (diff,) = await two.hear()
    assert (list(diff[4]["joins"]), list(diff[4]["leaves"])) == ([], ["alex"])
    assert diff[4]["leaves"]["alex"]["metas"] == [meta]


async def test_an_update_names_what_it_replaces() -> None:
    live, clock = make_live()
    client = Client(live, Rooms)
    await client.join("room:a", "1", {"name": "alex"})
    clock.advance(0.1)
    before = (await client.hear())[-1][4]["alex"]["metas"][0]
    client.say("1", "2", "room:a", "mood", {"mood": "good"})
    await client.hear()
    clock.advance(0.1)
    (diff,) = await client.hear()
    assert diff[4]["leaves"]["alex"]["metas"] == [before]
    (after,) = diff[4]["joins"]["alex"]["metas"]
    assert after["mood"] == "good"
    assert after["phx_ref_prev"] == before["phx_ref"]
    client.say("1", "3", "room:a", "who", {})
    assert (await client.hear())[0][4]["response"] == {"alex": 1}
    client.say("1", "4", "room:a", "hide", {})
    client.say("1", "5", "room:a", "who", {})
    assert (await client.hear())[-1][4]["response"] == {}


async def test_a_thousand_joins_at_once_are_a_few_frames() -> None:
    live, clock = make_live()
    clients = [Client(live, Rooms) for _ in range(100)]
    for number, client in enumerate(clients):
        client.say("1", "1", "room:a", "phx_join", {"name": f"user {number}"})
    await settle()
    clock.advance(0.1)
    for client in clients:
        heard = await client.hear()
        assert len(heard) == 3
        assert len(heard[-1][4]) == 100
