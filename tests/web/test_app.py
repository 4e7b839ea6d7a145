"""An application: its life on a node of its own, under another server, and inside another application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from roost.cluster.vnode import Sender, Vnode
from roost.config import Address, Config
from roost.data.bucket import Found
from roost.errors import ConfigError, StartFailed
from roost.live.channel import Channel, Payload, event
from roost.live.topic_counts import TopicCounts
from roost.otp import GenServer, call
from roost.runtime import Runtime
from roost.web.app import Roost
from roost.web.lifespan import LifespanFailed
from roost.web.socket import Socket
from tests.web.wire import Phoenix, http, served_by_uvicorn


class Counter(GenServer):
    """Counts."""

    def init(self) -> None:
        self.n = 0

    @call
    def increment(self) -> int:
        self.n += 1
        return self.n


class Broken(GenServer):
    """Never starts."""

    def init(self) -> None:
        raise ValueError("no")


class Where(msgspec.Struct, frozen=True):
    """Which partition is this?"""


class Here(msgspec.Struct, frozen=True):
    """This one."""

    partition: int


class WhereVnode(Vnode[Where, Here]):
    """Says where it is."""

    def handle_command(self, command: Where, sender: Sender) -> Here:
        return Here(self.partition)


class Desk(Channel, topic="desk"):
    """Reaches children and buckets from sync and async handlers."""

    @event("count")
    async def count(self, payload: Payload) -> Payload:
        return {"n": await Counter.whereis("hits").increment()}

    @event("find")
    def find(self, payload: Payload) -> Payload:
        return {"alive": Counter.whereis("hits").is_alive(), "where": [list(each) for each in store.where("k")]}

    @event("keep")
    async def keep(self, payload: Payload) -> Payload:
        await store.put("k", payload)
        found = await store.get("k")
        assert found is not None
        return {"found": found.value}


class Desks(Socket):
    """Everybody may come in."""

    channels = (Desk,)


class Web:
    """An ASGI application with a lifespan."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.log: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            if self.fails:
                await send({"type": "lifespan.startup.failed", "message": "no database"})
                return
            self.log.append(f"up {await Counter.whereis('hits').increment()}")
            scope["state"]["greeting"] = "hello"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.log.append("down")
            await send({"type": "lifespan.shutdown.complete"})
            return
        n = await Counter.whereis("hits").increment()
        body = f"{scope['state'].get('greeting')} {n}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


app = Roost("desk", children=[Counter.child(name="hits")], sockets={"/socket": Desks})
store = app.kv("store")
where = app.ring(WhereVnode)


@asynccontextmanager
async def booted(app: Roost) -> AsyncIterator[Address]:
    running = await app.boot(Config(web=Address("127.0.0.1", 0)), Runtime.real())
    assert running.address is not None
    try:
        yield running.address
    finally:
        await running.stop()


