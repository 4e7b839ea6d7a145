"""A chat room: who may say what, and what is remembered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import permutations
from typing import Any

import pytest

from roost.config import Address, Config
from roost.demo.app import app
from roost.demo.room import BODY_MAX, HISTORY_MAX, NAME_MAX, ROOM_MAX, merge_histories
from roost.runtime import Runtime
from tests.web.wire import Phoenix


@asynccontextmanager
async def visitor() -> AsyncIterator[Phoenix]:
    running = await app.boot(Config(web=Address("127.0.0.1", 0)), Runtime.real())
    assert running.address is not None
    try:
        client = await Phoenix.open(running.address)
        yield client
        await client.close()
    finally:
        await running.stop()


def message(id: str, at: int) -> dict[str, object]:
    return {"id": id, "name": "alex", "body": "hi", "at": at, "node": "a"}


def test_histories_meet_whatever_their_order() -> None:
    histories = ([message("a", 1), message("c", 3)], [message("b", 2), message("a", 1)], [message("d", 3)])
    merged = [merge_histories(order) for order in permutations(histories)]
    assert all(one == merged[0] for one in merged)
    assert [each["id"] for each in merged[0]] == ["a", "b", "c", "d"]  # type: ignore[attr-defined]  # a list of messages
    assert merge_histories((merged[0], merged[0])) == merged[0]


def test_a_history_keeps_the_newest() -> None:
    long = [message(f"{number:03}", number) for number in range(HISTORY_MAX + 10)]
    assert merge_histories((long[:20], long[15:])) == long[-HISTORY_MAX:]


async def test_what_was_said_is_there_for_those_who_come_later() -> None:
    async with visitor() as client:
        assert await client.ask("1", "1", "room:a", "phx_join", {"name": " Alex "}) == {
            "status": "ok",
            "response": {"history": [], "node": "roost@127.0.0.1"},
        }
        await client.say("1", "2", "room:a", "new_msg", {"body": "<b>hi</b>"})
        said = (await client.hear("new_msg"))[4]
        assert (said["name"], said["body"], said["node"]) == ("Alex", "<b>hi</b>", "roost@127.0.0.1")
        assert (await client.hear("phx_reply"))[4] == {"status": "ok", "response": {}}
        for number in range(HISTORY_MAX + 2):
            await client.ask("1", f"m{number}", "room:a", "new_msg", {"body": str(number)})
        rejoined = await client.ask("9", "9", "room:a", "phx_join", {"name": "Bo"})
        history = rejoined["response"]["history"]
        assert [each["body"] for each in history] == [str(number) for number in range(2, HISTORY_MAX + 2)]
        other = await client.ask("10", "10", "room:b", "phx_join", {"name": "Bo"})
        assert other["response"]["history"] == []


@pytest.mark.parametrize(
    "params", [{}, {"name": ""}, {"name": "   "}, {"name": 7}, {"name": "x" * (NAME_MAX + 1)}, {"name": None}]
)
async def test_a_visitor_needs_a_name(params: dict[str, Any]) -> None:
    async with visitor() as client:
        reply = await client.ask("1", "1", "room:a", "phx_join", params)
        assert reply == {"status": "error", "response": {"reason": "a name has from 1 to 40 characters"}}


@pytest.mark.parametrize("room", ["", " ", "x" * (ROOM_MAX + 1)])
async def test_a_room_needs_a_name(room: str) -> None:
    async with visitor() as client:
        assert (await client.ask("1", "1", f"room:{room}", "phx_join", {"name": "Alex"}))["status"] == "error"


async def test_a_message_has_a_body() -> None:
    async with visitor() as client:
        await client.ask("1", "1", "room:a", "phx_join", {"name": "x" * NAME_MAX})
        for number, body in enumerate(["", " \n ", None, 7, ["x"], "x" * (BODY_MAX + 1)]):
            reply = await client.ask("1", f"b{number}", "room:a", "new_msg", {"body": body})
            assert reply == {"status": "error", "response": {"reason": "a message has from 1 to 4000 characters"}}
        assert (await client.ask("1", "3", "room:a", "new_msg", {"body": "é" * BODY_MAX}))["status"] == "ok"


async def test_the_ring_can_be_looked_at() -> None:
    async with visitor() as client:
        ring = (await client.ask("1", "1", "cluster:ring", "phx_join", {}))["response"]
        assert ring["size"] == len(ring["owners"]) == 64
        assert ring["members"] == [
            {
                "name": "roost@127.0.0.1",
                "status": "valid",
                "up": True,
                "ring_percent": 100.0,
                "pending_percent": None,
                "web": "http://127.0.0.1:0",
            }
        ]
