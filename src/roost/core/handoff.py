"""Handoff: how everything in a slot gets from one node to another while both go on working.

One mechanism serves every kind of transfer. The giver *offers* digests of what it holds when the taker holds something
already, *sends* what is missing, and *forgets*, if it is to forget, what is acknowledged. A giver that stays in charge
meanwhile *follows*: every command that it applies goes to the taker too, on the same link and in the same order.

Why nothing is lost. Items are read when a batch is built, not before, and the link keeps its order. So when the taker
stores an item it has seen exactly the commands that the item contains, and every later one comes after it: overwriting
is right, even for values that cannot be merged. A key that has gone meanwhile is named, so that it goes there, too.
Before it says that it has sent everything, the giver looks, in one
turn, whether it holds keys that it has not named; when they are few it sends them in that very turn, so that a slot
which gets new keys all the time is given, too. From then on commands are *relayed*: the taker's answer is the
answer, so what is acknowledged is at the taker. A slot is *given* when every earlier command is acknowledged as well.
Whatever fails takes the transfer back to its beginning, which is cheap, because what the taker has is not sent again.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Literal, NamedTuple

from roost.limits import HANDOFF_BATCH_ITEMS, HANDOFF_OFFER_ITEMS

DIGEST_BYTES: Final = 16
Phase = Literal["waiting", "asking", "giving", "closing", "relaying", "given", "done"]


class Begin(NamedTuple):
    """Ask the taker whether it takes the slot."""

    attempt: int


class Offer(NamedTuple):
    """Tell the taker the digests of these keys, and which of them are held no more; it answers which it is missing."""

    ticket: int
    keys: tuple[bytes, ...]


class Items(NamedTuple):
    """Send what is under these keys now, and say which are held no more; what does not fit is to be put back."""

    ticket: int
    keys: tuple[bytes, ...]


class Recheck(NamedTuple):
    """Say which keys are held, and perform what follows from that, in this very turn."""

    attempt: int


class Finish(NamedTuple):
    """Tell the taker that it has been told everything."""

    attempt: int


class Forget(NamedTuple):
    """The taker has safely what went with this ticket and was not missing: forget what has not changed since."""

    ticket: int


class Given(NamedTuple):
    """The taker has everything that was ever acknowledged here."""


class TakenBack(NamedTuple):
    """That it was given is true no more."""


class Done(NamedTuple):
    """The transfer is over."""


class Retry(NamedTuple):
    """Begin again, after a pause that grows with the number of failures in a row."""

    failures: int


Effect = Begin | Offer | Items | Recheck | Finish | Forget | Given | TakenBack | Done | Retry
Effects = tuple[Effect, ...]
NOTHING: Effects = ()


def digest(item: bytes) -> bytes:
    """What stands for an encoded item in an offer."""
    return hashlib.blake2b(item, digest_size=DIGEST_BYTES).digest()


class Giving:
    """One transfer, as its giver decides on it.

    Args:
        follows: whether the giver is in charge of the slot, so that commands must go along.
        forgets: whether the giver keeps nothing of what the taker has.
        counts: whether the cluster waits for it: then it ends as given, and may be taken back.
        window: how many messages may be on their way unacknowledged.

    Attributes:
        phase: how far it is.
        attempt: counts the beginnings; an answer to an earlier one means nothing.
        failures: how many attempts in a row have failed.
    """

    __slots__ = (
        "_counts",
        "_forgets",
        "_forwards",
        "_is_concluded",
        "_is_offered",
        "_known",
        "_missing",
        "_open",
        "_tickets",
        "_todo",
        "_window",
        "attempt",
        "failures",
        "follows",
        "phase",
    )

    def __init__(self, *, follows: bool, forgets: bool, window: int, counts: bool = False) -> None:
        self.follows = follows
        self.phase: Phase = "waiting"
        self.attempt = 0
        self.failures = 0
        self._counts = counts
        self._forgets = forgets
        self._window = window
        self._tickets = 0
        self._clear()

    @property
    def is_following(self) -> bool:
        """Whether a command goes to the taker too, and its giver answers it."""
        return self.follows and self.phase in ("giving", "closing")

    @property
    def is_relaying(self) -> bool:
        """Whether a command counts as done only when the taker says so."""
        return self.follows and self.phase in ("relaying", "given")

    def begin(self) -> Effects:
        """It is time to try."""
        self._clear()
        self.attempt += 1
        self.phase = "asking"
        return (Begin(self.attempt),)

    def accepted(self, attempt: int, held: Iterable[bytes], *, offers: bool) -> Effects:
        """The taker takes it.

        Args:
            held: the keys that are held here in this turn.
            offers: whether the taker holds something already, so that asking first may save sending.
        """
        if attempt != self.attempt or self.phase != "asking":
            return NOTHING
        self.phase = "giving"
        self._is_offered = offers
        self._todo.extend(held)
        return self._go_on()

    def answered(self, ticket: int, missing: Sequence[bytes] = ()) -> Effects:
        """The taker has stored what went with a ticket, or has said which offered keys it is missing."""
        if ticket not in self._open:
            return NOTHING
        self._open.remove(ticket)
        self._missing.extend(missing)
        forget: Effects = (Forget(ticket),) if self._forgets else NOTHING
        return forget + (self._look_whether_closed() if self.phase == "closing" else self._go_on())

    def put_back(self, keys: Iterable[bytes]) -> None:
        """These keys did not fit into the message that they were meant for: it is not the last one."""
        self._missing.extend(keys)
        if self.phase == "closing":
            self.phase = "giving"

    def rechecked(self, attempt: int, held: AbstractSet[bytes]) -> Effects:
        """These keys are held now. A `Finish` that follows means something only while `phase` is "closing"."""
        if attempt != self.attempt or self.phase != "giving":
            return NOTHING
        known = self._known
        fresh = held if self._forgets else [key for key in held if key not in known]
        if self._forgets or len(fresh) > HANDOFF_BATCH_ITEMS:
            self._todo.extend(fresh)
            if fresh:
                return self._go_on()
        self.phase = "closing"
        last: list[Effect] = [Finish(attempt)]
        if fresh:
            self._tickets += 1
            self._open.add(self._tickets)
            known.update(fresh)
            last.insert(0, Items(self._tickets, tuple(fresh)))
        return tuple(last)

    def finished(self, attempt: int) -> Effects:
        """The taker has safely everything that it was told."""
        if attempt != self.attempt or self.phase != "closing":
            return NOTHING
        self._is_concluded = True
        return self._look_whether_closed()

    def forwarded(self) -> int:
        """A command was sent along; what is returned names the attempt that it belongs to."""
        self._forwards += 1
        return self.attempt

    def forward_answered(self, attempt: int) -> Effects:
        """The taker has done what was sent along."""
        if attempt != self.attempt:
            return NOTHING
        self._forwards -= 1
        return self._look_whether_given()

    def failed(self, attempt: int) -> Effects:
        """Something of an attempt went wrong: an answer is an error, or the taker is lost."""
        if attempt != self.attempt or self.phase in ("waiting", "done"):
            return NOTHING
        taken_back: Effects = (TakenBack(),) if self.phase == "given" else NOTHING
        self.phase = "waiting"
        self.failures += 1
        self._clear()
        return (*taken_back, Retry(self.failures))

    def _clear(self) -> None:
        self._todo: deque[bytes] = deque()
        self._missing: deque[bytes] = deque()
        self._known: set[bytes] = set()
        self._open: set[int] = set()
        self._forwards = 0
        self._is_concluded = False
        self._is_offered = False

    def _go_on(self) -> Effects:
        effects: list[Effect] = []
        while len(self._open) < self._window and (self._missing or self._todo):
            self._tickets += 1
            self._open.add(self._tickets)
            if self._missing:
                effects.append(Items(self._tickets, _pop(self._missing, HANDOFF_BATCH_ITEMS)))
                continue
            keys = _pop(self._todo, HANDOFF_OFFER_ITEMS if self._is_offered else HANDOFF_BATCH_ITEMS)
            self._known.update(keys)
            effects.append(Offer(self._tickets, keys) if self._is_offered else Items(self._tickets, keys))
        if not self._open:
            effects.append(Recheck(self.attempt))
        return tuple(effects)

    def _look_whether_closed(self) -> Effects:
        if self._open or not self._is_concluded:
            return NOTHING
        self.failures = 0
        self._known.clear()  # it may be long until the slot is held elsewhere
        if not self.follows and not self._counts:
            self.phase = "done"
            return (Done(),)
        self.phase = "relaying"
        return self._look_whether_given()

    def _look_whether_given(self) -> Effects:
        if self.phase != "relaying" or self._forwards:
            return NOTHING
        self.phase = "given"
        return (Given(),)


class Taking:
    """One transfer, as its taker sees it.

    Args:
        attempt: the giver's number of it.
        stale: what is held here already and must go unless the giver holds it too; nothing when values can be merged.
    """

    __slots__ = ("_stale", "attempt")

    def __init__(self, attempt: int, stale: Iterable[bytes] = ()) -> None:
        self.attempt = attempt
        self._stale = set(stale)

    def named(self, keys: Iterable[bytes]) -> None:
        """The giver holds these keys."""
        self._stale.difference_update(keys)

    def unwanted(self) -> tuple[bytes, ...]:
        """What the giver has never named, now that it has named everything."""
        return tuple(self._stale)


def _pop(keys: deque[bytes], count: int) -> tuple[bytes, ...]:
    return tuple(keys.popleft() for _ in range(min(count, len(keys))))
