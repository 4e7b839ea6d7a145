"""Calls to processes of other nodes: the scheduler's way out, and the way in for the others.

A call travels as the process's name or number, the method's name and the arguments. On the way in the method is looked
up in the closed table of what the process's class declares, and the arguments are converted to the types of its
signature: the signature is the schema. Nothing else of a process can be reached from the network. A handle crosses as
the place of its process, and is a handle again where the signature says so.

When things fail: NodeDown at once when the link is lost (the call may have happened), CallTimeout when nothing comes
back in time, ProcessDown, NoSuchProcess, or the refusal that the handler raised.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final
from typing import cast as typed

import msgspec

from roost.cluster.fabric import Fabric
from roost.cluster.link import Link
from roost.cluster.ties import RemoteTies
from roost.errors import BadMessage, NodeDown, NoSuchProcess, NotSendable, ProcessDown, RoostError
from roost.otp import CallSpec, GenServer, Process, Scheduler
from roost.otp.remote import RemoteProcess, remote_handle, target_of
from roost.otp.reply import Failed
from roost.wire.messages import Request
from roost.wire.ties import HandleAt, Who

logger = logging.getLogger("roost.process")

SERVICE: Final = "process"
FOREVER_S: Final = 7 * 24 * 3600.0
"""What a call that waits for ever is given; the link is lost, or the process has ended, long before."""
UNSENDABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""What the encoder raises: an undeclared type, text that is no UTF-8, a number beyond 64 bits, a value without end."""

Decode = Callable[[msgspec.Raw], object]


