"""Where keys are: the layout of the cluster, seen with who is up."""

from __future__ import annotations

from collections.abc import Callable, Container

from roost.cluster.fabric import Fabric
from roost.core.layout import Layout
from roost.core.ring import Replica, key_hash, preference_list, spares


class Placement:
    """Where keys are, as this node sees it now.

    Preference lists are remembered until a node comes or goes, or the layout changes, so the usual look-up is one dict
    hit.

    Args:
        layout: who holds what.
        fabric: who is up.
        gone: nodes that will give nothing any more, so that others give what they hold.

    Attributes:
        size: the number of partitions.
        gone: nodes that will give nothing any more.
    """

    def __init__(self, layout: Layout, fabric: Fabric, gone: Container[str] = ()) -> None:
        self.size = layout.size
        self._fabric = fabric
        self._epoch = fabric.epoch
        self._lists: dict[tuple[int, int], tuple[Replica, ...]] = {}
        self._spares: dict[tuple[int, int], tuple[str, ...]] = {}
        self._watchers: dict[Callable[[], None], None] = {}
        self.gone = gone
        self._layout = layout
        self._ring = layout.goal
        self._breadths = _breadths(layout)

    @property
    def layout(self) -> Layout:
        """Who holds which copy, and who will."""
        return self._layout

    def adopt(self, layout: Layout, gone: Container[str] = ()) -> None:
        """Place keys by another layout from now on, and tell those who watch.

        Args:
            gone: nodes that will give nothing any more.
        """
        self._layout = layout
        self.gone = gone
        self._ring = layout.goal
        self._breadths = _breadths(layout)
        self._forget()
        for watcher in list(self._watchers):
            watcher()

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call `watcher` whenever the layout has changed; it must not raise. Returns what ends the watch."""
        self._watchers[watcher] = None
        return lambda: self._watchers.pop(watcher, None)

    def partition_of(self, bucket: bytes, key: bytes) -> int:
        """The partition that owns a key."""
        return self._ring.partition_of(key_hash(bucket, key))

    def breadth(self, partition: int) -> int:
        """How many nodes a partition can have its copies on."""
        return self._breadths[self._layout.at[partition]]

    def holder(self, slot: int) -> str | None:
        """Who holds a slot now; None when there are not that many nodes."""
        return self._layout.holder(slot)

    def replicas(self, partition: int, n: int) -> tuple[Replica, ...]:
        """The preference list of `partition`, of at most `n` entries on as many nodes, all of them up from here."""
        if self._epoch != self._fabric.epoch:
            self._forget()
        found = self._lists.get((partition, n))
        if found is None:
            order = self._order(partition, n)
            found = self._lists[partition, n] = preference_list(order, partition, n, self._fabric.up())
        return found

    def spares(self, partition: int, n: int) -> tuple[str, ...]:
        """The nodes that are up and not in that list, in the order in which they stand in for one that fails."""
        if self._epoch != self._fabric.epoch:
            self._forget()
        found = self._spares.get((partition, n))
        if found is None:
            found = self._spares[partition, n] = spares(self._order(partition, n), n, self._fabric.up())
        return found

    def _order(self, partition: int, n: int) -> tuple[str, ...]:
        """Who holds `n` copies, and who stands in: last of all those who are about to hold one, and would have two."""
        layout = self._layout
        order = layout.order(partition)
        if layout.at[partition] == len(layout.rings) - 1:
            return order
        heirs = layout.goal.order(partition)[:n]
        return (*order[:n], *sorted(order[n:], key=lambda node: node in heirs))

    def _forget(self) -> None:
        self._epoch = self._fabric.epoch
        self._lists.clear()
        self._spares.clear()


def _breadths(layout: Layout) -> tuple[int, ...]:
    return tuple(len(set(ring.owners)) for ring in layout.rings)
