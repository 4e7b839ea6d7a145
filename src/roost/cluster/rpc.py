"""rpc: run functions on other nodes of the cluster.

::

    @exported
    async def disk_free(folder: str) -> int: ...

    free = await rpc.call("b@127.0.0.1", disk_free, "/data")
    everywhere = await rpc.multicall(None, disk_free, "/data")

Only functions that say `@exported` can be reached. After Erlang's erpc. A call happens at most once; one that fails
with CallTimeout or NodeDown may have happened. When its caller gives up the function is ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Never, TypeVar, overload

from roost.cluster.exports import exported as exported
from roost.cluster.node import Node
from roost.errors import RoostError
from roost.limits import CALL_TIMEOUT_S

R = TypeVar("R")


@overload
async def call(
    node: str, function: Callable[..., Coroutine[object, Never, R]], /, *args: object, timeout_s: float | None = ...
) -> R: ...
@overload
async def call(node: str, function: Callable[..., R], /, *args: object, timeout_s: float | None = ...) -> R: ...
@overload
async def call(node: str, function: str, /, *args: object, timeout_s: float | None = ...) -> object: ...
async def call(
    node: str,
    function: str | Callable[..., object],
    /,
    *args: object,
    timeout_s: float | None = CALL_TIMEOUT_S,
) -> object:
    """Run an exported function on a node, this one or another, and wait for what it returns.

    Args:
        node: where.
        function: the function, or the name under which it is exported.
        args: its arguments; they cross as those of a call of a process do.
        timeout_s: how long to wait, in seconds; None waits for ever. In a handler of a call it is at most what is
            left of its caller's patience.

    Raises:
        NotExported: when it is not exported, here or there.
        Refusal: the one that the function has raised.
        ProcessDown: when it has raised anything else.
        CallTimeout, NodeDown: when there is no answer.
        Overloaded: when RPC_MAX calls run there.
        BadMessage: when the arguments are not of the types of its signature.
        NotSendable: when an argument, or what it returns, cannot cross.
    """
    return await Node.current().rpc.call(node, function, args, timeout_s)


@overload
async def multicall(
    nodes: Iterable[str] | None,
    function: Callable[..., Coroutine[object, Never, R]],
    /,
    *args: object,
    timeout_s: float | None = ...,
) -> dict[str, R | RoostError]: ...
@overload
async def multicall(
    nodes: Iterable[str] | None, function: Callable[..., R], /, *args: object, timeout_s: float | None = ...
) -> dict[str, R | RoostError]: ...
@overload
async def multicall(
    nodes: Iterable[str] | None, function: str, /, *args: object, timeout_s: float | None = ...
) -> dict[str, object]: ...
async def multicall(
    nodes: Iterable[str] | None,
    function: str | Callable[..., object],
    /,
    *args: object,
    timeout_s: float | None = CALL_TIMEOUT_S,
) -> object:
    """Run an exported function on several nodes at the same time.

    Args:
        nodes: where; None is every member of the cluster, also those that cannot be reached.
        function: as for `call`, and so the rest.
        args: its arguments.
        timeout_s: how long to wait for each node.

    Returns: for each node what the function has returned, or the error that `call` would have raised.

    Raises:
        NotExported: when it is not exported here.
    """
    node = Node.current()
    asked: list[tuple[str, Awaitable[object]]] = [
        (name, node.rpc.call(name, function, args, timeout_s))
        for name in (node.membership.members if nodes is None else nodes)
    ]
    results: dict[str, object] = {}
    for name, answer in asked:
        try:
            results[name] = await answer
        except RoostError as error:
            results[name] = error
    return results


def cast(node: str, function: str | Callable[..., object], /, *args: object) -> None:
    """Run an exported function on a node, and do not wait; a failure is told in the log of that node.

    Raises:
        NotExported: when it is not exported here.
        NodeDown, Overloaded: when it was not sent.
        NotSendable: when an argument cannot cross.
    """
    Node.current().rpc.cast(node, function, args)
