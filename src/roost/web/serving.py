"""Serving HTTP and WebSockets with uvicorn's protocols, inside the node's own loop.

The node listens through its network seam and hands each connection to uvicorn (httptools for HTTP, its sans-I/O
websockets protocol with ready-frame writes). uvicorn's own server loop, signal handlers and lifespan stay out of it:
starting and stopping is the node's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState

from roost.config import Address
from roost.limits import SOCKET_FRAME_BYTES_MAX
from roost.runtime import Runtime
from roost.runtime.net import Listener
from roost.web.cork import HttpProtocol
from roost.web.frames import FrameProtocol

DRAIN_S: Final = 2.0
"""How long running requests and closing sockets may take when the server stops."""
CUT_S: Final = 0.5
"""How much of that there is at least after the sockets were sent away."""
POLL_S: Final = 0.01
KEEP_ALIVE_S: Final = 60
"""How long an idle HTTP connection stays open."""

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application. Any: scopes and messages of ASGI are open dicts by its specification."""

logger = logging.getLogger("roost.web")


class WebServer:
    """The web port of one node.

    Args:
        app: what to serve.
        runtime: the node's doors to the world.
        state: the lifespan state that each request gets a copy of.
    """

    def __init__(self, app: Application, runtime: Runtime, state: dict[str, Any] | None = None) -> None:
        self._runtime = runtime
        self._app_state = {} if state is None else state
        self._state = ServerState()
        self._listener: Listener | None = None
        self._refused_at: float | None = None
        self._config = uvicorn.Config(
            app,
            http=HttpProtocol,
            ws=FrameProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            ws_max_size=SOCKET_FRAME_BYTES_MAX,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._state.connections)

    async def start(self, address: Address) -> Address:
        """Listen; returns where, with the real port when 0 was asked for.

        Raises:
            OSError: when the address is taken.
        """
        # uvicorn says in INFO what only matters to its own server.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self._config.load()
        self._listener = await self._runtime.net.listen(address, self._accept)
        return self._listener.address

    def refuse(self) -> None:
        """Accept nobody any more, and let each HTTP connection end with the request that it serves."""
        if self._listener is None:
            return
        self._listener.close()
        if self._refused_at is None:
            self._refused_at = self._runtime.clock.now()
        for connection in list(self._state.connections):
            if isinstance(connection, HttpProtocol):
                connection.shutdown()

    async def stop(self) -> None:
        """Accept nobody any more, tell sockets to reconnect (1012), let requests finish, then cut what is left.

        Requests have DRAIN_S since the first call of this, or of `refuse`.
        """
        self.refuse()
        if self._refused_at is None:
            return
        state, clock = self._state, self._runtime.clock
        for connection in list(state.connections):
            connection.shutdown()
        deadline = max(self._refused_at + DRAIN_S, clock.now() + CUT_S)
        while (state.connections or state.tasks) and clock.now() < deadline:
            await clock.sleep(POLL_S)
        for connection in list(state.connections):
            connection.transport.abort()
        for task in list(state.tasks):
            task.cancel()
        while state.tasks and clock.now() < deadline + DRAIN_S:
            await clock.sleep(POLL_S)
        if state.tasks:
            logger.warning("%d requests did not end", len(state.tasks))

    def _accept(self) -> asyncio.Protocol:
        return HttpProtocol(self._config, self._state, self._app_state)
