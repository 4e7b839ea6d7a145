"""What all supervisors do: start a child, notice its end, bring it back after a pause, stop it, give up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Self, get_args

import msgspec

from roost.core.intensity import Intensity
from roost.core.supervision import (
    WAITING,
    Again,
    AutoShutdown,
    Decision,
    GiveUp,
    Line,
    Restart,
    ShutDown,
    Strategy,
    Supervision,
)
from roost.errors import ConfigError, RoostError, StartFailed, StartIgnored
from roost.otp.child import Child, ChildCounts, ChildState
from roost.otp.crash import (
    explain,
    is_clean,
    report_bug,
    report_child_ended,
    report_child_killed,
    report_child_not_started,
    report_child_started,
    report_gave_up,
)
from roost.otp.declare import call, info
from roost.otp.ending import is_cancelled
from roost.otp.gen_server import GenServer
from roost.otp.handle import build
from roost.otp.name import Name
from roost.otp.process import Process
from roost.otp.ties import Down, Exit, Monitor, Reason
from roost.otp.timers import ProcessTimer

_log = logging.getLogger("roost.otp")

_STRATEGIES: Final = get_args(Strategy)
_AUTO_SHUTDOWNS: Final = get_args(AutoShutdown)


class Kept(Line):
    """One child as its supervisor keeps it."""

    __slots__ = ("child", "extra", "last", "pause", "process")

    def __init__(self, child: Child, id: str, calm_s: float, extra: tuple[object, ...] = ()) -> None:
        super().__init__(id, child.restart, child.significant, calm_s)
        self.child, self.extra = child, extra
        self.process: Process | None = None
        self.last: Process | None = None
        """The process that has ended, while the child waits for its restart."""
        self.pause = 0

    def show(self) -> ChildState:
        """This child for `which_children`."""
        handle = None if self.process is None else self.process.handle
        return ChildState(self.child.id, handle, self.restart, self.child.kind, self.state == WAITING)


class _PauseOver(msgspec.Struct, frozen=True):
    """The pause of this number is over."""

    number: int


class Keeper(GenServer):
    """The base of the supervisors."""

    def set_up(
        self,
        strategy: Strategy,
        max_restarts: int,
        within_s: float,
        auto_shutdown: AutoShutdown = "never",
        *,
        keeps_stopped: bool = True,
    ) -> None:
        """Begin without children.

        Raises:
            ConfigError: when an argument makes no sense.
        """
        if strategy not in _STRATEGIES:
            raise ConfigError("strategy", f"{strategy!r} is not one of {', '.join(_STRATEGIES)}")
        if auto_shutdown not in _AUTO_SHUTDOWNS:
            raise ConfigError("auto_shutdown", f"{auto_shutdown!r} is not one of {', '.join(_AUTO_SHUTDOWNS)}")
        if max_restarts < 0:
            raise ConfigError("max_restarts", f"{max_restarts} is negative")
        if not within_s > 0:
            raise ConfigError("within_s", f"{within_s} is not a positive number of seconds")
        intensity = Intensity(max_restarts, within_s)
        self._plan: Supervision[Kept] = Supervision(strategy, intensity, auto_shutdown, keeps_stopped=keeps_stopped)
        self._kept: dict[Process, Kept] = {}
        self._pauses: dict[int, tuple[Kept, ProcessTimer]] = {}
        self._pauses_made = 0
        self.trap_exits()
        self._process.tied.monitors[Monitor(self._process, None, self._leave_behind)] = None

    @classmethod
    def __bind__(cls, process: Process) -> tuple[GenServer, GenServer]:
        """As every process; but who asks a supervisor waits as long as its children need to start and to stop."""
        server, _ = super().__bind__(process)
        server._timeout_s = None
        return server, build(cls.__handle__, process, None)

    @classmethod
    def child(
        cls,
        *args: object,
        name: Name | None = None,
        id: str | None = None,
        restart: Restart = "permanent",
        shutdown_s: float | None = None,
        significant: bool = False,
        start_timeout_s: float | None = None,
        **kwargs: object,
    ) -> Child[Self]:
        """How another supervisor starts this one. It may take as long to stop as its children need."""
        plan = super().child(
            *args,
            name=name,
            id=id,
            restart=restart,
            shutdown_s=shutdown_s,
            significant=significant,
            start_timeout_s=start_timeout_s,
            **kwargs,
        )
        return replace(plan, kind="supervisor")

    @call
    def which_children(self) -> tuple[ChildState, ...]:
        """Every child in the order of their starts."""
        return tuple([kept.show() for kept in self._plan.lines.values()])

    @call
    def count_children(self) -> ChildCounts:
        """How many children there are: all of them, those that run, supervisors and workers."""
        lines = self._plan.lines.values()
        active = sum(kept.process is not None and kept.process.alive for kept in lines)
        supervisors = sum(kept.child.kind == "supervisor" for kept in lines)
        return ChildCounts(len(lines), active, supervisors, len(lines) - supervisors)

    async def terminate(self, reason: Reason) -> None:
        """Stop the children, the last one first."""
        for kept in reversed(list(self._plan.lines.values())):
            await self.stop_one(kept)

    # One child

    def check(self, child: Child) -> None:
        """See whether this supervisor may have such a child.

        Raises:
            ConfigError: when it is no plan, or significant and this supervisor never shuts down by itself.
        """
        if not isinstance(child, Child):
            raise ConfigError("children", f"{child!r} is no plan for a child: give `Worker.child(...)`")
        if child.significant and self._plan.auto_shutdown == "never":
            raise ConfigError("significant", f"auto_shutdown is 'never', so {child.id!r} cannot be")

    async def start_one(self, kept: Kept) -> GenServer:
        """Start a child. It is linked with this supervisor from then on, whatever its plan does.

        Raises:
            StartIgnored: when it has nothing to do.
            StartFailed: when it did not start.
            Exception: whatever else its plan raises.
        """
        try:
            handle = await kept.child.start(*kept.extra)
        except StartIgnored:
            self._plan.stopped(kept)
            raise
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise  # it is this supervisor that is to end
            raise StartFailed(repr(kept.id), "what its start waited for was cancelled") from error
        process: object = getattr(handle, "_process", None)
        if not isinstance(process, Process):
            raise StartFailed(repr(kept.id), f"its start returned {handle!r}, which is no process of this node")
        if process is self._process or process in self._kept:
            raise StartFailed(repr(kept.id), f"its start returned {handle!r}, which has a place in this tree already")
        kept.process, kept.last = process, None
        self._kept[process] = kept
        self._plan.started(kept, self.scheduler.runtime.clock.now())
        if process not in self._process.tied.links:
            self.link(handle)
        if _log.isEnabledFor(logging.DEBUG):
            report_child_started(self._process, kept.child.id, handle)
        return handle

    async def stop_one(self, kept: Kept) -> None:
        """Stop a child, and kill it when it takes too long."""
        process, kept.process = kept.process, None
        if process is not None:
            self._ask_to_stop(kept, process)
            await self._see_end(kept, process, kept.child.shutdown_s)

    async def stop_together(self, children: Iterable[Kept]) -> None:
        """Stop children, all at the same time."""
        now = self.scheduler.runtime.clock.now
        began = now()
        stopping: list[tuple[Kept, Process]] = []
        for kept in children:
            process, kept.process = kept.process, None
            if process is not None:
                self._ask_to_stop(kept, process)
                stopping.append((kept, process))
        # The least patience first: then nobody's time is up before his turn to be waited for.
        for kept, process in sorted(stopping, key=lambda one: _patience_s(one[0])):
            shutdown_s = kept.child.shutdown_s
            await self._see_end(kept, process, None if shutdown_s is None else max(shutdown_s - (now() - began), 0.0))

    def _ask_to_stop(self, kept: Kept, process: Process) -> None:
        if kept.child.shutdown_s == 0:
            process.kill()
        else:
            process.signal(self._process, "shutdown")

    async def _see_end(self, kept: Kept, process: Process, left_s: float | None) -> None:
        """Wait for the end of a child; kill it when `left_s` seconds have passed."""
        if process.alive:
            down = process.handle.down()
            try:
                async with asyncio.timeout(left_s):
                    await asyncio.shield(down)
            except TimeoutError:
                report_child_killed(self._process, kept.child.id, process.handle, kept.child.shutdown_s or 0.0)
                process.kill()
                await down
        self._kept.pop(process, None)  # not earlier: whoever kills this supervisor must find it here

    def _leave_behind(self, down: Down) -> None:
        """This supervisor has ended. Its children have heard it; those that do not stop in time are killed."""
        clock = self.scheduler.runtime.clock
        for process, kept in self._kept.items():
            if kept.child.shutdown_s == 0:
                process.kill()
            elif process.alive and kept.child.shutdown_s is not None:
                clock.call_later(kept.child.shutdown_s, process.kill)

    # Ends and restarts

    @info
    async def _child_ended(self, exit: Exit) -> None:
        kept = self._kept.pop(exit.process._process, None)
        if kept is not None:  # else it was stopped on purpose, or linked for another reason
            kept.process, kept.last = None, kept.process
            clean = is_clean(exit.reason)
            decision = self._shaken(self._plan.ended(kept, clean, self.scheduler.runtime.clock.now()))
            if not clean or _log.isEnabledFor(logging.DEBUG):
                report_child_ended(self._process, kept.child.id, exit.process, exit.reason, _in_words(decision))
            await self._follow(decision)

    @info
    async def _pause_over(self, message: _PauseOver) -> None:
        pause = self._pauses.pop(message.number, None)
        if pause is not None:  # else it was called off when its message was under way
            await self._follow(await self._bring_back(pause[0]))

    async def _follow(self, decision: Decision[Kept]) -> None:
        while decision is not None:
            match decision:
                case GiveUp(kept):
                    self.give_up(kept.child.id)
                    return
                case ShutDown():
                    self.exit("shutdown")
                    return
                case Again(kept, stop, pause_s):
                    for one in stop:
                        await self.stop_one(one)
                    if pause_s is None:
                        return
                    self._call_off(kept)
                    if pause_s > 0:
                        self._begin_pause(kept, pause_s)
                        return
                    decision = await self._bring_back(kept)

    async def _bring_back(self, kept: Kept) -> Decision[Kept]:
        """Restart a child and its group. Returns what follows when that fails."""
        stop, start = self._plan.due(kept)
        for one in stop:
            await self.stop_one(one)
        for one in start:
            try:
                await self.start_one(one)
            except StartIgnored:
                continue
            except Exception as error:
                decision = self._shaken(self._plan.failed(one, self.scheduler.runtime.clock.now()))
                report_child_not_started(self._process, one.child.id, why(error), _in_words(decision))
                if error.__cause__ is not None and not isinstance(error.__cause__, RoostError):
                    report_bug(f"the start of child {one.child.id!r}", error.__cause__)  # nobody else tells where
                return decision
        return None

    def give_up(self, id: str) -> None:
        """Restarting has not helped: end, so that whoever supervises this supervisor can decide."""
        report_gave_up(self._process, id, self._plan.intensity.max_restarts, self._plan.intensity.within_s)
        self.exit("shutdown")

    def _shaken(self, decision: Decision[Kept]) -> Decision[Kept]:
        """The decision with a pause that is a little shorter by chance, so that not all children wake up in step."""
        if isinstance(decision, Again) and decision.pause_s:
            part = self.scheduler.runtime.entropy.uniform(0.5, 1.0)
            return Again(decision.cause, decision.stop, decision.pause_s * part)
        return decision

    def _begin_pause(self, kept: Kept, pause_s: float) -> None:
        self._pauses_made = kept.pause = number = self._pauses_made + 1
        self._pauses[number] = (kept, self.send_after(pause_s, _PauseOver(number)))

    def _call_off(self, kept: Kept) -> None:
        """End the pause of a child; of the whole group, when there are groups."""
        numbers = [kept.pause] if self._plan.strategy == "one_for_one" else list(self._pauses)
        for number in numbers:
            pause = self._pauses.pop(number, None)
            if pause is not None:
                pause[1].cancel()

    def stop_waiting(self, kept: Kept) -> None:
        """A child is not to be restarted when its pause is over."""
        self._plan.stopped(kept)
        if self._plan.strategy == "one_for_one" or not self._plan.waits:
            self._call_off(kept)


def _patience_s(kept: Kept) -> float:
    return float("inf") if kept.child.shutdown_s is None else kept.child.shutdown_s


def why(error: Exception) -> str:
    """Why a child did not start, in one line."""
    return str(error) if isinstance(error, StartFailed) else explain(error)


def _in_words(decision: Decision[Kept]) -> str:
    """What a supervisor does now, for its log."""
    match decision:
        case Again(pause_s=pause_s) if pause_s:
            return f"restarting in {pause_s:.2g} s"
        case Again():
            return "restarting"
        case GiveUp():
            return "giving up"
        case ShutDown():
            return "shutting down"
        case None:
            return "not restarted"
