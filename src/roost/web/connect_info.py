"""What a Socket is told of the client that connects."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from roost.web.answer import Scope
from roost.web.origin import PORTS, origin_of

TRACE_HEADERS: Final = ("traceparent", "tracestate")
"""The headers of W3C Trace Context."""
CSRF: Final = "_csrf_token"
"""The key of a session, and the name of a parameter, that must have the same value."""
LONGPOLL_TOKEN: Final = "x-phoenix-authtoken"
_PLAIN: Final = {"ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class Uri:
    """The address that a client has connected to, as its request says.

    Attributes:
        scheme: "http" or "https", for WebSockets too.
        host: the host of the Host header, in lower case.
        port: its port; the usual one of the scheme when it names none.
        path: the path, decoded.
        query: the query as it was sent; it may hold secrets, and is therefore not shown.
    """

    scheme: str = "http"
    host: str = ""
    port: int = 80
    path: str = ""
    query: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ConnectInfo:
    """What is known of a client that connects. Cookies and most headers are withheld: any page can make a browser send
    them.

    Attributes:
        peer: the client's address and port, when the server knows them.
        uri: the address that it connected to.
        user_agent: its User-Agent header.
        x_headers: its headers whose names begin with "x-", in lower case; values that were sent apart are joined by
            ", ".
        trace_context_headers: its `traceparent` and `tracestate` headers.
        sec_websocket_headers: its headers whose names begin with "sec-websocket-", without the token.
        auth_token: the token that the phoenix client sends as `authToken`.
        session: the session of the browser, when a session middleware runs before the socket and the request cannot
            come from a foreign page (see `Socket.check_csrf`); None otherwise.
    """

    peer: tuple[str, int] | None = None
    uri: Uri = field(default_factory=Uri)
    user_agent: str = ""
    x_headers: Mapping[str, str] = field(default_factory=dict)
    trace_context_headers: Mapping[str, str] = field(default_factory=dict)
    sec_websocket_headers: Mapping[str, str] = field(default_factory=dict)
    auth_token: str | None = field(default=None, repr=False)
    session: Mapping[str, Any] | None = field(default=None, repr=False)
    # Any: a session holds what the application has put into it.


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers by their names in lower case; what was sent apart under one name is joined (RFC 9110, 5.3)."""
    headers: dict[str, str] = {}
    for name_bytes, value_bytes in raw:
        name, value = name_bytes.decode("latin-1").lower(), value_bytes.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def connect_info(
    scope: Scope,
    headers: Mapping[str, str],
    auth_token: str | None,
    protocols: Iterable[str],
    session: Mapping[str, object] | None,
) -> ConnectInfo:
    """Collect it from an ASGI scope.

    Args:
        scope: the scope of the request.
        headers: its headers, see `headers_of`.
        auth_token: the token, which neither headers nor `protocols` may show.
        protocols: the subprotocols that were offered, without the one that carries the token.
        session: the session, when it may be trusted.
    """
    client = scope.get("client")
    web_socket = {name: value for name, value in headers.items() if name.startswith("sec-websocket-")}
    offered = ", ".join(protocols)
    web_socket.pop("sec-websocket-protocol", None)
    if offered:
        web_socket["sec-websocket-protocol"] = offered
    return ConnectInfo(
        peer=None if client is None else (str(client[0]), int(client[1] or 0)),
        uri=_uri(scope, headers.get("host", "")),
        user_agent=headers.get("user-agent", ""),
        x_headers={n: value for n, value in headers.items() if n.startswith("x-") and n != LONGPOLL_TOKEN},
        trace_context_headers={name: headers[name] for name in TRACE_HEADERS if name in headers},
        sec_websocket_headers=web_socket,
        auth_token=auth_token,
        session=session,
    )


def trusted_session(scope: Scope, params: Mapping[str, str], *, needs_csrf_token: bool) -> Mapping[str, object] | None:
    """The session in the scope; None when there is none, or when the request may come from a foreign page.

    Args:
        scope: the scope of the request.
        params: the parameters of the socket.
        needs_csrf_token: whether they must hold the token that the session has under `_csrf_token`.
    """
    session = scope.get("session")
    if not isinstance(session, Mapping):
        return None
    if needs_csrf_token:
        expected, given = session.get(CSRF), params.get(CSRF)
        if not isinstance(expected, str) or not expected or given is None:
            return None
        if not hmac.compare_digest(expected.encode(), given.encode()):
            return None
    return dict(session)


def _uri(scope: Scope, host: str) -> Uri:
    scheme: str = scope.get("scheme", "http")
    place = origin_of(f"{scheme}://{host}")
    query = bytes(scope.get("query_string", b"")).decode("latin-1")
    path: str = scope["path"]
    if place is None:
        return Uri(_PLAIN.get(scheme, scheme), "", PORTS.get(scheme, 80), path, query)
    return Uri(place.scheme, place.host, place.port, path, query)
