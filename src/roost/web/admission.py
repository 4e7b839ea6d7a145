"""Admission: whether a client may come in, for WebSockets and long polls alike.

In this order: the page it comes from, the version of the protocol, the subprotocol, the application's own `connect`.
Whoever is kept out gets an HTTP status, before there is a socket.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qsl

from roost.errors import Overloaded, Refusal, RoostError
from roost.limits import SOCKET_CONNECT_S, SOCKET_CONNECTS_MAX, TOPIC_BYTES_MAX
from roost.web.answer import Scope, status_of
from roost.web.connect_info import LONGPOLL_TOKEN, ConnectInfo, connect_info, headers_of, trusted_session
from roost.web.origin import is_embedded, names_its_page
from roost.web.redaction import redacted
from roost.web.socket import ConnectRefused, Socket, seal
from roost.web.subprotocol import is_acceptable, select, split_token
from roost.wire import phoenix

Transport: TypeAlias = Literal["websocket", "longpoll"]

FORBIDDEN: Final = 403
UNAVAILABLE: Final = 503
FULL_RETRY_S: Final = 1.0
"""When a client may come back that was kept out because too many connect."""
ORIGIN_CHARS_SHOWN: Final = 100
"""As much of a foreign origin as is told; it is a header of any length."""
_VERSION: Final = re.compile(
    r"(?P<major>[12])\.0\.(?P<patch>0|[1-9]\d*)(?P<pre>-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
_SERIALIZERS: Final[Mapping[str, phoenix.Serializer]] = {"1": phoenix.V1, "2": phoenix.V2}

logger = logging.getLogger("roost.socket")


@dataclass(frozen=True, slots=True)
class Admitted:
    """A client that may come in.

    Attributes:
        socket: its socket; `connect` has run, and it is frozen.
        serializer: the version of the protocol that it speaks.
        id: what `Socket.id` has answered: the topic on which a "disconnect" ends it.
        subprotocol: what a WebSocket is accepted with.
    """

    socket: Socket
    serializer: phoenix.Serializer
    id: str | None = None
    subprotocol: str | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """A client that is kept out.

    Attributes:
        status: the HTTP status that it gets.
        reason: why, in words that it may read.
        retry_after_s: when it may come back, in seconds; None when nobody has said so.
    """

    status: int
    reason: str
    retry_after_s: float | None = None


class Connects:
    """How many clients of one node connect at this moment. Each may take SOCKET_CONNECT_S, whether or not its client is
    still there; so there are SOCKET_CONNECTS_MAX at most.

    Attributes:
        under_way: how many there are.
        refused: how many clients were kept out because there were too many, so far.
    """

    __slots__ = ("_is_told", "refused", "under_way")

    def __init__(self) -> None:
        self.under_way = self.refused = 0
        self._is_told = False

    def begin(self) -> bool:
        """Take a place; False when there is none. The log says so once, until nobody connects."""
        if self.under_way >= SOCKET_CONNECTS_MAX:
            self.refused += 1
            if not self._is_told:
                self._is_told = True
                logger.warning("clients are kept out: %d connect already, of which none is done", self.under_way)
            return False
        self.under_way += 1
        return True

    def end(self) -> None:
        """Give a place back."""
        self.under_way -= 1
        if self.under_way == 0:
            self._is_told = False


async def admit(kind: type[Socket], scope: Scope, *, transport: Transport, connects: Connects) -> Admitted | Denied:
    """Decide on a client. The node must be entered, as `connect` may ask processes.

    Args:
        kind: the Socket class of the mount.
        scope: the ASGI scope of the request; its `path_params` are parameters of the socket, too.
        transport: how the client wants to talk.
        connects: those of the node that connect already.

    Returns:
        The client's socket, or the status that it gets: 403 for a foreign page, an unknown version, subprotocols that
        nobody speaks, or a Refusal in `connect`; the status of a ConnectRefused; 503 when SOCKET_CONNECTS_MAX others
        connect at this moment; 503 or 504 when what `connect` needs is not available or takes longer than
        SOCKET_CONNECT_S; 500, with the error in the log, when it crashes.
    """
    params = params_of(scope)
    verdict = await _decide(kind, scope, params, transport, connects)
    if isinstance(verdict, Denied):
        logger.info(
            "refused a %s of %s: %d %r, parameters %s",
            transport, kind.__name__, verdict.status, verdict.reason, redacted(params),
        )  # fmt: skip
    elif logger.isEnabledFor(logging.DEBUG):
        logger.debug("connected a %s of %s, parameters %s", transport, kind.__name__, redacted(params))
    return verdict


async def _decide(
    kind: type[Socket], scope: Scope, params: Mapping[str, str], transport: Transport, connects: Connects
) -> Admitted | Denied:
    headers = headers_of(scope["headers"])
    foreign = _foreign(kind, scope, headers)
    if foreign is not None:
        return foreign
    serializer = serializer_of(params.get("vsn"))
    if serializer is None:
        return Denied(FORBIDDEN, "this version of the protocol is not spoken here: vsn must be 1.0.0 or 2.0.0")
    token, offered = split_token(scope.get("subprotocols") or ())
    if transport == "longpoll":
        token = headers.get(LONGPOLL_TOKEN)
    elif not is_acceptable(offered, kind.subprotocols):
        return Denied(FORBIDDEN, "none of the subprotocols is spoken here")
    is_blind = transport == "longpoll" and not names_its_page(headers)
    session = trusted_session(scope, params, needs_csrf_token=is_blind or kind.needs_csrf_token())
    info = connect_info(scope, headers, token, offered, session)
    if not connects.begin():
        return Denied(UNAVAILABLE, "too many clients connect at this moment", FULL_RETRY_S)
    try:
        verdict = await _connect(kind, params, info)
    finally:
        connects.end()
    if isinstance(verdict, Denied):
        return verdict
    socket, identity = verdict
    return Admitted(socket, serializer, identity, select(offered, kind.subprotocols))


def _foreign(kind: type[Socket], scope: Scope, headers: Mapping[str, str]) -> Denied | None:
    """Keeps out what comes from a page that may not connect."""
    policy = kind.__origins__
    try:
        if not policy.is_welcome(headers.get("origin"), headers.get("host"), scope.get("scheme", "http")):
            return Denied(FORBIDDEN, f"pages of {headers['origin'][:ORIGIN_CHARS_SHOWN]} may not connect here")
    except Refusal as refusal:
        return Denied(FORBIDDEN, str(refusal))
    except Exception as error:
        return _broken(kind, "check_origin", error)
    if policy.checks and is_embedded(headers):
        return Denied(FORBIDDEN, "other pages may not embed this")
    return None


async def _connect(
    kind: type[Socket], params: Mapping[str, str], info: ConnectInfo
) -> tuple[Socket, str | None] | Denied:
    """The socket, frozen, and its id, when the application lets the client in."""
    try:
        socket = kind()
        outcome = socket.connect(params, info)
        if outcome is not None:
            async with asyncio.timeout(SOCKET_CONNECT_S):
                await outcome
        identity = _identity(socket)
    except ConnectRefused as refusal:
        return Denied(refusal.status, refusal.reason, refusal.retry_after_s)
    except Refusal as refusal:
        return Denied(FORBIDDEN, str(refusal))
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return _broken(kind, "connect", error)  # what it waits for was cancelled, not this request
    except Exception as error:
        return _broken(kind, "connect", error)
    seal(socket)
    return socket, identity


def params_of(scope: Scope) -> dict[str, str]:
    """The parameters of a socket: those of the query, and those of the path, which win."""
    query = bytes(scope.get("query_string", b"")).decode("latin-1")
    params = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in (scope.get("path_params") or {}).items():
        params[str(name)] = str(value)
    return params


def serializer_of(version: str | None) -> phoenix.Serializer | None:
    """Who speaks a version, by the requirements `~> 1.0.0` and `~> 2.0.0` of Semantic Versioning; the first when no
    version is named, None when nobody does.
    """
    if version is None:
        return phoenix.V1
    found = _VERSION.fullmatch(version)
    if found is None or (found["patch"] == "0" and found["pre"] is not None):
        return None  # 2.0.0-rc comes before 2.0.0
    return _SERIALIZERS[found["major"]]


def _identity(socket: Socket) -> str | None:
    identity: object = socket.id()
    if identity is None or (isinstance(identity, str) and 0 < len(identity.encode()) <= TOPIC_BYTES_MAX):
        return identity
    raise TypeError(f"{type(socket).__name__}.id gave {identity!r}: a str of 1 to {TOPIC_BYTES_MAX} bytes, or None")


def _broken(kind: type[Socket], what: str, error: BaseException) -> Denied:
    logger.error("%s.%s failed", kind.__name__, what, exc_info=error)
    status = status_of(error) if isinstance(error, RoostError) else 504 if isinstance(error, TimeoutError) else 500
    if status == 500:
        return Denied(status, "this is a bug; the log of the node says more")
    return Denied(status, "try again later", error.retry_after_s if isinstance(error, Overloaded) else None)
