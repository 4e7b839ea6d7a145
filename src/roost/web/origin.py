"""Which pages may open a socket: the ones of the same host, unless others are named.

A browser sends cookies along to any socket, whatever page opens it, and only tells in `Origin` which page that was: to
let every page in is cross-site WebSocket hijacking. The port does not matter, as it does not for cookies: the nodes of
one machine differ in nothing else, and a page goes on with another node when its own has died. Programs that are not
browsers send no Origin and are let in.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def is_welcome(origin: str | None, host: str | None, scheme: str, allowed: Sequence[str]) -> bool:
    """Whether a page of `origin` may open a socket here.

    Args:
        origin: the request's Origin header, None when it has none.
        host: the request's Host header.
        scheme: the request's scheme: ws, wss, http or https.
        allowed: other origins that may, such as "https://example.org"; "*" allows all.
    """
    if origin is None or "*" in allowed:
        return True
    theirs = _place(origin)
    if theirs is None:
        return False
    if any(theirs == _place(other) for other in allowed):
        return True
    ours = None if host is None else _place(f"{scheme}://{host}")
    return ours is not None and theirs[1] == ours[1]


def _place(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or parts.scheme not in _PORTS:
        return None
    return parts.scheme, host, port or _PORTS[parts.scheme]
