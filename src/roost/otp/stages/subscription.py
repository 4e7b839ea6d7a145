"""What two stages say to each other, and what both know of their subscription."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final, Literal, get_args

import msgspec

from roost.core.dispatch import Place, Ref
from roost.core.outlet import OnCrash
from roost.errors import ConfigError
from roost.otp.ties import Down, Monitor, Reason

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer
    from roost.otp.process import Process

CancelMode = Literal["permanent", "transient", "temporary"]
"""What a consumer does when its producer ends: end too, end too unless it was a clean end, or live on."""
_CANCEL_MODES: Final = get_args(CancelMode)


def check_cancel_mode(word: str) -> None:
    """Check a word that should be a CancelMode.

    Raises:
        ConfigError: when it is another word.
    """
    if word not in _CANCEL_MODES:
        raise ConfigError("cancel", f"{word!r} is not one of {', '.join(_CANCEL_MODES)}")


class Subscription(msgspec.Struct, frozen=True):
    """One consumer at one producer. `ref` tells it from all others."""

    __sendable__: ClassVar[bool] = True

    producer: GenServer
    consumer: GenServer
    ref: Ref


class Delivery(msgspec.Struct, frozen=True):
    """Where the events come from that are being handled.

    Attributes:
        subscription: over which they came.
        again: whether another consumer, or this one, may have handled them before.
    """

    __sendable__: ClassVar[bool] = True

    subscription: Subscription
    again: bool


# From the consumer to the producer


class Subscribe(msgspec.Struct, frozen=True):
    """I want events, in batches of `batch`, and `ask` of them now."""

    subscription: Subscription
    place: Place
    batch: int
    on_crash: OnCrash
    ask: int


class Ask(msgspec.Struct, frozen=True):
    """I want `count` more."""

    ref: Ref
    count: int


class Acknowledge(msgspec.Struct, frozen=True):
    """This parcel is settled, and I want `ask` more."""

    ref: Ref
    number: int
    ask: int


class Handled(msgspec.Struct, frozen=True):
    """This parcel is handled; it will be settled when what was made of it is."""

    ref: Ref
    number: int


class Refuse(msgspec.Struct, frozen=True):
    """Handling this parcel has failed, and I want `ask` more."""

    ref: Ref
    number: int
    why: str
    ask: int


class Leave(msgspec.Struct, frozen=True):
    """I want nothing more."""

    ref: Ref


class ConsumerDown(msgspec.Struct, frozen=True):
    """A consumer has ended."""

    ref: Ref
    reason: Reason


# From the producer to the consumer


class Parcel(msgspec.Struct, frozen=True):
    """Events."""

    ref: Ref
    number: int
    events: list[object]
    again: bool


class ProducerDown(msgspec.Struct, frozen=True):
    """The producer has ended, or will not serve this subscription."""

    ref: Ref
    reason: Reason


def watch(watcher: Process, target: Process, news: Callable[[Reason], object]) -> Monitor:
    """Send `news` of the reason to `watcher` when `target` ends, at once when it has."""

    def deliver(down: Down) -> None:
        watcher.inform(news(down.reason), bounded=False)

    monitor = Monitor(target, watcher, deliver)
    if target.alive:
        target.tied.monitors[monitor] = watcher.tied.monitoring[monitor] = None
    else:
        deliver(Down(target.handle, "noproc"))
    return monitor
