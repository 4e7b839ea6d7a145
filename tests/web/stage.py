"""A node's live half without a network, and a client that speaks to a Connection or an ASGI application directly."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from roost.cluster.fabric import Fabric
from roost.config import Config
from roost.live.mail import Mail
from roost.live.presence import Presence
from roost.live.pubsub import PubSub
from roost.otp import Scheduler
from roost.runtime import Runtime
from roost.runtime.clock import Timer
from roost.web.connection import Connection, Live
from roost.web.endpoint import SocketEndpoint
from roost.web.socket import Socket
from roost.wire import phoenix

Message = Any  # tests look into JSON; what is binary is bytes


class HandClock:
    """A clock whose timers fire when the test says so."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.timers: list[tuple[float, Callable[[], object], list[bool]]] = []

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time

    def call_later(self, delay_s: float, action: Callable[[], object]) -> Timer:
        cancelled: list[bool] = []
        self.timers.append((self.time + delay_s, action, cancelled))
        return _HandTimer(cancelled)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(0)

    def advance(self, delay_s: float) -> None:
        self.time += delay_s
        due = [timer for timer in self.timers if timer[0] <= self.time]
        self.timers = [timer for timer in self.timers if timer[0] > self.time]
        for _, action, cancelled in sorted(due, key=lambda timer: timer[0]):
            if not cancelled:
                action()


class _HandTimer:
    def __init__(self, cancelled: list[bool]) -> None:
        self._cancelled = cancelled

    def cancel(self) -> None:
        self._cancelled.append(True)


def make_live(name: str = "a@127.0.0.1", fabric: Fabric | None = None) -> tuple[Live, HandClock]:
    """The live half of a node; it is alone when no fabric is given."""
    clock = HandClock()
    runtime = Runtime.real()
    runtime = Runtime(clock, runtime.entropy, runtime.net)
    fabric = fabric or Fabric(Config(name=name), runtime, b"")
    pubsub = PubSub(fabric, clock)
    scheduler = Scheduler(runtime, name)
    pubsub.mail = Mail(pubsub, scheduler, lambda kind, value: value)
    return Live(scheduler, clock, pubsub, Presence(scheduler, fabric, pubsub), pubsub.mail), clock


async def settle() -> None:
    """Let everything that can happen without time happen."""
    for _ in range(60):
        await asyncio.sleep(0)


class Client:
    """A client of one Connection; it is also its outlet."""

    def __init__(self, live: Live, kind: type[Socket], serializer: phoenix.Serializer = phoenix.V2) -> None:
        self.inbox: list[Message] = []
        self.closed_with: int | None = None
        self.is_paused = False
        socket = kind()
        self.connection = Connection(live, socket, serializer, self, socket.id())

    def write(self, frame: bytes) -> None:
        is_binary, content = phoenix.opened(frame)
        self.inbox.append(content if is_binary else msgspec.json.decode(content))

    def flush(self) -> None:
        pass

    def close(self, code: int) -> None:
        self.closed_with = code

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def say(self, *frame: object) -> None:
        self.connection.take(msgspec.json.encode(frame), binary=False)

    async def hear(self) -> list[Message]:
        """What has come since this was last asked."""
        await settle()
        inbox, self.inbox = self.inbox, []
        return inbox

    async def join(self, topic: str, ref: str = "1", params: Mapping[str, object] | None = None) -> None:
        self.say(ref, ref, topic, "phx_join", params or {})
        heard = await self.hear()
        assert next(message for message in heard if message[3] == "phx_reply")[4]["status"] == "ok", heard


class Collecting(Client):
    """A client whose outlet collects frames until it is flushed, as that of a real socket does."""

    def __init__(self, live: Live, kind: type[Socket], serializer: phoenix.Serializer = phoenix.V2) -> None:
        self.collected: list[bytes] = []
        super().__init__(live, kind, serializer)

    def write(self, frame: bytes) -> None:
        self.collected.append(frame)

    def flush(self) -> None:
        for frame in self.collected:
            super().write(frame)
        self.collected.clear()

    def close(self, code: int) -> None:
        self.flush()
        super().close(code)


def scope_of(**scope: object) -> dict[str, Any]:  # Any: scopes are open dicts
    """The scope of a WebSocket."""
    return {
        "type": "websocket",
        "path": "/socket/websocket",
        "scheme": "ws",
        "query_string": b"vsn=2.0.0",
        "headers": [(b"host", b"example.org")],
        "subprotocols": [],
        "client": ("10.0.0.1", 999),
        **scope,
    }


class Asgi:
    """A WebSocket client that is an ASGI server: it drives the endpoint by hand."""

    def __init__(self, endpoint: SocketEndpoint, **scope: object) -> None:
        self.scope = scope_of(**scope)
        self.sent: list[dict[str, Any]] = []
        self.news = asyncio.Event()
        self.reading = asyncio.Event()
        self.reading.set()
        self.to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.to_app.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(endpoint(self.scope, self.to_app.get, self._send))

    async def _send(self, message: Any) -> None:
        await self.reading.wait()
        self.sent.append(message)
        self.news.set()

    def say(self, *frame: object) -> None:
        self.to_app.put_nowait({"type": "websocket.receive", "text": msgspec.json.encode(frame).decode()})

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Wait until the application has sent `count` messages in all."""
        while len(self.sent) < count:
            self.news.clear()
            await self.news.wait()
        return self.sent

    async def gone(self, code: int = 1001) -> None:
        self.to_app.put_nowait({"type": "websocket.disconnect", "code": code})
        await self.task


def endpoint_of(kind: type[Socket], live: Live) -> SocketEndpoint:
    context = contextvars.copy_context()
    return SocketEndpoint(kind, live, context)
