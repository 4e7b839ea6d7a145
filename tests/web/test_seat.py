"""The life of one joined topic: joining again, leaving, and the presences that end with it."""

from __future__ import annotations

import pytest

from roost import limits
from roost.web import seat as seat_module
from tests.live.cable import Cables
from tests.web.rooms import OK, Rooms, client_in, log_of, open_gate
from tests.web.stage import Client, Collecting, make_live, settle

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
    superseded = {"status": "error", "response": {"reason": "replaced by a newer join"}}
    assert await client.hear() == [
        ["2", "2", "stubborn", "phx_reply", superseded],
        ["3", "3", "stubborn", "phx_reply", superseded],
    ]
    clock.advance(limits.SHUTDOWN_S)
    assert await client.hear() == [
        ["4", "4", "stubborn", "phx_reply", OK],
        ["1", "1", "stubborn", "phx_error", {"reason": "channel_crash"}],
        ["4", "5", "stubborn", "phx_reply", OK],
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
    client.say("4", "4", "stubborn", "phx_join", {})
    assert await client.hear() == []
    assert len(live.scheduler.processes) == 1
    clock.advance(limits.SHUTDOWN_S)
    assert [message[:2] for message in await client.hear()] == [["4", "4"], ["1", "1"]]
    assert len(live.scheduler.processes) == 1


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


async def test_a_join_that_takes_too_long_on_a_topic_of_large_frames_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seat_module, "SOCKET_HELD_BYTES_MAX", 1_000)
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {"wait": True})
    await settle()
    for _ in range(2):
        live.pubsub.broadcast("room:a", "news", {"text": "x" * 600})
    assert await client.hear() == []
    live.pubsub.broadcast("room:a", "news", {})
    refused = {"status": "error", "response": {"reason": "join crashed"}}
    assert await client.hear() == [["1", "1", "room:a", "phx_reply", refused]]


async def test_a_channel_that_traps_exits_and_does_not_keep_up_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat_module, "SOCKET_HELD_FRAMES_MAX", 3)
    live, _ = make_live()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {"wait": True, "trap": True})
    await settle()
    for number in range(5):
        live.pubsub.broadcast("room:a", "news", {"n": number})
    assert [message[4]["status"] for message in await client.hear()] == ["error"]
    assert live.scheduler.processes == {}


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
    live, clock = make_live("a", cables.fabric("a"))
    make_live("b", cables.fabric("b"))
    cables.plug("a", "b")
    cables.flow()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {})
    assert await client.hear() == []
    clock.advance(0.0)
    cables.flow()
    assert await client.hear() == [["1", "1", "room:a", "phx_reply", OK]]


@pytest.mark.parametrize("ends_by", ["leave", "loss", "another join"])
async def test_what_ends_before_the_other_nodes_know_leaves_nothing_behind(ends_by: str) -> None:
    cables = Cables()
    live, clock = make_live("a", cables.fabric("a"))
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
    clock.advance(0.0)
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


async def test_a_channel_may_show_its_client_under_several_keys() -> None:
    live, clock = make_live()
    client = Client(live, Rooms)
    await client.join("room:a", "1", {"name": "alex"})
    client.say("1", "2", "room:a", "show", {"key": "phone"})
    await client.hear()
    clock.advance(0.1)
    diff, state = await client.hear()
    assert sorted(diff[4]["joins"]) == sorted(state[4]) == ["alex", "phone"]
    client.say("1", "3", "room:a", "show", {"key": "phone", "battery": 7})
    client.say("1", "4", "room:a", "count", {})
    assert (await client.hear())[-1][4]["response"] == {"count": 2}
    clock.advance(0.1)
    (diff,) = await client.hear()
    (meta,) = diff[4]["joins"]["phone"]["metas"]
    assert (list(diff[4]["joins"]), meta["battery"]) == (["phone"], 7)
    client.say("1", "5", "room:a", "change", {"key": "alex", "mood": "good"})
    client.say("1", "6", "room:a", "hide", {"key": "phone"})
    client.say("1", "7", "room:a", "hide", {"key": "never shown"})
    client.say("1", "8", "room:a", "who", {})
    assert (await client.hear())[-1][4]["response"] == {"alex": 1}
    client.say("1", "9", "room:a", "phx_leave", {})
    await settle()
    assert live.presence.list("room:a") == {}


async def test_an_update_of_what_is_not_shown_crashes_the_channel() -> None:
    client, _ = await client_in()
    client.say("1", "2", "room:a", "change", {"key": "alex"})
    assert [message[3] for message in await client.hear()] == ["phx_error"]


async def test_a_channel_that_is_ending_gets_no_list_of_presences_behind_its_close() -> None:
    live, clock = make_live()
    client = Client(live, Rooms)
    await client.join("room:a", "1", {"name": "alex"})
    client.say("1", "2", "room:a", "hold", {})
    await settle()
    client.say("3", "3", "room:a", "phx_join", {})
    clock.advance(0.1)
    assert [(message[0], message[3]) for message in await client.hear()] == [("3", "phx_reply"), ("1", "phx_close")]


