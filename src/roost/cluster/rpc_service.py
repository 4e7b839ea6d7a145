"""Calls of functions between nodes: the way out, and the way in.

Each call runs in a process of its own, which ends with it, at the latest when its caller has given up. So a function
may take long, and wait, and crash, and nobody else notices. There are RPC_MAX of them at a time on one node.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from roost.cluster.exports import Exported, Exports
from roost.cluster.fabric import Fabric
from roost.cluster.link import Link
from roost.cluster.process_service import FOREVER_S, UNSENDABLE, ProcessService, encode
from roost.errors import BadMessage, NodeDown, NotSendable, Overloaded, RoostError
from roost.limits import HEARTBEAT_S, RPC_MAX
from roost.otp import Child, GenServer, Process, Scheduler, call, isolate
from roost.otp.declare import ASYNC
from roost.otp.ending import STOP
from roost.otp.tasks.process import follow
from roost.runtime.clock import Timer
from roost.wire.messages import Request

logger = logging.getLogger("roost.rpc")

SERVICE: Final = "rpc"

OnResult = Callable[[object, Exception | None], None]
"""Called exactly once: with the result, or with the error."""


class FunctionCall(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A call or a cast of an exported function."""

    function: str
    args: tuple[object, ...]


_decode_call = msgspec.msgpack.Decoder(FunctionCall).decode


class RpcSupervisor(GenServer):
    """Whose children the running calls are: they end with it."""

    def init(self, service: RpcService) -> None:
        """Take calls from now on."""
        service.opened(self._process)


class RemoteCall(GenServer):
    """Runs one exported function, and ends with it."""

    def init(self, exported: Exported, args: tuple[object, ...]) -> None:
        """Get ready."""
        self._exported, self._args = exported, args

    @call
    def run(self) -> object:
        """Run a `def`, and reply with what it returns."""
        return self._exported.function(*self._args)

    @call
    async def run_async(self) -> object:
        """Run an `async def`, and reply with what it returns."""
        value = self._exported.function(*self._args)
        assert inspect.isawaitable(value)
        return await value


class RpcService:
    """Both directions of calls of functions for one node.

    Args:
        scheduler: its processes.
        fabric: its links.
        processes: who knows how handles cross.
    """

    def __init__(self, scheduler: Scheduler, fabric: Fabric, processes: ProcessService) -> None:
        self._scheduler, self._fabric, self._processes = scheduler, fabric, processes
        self._supervisor: Process | None = None
        self._running = 0
        fabric.serve(SERVICE, self)

    @property
    def running(self) -> int:
        """How many calls run on this node."""
        return self._running

    def part(self) -> Child:
        """The process that keeps the running calls, as a part of the node."""
        return RpcSupervisor.child(self, id="rpc")

    def opened(self, supervisor: Process) -> None:
        """The supervisor runs, for the first time or again."""
        self._supervisor = supervisor

    # Out

    def call(
        self, node: str, function: str | Callable[..., object], args: tuple[object, ...], timeout_s: float | None
    ) -> Awaitable[object]:
        """Ask a node to run an exported function; the future gives what it returns, or raises."""
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        exported = Exports.find(function)

        def on_result(value: object, error: Exception | None) -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(value)

        def on_reply(outcome: msgspec.Raw | RoostError) -> None:
            try:
                if isinstance(outcome, RoostError):
                    raise outcome
                on_result(self._processes.decode_reply(exported, outcome), None)
            except RoostError as error:
                on_result(None, error)

        timeout_s = self._scheduler.patience_s(timeout_s)
        patience_s = FOREVER_S if timeout_s is None else timeout_s
        try:
            if node == self._fabric.node:
                taken = tuple([isolate(value, exported.argument(at)) for at, value in enumerate(args)])
                self._run(exported, taken, on_result, patience_s)
            else:
                self._fabric.request(node, SERVICE, _encoded(exported, args), patience_s, on_reply)
        except RoostError as error:
            on_result(None, error)
        return answer

    def cast(self, node: str, function: str | Callable[..., object], args: tuple[object, ...]) -> None:
        """Tell a node to run an exported function, and do not wait.

        Raises:
            NodeDown, Overloaded, TooLarge, NotExported, NotSendable: when it was not sent.
        """
        exported = Exports.find(function)
        if node == self._fabric.node:
            taken = tuple([isolate(value, exported.argument(at)) for at, value in enumerate(args)])
            self._run(exported, taken, _log_failure(exported, node), None)
        else:
            self._fabric.cast(node, SERVICE, _encoded(exported, args))

    # In

    def on_request(self, link: Link, request: Request) -> None:
        """Another node calls a function here."""
        exported, args = self._taken(request.body)

        def on_result(value: object, error: Exception | None) -> None:
            if error is not None:
                link.refuse(request.id, error)
                return
            try:
                link.reply(request.id, encode(value))
            except UNSENDABLE as problem:
                link.refuse(request.id, NotSendable(str(problem), f"the result of {exported!r}"))

        self._run(exported, args, on_result, request.timeout_ms / 1000.0)

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Another node wants a function to run here; a problem is logged, as nobody waits."""
        try:
            exported, args = self._taken(body)
            self._run(exported, args, _log_failure(exported, link.peer), None)
        except RoostError as error:
            logger.warning("%s: a cast of %s was not taken: %s", self._fabric.node, link.peer, error)

    def _taken(self, body: msgspec.Raw) -> tuple[Exported, tuple[object, ...]]:
        try:
            asked = _decode_call(body)
        except msgspec.MsgspecError as error:
            raise BadMessage(str(error)) from None
        exported = Exports.find(asked.function)
        return exported, exported.convert(asked.args, {}, self._processes.make_handle)[0]

    def _run(self, exported: Exported, args: tuple[object, ...], on_result: OnResult, timeout_s: float | None) -> None:
        supervisor = self._supervisor
        if supervisor is None or not supervisor.alive:
            raise NodeDown(self._fabric.node, "it starts, or stops")
        if self._running >= RPC_MAX:
            raise Overloaded(f"the list of calls that run on {self._fabric.node}", HEARTBEAT_S)
        exported.check(args)
        process = self._scheduler.start_now(RemoteCall, (exported, args), {}, None, link=False)._process
        process.tied.parent = supervisor
        self._running += 1
        timer: Timer | None = None
        if exported.kind == ASYNC:  # any other one is over in one step
            follow(supervisor, process)
            if timeout_s is not None:
                timer = self._scheduler.runtime.clock.call_later(timeout_s, process.kill)

        def done(value: object, error: Exception | None) -> None:
            self._running -= 1
            if timer is not None:
                timer.cancel()
            process.post_control(STOP, "normal")
            on_result(value, error)

        spec = RemoteCall.__calls__["run_async" if exported.kind == ASYNC else "run"]
        self._scheduler.inside(lambda: self._scheduler.deliver_call(process, spec, (), {}, done, timeout_s))


def _encoded(exported: Exported, args: tuple[object, ...]) -> bytes:
    try:
        return encode(FunctionCall(exported.name, args))
    except UNSENDABLE as error:
        raise NotSendable(str(error), f"an argument of {exported!r}") from None


def _log_failure(exported: Exported, caller: str) -> OnResult:
    def on_result(value: object, error: Exception | None) -> None:
        if error is not None:
            logger.warning("%r, which %s told to run, has failed: %s", exported, caller, error)

    return on_result
