"""Stages: processes that pass events on, no faster than they are asked for.

Theory of operation. A consumer asks a producer for as many events as it can take. The producer sends no more than
that, keeps what it sent until the consumer says that it has handled it, and gives it to somebody else when the
consumer ends first. So nothing piles up, however fast the source is, and no crash of a consumer loses an event.

`Producer` makes events, `Consumer` handles them, `ProducerConsumer` does both. The roles, the options and the rules
of demand are those of GenStage; what becomes of events under way in a crash is not: see `roost.core.outlet`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

from roost.core.outlet import Undelivered
from roost.errors import ConfigError, NotSendable, Refusal, StageFailed
from roost.otp.crash import REPORT
from roost.otp.display import cut, display, explain
from roost.otp.gen_server import GenServer
from roost.otp.process import Process
from roost.otp.stages.subscription import Subscription
from roost.otp.ties import Reason

EVENTS_SHOWN_CHARS: Final = 500
"""How much of the events a log record shows; its `report` has them all."""

_log = logging.getLogger("roost.otp")


class Stage(GenServer):
    """What producers and consumers have in common. Write a subclass of one of those instead."""

    __produces__: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        if cls.overflow != "refuse":
            raise ConfigError("overflow", f"{cls.__name__} is a stage: its mailbox cannot drop what other stages say")
        if not cls.__module__.startswith("roost.") and "__handle_of__" not in vars(cls):
            _check_names(cls)
        super().__init_subclass__(**kwargs)

    def handle_subscribe(self, subscription: Subscription) -> None:
        """A consumer has subscribed to this producer, or this consumer to a producer."""

    def handle_cancel(self, subscription: Subscription, reason: Reason) -> None:
        """A subscription is over: the other side has ended, or has left; then the reason is "unsubscribed"."""


def _check_names(cls: type[Stage]) -> None:
    """See to it that a class of an application does not take a name that the machinery of stages needs."""
    for base in cls.__mro__[1:]:
        if base.__module__.startswith("roost.otp."):
            for name in vars(base):
                if name in vars(cls) and name.startswith("_") and not name.startswith("__"):
                    raise ConfigError(name, f"{cls.__name__} defines it, but {base.__name__} needs this name itself")


@contextmanager
def no_caller(stage: Stage, handler: str) -> Iterator[None]:
    """Around a handler that nobody has called: a Refusal, which would spare the process, is a crash here."""
    try:
        yield
    except (Refusal, NotSendable) as error:
        raise StageFailed(str(stage._process), handler, explain(error)) from error


def report_undelivered(process: Process, undelivered: Undelivered) -> None:
    """One record about events that nobody will get; its `report` holds them all."""
    _log.warning(
        "%s: %d events not delivered (%s): %s; they are %s",
        process,
        len(undelivered.events),
        undelivered.cause,
        cut(undelivered.why),
        display(list(undelivered.events), type(process.handle).redacted, EVENTS_SHOWN_CHARS),
        extra={REPORT: undelivered},
    )
