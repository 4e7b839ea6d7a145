"""Random programs for state machines, and what their runs are compared by.

A program says what the n-th handler that runs does, whichever it is; after the last line every handler keeps the
state and answers. So every program comes to rest, and any run of it can be written down as one trace.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

STATES: Final = 4
NAMES: Final = 3
MOMENTS_MAX: Final = 12
"""When the last event of a script comes, in ticks."""
REST_TICKS: Final = 200
"""How long a run is watched: longer than all its timeouts one after the other."""

Key = Literal["state", "event"] | int
"""Which timeout; the named ones by a number."""


Word = Literal["keep", "repeat", "stop", "crash"]
"""What a handler does other than go to a state."""


class Setting(msgspec.Struct, frozen=True, array_like=True):
    """What is wanted of one timeout. `ticks` is a moment for "abs", and nothing for "cancel" and "update"."""

    key: Key
    what: Literal["set", "abs", "cancel", "update"]
    ticks: float
    content: int


class Line(msgspec.Struct, frozen=True, array_like=True):
    """What one handler does: its next state, or one of the words; and whom it answers, if anybody asks."""

    next: Word | int = "keep"
    postpone: bool = False
    inserts: tuple[int, ...] = ()
    settings: tuple[Setting, ...] = ()
    reply: Literal["now", "later", "all"] = "now"

    def within_enter(self) -> Line:
        """As far as an enter call may do it."""
        return Line(self.next if isinstance(self.next, str) else "keep", False, (), self.settings, self.reply)


class Moment(msgspec.Struct, frozen=True, array_like=True):
    """Something from outside."""

    at: float
    kind: Literal["call", "cast", "info"]
    event: int


class Program(msgspec.Struct, frozen=True, array_like=True):
    """One machine and its story. States are classes, or values."""

    id: int
    states: Literal["classes", "values"]
    enters: bool
    first: int
    inserts: tuple[int, ...]
    settings: tuple[Setting, ...]
    lines: tuple[Line, ...]
    script: tuple[Moment, ...]


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """One handler that has run: when, for what, in which state. For an enter call, `content` is the state before."""

    at: float
    kind: str
    content: int
    state: int


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """A reply, or "down". `event` tells the calls of a script apart."""

    at: float
    event: int
    value: int | Literal["down"]


class Trace(msgspec.Struct, frozen=True, array_like=True):
    """What has happened: the handlers, the replies in their order, and the calls that heard of the end, by event."""

    seen: tuple[Seen, ...]
    answers: tuple[Answer, ...]
    down: tuple[Answer, ...]


def trace(seen: list[Seen], answers: list[Answer]) -> Trace:
    """Whoever learns of the end does so at once: among them there is no order."""
    down = sorted((answer for answer in answers if answer.value == "down"), key=lambda answer: answer.event)
    return Trace(tuple(seen), tuple(answer for answer in answers if answer.value != "down"), tuple(down))


class Draw:
    """Draws programs. With `grid`, everything happens at whole ticks, as a real clock needs it, and nothing crashes."""

    def __init__(self, seed: int, *, grid: bool = False) -> None:
        self._random = random.Random(seed)
        self._grid = grid

    def programs(self, count: int) -> Iterator[Program]:
        """The next `count` programs."""
        return (self.program(number) for number in range(count))

    def program(self, number: int) -> Program:
        """One program."""
        draw = self._random
        events = draw.randint(1, 8)
        return Program(
            number,
            draw.choice(("classes", "values")),
            draw.random() < 0.6,
            draw.randrange(STATES),
            self._inserts(0.2),
            self._settings(0.3),
            tuple(self._line() for _ in range(draw.randint(2, 24))),
            tuple(self._moments(events)),
        )

    def _moments(self, count: int) -> Iterator[Moment]:
        draw = self._random
        at = 1.0
        for event in range(count):
            if draw.random() < 0.7:
                at += self._ticks(1, MOMENTS_MAX // 3)
            yield Moment(at, draw.choice(("call", "call", "cast", "info")), event)

    def _line(self) -> Line:
        draw = self._random
        chance = draw.random()
        goes: Word | int = draw.randrange(STATES)
        if chance < 0.45:
            goes = "keep"
        elif chance < 0.55:
            goes = "repeat"
        elif chance < 0.57:
            goes = "stop"
        elif chance < 0.58 and not self._grid:
            goes = "crash"
        postpone = draw.random() < 0.25 and goes not in ("stop", "crash")
        return Line(
            goes, postpone, self._inserts(0.25), self._settings(0.5), draw.choice(("now", "now", "now", "later", "all"))
        )

    def _inserts(self, chance: float) -> tuple[int, ...]:
        draw = self._random
        return tuple(draw.randrange(100) for _ in range(draw.randint(1, 2))) if draw.random() < chance else ()

    def _settings(self, chance: float) -> tuple[Setting, ...]:
        draw = self._random
        return tuple(self._setting() for _ in range(draw.randint(1, 3))) if draw.random() < chance else ()

    def _setting(self) -> Setting:
        draw = self._random
        key: Key = draw.choice(("state", "event", draw.randrange(NAMES)))
        content = draw.randrange(100)
        chance = draw.random()
        if chance < 0.3:
            return Setting(key, "set", 0, content)
        if chance < 0.7:
            return Setting(key, "set", self._ticks(1, 5), content)
        if chance < 0.8:
            return Setting(key, "abs", self._ticks(0, MOMENTS_MAX), content)
        return Setting(key, "cancel" if chance < 0.9 else "update", 0, content)

    def _ticks(self, least: int, most: int) -> float:
        """Whole ticks, or ticks and a binary fraction, which virtual time adds up without rounding."""
        whole = self._random.randint(least, most)
        return float(whole) if self._grid else whole + self._random.randrange(1024) / 1024
