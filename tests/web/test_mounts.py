"""Which path is served by whom."""

from __future__ import annotations

from typing import Any

import pytest

from roost.errors import ConfigError
from roost.web.mounts import Mounts, clean


def app_named(name: str) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Never called."""

    app.__name__ = name
    return app


@pytest.fixture
def mounts() -> Mounts:
    table = Mounts()
    table.add("/t/{tenant}/ws", app_named("any tenant"))
    table.add("/t/acme/ws", app_named("acme"))
    table.add("/a.b/{x}/{y}", app_named("two"))
    table.add("/t/{other}/ws", app_named("never"))
    table.add("/file", app_named("file"), ("http",))
    table.add("/poll/{x}", app_named("poll"), ("http",))
    return table


@pytest.mark.parametrize(
    ("scope", "found"),
    [
        ({"path": "/t/acme/ws"}, ("acme", {})),
        ({"path": "/t/other/ws"}, ("any tenant", {"tenant": "other"})),
        ({"path": "/t/ä ö/ws"}, ("any tenant", {"tenant": "ä ö"})),
        ({"path": "/t//ws"}, None),
        ({"path": "/t/a/b/ws"}, None),
        ({"path": "/t/other/ws/"}, None),
        ({"path": "/a.b/1/2"}, ("two", {"x": "1", "y": "2"})),
        ({"path": "/aXb/1/2"}, None),
        ({"path": "/file"}, None),
        ({"path": "/file", "type": "http"}, ("file", {})),
        ({"path": "/poll/1"}, None),
        ({"path": "/poll/1", "type": "http"}, ("poll", {"x": "1"})),
        ({"path": "/outer/t/acme/ws", "root_path": "/outer"}, ("acme", {})),
        ({"path": "/outer/t/acme/ws", "root_path": "/outer/t"}, ("acme", {})),
        ({"path": "/outer/t/x/ws", "root_path": "/outer/t/x"}, ("any tenant", {"tenant": "x"})),
        ({"path": "/outert/acme/ws", "root_path": "/outer"}, None),
        ({"path": "/outer/t/acme/ws", "root_path": ""}, None),
        ({"path": "/outer/t/acme/ws"}, None),
    ],
)
def test_a_path_is_found(mounts: Mounts, scope: dict[str, str], found: tuple[str, dict[str, str]] | None) -> None:
    answer: Any = mounts.find({"type": "websocket", **scope})
    assert (answer and (answer[0].__name__, answer[1])) == found


@pytest.mark.parametrize(
    "path",
    ["", "socket", "/", "/socket/", "/{a", "/a}", "/{}", "/x{a}", "/{a}x", "/{a:int}", "/{a}/{a}", "/{1}", "/{é}"],
)
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        clean(path)


def test_a_path_with_variables_is_one() -> None:
    assert clean("/t/{tenant}/{room_1}/socket") == "/t/{tenant}/{room_1}/socket"
