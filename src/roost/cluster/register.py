"""Registers: values that a majority of nodes agrees on, by name. The shell around `roost.core.caspaxos`.

Every node is an acceptor of all registers, and a proposer when something on it wants a change. What an acceptor says is
on its disk before it says it; all that waits while one write runs shares the next one. A node without a disk forgets
when it ends: then a register is only as sure as a majority that runs on.

When things fail: a node that is down, slow, or whose disk fails counts as one that does not answer; without a majority
a change ends with NoQuorum or DeadlineExceeded, and may have happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from roost.cluster.fabric import Fabric
from roost.cluster.link import Link
from roost.core.caspaxos import (
    Accept,
    Acceptor,
    Ballot,
    Change,
    Chosen,
    Effects,
    Electorate,
    Failed,
    Nack,
    Prepare,
    Proposer,
    Refused,
    Reply,
    Request,
    Retry,
    Send,
)
from roost.errors import BadMessage, DeadlineExceeded, NodeDown, RoostError, StorageFailed, TooLarge
from roost.limits import NAME_BYTES_MAX, REGISTERS_MAX
from roost.otp import Child, GenServer, Process, Reason, Scheduler, info
from roost.wire.messages import Request as LinkRequest

if TYPE_CHECKING:
    from roost.runtime.clock import Timer
    from roost.runtime.disk import Batch, Store

SERVICE: Final = "register"
STORE: Final = "registers"
PAUSE_FIRST_S: Final = 0.01
"""The longest pause after the first attempt that another proposer came between; each further one is twice as long."""
PAUSE_LAST_S: Final = 0.5
"""The longest pause between two attempts."""

OnReply = Callable[[Reply | RoostError], None]
OnDone = Callable[["Outcome"], None]

Outcome = Chosen | Refused | RoostError
"""What has become of a change: the value that is in the register, or why that is not known."""


class Ask(msgspec.Struct, array_like=True, frozen=True):
    """A request to the acceptor of one register."""

    name: str
    request: Prepare | Accept


class Work(msgspec.Struct, frozen=True):
    """Requests wait for the acceptors."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_ask: Final = msgspec.msgpack.Decoder(Ask).decode
_decode_reply: Final = msgspec.msgpack.Decoder(Reply).decode
_decode_acceptor: Final = msgspec.msgpack.Decoder(Acceptor).decode


class Registrar(GenServer):
    """Lets the acceptors of a node answer, and writes down what they promise first."""

    def init(self, registers: Registers) -> None:
        """Answer from now on."""
        self.trap_exits()
        self._registers = registers
        registers.opened(self._process)

    @info
    async def work(self, message: Work) -> None:
        """Answer what waits."""
        await self._registers.answer_waiting()

    async def terminate(self, reason: Reason) -> None:
        """Let go of the files."""
        await self._registers.close()


