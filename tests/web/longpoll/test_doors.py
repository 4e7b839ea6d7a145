"""Who is let in, what a token is good for, and how sessions end with their nodes."""

from __future__ import annotations

import asyncio
import base64

import pytest

from roost import limits
from roost.web.longpoll.token import Place, derive_key, seal
from tests.cluster.meadow import COOKIE, turns_until
from tests.web.longpoll.polling import NDJSON, Patient, Poller, Room, Rooms, address_of, nodes
from tests.web.wire import http


class Certain(Rooms):
    """For the pages of one host."""

    check_origin = ("https://example.org",)


@pytest.mark.parametrize(
    ("query", "headers", "http_status", "status"),
    [
        ("vsn=2.0.0&refuse=1", {}, 200, 403),
        ("vsn=3.0.0", {}, 200, 403),
        ("vsn=2.0.0&busy=1", {}, 429, 403),
        ("vsn=2.0.0", {"origin": "https://elsewhere.org"}, 200, 403),
        ("vsn=2.0.0", {"origin": "https://example.org"}, 200, 410),
        ("vsn=2.0.0", {}, 200, 410),
        ("", {}, 200, 410),
    ],
)
async def test_who_is_let_in(query: str, headers: dict[str, str], http_status: int, status: int) -> None:
    async with nodes("a", kind=Certain) as [a]:
        response = await http(address_of(a), "GET", f"/socket/longpoll?{query}", headers=headers)
        assert (response.status, response.json["status"]) == (http_status, status)
        assert (response.json["token"] is None) == (status == 403)
        assert a.polls.sessions == (status == 410)
        assert response.headers["access-control-allow-origin"] == "*"


async def test_a_page_that_is_not_welcome_cannot_use_a_token_either() -> None:
    async with nodes("a", kind=Certain) as [a]:
        poller = await Poller(address_of(a)).open()
        poller.headers = {"origin": "https://elsewhere.org"}
        assert (await poller.poll())["status"] == 403
        assert (await poller.post())["status"] == 403


async def test_a_preflight_is_answered_for_welcome_pages_only() -> None:
    async with nodes("a", kind=Certain) as [a]:
        asked = {"access-control-request-headers": "x-phoenix-authtoken, content-type", "origin": "https://example.org"}
        response = await http(address_of(a), "OPTIONS", "/socket/longpoll", headers=asked)
        assert response.status == 200
        assert response.headers["access-control-allow-headers"] == "x-phoenix-authtoken, content-type"
        assert response.headers["access-control-allow-methods"] == "get, post, options"
        assert response.headers["access-control-max-age"] == "3600"
        assert response.headers["access-control-allow-origin"] == "*"
        foreign = {**asked, "origin": "https://elsewhere.org"}
        response = await http(address_of(a), "OPTIONS", "/socket/longpoll", headers=foreign)
        assert response.json["status"] == 403
        assert "access-control-allow-headers" not in response.headers
        long = {**asked, "access-control-request-headers": "x" * (limits.LONGPOLL_ASKED_HEADERS_BYTES_MAX + 1)}
        assert (await http(address_of(a), "OPTIONS", "/socket/longpoll", headers=long)).status == 400


async def test_other_methods_are_refused() -> None:
    async with nodes("a") as [a]:
        for method in ("PUT", "DELETE", "PATCH"):
            assert (await http(address_of(a), method, "/socket/longpoll")).status == 400


async def test_the_token_in_the_header_wins_over_the_one_in_the_query() -> None:
    async with nodes("a") as [a]:
        one, other = await Poller(address_of(a)).open(), await Poller(address_of(a)).open()
        await one.join("room:one")
        other.headers = {"x-phoenix-longpoll-token": str(one.token)}
        answer = await other.poll()
        assert (answer["status"], answer["token"]) == (204, one.token)


async def test_the_token_of_the_application_reaches_connect() -> None:
    async with nodes("a") as [a]:
        poller = Poller(address_of(a))
        poller.headers = {"x-phoenix-authtoken": "secret"}
        await poller.open()
        assert Rooms.tokens[-1] == "secret"


