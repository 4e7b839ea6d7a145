"""Who is let in, and what the application is told of a client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from roost.core.backlog import DropOldest
from roost.errors import ConfigError, Overloaded, Refusal
from roost.web import admission as admission_module
from roost.web.admission import Admitted, Connects, Denied, admit, serializer_of
from roost.web.connect_info import ConnectInfo, Uri
from roost.web.origin import Origin
from roost.web.redaction import redacted
from roost.web.socket import ConnectRefused, Socket
from roost.wire import phoenix
from tests.cluster.meadow import turns_until


class Guest(Socket):
    """Keeps what it is told."""

    def connect(self, params: Any, info: ConnectInfo) -> None:
        self.params, self.info = params, info
        if "status" in params:
            raise ConnectRefused(int(params["status"]), "slow down", retry_after_s=7.5)
        if "refuse" in params:
            raise Refusal("not you")
        if "busy" in params:
            raise Overloaded("a mailbox", 1.0)
        if "crash" in params:
            raise ZeroDivisionError("a secret of the server")


class Late(Socket):
    """Never decides."""

    async def connect(self, params: Any, info: ConnectInfo) -> None:
        await asyncio.Event().wait()


def scope_of(query: bytes = b"vsn=2.0.0", headers: list[tuple[bytes, bytes]] | None = None, **more: Any) -> Any:
    return {
        "type": "websocket",
        "scheme": "wss",
        "path": "/socket/websocket",
        "query_string": query,
        "headers": [(b"host", b"example.org"), *(headers or [])],
        "subprotocols": [],
        "client": ("10.0.0.1", 999),
        **more,
    }


async def let_in(kind: type[Socket] = Guest, transport: Any = "websocket", **scope: Any) -> Admitted:
    verdict = await admit(kind, scope_of(**scope), transport=transport, connects=Connects())
    assert isinstance(verdict, Admitted), verdict
    return verdict


async def told(kind: type[Socket] = Guest, transport: Any = "websocket", **scope: Any) -> ConnectInfo:
    socket = (await let_in(kind, transport, **scope)).socket
    assert isinstance(socket, Guest)
    return socket.info


async def kept_out(kind: type[Socket] = Guest, transport: Any = "websocket", **scope: Any) -> Denied:
    verdict = await admit(kind, scope_of(**scope), transport=transport, connects=Connects())
    assert isinstance(verdict, Denied), verdict
    return verdict


# Versions


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (None, phoenix.V1),
        ("1.0.0", phoenix.V1),
        ("1.0.7", phoenix.V1),
        ("2.0.0", phoenix.V2),
        ("2.0.10", phoenix.V2),
        ("2.0.1-rc.1", phoenix.V2),
        ("2.0.0+build.5", phoenix.V2),
        ("2.0.0-rc.1", None),
        ("2.1.0", None),
        ("3.0.0", None),
        ("0.9.9", None),
        ("2.0", None),
        ("2", None),
        ("", None),
        ("2.0.x", None),
        ("2.0.00", None),
        ("02.0.0", None),
        ("2.0.0 ", None),
        ("2.0.0\n", None),
        ("2.0.٠", None),
        ("~> 2.0.0", None),
    ],
)
def test_versions_are_matched_as_semantic_versions(version: str | None, expected: object) -> None:
    assert serializer_of(version) is expected


async def test_an_unknown_version_is_kept_out_with_403() -> None:
    assert (await kept_out(query=b"vsn=3.0.0")).status == 403
    assert (await let_in(query=b"")).serializer is phoenix.V1
    assert (await let_in()).serializer is phoenix.V2


# Parameters


async def test_parameters_are_those_of_the_query_and_of_the_path_which_win() -> None:
    socket = (await let_in(query=b"vsn=2.0.0&who=al%20ex&tenant=evil&blank=", path_params={"tenant": "acme"})).socket
    assert isinstance(socket, Guest)
    assert socket.params == {"vsn": "2.0.0", "who": "al ex", "tenant": "acme", "blank": ""}


# The application's answer


@pytest.mark.parametrize(
    ("query", "denied"),
    [
        (b"refuse=1", Denied(403, "not you")),
        (b"status=429", Denied(429, "slow down", 7.5)),
        (b"status=503", Denied(503, "slow down", 7.5)),
        (b"busy=1", Denied(503, "try again later", 1.0)),
        (b"crash=1", Denied(500, "this is a bug; the log of the node says more")),
    ],
)
async def test_a_refusal_has_its_status(query: bytes, denied: Denied) -> None:
    assert await kept_out(query=query) == denied


async def test_a_crash_in_connect_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    denied = await kept_out(query=b"crash=1")
    assert "secret of the server" in caplog.text
    assert "secret" not in denied.reason


async def test_a_connect_that_takes_too_long_is_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(admission_module, "SOCKET_CONNECT_S", 0.001)
    assert (await kept_out(Late)).status == 504


class Hindered(Socket):
    """Waits for something that is cancelled."""

    async def connect(self, params: Any, info: ConnectInfo) -> None:
        waits_for = asyncio.get_running_loop().create_future()
        waits_for.cancel()
        await waits_for


async def test_a_connect_that_waits_for_something_that_is_cancelled_has_crashed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert (await kept_out(Hindered)).status == 500
    assert "Hindered.connect failed" in caplog.text


async def test_a_request_that_is_cancelled_ends_its_connect() -> None:
    connects = Connects()
    request = asyncio.create_task(admit(Late, scope_of(), transport="websocket", connects=connects))
    await turns_until(lambda: connects.under_way == 1)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert connects.under_way == 0


async def test_a_node_connects_so_many_clients_at_a_time_and_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(admission_module, "SOCKET_CONNECTS_MAX", 2)
    connects, may_go = Connects(), asyncio.Event()

    class Slow(Socket):
        async def connect(self, params: Any, info: ConnectInfo) -> None:
            await may_go.wait()
            if "crash" in params:
                raise ZeroDivisionError

    async def come(query: bytes = b"") -> Admitted | Denied:
        return await admit(Slow, scope_of(query), transport="websocket", connects=connects)

    first = [asyncio.create_task(come()), asyncio.create_task(come(b"crash=1"))]
    await turns_until(lambda: connects.under_way == 2)
    full = Denied(503, "too many clients connect at this moment", 1.0)
    assert [await come(), await come()] == [full, full]
    assert connects.refused == 2
    assert caplog.text.count("clients are kept out") == 1
    may_go.set()
    admitted, crashed = await asyncio.gather(*first)
    assert isinstance(admitted, Admitted)
    assert isinstance(crashed, Denied)
    assert connects.under_way == 0
    assert isinstance(await come(), Admitted)


@pytest.mark.parametrize("status", [200, 399, 600, 0])
def test_a_refusal_needs_a_status_of_an_error(status: int) -> None:
    with pytest.raises(ValueError, match="400 to 599"):
        ConnectRefused(status)


@pytest.mark.parametrize("pause_s", [-1.0, float("inf"), float("nan")])
def test_a_refusal_names_no_pause_that_is_none(pause_s: float) -> None:
    with pytest.raises(ValueError, match="no pause"):
        ConnectRefused(429, retry_after_s=pause_s)


async def test_a_socket_is_named_after_connect_and_frozen() -> None:
    class Named(Socket):
        async def connect(self, params: Any, info: ConnectInfo) -> None:
            self.assigns["user"] = params["user"]

        def id(self) -> str:
            return f"user:{self.assigns['user']}"

    admitted = await let_in(Named, query=b"user=7")
    assert admitted.id == "user:7"
    assert (await let_in()).id is None
    with pytest.raises(AttributeError, match="frozen"):
        admitted.socket.assigns = {}
    assert (await let_in(Named, query=b"user=8")).socket.assigns == {"user": "8"}


@pytest.mark.parametrize("name", ["", 7, "x" * 256, b"user"])
async def test_a_name_that_is_no_topic_is_a_bug(name: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Misnamed(Socket):
        def id(self) -> Any:
            return name

    assert (await kept_out(Misnamed)).status == 500


# Origins


async def test_a_foreign_page_is_kept_out_before_connect_is_asked() -> None:
    denied = await kept_out(query=b"vsn=2.0.0&crash=1", headers=[(b"origin", b"https://evil.org")])
    assert denied == Denied(403, "pages of https://evil.org may not connect here")


async def test_as_much_of_a_foreign_origin_is_told_as_a_line_can_hold(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    denied = await kept_out(headers=[(b"origin", b"\x1b[2J" + b"x" * 10_000)])
    assert len(denied.reason) < 150
    assert "\x1b" not in caplog.text
    assert len(caplog.text) < 500


async def test_an_origin_that_is_asked_for_twice_is_none() -> None:
    own = (b"origin", b"https://example.org")
    assert (await kept_out(headers=[own, (b"origin", b"https://evil.org")])).status == 403
    assert (await let_in(headers=[own])).subprotocol is None


async def test_a_function_for_origins_that_crashes_keeps_everybody_out(caplog: pytest.LogCaptureFixture) -> None:
    def ask(origin: Origin) -> bool:
        raise ZeroDivisionError

    def refuse(origin: Origin) -> bool:
        raise Refusal("not from there")

    own = [(b"origin", b"https://example.org")]
    kind = type("Asking", (Socket,), {"check_origin": ask})
    assert (await kept_out(kind, headers=own)).status == 500
    assert isinstance(await let_in(kind), Admitted)
    refusing = type("Refusing", (Socket,), {"check_origin": refuse})
    assert await kept_out(refusing, headers=own) == Denied(403, "not from there")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_what_another_page_embeds_is_kept_out_although_it_has_no_origin(site: str) -> None:
    headers = [(b"sec-fetch-site", site.encode())]
    assert (await kept_out(transport="longpoll", scheme="https", headers=headers)).status == 403
    assert isinstance(await let_in(Unchecked, transport="longpoll", headers=headers), Admitted)


# Subprotocols and tokens


@pytest.mark.parametrize(
    ("offered", "spoken", "selected"),
    [
        ([], (), None),
        ([], ("mine",), None),
        (["phoenix"], (), "phoenix"),
        (["mine", "phoenix"], ("mine",), "phoenix"),
        (["yours", "mine", "other"], ("other", "mine"), "mine"),
        (["yours"], (), None),
        (["base64url.bearer.phx.YT5iP2M"], ("mine",), None),
    ],
)
async def test_a_subprotocol_is_selected(offered: list[str], spoken: tuple[str, ...], selected: str | None) -> None:
    kind = type("Speaking", (Guest,), {"subprotocols": spoken})
    assert (await let_in(kind, subprotocols=offered)).subprotocol == selected


async def test_a_client_that_speaks_something_else_is_kept_out() -> None:
    kind = type("Speaking", (Guest,), {"subprotocols": ("mine",)})
    assert (await kept_out(kind, subprotocols=["yours"])).status == 403


@pytest.mark.parametrize(
    ("text", "expected"),
    [("YT5iP2M", "a>b?c"), ("Pz8/", "???"), ("Pj4+", ">>>"), ("Pz8_", "???"), ("", ""), ("a", None), ("_w", None),
     ("!!", None), ("\xe9", None)],
)  # fmt: skip
async def test_the_token_is_taken_out_of_the_subprotocols(text: str, expected: str | None) -> None:
    header = f"phoenix, base64url.bearer.phx.{text}"
    info = await told(
        subprotocols=header.split(", "),
        headers=[(b"sec-websocket-protocol", header.encode("latin-1")), (b"sec-websocket-version", b"13")],
    )
    assert info.auth_token == expected
    assert info.sec_websocket_headers == {"sec-websocket-protocol": "phoenix", "sec-websocket-version": "13"}
    assert expected is None or not expected or expected not in repr(info)


async def test_a_header_with_nothing_but_the_token_is_not_shown() -> None:
    header = "base64url.bearer.phx.YT5iP2M"
    info = await told(subprotocols=[header], headers=[(b"sec-websocket-protocol", header.encode())])
    assert (info.auth_token, info.sec_websocket_headers) == ("a>b?c", {})


async def test_a_long_poll_has_its_token_in_a_header() -> None:
    headers = [(b"x-phoenix-authtoken", b"abc"), (b"x-other", b"1")]
    info = await told(transport="longpoll", headers=headers, scheme="http")
    assert (info.auth_token, info.x_headers) == ("abc", {"x-other": "1"})
    assert (await told(headers=headers)).auth_token is None


# What is known of a client


async def test_a_client_is_described_and_its_cookies_are_withheld() -> None:
    info = await told(
        query=b"vsn=2.0.0&a=b",
        headers=[
            (b"User-Agent", b"test"),
            (b"X-One", b"1"),
            (b"x-one", b"2"),
            (b"traceparent", b"00-abc"),
            (b"tracestate", b"k=v"),
            (b"Sec-WebSocket-Version", b"13"),
            (b"cookie", b"session=1"),
            (b"authorization", b"Bearer x"),
        ],
    )
    assert info == ConnectInfo(
        peer=("10.0.0.1", 999),
        uri=Uri("https", "example.org", 443, "/socket/websocket", "vsn=2.0.0&a=b"),
        user_agent="test",
        x_headers={"x-one": "1, 2"},
        trace_context_headers={"traceparent": "00-abc", "tracestate": "k=v"},
        sec_websocket_headers={"sec-websocket-version": "13"},
    )


async def test_a_server_that_knows_nothing_of_the_client_is_no_problem() -> None:
    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    verdict = await admit(Guest, scope, transport="websocket", connects=Connects())
    assert isinstance(verdict, Admitted)
    assert isinstance(verdict.socket, Guest)
    assert verdict.socket.info == ConnectInfo(uri=Uri("http", "", 80, "/", ""))


# Sessions


SESSION = {"user": 7, "_csrf_token": "t" * 20}


class Unchecked(Guest):
    """Pages of everybody may connect."""

    check_origin = False


class Strict(Guest):
    """Wants the token, whatever the page."""

    check_csrf = True


@pytest.mark.parametrize(
    ("kind", "query", "session", "expected"),
    [
        (Guest, b"", SESSION, SESSION),
        (Guest, b"", None, None),
        (Unchecked, b"", SESSION, None),
        (Unchecked, b"_csrf_token=" + b"t" * 20, SESSION, SESSION),
        (Unchecked, b"_csrf_token=wrong", SESSION, None),
        (Unchecked, b"_csrf_token=", {"user": 7}, None),
        (Unchecked, b"_csrf_token=", {"user": 7, "_csrf_token": ""}, None),
        (Unchecked, b"_csrf_token=7", {"_csrf_token": 7}, None),
        (Unchecked, "_csrf_token=é".encode(), SESSION, None),
        (Strict, b"", SESSION, None),
        (Strict, b"_csrf_token=" + b"t" * 20, SESSION, SESSION),
    ],
)
async def test_a_session_is_shown_when_no_foreign_page_can_have_sent_it(
    kind: type[Socket], query: bytes, session: object, expected: object
) -> None:
    assert (await told(kind, query=query, session=session)).session == expected


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({}, b"", None),  # an image of any page, in a browser or over a connection that tells no more
        ({"sec-fetch-site": "none"}, b"", None),  # a link in a mail
        ({}, b"_csrf_token=" + b"t" * 20, SESSION),
        ({"sec-fetch-site": "same-origin"}, b"", SESSION),
        ({"origin": "https://example.org"}, b"", SESSION),
    ],
)
async def test_a_long_poll_has_a_session_when_no_foreign_page_can_have_made_the_browser_ask(
    headers: Mapping[str, str], query: bytes, expected: object
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    for kind in (Guest, type("Careless", (Guest,), {"check_csrf": False})):
        info = await told(kind, "longpoll", query=query, session=SESSION, headers=raw, scheme="https")
        assert info.session == expected


def test_a_class_cannot_switch_off_both_protections() -> None:
    with pytest.raises(ConfigError, match=r"Open\.check_csrf"):
        type("Open", (Socket,), {"check_origin": False, "check_csrf": False})
    type("Careful", (Socket,), {"check_origin": True, "check_csrf": False})


# Declarations


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("channels_max", 0),
        ("channels_max", 101),
        ("channels_max", True),
        ("channels_max", "5"),
        ("frame_bytes_max", 0),
        ("frame_bytes_max", 2**20 + 1),
        ("frame_bytes_max", 1.5),
        ("idle_s", 0),
        ("idle_s", -1.0),
        ("idle_s", float("inf")),
        ("idle_s", float("nan")),
        ("idle_s", None),
        ("subprotocols", "mine"),
        ("subprotocols", ["a b"]),
        ("subprotocols", [""]),
        ("subprotocols", ["base64url.bearer.phx.x"]),
        ("longpoll", None),
        ("slow_reader", "drop"),
        ("slow_reader", DropOldest),
        ("channels", [object]),
    ],
)
def test_an_attribute_that_makes_no_sense_is_refused_when_the_class_is_made(attribute: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"Odd\.{attribute}"):
        type("Odd", (Socket,), {attribute: value})


# Logs


async def test_the_log_shows_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    query = b"who=alex&token=hush1&user[Password]=hush2&client_secret=hush3&_csrf_token=hush4"
    await let_in(query=query)
    await kept_out(query=query + b"&refuse=1")
    assert caplog.text.count("'who': 'alex'") == 2
    assert caplog.text.count("'token': '[FILTERED]'") == 2
    assert "hush" not in caplog.text


def test_the_log_shows_parameters_up_to_a_bound() -> None:
    assert len(redacted({"a": "x" * 100_000})) == 2_000
