"""The hall with a fault in Roost itself, chosen by ROOST_PLANTED, to see that the judges find it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from types import MappingProxyType
from typing import Final

from roost.cluster.node import Node
from roost.core.presence.presences import Presences
from roost.live.pubsub import PubSub
from tests.real.hall import FLICKER, app

__all__ = ["app"]

VARIABLE: Final = "ROOST_PLANTED"
SOME: Final = 50
LATER_S: Final = 0.15
LONG_S: Final = 8.0


def lose_some() -> None:
    """One in so many broadcasts does not go to another node."""
    cast, number = PubSub._cast, count()

    def cast_most(self: PubSub, peer: str, topic: str, body: bytes) -> None:
        if next(number) % SOME:
            cast(self, peer, topic, body)

    PubSub._cast = cast_most  # type: ignore[method-assign]  # this is the fault


def delay_some() -> None:
    """One in so many broadcasts goes later than those after it."""
    cast, number = PubSub._cast, count()

    def cast_later(self: PubSub, peer: str, topic: str, body: bytes) -> None:
        if next(number) % SOME:
            cast(self, peer, topic, body)
        else:
            Node.current().runtime.clock.call_later(LATER_S, partial(cast, self, peer, topic, body))

    PubSub._cast = cast_later  # type: ignore[method-assign]  # this is the fault


def go_on_after_leaving() -> None:
    """Who leaves a topic is sent a little more."""
    unsubscribe = PubSub.unsubscribe

    def unsubscribe_later(self: PubSub, topic: str, key: object) -> None:
        if topic == FLICKER:
            Node.current().runtime.clock.call_later(LATER_S, partial(unsubscribe, self, topic, key))
        else:
            unsubscribe(self, topic, key)

    PubSub.unsubscribe = unsubscribe_later  # type: ignore[method-assign]  # this is the fault


def show_the_dead() -> None:
    """Who is on a node that is lost is shown for some time."""
    peer_down = Presences.peer_down

    def peer_down_later(self: Presences, node: str) -> None:
        Node.current().runtime.clock.call_later(LONG_S, partial(peer_down, self, node))

    Presences.peer_down = peer_down_later  # type: ignore[method-assign]  # this is the fault


FAULTS: Final[Mapping[str, Callable[[], None]]] = MappingProxyType(
    {"lose": lose_some, "delay": delay_some, "go on": go_on_after_leaving, "show": show_the_dead}
)
"""Every fault by name."""

PLANTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "lose": ("--kinds=unlink", "lost message"),
        "delay": ("--kinds=unlink", "disorder"),
        "go on": ("--kinds=unlink", "strange"),
        "show": ("--kinds=nap", "ghost"),
    }
)
"""How to run each so that it shows, and what finds it."""

if VARIABLE in os.environ:
    FAULTS[os.environ[VARIABLE]]()
