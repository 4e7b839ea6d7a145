"""The demo over HTTP: pages that are safe to open, and an API for every page of the same host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from roost.config import Address, Config
from roost.demo.app import app
from roost.runtime import Runtime
from tests.web.wire import http, served_by_uvicorn


@asynccontextmanager
async def site() -> AsyncIterator[Address]:
    running = await app.boot(Config(web=Address("127.0.0.1", 0)), Runtime.real())
    assert running.address is not None
    try:
        yield running.address
    finally:
        await running.stop()


async def test_the_page_and_its_files() -> None:
    async with site() as address:
        page = await http(address, "GET", "/")
        assert page.status == 200
        assert page.headers["content-type"].startswith("text/html")
        assert b"/static/demo.js" in page.body
        script = await http(address, "GET", "/static/demo.js")
        assert script.status == 200
        assert "javascript" in script.headers["content-type"]
        for response in (page, script):
            policy = response.headers["content-security-policy"]
            assert "default-src 'self'" in policy
            assert "ws://127.0.0.1:*" in policy
            assert "unsafe" not in policy
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("host", ["evil.org; script-src *", "a b", "", "x\ty", "'unsafe-inline'"])
async def test_a_strange_host_does_not_get_into_the_policy(host: str) -> None:
    async with site() as address:
        policy = (await http(address, "GET", "/", headers={"host": host})).headers["content-security-policy"]
        assert "connect-src 'self';" in policy


@pytest.mark.parametrize(
    "path", ["/static/", "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/nothing", "/static/x"]
)
async def test_nothing_else_is_served(path: str) -> None:
    async with site() as address:
        response = await http(address, "GET", path)
        assert response.status == 404
        assert msgspec.json.decode(response.body)["error"] == "not_found"


@pytest.mark.parametrize("path", ["/", "/socket", "/api/ping", "/socket/websocket/"])
async def test_a_socket_at_a_path_without_one_is_refused(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with site() as address:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{address.port}{path}?vsn=2.0.0")
    assert refused.value.response.status_code == 403
    assert "Traceback" not in caplog.text


async def test_the_api() -> None:
    async with site() as address:
        assert (await http(address, "PUT", "/api/store/a%2Fb", b'{"x":1}')).json["data"] is True
        got = await http(address, "GET", "/api/store/a/b")
        assert (got.json["data"], got.json["key"]) == ({"x": 1}, "a/b")
        pong = (await http(address, "GET", "/api/ping")).json
        assert pong["node"] == "roost@127.0.0.1"
        assert 0 <= pong["pong"] < 64
        ring = (await http(address, "GET", "/api/ring")).json
        assert ring["owners"] == [0] * 64
        where = (await http(address, "GET", "/api/ring/a%2Fb")).json
        assert where == {
            "key": "a/b",
            "partition": where["partition"],
            "preference_list": [{"partition": where["partition"], "node": "roost@127.0.0.1", "primary": True}],
        }


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/api/ring/", 404, "not_found"),
        ("POST", "/api/ping", 405, "method_not_allowed"),
        ("GET", "/api/store/x", 404, "not_found"),
        ("GET", "/api/store/x?n=2", 400, "invalid_quorum"),
        ("GET", "/api/ring/" + "k" * 2000, 413, "too_large"),
    ],
)
async def test_errors_of_the_api_are_json(method: str, path: str, status: int, code: str) -> None:
    async with site() as address:
        response = await http(address, method, path)
        assert (response.status, response.json["error"]) == (status, code)


async def test_pages_of_the_other_nodes_of_this_host_may_use_the_api() -> None:
    async with site() as address:
        neighbour = f"http://127.0.0.1:{address.port + 1}"
        asked = await http(address, "OPTIONS", "/api/store/x", headers={"origin": neighbour})
        assert asked.headers["access-control-allow-origin"] == neighbour
        assert "PUT" in asked.headers["access-control-allow-methods"]
        put = await http(address, "PUT", "/api/store/x", b"1", {"origin": neighbour})
        assert put.headers["access-control-allow-origin"] == neighbour
        stranger = await http(address, "GET", "/api/store/x", headers={"origin": "http://evil.org"})
        assert "access-control-allow-origin" not in stranger.headers


async def test_the_demo_runs_under_plain_uvicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROOST_NAME", raising=False)
    async with served_by_uvicorn(app) as address:
        assert (await http(address, "GET", "/")).status == 200
        assert (await http(address, "PUT", "/api/store/x", b"1")).status == 200


async def test_a_first_write_with_the_context_of_nothing_keeps_what_somebody_else_wrote_first() -> None:
    async with site() as address:
        missed = await http(address, "GET", "/api/store/seat")
        context = msgspec.json.decode(missed.body)["context"]
        await http(address, "PUT", "/api/store/seat?n=1&w=1", b'"mine"')
        await http(address, "PUT", f"/api/store/seat?n=1&w=1&context={context}", b'"yours"')
        both = await http(address, "GET", "/api/store/seat?n=1&r=1")
        assert both.status == 300
        assert sorted(msgspec.json.decode(both.body)["values"]) == ["mine", "yours"]
