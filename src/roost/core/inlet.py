"""What a consumer asks for, per subscription, and in which portions it wants it."""

from __future__ import annotations

from roost.errors import ConfigError


class Inlet:
    """The demand of one subscription.

    GenStage's rule: ask for `max_demand` at first; when no more than `min_demand` of it is left, fill it up again.
    What is asked for is used up when its events are *settled*, that is handled for good, not when they arrive. So
    never more than `max_demand` events are under way, and the producer that keeps them until then needs no more room.

    Args:
        max_demand: the most events under way.
        min_demand: how few may be left before it asks again; half of `max_demand` when None.

    Raises:
        ConfigError: when they are not 0 <= min_demand < max_demand.
    """

    __slots__ = ("manual", "max_demand", "min_demand", "pending")

    def __init__(self, max_demand: int, min_demand: int | None = None, *, manual: bool = False) -> None:
        if max_demand < 1:
            raise ConfigError("max_demand", f"{max_demand} is less than 1")
        if min_demand is None:
            min_demand = max_demand // 2
        if not 0 <= min_demand < max_demand:
            raise ConfigError("min_demand", f"{min_demand} is not between 0 and max_demand={max_demand}")
        self.max_demand, self.min_demand, self.manual = max_demand, min_demand, manual
        self.pending = 0

    @property
    def batch(self) -> int:
        """The most events that are handled at once."""
        return self.max_demand - self.min_demand

    def first(self) -> int:
        """How many events to ask for at the beginning."""
        return 0 if self.manual else self.ask(self.max_demand)

    def ask(self, count: int) -> int:
        """Ask for up to `count` more. Returns how many that is: never more than `max_demand` are under way."""
        count = max(0, min(count, self.max_demand - self.pending))
        self.pending += count
        return count

    def settled(self, count: int) -> int:
        """That many events are settled. Returns how many to ask for now."""
        self.pending -= count
        if self.manual or self.pending > self.min_demand:
            return 0
        return self.ask(self.max_demand)
