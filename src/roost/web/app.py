"""`Roost`: an application, and the ASGI face of the node that runs it.

::

    app = Roost("chat", children=[Counter.child(name="hits")], sockets={"/socket": UserSocket}, web=fastapi_app)

`roost run chat:app` starts nodes that serve it by themselves. It is also an ordinary ASGI application: under
`uvicorn chat:app` the lifespan starts one node, configured by ROOST_* variables when there are any.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
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
from roost.live.channel import Payload
from roost.live.mail import Mail
from roost.live.presence import Presence
from roost.live.presence_fetch import Fetch
from roost.live.pubsub import PubSub
from roost.live.topic_counts import TopicCounts
from roost.otp import Child
from roost.runtime import Runtime
from roost.runtime.disk import FolderDisk
from roost.web.answer import Receive, Scope, Send, refuse
from roost.web.client_files import PREFIX, TYPES, client_files
from roost.web.connection import DISCONNECT, Live
from roost.web.drain import Drainable, drain
from roost.web.endpoint import SocketEndpoint
from roost.web.kv import AppRing, KeyValue
from roost.web.lifespan import Lifespan, State, live
from roost.web.longpoll import LongPollEndpoint, LongPolls
from roost.web.mounts import Mounts, clean
from roost.web.serving import Application, WebServer
from roost.web.siblings import Sibling
from roost.web.socket import Socket
from roost.web.socket_counts import SocketCounts

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
        polls: the sessions of its long polls.
        mounts: who serves which path.
        address: where it serves the web itself; None under another server.
    """

    def __init__(self, node: Node, live: Live, polls: LongPolls, stopped: Callable[[RunningApp], None]) -> None:
        self.node = node
        self.polls = polls
        self.kv = Kv(node)
        self.buckets: dict[str, Bucket] = {}
        self.rings: dict[str, VnodeRing[Any, Any]] = {}
        self.live = live
        self.mounts = Mounts()
        self.address: Address | None = None
        self._endpoints: dict[str, SocketEndpoint] = {}
        self._pollings: dict[str, LongPollEndpoint] = {}
        self._stopped = stopped
        self._server: WebServer | None = None
        self._lifespan: Lifespan | None = None

    @property
    def connections(self) -> int:
        """How many clients have a socket here."""
        return self.polls.sessions + sum(endpoint.connections for endpoint in self._endpoints.values())

    def socket_counts(self) -> tuple[SocketCounts, ...]:
        """What the sockets of each endpoint are at, by path. O(clients)."""
        return tuple(self._counts_of(path, endpoint) for path, endpoint in sorted(self._endpoints.items()))

    def topic_counts(self) -> TopicCounts:
        """What the topics and presences of this node are at. O(topics)."""
        pubsub, presence, missed = self.live.pubsub, self.live.presence, self.live.mail.missed
        topics, subscribers = pubsub.sizes()
        return TopicCounts(
            topics=topics,
            subscribers=subscribers,
            presences=presence.own,
            lost=pubsub.lost,
            refused=missed["refused"],
            unknown=missed["unknown"],
            failed=missed["failed"],
            bad=missed["bad"] + pubsub.bad + presence.bad,
            unfit=self.live.unfit.count,
            unwanted=pubsub.unwanted,
        )

    def _counts_of(self, path: str, endpoint: SocketEndpoint) -> SocketCounts:
        polling = self._pollings.get(path)
        both = [endpoint.slow_readers] + ([] if polling is None else [polling.slow_readers])
        return SocketCounts(
            path=path,
            sockets=endpoint.connections,
            channels=sum(len(client.seats) for client in endpoint.clients),
            polls=self.polls.sessions_at(path),
            behind=sum(readers.behind for readers in both),
            waiting_bytes=sum(readers.waiting_bytes for readers in both),
            dropped=sum(readers.dropped for readers in both),
            coalesced=sum(readers.coalesced for readers in both),
            closed_slow=sum(readers.closed for readers in both),
        )

    def _clients(self) -> list[Drainable]:
        sockets = [client for endpoint in self._endpoints.values() for client in endpoint.clients]
        return [*sockets, *self.polls.clients()]

    def open(self, path: str, kind: type[Socket], context: Context) -> None:
        """Let clients in at a path.

        Args:
            path: the path of the mount.
            kind: the Socket class that is served there.
            context: where the handlers of what clients say run.
        """
        endpoint = SocketEndpoint(kind, self.live, context)
        self._endpoints[path] = endpoint
        self.mounts.add(path + "/websocket", endpoint)
        if kind.longpoll:
            self._pollings[path] = polling = LongPollEndpoint(kind, path, self.polls)
            self.mounts.add(path + "/longpoll", polling, ("http",))

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
        """Send the clients away (1012), let requests finish, stop the web application, then the node."""
        server, self._server = self._server, None
        if server is not None:
            server.refuse()
        self.polls.refuse()
        left = await drain(self._clients, self.node.runtime.clock)
        if left:
            logger.warning("%s cuts off %d sockets that did not end in time", self.node.name, left)
        self.polls.cut()
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
        sockets: a Socket class for each path; clients connect to `<path>/websocket`. A segment of a path such as
            `{tenant}` stands for any, and is given to `connect` as a parameter.
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
        self.sockets = {clean(path): kind for path, kind in (sockets or {}).items()}
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
            presence = Presence(node.scheduler, node.fabric, pubsub, fetch_for=self._fetch_for)
            services = Live(node.scheduler, runtime.clock, pubsub, presence, Mail.of(node))
            context = copy_context()
        polls = LongPolls(node.fabric, runtime, services, context, config.cookie)
        running = RunningApp(node, services, polls, self._forget)
        for path, kind in self.sockets.items():
            running.open(path, kind, context)
        for file in TYPES:
            running.mounts.add(PREFIX + file, client_files, ("http",))
        for name, make in self._buckets.items():
            running.buckets[name] = make(running.kv)
        for name, (vnode, n) in self._rings.items():
            running.rings[name] = VnodeRing(node, vnode, name, n)
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

    def _fetch_for(self, topic: str) -> Fetch | None:
        """What adds something to the presences of a topic: the hook of the first channel class that has one."""
        for kind in self.sockets.values():
            channel = kind.channel_for(topic)
            if channel is not None and channel.has_fetch():
                return channel.fetch
        return None

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

    # Talking to clients

    def broadcast(self, topic: str, event: str, payload: Payload | bytes) -> None:
        """Send an event to every client on a topic, on all nodes, from anywhere in the program.

        At most once; what a node that is down, or cut off, should have got is lost.

        Raises:
            TypeError: `payload` is neither an object nor bytes, or holds something that JSON cannot express.
            RuntimeError: the application does not run here.
        """
        self.running().live.pubsub.broadcast(topic, event, payload)

    def disconnect(self, socket_id: str) -> None:
        """Close every connection whose `Socket.id` is `socket_id`, on all nodes, with 1001.

        Its channels end. Clients connect again by themselves: keep them out in `connect` when they shall stay away.
        At most once, as a broadcast: connections of a node that is cut off stay.

        Raises:
            RuntimeError: the application does not run here.
        """
        self.broadcast(socket_id, DISCONNECT, {})

    # ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        running = self.running()
        found = running.mounts.find(scope)
        if found is not None:
            endpoint, variables = found
            if variables:
                scope = {**scope, "path_params": {**scope.get("path_params", {}), **variables}}
            await _inside(running.node, endpoint, scope, receive, send)
        elif self.web is not None:
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

        In one of several workers of a server it is a member of their cluster: see `roost.web.siblings`.

        Raises:
            ConfigError: when a setting makes no sense.
            OSError: when the disk fails, or an address is taken.
        """
        config = Config.from_env(os.environ)
        sibling = await Sibling.claim(self.name, config, os.environ)
        if sibling is None:
            disk = None if config.data is None else FolderDisk(Path(config.data))
            async with self._running_on(config, Runtime.real(disk)) as running:
                yield running
            return
        try:
            await sibling.wait_for_the_first()
            async with self._running_on(sibling.config, sibling.runtime) as running:
                try:
                    await sibling.meet(running.node)
                    yield running
                finally:
                    await sibling.leave()
        finally:
            sibling.release()

    @asynccontextmanager
    async def _running_on(self, config: Config, runtime: Runtime) -> AsyncIterator[RunningApp]:
        running = await self._start(config, runtime)
        with running.node.entered():
            try:
                yield running
            finally:
                await running.stop()

    def mount(self, app: Starlette) -> None:
        """Add this application to an existing Starlette or FastAPI application: its sockets, the browser client, its
        life, and its node for every request.

        ::

            fastapi_app = FastAPI()
            roost = Roost("chat", sockets={"/socket": UserSocket})
            roost.mount(fastapi_app)
        """
        from starlette.routing import Mount, Route

        inner = app.router.lifespan_context

        @asynccontextmanager
        async def both(outer: Any) -> AsyncIterator[Any]:  # Any: whatever state the application has
            async with self.lifespan(), inner(outer) as state:
                yield state

        app.router.lifespan_context = both
        app.add_middleware(_Inside, roost=self)
        for number, path in enumerate(self.sockets):
            app.router.routes.insert(number, Mount(path, app=self))
        for file in TYPES:
            app.router.routes.insert(0, Route(PREFIX + file, self, include_in_schema=False))


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
