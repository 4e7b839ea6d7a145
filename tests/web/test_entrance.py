"""At the door, over real connections: served by the node itself, and by plain uvicorn."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, ClassVar

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from roost import token
from roost.config import Address, Config
from roost.limits import SOCKET_FRAME_BYTES_MAX
from roost.live.channel import Channel, Payload
from roost.runtime import Runtime
from roost.web.app import Roost, RunningApp
from roost.web.client_files import FOLDER, client_files
from roost.web.connect_info import ConnectInfo
from roost.web.origin import CheckOrigin
from roost.web.socket import ConnectRefused, Socket
from tests.cluster.meadow import configs, turns_until
from tests.web.stage import HandClock
from tests.web.wire import Phoenix, http, served_by_uvicorn

SECRET = "s" * 64


class Room(Channel, topic="room:*"):
    """Says what the socket knows, and writes down its end."""

    ended: ClassVar[list[str]] = []

    async def join(self, topic: str, params: Payload, socket: Socket) -> Payload:
        return dict(socket.assigns)

    def terminate(self, reason: object) -> None:
        self.ended.append(f"{self.topic} {reason}")


class Users(Socket):
    """Lets in who has a token, or says who they are."""

    channels = (Room,)
    subprotocols = ("mine",)
    check_origin: ClassVar[CheckOrigin] = ("//*.example.org",)
    frame_bytes_max = 1000

    def connect(self, params: Any, info: ConnectInfo) -> None:
        if "status" in params:
            raise ConnectRefused(int(params["status"]), "slow down", retry_after_s=2.5)
        if "crash" in params:
            raise ZeroDivisionError
        name = params.get("name") or token.verify(SECRET, "user", info.auth_token)
        self.assigns = {"name": name, "tenant": params.get("tenant"), "session": info.session}

    def id(self) -> str:
        return f"user:{self.assigns['name']}"


class Sessions(Users):
    """Pages of everybody, when they know the session's token."""

    check_origin = False


class Waiting(Socket):
    """Waits until the test lets everybody in."""

    may_go: ClassVar[asyncio.Event]

    async def connect(self, params: Any, info: ConnectInfo) -> None:
        await self.may_go.wait()


HANDSHAKE = {"sec-websocket-key": base64.b64encode(b"k" * 16).decode(), "sec-websocket-version": "13"}


def make_app() -> Roost:
    return Roost("entrance", sockets={"/socket": Users, "/t/{tenant}/socket": Users, "/session": Sessions})


@asynccontextmanager
async def served_by_the_node() -> AsyncIterator[tuple[Roost, Address]]:
    app = make_app()
    running = await app.boot(Config(web=Address("127.0.0.1", 0)), Runtime.real())
    assert running.address is not None
    try:
        yield app, running.address
    finally:
        await running.stop()


@asynccontextmanager
async def served_by_plain_uvicorn() -> AsyncIterator[tuple[Roost, Address]]:
    app = make_app()
    async with served_by_uvicorn(app) as address:
        yield app, address


