"""Catches code of Roost that goes around the seams while a simulation runs.

A real clock or a real random number makes a run impossible to repeat, and nobody would notice until a failing seed
does not fail again. So the doors are guarded: calls from any module of `roost` other than the kit itself raise, and
are remembered even when something swallows the exception. Calls from libraries and tests pass.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
import uuid
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Final

from roost.errors import SimulationLeak

DOORS: Final[tuple[tuple[ModuleType, str], ...]] = (
    (time, "time"),
    (time, "time_ns"),
    (time, "monotonic"),
    (time, "monotonic_ns"),
    (time, "perf_counter"),
    (time, "perf_counter_ns"),
    (time, "sleep"),
    (os, "urandom"),
    (random, "random"),
    (random, "randrange"),
    (random, "randint"),
    (random, "choice"),
    (random, "shuffle"),
    (random, "sample"),
    (random, "uniform"),
    (random, "getrandbits"),
    (secrets, "token_bytes"),
    (secrets, "token_hex"),
    (secrets, "token_urlsafe"),
    (uuid, "uuid1"),
    (uuid, "uuid4"),
)
"""Functions whose answers no seed decides."""

OWN: Final = "roost."
EXEMPT: Final = "roost.sim"


class LeakGuard:
    """A context within which the doors are guarded; leaks are also appended to `problems`."""

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems
        self._real: list[Callable[..., object]] = []

    def __enter__(self) -> None:
        for module, name in DOORS:
            real: Callable[..., object] = getattr(module, name)
            self._real.append(real)
            setattr(module, name, self._guarded(real, f"{module.__name__}.{name}"))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for (module, name), real in zip(DOORS, self._real, strict=True):
            setattr(module, name, real)
        self._real.clear()

    def _guarded(self, real: Callable[..., object], door: str) -> Callable[..., object]:
        def door_keeper(*args: object, **named: object) -> object:
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if caller.startswith(OWN) and not caller.startswith(EXEMPT):
                leak = SimulationLeak(door, caller)
                self._problems.append(str(leak))
                raise leak
            return real(*args, **named)

        return door_keeper