class ProcessCall(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A call or a cast of a process, which is meant by its name, or by its number of this boot."""

    who: Who
    method: str
    args: tuple[object, ...]
    kwargs: dict[str, object]


def handle_place(value: object) -> HandleAt:
    """What crosses in the place of a handle. Raises TypeError for anything else."""
    if not isinstance(value, GenServer) or not hasattr(type(value), "__handle_of__"):
        raise TypeError(f"{type(value).__name__} is not declared")
    target = target_of(value)
    if target is not None:
        return HandleAt(target.node, target.incarnation, target.who)
    process = value._process
    return HandleAt(process.scheduler.name, process.scheduler.incarnation, process.pid)


encode = msgspec.msgpack.Encoder(enc_hook=handle_place).encode
"""Encode what a process says to one of another node."""
_decode_call = msgspec.msgpack.Decoder(ProcessCall).decode


class ProcessService:
    """Both directions of calls between nodes for one node; the transport of its scheduler."""

    def __init__(self, scheduler: Scheduler, fabric: Fabric) -> None:
        self._scheduler = scheduler
        self._fabric = fabric
        self._decoders: dict[CallSpec, Decode] = {}
        scheduler.transport = self
        scheduler.incarnation = fabric.incarnation
        self._ties = RemoteTies(scheduler, fabric)
        fabric.serve(SERVICE, self)
        self.watch, self.link, self.unlink = self._ties.watch, self._ties.link, self._ties.unlink
        self.exit, self.stop = self._ties.exit, self._ties.stop

    # Out: the Transport of the scheduler.

    def call(
        self,
        target: RemoteProcess,
        spec: CallSpec,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        timeout_s: float | None,
    ) -> Awaitable[object]:
        """Ask a process of another node; the future gives the reply as its signature declares it."""
        if target.incarnation or target.node == self._fabric.node:
            process = self._ties.here(target)
            if process is not None:
                method: Callable[..., Awaitable[object]] = getattr(process.handle.with_timeout(timeout_s), spec.name)
                return method(*args, **kwargs)
            absence = self._ties.absence(target)
            if absence is not None:
                error = absence if isinstance(absence, NodeDown) else ProcessDown(str(target), "noproc")
                return Failed(error)
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def on_reply(outcome: msgspec.Raw | RoostError) -> None:
            if answer.done():
                return
            if isinstance(outcome, RoostError):
                answer.set_exception(outcome)
                return
            try:
                answer.set_result(self.decode_reply(spec, outcome))
            except RoostError as error:
                answer.set_exception(error)

        try:
            body = encode(ProcessCall(target.who, spec.name, args, kwargs))
        except UNSENDABLE as error:
            answer.set_exception(NotSendable(str(error), f"an argument of {target}, {spec.name}"))
            return answer
        self._fabric.request(target.node, SERVICE, body, FOREVER_S if timeout_s is None else timeout_s, on_reply)
        return answer

    def cast(self, target: RemoteProcess, spec: CallSpec, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Tell a process of another node something; lost when it has ended.

        Raises:
            NodeDown, Overloaded, TooLarge: as `Fabric.cast` does.
            NotSendable: when an argument cannot be encoded.
        """
        if target.incarnation or target.node == self._fabric.node:
            process = self._ties.here(target)
            absence = self._ties.absence(target)
            if process is not None:
                process.tell(spec, args, kwargs)
            elif isinstance(absence, NodeDown):
                raise absence
            if absence is not None:
                return
        try:
            body = encode(ProcessCall(target.who, spec.name, args, kwargs))
        except UNSENDABLE as error:
            raise NotSendable(str(error), f"an argument of {target}, {spec.name}") from None
        self._fabric.cast(target.node, SERVICE, body)

    def decode_reply(self, spec: CallSpec, reply: msgspec.Raw) -> object:
        """A reply from the network as the handler declares it.

        Raises:
            BadMessage: when it is of another type.
        """
        decode = self._decoders.get(spec)
        if decode is None:
            kind = typed("type[object]", spec.returns)
            decode = self._decoders[spec] = msgspec.msgpack.Decoder(kind, dec_hook=self.make_handle).decode
        try:
            return decode(reply)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"the reply of {spec!r}: {error}") from error

    # In: a service of the fabric.

    def make_handle(self, kind: type, value: object) -> object:
        """A handle of class `kind` from what crossed in its place. Raises TypeError when that is of another class."""
        if not issubclass(kind, GenServer):
            raise TypeError(f"{kind.__name__} cannot cross between nodes")
        at = msgspec.convert(value, HandleAt)
        target = RemoteProcess(kind.__name__, at.node, at.who, at.incarnation, self)
        process = self._ties.here(target)
        if process is None:
            return remote_handle(kind, at.who, at.node, self, at.incarnation)
        if not isinstance(process.handle, kind):
            raise TypeError(f"{process} is no {kind.__name__}")
        return process.handle

    def on_request(self, link: Link, request: Request) -> None:
        """Another node calls a process here."""
        asked = _taken(request.body)
        process = self._find(asked.who)
        spec = type(process.server).__calls__.get(asked.method)
        if spec is None:
            raise BadMessage(f"{asked.who} declares no call {asked.method!r}")
        args, kwargs = spec.convert(asked.args, asked.kwargs, self.make_handle)

        def on_reply(value: object, error: Exception | None) -> None:
            if error is not None:
                link.refuse(request.id, error)
                return
            try:
                link.reply(request.id, encode(value))
            except UNSENDABLE as problem:
                link.refuse(request.id, NotSendable(str(problem), f"the reply of {spec!r}"))

        timeout_s = request.timeout_ms / 1000.0
        self._scheduler.inside(lambda: self._scheduler.deliver_call(process, spec, args, kwargs, on_reply, timeout_s))

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Another node tells a process here something; a problem is logged, as nobody waits."""
        try:
            asked = _taken(body)
            process = self._find(asked.who)
            spec = type(process.server).__casts__.get(asked.method)
            if spec is None:
                raise BadMessage(f"{asked.who} declares no cast {asked.method!r}")
            args, kwargs = spec.convert(asked.args, asked.kwargs, self.make_handle)
            self._scheduler.deliver_cast(process, spec, args, kwargs)
        except RoostError as error:
            logger.warning("%s: a cast of %s was not taken: %s", self._fabric.node, link.peer, error)

    def _find(self, who: Who) -> Process:
        process = self._ties.find(who)
        if process is None and isinstance(who, str):
            raise NoSuchProcess(who)
        if process is None:
            raise ProcessDown(f"process #{who}", "noproc")
        return process


def _taken(body: msgspec.Raw) -> ProcessCall:
    try:
        return _decode_call(body)
    except msgspec.MsgspecError as error:
        raise BadMessage(str(error)) from None
