"""Supervisor: a process that keeps a fixed list of other processes running, in an order that means something."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeVar
from typing import cast as typed

from roost.core.supervision import STOPPED, AutoShutdown, Strategy
from roost.errors import (
    ChildExists,
    ChildNotStarted,
    ChildNotStopped,
    ConfigError,
    NoSuchChild,
    StartFailed,
    StartIgnored,
)
from roost.otp.child import Child
from roost.otp.declare import call
from roost.otp.gen_server import GenServer
from roost.otp.keeper import Keeper, Kept, why

ServerT = TypeVar("ServerT", bound=GenServer)


class Supervisor(Keeper):
    """Starts children in order, restarts those that end, and stops them in reverse order.

    A child that does not start stops the ones before it, and `start_link` raises StartFailed. More than
    `max_restarts` restarts within `within_s` seconds: the children are stopped and the supervisor exits "shutdown".
    The first restart of a child is immediate; one that keeps failing is restarted after a growing pause.
    Nothing outlives its supervisor: a child that does not stop within its `shutdown_s` is killed.
    """

    async def init(
        self,
        children: Sequence[Child] = (),
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        within_s: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
    ) -> None:
        """Start `children` in order.

        Args:
            children: in the order of their starts. A later one may rely on the earlier ones.
            strategy: who is restarted with a child that ends: "one_for_one" nobody, "one_for_all" all the others,
                "rest_for_one" those after it. They are stopped in reverse order and started in order.
            max_restarts: how many restarts within `within_s` seconds are borne.
            within_s: see there.
            auto_shutdown: "never"; or "any_significant" and "all_significant": stop everything and exit "shutdown"
                when one significant child, or the last of them, has ended by itself and is not restarted.

        Raises:
            ConfigError: when two children have one id, or an argument makes no sense; then nothing has started.
            StartFailed: when a child did not start; those before it have been stopped.
        """
        self.set_up(strategy, max_restarts, within_s, auto_shutdown)
        for child in children:
            self.check(child)
            if child.id in self._plan.lines:
                raise ConfigError("children", f"there are two children with the id {child.id!r}")
            self._plan.add(self._keep(child))
        for kept in list(self._plan.lines.values()):
            try:
                await self.start_one(kept)
            except StartIgnored:
                continue
            except Exception as error:
                await self._take_back()
                raise StartFailed(str(self._process), f"its child {kept.id!r}: {why(error)}") from error
            except asyncio.CancelledError:
                if self._process.alive:  # whoever starts it gives up; had it been killed, its children would know
                    await self._take_back()
                raise

    @call
    async def start_child(self, child: Child[ServerT]) -> ServerT:
        """Start one more child, behind the others, and keep it running from now on.

        Raises:
            ChildExists: when there is a child with this id, whether it runs or not.
            ConfigError: when it is significant and this supervisor never shuts down by itself.
            ChildNotStarted: when it did not start; it is not kept.
            StartIgnored: when it had nothing to do; it is kept, unless it is temporary, and can be restarted.
        """
        self.check(child)
        if child.id in self._plan.lines:
            raise ChildExists(child.id, self._plan.lines[child.id].state)
        kept = self._keep(child)
        self._plan.add(kept)
        try:
            return typed("ServerT", await self._start(kept))
        except ChildNotStarted:
            self._plan.remove(kept)
            raise

    @call
    async def restart_child(self, id: str) -> GenServer:
        """Start a child again that has finished, was terminated or had nothing to do.

        Raises:
            NoSuchChild: when there is no child with this id.
            ChildNotStopped: when it runs, or waits for its restart.
            ChildNotStarted: when it did not start; it is kept.
            StartIgnored: when it had nothing to do; it is kept.
        """
        return await self._start(self._stopped(id))

    @call
    async def terminate_child(self, id: str) -> None:
        """Stop a child, and do not restart it, but keep its place: `restart_child` starts it again.

        A restart of its group starts it, too. A temporary child is forgotten. Harmless when it does not run; when
        it waits for its restart, that is called off.

        Raises:
            NoSuchChild: when there is no child with this id.
        """
        kept = self._find(id)
        await self.stop_one(kept)
        self.stop_waiting(kept)

    @call
    def delete_child(self, id: str) -> None:
        """Forget a child that has finished, was terminated or had nothing to do.

        Raises:
            NoSuchChild: when there is no child with this id.
            ChildNotStopped: when it runs, or waits for its restart.
        """
        self._plan.remove(self._stopped(id))

    async def _take_back(self) -> None:
        """Stop the children that have started, to the end, also when whoever starts this supervisor gives up."""
        stopping = self.activity(self.terminate("shutdown"), "init")
        given_up: asyncio.CancelledError | None = None
        while not stopping.done():
            try:
                await asyncio.wait([stopping])
            except asyncio.CancelledError as error:
                given_up = error
        if given_up is not None:
            raise given_up

    def _keep(self, child: Child) -> Kept:
        return Kept(child, child.id, self._plan.intensity.within_s)

    def _find(self, id: str) -> Kept:
        kept = self._plan.lines.get(id)
        if kept is None:
            raise NoSuchChild(id)
        return kept

    def _stopped(self, id: str) -> Kept:
        kept = self._find(id)
        if kept.state != STOPPED:
            raise ChildNotStopped(id, kept.state)
        return kept

    async def _start(self, kept: Kept) -> GenServer:
        try:
            return await self.start_one(kept)
        except StartIgnored:
            raise
        except Exception as error:
            raise ChildNotStarted(kept.id, why(error)) from error
