"""Coverages: one question to every partition, whose answers come as a stream.

The node that asks pulls: a vnode is asked for its next replies only when its last ones have been taken, so a slow
consumer fills no memory. Nodes are asked side by side, the partitions of one node one after the other. When a node is
lost in the middle, what it has not answered is asked of other holders, and what it has answered is not given twice.
So it is with a partition that moves: the node that has handed it over says so, since what it has is not everything.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

from roost import limits
from roost.cluster.fabric import PeerDown, PeerUp
from roost.cluster.fold import Fold
from roost.cluster.sender import Later
from roost.core.coverage import plan
from roost.core.ring import Replica
from roost.errors import BadMessage, CoverageFailed, Overloaded, ProcessDown, Refusal, RoostError
from roost.wire.messages import Request

if TYPE_CHECKING:
    from roost.cluster.link import Link
    from roost.cluster.node import Node
    from roost.cluster.vnode import VnodeHost

ID_BITS: Final = 63
IDLE_S: Final = 60.0
"""A coverage that nobody has pulled for so long is given up."""
STEPS_MAX: Final = 100_000
"""Steps that a vnode may take for one message without a reply among them."""


class Pull(msgspec.Struct, array_like=True, frozen=True):
    """The next replies of the vnode of `slot` to `command`.

    Attributes:
        id: which coverage of the sender this is.
        turn: how many times it has pulled from this vnode before.
        is_primary: whether it is asked as the holder of the slot, not as one that stands in.
    """

    id: int
    slot: int
    turn: int
    command: msgspec.Raw
    is_primary: bool


class Batch(msgspec.Struct, array_like=True, frozen=True):
    """Some replies, and whether they are the last ones.

    Attributes:
        has_moved: the slot is held elsewhere by now: somebody else must be asked.
    """

    replies: tuple[msgspec.Raw, ...]
    is_last: bool
    has_moved: bool = False


Heard = Callable[[Batch | RoostError], None]
_Key = tuple[str, int, int]
"""Who asks, the name of the coverage, and the slot."""

MOVED: Final = Batch((), True, True)


@dataclass(slots=True)
class _Source:
    """What one vnode here has still to say to one coverage."""

    replies: Iterator[object]
    turn: int
    pulled_at: float


encode = msgspec.msgpack.Encoder().encode
_decode_pull = msgspec.msgpack.Decoder(Pull).decode
_decode_batch = msgspec.msgpack.Decoder(Batch).decode


class Coverages:
    """The coverages of one ring on one node; a service of its fabric, called "coverage:<ring>" on every node."""

    # Any: a host of vnodes of whatever class.
    def __init__(self, node: Node, host: VnodeHost[Any]) -> None:
        self.service = f"coverage:{host.name}"
        self._node = node
        self._host = host
        self._sources: dict[_Key, _Source] = {}
        node.fabric.serve(self.service, self)
        node.fabric.watch(self._seen)

    # Asking

    async def run(self, command: object, n: int, timeout_s: float) -> AsyncGenerator[object, None]:
        """Ask every partition, and give the replies as they come, in no particular order.

        Args:
            n: how many copies a partition has.
            timeout_s: how long one node may take for one message.

        Raises:
            CoverageFailed: at the end, when no node could answer for some partitions.
            Refusal: the first that a vnode answers with.
        """
        asking = _Asking(self, n, timeout_s, self._host.encode_command(command))
        asking.ask(list(range(self._node.placement.size)))
        try:
            while asking.waiting:
                await asyncio.wait(asking.waiting, return_when=asyncio.FIRST_COMPLETED)
                for done in [one for one in asking.waiting if one.done()]:
                    for raw in asking.answered(done):
                        yield self._host.decode_reply(raw)
                    asking.go_on(done)
        finally:
            asking.stop()
        asking.check()

    def planned(
        self, partitions: Sequence[int], n: int, lost: Container[str], moved: Container[tuple[int, str]], turn: int
    ) -> tuple[dict[str, list[Replica]], tuple[int, ...]]:
        """Whom to ask about these partitions, and the partitions that nobody has.

        Args:
            lost: nodes not to ask.
            moved: slots, and nodes that hold them no more.
        """
        replicas = self._node.placement.replicas
        candidates = {
            one: [each for each in replicas(one, n) if each.node not in lost and (each.slot, each.node) not in moved]
            for one in partitions
        }
        return plan(candidates, turn)

    def draw(self) -> int:
        """A name for a coverage."""
        return self._node.runtime.entropy.number(ID_BITS)

    def pull(self, name: str, pull: Pull, timeout_s: float) -> asyncio.Future[Batch]:
        """Ask a node, this one or another, for the next replies."""
        answer: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()

        def heard(outcome: msgspec.Raw | Batch | RoostError) -> None:
            if answer.done():
                return
            if isinstance(outcome, RoostError):
                answer.set_exception(outcome)
                return
            try:
                answer.set_result(outcome if isinstance(outcome, Batch) else _decode_batch(outcome))
            except msgspec.MsgspecError as error:
                answer.set_exception(BadMessage(f"a coverage of {self.service}: {error}"))

        if name == self._node.name:
            try:
                self._next(name, pull, heard)
            except RoostError as error:
                heard(error)
        else:
            self._node.fabric.request(name, self.service, encode(pull), timeout_s, heard)
        return answer

    def stop(self, name: str, coverage: int) -> None:
        """Tell a node that no more is wanted."""
        if name == self._node.name:
            self._end(name, coverage)
        elif self._node.fabric.is_up(name):
            self._node.fabric.cast(name, self.service, encode(coverage))

    # Answering

    def on_request(self, link: Link, request: Request) -> None:
        """Another node pulls."""
        try:
            pull = _decode_pull(request.body)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"a coverage of {self.service}: {error}") from None

        def heard(outcome: Batch | RoostError) -> None:
            if isinstance(outcome, RoostError):
                link.refuse(request.id, outcome)
            else:
                link.reply(request.id, encode(outcome))

        self._next(link.peer, pull, heard)

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Another node wants no more."""
        try:
            coverage = msgspec.msgpack.decode(body, type=int)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"the end of a coverage of {self.service}: {error}") from None
        self._end(link.peer, coverage)

    def _next(self, peer: str, pull: Pull, heard: Heard) -> None:
        """Tell `heard` the next replies of a vnode here, or what went wrong."""
        key = (peer, pull.id, pull.slot)
        if pull.is_primary and pull.slot not in self._host.served:
            self._sources.pop(key, None)
            heard(MOVED)
            return
        source = self._open(key) if pull.turn == 0 else self._sources.get(key)
        if source is None or source.turn != pull.turn:
            raise ProcessDown(f"a coverage of {self.service} on {self._node.name}", "it is not under way any more")
        source.turn += 1
        self._go_on(key, source, heard, pull.command)

    def _go_on(self, key: _Key, source: _Source, heard: Heard, command: msgspec.Raw | None = None) -> None:
        """Take what a vnode says until it is enough for one message, or a fold is to be waited for."""
        try:
            if source.turn == 1 and command is not None:
                source.replies = self._host.cover(key[2], command)
            found = self._taken(source)
            if isinstance(found, Fold):
                source.pulled_at = math.inf
                self._host.folds.begin(self._host.vnode(key[2]), found, partial(self._folded, key, source, heard))
                return
        except RoostError as error:
            self._sources.pop(key, None)
            heard(error)
        except Exception as error:
            self._sources.pop(key, None)
            heard(self._host.crashed(key[2], error))
        else:
            if found.is_last:
                self._sources.pop(key, None)
            heard(found)

    def _taken(self, source: _Source) -> Batch | Fold[Any]:
        """The next replies, or the fold that makes the next one."""
        clock = self._node.runtime.clock
        source.pulled_at = began = clock.now()
        replies: list[msgspec.Raw] = []
        size = 0
        for steps, reply in enumerate(source.replies, 1):
            if isinstance(reply, Fold):
                if not replies:
                    return reply
                source.replies = chain((reply,), source.replies)
                return Batch(tuple(replies), is_last=False)
            if not isinstance(reply, Later):
                encoded = self._host.encode_command(reply)
                replies.append(msgspec.Raw(encoded))
                size += len(encoded)
            is_full = len(replies) >= limits.COVERAGE_BATCH or size >= limits.HANDOFF_BATCH_BYTES
            if is_full or steps >= STEPS_MAX or clock.now() - began > limits.COVERAGE_TURN_S:
                return Batch(tuple(replies), is_last=False)
        return Batch(tuple(replies), is_last=True)

    def _folded(self, key: _Key, source: _Source, heard: Heard, reply: object) -> None:
        if self._sources.get(key) is not source:
            heard(ProcessDown(f"a coverage of {self.service} on {self._node.name}", "nobody waits for it any more"))
        elif isinstance(reply, RoostError):
            self._sources.pop(key, None)
            heard(reply)
        else:
            source.replies = chain((reply,), source.replies)
            self._go_on(key, source, heard)

    def _open(self, key: _Key) -> _Source:
        now = self._node.runtime.clock.now()
        for old in [old for old, source in self._sources.items() if now - source.pulled_at > IDLE_S]:
            del self._sources[old]
        if len(self._sources) >= limits.COVERAGES_MAX:
            raise Overloaded(f"the coverage of {self.service} on {self._node.name}", limits.REDIAL_LAST_S)
        source = self._sources[key] = _Source(iter(()), 0, now)
        return source

    def _end(self, peer: str, coverage: int) -> None:
        for key in [key for key in self._sources if key[:2] == (peer, coverage)]:
            del self._sources[key]

    def _seen(self, event: PeerUp | PeerDown) -> None:
        if isinstance(event, PeerDown):
            for key in [key for key in self._sources if key[0] == event.node]:
                del self._sources[key]


