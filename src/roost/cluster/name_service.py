"""The cluster-wide names of one node: what its processes own, and for how long they may believe it.

Theory of operation. Each name is a register over all members (`roost.cluster.register`, `roost.core.global_name`). An
owner has a lease of GLOBAL_NAME_LEASE_S, counted from before its last renewal was sent. Whoever wants the name from an
owner whose node is lost has to see one and the same renewal for longer than that, by his own clock, with a margin for
clocks that run at different rates. So the old owner has been told before there is a new one.

When things fail: an owner whose node reaches no majority is told when its lease is over. One whose node is paused is
told late, as it does not run: that is what the epoch is for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Final, TypeVar

import msgspec

from roost.cluster.fabric import Fabric
from roost.cluster.register import Outcome, Registers
from roost.core.caspaxos import Chosen, Refused
from roost.core.global_name import Owner, Sighting, Title, claim, follow, release, renew, title_of, voters
from roost.errors import CallTimeout, NameTaken, NoSuchProcess, NotLocal, RoostError, TooLarge
from roost.limits import GLOBAL_NAME_LEASE_S, NAME_BYTES_MAX
from roost.otp import Child, Down, GenServer, Monitor, Process, Reason, Scheduler, info
from roost.otp.remote import remote_handle, target_of
from roost.runtime.clock import Timer

logger = logging.getLogger("roost.global_name")

RENEW_S: Final = GLOBAL_NAME_LEASE_S / 4
"""How often an owner renews."""
LAPSE_S: Final = GLOBAL_NAME_LEASE_S * 1.01 + 0.25
"""How long one renewal must have been seen before the name may be taken: the lease, clocks that drift, a late timer."""
LOOK_S: Final = 1.0
"""How often it is looked whether the members have changed."""
FOLLOW_S: Final = 0.002
"""How far apart the names are, on average, that are looked through then."""
RELEASE_S: Final = 0.02
"""The pause before a name is asked for again whose owner, a process of this node, has just ended."""
PREFIX: Final = "name/"
"""Before a name, in the names of registers."""

ServerT = TypeVar("ServerT", bound=GenServer)


class NameLost(msgspec.Struct, frozen=True):
    """The process has a cluster-wide name no more, told to it; one without a handler for this is ended by it."""

    __sendable__: ClassVar[bool] = True

    name: str
    epoch: int


class Lease:
    """A name that a process of this node owns.

    Attributes:
        name: the name.
        epoch: the fencing token: higher than that of every earlier owner. Show it to whatever you write to.
    """

    __slots__ = ("_holding", "epoch", "name")

    __sendable__: ClassVar[bool] = True

    def __init__(self, name: str, epoch: int, holding: Holding) -> None:
        self.name, self.epoch, self._holding = name, epoch, holding

    def __repr__(self) -> str:
        return f"Lease({self.name!r}, epoch={self.epoch})"

    @property
    def is_valid(self) -> bool:
        """Whether the name is owned now, by the clock. A pause may come between this answer and what you do."""
        return self._holding.is_valid


class Look(msgspec.Struct, frozen=True):
    """Time to see whether the members have changed."""


class NameKeeper(GenServer):
    """Lets the names follow the members, and lets go of everything when the node stops."""

    def init(self, names: NameService) -> None:
        """Look from time to time."""
        self.trap_exits()
        self._names = names
        self.send_every(LOOK_S, Look())

    @info
    def look(self, message: Look) -> None:
        """Let the present members vote on names that nobody renews."""
        self._names.follow_members()

    def terminate(self, reason: Reason) -> None:
        """No timer is left."""
        self._names.close()


class Holding:
    """One name that a process of this node owns: renews it, and tells the process when it is lost."""

    def __init__(
        self, service: NameService, name: str, owner: Owner, process: Process, epoch: int, until: float
    ) -> None:
        self.name, self.owner, self.epoch, self.process = name, owner, epoch, process
        self.until = until
        self.is_over = False
        self._service = service
        self._monitor = Monitor(process, None, self._on_end)
        process.tied.monitors[self._monitor] = None
        self._renewal: Timer = service.later(RENEW_S, self._renew)
        self._expiry: Timer = service.later(until - service.now(), self._expire)

    @property
    def is_valid(self) -> bool:
        """Whether the lease runs."""
        return not self.is_over and self._service.now() < self.until

    def end(self) -> None:
        """Renew no more."""
        self.is_over = True
        self._renewal.cancel()
        self._expiry.cancel()
        self._monitor.cancel()
        self._service.forget(self)

    def _renew(self) -> None:
        began = self._service.now()
        left_s = self.until - began

        def on_done(outcome: Outcome) -> None:
            if self.is_over:
                return
            if isinstance(outcome, Refused):
                self._lose()
                return
            if isinstance(outcome, Chosen):
                self.until = began + GLOBAL_NAME_LEASE_S
                self._expiry.cancel()
                self._expiry = self._service.later(self.until - self._service.now(), self._expire)
            pause_s = RENEW_S if isinstance(outcome, Chosen) else RENEW_S / 4
            self._renewal = self._service.later(pause_s, self._renew)

        if left_s > 0:
            self._service.submit_renewal(self, min(left_s, RENEW_S * 2), on_done)

    def _expire(self) -> None:
        if not self.is_over and self._service.now() >= self.until:
            self._lose()

    def _lose(self) -> None:
        logger.warning("%s has lost the name %r (epoch %d)", self.process, self.name, self.epoch)
        self.end()
        process = self.process
        if not process.alive:
            return
        if type(process.server).info_for(NameLost) is not None:
            process.inform(NameLost(self.name, self.epoch), bounded=False)
        else:
            process.exit(f"lost the name {self.name!r}")

    def _on_end(self, down: Down) -> None:
        if not self.is_over:
            left_s = self.until - self._service.now()
            self.end()
            if left_s > 0:
                self._service.submit_release(self, left_s)


class NameService:
    """The cluster-wide names as one node sees and has them.

    Args:
        scheduler: its processes.
        fabric: its links.
        registers: where the names are.
        members: the members of the cluster now.
    """

    def __init__(
        self, scheduler: Scheduler, fabric: Fabric, registers: Registers, members: Callable[[], tuple[str, ...]]
    ) -> None:
        self._scheduler, self._fabric, self._registers, self._members = scheduler, fabric, registers, members
        self._clock = scheduler.runtime.clock
        self._held: dict[str, Holding] = {}
        self._followed = members()
        self._seen: dict[str, tuple[Sighting, float]] = {}

    def part(self) -> Child:
        """The process that lets go of everything, as a part of the node."""
        return NameKeeper.child(self, id="names")

    def close(self) -> None:
        """The node stops: nothing is renewed any more."""
        for holding in list(self._held.values()):
            holding.end()

    def follow_members(self) -> None:
        """When the members have changed, let them vote on every name that this node has heard of.

        An owner does so with every renewal; this is for the rest. Every node does it, each at a time of its own: the
        first one changes something, the others look.
        """
        members = self._members()
        if members == self._followed:
            return
        self._followed = members
        names = [name for name in self._registers.names if name.startswith(PREFIX)]
        spread_s = LOOK_S + len(names) * FOLLOW_S
        for name in names:
            self.later(self._scheduler.runtime.entropy.uniform(0.0, spread_s), partial(self._follow, name))

    def _follow(self, register: str) -> None:
        members = self._members()
        self._registers.submit(register, follow(members), voters(members), GLOBAL_NAME_LEASE_S, _ignore)

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.now()

    def later(self, delay_s: float, action: Callable[[], object]) -> Timer:
        """Do something after a while."""
        return self._clock.call_later(max(delay_s, 0.0), action)

    async def register(self, name: str, handle: GenServer, timeout_s: float) -> Lease:
        """Give a process of this node a name in the whole cluster. See `roost.global_name.register`."""
        if len(name.encode()) > NAME_BYTES_MAX - len(PREFIX):
            raise TooLarge("NAME_BYTES_MAX", len(name.encode()), NAME_BYTES_MAX - len(PREFIX))
        if target_of(handle) is not None or handle._process.scheduler is not self._scheduler:
            raise NotLocal(repr(handle))
        process = handle._process
        owner = Owner(self._fabric.node, self._fabric.incarnation, process.pid)
        deadline = self.now() + timeout_s
        while True:
            if not process.alive:
                raise process.down()
            held = self._held.get(name)
            if held is not None and held.process is process:
                return Lease(name, held.epoch, held)
            began = self.now()
            members = self._members()
            change = claim(owner, members, self._lapsed(name, began))
            outcome = await self._registers.change(PREFIX + name, change, voters(members), deadline - began)
            title = title_of(outcome.value)
            if isinstance(outcome, Chosen):
                return self._hold(name, owner, process, title, began + GLOBAL_NAME_LEASE_S)
            wait_s = self._wait_s(name, title)
            if self._has_ended(title.owner):
                wait_s = RELEASE_S
            if self.now() + wait_s >= deadline or self._is_reached(title.owner):
                raise NameTaken(name)
            await self._clock.sleep(wait_s)

    def _hold(self, name: str, owner: Owner, process: Process, title: Title, until: float) -> Lease:
        self._seen.pop(name, None)
        held = self._held.get(name)
        if held is not None and held.epoch == title.epoch:  # two calls for the same process
            return Lease(name, held.epoch, held)
        holding = Holding(self, name, owner, process, title.epoch, until)
        self._held[name] = holding
        if not process.alive:
            holding.end()
            self.submit_release(holding, GLOBAL_NAME_LEASE_S)
            raise process.down()
        if not holding.is_valid:
            holding.end()
            raise CallTimeout(f"the name {name!r}", GLOBAL_NAME_LEASE_S)
        return Lease(name, title.epoch, holding)

    def _lapsed(self, name: str, now: float) -> Sighting | None:
        """An owner whose lease is over, as far as this node has watched."""
        sighting, since = self._seen.get(name, (None, now))
        return sighting if now - since >= LAPSE_S else None

    def _wait_s(self, name: str, title: Title) -> float:
        """How long this owner has to be watched yet."""
        now, sighting = self.now(), Sighting(title.epoch, title.renewal)
        seen = self._seen.get(name)
        if seen is None or seen[0] != sighting:
            for old in [old for old, (_, since) in self._seen.items() if now - since > 10 * LAPSE_S]:
                del self._seen[old]
            seen = self._seen[name] = (sighting, now)
        return max(seen[1] + LAPSE_S - now, 0.0) + 0.001

    def _has_ended(self, owner: Owner | None) -> bool:
        """Whether it was a process of this node that has ended: its name is being given back."""
        if owner is None or (owner.node, owner.incarnation) != (self._fabric.node, self._fabric.incarnation):
            return False
        return owner.pid not in self._scheduler.processes

    def _is_reached(self, owner: Owner | None) -> bool:
        if owner is None or self._has_ended(owner):
            return False
        if owner.node == self._fabric.node:
            return owner.incarnation == self._fabric.incarnation
        return self._fabric.peer_incarnation(owner.node) == owner.incarnation

    async def unregister(self, name: str, timeout_s: float) -> None:
        """Give a name back. See `roost.global_name.unregister`."""
        holding = self._held.get(name)
        if holding is None:
            raise NoSuchProcess(name)
        holding.end()
        members = self._members()
        change = release(holding.owner, holding.epoch, members)
        await self._registers.change(PREFIX + name, change, voters(members), timeout_s)

    async def whereis(self, name: str, kind: type[ServerT], timeout_s: float) -> ServerT:
        """Who owns a name. See `roost.global_name.whereis`."""
        members = self._members()
        outcome = await self._registers.change(PREFIX + name, follow(members), voters(members), timeout_s)
        owner = title_of(outcome.value).owner
        if owner is None:
            raise NoSuchProcess(name, kind.__name__)
        if owner.node == self._fabric.node and owner.incarnation == self._fabric.incarnation:
            process = self._scheduler.processes.get(owner.pid)
            if process is None or not isinstance(process.handle, kind):
                raise NoSuchProcess(name, kind.__name__)
            return process.handle
        assert self._scheduler.transport is not None
        return remote_handle(kind, owner.pid, owner.node, self._scheduler.transport, owner.incarnation)

    # What a holding asks for.

    def submit_renewal(self, holding: Holding, timeout_s: float, on_done: Callable[[Outcome], None]) -> None:
        """Renew a lease."""
        members = self._members()
        change = renew(holding.owner, holding.epoch, members)
        self._registers.submit(PREFIX + holding.name, change, voters(members), timeout_s, on_done)

    def submit_release(self, holding: Holding, timeout_s: float) -> None:
        """Give back the name of a process that has ended; when that fails, its lease is over soon."""

        def on_done(outcome: Outcome) -> None:
            if isinstance(outcome, RoostError):
                logger.info("the name %r was not given back: %s", holding.name, outcome)

        members = self._members()
        change = release(holding.owner, holding.epoch, members)
        self._registers.submit(PREFIX + holding.name, change, voters(members), timeout_s, on_done)

    def forget(self, holding: Holding) -> None:
        """A holding has ended."""
        if self._held.get(holding.name) is holding:
            del self._held[holding.name]


def _ignore(outcome: Outcome) -> None:
    """What becomes of this is seen by whoever asks next."""
