"""DynamicSupervisor: keeps processes running that come and go, as many as there are things to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from typing import cast as typed

from roost.errors import ChildNotStarted, ConfigError, NoSuchChild, StartIgnored, TooManyChildren
from roost.otp.child import Child
from roost.otp.declare import call
from roost.otp.gen_server import GenServer
from roost.otp.keeper import Keeper, Kept, why
from roost.otp.ties import Reason

ServerT = TypeVar("ServerT", bound=GenServer)


class DynamicSupervisor(Keeper):
    """Starts children on demand, restarts each for itself, and stops them all at the same time.

    After Elixir's DynamicSupervisor. The ids of children mean nothing here: the same plan may be started many times,
    and a child is known by its handle. A child that has ended for good is forgotten. The work for one child does not
    grow with the number of children. Otherwise as `Supervisor`.
    """

    def init(
        self,
        *,
        max_children: int | None = None,
        extra_arguments: Sequence[object] = (),
        max_restarts: int = 3,
        within_s: float = 5.0,
    ) -> None:
        """Begin without children.

        Args:
            max_children: how many there may be at a time, those that wait for a restart included; None is no limit.
            extra_arguments: come before the arguments of every child's `init`.
            max_restarts: how many restarts, of all children together, within `within_s` seconds are borne.
            within_s: see there.

        Raises:
            ConfigError: when an argument makes no sense.
        """
        if max_children is not None and max_children < 0:
            raise ConfigError("max_children", f"{max_children} is negative")
        self.set_up("one_for_one", max_restarts, within_s, keeps_stopped=False)
        self._max_children = max_children
        self._extra = tuple(extra_arguments)
        self._number = 0

    @call
    async def start_child(self, child: Child[ServerT]) -> ServerT:
        """Start a child and keep it running from now on.

        Raises:
            TooManyChildren: when there are `max_children`.
            ConfigError: when it is significant: this supervisor never shuts down by itself.
            ChildNotStarted: when it did not start; it is not kept.
            StartIgnored: when it had nothing to do; it is not kept.
        """
        self.check(child)
        if self._max_children is not None and len(self._plan.lines) >= self._max_children:
            raise TooManyChildren(self._max_children)
        self._number += 1
        kept = Kept(child, str(self._number), self._plan.intensity.within_s, self._extra)
        self._plan.add(kept)
        try:
            return typed("ServerT", await self.start_one(kept))
        except StartIgnored:
            raise
        except Exception as error:
            self._plan.remove(kept)
            raise ChildNotStarted(child.id, why(error)) from error

    @call
    async def terminate_child(self, process: GenServer) -> None:
        """Stop a child and forget it. When it has ended and waits for its restart, that is called off.

        Raises:
            NoSuchChild: when it is no child of this supervisor.
        """
        target = process._process
        kept = self._kept.get(target) or next((kept for kept, _ in self._pauses.values() if kept.last is target), None)
        if kept is None:
            raise NoSuchChild(str(target))
        await self.stop_one(kept)
        self.stop_waiting(kept)

    async def terminate(self, reason: Reason) -> None:
        """Stop the children, all at the same time."""
        await self.stop_together(self._plan.lines.values())
