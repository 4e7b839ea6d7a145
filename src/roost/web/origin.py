"""Which pages may open a socket: those of the same host, unless the Socket class says otherwise.

A browser sends cookies along to any socket, whatever page opens it, and only tells in `Origin` which page that was: to
let every page in is cross-site WebSocket hijacking. The port does not matter, as it does not for cookies: the nodes of
one machine differ in nothing else, and a page goes on with another node when its own has died. Programs that are not
browsers send no Origin and are let in.

There is one exception: what a page embeds as an image or a script, or goes to, is a GET without Origin, cookies and
all. It is no WebSocket, but it can begin a long poll, whose answer the page cannot read. Browsers tell where such a
request comes from in `Sec-Fetch-Site` (W3C Fetch Metadata), which no page can set; over plain HTTP, and old ones, they
do not.

What is the same host is taken from the request's Host header. A page whose name an attacker points at this machine
(DNS rebinding) passes that test: a list of patterns does not let it in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from inspect import iscoroutinefunction
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from roost.errors import ConfigError

PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
SAME_CONNECTION: Final = "conn"
FETCH_SITE: Final = "sec-fetch-site"
_SECURE: Final = {"ws": "http", "wss": "https"}
_PATTERN: Final = re.compile(
    r"(?:(?P<scheme>https?):)?//(?P<wild>\*\.)?(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>\d{1,5}))?"
)


class Origin(NamedTuple):
    """Where a page comes from: its scheme, its host in lower case, and its port, the usual one when none is named."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


CheckOrigin: TypeAlias = bool | Literal["conn"] | Sequence[str] | Callable[[Origin], bool]
"""What a Socket class may say of origins; see `is_welcome`."""


class Pattern(NamedTuple):
    """One entry of a list of origins; None matches any scheme, or any port."""

    scheme: str | None
    host: str
    port: int | None
    is_wild: bool

    def matches(self, origin: Origin) -> bool:
        """Whether a page of `origin` is meant."""
        if self.scheme is not None and self.scheme != origin.scheme:
            return False
        if self.port is not None and self.port != origin.port:
            return False
        return origin.host == self.host or (self.is_wild and origin.host.endswith("." + self.host))


class OriginPolicy:
    """The rule of one Socket class, compiled once; nothing of it is shared between classes.

    Args:
        rule: True = the page's host must be the host of the request, whatever the port. "conn" = scheme, host and
            port must be those of the request. A list: the origins that may, and no others, each as `//host` (any
            scheme and port), `https://host` (its usual port), `https://host:port`, or with `*.` before the host, which
            means the host and everything below it. A function: it is asked with the Origin. False = everybody may.

    Raises:
        ConfigError: a rule of another form.
    """

    __slots__ = ("_patterns", "rule")

    def __init__(self, rule: CheckOrigin) -> None:
        self.rule = rule
        self._patterns: tuple[Pattern, ...] = ()
        given: object = rule
        if isinstance(given, bool) or given == SAME_CONNECTION or (callable(given) and not iscoroutinefunction(given)):
            return
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise ConfigError(
                "check_origin", f'{given!r} is none of True, False, "conn", a list of origins, or a plain function'
            )
        self._patterns = tuple(pattern_of(each) for each in given)

    @property
    def checks(self) -> bool:
        """Whether any page is kept out."""
        return self.rule is not False

    def is_welcome(self, origin: str | None, host: str | None, scheme: str) -> bool:
        """Whether a page of `origin` may open a socket here.

        Args:
            origin: the request's Origin header, None when it has none.
            host: the request's Host header.
            scheme: the request's scheme: ws, wss, http or https.

        Raises:
            Exception: what the function of the rule raises.
        """
        rule = self.rule
        if origin is None or rule is False:
            return True
        theirs = origin_of(origin)
        if theirs is None:
            return False
        if self._patterns:
            return any(pattern.matches(theirs) for pattern in self._patterns)
        if callable(rule):
            return rule(theirs) is True
        ours = None if host is None else origin_of(f"{scheme}://{host}")
        if ours is None:
            return False
        return theirs == ours if rule == SAME_CONNECTION else theirs.host == ours.host


SAME_HOST: Final = OriginPolicy(True)
"""The rule when nothing else is said."""


def is_embedded(headers: Mapping[str, str]) -> bool:
    """Whether a page of another origin has made the browser ask, in a way in which `Origin` is not sent."""
    return "origin" not in headers and headers.get(FETCH_SITE) in ("cross-site", "same-site")


def names_its_page(headers: Mapping[str, str]) -> bool:
    """Whether a request tells what page it comes from, or that it is one of the same origin."""
    return "origin" in headers or headers.get(FETCH_SITE) == "same-origin"


def pattern_of(text: object) -> Pattern:
    """Read one entry of a list of origins.

    Raises:
        ConfigError: it is none.
    """
    found = _PATTERN.fullmatch(text.lower()) if isinstance(text, str) else None
    if found is None:
        raise ConfigError(
            "check_origin", f'{text!r} is no origin: write "//host", "https://host", "https://host:port" or "//*.host"'
        )
    scheme, host = found["scheme"], found["host"].strip("[]")
    port = int(found["port"]) if found["port"] else PORTS.get(scheme)
    return Pattern(scheme, host, port, found["wild"] is not None)


def origin_of(url: str) -> Origin | None:
    """The scheme, host and port of a URL, or None when it has none that a page could have."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or parts.scheme not in PORTS:
        return None
    return Origin(_SECURE.get(parts.scheme, parts.scheme), host, port or PORTS[parts.scheme])
