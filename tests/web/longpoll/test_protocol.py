"""The protocol over real HTTP: on the node of the session, and relayed by another node."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from roost.limits import LONGPOLL_BODY_BYTES_MAX, LONGPOLL_LINES_MAX, SOCKET_PENDING_MAX
from roost.web.app import Roost
from roost.web.socket import Socket
from tests.cluster.meadow import turns_until
from tests.web.longpoll.polling import NDJSON, Patient, Poller, Room, Rooms, address_of, nodes
from tests.web.wire import served_by_uvicorn

WHERE = ("here", "relayed")
everywhere = pytest.mark.parametrize("where", WHERE)


@asynccontextmanager
async def client(where: str, kind: type[Socket] = Rooms, query: str = "vsn=2.0.0") -> AsyncIterator[Poller]:
    """A client whose session is on the node that it asks, or on another one."""
    names = "a" if where == "here" else "ab"
    async with nodes(*names, kind=kind) as running:
        poller = await Poller(address_of(running[0]), query).open()
        yield poller.at(address_of(running[-1]))
        assert running[-1].polls.counts().relayed >= running[0].polls.counts().served
        assert (running[-1].polls.counts().relayed > 0) == (where == "relayed")


def binary_push(join_ref: str, ref: str, topic: str, event: str, data: bytes) -> bytes:
    """A line with a binary frame of a client."""
    names = [join_ref.encode(), ref.encode(), topic.encode(), event.encode()]
    return base64.b64encode(b"".join((bytes((0, *map(len, names))), *names, data)))


async def test_a_client_without_a_token_gets_a_session_and_is_told_so_by_410() -> None:
    async with nodes("a") as [a]:
        response = await Poller(address_of(a)).send("GET")
        assert response.status == 200
        assert response.json["status"] == 410
        assert response.json["messages"] == []
        assert response.headers["content-type"] == "application/json; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["access-control-allow-origin"] == "*"
        assert a.polls.sessions == 1


@everywhere
async def test_a_broadcast_a_push_and_a_reply_come_in_their_order(where: str) -> None:
    async with client(where) as poller:
        await poller.join("room:1")
        assert await poller.post(["1", "2", "room:1", "all", {"x": 1}]) == {"status": 200}
        assert await poller.hear(3) == [
            [None, None, "room:1", "shouted", {}],
            ["1", None, "room:1", "pushed", {}],
            ["1", "2", "room:1", "phx_reply", {"status": "ok", "response": {"x": 1}}],
        ]


@everywhere
async def test_a_poll_that_hears_nothing_ends_with_204(where: str) -> None:
    async with client(where) as poller:
        assert await poller.poll() == {"status": 204, "token": poller.token, "messages": []}


@everywhere
async def test_a_poll_that_waits_is_answered_as_soon_as_something_is_said(where: str) -> None:
    async with client(where, Patient) as poller:
        await poller.join("room:1")
        waiting = asyncio.create_task(poller.poll())
        assert await poller.post(["1", "2", "room:1", "shout", {"x": 1}]) == {"status": 200}
        heard: list[Any] = []
        while len(heard) < 2:
            answer = await waiting
            heard += [msgspec.json.decode(message)[3] for message in answer["messages"]]
            if len(heard) < 2:
                waiting = asyncio.create_task(poller.poll())
        assert heard == ["shouted", "phx_reply"]


@everywhere
async def test_what_others_broadcast_reaches_a_poll(where: str) -> None:
    async with client(where) as poller:
        await poller.join("room:1")
        other = await Poller(poller.address).open()
        await other.join("room:1")
        await other.post([None, "2", "room:1", "shout", {"from": "other"}])
        assert await poller.hear(1) == [[None, None, "room:1", "shouted", {"from": "other"}]]


@everywhere
async def test_a_topic_that_is_not_joined_and_references_that_are_null_or_stale(where: str) -> None:
    async with client(where) as poller:
        await poller.join("room:1", ref="11")
        await poller.post(
            [None, "2", "room:2", "echo", {}],
            [None, "3", "room:1", "echo", {"n": 3}],
            ["10", "4", "room:1", "echo", {"stale": True}],
            ["11", "5", "room:1", "echo", {"n": 5}],
        )
        assert await poller.hear(3) == [
            [None, "2", "room:2", "phx_reply", {"status": "error", "response": {"reason": "unmatched topic"}}],
            ["11", "3", "room:1", "phx_reply", {"status": "ok", "response": {"n": 3}}],
            ["11", "5", "room:1", "phx_reply", {"status": "ok", "response": {"n": 5}}],
        ]


@everywhere
async def test_a_second_poll_takes_the_place_of_the_first(where: str) -> None:
    async with client(where, Patient) as poller:
        await poller.join("room:1")
        first = asyncio.create_task(poller.poll())
        second = asyncio.create_task(poller.poll())
        done, _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        [home] = done
        assert home.result()["status"] == 204
        await poller.post(["1", "2", "room:1", "push", {}])
        [left] = {first, second} - done
        assert msgspec.json.decode((await left)["messages"][0])[3] == "pushed"


@everywhere
async def test_what_comes_after_a_client_hung_up_waits_for_its_next_poll(where: str) -> None:
    names = "a" if where == "here" else "ab"
    async with nodes(*names, kind=Patient) as running:
        session, front = running[0], running[-1]
        poller = (await Poller(address_of(session)).open()).at(address_of(front))
        await poller.join("room:1")
        reader, writer = await asyncio.open_connection(*address_of(front))
        writer.write(f"GET {poller.path}?{poller.query}&token={poller.token} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        await turns_until(lambda: session.polls.counts().waiting == 1)
        window = session.polls.clients()[0]._window
        assert window is not None
        window.cancel()  # it is the hanging up that ends this poll
        writer.close()
        await turns_until(lambda: session.polls.counts().waiting == 0)
        await poller.post(["1", "2", "room:1", "push", {"kept": True}])
        assert (await poller.hear(1))[0][4] == {"kept": True}
        assert not await reader.read()


@everywhere
async def test_a_binary_frame_among_the_lines_is_taken_in_its_turn(where: str) -> None:
    async with client(where, query="vsn=2.0.0&binary=base64") as poller:
        await poller.join("room:1")
        lines = [
            msgspec.json.encode(["1", "2", "room:1", "echo", {"n": 2}]),
            binary_push("1", "3", "room:1", "echo", b"\x00\xff\xfe"),
            msgspec.json.encode(["1", "4", "room:1", "echo", {"n": 4}]),
        ]
        answer = (await poller.send("POST", b"\r\n".join(lines) + b"\n", NDJSON)).json
        assert answer == {"status": 200}
        messages: list[str] = []
        while len(messages) < 3:
            messages += (await poller.poll())["messages"]
        assert base64.b64decode(messages[1]) == b"\x01\x01\x01\x06\x0213room:1ok\x00\xff\xfe"
        assert [msgspec.json.decode(messages[at])[1] for at in (0, 2)] == ["2", "4"]


@everywhere
async def test_bytes_of_the_server_are_spelled_out_for_a_client_that_cannot_read_them(where: str) -> None:
    async with client(where) as poller:
        await poller.join("room:1")
        assert await poller.post(
            binary_push("1", "2", "room:1", "echo", b"\xff\x00"),
            ["1", "3", "room:1", "bytes", {"as": "push", "data": [255, 254]}],
            ["1", "4", "room:1", "bytes", {"as": "broadcast", "data": [1]}],
        ) == {"status": 200}
        assert await poller.hear(5) == [
            ["1", "2", "room:1", "phx_reply", {"status": "ok", "response": {"base64": "/wA="}}],
            ["1", None, "room:1", "raw", {"base64": "//4="}],
            ["1", "3", "room:1", "phx_reply", {"status": "ok", "response": {}}],
            [None, None, "room:1", "raw", {"base64": "AQ=="}],
            ["1", "4", "room:1", "phx_reply", {"status": "ok", "response": {}}],
        ]


async def test_a_body_of_another_type_is_one_text_frame() -> None:
    async with client("here") as poller:
        join = msgspec.json.encode(["1", "1", "room:1", "phx_join", {"text": "\u2028"}])
        response = await poller.send("POST", join, {"content-type": "text/plain"})
        assert response.json == {"status": 200}
        assert (await poller.hear(1))[0][4]["status"] == "ok"


@everywhere
async def test_a_post_of_too_many_lines_is_refused_and_nothing_of_it_is_taken(where: str) -> None:
    async with client(where) as poller:
        await poller.join("room:1")
        frame = ["1", "2", "room:1", "push", {}]
        answer = await poller.post(*[frame] * (LONGPOLL_LINES_MAX + 1))
        assert answer["status"] == 413
        assert answer["taken"] == 0
        assert "LONGPOLL_LINES_MAX" in answer["reason"]
        assert (await poller.poll())["status"] == 204
        assert (await poller.post(*[frame] * LONGPOLL_LINES_MAX))["status"] == 200
        assert len(await poller.hear(2 * LONGPOLL_LINES_MAX)) == 2 * LONGPOLL_LINES_MAX


async def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    async with client("here") as poller:
        reader, writer = await asyncio.open_connection(*poller.address)
        head = f"POST {poller.path}?token={poller.token} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        writer.write(f"{head}content-length: {LONGPOLL_BODY_BYTES_MAX + 1}\r\n\r\n".encode())
        answer = msgspec.json.decode((await reader.read()).partition(b"\r\n\r\n")[2])
        writer.close()
        assert answer["status"] == 413
        assert (await poller.poll())["status"] == 204


async def test_a_body_that_grows_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.web.longpoll.endpoint.LONGPOLL_BODY_BYTES_MAX", 1_000)
    async with client("here") as poller:
        reader, writer = await asyncio.open_connection(*poller.address)
        head = f"POST {poller.path}?token={poller.token} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        chunk = f"{600:x}\r\n{'a' * 600}\r\n"
        writer.write(f"{head}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n".encode())
        answer = msgspec.json.decode((await reader.read()).partition(b"\r\n\r\n")[2])
        writer.close()
        assert answer["status"] == 413


@everywhere
async def test_a_line_that_is_neither_json_nor_base64_is_named_and_nothing_of_its_post_is_taken(where: str) -> None:
    async with client(where) as poller:
        await poller.join("room:1")
        answer = await poller.post(["1", "2", "room:1", "push", {}], b"?!")
        assert answer["status"] == 400
        assert answer["taken"] == 0
        assert "line 2:" in answer["reason"]
        assert (await poller.poll())["status"] == 204


@everywhere
async def test_a_frame_that_is_none_ends_the_session_as_it_closes_a_websocket(where: str) -> None:
    async with client(where) as poller:
        await poller.join("room:1")
        answer = await poller.post(["1", "2", "room:1", "push", {}], ["too", "short"], ["1", "3", "room:1", "push", {}])
        assert answer["status"] == 400
        assert answer["taken"] == 1
        assert "frame 2" in answer["reason"]
        while (again := await poller.poll())["status"] == 200:
            pass
        assert again["status"] == 410
        assert again["token"] != poller.token
        assert (await poller.post())["status"] == 410


@everywhere
async def test_a_client_that_is_silent_loses_its_session(where: str) -> None:
    Room.ended.clear()
    async with client(where) as poller:
        await poller.join("room:silent")
        await turns_until(lambda: bool(Room.ended))
        assert Room.ended == ["room:silent shutdown:closed"]
        assert (await poller.post())["status"] == 410
        assert (await poller.poll())["status"] == 410


@everywhere
async def test_a_disconnect_ends_the_sessions_of_a_client(where: str) -> None:
    Room.ended.clear()
    async with nodes(*("a" if where == "here" else "ab"), kind=Patient) as running:
        poller = await Poller(address_of(running[0]), "vsn=2.0.0&name=ada").open()
        poller = poller.at(address_of(running[-1]))
        await poller.join("room:gone")
        waiting = asyncio.create_task(poller.poll())
        await turns_until(lambda: running[0].polls.counts().waiting == 1)
        running[-1].live.pubsub.broadcast("user:ada", "disconnect", {})
        assert (await waiting)["status"] == 410
        assert Room.ended == ["room:gone shutdown:closed"]


@everywhere
async def test_a_post_that_its_channels_are_too_busy_for_ends_with_408_and_the_rest_can_be_sent_again(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Room, "gate", asyncio.Event())
    async with client(where) as poller:
        await poller.join("room:1")
        lines = [["1", str(number), "room:1", "hold", {}] for number in range(LONGPOLL_LINES_MAX)]
        taken = []
        while (answer := await poller.post(*lines))["status"] == 200:
            taken.append(len(lines))
        assert answer["status"] == 408
        assert sum(taken) + answer["taken"] == SOCKET_PENDING_MAX
        Room.gate.set()
        assert (await poller.post(*lines[answer["taken"] :]))["status"] == 200
        count = sum(taken) + len(lines)
        assert len(await poller.hear(count)) == count


async def test_a_relay_that_is_not_taken_is_told_so_that_the_client_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with client("relayed", Patient) as poller:
        await poller.join("room:1")
        with monkeypatch.context() as patch:
            patch.setattr("roost.limits.LINK_REQUESTS_MAX", 0)
            response = await poller.send("GET")
            assert (response.status, response.json["status"]) == (503, 500)
            response = await poller.send("POST", b"[]", NDJSON)
            assert (response.status, response.json["status"]) == (503, 503)
        await poller.post(["1", "2", "room:1", "push", {}])
        assert (await poller.hear(1))[0][3] == "pushed"


async def test_a_relay_that_is_not_answered_in_time_is_the_end_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.web.longpoll.service.LONGPOLL_RELAY_S", 0.1 - Patient.longpoll_window_s)
    async with client("relayed", Patient) as poller:
        answer = await poller.poll()
        assert answer["status"] == 410
        assert answer["token"] != poller.token


@everywhere
async def test_version_1_of_the_protocol_is_polled_too(where: str) -> None:
    async with client(where, query="vsn=1.0.0") as poller:
        join = {"topic": "room:1", "event": "phx_join", "payload": {}, "ref": "1"}
        shout = {"topic": "room:1", "event": "shout", "payload": {"x": 1}, "ref": "2"}
        assert await poller.post(join, shout) == {"status": 200}
        ok = {"status": "ok", "response": {}}
        assert await poller.hear(3) == [
            {"topic": "room:1", "event": "phx_reply", "payload": ok, "ref": "1"},
            {"topic": "room:1", "event": "shouted", "payload": {"x": 1}, "ref": None},
            {"topic": "room:1", "event": "phx_reply", "payload": ok, "ref": "2"},
        ]


async def test_polls_are_served_under_another_server() -> None:
    inner = Roost("inner", sockets={"/socket": Patient})
    async with served_by_uvicorn(inner) as address:
        poller = await Poller(address).open()
        await poller.join("room:1")
        polls = inner.running().polls
        _, writer = await asyncio.open_connection(*address)
        writer.write(f"GET {poller.path}?{poller.query}&token={poller.token} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        await turns_until(lambda: polls.counts().waiting == 1)
        window = polls.clients()[0]._window
        assert window is not None
        window.cancel()  # it is the hanging up that ends this poll
        writer.close()
        await turns_until(lambda: polls.counts().waiting == 0)
        await poller.post(["1", "2", "room:1", "echo", {"n": 1}])
        assert (await poller.hear(1))[0][4] == {"status": "ok", "response": {"n": 1}}