def forged(place: Place, cookie: bytes) -> str:
    return seal(derive_key(cookie), place)


async def test_a_token_that_is_bad_or_old_gets_a_new_session() -> None:
    async with nodes("a") as [a]:
        poller = await Poller(address_of(a)).open()
        [name] = a.polls._seats
        fabric, now_s = a.node.fabric, int(a.node.runtime.clock.wall())
        true = Place(fabric.node, fabric.incarnation, name, now_s)
        old = Place(fabric.node, fabric.incarnation, name, now_s - int(limits.LONGPOLL_TOKEN_S) - 10)
        other_boot = Place(fabric.node, fabric.incarnation + 1, name, now_s)
        elsewhere = Place("z@127.0.0.1", 1, name, now_s)
        token = str(poller.token)
        for bad in (
            "nonsense",
            "..",
            token[:-2],
            token + "A" * limits.LONGPOLL_TOKEN_BYTES_MAX,
            forged(true, b"another cookie"),
            forged(old, COOKIE),
            forged(other_boot, COOKIE),
            forged(elsewhere, COOKIE),
        ):
            asker = Poller(address_of(a))
            asker.headers = {"x-phoenix-longpoll-token": bad}
            assert (await asker.send("GET")).json["status"] == 410
            assert (await asker.post())["status"] == 410
        asker = Poller(address_of(a))
        asker.headers = {"x-phoenix-longpoll-token": forged(true, COOKIE)}
        assert (await asker.send("GET")).json["status"] == 204


async def test_a_session_of_one_mount_is_not_found_under_another() -> None:
    async with nodes("a", "b") as [a, b]:
        poller = await Poller(address_of(a)).open()
        for running in (a, b):
            other = poller.at(address_of(running))
            other.path = "/other/longpoll"
            assert (await other.post())["status"] == 410
            assert (await poller.at(address_of(running)).post())["status"] == 200


async def test_a_client_too_many_is_told_to_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.web.longpoll.service.LONGPOLL_SESSIONS_MAX", 2)
    async with nodes("a") as [a]:
        for _ in range(2):
            await (await Poller(address_of(a)).open()).join("room:1")
        response = await Poller(address_of(a)).send("GET")
        assert response.status == 503
        assert response.json["status"] == 500  # the one that makes the client of Phoenix connect again, later
        assert response.headers["retry-after"] == "1"
        assert a.polls.counts().refused == 1


async def test_sessions_that_nobody_has_come_back_for_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.web.longpoll.service.LONGPOLL_SESSIONS_MAX", 3)
    async with nodes("a", kind=Patient) as [a]:
        used = await Poller(address_of(a)).open()
        await used.join("room:1")
        idle = [await Poller(address_of(a)).open() for _ in range(3)]
        assert a.polls.sessions == 3
        assert [(await one.post())["status"] for one in (used, *idle)] == [200, 410, 200, 200]
        assert (await Poller(address_of(a)).send("GET")).status == 503


async def test_a_poll_that_another_node_relays_ends_when_the_node_of_the_session_stops() -> None:
    Room.ended.clear()
    async with nodes("a", "b", kind=Patient) as [a, b]:
        poller = (await Poller(address_of(a)).open()).at(address_of(b))
        await poller.join("room:1")
        waiting = asyncio.create_task(poller.poll())
        await turns_until(lambda: a.polls.counts().waiting == 1)
        await a.stop()
        answer = await waiting
        assert answer["status"] == 410
        assert answer["token"] != poller.token
        assert len(Room.ended) == 1
        assert (await poller.post())["status"] == 410
        assert b.polls.sessions == 1


