"""Supervisors: processes that keep other processes running."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from roost.core.intensity import Backoff, Intensity
from roost.errors import ChildNotStarted, ConfigError, NoSuchProcess, StartFailed
from roost.otp.child import Child, Restart
from roost.otp.crash import explain, is_clean, report_lost
from roost.otp.declare import call, info
from roost.otp.gen_server import GenServer
from roost.otp.ties import Exit, Reason
from roost.otp.timers import ProcessTimer


class ChildState(msgspec.Struct, frozen=True):
    """One line of `which_children`. `process` is None while the child waits for a restart, or has finished."""

    id: str
    process: GenServer | None
    restart: Restart


class _Restart(msgspec.Struct, frozen=True):
    """A child's pause is over."""

    id: str


class _Kept:
    """One child as its supervisor keeps it."""

    __slots__ = ("backoff", "child", "process", "timer")

    def __init__(self, child: Child, calm_s: float) -> None:
        self.child = child
        self.process: GenServer | None = None
        self.timer: ProcessTimer | None = None
        self.backoff = Backoff(calm_s)


class Supervisor(GenServer):
    """Starts children in order, restarts those that end (one for one), and stops them in reverse order.

    A child that does not start stops the ones before it, and `start_link` raises StartFailed. More than
    `max_restarts` restarts within `within_s` seconds: the children are stopped and the supervisor exits "shutdown".
    The first restart of a child is immediate; one that keeps failing is restarted after a growing pause.
    Nothing outlives its supervisor: a child that does not stop within its `shutdown_s` is killed.
    """

    def init_state(self, max_restarts: int, within_s: float) -> None:
        """The empty state."""
        self._children: dict[str, _Kept] = {}
        self._intensity = Intensity(max_restarts, within_s)
        self.trap_exits()

    async def init(self, children: Sequence[Child] = (), *, max_restarts: int = 3, within_s: float = 5.0) -> None:
        """Start `children` in order.

        Raises:
            ConfigError: when two children have one id.
            StartFailed: when a child did not start; those before it have been stopped.
        """
        self.init_state(max_restarts, within_s)
        try:
            for child in children:
                await self._start(self._keep(child))
        except BaseException:
            await self._stop_all()
            raise

    @classmethod
    def child(
        cls,
        *args: object,
        name: str | None = None,
        id: str | None = None,
        restart: Restart = "permanent",
        shutdown_s: float | None = None,
        **kwargs: object,
    ) -> Child:
        """How another supervisor starts this one. It may take as long to stop as its children need."""
        return super().child(*args, name=name, id=id, restart=restart, shutdown_s=shutdown_s, **kwargs)

    @call
    def which_children(self) -> tuple[ChildState, ...]:
        """Every child in the order of their starts."""
        return tuple([ChildState(id, kept.process, kept.child.restart) for id, kept in self._children.items()])

    @call
    async def start_child(self, child: Child) -> GenServer:
        """Start one more child and keep it running from now on.

        Raises:
            ConfigError: when there is a child with this id.
            ChildNotStarted: when it did not start; it is not kept.
        """
        kept = self._keep(child)
        try:
            return await self._start(kept)
        except StartFailed as error:
            del self._children[child.id]
            raise ChildNotStarted(child.id, explain(error)) from error

    @call
    async def stop_child(self, id: str) -> None:
        """Stop a child and forget it.

        Raises:
            NoSuchProcess: when there is no child with this id.
        """
        kept = self._children.pop(id, None)
        if kept is None:
            raise NoSuchProcess(id)
        await self._stop(kept)

    @info
    async def _child_ended(self, exit: Exit) -> None:
        kept = next((kept for kept in self._children.values() if kept.process == exit.process), None)
        if kept is None:
            return
        kept.process = None
        restart = kept.child.restart
        if restart == "temporary":
            del self._children[kept.child.id]
        elif restart == "permanent" or not is_clean(exit.reason):
            await self._restart(kept)

    @info
    async def _pause_over(self, message: _Restart) -> None:
        kept = self._children.get(message.id)
        if kept is not None and kept.process is None and kept.timer is not None:
            kept.timer = None
            await self._attempt(kept)

    async def terminate(self, reason: Reason) -> None:
        """Stop the children in reverse order."""
        await self._stop_all()

    def _keep(self, child: Child) -> _Kept:
        if child.id in self._children:
            raise ConfigError("children", f"there are two children with the id {child.id!r}")
        kept = self._children[child.id] = _Kept(child, self._intensity.within_s)
        return kept

    async def _start(self, kept: _Kept) -> GenServer:
        process = await kept.child.start()
        kept.process = process
        kept.backoff.started(self.scheduler.runtime.clock.now())
        return process

    async def _restart(self, kept: _Kept) -> None:
        runtime = self.scheduler.runtime
        now = runtime.clock.now()
        if not self._intensity.allow(now):
            report_lost(
                self._process,
                f"gives up: more than {self._intensity.max_restarts} restarts in {self._intensity.within_s:g} s, "
                f"the last of {kept.child.id!r}",
            )
            self.exit("shutdown")
            return
        pause_s = kept.backoff.pause_s(now, runtime.entropy.uniform(0.0, 1.0))
        if pause_s > 0:
            kept.timer = self.send_after(pause_s, _Restart(kept.child.id))
        else:
            await self._attempt(kept)

    async def _attempt(self, kept: _Kept) -> None:
        try:
            await self._start(kept)
        except Exception as error:
            report_lost(self._process, f"could not restart {kept.child.id!r}: {explain(error)}")
            await self._restart(kept)

    async def _stop_all(self) -> None:
        while self._children:
            _, kept = self._children.popitem()
            await self._stop(kept)

    async def _stop(self, kept: _Kept) -> None:
        if kept.timer is not None:
            kept.timer.cancel()
        handle, kept.process = kept.process, None
        if handle is None:
            return
        process = handle._process
        down = handle.down()
        process.signal(self._process, "shutdown")
        if not down.done():
            try:
                async with asyncio.timeout(kept.child.shutdown_s):
                    await asyncio.shield(down)
            except TimeoutError:
                report_lost(self._process, f"kills {handle!r}: it did not stop within {kept.child.shutdown_s:g} s")
                process.kill()
                await down
