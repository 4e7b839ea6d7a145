"""What a channel class adds to the presences that its clients are told of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roost.config import Address, Config
from roost.live.channel import Channel, Payload
from roost.runtime import Runtime
from roost.web.app import Roost
from roost.web.socket import Socket
from tests.web.wire import Phoenix

NAMES = {"1": "Ada", "2": "Bo"}


class Plain(Channel, topic="plain"):
    """Tracks, and adds nothing."""

    def join(self, topic: str, params: Payload, socket: object) -> None:
        self.track(str(params["id"]), {})


class Named(Plain, topic="room:*"):
    """Adds names."""

    @classmethod
    async def fetch(cls, topic: str, presences: Mapping[str, Any]) -> Mapping[str, Mapping[str, object]]:
        return {key: {"name": NAMES[key], "of": len(entry["metas"])} for key, entry in presences.items()}


class Rooms(Socket):
    """The socket of these tests."""

    channels = (Plain, Named)


async def test_what_fetch_adds_is_told_with_the_presences() -> None:
    assert (Plain.has_fetch(), Named.has_fetch()) == (False, True)
    app = Roost("test", sockets={"/socket": Rooms})
    running = await app.boot(Config(web=Address("127.0.0.1", 0)), Runtime.real())
    try:
        assert running.address is not None
        one, two = await Phoenix.open(running.address), await Phoenix.open(running.address)
        await one.ask("11", "1", "room:a", "phx_join", {"id": 1})
        state = (await one.hear("presence_state"))[4]
        assert (state["1"]["name"], state["1"]["of"]) == ("Ada", 1)
        await two.ask("11", "1", "room:a", "phx_join", {"id": 2})
        while "2" not in (joins := (await one.hear("presence_diff"))[4]["joins"]):
            pass
        assert joins["2"]["name"] == "Bo"
        await one.ask("12", "2", "plain", "phx_join", {"id": 1})
        assert list((await one.hear("presence_state"))[4]["1"]) == ["metas"]
        await one.close()
        await two.close()
    finally:
        await running.stop()
