"""The HTTP side of long polling, at `<mount>/longpoll`. The protocol is that of Phoenix; docs/longpoll.md has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs

from roost.core.backlog import SlowReaders
from roost.errors import BadMessage, Overloaded, TooLarge
from roost.limits import LONGPOLL_ASKED_HEADERS_BYTES_MAX, LONGPOLL_BODY_BYTES_MAX
from roost.otp import GenServer, cast
from roost.web.admission import ORIGIN_CHARS_SHOWN, Denied, admit
from roost.web.answer import Receive, Scope, Send, retry_after
from roost.web.connect_info import headers_of
from roost.web.longpoll.answers import (
    BAD_REQUEST,
    FAILED,
    FORBIDDEN,
    GONE,
    OK,
    TOO_LARGE,
    UNAVAILABLE,
    Polled,
    Posted,
    poll_body,
    post_body,
    refusal_body,
    reply,
)
from roost.web.longpoll.body import frames_of
from roost.web.longpoll.service import LongPolls, Mount
from roost.web.longpoll.token import Place
from roost.web.socket import Socket
from roost.wire import phoenix

TOKEN_HEADER: Final = "x-phoenix-longpoll-token"
METHODS: Final = (b"access-control-allow-methods", b"get, post, options")
MAX_AGE: Final = (b"access-control-max-age", b"3600")

logger = logging.getLogger("roost.socket")


class LongPollEndpoint:
    """An ASGI application that serves one Socket class at `<path>/longpoll`.

    Args:
        kind: the Socket class.
        path: where it is mounted; a session of one mount is found under no other.
        polls: the sessions of the node.

    Attributes:
        slow_readers: the clients here for whom something waits, counted.
    """

    def __init__(self, kind: type[Socket], path: str, polls: LongPolls) -> None:
        self._kind = kind
        self.slow_readers = SlowReaders(kind.slow_reader, phoenix.look)
        self._mount = Mount(path, kind.longpoll_window_s, self.slow_readers, kind.frame_bytes_max)
        self._polls = polls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        method = scope["method"]
        headers = headers_of(scope["headers"])
        if method not in ("GET", "POST", "OPTIONS"):
            await reply(send, refusal_body(BAD_REQUEST, f"{method} is not possible here"), BAD_REQUEST)
        elif not self._is_welcome(scope, headers):
            page = headers.get("origin", "")[:ORIGIN_CHARS_SHOWN]
            await reply(send, refusal_body(FORBIDDEN, f"pages of {page} may not connect here"))
        elif method == "OPTIONS":
            await _allow(send, headers)
        elif method == "POST":
            await self._post(scope, headers, receive, send)
        else:
            await self._poll(scope, headers, receive, send)

    def _is_welcome(self, scope: Scope, headers: dict[str, str]) -> bool:
        """Whether the page may ask. A token is proof enough; this is so that no page need be trusted with one."""
        try:
            return self._kind.__origins__.is_welcome(
                headers.get("origin"), headers.get("host"), scope.get("scheme", "http")
            )
        except Exception:
            logger.exception("%s.check_origin failed", self._kind.__name__)
            return False

    def _place(self, scope: Scope, headers: dict[str, str]) -> tuple[str, Place | None]:
        token = headers.get(TOKEN_HEADER) or _query(scope, "token")
        return token, self._polls.place_of(token) if token else None

    # GET

    async def _poll(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        token, place = self._place(scope, headers)
        polled = Polled(GONE) if place is None else await self._wait(place, receive)
        if polled is None:
            return
        if polled.status == GONE:
            await self._begin(scope, send)
        elif polled.status == FAILED:
            await _come_later(send, "the node of this session is overloaded")
        else:
            await reply(send, poll_body(polled.status, token, polled.messages))

    async def _wait(self, place: Place, receive: Receive) -> Polled | None:
        """The outcome of a poll; None when the client is gone."""
        outcome: asyncio.Future[Polled | None] = asyncio.get_running_loop().create_future()

        def settle(polled: Polled | None) -> None:
            if not outcome.done():
                outcome.set_result(polled)

        number = self._polls.poll(place, self._mount, settle)
        if outcome.done():
            return outcome.result()

        def gone() -> None:
            self._polls.abandon(place, number)
            settle(None)

        watch = self._polls.live.scheduler.start_now(_Watch, (receive, gone), {}, None, link=False)
        watch.wait()
        try:
            return await outcome
        finally:
            watch.exit("kill")
            if not outcome.done() or outcome.cancelled():
                self._polls.abandon(place, number)

    async def _begin(self, scope: Scope, send: Send) -> None:
        """A client without a session gets a new one, and is told so by 410."""
        try:
            self._polls.check_room()
            connects = self._polls.live.connects
            verdict = await admit(self._kind, scope, transport="longpoll", connects=connects)
            if isinstance(verdict, Denied):
                await _deny(send, verdict)
                return
            encoded = _query(scope, "binary") == "base64"
            token = self._polls.open(self._mount, verdict, encoded=encoded)
        except Overloaded as error:
            await _come_later(send, str(error))
            return
        await reply(send, poll_body(GONE, token))

    # POST

    async def _post(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        _, place = self._place(scope, headers)
        if place is None:
            posted: Posted | None = Posted(GONE, 0, "there is no such session")
        else:
            posted = await self._take(place, headers, receive)
        if posted is not None:
            await reply(send, post_body(posted), UNAVAILABLE if posted.status == UNAVAILABLE else OK)

    async def _take(self, place: Place, headers: dict[str, str], receive: Receive) -> Posted | None:
        """The outcome of a post; None when the client is gone."""
        try:
            body = await _body(headers, receive)
            if body is None:
                return None
            frames = frames_of(body, headers.get("content-type", ""))
        except TooLarge as error:
            return Posted(TOO_LARGE, 0, f"{error}; nothing of it was taken")
        except BadMessage as error:
            return Posted(BAD_REQUEST, 0, f"{error}; nothing of it was taken")
        outcome: asyncio.Future[Posted] = asyncio.get_running_loop().create_future()

        def settle(posted: Posted) -> None:
            if not outcome.done():
                outcome.set_result(posted)

        self._polls.post(place, self._mount, frames, settle)
        return await outcome


class _Watch(GenServer):
    """Notices that the client of a waiting poll is gone."""

    def init(self, receive: Receive, gone: Callable[[], None]) -> None:
        self._receive = receive
        self._gone = gone

    @cast
    async def wait(self) -> None:
        """Returns when the client is gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass  # the empty body of a GET
        self._gone()