class AsgiServer:
    """The lifespan of an application, driven by hand, as any ASGI server does."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.to_app: asyncio.Queue[Any] = asyncio.Queue()
        self.from_app: asyncio.Queue[Any] = asyncio.Queue()
        self.state: dict[str, Any] = {}

    async def start(self) -> Any:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}
        self.task = asyncio.create_task(self.app(scope, self.to_app.get, self.from_app.put))
        self.to_app.put_nowait({"type": "lifespan.startup"})
        return await self.from_app.get()

    async def stop(self) -> Any:
        self.to_app.put_nowait({"type": "lifespan.shutdown"})
        answer = await self.from_app.get()
        await self.task
        return answer


async def test_handlers_reach_children_and_buckets() -> None:
    async with booted(app) as address:
        client = await Phoenix.open(address)
        await client.ask("1", "1", "desk", "phx_join", {})
        assert (await client.ask("1", "2", "desk", "count", {}))["response"] == {"n": 1}
        assert (await client.ask("1", "3", "desk", "keep", {"x": 1}))["response"] == {"found": {"x": 1}}
        found = (await client.ask("1", "4", "desk", "find", {}))["response"]
        assert found["alive"] is True
        assert len(found["where"]) == 1
        await client.close()


async def test_what_topics_are_at_is_counted() -> None:
    async with booted(app) as address:
        running = app.running()
        assert running.topic_counts() == TopicCounts()
        client = await Phoenix.open(address)
        await client.ask("1", "1", "desk", "phx_join", {})
        live = running.live
        live.presence.track("desk", "nobody", {})
        live.pubsub.lost, live.pubsub.bad, live.pubsub.unwanted = 1, 2, 3
        live.mail.missed.update(refused=4, bad=5, unknown=6, failed=7)
        live.unfit.count = 8
        assert running.topic_counts() == TopicCounts(1, 1, 1, 1, 4, 6, 7, bad=7, unfit=8, unwanted=3)
        await client.close()


async def test_an_application_can_be_started_again() -> None:
    for _ in range(2):
        async with booted(app):
            assert app.running().connections == 0
    with pytest.raises(RuntimeError):
        app.running()


async def test_a_ring_of_vnodes_of_its_own() -> None:
    async with booted(app):
        running = app.running()
        with running.node.entered():
            here = await where.command("k", Where())
            assert here == Here(running.rings["WhereVnode"].partition("k"))
            assert await where.read("k", Where(), n=1, r=1) == [here]


async def test_an_update_starts_from_what_there_is() -> None:
    async with booted(app):
        await store.update("n", lambda old: (old or 0) + 1)  # type: ignore[operator]  # numbers only
        await store.update("n", lambda old: (old or 0) + 1)  # type: ignore[operator]  # numbers only
        found = await store.get("n")
        assert found is not None
        assert found.value == 2
        await store.delete("n")
        assert await store.get("n") is None


def union(values: tuple[object, ...]) -> object:
    return sorted({item for value in values for item in value})  # type: ignore[attr-defined]  # lists only


async def test_what_is_written_between_the_read_and_the_write_of_an_update_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    merging = Roost("merging")
    bags = merging.kv("bags", merge=union)
    async with booted(merging):
        bucket = merging.running().buckets["bags"]
        get = bucket.get

        async def get_slowly(key: str, **options: Any) -> Found | None:
            found = await get(key, **options)
            await asyncio.sleep(0)  # all of them read before the first one writes
            return found

        monkeypatch.setattr(bucket, "get", get_slowly)

        def adding(number: int) -> Callable[[object], object]:
            return lambda old: union((old or [], [number]))

        for start in (0, 10):
            await asyncio.gather(*(bags.update("k", adding(number)) for number in range(start, start + 10)))
        found = await bags.get("k")
        assert found is not None
        assert found.value == list(range(20))


async def test_the_web_application_starts_after_the_children_and_stops_before_them() -> None:
    web = Web()
    served = Roost("web", children=[Counter.child(name="hits")], web=web)
    async with booted(served) as address:
        assert web.log == ["up 1"]
        assert (await http(address, "GET", "/")).body == b"hello 2"
        assert web.log == ["up 1"]
    assert web.log == ["up 1", "down"]


async def test_a_web_application_that_cannot_start_stops_the_node() -> None:
    served = Roost("web", children=[Counter.child(name="hits")], web=Web(fails=True))
    with pytest.raises(LifespanFailed, match="no database"):
        await served.boot(Config(web=Address("127.0.0.1", 0)), Runtime.real())
    with pytest.raises(RuntimeError):
        served.running()


async def test_a_child_that_cannot_start_stops_the_node(caplog: pytest.LogCaptureFixture) -> None:
    broken = Roost("broken", children=[Broken.child()])
    with pytest.raises(StartFailed):
        await broken.boot(Config(), Runtime.real())
    with pytest.raises(RuntimeError):
        broken.running()


async def test_without_a_web_application_there_is_nothing_else() -> None:
    async with booted(app) as address:
        response = await http(address, "GET", "/")
        assert (response.status, response.json["error"]) == (404, "not_found")


async def test_the_lifespan_of_a_server_starts_and_stops_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROOST_NAME", raising=False)
    web = Web()
    served = Roost("web", children=[Counter.child(name="hits")], web=web)
    server = AsgiServer(served)
    assert (await server.start())["type"] == "lifespan.startup.complete"
    assert server.state == {"greeting": "hello"}
    assert served.running().node.name == "roost@127.0.0.1"
    assert (await server.stop())["type"] == "lifespan.shutdown.complete"
    assert web.log == ["up 1", "down"]
    with pytest.raises(RuntimeError):
        served.running()


async def test_the_lifespan_works_without_one_below() -> None:
    async def web(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError(scope["type"])

    for below in (None, web):
        server = AsgiServer(Roost("plain", web=below))
        assert (await server.start())["type"] == "lifespan.startup.complete"
        assert (await server.stop())["type"] == "lifespan.shutdown.complete"


@pytest.mark.parametrize("problem", ["web", "child", "config"])
async def test_a_lifespan_that_fails_says_so(
    problem: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if problem == "config":
        monkeypatch.setenv("ROOST_NAME", "not a name")
    children = [Counter.child(name="hits"), *([Broken.child()] if problem == "child" else [])]
    server = AsgiServer(Roost("web", children=children, web=Web(fails=problem == "web")))
    answer = await server.start()
    assert answer["type"] == "lifespan.startup.failed"
    assert answer["message"]
    await server.task


async def test_it_mounts_into_an_existing_application() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(outer: Starlette) -> AsyncIterator[dict[str, str]]:
        log.append(f"up {await Counter.whereis('hits').increment()}")
        yield {"greeting": "hello"}
        log.append("down")

    async def hits(request: Request) -> JSONResponse:
        return JSONResponse([request.state.greeting, await Counter.whereis("hits").increment()])

    existing = Starlette(routes=[Route("/hits", hits)], lifespan=lifespan)
    mounted = Roost("mounted", children=[Counter.child(name="hits")], sockets={"/socket": Desks})
    mounted.mount(existing)
    async with served_by_uvicorn(existing) as address:
        assert log == ["up 1"]
        client = await Phoenix.open(address)
        await client.ask("1", "1", "desk", "phx_join", {})
        assert (await client.ask("1", "2", "desk", "count", {}))["response"] == {"n": 2}
        assert (await http(address, "GET", "/hits")).json == ["hello", 3]
        await client.close()
    assert log == ["up 1", "down"]


@pytest.mark.parametrize("path", ["socket", "/socket/", ""])
def test_a_socket_needs_a_clean_path(path: str) -> None:
    with pytest.raises(ConfigError):
        Roost("x", sockets={path: Desks})


def test_names_are_declared_once() -> None:
    twice = Roost("x")
    twice.kv("a")
    twice.ring(WhereVnode)
    with pytest.raises(ConfigError):
        twice.kv("a")
    with pytest.raises(ConfigError):
        twice.ring(WhereVnode)