# assigns


async def test_each_channel_has_a_copy_of_the_assigns_of_its_socket() -> None:
    client = Client(make_live()[0], Rooms)
    assigns = client.connection.socket.assigns
    assigns["user"] = {"name": "alex"}
    await client.join("room:a", "1")
    await client.join("room:b", "2")
    client.say("1", "3", "room:a", "assigns", {"mood": "good"})
    client.say("1", "4", "room:a", "assigns", {})
    client.say("2", "5", "room:b", "assigns", {})
    assert [message[4]["response"] for message in await client.hear()] == [
        {"user": {"name": "alex"}, "joined": "room:a"},
        {"user": {"name": "alex"}, "joined": "room:a", "mood": "good"},
        {"user": {"name": "alex"}, "joined": "room:b"},
    ]
    assert assigns == {"user": {"name": "alex"}}


async def test_joins_that_are_replaced_before_they_begin_are_answered_at_once_and_not_kept() -> None:
    live, clock = make_live()
    client = Client(live, Rooms)
    await client.join("stubborn", "1")
    superseded = {"status": "error", "response": {"reason": "replaced by a newer join"}}
    for ref in range(2, 1_000):
        client.say(ref, ref, "stubborn", "phx_join", {})
    assert await client.hear() == [[ref, ref, "stubborn", "phx_reply", superseded] for ref in range(2, 999)]
    joining = client.connection.seats["stubborn"].joining
    assert joining is not None
    assert joining.farewell == []
    clock.advance(limits.SHUTDOWN_S)
    assert [message[1] for message in await client.hear()] == [999, "1"]
    client.connection.lost()
    clock.advance(limits.SHUTDOWN_S)
    await settle()


async def test_what_was_broadcast_before_a_leave_does_not_wait_for_the_end_of_the_channel() -> None:
    live, clock = make_live()
    client, *others = (Collecting(live, Rooms) for _ in range(3))
    for each in (client, *others):
        each.say("1", "1", "stubborn", "phx_join", {})
    await settle()
    clock.advance(0.0)
    client.inbox.clear()
    live.pubsub.broadcast("stubborn", "news", {})
    client.say("1", "2", "stubborn", "phx_leave", {})
    clock.advance(0.0)
    assert await client.hear() == [[None, None, "stubborn", "news", {}]]
    for each in (client, *others):
        each.connection.lost()
    clock.advance(limits.SHUTDOWN_S)
    await settle()


@pytest.mark.parametrize("event", ["stop", "crash"])
async def test_a_channel_that_ends_by_itself_is_killed_when_its_terminate_takes_too_long(
    event: str,
) -> None:
    live, clock = make_live()
    client = Client(live, Rooms)
    await client.join("stubborn", "1")
    client.say("1", "2", "stubborn", event, {})
    assert await client.hear() == []
    clock.advance(limits.SHUTDOWN_S)
    assert [(message[1], message[3]) for message in await client.hear()] == [("1", "phx_error")]
    assert live.scheduler.processes == {}


async def test_what_is_said_to_a_channel_that_has_crashed_before_other_nodes_know_it_is_not_answered() -> None:
    cables = Cables()
    live, _ = make_live("a", cables.fabric("a"))
    make_live("b", cables.fabric("b"))
    cables.plug("a", "b")
    cables.flow()
    client = Client(live, Rooms)
    client.say("1", "1", "room:a", "phx_join", {})
    client.say("1", "2", "room:a", "hold", {})
    client.say("1", "3", "room:a", "crash", {})
    client.say("1", "4", "room:a", "echo", {})
    open_gate(client)
    assert [(message[1], message[3]) for message in await client.hear()] == [
        ("1", "phx_reply"),
        ("2", "phx_reply"),
        ("1", "phx_error"),
    ]


async def test_a_channel_that_does_not_start_leaves_nothing_behind_and_its_topic_is_unmatched() -> None:
    live, clock = make_live()
    client = Client(live, Rooms)
    await client.join("broken", "1")
    client.say("2", "2", "broken", "phx_join", {})
    client.say("2", "3", "broken", "echo", {})
    clock.advance(limits.SHUTDOWN_S)
    assert [(message[1], message[4].get("response", {}).get("reason")) for message in await client.hear()] == [
        ("2", "join crashed"),
        ("1", None),
        ("3", "unmatched topic"),
    ]
    assert live.presence.list("broken") == {}
    assert client.connection.seats == {}


async def test_a_channel_that_was_killed_shows_nobody_any_more() -> None:
    live, _ = make_live()
    client = Client(live, Rooms)
    await client.join("room:a", "1")
    client.say("1", "2", "room:a", "show at the end", {})
    await settle()
    (process,) = live.scheduler.processes.values()
    process.kill()
    await settle()
    assert live.presence.list("room:a") == {}