@dataclass(slots=True)
class _Asked:
    """A node that is asked for the partitions of `queue`, the first of which is under way."""

    queue: deque[Replica]
    turn: int = 0
    given: Counter[bytes] = field(default_factory=Counter)


class _Asking:
    """One coverage, as the node that asks sees it.

    Attributes:
        waiting: what is asked and not yet answered, and of which node.
    """

    def __init__(self, coverages: Coverages, n: int, timeout_s: float, command: bytes) -> None:
        self.waiting: dict[asyncio.Future[Batch], str] = {}
        self._coverages = coverages
        self._n = n
        self._timeout_s = timeout_s
        self._command = msgspec.Raw(command)
        self._id = coverages.draw()
        self._asked: dict[str, _Asked] = {}
        self._lost: set[str] = set()
        self._moved: set[tuple[int, str]] = set()
        self._failed: dict[int, str] = {}
        self._given: dict[int, Counter[bytes]] = {}

    def ask(self, partitions: Sequence[int]) -> None:
        """Ask about these partitions whoever is left."""
        chosen, nobody = self._coverages.planned(partitions, self._n, self._lost, self._moved, self._id)
        for partition in nobody:
            self._failed.setdefault(partition, "no node that holds them is up")
        for name, replicas in chosen.items():
            if name in self._asked:
                self._asked[name].queue.extend(replicas)
            else:
                self._asked[name] = _Asked(deque(replicas))
                self._pull(name)

    def answered(self, done: asyncio.Future[Batch]) -> Iterator[msgspec.Raw]:
        """The replies of an answer, without those that another node has given already.

        Raises:
            Refusal: when that is the answer.
        """
        error = done.exception()
        if isinstance(error, Refusal):
            raise error
        if error is not None:
            return
        about = self._asked[self.waiting[done]]
        partition = about.queue[0].partition
        if done.result().has_moved:
            return
        self._failed.pop(partition, None)
        known = self._given.get(partition, Counter())
        for raw in done.result().replies:
            reply = bytes(raw)
            about.given[reply] += 1
            if known[reply] > 0:
                known[reply] -= 1
            else:
                yield raw

    def go_on(self, done: asyncio.Future[Batch]) -> None:
        """What an answer has said is taken: ask on."""
        name = self.waiting.pop(done)
        about = self._asked[name]
        error = done.exception()
        if isinstance(error, RoostError):
            self._lose(name, about, error)
            return
        about.turn += 1
        again: int | None = None
        if done.result().has_moved:
            again = self._leave(name, about)
        elif done.result().is_last:
            self._given.pop(about.queue.popleft().partition, None)
            about.turn, about.given = 0, Counter()
        if about.queue:
            self._pull(name)
        else:
            del self._asked[name]
        if again is not None:
            self.ask([again])

    def stop(self) -> None:
        """No more is wanted: not even what is on its way."""
        for answer in self.waiting:
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # it is known, and of no interest any more
        for name in self._asked:
            self._coverages.stop(name, self._id)

    def check(self) -> None:
        """It is over.

        Raises:
            CoverageFailed: when no node could answer for some partitions.
        """
        if self._failed:
            raise CoverageFailed(tuple(sorted(self._failed)), next(iter(self._failed.values())))

    def _pull(self, name: str) -> None:
        about = self._asked[name]
        replica = about.queue[0]
        pull = Pull(self._id, replica.slot, about.turn, self._command, replica.is_primary)
        self.waiting[self._coverages.pull(name, pull, self._timeout_s)] = name

    def _leave(self, name: str, about: _Asked) -> int:
        """A node does not hold the partition any more that it was asked about: return that, to ask somebody else."""
        replica = about.queue[0]
        self._moved.add((replica.slot, name))
        self._failed[replica.partition] = f"{name} has handed it over, and this node does not know yet to whom"
        self._keep(about)
        about.queue.popleft()
        about.turn, about.given = 0, Counter()
        return replica.partition

    def _lose(self, name: str, about: _Asked, error: RoostError) -> None:
        self._lost.add(name)
        del self._asked[name]
        again = [one.partition for one in about.queue]
        self._failed.update(dict.fromkeys(again, str(error)))
        self._keep(about)
        self.ask(again)

    def _keep(self, about: _Asked) -> None:
        """Note what a node has given of the partition that it was asked about, so that another one gives the rest."""
        if about.given:
            partition = about.queue[0].partition
            self._given[partition] = about.given + self._given.get(partition, Counter())
