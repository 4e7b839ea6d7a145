"""Calls to named processes of other nodes: the scheduler's way out, and the way in for the others.

A call travels as the process's name, the method's name and the arguments. On the way in the method is looked up in the
closed table of what the process's class declares, and the arguments are converted to the types of its signature: the
signature is the schema. Nothing else of a process can be reached from the network.

When things fail: NodeDown at once when the link is lost (the call may have happened), CallTimeout when nothing comes
back in time, ProcessDown, NoSuchProcess, or the refusal that the handler raised.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Final

import msgspec

from roost.cluster.fabric import Fabric
from roost.cluster.link import Link
from roost.errors import BadMessage, NotSendable, RoostError
from roost.otp import CallSpec, Scheduler
from roost.wire.messages import Request

logger = logging.getLogger("roost.process")

SERVICE: Final = "process"
FOREVER_S: Final = 7 * 24 * 3600.0
"""What a call that waits for ever is given; the link is lost, or the process has ended, long before."""
UNSENDABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""What the encoder raises: an undeclared type, text that is no UTF-8, a number beyond 64 bits, a value without end."""


class ProcessCall(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A call or a cast of a named process."""

    name: str
    method: str
    args: tuple[object, ...]
    kwargs: dict[str, object]


_encode = msgspec.msgpack.Encoder().encode
_decode_call = msgspec.msgpack.Decoder(ProcessCall).decode


class ProcessService:
    """Both directions of calls between nodes for one node."""

    def __init__(self, scheduler: Scheduler, fabric: Fabric) -> None:
        self._scheduler = scheduler
        self._fabric = fabric
        scheduler.transport = self
        fabric.serve(SERVICE, self)

    # Out: the Transport of the scheduler.

    def call(
        self,
        node: str,
        name: str,
        method: str,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        timeout_s: float | None,
        spec: CallSpec,
    ) -> Awaitable[object]:
        """Ask the process `name` of `node`; the future gives the reply as its signature declares it."""
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def on_reply(outcome: msgspec.Raw | RoostError) -> None:
            if answer.done():
                return
            if isinstance(outcome, RoostError):
                answer.set_exception(outcome)
                return
            try:
                answer.set_result(spec.decode_reply(outcome))
            except RoostError as error:
                answer.set_exception(error)

        try:
            body = _encode(ProcessCall(name, method, args, kwargs))
        except UNSENDABLE as error:
            answer.set_exception(NotSendable(str(error), f"an argument of {name}.{method}"))
            return answer
        self._fabric.request(node, SERVICE, body, FOREVER_S if timeout_s is None else timeout_s, on_reply)
        return answer

    def cast(
        self, node: str, name: str, method: str, args: tuple[object, ...], kwargs: dict[str, object], spec: CallSpec
    ) -> None:
        """Tell the process `name` of `node` something.

        Raises:
            NodeDown, Overloaded, TooLarge: as `Fabric.cast` does.
            NotSendable: when an argument cannot be encoded.
        """
        try:
            body = _encode(ProcessCall(name, method, args, kwargs))
        except UNSENDABLE as error:
            raise NotSendable(str(error), f"an argument of {name}.{method}") from None
        self._fabric.cast(node, SERVICE, body)

    # In: a service of the fabric.

    def on_request(self, link: Link, request: Request) -> None:
        """Another node calls a process here."""
        asked = _taken(request.body)
        process = self._scheduler.whereis(asked.name)
        spec = type(process.server).__calls__.get(asked.method)
        if spec is None:
            raise BadMessage(f"{asked.name} declares no call {asked.method!r}")
        args, kwargs = spec.convert(asked.args, asked.kwargs)

        def on_reply(value: object, error: Exception | None) -> None:
            if error is not None:
                link.refuse(request.id, error)
                return
            try:
                link.reply(request.id, _encode(value))
            except UNSENDABLE as problem:
                link.refuse(request.id, NotSendable(str(problem), f"the reply of {spec!r}"))

        self._scheduler.deliver_call(process, spec, args, kwargs, on_reply, request.timeout_ms / 1000.0)

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Another node tells a process here something; a problem is logged, as nobody waits."""
        try:
            asked = _taken(body)
            process = self._scheduler.whereis(asked.name)
            spec = type(process.server).__casts__.get(asked.method)
            if spec is None:
                raise BadMessage(f"{asked.name} declares no cast {asked.method!r}")
            args, kwargs = spec.convert(asked.args, asked.kwargs)
            self._scheduler.deliver_cast(process, spec, args, kwargs)
        except RoostError as error:
            logger.warning("%s: a cast of %s was not taken: %s", self._fabric.node, link.peer, error)


def _taken(body: msgspec.Raw) -> ProcessCall:
    try:
        return _decode_call(body)
    except msgspec.MsgspecError as error:
        raise BadMessage(str(error)) from None
