"""`Roost`: an application, and the ASGI face of the node that runs it.

::

    app = Roost("chat", children=[Counter.child(name="hits")], sockets={"/socket": UserSocket}, web=fastapi_app)

`roost run chat:app` starts nodes that serve it by themselves. It is also an ordinary ASGI application: under
`uvicorn chat:app` the lifespan starts one node, configured by ROOST_* variables when there are any.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from roost.cluster.coordinator import VnodeRing
from roost.cluster.node import Node
from roost.cluster.vnode import CommandT, ReplyT, Vnode
from roost.config import Address, Config
from roost.data.bucket import Bucket, BucketOptions
from roost.data.kv import Kv
from roost.data.kv_vnode import Merge
from roost.errors import ConfigError, StartFailed
from roost.limits import REPLICAS
from roost.live.presence import Presence
from roost.live.pubsub import PubSub
from roost.otp import Child
from roost.runtime import Runtime
from roost.runtime.disk import FolderDisk
from roost.web.answer import Receive, Scope, Send, refuse
from roost.web.connection import Live
from roost.web.endpoint import SocketEndpoint
from roost.web.kv import AppRing, KeyValue
from roost.web.lifespan import Lifespan, State, live
from roost.web.serving import Application, WebServer
from roost.web.socket import Socket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette

logger = logging.getLogger("roost.web")


class RunningApp:
    """An application on a node that is up.

    Attributes:
        node: the node.
        kv: its part of the store.
        buckets: the buckets of the application, by name.
        rings: the rings of vnodes of the application, by name.
        live: its topics and presences.
        address: where it serves the web itself; None under another server.
    """

    def __init__(
        self, node: Node, live: Live, sockets: Mapping[str, SocketEndpoint], stopped: Callable[[RunningApp], None]
    ) -> None:
        self.node = node
        self.kv = Kv(node)
        self.buckets: dict[str, Bucket] = {}
        self.rings: dict[str, VnodeRing[Any, Any]] = {}
        self.live = live
        self.address: Address | None = None
        self._sockets = sockets
        self._stopped = stopped
        self._server: WebServer | None = None
        self._lifespan: Lifespan | None = None

    @property
    def connections(self) -> int:
        """How many clients have a socket here."""
        return sum(endpoint.connections for endpoint in self._sockets.values())

    def socket_at(self, path: str) -> SocketEndpoint | None:
        """What serves a socket's path, or None."""
        return self._sockets.get(path)

    async def serve(self, app: Application, web: Application | None, address: Address) -> None:
        """Start the web application and listen for browsers.

        Raises:
            LifespanFailed: when the web application cannot start.
            OSError: when the address is taken.
        """
        with self.node.entered():
            state = State()
            if web is not None:
                try:
                    self._lifespan = await Lifespan.start(web, state)
                except StartFailed as error:
                    raise error.__cause__ or error from None
            server = WebServer(app, self.node.runtime, state.values)
            self.address = await server.start(address)
            self._server = server
        logger.info("%s serves http://%s", self.node.name, self.address)

    async def stop(self) -> None:
        """Drain the sockets (close code 1012), let requests finish, stop the web application, then the node."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop()
        lifespan, self._lifespan = self._lifespan, None
        if lifespan is not None and lifespan.is_alive():
            await lifespan.finish()
            await lifespan.stop("shutdown")
        self.live.presence.stop()
        await self.node.stop()
        self._stopped(self)


class Roost:
    """An application: what is the same on each of its nodes.

    Args:
        name: what it is called in logs.
        children: processes that each node starts in this order, and keeps running.
        sockets: a Socket class for each path; clients connect to `<path>/websocket`.
        web: any ASGI application, for everything that is not a socket.
    """

    def __init__(
        self,
        name: str = "roost",
        *,
        children: Sequence[Child] = (),
        sockets: Mapping[str, type[Socket]] | None = None,
        web: Application | None = None,
    ) -> None:
        self.name = name
        self.children = tuple(children)
        self.sockets = {_clean(path): kind for path, kind in (sockets or {}).items()}
        self.web = web
        self._buckets: dict[str, Callable[[Kv], Bucket]] = {}
        self._rings: dict[str, tuple[type[Vnode[Any, Any]], int]] = {}
        self._running: dict[Node, RunningApp] = {}
        self._only: RunningApp | None = None

    # What the application is made of

    def kv(
        self,
        name: str,
        *,
        n: int = REPLICAS,
        merge: Merge | None = None,
        durable: bool | None = None,
        **usual: Unpack[BucketOptions],
    ) -> KeyValue:
        """Declare a bucket of the store; to be said before the application starts.

        Args:
            name: what it is called; every node must declare it alike.
            n: on how many nodes each value is kept; on all, in a cluster of fewer.
            merge: makes one value of concurrent ones, whatever their order; without it a read of them raises Conflict.
            durable: whether a write counts only when it is on disk; whether there is a data folder when not given.
            usual: what reads and writes need when they do not say it themselves, as r=2, w="all" or pw=1; see
                `core.terms`.

        Raises:
            ConfigError: when a bucket of this name is declared already.
        """
        if name in self._buckets:
            raise ConfigError("kv", f"the bucket {name!r} is declared twice")
        self._buckets[name] = lambda kv: kv.bucket(name, n=n, merge=merge, durable=durable, **usual)
        return KeyValue(self.running, name)

    def ring(
        self, kind: type[Vnode[CommandT, ReplyT]], name: str | None = None, n: int = REPLICAS
    ) -> AppRing[CommandT, ReplyT]:
        """Declare a ring of vnodes of your own; to be said before the application starts.

        Args:
            kind: the class of the vnodes.
            name: what the ring is called; the name of the class when not given.
            n: how many vnodes may handle one command, each on a node of its own.

        Raises:
            ConfigError: when a ring of this name is declared already.
        """
        name = name or kind.__name__
        if name in self._rings:
            raise ConfigError("ring", f"the ring {name!r} is declared twice")
        self._rings[name] = kind, n
        return AppRing(self.running, kind, name)

    # Life

    async def boot(self, config: Config, runtime: Runtime) -> RunningApp:
        """Start a node that runs this application, and serve the web at `config.web` when it is set.

        Raises:
            ConfigError: when a setting makes no sense.
            StartFailed: when a part of the node or a child did not start; what had started was stopped.
            OSError: when an address is taken, or the disk fails.
        """
        running = await self._start(config, runtime)
        if config.web is not None:
            try:
                await running.serve(self, self.web, config.web)
            except BaseException:
                await running.stop()
                raise
        return running

    async def _start(self, config: Config, runtime: Runtime) -> RunningApp:
        node = Node(config, runtime)
        with node.entered():
            pubsub = PubSub(node.fabric, runtime.clock)
            presence = Presence(node.fabric, pubsub, runtime.clock)
            services = Live(node.scheduler, runtime.clock, pubsub, presence)
            context = copy_context()
        sockets = {path + "/websocket": SocketEndpoint(kind, services, context) for path, kind in self.sockets.items()}
        running = RunningApp(node, services, sockets, self._forget)
        for name, make in self._buckets.items():
            running.buckets[name] = make(running.kv)
        for name, (kind, n) in self._rings.items():
            running.rings[name] = VnodeRing(node, kind, name, n)
        self._running[node] = self._only = running
        for child in self.children:
            node.add_child(child)
        try:
            await node.start()
        except StartFailed as error:
            self._forget(running)
            cause = _root_cause(error)
            raise cause if isinstance(cause, OSError | ConfigError) else error from None
        except BaseException:
            self._forget(running)
            raise
        return running

    def _forget(self, running: RunningApp) -> None:
        self._running.pop(running.node, None)
        self._only = next(iter(self._running.values())) if len(self._running) == 1 else None

    def running(self) -> RunningApp:
        """This application on the current node.

        Raises:
            RuntimeError: when it does not run here: before its start, or outside of its handlers and children.
        """
        only = self._only
        if only is not None and len(self._running) == 1:
            return only
        running = self._running.get(Node.current())
        if running is None:
            raise RuntimeError(f"{self.name} does not run on this node")
        return running

    # ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        running = self.running()
        if kind == "websocket":
            endpoint = running.socket_at(scope["path"]) or running.socket_at(_below_root(scope))
            if endpoint is not None:
                await _inside(running.node, endpoint, scope, receive, send)
                return
        if self.web is not None:
            await _inside(running.node, self.web, scope, receive, send)
        elif kind == "http":
            await refuse(send, 404, "not_found", "there is nothing here", path=scope["path"])
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with self.lifespan():
                await self._live_with_web(scope, receive, send)
        except Exception as error:
            logger.exception("%s cannot start", self.name)
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})

    async def _live_with_web(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def started() -> None:
            await send({"type": "lifespan.startup.complete"})

        async def stopping() -> None:
            await receive()

        if self.web is None:
            await started()
            await stopping()
        else:
            await live(self.web, scope, started, stopping)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[RunningApp]:
        """A node for the time of the block, configured by ROOST_* variables, for servers that serve the web themselves.

        Raises:
            ConfigError: when a setting makes no sense.
        """
        config = Config.from_env(os.environ)
        if not config.seeds and multiprocessing.parent_process() is not None:
            # A server makes its workers with multiprocessing, and each of them gets here.
            logger.warning(
                "%s runs in a worker of its server, as a node alone: several workers are several nodes that know "
                "nothing of each other, and what one has stored the others do not find. Serve with one worker, or use "
                "`roost run`",
                self.name,
            )
        disk = None if config.data is None else FolderDisk(Path(config.data))
        running = await self._start(config, Runtime.real(disk))
        with running.node.entered():
            try:
                yield running
            finally:
                await running.stop()

    def mount(self, app: Starlette) -> None:
        """Add this application to an existing Starlette or FastAPI application: its sockets, its life, and its node
        for every request.

        ::

            fastapi_app = FastAPI()
            roost = Roost("chat", sockets={"/socket": UserSocket})
            roost.mount(fastapi_app)
        """
        from starlette.routing import Mount

        inner = app.router.lifespan_context

        @asynccontextmanager
        async def both(outer: Any) -> AsyncIterator[Any]:  # Any: whatever state the application has
            async with self.lifespan(), inner(outer) as state:
                yield state

        app.router.lifespan_context = both
        app.add_middleware(_Inside, roost=self)
        for number, path in enumerate(self.sockets):
            app.router.routes.insert(number, Mount(path, app=self))


def _clean(path: str) -> str:
    if not path.startswith("/") or path.endswith("/"):
        raise ConfigError("sockets", f"the path {path!r} must begin with a slash and not end with one")
    return path


def _below_root(scope: Scope) -> str:
    """The path below where a server has mounted this application."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class _Inside:
    """Runs each request of an application with the node of `roost` as the current one."""

    def __init__(self, app: Application, roost: Roost) -> None:
        self._app = app
        self._roost = roost

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await _inside(self._roost.running().node, self._app, scope, receive, send)


async def _inside(node: Node, app: Application, scope: Scope, receive: Receive, send: Send) -> None:
    """Run an application with `node` as the current one, as it is already when the node itself serves the web."""
    if _is_current(node):
        await app(scope, receive, send)
    else:
        with node.entered():
            await app(scope, receive, send)


def _is_current(node: Node) -> bool:
    try:
        return Node.current() is node
    except RuntimeError:
        return False


def _root_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
