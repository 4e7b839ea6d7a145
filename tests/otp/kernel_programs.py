"""Draws programs for a few processes from a seed: what they ask of each other, and what happens to them meanwhile."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar, Final, TypeVar

import msgspec

T = TypeVar("T")

PUPPETS: Final = 4
DRIVER: Final = PUPPETS
"""The number of the plain task that carries a program out: who sends what no puppet has sent."""
STEPS: Final = 20

METHODS: Final = ("ask", "ask", "ask_async", "ask_async", "tell", "tell_async", "say", "wire")
"""`wire` is a call as it comes from another node."""
DEEDS: Final = (
    *("nap", "request") * 16,
    *("nothing", "link", "watch", "trap", "defer", "answer", "wait", "go on") * 8,
    *("unlink", "unwatch", "release", "refuse", "answer early", "pass on", "work beside", "set timer") * 4,
    *("exit", "leave", "stop", "stop and reply", "crash"),
)
ACTS: Final = (
    *("request",) * 60,
    *("resume", "trace", "look") * 3,
    *("suspend", "suspend", "exit", "stop", "kill"),
)
REASONS: Final = ("normal", "normal", "normal", "shutdown", "shutdown:moved", "bored", "kill")
PAUSES_S: Final = (None, None, None, 0.0, 0.0, 0.3, 1.0, 2.0)
"""None: the next step comes in the same turn."""
TIMEOUTS_S: Final = (0.5, 2.0, 5.0, 5.0)


class Deed(msgspec.Struct, frozen=True):
    """What a handler does.

    Attributes:
        what: one of DEEDS.
        target: the puppet that it does it to.
        reason: why somebody should end.
        seconds: how long it takes, or how long a request may take.
        request: what is asked of the target.
    """

    __sendable__: ClassVar[bool] = True

    what: str
    target: int
    reason: str
    seconds: float
    request: Request | None


class Request(msgspec.Struct, frozen=True):
    """One message: by which method, with which deed, and after how many seconds its sender gives up by himself."""

    method: str
    deed: Deed
    timeout_s: float
    cancel_s: float | None


class Step(msgspec.Struct, frozen=True):
    """Something that is done to one puppet from outside, after a pause."""

    pause_s: float | None
    act: str
    target: int
    reason: str
    request: Request


class Program(msgspec.Struct, frozen=True):
    """What happens to the puppets."""

    seed: int
    steps: list[Step]


def draw_program(seed: int) -> Program:
    """The program of a seed."""
    return Program(seed, [*_Draw(seed).steps(STEPS)])


class _Draw:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def one(self, options: Sequence[T]) -> T:
        return options[self._random.randrange(len(options))]

    def steps(self, count: int) -> list[Step]:
        return [
            Step(self.one(PAUSES_S), self.one(ACTS), self.one(range(PUPPETS)), self.one(REASONS), self.request(3))
            for _ in range(count)
        ]

    def request(self, depth: int) -> Request:
        cancel_s = self.one((None, None, None, None, 0.0, 0.4))
        return Request(self.one(METHODS), self.deed(depth), self.one(TIMEOUTS_S), cancel_s)

    def deed(self, depth: int) -> Deed:
        what = self.one(DEEDS)
        request = self.request(depth - 1) if depth and what == "request" else None
        return Deed(what, self.one(range(PUPPETS)), self.one(REASONS), self.one((0.0, 0.2, 1.0)), request)
