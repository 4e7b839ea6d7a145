"""Supervisors with one fault each, to see that the histories find it."""

from __future__ import annotations

import asyncio
from typing import Final

from roost.core.supervision import Again, AutoShutdown, Decision, GiveUp, Strategy, Supervision
from roost.errors import CallTimeout
from roost.otp import GenServer, Supervisor
from roost.otp.keeper import Kept
from roost.otp.process import Process
from roost.otp.ties import Reason
from tests.otp.supervision_grove import Kinds

Plan = Supervision[Kept]


class Planless(Supervisor):
    """A supervisor that decides as another plan does."""

    plan: type[Plan] = Supervision

    def set_up(
        self,
        strategy: Strategy,
        max_restarts: int,
        within_s: float,
        auto_shutdown: AutoShutdown = "never",
        *,
        keeps_stopped: bool = True,
    ) -> None:
        super().set_up(strategy, max_restarts, within_s, auto_shutdown, keeps_stopped=keeps_stopped)
        self._plan.__class__ = self.plan


class RestartsBackwards(Planless):
    class plan(Plan):
        def due(self, line: Kept) -> tuple[tuple[Kept, ...], tuple[Kept, ...]]:
            stop, start = super().due(line)
            return stop, start[::-1]


class StopsForwards(Planless):
    class plan(Plan):
        def _take_down(self, group: list[Kept]) -> tuple[Kept, ...]:
            return super()._take_down(group)[::-1]


class TakesDownTooFew(Planless):
    class plan(Plan):
        def _take_down(self, group: list[Kept]) -> tuple[Kept, ...]:
            return super()._take_down(group[:-1] or group)


class RestartsTemporary(Planless):
    class plan(Plan):
        def ended(self, line: Kept, clean: bool, now: float) -> Decision[Kept]:
            return super().ended(line, clean, now) if clean else self.failed(line, now)


class RestartsFinished(Planless):
    class plan(Plan):
        def ended(self, line: Kept, clean: bool, now: float) -> Decision[Kept]:
            return super().ended(line, False, now)


class ForgetsFinished(Planless):
    class plan(Plan):
        def stopped(self, line: Kept) -> None:
            super().stopped(line)
            self.remove(line)


class IgnoresSignificant(Planless):
    class plan(Plan):
        def _is_last(self, line: Kept) -> bool:
            return False


class EndsWithTheFirstSignificant(Planless):
    class plan(Plan):
        def _is_last(self, line: Kept) -> bool:
            return self.auto_shutdown != "never"


class AllowsOneMore(Planless):
    class plan(Plan):
        def failed(self, line: Kept, now: float) -> Again[Kept] | GiveUp[Kept]:
            self.intensity.max_restarts += 1
            try:
                return super().failed(line, now)
            finally:
                self.intensity.max_restarts -= 1


class NeverForgetsRestarts(Planless):
    class plan(Plan):
        def failed(self, line: Kept, now: float) -> Again[Kept] | GiveUp[Kept]:
            return super().failed(line, 0.0)


class DoesNotWait(Supervisor):
    async def _see_end(self, kept: Kept, process: Process, left_s: float | None) -> None:
        self._kept.pop(process, None)


class WaitsForEver(Supervisor):
    async def _see_end(self, kept: Kept, process: Process, left_s: float | None) -> None:
        await super()._see_end(kept, process, None)


class LeaksAtBoot(Supervisor):
    booting = True

    async def start_one(self, kept: Kept) -> GenServer:
        try:
            return await super().start_one(kept)
        finally:
            self.booting = kept is not list(self._plan.lines.values())[-1]

    async def terminate(self, reason: Reason) -> None:
        if not self.booting:
            await super().terminate(reason)
            return
        for kept in self._plan.lines.values():
            if kept.process is not None:
                self.unlink(kept.process.handle)


class SwallowsCancellation(Supervisor):
    async def _see_end(self, kept: Kept, process: Process, left_s: float | None) -> None:
        try:
            await super()._see_end(kept, process, left_s)
        except asyncio.CancelledError:
            process.kill()


class LeavesAnErrorBehind(Supervisor):
    async def stop_one(self, kept: Kept) -> None:
        await super().stop_one(kept)
        asyncio.get_running_loop().create_future().set_exception(CallTimeout(kept.id, 0.0))


class LeavesATaskBehind(Supervisor):
    async def stop_one(self, kept: Kept) -> None:
        await super().stop_one(kept)
        self.left = asyncio.get_running_loop().create_task(asyncio.Event().wait())


FAULTS: Final[dict[str, type[Supervisor]]] = {
    kind.__name__: kind
    for kind in (
        RestartsBackwards,
        StopsForwards,
        TakesDownTooFew,
        RestartsTemporary,
        RestartsFinished,
        ForgetsFinished,
        IgnoresSignificant,
        EndsWithTheFirstSignificant,
        AllowsOneMore,
        NeverForgetsRestarts,
        DoesNotWait,
        WaitsForEver,
        LeaksAtBoot,
        SwallowsCancellation,
        LeavesAnErrorBehind,
        LeavesATaskBehind,
    )
}


def with_fault(name: str) -> Kinds:
    """The supervisors of a grove, with one fault."""
    return Kinds(fixed=FAULTS[name])
