"""Stages for the tests: a counter that produces, and consumers that remember."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from roost.core.dispatch import BroadcastDispatcher, Dispatcher, PartitionDispatcher
from roost.core.outlet import Undelivered
from roost.errors import Refusal
from roost.otp import GenServer, call, cast
from roost.otp.stages.consumer import Consumer
from roost.otp.stages.producer import Producer
from roost.otp.stages.producer_consumer import ProducerConsumer
from roost.otp.stages.stage import Stage
from roost.otp.stages.subscription import Subscription
from roost.otp.ties import Reason
from roost.sim import turns


class Numbers(Producer[int]):
    """Counts, as far as it is asked to."""

    def init(self, first: int = 0, last: int | None = None, most: int = 1_000_000) -> None:
        self.next, self.last, self.most = first, last, most
        self.asked: list[int] = []
        self.lost: list[Undelivered] = []
        self.cancelled: list[str] = []

    def handle_demand(self, demand: int) -> list[int]:
        """The next numbers."""
        self.asked.append(demand)
        first = self.next
        stop = first + min(demand, self.most)
        if self.last is not None and stop > self.last:
            stop = self.last + 1
            self.finish()
        self.next = max(first, stop)
        return list(range(first, stop))

    def handle_undelivered(self, undelivered: Undelivered) -> None:
        """Remember."""
        self.lost.append(undelivered)

    def handle_cancel(self, subscription: Subscription, reason: Reason) -> None:
        """Remember."""
        self.cancelled.append(str(reason))

    @call
    def demands(self) -> list[int]:
        """How much was asked for, each time."""
        return self.asked

    @call
    def undelivered(self) -> list[tuple[str, tuple[object, ...]]]:
        """What was reported: cause and events."""
        return [(lost.cause, lost.events) for lost in self.lost]

    @call
    def cancels(self) -> list[str]:
        """Why subscriptions ended."""
        return self.cancelled

    @cast
    def say(self, numbers: list[int]) -> None:
        """Emit unasked."""
        self.emit(numbers)

    @cast
    def end(self) -> None:
        """There is nothing more."""
        self.finish()


class Mute(Numbers):
    """Emits only what it is told to."""

    def handle_demand(self, demand: int) -> list[int]:
        """Nothing."""
        self.asked.append(demand)
        return []


class Broadcaster(Mute):
    """Emits to everybody."""

    def dispatcher(self) -> Dispatcher:
        """A broadcast."""
        return BroadcastDispatcher()


class Sorter(Mute):
    """Emits by the last digit: 0 to 3, 9 is discarded."""

    def dispatcher(self) -> Dispatcher:
        """Four partitions."""
        return PartitionDispatcher(4, lambda number: None if number % 10 == 9 else number % 10)


class Log:
    """What happened, shared by all the processes of a test: it is not sent, but handed over when they start."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, tuple[int, ...], bool]] = []

    def of(self, who: str) -> list[int]:
        """Everything that this one handled, in order."""
        return [event for name, events, _ in self.batches for event in events if name == who]

    def all(self) -> list[int]:
        """Everything that was handled, in order."""
        return [event for _, events, _ in self.batches for event in events]


class Poisoned(Exception):
    """A consumer ate what it cannot."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a test's consumer subscribes."""

    max_demand: int = 10
    min_demand: int | None = None
    cancel: str = "permanent"
    on_crash: str = "redeliver"
    partition: int | None = None
    manual: bool = False


class Eater(Consumer[int]):
    """Remembers what it handles; crashes on what is poison to it."""

    def init(
        self,
        log: Log,
        who: str,
        producer: str | GenServer | None = None,
        options: Options | None = None,
        poison: Callable[[int], bool] | None = None,
        selector: Callable[[int], bool] | None = None,
    ) -> None:
        self.log, self.who, self.poison = log, who, poison
        self.cancelled: list[str] = []
        self.subscription: Subscription | None = None
        if producer is not None:
            options = options or Options()
            self.subscription = self.subscribe_to(
                producer,  # type: ignore[arg-type]  # tests hand over wrong ones too
                max_demand=options.max_demand,
                min_demand=options.min_demand,
                cancel=options.cancel,  # type: ignore[arg-type]  # one of the three words
                on_crash=options.on_crash,  # type: ignore[arg-type]  # one of the two words
                partition=options.partition,
                manual=options.manual,
                selector=selector,
            )

    def handle_events(self, events: list[int]) -> object:
        """Remember."""
        if self.poison is not None:
            for event in events:
                if self.poison(event):
                    raise Poisoned(str(event))
        self.log.batches.append((self.who, tuple(events), self.delivery.again))
        return None

    def handle_cancel(self, subscription: Subscription, reason: Reason) -> None:
        """Remember."""
        self.cancelled.append(str(reason))

    @call
    def cancels(self) -> list[str]:
        """Why subscriptions ended."""
        return self.cancelled

    @call
    def want(self, count: int) -> int:
        """Ask by hand."""
        assert self.subscription is not None
        return self.ask(self.subscription, count)

    @call
    def go(self) -> None:
        """Leave the producer."""
        assert self.subscription is not None
        self.unsubscribe_from(self.subscription)


class SlowEater(Eater):
    """Takes a second for each batch."""

    async def handle_events(self, events: list[int]) -> None:
        """Take a while, then remember."""
        await asyncio.sleep(1.0)
        super().handle_events(events)


class Times(ProducerConsumer[int, int]):
    """Multiplies, and crashes on what is poison to it."""

    def init(self, producer: str | Stage, factor: int = 10, copies: int = 1, options: Options | None = None) -> None:
        self.factor, self.copies = factor, copies
        options = options or Options()
        self.subscribe_to(producer, max_demand=options.max_demand, min_demand=options.min_demand)

    def handle_events(self, events: list[int]) -> list[int]:
        """Each event several times, multiplied."""
        return [self.factor * event for event in events for _ in range(self.copies)]


class Refuser(Consumer[int]):
    """Refuses what it is given."""

    def init(self, producer: str) -> None:
        self.subscribe_to(producer)

    def handle_events(self, events: list[int]) -> None:
        """No."""
        raise Refusal("no")


async def arrive() -> None:
    """Let everything that is on its way arrive; no time passes."""
    await turns(50)
