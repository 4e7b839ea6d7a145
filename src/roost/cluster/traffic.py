"""Traffic: what moves between this node and others, over all its rings."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Protocol

from roost import limits

if TYPE_CHECKING:
    from roost.cluster.ring import Placement
    from roost.cluster.status import TransferStatus
    from roost.core.layout import Layout

OnGiven = Callable[[int], None]
"""Called with a partition of which this node has given everything that it had to give."""


class Load(Protocol):
    """What one ring has to give; `Handoffs` is it."""

    @property
    def outgoing_count(self) -> int:
        """How many transfers are being given."""

    @property
    def incoming_count(self) -> int:
        """How many transfers are being taken."""

    def status(self) -> tuple[TransferStatus, ...]:
        """Every transfer from here."""

    def ungiven(self) -> set[int] | None:
        """The partitions of which not everything is given by the present plan; None while that is not known."""

    def keeps_strays(self) -> bool:
        """Whether anything is kept here that belongs to others."""

    def look_soon(self) -> None:
        """Something has changed that transfers may have waited for."""


class Traffic:
    """The handoffs of all rings of one node, and how many of them may be under way.

    Args:
        node: this node's name.
        placement: who holds what.
        depth: the largest number of copies that anything on this node keeps.

    Attributes:
        outgoing_max: how many transfers this node gives at a time; changeable at any moment, 0 stops them.
        incoming_max: how many it takes.
        excluded: the names of rings that hand nothing off for now.
    """

    def __init__(self, node: str, placement: Placement, depth: Callable[[], int]) -> None:
        self.outgoing_max = limits.HANDOFFS_OUTGOING
        self.incoming_max = limits.HANDOFFS_INCOMING
        self.excluded: frozenset[str] = frozenset()
        self._node = node
        self._placement = placement
        self._depth = depth
        self._rings: list[Load] = []
        self._on_given: list[OnGiven] = []
        self._known: tuple[Layout | None, int, Container[str], tuple[int, ...]] = (None, 0, (), ())

    @property
    def outgoing(self) -> int:
        """How many transfers this node gives now."""
        return sum(ring.outgoing_count for ring in self._rings)

    @property
    def incoming(self) -> int:
        """How many it takes now."""
        return sum(ring.incoming_count for ring in self._rings)

    def limit(self, *, outgoing: int | None = None, incoming: int | None = None) -> None:
        """Change how many transfers may be under way from now on; those that are go on."""
        if outgoing is not None:
            self.outgoing_max = max(0, outgoing)
        if incoming is not None:
            self.incoming_max = max(0, incoming)
        self.look()

    def exclude(self, *rings: str) -> None:
        """Let exactly these rings begin no transfer from now on."""
        self.excluded = frozenset(rings)
        self.look()

    def look(self) -> None:
        """Something has changed that transfers may have waited for."""
        for ring in self._rings:
            ring.look_soon()

    def join(self, ring: Load) -> None:
        """A ring of this node has data that moves."""
        self._rings.append(ring)

    def when_given(self, on_given: OnGiven) -> None:
        """Call back whenever a partition is given; see `given_partitions` for what is true now."""
        self._on_given.append(on_given)

    def given(self, partition: int) -> None:
        """A ring has given all that it has of a partition."""
        if partition in self.given_partitions():
            for on_given in self._on_given:
                on_given(partition)

    def given_partitions(self) -> tuple[int, ...]:
        """The partitions on their way of which this node had something to give, and has given all of it."""
        ungiven: set[int] = set()
        for ring in self._rings:
            left = ring.ungiven()
            if left is None:
                return ()
            ungiven |= left
        return tuple(partition for partition in self._mine() if partition not in ungiven)

    def _mine(self) -> tuple[int, ...]:
        """The partitions on their way of which this node has something to give."""
        placement, depth = self._placement, self._depth()
        known = self._known
        if known[0] is not placement.layout or known[1:3] != (depth, placement.gone):
            found = tuple(
                partition
                for partition in placement.layout.moving()
                if any(one.giver == self._node for one in placement.layout.transfers(partition, depth, placement.gone))
            )
            self._known = placement.layout, depth, placement.gone, found
        return self._known[3]

    def is_empty(self) -> bool:
        """Whether this node keeps nothing that belongs to others."""
        return not any(ring.keeps_strays() for ring in self._rings)

    def transfers(self) -> tuple[TransferStatus, ...]:
        """Every transfer that this node gives, or should give."""
        return tuple(one for ring in self._rings for one in ring.status())
