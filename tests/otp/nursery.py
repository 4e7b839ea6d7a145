"""Workers that do as a test tells them, and a diary of what they and their supervisors did."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from roost.otp import Child, GenServer, Ignore, Reason, Restart, Scheduler, call, cast
from roost.sim import turns


class Diary:
    """What happened, in order; and what the workers of each label are to do.

    Attributes:
        events: "start a", "stop a: shutdown" and the like.
        times: for each start, when it was.
        starts: for each label, what its next starts do: "ok", "fail", "ignore" or "hang"; all further ones succeed.
        stop_s: for each label, how long its terminate takes.
        now: the worker that was started last under each label.
    """

    def __init__(self, **starts: str) -> None:
        self.events: list[str] = []
        self.times: list[float] = []
        self.starts = {label: words.split() for label, words in starts.items()}
        self.stop_s: dict[str, float] = {}
        self.now: dict[str, Worker] = {}

    def take(self) -> list[str]:
        """The events since the last time."""
        events, self.events = self.events, []
        return events

    def child(
        self,
        label: str,
        restart: Restart = "permanent",
        *,
        shutdown_s: float | None = 5.0,
        significant: bool = False,
        traps: bool = True,
        late: bool = False,
    ) -> Child[Worker]:
        """The plan of a worker."""
        kind = LateWorker if late else Worker
        return kind.child(self, label, traps, id=label, restart=restart, shutdown_s=shutdown_s, significant=significant)

    def children(self, labels: str) -> list[Child[Worker]]:
        """Permanent workers."""
        return [self.child(label) for label in labels.split()]

    async def end(self, label: str, reason: str = "broken") -> None:
        """Let a worker end, and its supervisor react, as far as that happens at once."""
        worker = self.now[label]
        down = worker.down()
        worker.quit(reason)
        await down
        await settle()


class Worker(GenServer):
    """A process that writes a diary."""

    def init(self, diary: Diary, label: str, traps: bool = True) -> Awaitable[None] | None:
        self.diary, self.label = diary, label
        self.trap_exits(traps)
        does = self.begin()
        if does == "fail":
            raise OSError("not now")
        if does == "ignore":
            raise Ignore
        diary.now[label] = self.handle
        return None

    def begin(self) -> str:
        """Note the start. Returns what it is to do."""
        plan = self.diary.starts.get(self.label)
        does = plan.pop(0) if plan else "ok"
        self.diary.events.append(f"start {self.label}" if does == "ok" else f"start {self.label} {does}")
        self.diary.times.append(self.scheduler.runtime.clock.now())
        return does

    async def terminate(self, reason: Reason) -> None:
        self.diary.events.append(f"stop {self.label}: {reason}")
        stop_s = self.diary.stop_s.get(self.label, 0.0)
        if stop_s:
            await asyncio.sleep(stop_s)
            self.diary.events.append(f"stopped {self.label}")

    @cast
    def quit(self, reason: str) -> None:
        self.exit(reason)

    @call
    def crash(self) -> None:
        raise ValueError(f"{self.label} broke")


class LateWorker(Worker):
    """The same; but its init takes a second, or never ends."""

    async def init(self, diary: Diary, label: str, traps: bool = True) -> None:
        await asyncio.sleep(1.0)
        super().init(diary, label, traps)
        if self.diary.starts.get(label) == ["hang"]:
            self.diary.events.append(f"hang {label}")
            await asyncio.Event().wait()


async def settle() -> None:
    """Let everything happen that happens at once: no time passes."""
    await turns(200)


async def pass_time(seconds: float) -> None:
    """Let virtual time pass."""
    await asyncio.sleep(seconds)


def alive() -> list[str]:
    """Every process of this world."""
    return [str(process) for process in Scheduler.current().processes.values()]
