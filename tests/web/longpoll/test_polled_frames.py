"""The frames that Phoenix sends, byte for byte, to a client that polls: at the node of its session, and relayed."""

from __future__ import annotations

import base64

import pytest

from tests.web.longpoll.polling import NDJSON, Poller, address_of, nodes
from tests.web.test_golden import V1, V2, Rooms, Script


@pytest.mark.parametrize("names", ["a", "ab"], ids=["here", "relayed"])
@pytest.mark.parametrize(("version", "script"), [("2.0.0", V2), ("1.0.0", V1)])
async def test_every_frame_is_polled_as_phoenix_sends_it(names: str, version: str, script: Script) -> None:
    async with nodes(*names, kind=Rooms) as running:
        poller = await Poller(address_of(running[0]), f"vsn={version}&binary=base64").open()
        poller = poller.at(address_of(running[-1]))
        heard: list[str] = []
        for said, expected in script:
            line = base64.b64encode(said) if isinstance(said, bytes) else said.encode()
            assert (await poller.send("POST", line, NDJSON)).json == {"status": 200}
            while len(heard) < len(expected):
                heard += (await poller.poll())["messages"]
            wanted = [base64.b64encode(one).decode() if isinstance(one, bytes) else one for one in expected]
            assert heard == wanted, said
            heard.clear()
