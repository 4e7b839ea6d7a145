"""Broadcasts to a node that does not keep up."""

from __future__ import annotations

import pytest

from tests.live.cable import Cables
from tests.web.rooms import Rooms
from tests.web.stage import Client, make_live, settle


async def test_broadcasts_that_a_node_cannot_take_are_counted_and_do_not_flood_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cables = Cables()
    live, _ = make_live("a", cables.fabric("a"))
    there, clock = make_live("b", cables.fabric("b"))
    cables.plug("a", "b")
    cables.flow()
    client = Client(there, Rooms)
    client.say("1", "1", "room:a", "phx_join", {})
    await settle()
    clock.advance(0.0)
    cables.flow()
    await client.hear()
    cables.fabrics["a"].choked.add("b")
    for number in range(1_000):
        live.pubsub.broadcast("room:a", "news", {"n": number})
    assert live.pubsub.lost == 1_000
    assert caplog.text.count("did not go to b") == 10
    cables.fabrics["a"].choked.clear()
    live.pubsub.broadcast("room:a", "news", {"n": 1_000})
    cables.flow()
    assert [message[4]["n"] for message in await client.hear()] == [1_000]
