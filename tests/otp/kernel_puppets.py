"""The processes of random programs: each does what messages tell it to do, and writes it into the diary."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable

import msgspec

from roost.errors import Overloaded
from roost.otp import Caller, Down, Exit, GenServer, Monitor, NoReply, Reason, Stop, Timeout, call, cast, info, send
from tests.otp.kernel_diary import CALLS, TICK_S, Diary, No, Said, word
from tests.otp.kernel_programs import Deed
from tests.otp.virtual import pass_time


class Crash(Exception):
    """As planned."""


class Went(msgspec.Struct, frozen=True):
    """What a puppet goes on with before anything else."""

    number: int


class Rang(msgspec.Struct, frozen=True):
    """A timer."""


class Passed(msgspec.Struct, frozen=True):
    """A caller that somebody else shall answer."""

    caller: Caller[int]
    number: int


class Puppet(GenServer):
    """Does what messages tell it to do."""

    def init(self, diary: Diary, index: int) -> None:
        self.diary, self.index = diary, index
        self.waiting: deque[tuple[Caller[int], int]] = deque()
        self.monitors: deque[tuple[int, Monitor]] = deque()

    @call
    def ask(self, sender: int, number: int, deed: Deed) -> int:
        self.diary.handling(self.index, sender, number)
        return self.do(deed, number)

    @call
    async def ask_async(self, sender: int, number: int, deed: Deed) -> int:
        self.diary.handling(self.index, sender, number)
        return await self.do_async(deed, number)

    @cast
    def tell(self, sender: int, number: int, deed: Deed) -> None:
        self.diary.handling(self.index, sender, number)
        self.do(deed, number)

    @cast
    async def tell_async(self, sender: int, number: int, deed: Deed) -> None:
        self.diary.handling(self.index, sender, number)
        await self.do_async(deed, number)

    @info
    def said(self, message: Said) -> None:
        self.diary.handling(self.index, message.sender, message.number)
        self.do(message.deed, message.number)

    @info
    async def went_on(self, message: Went) -> None:
        self.diary.any_message(self.index, message.number)

    @info
    def passed(self, message: Passed) -> None:
        self.diary.any_message(self.index)
        message.caller.reply(message.number)

    @info
    def rang(self, message: Rang) -> None:
        self.diary.any_message(self.index)

    @info
    def timed_out(self, message: Timeout) -> None:
        at = self.diary.armed.get(self.index)
        if at is None or self.diary.now < at - TICK_S:
            self.diary.wrong(f"{self.index} gets a timeout that it does not wait for")
        self.diary.any_message(self.index)

    @info
    def exited(self, message: Exit) -> None:
        self.hear("exit", message.process, message.reason)

    @info
    def went_down(self, message: Down) -> None:
        self.hear("down", message.process, message.reason)

    def hear(self, news: str, handle: GenServer, reason: Reason) -> None:
        """Write down news of an end."""
        self.diary.any_message(self.index)
        self.diary.heard[news, self.index].append((self.diary.who(handle), word(reason)))

    def terminate(self, reason: Reason) -> Awaitable[None] | None:
        self.diary.terminating(self.index, word(reason))
        return None

    async def do_async(self, deed: Deed, number: int) -> int:
        """Do it, and take some time."""
        diary = self.diary
        diary.busy.add(self.index)
        try:
            left_s = self.time_left_s()
            if deed.what == "request" and deed.request is not None:
                patience_s = 1e9 if left_s is None else left_s
                await diary.outcome(diary.request(self.index, deed.target, deed.request, patience_s))
                return number
            if deed.what in ("nap", "defer", "answer early"):
                if deed.what == "answer early":
                    caller: Caller[int] = self.caller()
                    caller.reply(number)
                await pass_time(deed.seconds)
            if deed.what == "answer early":
                raise NoReply
            return self.do(deed, number)
        finally:
            diary.busy.discard(self.index)

    def do(self, deed: Deed, number: int) -> int:
        """Do it at once."""
        diary, me, target = self.diary, self.index, deed.target
        match deed.what:
            case "link" | "unlink" | "watch" | "unwatch" | "trap" | "release":
                self.tie(deed.what, target)
            case "exit":
                diary.exit(target, deed.reason, by=me)
            case "leave":
                diary.wish(me, deed.reason)
                self.exit(deed.reason)
            case "stop" | "stop and reply":
                diary.sentence(me, deed.reason, by_signal=False)
                raise Stop(deed.reason) if deed.what == "stop" else Stop(deed.reason, reply=number)
            case "crash":
                diary.sentence(me, "Crash", by_signal=False)
                raise Crash
            case "refuse":
                raise No
            case "defer" | "pass on" | "answer early":
                self.put_off(deed, number)
            case "answer":
                while self.waiting:
                    caller, owed = self.waiting.popleft()
                    caller.reply(owed)
            case "wait":
                diary.armed[me] = diary.now + deed.seconds
                diary.undisturbed.add(me)
                self.receive_timeout(deed.seconds)
            case "go on":
                diary.next[me] = number
                self.continue_with(Went(number))
            case "work beside":
                self.activity(pass_time(deed.seconds))
            case "set timer":
                self.send_after(deed.seconds, Rang())
        return number

    def put_off(self, deed: Deed, number: int) -> None:
        """Leave the reply to somebody else, or to a later moment."""
        if self.diary.asked[number].method not in CALLS:
            return
        caller: Caller[int] = self.caller()
        if deed.what == "answer early":
            caller.reply(number)
        elif deed.what == "defer":
            self.waiting.append((caller, number))
        else:
            self.diary.undisturbed.discard(deed.target)
            try:
                send(self.diary.puppets[deed.target], Passed(caller, number))
            except Overloaded:
                caller.refuse(No())
        raise NoReply

    def tie(self, how: str, target: int) -> None:
        """Bind itself to another puppet, or let go of it."""
        diary, me, other = self.diary, self.index, self.diary.puppets[target]
        match how:
            case "trap" | "release":
                self.trap_exits(how == "trap")
                (diary.trapping.add if how == "trap" else diary.trapping.discard)(me)
            case "link":
                if not other.is_alive():
                    diary.linked_has_ended(me, target, "noproc")
                elif target != me:
                    diary.links.add(frozenset((me, target)))
                self.link(other)
            case "unlink":
                diary.links.discard(frozenset((me, target)))
                self.unlink(other)
            case "watch":
                diary.numbers += 1
                if other.is_alive():
                    diary.watches[diary.numbers] = me, target
                else:
                    diary.due["down", me].append((target, "noproc"))
                self.monitors.append((diary.numbers, self.monitor(other)))
            case "unwatch" if self.monitors:
                number, monitor = self.monitors.popleft()
                diary.watches.pop(number, None)
                monitor.cancel()


class Reluctant(Puppet):
    """Takes its time to end; lets go of messages when there are too many, and starts another puppet."""

    mailbox_messages_max = 3
    overflow = "drop_oldest"

    async def init(self, diary: Diary, index: int) -> None:  # type: ignore[override]  # async, as an init may be
        Puppet.init(self, diary, index)
        child = await Strict.start_link(diary, index + 1)
        diary.puppets += [self.handle, child]
        diary.parents[index + 1] = index
        diary.links.add(frozenset((index, index + 1)))

    async def terminate(self, reason: Reason) -> None:
        self.diary.terminating(self.index, word(reason))
        await pass_time(0.7)


class Strict(Puppet):
    """Refuses messages when there are too many."""

    mailbox_messages_max = 2


class Forgetful(Puppet):
    """Does not take new messages when there are too many."""

    mailbox_messages_max = 2
    overflow = "drop_newest"