class CookieSession:
    """What a session middleware does: the session that a cookie names is in the scope."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if (b"cookie", b"id=7") in scope.get("headers", ()):
            scope["session"] = {"user": 7, "_csrf_token": "abc"}
        await self.app(scope, receive, send)


@asynccontextmanager
async def mounted() -> AsyncIterator[tuple[Roost, Address]]:
    app = make_app()
    outer = Starlette()
    outer.add_middleware(CookieSession)
    app.mount(outer)
    async with served_by_uvicorn(outer) as address:
        yield app, address


SERVERS = pytest.mark.parametrize("served", [served_by_the_node, served_by_plain_uvicorn, mounted])


async def closed_with(socket: ClientConnection) -> int:
    """The close code that comes after everything else."""
    await socket.wait_closed()
    assert socket.close_code is not None
    return socket.close_code


# HTTP statuses


@SERVERS
@pytest.mark.parametrize(
    ("query", "options", "status", "message"),
    [
        ("vsn=2.0.0&status=429", {}, 429, "slow down"),
        ("vsn=2.0.0&status=451", {}, 451, "slow down"),
        ("vsn=2.0.0", {}, 403, "there is no token"),
        ("vsn=2.0.0&crash=1", {}, 500, "this is a bug; the log of the node says more"),
        ("vsn=2.0.0&name=a", {"origin": "https://evil.org"}, 403, "pages of https://evil.org may not connect here"),
        ("vsn=2.0.0&name=a", {"subprotocols": ["yours"]}, 403, "none of the subprotocols is spoken here"),
    ],
)
async def test_who_is_kept_out_gets_a_status_and_a_reason(
    served: Any, query: str, options: Any, status: int, message: str
) -> None:
    async with served() as (app, address):
        with pytest.raises(InvalidStatus) as refused:
            await Phoenix.open(address, query, **options)
        response = refused.value.response
        assert response.status_code == status
        assert response.headers["content-type"] == "application/json"
        assert msgspec.json.decode(response.body or b"") == {"error": "connect_refused", "message": message}
        assert app.running().connections == 0


@SERVERS
async def test_a_request_without_an_upgrade_is_told_so(served: Any) -> None:
    async with served() as (_, address):
        plain = await http(address, "GET", "/socket/websocket?vsn=2.0.0&name=a")
        assert (plain.status, plain.json["error"]) == (426, "upgrade_required")
        assert plain.headers["upgrade"] == "websocket"
        for method in ("POST", "PUT", "HEAD", "OPTIONS"):
            assert (await http(address, method, "/socket/websocket")).status == 400


async def test_a_server_without_the_extension_gets_a_plain_403() -> None:
    app = make_app()

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            scope["extensions"] = {}
        await app(scope, receive, send)

    async with served_by_uvicorn(bare) as address:
        with pytest.raises(InvalidStatus) as refused:
            await Phoenix.open(address, "vsn=2.0.0&status=429")
        assert refused.value.response.status_code == 403


@SERVERS
@pytest.mark.parametrize("transport", ["websocket", "longpoll"])
async def test_who_may_come_back_is_told_when(served: Any, transport: str) -> None:
    async with served() as (_, address):
        headers = {"upgrade": "websocket", "connection": "upgrade", **HANDSHAKE} if transport == "websocket" else {}
        refused = await http(address, "GET", f"/socket/{transport}?vsn=2.0.0&status=503", headers=headers)
        assert (refused.status, refused.headers["retry-after"]) == (503, "3")


async def test_keeping_somebody_out_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with served_by_the_node() as (_, address):
        with pytest.raises(InvalidStatus):
            await Phoenix.open(address, "vsn=2.0.0&status=429")
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    "junk",
    [b"\xff" * 50, b"\xff" * 100_000, b"\x89\x80\0\0\0\0" * 200, b"\x81\x81\0\0\0\0\xff", b"\x81\x81\0\0\0\0a"],
)
async def test_a_client_that_does_not_wait_to_be_let_in_is_cut_off(
    junk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    Waiting.may_go = asyncio.Event()
    app = Roost("entrance", sockets={"/socket": Waiting})
    running = await app.boot(Config(web=Address("127.0.0.1", 0)), Runtime.real())
    assert running.address is not None
    reader, writer = await asyncio.open_connection(running.address.host, running.address.port)
    fields = {"host": "a", "upgrade": "websocket", "connection": "upgrade", **HANDSHAKE}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\n{head}\r\n".encode())
    await turns_until(lambda: running.live.connects.under_way == 1)
    writer.write(junk)
    with suppress(ConnectionError):
        async with asyncio.timeout(10):
            await reader.read()
            while await reader.read(65_536):
                pass
    writer.close()
    Waiting.may_go.set()
    await turns_until(lambda: running.live.connects.under_way == 0)
    await turns_until(lambda: running.connections == 0)
    assert "Traceback" not in caplog.text
    await running.stop()


# Who comes in


@SERVERS
async def test_a_token_among_the_subprotocols_opens_the_door(served: Any) -> None:
    async with served() as (app, address):
        with app.running().node.entered():
            signed = token.sign(SECRET, "user", "ada")
        bearer = base64.b64encode(signed.encode()).decode().rstrip("=")
        protocols = [Subprotocol("phoenix"), Subprotocol(f"base64url.bearer.phx.{bearer}")]
        client = await Phoenix.open(address, subprotocols=protocols)
        assert client.socket.subprotocol == "phoenix"
        assert (await client.ask("1", "1", "room:a", "phx_join", {}))["response"]["name"] == "ada"
        await client.close()


@SERVERS
async def test_a_subprotocol_of_the_class_is_spoken(served: Any) -> None:
    async with served() as (_, address):
        protocols = [Subprotocol("yours"), Subprotocol("mine")]
        client = await Phoenix.open(address, "name=a&vsn=2.0.0", subprotocols=protocols)
        assert client.socket.subprotocol == "mine"
        await client.close()


@SERVERS
async def test_pages_below_a_wildcard_are_let_in(served: Any) -> None:
    async with served() as (_, address):
        client = await Phoenix.open(address, "name=a&vsn=2.0.0", origin="https://www.example.org")
        await client.close()


@SERVERS
async def test_a_variable_in_the_path_is_a_parameter(served: Any) -> None:
    async with served() as (_, address):
        async with connect(f"ws://{address}/t/acme%20co/socket/websocket?vsn=2.0.0&name=a&tenant=evil") as socket:
            client = Phoenix(socket)
            assert (await client.ask("1", "1", "room:a", "phx_join", {}))["response"]["tenant"] == "acme co"
        for path in ("/t//socket/websocket", "/t/a/b/socket/websocket", "/t/socket/websocket"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://{address}{path}?vsn=2.0.0&name=a")
            assert refused.value.response.status_code in (403, 404)


@pytest.mark.parametrize(
    ("cookie", "query", "session"),
    [
        ("id=7", "&_csrf_token=abc", {"user": 7, "_csrf_token": "abc"}),
        ("id=7", "&_csrf_token=abd", None),
        ("id=7", "", None),
        ("id=8", "&_csrf_token=abc", None),
    ],
)
async def test_a_session_is_shown_to_who_has_its_cookie_and_its_token(cookie: str, query: str, session: object) -> None:
    async with mounted() as (_, address):
        url = f"ws://{address}/session/websocket?vsn=2.0.0&name=a{query}"
        async with connect(url, additional_headers={"cookie": cookie}, origin="https://foreign.org") as socket:  # type: ignore[arg-type]  # an Origin is a str
            joined = await Phoenix(socket).ask("1", "1", "room:a", "phx_join", {})
            assert joined["response"]["session"] == session


async def test_an_application_within_an_application_is_found_below_its_prefix() -> None:
    app = make_app()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with app.lifespan():
            yield

    outer = Starlette(routes=[Mount("/outer", app=app)], lifespan=lifespan)
    async with served_by_uvicorn(outer) as address:
        async with connect(f"ws://{address}/outer/socket/websocket?vsn=2.0.0&name=a") as socket:
            assert (await Phoenix(socket).ask("1", "1", "room:a", "phx_join", {}))["status"] == "ok"
        assert (await http(address, "GET", "/outer/roost/roost.js")).status == 200


# What is too much


@SERVERS
@pytest.mark.parametrize("message", ["x" * 1001, b"x" * 1001, "é" * 501, "x" * (SOCKET_FRAME_BYTES_MAX + 1)])
async def test_a_message_over_the_bound_of_the_class_closes_with_1009(served: Any, message: Any) -> None:
    async with served() as (_, address):
        client = await Phoenix.open(address, "name=a&vsn=2.0.0")
        frame = msgspec.json.encode([None, "1", "phoenix", "heartbeat", {"x": ""}]).decode()
        fits = frame.replace('""', '"' + "x" * (1000 - len(frame)) + '"')
        assert len(fits) == 1000
        await client.socket.send(fits)
        assert (await client.hear())[3] == "phx_reply"
        await client.socket.send(message)
        assert await closed_with(client.socket) == 1009


@SERVERS
@pytest.mark.parametrize("message", ["{}", b"\x07\x00", b""])
async def test_what_is_no_frame_closes_with_1011(served: Any, message: Any) -> None:
    async with served() as (_, address):
        client = await Phoenix.open(address, "name=a&vsn=2.0.0")
        await client.socket.send(message)
        assert await closed_with(client.socket) == 1011


async def test_a_client_that_only_pings_is_not_idle() -> None:
    clock, real = HandClock(), Runtime.real()
    app = Roost("idle", sockets={"/socket": Users})
    running = await app.boot(Config(web=Address("127.0.0.1", 0)), Runtime(clock, real.entropy, real.net))
    assert running.address is not None
    silent = await Phoenix.open(running.address, "name=a&vsn=2.0.0")
    pinging = await Phoenix.open(running.address, "name=b&vsn=2.0.0")
    for _ in range(13):
        await (await pinging.socket.ping())
        clock.advance(Users.idle_s / 12)
    assert await closed_with(silent.socket) == 1002
    await (await pinging.socket.ping())
    assert running.connections == 1
    await pinging.close()
    await running.stop()


# Being shown the door


@SERVERS
async def test_a_disconnect_by_name_ends_every_connection_of_that_name(served: Any) -> None:
    async with served() as (app, address):
        Room.ended.clear()
        one, two = [await Phoenix.open(address, "name=ada&vsn=2.0.0") for _ in range(2)]
        old = await Phoenix.open(address, "name=ada")
        other = await Phoenix.open(address, "name=bo&vsn=2.0.0")
        for topic in ("room:a", "room:b"):
            await one.ask("1" + topic, topic, topic, "phx_join", {})
        app.disconnect("user:ada")
        for client in (one, two, old):
            assert await closed_with(client.socket) == 1001
        await turns_until(lambda: len(Room.ended) == 2)
        assert sorted(end.split()[0] for end in Room.ended) == ["room:a", "room:b"]
        app.broadcast("user:bo", "something else", {})
        assert (await other.ask(None, "1", "phoenix", "heartbeat", {}))["status"] == "ok"
        await other.close()
        await turns_until(lambda: app.running().live.pubsub.subscribers("user:bo") == 0)
        assert app.running().live.pubsub.subscribers("user:ada") == 0


@asynccontextmanager
async def two_nodes() -> AsyncIterator[tuple[Roost, list[RunningApp]]]:
    app = make_app()
    async with AsyncExitStack() as stack:
        nodes = []
        for config in configs("a", "b"):
            settings = {name: getattr(config, name) for name in Config.__slots__}
            running = await app.boot(Config(**{**settings, "web": Address("127.0.0.1", 0)}), Runtime.real())
            stack.push_async_callback(running.stop)
            nodes.append(running)
        await turns_until(lambda: all(len(node.node.fabric.up()) == 2 for node in nodes))
        yield app, nodes


async def test_a_broadcast_and_a_disconnect_reach_clients_of_other_nodes() -> None:
    async with two_nodes() as (app, [a, b]):
        assert b.address is not None
        client = await Phoenix.open(b.address, "name=ada&vsn=2.0.0")
        await client.ask("1", "1", "room:a", "phx_join", {})
        for topic in ("room:a", "user:ada"):
            settled = asyncio.Event()
            b.live.pubsub.when_settled(topic, settled.set)
            await settled.wait()
        with a.node.entered():
            app.broadcast("room:a", "news", {"n": 1})
            app.disconnect("user:ada")
        assert await client.hear() == [None, None, "room:a", "news", {"n": 1}]
        assert await closed_with(client.socket) == 1001


# The browser's half


@SERVERS
async def test_the_browser_client_is_served(served: Any) -> None:
    async with served() as (_, address):
        got = await http(address, "GET", "/roost/roost.js")
        assert (got.status, got.body) == (200, (FOLDER / "roost.js").read_bytes())
        assert got.headers["content-type"] == "text/javascript; charset=utf-8"
        assert got.headers["cache-control"] == "no-cache"
        assert got.headers["x-content-type-options"] == "nosniff"
        types = await http(address, "GET", "/roost/roost.d.ts")
        assert (types.status, types.body) == (200, (FOLDER / "roost.d.ts").read_bytes())
        assert types.headers["content-type"] == "text/plain; charset=utf-8"
        head = await http(address, "HEAD", "/roost/roost.js")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(got.body)))
        for known in (got.headers["etag"], f'"x", W/{got.headers["etag"]}', "*"):
            same = await http(address, "GET", "/roost/roost.js", headers={"if-none-match": known})
            assert (same.status, same.body, same.headers["etag"]) == (304, b"", got.headers["etag"])
        assert (await http(address, "GET", "/roost/roost.js", headers={"if-none-match": '"x"'})).status == 200
        posted = await http(address, "POST", "/roost/roost.js")
        assert (posted.status, posted.headers["allow"]) == (405, "GET, HEAD")
        for path in ("/roost/", "/roost/app.py", "/roost/../app.py", "/roost/roost.css"):
            assert (await http(address, "GET", path)).status == 404


async def test_a_head_request_for_the_browser_client_gets_no_body_under_any_server() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("there is no body to read")

    await client_files({"method": "HEAD", "path": "/roost/roost.js", "headers": []}, receive, send)
    assert [message.get("body") for message in sent] == [None, b""]
