"""The protocol on real WebSockets, byte for byte, as Phoenix itself was seen to speak it.

The join's reference is 11 and the first message's 1, so that no reply can have one in the place of the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from roost.errors import Refusal
from roost.live.channel import Channel, Payload, event
from roost.live.reply import Status
from roost.otp import Stop
from roost.web.app import Roost
from roost.web.socket import Socket
from tests.web.wire import served_by_the_node, served_by_uvicorn

ended: asyncio.Queue[str] = asyncio.Queue()


class Room(Channel, topic="room:*"):
    """Says what the golden frames have in them."""

    def join(self, topic: str, params: Payload, socket: object) -> Payload | None:
        if "refuse" in params:
            raise Refusal("unauthorized")
        if "crash" in params:
            raise ZeroDivisionError
        return {"hello": params["name"]} if "name" in params else None

    @event("echo")
    def echo(self, payload: Payload) -> Payload:
        return payload

    @event("bin")
    def bytes_back(self, payload: bytes) -> bytes:
        return b"\x01\x02" + payload

    @event("push")
    def push_all(self, payload: Payload) -> None:
        self.push("binp", b"\x00\x01")
        self.push("pushed", payload)

    @event("shout")
    def shout(self, payload: Payload) -> None:
        self.broadcast("binb", b"\x42")
        self.broadcast("shouted", payload)

    @event("custom")
    def custom(self, payload: Payload) -> Status:
        return Status("created", {"id": 1})

    @event("refuse")
    def refuse(self, payload: Payload) -> None:
        raise Refusal("no")

    @event("stop")
    def stop_it(self, payload: Payload) -> None:
        raise Stop("normal", reply={"bye": True})

    def terminate(self, reason: object) -> None:
        ended.put_nowait(f"{self.topic} {reason}")
        if reason == "normal":
            self.push("parting", {})


class Rooms(Socket):
    """Everyone may come in, and is called by one name."""

    channels = (Room,)

    def id(self) -> str:
        return "users:1"


@pytest.fixture(params=[served_by_the_node, served_by_uvicorn], ids=["node", "uvicorn"])
def served(request: pytest.FixtureRequest) -> Any:  # Any: one of two context managers
    return request.param


@asynccontextmanager
async def client_of(served: Any, version: str = "2.0.0") -> AsyncIterator[tuple[ClientConnection, Roost]]:
    app = Roost("test", sockets={"/socket": Rooms})
    while not ended.empty():
        ended.get_nowait()
    async with (
        served(app) as address,
        connect(f"ws://{address}/socket/websocket?vsn={version}", ping_interval=None) as client,
    ):
        yield client, app


Script = Sequence[tuple[str | bytes, Sequence[str | bytes]]]
"""What the client sends, and what it gets for that, as it is on the wire."""


async def play(client: ClientConnection, script: Script) -> None:
    for said, expected in script:
        await client.send(said)
        for frame in expected:
            assert await client.recv() == frame, said


V2: Script = [
    ('[null,"1","phoenix","heartbeat",{}]', ['[null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]']),
    ('["9",7,"phoenix","heartbeat",{}]', ['[null,7,"phoenix","phx_reply",{"status":"ok","response":{}}]']),
    (
        '[null,"2","phoenix","dance",{}]',
        ['[null,"2","phoenix","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]'],
    ),
    (
        '["11","1","room:a","echo",{}]',
        ['[null,"1","room:a","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]'],
    ),
    (
        '["11","1","hall","phx_join",{}]',
        ['[null,"1","hall","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]'],
    ),
    (
        '["11","1",7,"phx_join",{}]',
        ['[null,"1",7,"phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]'],
    ),
    (
        '["11","1","room:a","phx_join",{"refuse":1}]',
        ['["11","1","room:a","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]'],
    ),
    (
        '["11","1","room:a","phx_join",{"crash":1}]',
        ['["11","1","room:a","phx_reply",{"status":"error","response":{"reason":"join crashed"}}]'],
    ),
    ('["4","5","room:a","phx_leave",{}]', ['["4","5","room:a","phx_reply",{"status":"ok","response":{}}]']),
    (
        '["11","1","room:a","phx_join",{"name":"alex"}]',
        ['["11","1","room:a","phx_reply",{"status":"ok","response":{"hello":"alex"}}]'],
    ),
    (
        '["11","2","room:a","echo",{"n":1.5,"é":[null,true]},"extra"]',
        ['["11","2","room:a","phx_reply",{"status":"ok","response":{"n":1.5,"é":[null,true]}}]'],
    ),
    ('[null,null,"room:a","echo",{}]', ['["11",null,"room:a","phx_reply",{"status":"ok","response":{}}]']),
    ('["10","3","room:a","echo",{}]', []),
    ('["10","3","room:a","phx_leave",{}]', []),
    (
        '["11",90,"room:a","custom",{}]',
        ['["11",90,"room:a","phx_reply",{"status":"created","response":{"id":1}}]'],
    ),
    (
        '["11","4","room:a","refuse",{}]',
        ['["11","4","room:a","phx_reply",{"status":"error","response":{"reason":"no"}}]'],
    ),
    (
        '["11","5","room:a","shout",{"x":1}]',
        [
            b"\x02\x06\x04room:abinb\x42",
            '[null,null,"room:a","shouted",{"x":1}]',
            '["11","5","room:a","phx_reply",{"status":"ok","response":{}}]',
        ],
    ),
    (
        '["10","6","room:a","phx_join",{}]',
        [
            '["10","6","room:a","phx_reply",{"status":"ok","response":{}}]',
            '["11","11","room:a","phx_close",{}]',
        ],
    ),
    (
        '["10","7","room:a","push",{"x":1}]',
        [
            b"\x00\x02\x06\x0410room:abinp\x00\x01",
            '["10",null,"room:a","pushed",{"x":1}]',
            '["10","7","room:a","phx_reply",{"status":"ok","response":{}}]',
        ],
    ),
    (b"\x00\x02\x02\x06\x031030room:abin\x03\x04", [b"\x01\x02\x02\x06\x021030room:aok\x01\x02\x03\x04"]),
    (
        '["10","8","room:a","phx_leave",{}]',
        [
            '["10","8","room:a","phx_reply",{"status":"ok","response":{}}]',
            '["10","10","room:a","phx_close",{}]',
        ],
    ),
    (
        '["12","9","room:a","phx_join",{}]',
        ['["12","9","room:a","phx_reply",{"status":"ok","response":{}}]'],
    ),
    (
        '["12","10","room:a","stop",{}]',
        [
            '["12","10","room:a","phx_reply",{"status":"ok","response":{"bye":true}}]',
            '["12","12","room:a","phx_close",{}]',
            '["12",null,"room:a","parting",{}]',
        ],
    ),
    (
        '["13","11","room:a","phx_join",{}]',
        ['["13","11","room:a","phx_reply",{"status":"ok","response":{}}]'],
    ),
    (
        '["13","12","room:a","never declared",{}]',
        ['["13","13","room:a","phx_error",{"reason":"channel_crash"}]'],
    ),
]

V1: Script = [
    (
        '{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}',
        ['{"topic":"phoenix","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}'],
    ),
    (
        '{"topic":"room:a","event":"echo","payload":{},"ref":"2"}',
        [
            '{"topic":"room:a","event":"phx_reply",'
            '"payload":{"status":"error","response":{"reason":"unmatched topic"}},"ref":"2"}'
        ],
    ),
    (
        '{"topic":"room:a","event":"phx_join","payload":{},"ref":"11"}',
        ['{"topic":"room:a","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"11"}'],
    ),
    (
        '{"topic":"room:a","event":"echo","payload":{"x":1},"ref":12}',
        ['{"topic":"room:a","event":"phx_reply","payload":{"status":"ok","response":{"x":1}},"ref":12}'],
    ),
    (
        '{"topic":"room:a","event":"shout","payload":{"x":1},"ref":null}',
        [
            '{"topic":"room:a","event":"shouted","payload":{"x":1},"ref":null}',
            '{"topic":"room:a","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":null}',
        ],
    ),
    (
        '{"topic":"room:a","event":"phx_join","payload":{},"ref":"13"}',
        [
            '{"topic":"room:a","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"13"}',
            '{"topic":"room:a","event":"phx_close","payload":{},"ref":"11"}',
        ],
    ),
    (
        '{"topic":"room:a","event":"refuse","payload":{},"ref":"14"}',
        ['{"topic":"room:a","event":"phx_reply","payload":{"status":"error","response":{"reason":"no"}},"ref":"14"}'],
    ),
    (
        '{"topic":"room:a","event":"phx_leave","payload":{},"ref":"15"}',
        [
            '{"topic":"room:a","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"15"}',
            '{"topic":"room:a","event":"phx_close","payload":{},"ref":"13"}',
        ],
    ),
    (
        '{"topic":"room:a","event":"phx_join","payload":{},"ref":"16"}',
        ['{"topic":"room:a","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"16"}'],
    ),
    (
        '{"topic":"room:a","event":"never declared","payload":{},"ref":"17"}',
        ['{"topic":"room:a","event":"phx_error","payload":{"reason":"channel_crash"},"ref":"16"}'],
    ),
]


@pytest.mark.parametrize(("version", "script"), [("2.0.0", V2), ("1.0.0", V1)])
async def test_every_frame_is_the_one_that_phoenix_sends(served: Any, version: str, script: Script) -> None:
    async with client_of(served, version) as (client, _):
        await play(client, script)


async def test_the_101st_join_is_refused_and_the_others_stay(served: Any) -> None:
    async with client_of(served) as (client, _):
        for number in range(100):
            joined = f'["{number}","{number}","room:{number}","phx_reply",{{"status":"ok","response":{{}}}}]'
            await play(client, [(f'["{number}","{number}","room:{number}","phx_join",{{}}]', [joined])])
        refused = '["x","y","room:x","phx_reply",{"status":"error","response":{"reason":"too many channels joined"}}]'
        again = ['["z","z","room:7","phx_reply",{"status":"ok","response":{}}]', '["7","7","room:7","phx_close",{}]']
        await play(
            client, [('["x","y","room:x","phx_join",{}]', [refused]), ('["z","z","room:7","phx_join",{}]', again)]
        )


async def test_a_disconnect_of_the_socket_ends_all_its_channels_and_closes_with_1001(served: Any) -> None:
    async with client_of(served) as (client, app):
        for topic in ("room:a", "room:b"):
            await client.send(f'["11","1","{topic}","phx_join",{{}}]')
            await client.recv()
        app.running().live.pubsub.broadcast("users:1", "disconnect", {})
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert {await ended.get(), await ended.get()} == {"room:a shutdown:closed", "room:b shutdown:closed"}


async def test_the_channels_of_a_client_that_goes_end_with_it(served: Any) -> None:
    async with client_of(served) as (client, _):
        await client.send('["11","1","room:a","phx_join",{}]')
        await client.recv()
        await client.close()
        assert await ended.get() == "room:a shutdown:closed"


@pytest.mark.parametrize(
    "said",
    ["{}", "hello", '["1","2","t","e"]', b"", b"\x00\x01", b"\x02\x06\x04room:abinb\x42", b"\x00\x01\x00\x00\x00\xff"],
)
async def test_what_is_no_frame_of_the_protocol_closes_with_1011(served: Any, said: str | bytes) -> None:
    async with client_of(served) as (client, _):
        await client.send(said)
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
