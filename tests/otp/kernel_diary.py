"""The diary of a random program: what its puppets did, heard and became, and what must not be."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from roost.errors import CallCycle, CallTimeout, Overloaded, ProcessDown, Refusal
from roost.otp import GenServer, Process, Reason, Scheduler, send
from tests.otp.kernel_programs import Deed, Request

if TYPE_CHECKING:
    from tests.otp.kernel_puppets import Puppet

CALLS = ("ask", "ask_async", "wire")
"""The methods that somebody waits for."""
TICK_S = 1e-6
"""Virtual times that are nearer to each other are the same."""


class No(Refusal):
    """As planned."""


class Said(msgspec.Struct, frozen=True):
    """A message without a reply, for an @info handler."""

    sender: int
    number: int
    deed: Deed


def word(reason: Reason) -> str:
    """A reason as the diary has it."""
    return reason if isinstance(reason, str) else type(reason).__name__


class Asked:
    """One message on its way; for a call, what its caller gets."""

    def __init__(self, number: int, receiver: int, method: str, at: float, patience_s: float) -> None:
        self.number, self.receiver, self.method = number, receiver, method
        self.at, self.patience_s = at, patience_s
        self.handled = 0
        self.reply: Awaitable[object] | None = None
        self.outcome: str | None = None


class Diary:
    """Everything that happens, as far as it can be judged; what is wrong at once stands in `problems`."""

    def __init__(self, scheduler: WatchedScheduler) -> None:
        self.scheduler = scheduler
        self.problems: list[str] = []
        self.puppets: list[Puppet] = []
        self.asked: dict[int, Asked] = {}
        self.order: dict[tuple[int, int], int] = defaultdict(int)
        self.busy: set[int] = set()
        self.next: dict[int, int] = {}
        self.armed: dict[int, float] = {}
        self.undisturbed: set[int] = set()
        """Those to whom nothing was sent that could end their timeouts."""
        self.trapping: set[int] = set()
        self.links: set[frozenset[int]] = set()
        self.parents: dict[int, int] = {}
        self.watches: dict[int, tuple[int, int]] = {}
        self.verdicts: dict[int, str] = {}
        """Why a puppet must end now."""
        self.signalled: set[int] = set()
        """Those that a signal ends, so that their `terminate` does not run."""
        self.terminated: set[int] = set()
        self.wishes: dict[int, set[str]] = defaultdict(set)
        """Why it must end when its mailbox comes to it."""
        self.ended: dict[int, str] = {}
        self.due: dict[tuple[str, int], list[tuple[int, str]]] = defaultdict(list)
        """The news that a puppet must hear: of an exit or a down, of whom, and why."""
        self.heard: dict[tuple[str, int], list[tuple[int, str]]] = defaultdict(list)
        self.numbers = 0
        scheduler.diary = self

    @property
    def now(self) -> float:
        return self.scheduler.runtime.clock.now()

    def wrong(self, what: str) -> None:
        """Something that must not be."""
        self.problems.append(f"{self.now:g} s: {what}")

    def process(self, who: int) -> Process:
        """What stands behind a handle."""
        return self.puppets[who]._process

    def who(self, handle: GenServer) -> int:
        """Which puppet that is."""
        return self.puppets.index(handle)  # type: ignore[arg-type]  # there are no others

    # Messages

    def handling(self, who: int, sender: int, number: int) -> None:
        """A puppet begins to handle a message."""
        self.any_message(who)
        asked = self.asked[number]
        asked.handled += 1
        if asked.handled > 1 or asked.receiver != who:
            self.wrong(f"message {number} is handled again, or by a stranger")
        if number < self.order[sender, who]:
            self.wrong(f"{who} handles {number} of {sender} after {self.order[sender, who]}")
        self.order[sender, who] = number

    def any_message(self, who: int, number: int | None = None) -> None:
        """A puppet begins to handle anything at all."""
        process = self.process(who)
        if not process.alive or process.suspended or process.leaving is not None:
            self.wrong(f"{who} handles something, and is dead, suspended or about to end")
        if who in self.busy:
            self.wrong(f"{who} handles two things at once")
        if self.next.pop(who, number) != number:
            self.wrong(f"{who} does not go on with what it said first")
        self.armed.pop(who, None)

    def request(self, sender: int, receiver: int, request: Request, patience_s: float) -> Asked:
        """Send a message."""
        self.undisturbed.discard(receiver)
        process = self.process(receiver)
        self.numbers += 1
        patience_s = min(request.timeout_s, patience_s)
        asked = self.asked[self.numbers] = Asked(self.numbers, receiver, request.method, self.now, patience_s)
        handle, arguments = self.puppets[receiver], (sender, asked.number, request.deed)
        if request.method == "wire":
            asked.reply, on_reply = self.wire(asked)
            scheduler, spec = process.scheduler, process.calls["ask_async" if asked.number % 2 else "ask"]
            scheduler.deliver_call(process, spec, arguments, {}, on_reply, request.timeout_s)
            return asked
        if request.method in CALLS:
            asked.reply = getattr(handle.with_timeout(request.timeout_s), request.method)(*arguments)
            return asked
        try:
            if request.method == "say":
                send(handle, Said(*arguments))
            else:
                getattr(handle, request.method)(*arguments)
        except Overloaded:
            asked.handled += 1  # and never again
        return asked

    def wire(self, asked: Asked) -> tuple[asyncio.Future[object], Callable[[object, Exception | None], None]]:
        """Who waits on another node, and what the network calls."""
        reply: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        answers: list[object] = []

        def on_reply(value: object, error: Exception | None) -> None:
            answers.append(value)
            if len(answers) > 1:
                self.wrong(f"{asked.number} is answered twice")
            elif not reply.done():
                reply.set_exception(error) if error is not None else reply.set_result(value)

        return reply, on_reply

    async def outcome(self, asked: Asked) -> None:
        """Wait for a reply, when there will be one, and judge it."""
        if asked.reply is None:
            return
        try:
            async with asyncio.timeout(asked.patience_s if asked.method == "wire" else None):
                value = await asked.reply
            asked.outcome = "reply"
            if value != asked.number:
                self.wrong(f"the caller of {asked.number} got {value!r}")
        except TimeoutError:
            asked.outcome = "CallTimeout"
        except (No, CallTimeout, ProcessDown, CallCycle, Overloaded, asyncio.CancelledError) as error:
            asked.outcome = type(error).__name__
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self.judge_outcome(asked)

    def judge_outcome(self, asked: Asked) -> None:
        """The outcome is one that can be, in its time."""
        took = self.now - asked.at
        process = self.process(asked.receiver)
        match asked.outcome:
            case "reply" | "No" if not asked.handled:
                self.wrong(f"{asked.number} was answered and never handled")
            case "CallCycle" | "Overloaded" if asked.handled:
                self.wrong(f"{asked.number} was refused and handled")
            case "ProcessDown" if process.alive and process.leaving is None:
                self.wrong(f"{asked.number} says that {asked.receiver} is down")
            case "CallTimeout" if took < asked.patience_s - TICK_S:
                self.wrong(f"{asked.number} gave up after {took:g} s instead of {asked.patience_s:g} s")
        if took > asked.patience_s + TICK_S:
            self.wrong(f"{asked.number} ended with {asked.outcome} after {took:g} s, not {asked.patience_s:g} s")
        if not asked.handled and (asked.method != "wire" or asked.outcome not in ("CallTimeout", "CancelledError")):
            asked.handled += 1  # and never again

    # Ends

    def sentence(self, who: int, reason: str, *, by_signal: bool = True) -> None:
        """A puppet must end now, unless it is about to end already."""
        if who not in self.verdicts and self.process(who).alive and self.process(who).leaving is None:
            self.verdicts[who] = reason
            if by_signal:
                self.signalled.add(who)

    def wish(self, who: int, reason: str) -> None:
        """A puppet must end when its mailbox comes to it."""
        if self.process(who).alive:
            self.wishes[who].add(reason)

    def exit(self, who: int, reason: str, *, by: int) -> None:
        """Send an exit signal."""
        process = self.process(who)
        if process.alive and reason == "kill":
            if who not in self.verdicts or process.leaving is not None:  # what it waits for, it waits for no more
                self.verdicts[who] = "killed"
                self.signalled.add(who)
        elif process.alive and who in self.trapping:
            self.due["exit", who].append((who, reason))
        elif reason != "normal" or who == by:
            self.sentence(who, reason)
        self.puppets[who].exit(reason)

    def terminating(self, who: int, reason: str) -> None:
        """A puppet has begun to end, and runs its `terminate`."""
        self.terminated.add(who)
        if who in self.signalled or (who not in self.verdicts and reason not in self.wishes[who]):
            self.wrong(f"{who} terminates with {reason}, and nobody wanted that")
        if self.verdicts.setdefault(who, reason) != reason:
            self.wrong(f"{who} terminates with {reason}, not {self.verdicts[who]}")

    def has_ended(self, process: Process) -> None:
        """A process has ended; whoever is linked to it or watches it has not heard of it yet."""
        if process.handle not in self.puppets:
            return
        who, reason = self.who(process.handle), word(process.reason)
        if who in self.ended or reason != self.verdicts.get(who):
            self.wrong(f"{who} ends with {reason}, not {self.verdicts.get(who)}")
        if who not in self.signalled and who not in self.terminated:
            self.wrong(f"{who} ends without terminate")
        self.ended[who] = reason
        for pair in [pair for pair in self.links if who in pair]:
            self.links.remove(pair)
            (other,) = pair - {who}
            self.linked_has_ended(other, who, reason)
        for number, (watcher, watched) in list(self.watches.items()):
            if who in (watcher, watched):
                del self.watches[number]
            if who == watched:
                self.due["down", watcher].append((who, reason))

    def linked_has_ended(self, who: int, other: int, reason: str) -> None:
        """The table of exit signals."""
        if not self.process(who).alive:
            return
        if who not in self.trapping:
            if reason != "normal":
                self.sentence(who, reason)
        elif self.parents.get(who) == other:
            self.wish(who, reason)
        else:
            self.due["exit", who].append((other, reason))

    # The end of the history

    def judge(self) -> list[str]:
        """What is wrong when everything has come to rest; the puppets that live are idle."""
        for asked in self.asked.values():
            if asked.reply is not None and asked.outcome is None:
                self.wrong(f"{asked.number} has no outcome")
        for who, puppet in enumerate(self.puppets):
            if not puppet.is_alive():
                continue
            if who in self.verdicts or self.wishes[who]:
                self.wrong(f"{who} lives, and should not: {self.verdicts.get(who)} {self.wishes[who]}")
            for news in ("exit", "down"):
                if sorted(self.heard[news, who]) != sorted(self.due[news, who]):
                    self.wrong(f"{who} heard {news} of {self.heard[news, who]}, not {self.due[news, who]}")
            if who in self.armed and who in self.undisturbed:
                self.wrong(f"{who} waits for its timeout for ever")
            if who in self.next:
                self.wrong(f"{who} never went on")
            self.judge_idle(who, puppet._process)
        return self.problems

    def judge_idle(self, who: int, process: Process) -> None:
        """Nothing is kept of what is over."""
        modes, ties = process.modes, process.ties
        idle = process.open and not process.mail and process.task is None and process.deadline is None
        if not idle or process.serving is not None or process.leaving is not None:
            self.wrong(f"{who} is not idle")
        if modes is not None and (modes.callers or modes.timeout is not None):
            self.wrong(f"{who} keeps callers or timers")
        if ties is not None and (ties.waits or ties.activities or ties.timers):
            self.wrong(f"{who} keeps waits, activities or timers")
        links = {frozenset((who, self.who(other.handle))) for other in ties.links} if ties is not None else set()
        if links != {pair for pair in self.links if who in pair}:
            self.wrong(f"{who} has other links")


class WatchedScheduler(Scheduler):
    """Writes down each end in the moment in which it happens."""

    diary: Diary | None = None

    def forget(self, process: Process) -> None:
        """The first thing that is done about the dead."""
        super().forget(process)
        if self.diary is not None:
            self.diary.has_ended(process)