def _query(scope: Scope, name: str) -> str:
    found = parse_qs(bytes(scope.get("query_string", b"")).decode("latin-1")).get(name)
    return found[-1] if found else ""


async def _body(headers: dict[str, str], receive: Receive) -> bytes | None:
    """The whole body; None when the client goes away meanwhile.

    Raises:
        TooLarge: it is over LONGPOLL_BODY_BYTES_MAX, which a declared length tells before anything is read.
    """
    declared = headers.get("content-length", "")
    if declared.isascii() and declared.isdecimal():
        _check_size(int(declared[:20]))
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part: bytes = message.get("body", b"")
        size += len(part)
        _check_size(size)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _check_size(size: int) -> None:
    if size > LONGPOLL_BODY_BYTES_MAX:
        raise TooLarge("LONGPOLL_BODY_BYTES_MAX", size, LONGPOLL_BODY_BYTES_MAX)


async def _allow(send: Send, headers: dict[str, str]) -> None:
    """Answer a preflight request of a welcome page."""
    asked = headers.get("access-control-request-headers", "")
    if len(asked) > LONGPOLL_ASKED_HEADERS_BYTES_MAX:
        await reply(send, refusal_body(BAD_REQUEST, "it asks for too many headers"), BAD_REQUEST)
        return
    allowed = (b"access-control-allow-headers", asked.encode("latin-1"))
    await reply(send, b"", OK, allowed, METHODS, MAX_AGE)


async def _deny(send: Send, verdict: Denied) -> None:
    """Keep a client out. The client of Phoenix reads the status in the body, of which it knows 403 and 500."""
    status = FORBIDDEN if verdict.status < FAILED else FAILED
    http_status = OK if verdict.status == FORBIDDEN else verdict.status
    pause = () if verdict.retry_after_s is None else (retry_after(verdict.retry_after_s),)
    await reply(send, refusal_body(status, verdict.reason), http_status, *pause)


async def _come_later(send: Send, reason: str) -> None:
    await reply(send, refusal_body(FAILED, reason), UNAVAILABLE, retry_after(1.0))
