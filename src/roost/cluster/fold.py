"""Folds: slow functions over everything that a vnode keeps, in worker processes, beside the loop.

The keys are those of the turn in which a fold begins. A value is read when its batch is made, so a fold sees commands
that come meanwhile, or not; what has gone is left out. Batches follow each other, so a fold uses one worker at a time.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from roost import limits
from roost.cluster.sender import Later, OnReply
from roost.errors import CpuFailed, Overloaded, ProcessDown, RoostError
from roost.otp import Task, send

if TYPE_CHECKING:
    from roost.cluster.node import Node
    from roost.cluster.vnode import Vnode, VnodeHost, VnodeManager
    from roost.runtime.cpu import Cpu

logger = logging.getLogger("roost.vnode")

ResultT = TypeVar("ResultT")

Items = list[tuple[bytes, bytes]]
"""Keys and encoded values, as `Vnode.item` gives them."""


class Fold(Later, Generic[ResultT]):
    """What `Vnode.fold` returns: a reply that is still to be computed."""

    __slots__ = ("function", "reply", "start")

    def __init__(
        self, function: Callable[[ResultT, Items], ResultT], start: ResultT, reply: Callable[[ResultT], object]
    ) -> None:
        self.function, self.start, self.reply = function, start, reply


class Folding:
    """One fold under way.

    Args:
        host: the vnodes of this node.
        vnode: whose items.
        fold: what is to be done.
        on_reply: told exactly once what comes of it.
    """

    # Any: a host of vnodes of whatever class, a fold of whatever it computes.
    def __init__(self, host: VnodeHost[Any], vnode: Vnode[Any, Any], fold: Fold[Any], on_reply: OnReply) -> None:
        self._host, self._vnode, self._fold = host, vnode, fold
        self._on_reply: OnReply | None = on_reply
        self._keys: Iterator[bytes] = iter(tuple(vnode.held()))

    async def run(self, cpu: Cpu) -> None:
        """Do it, and reply."""
        fold, reply = self._fold, None
        try:
            result = fold.start
            while batch := self._batch():
                result = await cpu.run(fold.function, (result, batch))
            reply = fold.reply(result)
        except RoostError as error:
            self.end(error)
        except Exception as error:
            logger.exception("a fold of %s cannot go on", self._name)
            self.end(CpuFailed(self._name, f"{type(error).__name__}: {error}", ""))
        except BaseException:
            self.end(ProcessDown(self._name, "its node stops"))
            raise
        else:
            self.end(reply)

    def end(self, reply: object) -> None:
        """Reply, unless that is done."""
        on_reply, self._on_reply = self._on_reply, None
        if on_reply is not None:
            on_reply(reply)

    def _batch(self) -> Items:
        """The next items; none when there are no more.

        Raises:
            ProcessDown: when the vnode has ended.
        """
        vnode = self._vnode
        if self._host.running().get(vnode.slot) is not vnode:
            raise ProcessDown(self._name, "its vnode has ended")
        batch: Items = []
        size = 0
        for key in self._keys:
            item = vnode.item(key)
            if item is not None:
                batch.append((key, item))
                size += len(key) + len(item)
            if len(batch) >= limits.FOLD_BATCH_ITEMS or size >= limits.FOLD_BATCH_BYTES:
                break
        return batch

    @property
    def _name(self) -> str:
        return f"a fold over {type(self._vnode).__name__} {self._vnode.partition}.{self._vnode.index}"


class StartFolds(msgspec.Struct, frozen=True):
    """There are folds to be started."""


class Folds:
    """The folds of one host.

    Args:
        host: the vnodes of this node.
        node: this node.
    """

    def __init__(self, host: VnodeHost[Any], node: Node) -> None:
        self._host = host
        self._node = node
        self._waiting: deque[Folding] = deque()
        self._running: dict[Folding, None] = {}
        self._manager: VnodeManager | None = None

    @property
    def under_way(self) -> int:
        """How many there are."""
        return len(self._running)

    def open(self, manager: VnodeManager) -> None:
        """Take folds; `manager` starts them."""
        self._manager = manager

    # Any: a vnode of whatever class, a fold of whatever it computes.
    def begin(self, vnode: Vnode[Any, Any], fold: Fold[Any], on_reply: OnReply) -> None:
        """Begin a fold; `on_reply` is told what comes of it, or why nothing does."""
        name = f"the folds of {self._host.service} on {self._node.name}"
        if self._manager is None:
            on_reply(ProcessDown(name, "its node does not run"))
        elif len(self._running) >= limits.FOLDS_MAX:
            on_reply(Overloaded(name, limits.REDIAL_LAST_S))
        else:
            folding = Folding(self._host, vnode, fold, on_reply)
            self._running[folding] = None
            self._waiting.append(folding)
            send(self._manager, StartFolds())

    def start(self) -> None:
        """Let those that wait run, each in a process of its own."""
        while self._waiting:
            Task.start(self._run, self._waiting.popleft())

    def close(self, reason: str) -> None:
        """Whoever waits for one gets ProcessDown."""
        self._manager = None
        for folding in list(self._running):
            folding.end(ProcessDown(f"a fold of {self._host.service} on {self._node.name}", reason))
        self._running.clear()
        self._waiting.clear()

    async def _run(self, folding: Folding) -> None:
        try:
            await folding.run(self._node.runtime.cpu)
        finally:
            self._running.pop(folding, None)
