"""What the nodes of a world knew of their cluster, and what operators asked of it: the evidence about membership."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Literal, NamedTuple

import msgspec

from roost.cluster.node import Node
from roost.core.layout import Transfer
from roost.core.membership import Cluster
from roost.sim.trace import Trace

Verb = Literal[
    "join",
    "leave",
    "replace",
    "force-replace",
    "force-remove",
    "down",
    "overrule",
    "set-zone",
    "plan",
    "commit",
    "clear",
]
"""What an operator may ask for; "overrule" is a "down" of so many that a majority is lost."""
Outcome = Literal["open", "done", "refused", "unknown"]
"""`done`: acknowledged. `refused`: certainly not done. `unknown`: it may have come to pass, or still may."""


class Sighting(NamedTuple):
    """A node knows a value of its cluster from now on.

    Attributes:
        at_s: when, in virtual seconds.
        machine: whose node.
        cluster: what it knows.
        disk: how often the machine has lost its disk before.
    """

    at_s: float
    machine: str
    cluster: Cluster
    disk: int = 0


class Gift(NamedTuple):
    """A giver says that a transfer is given, again and again for as long as that is so.

    Attributes:
        machine: whose node.
        transfer: what was given.
        aimed: on the way to which goal, see `Cluster.aimed`.
        said: when it said so, in virtual seconds.
    """

    machine: str
    transfer: Transfer
    aimed: int
    said: list[float]


class Order(msgspec.Struct):
    """One request of an operator.

    Attributes:
        index: its place among the orders.
        machine: whose node was asked.
        verb: what for.
        subject: the node that it is about, or "".
        detail: the newcomer of a replacement, the zone, or further nodes that are down.
        began_s: when it was asked, in virtual seconds.
        ended_s: when it was answered, or None.
        outcome: the answer.
        note: the code of the error.
        cluster: the value in which it was done.
    """

    index: int
    machine: str
    verb: Verb
    subject: str = ""
    detail: str = ""
    began_s: float = 0.0
    ended_s: float | None = None
    outcome: Outcome = "open"
    note: str = ""
    cluster: Cluster | None = None

    def __str__(self) -> str:
        return f"{self.verb} {self.subject} {self.detail}".strip() + f" at {self.machine} ({self.outcome} {self.note})"


class Chronicle:
    """Everything that was known and asked, in the order of time.

    Args:
        trace: where orders are counted in.
    """

    def __init__(self, trace: Trace) -> None:
        self.sightings: list[Sighting] = []
        self.gifts: dict[tuple[str, Transfer, int], Gift] = {}
        self.orders: list[Order] = []
        self._disks: dict[str, int] = {}
        self._trace = trace

    def disk_lost(self, machine: str) -> None:
        """A machine remembers nothing of what its node knew."""
        self._disks[machine] = self._disks.get(machine, 0) + 1
        self._trace.add("disk lost", machine)

    def watch(self, machine: str, node: Node) -> None:
        """Note all that a node learns. To be called before it starts."""

        def learned(cluster: Cluster) -> None:
            self.sightings.append(Sighting(self._trace.now(), machine, cluster, self._disks.get(machine, 0)))
            self._trace.add("learned", machine, cluster.id, cluster.generation, cluster.version)

        learned(node.membership.cluster)
        node.membership.watch(learned)
        report = node.membership.report

        def overheard(given: Iterable[tuple[int, int, str]]) -> None:
            said = tuple(given)
            for source, target, taker in said:
                self.gave(machine, Transfer(source, node.name, target, taker), node.membership.cluster.aimed)
            report(said)

        node.membership.report = overheard  # type: ignore[method-assign]  # overheard here and nowhere else

    def gave(self, machine: str, transfer: Transfer, aimed: int) -> None:
        """A giver says that it has given everything of a transfer."""
        key = machine, transfer, aimed
        if key not in self.gifts:
            self.gifts[key] = Gift(*key, [])
            self._trace.add("gave", machine, *transfer)
        self.gifts[key].said.append(self._trace.now())

    def told(self) -> tuple[str, ...]:
        """The orders and their answers, one a line."""
        return tuple(f"{order.began_s:.3f} s: {order}" for order in self.orders)

    def begin(self, machine: str, verb: Verb, subject: str = "", detail: str = "") -> Order:
        """An operator asks."""
        order = Order(len(self.orders), machine, verb, subject, detail, self._trace.now())
        self.orders.append(order)
        self._trace.add("order", order.index, machine, verb, subject, detail)
        return order

    def end(self, order: Order, outcome: Outcome, *, note: str = "", cluster: Cluster | None = None) -> None:
        """The operator is answered."""
        order.outcome, order.note, order.cluster, order.ended_s = outcome, note, cluster, self._trace.now()
        self._trace.add("answer", order.index, outcome, note)


IN_PLACE: Final[Collection[str]] = (
    "already_staged",
    "already_leaving",
    "already_member",
    "nothing_planned",
    "invalid_replacement",
)
"""Refusals that say that it is so already: a change that came to pass unnoticed is refused like this when it is made
again."""
