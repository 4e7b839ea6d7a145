"""Consumer supervisors: one child process for each event."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from roost.core.inlet import Inlet
from roost.errors import ConfigError, StartIgnored
from roost.otp.child import Child
from roost.otp.crash import explain, is_clean
from roost.otp.declare import info
from roost.otp.gen_server import GenServer
from roost.otp.keeper import Keeper, Kept, _PauseOver
from roost.otp.process import Process
from roost.otp.stages.consumer import Consumer
from roost.otp.stages.subscription import Handled, Parcel, Refuse
from roost.otp.ties import Exit, Reason

In = TypeVar("In")


class ConsumerSupervisor(Keeper, Consumer[In], Generic[In]):
    """Starts one child for each event; no more of them run than `max_demand` of its subscription.

    ::

        class Mailers(ConsumerSupervisor[Mail]):
            def init(self) -> None:
                self.subscribe_to("outbox", max_demand=20, min_demand=10)

            def child_for(self, event: Mail) -> Child:
                return Mailer.child(event, restart="temporary")

    An event is acknowledged when its child has ended as intended. A child that crashes is restarted when it is
    "transient"; when it is "temporary", or does not start, its event goes back to the producer, which delivers it
    again, a few times at most, or reports it. When this supervisor ends, its children are stopped, all at the same
    time, and their events go back as well.
    """

    max_restarts: ClassVar[int] = 3
    """How many restarts of transient children are allowed within `within_s` seconds; one more ends the supervisor."""
    within_s: ClassVar[float] = 5.0
    """The window for `max_restarts`, in seconds."""

    def child_for(self, event: In) -> Child:
        """The child that handles `event`; "transient" or "temporary"."""
        raise ConfigError("child_for", f"{type(self).__name__} does not define it")

    @classmethod
    def __bind__(cls, process: Process) -> tuple[GenServer, GenServer]:
        """As every supervisor."""
        server, handle = super().__bind__(process)
        assert isinstance(server, ConsumerSupervisor)
        server._jobs = {}
        server._started = 0
        server.set_up("one_for_one", cls.max_restarts, cls.within_s, keeps_stopped=False)
        return server, handle

    _jobs: dict[str, Parcel]
    _started: int

    async def handle_events(self, events: list[In]) -> None:
        """Start a child for each."""
        parcel = self._parcel
        assert parcel is not None
        for event in events:
            self._started += 1
            child = self.child_for(event)
            if child.restart == "permanent":
                raise ConfigError("restart", f"the child {child.id!r} of one event cannot be permanent")
            kept = Kept(child, str(self._started), self.within_s)
            self._jobs[kept.id] = parcel
            self._plan.add(kept)
            try:
                await self.start_one(kept)
            except StartIgnored:
                self._close(kept, "normal")
            except Exception as error:
                self._plan.remove(kept)
                self._close(kept, error)

    async def terminate(self, reason: Reason) -> None:
        """Stop the children, all at the same time."""
        await self.stop_together(self._plan.lines.values())

    @info
    async def _child_ended(self, exit: Exit) -> None:
        kept = self._kept.get(exit.process._process)
        await super()._child_ended(exit)  # type: ignore[operator]  # what the class has is the plain function
        if kept is not None:
            self._close(kept, exit.reason)

    @info
    async def _pause_over(self, message: _PauseOver) -> None:
        pause = self._pauses.get(message.number)
        await super()._pause_over(message)  # type: ignore[operator]  # the same
        if pause is not None:
            self._close(pause[0], "normal")  # the restarted child had nothing to do, if it is closed at all

    # Inside

    def _batch(self, inlet: Inlet) -> int:
        """One: each event is acknowledged for itself."""
        return 1

    def _handled(self, parcel: Parcel, made: object) -> None:
        """The child runs, and the event waits for its end."""
        self._parcel = None
        source = self._receiving().sources.get(parcel.ref)
        if source is not None:
            source.process.inform(Handled(parcel.ref, parcel.number), bounded=False)

    def _close(self, kept: Kept, reason: Reason) -> None:
        """Say what became of an event, when its child will not run again."""
        if kept.id in self._plan.lines:
            return
        parcel = self._jobs.pop(kept.id, None)
        if parcel is None:
            return
        if is_clean(reason):
            self._settle(parcel)
            return
        source = self._receiving().sources.get(parcel.ref)
        if source is not None:
            ask = source.inlet.settled(len(parcel.events))
            why = f"the child {kept.child.id!r} has failed: {explain(reason)}"
            source.process.inform(Refuse(parcel.ref, parcel.number, why, ask), bounded=False)