class Registers:
    """The registers of one node: their acceptors, and its proposers.

    Args:
        scheduler: its processes.
        fabric: its links.
    """

    def __init__(self, scheduler: Scheduler, fabric: Fabric) -> None:
        self._scheduler, self._fabric = scheduler, fabric
        self._runtime = scheduler.runtime
        self._acceptors: dict[str, Acceptor] = {}
        self._inbox: list[tuple[Ask, OnReply]] = []
        self._registrar: Process | None = None
        self._store: Store | None = None
        self._is_loaded = self._is_due = False
        # A boot of its own in every ballot: a proposer that begins again uses no number a second time.
        self._ballot = Ballot(0, 0, f"{fabric.node}/{fabric.incarnation}")
        fabric.serve(SERVICE, self)

    def part(self) -> Child:
        """The process that answers, as a part of the node."""
        return Registrar.child(self, id="registers")

    @property
    def names(self) -> tuple[str, ...]:
        """The registers that this node has heard of since it has answered for the first time."""
        return tuple(self._acceptors)

    # Proposing

    def submit(self, name: str, change: Change, electorate: Electorate, timeout_s: float, on_done: OnDone) -> None:
        """Change a register; `on_done` is called exactly once.

        It is given Chosen when the change is made, Refused when `change` returned None, or the error: NoQuorum or
        DeadlineExceeded, after which the change may have happened, or happen yet. `change` may be called several times,
        and has to know its own work when it finds it.
        """
        _Attempts(self, name, change, electorate, timeout_s, on_done).begin()

    async def change(self, name: str, change: Change, electorate: Electorate, timeout_s: float) -> Chosen | Refused:
        """Change a register, and wait. See `submit`.

        Raises:
            NoQuorum, DeadlineExceeded: when no majority has answered.
        """
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.submit(
            name, change, electorate, timeout_s, lambda outcome: None if done.done() else done.set_result(outcome)
        )
        outcome = await done
        if isinstance(outcome, RoostError):
            raise outcome
        return outcome

    def next_ballot(self, after: Ballot) -> Ballot:
        """A ballot that is higher than `after` and than every other one of this node."""
        self._ballot = self._ballot.after(after)
        return self._ballot

    def pause_s(self, attempt: int) -> float:
        """How long to wait before a further attempt: at random, so that two proposers do not go on in step."""
        return self._runtime.entropy.uniform(0.0, min(PAUSE_LAST_S, PAUSE_FIRST_S * 2.0**attempt))

    def later(self, delay_s: float, action: Callable[[], object]) -> Timer:
        """Do something after a while."""
        return self._runtime.clock.call_later(delay_s, action)

    def now(self) -> float:
        """Monotonic seconds."""
        return self._runtime.clock.now()

    def ask(self, node: str, ask: Ask, timeout_s: float, on_reply: OnReply) -> None:
        """Ask the acceptor of a node; `on_reply` is called at most once."""
        if node == self._fabric.node:
            self.handle(ask, on_reply)
            return

        def decode(outcome: msgspec.Raw | RoostError) -> None:
            if isinstance(outcome, RoostError):
                on_reply(outcome)
                return
            try:
                on_reply(_decode_reply(outcome))
            except msgspec.MsgspecError as error:
                on_reply(BadMessage(str(error)))

        self._fabric.request(node, SERVICE, _encode(ask), timeout_s, decode)

    # Accepting

    def handle(self, ask: Ask, on_reply: OnReply) -> None:
        """Let the acceptor of this node answer, once what it says is safe."""
        registrar = self._registrar
        if registrar is None or not registrar.alive:
            on_reply(NodeDown(self._fabric.node, "it starts, or stops"))
            return
        self._inbox.append((ask, on_reply))
        if not self._is_due:
            self._is_due = True
            registrar.inform(Work(), bounded=False)

    def on_request(self, link: Link, request: LinkRequest) -> None:
        """Another node asks an acceptor here."""
        try:
            ask = _decode_ask(request.body)
        except msgspec.MsgspecError as error:
            raise BadMessage(str(error)) from None

        def on_reply(reply: Reply | RoostError) -> None:
            if isinstance(reply, RoostError):
                link.refuse(request.id, reply)
            else:
                link.reply(request.id, _encode(reply))

        self.handle(ask, on_reply)

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Nothing is told to a register without a question."""
        raise BadMessage("registers take questions only")

    def opened(self, registrar: Process) -> None:
        """The registrar runs, for the first time or again."""
        self._registrar, self._is_due = registrar, False

    async def answer_waiting(self) -> None:
        """Answer everything that waits: all of it with one write."""
        while self._inbox:
            inbox, self._inbox = self._inbox, []
            try:
                await self._load()
            except OSError as error:
                for _, on_reply in inbox:
                    on_reply(StorageFailed(str(error)))
                continue
            replies = [(on_reply, self._reply(ask)) for ask, on_reply in inbox]
            changed = {
                ask.name: self._acceptors[ask.name]
                for (ask, _), (_, reply) in zip(inbox, replies, strict=True)
                if not isinstance(reply, (Nack, RoostError))
            }
            batch: Batch = [(name.encode(), _encode(acceptor)) for name, acceptor in changed.items()]
            try:
                if self._store is not None and batch:
                    await self._store.commit(batch)
            except OSError as error:
                trouble = StorageFailed(str(error))
                replies = [(on_reply, reply if isinstance(reply, Nack) else trouble) for on_reply, reply in replies]
            for on_reply, reply in replies:
                on_reply(reply)
        self._is_due = False

    async def close(self) -> None:
        """Let go of the files; what waits hears that the node stops."""
        inbox, self._inbox, self._registrar = self._inbox, [], None
        for _, on_reply in inbox:
            on_reply(NodeDown(self._fabric.node, "it stops"))
        store, self._store, self._is_loaded = self._store, None, False
        if store is not None:
            await store.close()

    async def _load(self) -> None:
        if self._is_loaded:
            return
        if self._runtime.disk is not None and self._store is None:
            self._store = await self._runtime.disk.open_store(STORE)
        if self._store is not None:
            for name, state in self._store.scan(b""):
                self._acceptors[name.decode()] = _decode_acceptor(state)
        self._is_loaded = True

    def _reply(self, ask: Ask) -> Reply | RoostError:
        acceptor = self._acceptors.get(ask.name)
        if acceptor is None:
            if len(ask.name.encode()) > NAME_BYTES_MAX or len(self._acceptors) >= REGISTERS_MAX:
                return TooLarge("REGISTERS_MAX", len(self._acceptors) + 1, REGISTERS_MAX)
            acceptor = self._acceptors[ask.name] = Acceptor()
        return acceptor.handle(ask.request)


class _Attempts:
    """One change of one register: attempts, until one of them is answered or the time is up."""

    def __init__(
        self,
        registers: Registers,
        name: str,
        change: Change,
        electorate: Electorate,
        timeout_s: float,
        on_done: OnDone,
    ) -> None:
        self._registers, self._name, self._change, self._electorate = registers, name, change, electorate
        self._timeout_s, self._on_done = timeout_s, on_done
        self._deadline = registers.now() + timeout_s
        self._number = 0
        self._is_done = False
        self._proposer = self._propose(Ballot(0, 0, ""))
        self._timer = registers.later(timeout_s, self._expire)
        self._pause: Timer | None = None

    def begin(self) -> None:
        """Make the first attempt."""
        self._perform(self._proposer.begin())

    def _propose(self, after: Ballot) -> Proposer:
        ballot = self._registers.next_ballot(after)
        return Proposer(ballot, self._change, self._electorate, self._electorate(None))

    def _perform(self, effects: Effects) -> None:
        for effect in effects:
            match effect:
                case Send(node, request):
                    self._send(self._proposer, node, request)
                case Retry(after):
                    self._number += 1
                    self._pause = self._registers.later(
                        self._registers.pause_s(self._number), partial(self._again, after)
                    )
                case Failed(error):
                    self._done(error)
                case Chosen() | Refused():
                    self._done(effect)

    def _again(self, after: Ballot) -> None:
        if not self._is_done:
            self._proposer = self._propose(max(after, self._proposer.ballot))
            self._perform(self._proposer.begin())

    def _send(self, proposer: Proposer, node: str, request: Request) -> None:
        def on_reply(reply: Reply | RoostError) -> None:
            if self._is_done or proposer is not self._proposer:
                return
            if isinstance(reply, RoostError):
                self._perform(proposer.failed(node, request))
            else:
                self._perform(proposer.replied(node, reply))

        left_s = max(self._deadline - self._registers.now(), 0.001)
        self._registers.ask(node, Ask(self._name, request), left_s, on_reply)

    def _expire(self) -> None:
        if not self._proposer.is_answered:
            self._perform(self._proposer.deadline_passed(self._timeout_s))
        elif not self._is_done:  # between two attempts
            self._done(DeadlineExceeded(0, 1, self._timeout_s))

    def _done(self, outcome: Outcome) -> None:
        if self._is_done:
            return
        self._is_done = True
        self._timer.cancel()
        if self._pause is not None:
            self._pause.cancel()
        self._on_done(outcome)
