"""The console's commands, and the service of a node that answers them.

One registry serves the command line and whatever else asks: a command is a name, a function of the node that returns
data, and the type of that data. What crosses the link is that data; how it is shown is the asker's business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from roost.cluster.node import Node
from roost.cluster.status import MemberStatus, RingStatus

SERVICE: Final = "console"

Answer = MemberStatus | RingStatus


class Question(msgspec.Struct, frozen=True):
    """What an operator asks: a command of `COMMANDS`."""

    command: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command: how a node finds the answer, and of which type it is."""

    run: Callable[[Node], Awaitable[Answer]]
    answer: type[Answer]