async def test_a_session_survives_the_node_that_relays_for_it() -> None:
    async with nodes("a", "b", kind=Patient) as [a, b]:
        poller = await Poller(address_of(a)).open()
        await poller.join("room:1")
        relayed = poller.at(address_of(b))
        waiting = asyncio.create_task(relayed.send("GET"))
        await turns_until(lambda: a.polls.counts().waiting == 1)
        waiting.cancel()
        for link in list(a.node.fabric._links):
            link.hang_up("the cable", abort=True)
        await poller.post(["1", "2", "room:1", "push", {"kept": True}])
        assert (await poller.hear(1))[0][4] == {"kept": True}


async def test_a_node_that_drains_ends_its_sessions_and_begins_none() -> None:
    Room.ended.clear()
    async with nodes("a", kind=Patient) as [a]:
        poller = await Poller(address_of(a)).open()
        await poller.join("room:1")
        waiting = asyncio.create_task(poller.send("GET"))
        await turns_until(lambda: a.polls.counts().waiting == 1)
        a.polls.refuse()
        a.polls.clients()[0].drain()
        response = await waiting
        assert (response.status, response.json["status"]) == (503, 500)
        assert a.polls.sessions == 0
        assert Room.ended == ["room:1 shutdown:drain"]
        assert (await Poller(address_of(a)).send("GET")).status == 503


async def test_a_client_that_does_not_fetch_is_closed_over_its_budget() -> None:
    async with nodes("a", kind=Patient) as [a]:
        poller = await Poller(address_of(a)).open()
        await poller.join("room:1")
        await poller.post(["1", "2", "room:1", "flood", {"frames": 50, "size": 100_000}])
        assert (await poller.poll())["status"] == 410


async def test_much_comes_in_parts() -> None:
    async with nodes("a", "b", kind=Patient) as [a, b]:
        poller = await Poller(address_of(a)).open()
        await poller.join("room:1")
        await poller.post(["1", "2", "room:1", "flood", {"frames": 30, "size": 100_000}])
        poller = poller.at(address_of(b))
        parts: list[int] = []
        while sum(parts) < 31:
            answer = await poller.poll()
            assert answer["status"] == 200
            parts.append(len(answer["messages"]))
        assert parts == [10, 10, 11]


async def test_a_message_that_is_too_large_for_any_answer_closes_the_session() -> None:
    async with nodes("a", kind=Patient) as [a]:
        poller = await Poller(address_of(a)).open()
        await poller.join("room:1")
        size = limits.LONGPOLL_FRAME_BYTES_MAX
        await poller.post(["1", "2", "room:1", "flood", {"frames": 1, "size": size}])
        assert (await poller.poll())["status"] == 410


async def test_a_relayed_post_of_a_megabyte_is_taken() -> None:
    async with nodes("a", "b", kind=Patient) as [a, b]:
        poller = (await Poller(address_of(a)).open()).at(address_of(b))
        await poller.join("room:1")
        name = b"room:1"
        line = base64.b64encode(bytes((0, 1, 1, len(name), 4)) + b"12" + name + b"echo" + bytes(900_000))
        assert (await poller.send("POST", line, NDJSON)).json == {"status": 200}
        [reply] = await poller.hear(1)
        assert base64.b64decode(reply[4]["response"]["base64"]) == bytes(900_000)


class Brief(Rooms):
    """Whose messages are short."""

    frame_bytes_max = 1_000


@pytest.mark.parametrize("is_binary", [False, True])
async def test_a_message_over_the_limit_of_its_socket_ends_the_session(is_binary: bool) -> None:
    async with nodes("a", kind=Brief) as [a]:
        poller = await Poller(address_of(a)).open()
        await poller.join("room:1")
        long = (
            base64.b64encode(b"\0" * 1_001)
            if is_binary
            else b'["1","2","room:1","push",{"fill":"%s"}]' % (b"." * 1_000)
        )
        answer = await poller.post(["1", "2", "room:1", "push", {}], long, ["1", "3", "room:1", "push", {}])
        assert (answer["status"], answer["taken"]) == (413, 1)
        assert "frame 2" in answer["reason"]
        assert (await poller.post())["status"] == 410
