"""The ASGI lifespan of an application inside an application.

`Roost` stands before the web application of a team, so it has to pass on "start up" and "shut down". Many
applications have no lifespan at all, and say so by raising or by returning early: that is no error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from roost.errors import Unavailable
from roost.otp import GenServer, call
from roost.web.serving import Application

Message = MutableMapping[str, Any]
# Any: scopes and messages of ASGI are open dicts by its specification.

logger = logging.getLogger("roost.web")


class LifespanFailed(Unavailable):
    """The web application did not start."""

    code = "lifespan_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the web application did not start: {self.reason}"


async def live(
    web: Application,
    scope: Message,
    started: Callable[[], Awaitable[None]],
    stopping: Callable[[], Awaitable[None]],
) -> None:
    """Run the lifespan of `web` from start to end.

    Args:
        web: the application.
        scope: the lifespan scope.
        started: awaited when `web` has started, or has no lifespan.
        stopping: awaited before `web` is told to stop; the first await that follows `started`.

    Raises:
        LifespanFailed: when `web` says that it cannot start.
    """
    told = has_started = False

    async def receive() -> Message:
        nonlocal told
        if not told:
            told = True
            return {"type": "lifespan.startup"}
        await stopping()
        return {"type": "lifespan.shutdown"}

    async def send(message: Message) -> None:
        nonlocal has_started
        if message["type"] == "lifespan.startup.complete":
            has_started = True
            await started()
        elif message["type"] == "lifespan.startup.failed":
            raise LifespanFailed(str(message.get("message", "")))
        elif message["type"] == "lifespan.shutdown.failed":
            logger.error("the web application did not stop well: %s", message.get("message", ""))

    try:
        await web(scope, receive, send)
    except LifespanFailed:
        raise
    except Exception as error:
        if has_started:
            raise
        logger.debug("the web application has no lifespan: %r", error)
    if not has_started:
        await started()
        await stopping()


class State:
    """What a web application has put into its lifespan state; each request gets a copy."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}


class Lifespan(GenServer):
    """The lifespan of a web application that a node serves itself. It is cut short unless `finish` is awaited."""

    async def init(self, web: Application, state: State) -> None:
        """Returns when the application has started.

        Raises:
            LifespanFailed: when it cannot start.
        """
        self._stopping = asyncio.Event()
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def started() -> None:
            begun.set_result(None)

        async def stopping() -> None:
            await self._stopping.wait()

        async def whole() -> None:
            scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state.values}
            try:
                await live(web, scope, started, stopping)
            except Exception as error:
                if begun.done():
                    logger.exception("the lifespan of the web application failed")
                else:
                    begun.set_exception(error)
            finally:
                self._done.set_result(None)

        self.activity(whole(), "lifespan")
        await begun

    @call
    async def finish(self) -> None:
        """Tell the application to stop, and wait until it has."""
        self._stopping.set()
        await asyncio.shield(self._done)
