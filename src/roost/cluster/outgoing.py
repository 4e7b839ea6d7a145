"""One transfer, as its giver performs it: what `core.handoff` decides, over links."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from roost import limits
from roost.cluster.handover import (
    Accepted,
    Compare,
    Conclude,
    Handover,
    Kind,
    Missing,
    Propose,
    Take,
    decode_accepted,
    decode_missing,
    encode,
)
from roost.cluster.sender import OnReply
from roost.cluster.status import TransferStatus
from roost.core.handoff import (
    Begin,
    Done,
    Effect,
    Effects,
    Finish,
    Forget,
    Given,
    Giving,
    Items,
    Offer,
    Recheck,
    Retry,
    digest,
)
from roost.core.ring import partition_and_index
from roost.errors import BadMessage, Refusal, RoostError, TooLarge

if TYPE_CHECKING:
    from roost.cluster.handoff import Handoffs
    from roost.cluster.vnode import Vnode, VnodeHost

logger = logging.getLogger("roost.handoff")

Heard = Callable[[msgspec.Raw | bytes | RoostError], None]
Pairs = list[tuple[bytes, bytes]]

LOCAL_STEPS: Final = 8
"""Messages of a transfer within one node before everybody else has a turn."""


class Outgoing:
    """What this node holds in `source`, on its way into `target` at `taker`.

    Args:
        handoffs: the book that it is entered in.
        kind: why it moves.
        source: the slot here.
        target: the slot there.
        taker: the node that takes it.
        moves: whether the taker will hold the slot instead of this node, so that its answers count in the end.
        replace: whether this is what the taker is to have in the slot, so that it replaces what is there.
        follows: whether commands to the source go to the target, too.

    Attributes:
        giving: how far it is.
        attempts: how often it was begun.
        not_before: when it may be begun again.
        reason: why it is not done yet.
    """

    # Any: a host of vnodes of whatever class.
    def __init__(
        self,
        handoffs: Handoffs,
        host: VnodeHost[Any],
        *,
        kind: Kind,
        source: int,
        target: int,
        taker: str,
        moves: bool = False,
        replace: bool = False,
        follows: bool = False,
    ) -> None:
        self.kind: Kind = kind
        self.source, self.target, self.taker = source, target, taker
        self.moves, self.replace = moves, replace
        self.giving = Giving(
            follows=follows,
            forgets=kind == "hinted",
            counts=kind == "ownership",
            window=limits.HANDOFF_WINDOW,
        )
        self.not_before = 0.0
        self.reason = "not tried yet"
        self._handoffs = handoffs
        self._host = host
        self._node = handoffs.node
        self._is_dropped = False
        self._effects: deque[Effect] = deque()
        self._is_performing = False
        self._pairs: dict[int, Pairs] = {}
        self._total = self._sent = self._bytes = 0
        self._started = self._started_wall = 0.0

    @property
    def attempts(self) -> int:
        """How often it was begun."""
        return self.giving.attempt

    @property
    def is_active(self) -> bool:
        """Whether it is one of those that are limited: begun, and not yet given."""
        return not self._is_dropped and self.giving.phase in ("asking", "giving", "closing")

    @property
    def is_superseded(self) -> bool:
        """Whether the taker has had everything, and since then whatever it has instead is right."""
        return self.moves and self.replace and self.giving.phase == "given"

    def begin(self) -> None:
        """Try it."""
        clock = self._node.runtime.clock
        self._started, self._started_wall = clock.now(), clock.wall()
        self._sent = self._bytes = 0
        self.reason = "under way"
        self._perform(self.giving.begin())

    def drop(self) -> None:
        """It is not wanted any more. What is on its way makes no difference."""
        self._is_dropped = True

    def fail(self, reason: str) -> None:
        """Something went wrong with the attempt that is under way, if one is."""
        self._failed(self.giving.attempt, reason)

    # Commands that the vnode here has done

    def forward(self, command: bytes, mode: int) -> None:
        """Send a command along, when the taker must know of it by now."""
        if self.giving.is_following:
            self._ask(command, mode, partial(self._forwarded, self.giving.forwarded()))

    def share(self, items: tuple[tuple[bytes, bytes], ...], on_reply: OnReply) -> None:
        """Send along items that another node has handed over; `on_reply` is told None, or what went wrong."""
        attempt = self.giving.forwarded()

        def heard(outcome: msgspec.Raw | bytes | RoostError) -> None:
            self._forwarded(attempt, outcome)
            on_reply(outcome if isinstance(outcome, RoostError) else None)

        self._send(Take(self.target, attempt, items), heard)

    def relay(self, command: bytes, on_reply: OnReply, mode: int) -> None:
        """Let the taker handle a command; `on_reply` is told its reply."""
        attempt = self.giving.attempt

        def heard(reply: object) -> None:
            if _is_failure(reply):
                self._failed(attempt, str(reply))
            on_reply(reply)

        self._ask(command, mode, heard)

    def _forwarded(self, attempt: int, reply: object) -> None:
        if _is_failure(reply):
            self._failed(attempt, str(reply))
        else:
            self._perform(self.giving.forward_answered(attempt))

    # What the machine decides

    def _perform(self, effects: Effects) -> None:
        self._effects.extend(effects)
        if not self._is_performing:
            self._run()

    def _run(self) -> None:
        self._is_performing = True
        steps = 0
        try:
            while self._effects and not self._is_dropped:
                if self.taker == self._node.name and (steps := steps + 1) > LOCAL_STEPS:
                    self._node.runtime.clock.call_later(0.0, self._run)
                    return  # still performing, so that nobody else runs it
                try:
                    self._do(self._effects.popleft())
                except RoostError as error:
                    self._failed(self.giving.attempt, str(error))
                except Exception as error:
                    logger.exception("%s: %s cannot be handed off", self._node.name, self._name())
                    self._failed(self.giving.attempt, f"{type(error).__name__}: {error}")
        except BaseException:
            self._is_performing = False
            raise
        self._is_performing = False

    def _do(self, effect: Effect) -> None:
        giving = self.giving
        match effect:
            case Begin(attempt):
                self._total = self._vnode().item_count()
                proposal = Propose(self.target, attempt, self.kind, self.replace, self._total)
                self._send(proposal, partial(self._accepted, attempt))
            case Offer(ticket, keys):
                self._offer(ticket, keys)
            case Items(ticket, keys):
                self._send_items(ticket, keys)
            case Recheck(attempt):
                for following in giving.rechecked(attempt, self._vnode().held()):
                    self._do(following)
            case Finish(attempt) if giving.phase == "closing":
                self._send(Conclude(self.target, attempt), partial(self._concluded, attempt))
            case Forget(ticket):
                self._vnode().forget(self._pairs.pop(ticket, []))
            case Given() | Done():
                if self._sent:
                    self._log("gave %d items of %s to %s", self._sent, self._name(), self.taker)
                self.reason = "given"
                self._handoffs.over(self)
            case Retry(failures):
                self._pairs.clear()
                self.not_before = self._node.runtime.clock.now() + self._handoffs.pause_after_s(failures)
                self._log("%s stays here: %s", self._name(), self.reason)
                self._handoffs.over(self)
            case _:
                pass

    def _offer(self, ticket: int, keys: tuple[bytes, ...]) -> None:
        vnode = self._vnode()
        found = [(key, vnode.item(key)) for key in keys]
        pairs = self._pairs[ticket] = [(key, item) for key, item in found if item is not None]
        offers = tuple((key, digest(item)) for key, item in pairs)
        absent = tuple(key for key, item in found if item is None)
        self._send(Compare(self.target, self.giving.attempt, offers, absent), partial(self._compared, ticket))

    def _send_items(self, ticket: int, keys: tuple[bytes, ...]) -> None:
        vnode, size = self._vnode(), 0
        pairs: Pairs = []
        absent: list[bytes] = []
        for place, key in enumerate(keys):
            item = vnode.item(key)
            if item is None:
                absent.append(key)
                continue
            item_size = len(key) + len(item)
            if pairs and size + item_size > limits.HANDOFF_BATCH_BYTES:
                self.giving.put_back(keys[place:])
                break
            pairs.append((key, item))
            size += item_size
        self._pairs[ticket] = pairs
        take = Take(self.target, self.giving.attempt, tuple(pairs), tuple(absent))
        self._send(take, partial(self._stored, ticket, size))

    # What the taker says

    def _accepted(self, attempt: int, outcome: msgspec.Raw | bytes | RoostError) -> None:
        if isinstance(outcome, RoostError):
            self._failed(attempt, str(outcome))
            return
        try:
            there: Accepted = decode_accepted(outcome)
            effects = self.giving.accepted(attempt, self._vnode().held(), offers=there.items > 0)
        except Exception as error:
            self._failed(attempt, f"{type(error).__name__}: {error}")
            return
        self._perform(effects)

    def _compared(self, ticket: int, outcome: msgspec.Raw | bytes | RoostError) -> None:
        if isinstance(outcome, RoostError):
            self._ticket_failed(ticket, outcome)
            return
        try:
            found: Missing = decode_missing(outcome)
        except msgspec.MsgspecError as error:
            self._ticket_failed(ticket, BadMessage(str(error)))
            return
        pairs, missing = self._pairs.pop(ticket, []), set(found.keys)
        self._sent += len(pairs) - len(missing)
        if self.kind == "hinted":
            self._pairs[ticket] = [pair for pair in pairs if pair[0] not in missing]
        self._perform(self.giving.answered(ticket, [pair[0] for pair in pairs if pair[0] in missing]))

    def _stored(self, ticket: int, size: int, outcome: msgspec.Raw | bytes | RoostError) -> None:
        if isinstance(outcome, RoostError):
            self._ticket_failed(ticket, outcome)
            return
        self._sent += len(self._pairs.get(ticket, ()))
        self._bytes += size
        if self.kind != "hinted":
            self._pairs.pop(ticket, None)
        # A giver in no hurry leaves the processor to those who ask: it goes on after a pause.
        self._node.runtime.clock.call_later(limits.HANDOFF_PAUSE_S, partial(self._go_on, ticket))

    def _go_on(self, ticket: int) -> None:
        self._perform(self.giving.answered(ticket))

    def _concluded(self, attempt: int, outcome: msgspec.Raw | bytes | RoostError) -> None:
        if isinstance(outcome, RoostError):
            self._failed(attempt, str(outcome))
        else:
            self._perform(self.giving.finished(attempt))

    def _ticket_failed(self, ticket: int, error: RoostError) -> None:
        if ticket in self._pairs:  # else of an attempt that is over
            self._failed(self.giving.attempt, str(error))

    def _failed(self, attempt: int, reason: str) -> None:
        effects = self.giving.failed(attempt)
        if effects:
            self.reason = reason
            self._effects.clear()  # decided for an attempt that is over
            self._perform(effects)

    # The way there

    def _send(self, message: Handover, heard: Heard) -> None:
        """Say something to the taker.

        Where commands follow, they and the items share one lane: their order is what makes a handoff right. All else
        waits until there is nothing else to say.
        """
        if self.taker == self._node.name:
            self._handoffs.handle(message, self._node.name, heard)
            return
        fabric = self._node.fabric
        send = fabric.request if self.kind == "ownership" else fabric.bulk
        send(self.taker, self._handoffs.service, encode(message), limits.HANDOFF_ACK_S, heard)

    def _ask(self, command: bytes, mode: int, on_reply: OnReply) -> None:
        host = self._host
        if self.taker == self._node.name:
            host.ask_encoded(self.target, mode, command, on_reply)
            return
        body = host.envelope(self.target, mode, command)
        self._node.fabric.request(
            self.taker,
            host.service,
            body,
            limits.OPERATION_TIMEOUT_S,
            lambda outcome: on_reply(host.decode_reply(outcome)),
        )

    def _vnode(self) -> Vnode[Any, Any]:
        vnode: Vnode[Any, Any] = self._host.vnode(self.source)
        return vnode

    # What an operator sees

    def status(self, under_way: int) -> TransferStatus:
        """How far it is, and what it waits for, while so many transfers of this node are under way."""
        now, phase = self._node.runtime.clock.now(), self.giving.phase
        took_s = max(now - self._started, 1e-9)
        is_fast = phase in ("giving", "closing")
        items = self._handoffs.count(self.source) if phase == "waiting" or self.kind == "hinted" else self._total
        left = items if self.kind == "hinted" else items - self._sent
        partition, index = partition_and_index(self.target)
        return TransferStatus(
            kind=self.kind,
            partition=partition,
            index=index,
            source=self._node.name,
            target=self.taker,
            phase=phase,
            items_done=self._sent,
            items_total=items,
            bytes_done=self._bytes,
            rate_bytes_s=self._bytes / took_s if is_fast else 0.0,
            eta_s=max(0, left) * took_s / self._sent if is_fast and self._sent else None,
            attempts=self.attempts,
            reason=self._handoffs.why_waiting(self, under_way) if phase == "waiting" else self.reason,
            started_s_ago=took_s if self.attempts else 0.0,
            ring=self._host.name,
        )

    def _name(self) -> str:
        partition, index = partition_and_index(self.source)
        return f"copy {index} of partition {partition} of {self._host.name}"

    def _log(self, text: str, *facts: object) -> None:
        logger.info("%s: " + text, self._node.name, *facts)


def _is_failure(reply: object) -> bool:
    """Whether the taker did not do what the giver did: a refusal of the vnode's own is the same at both."""
    if isinstance(reply, Refusal):
        return isinstance(reply, BadMessage | TooLarge)
    return isinstance(reply, RoostError)
