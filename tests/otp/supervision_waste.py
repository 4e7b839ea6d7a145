"""Catches what only the garbage collector finds: errors that nobody took, coroutines that nobody awaited."""

from __future__ import annotations

import gc
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

BATCH: Final = 500
"""Histories between two collections."""


class Waste:
    """Runs histories, and looks through what they throw away."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def first_failure(self, seeds: Iterable[int], play: Callable[[int], list[str]]) -> str | None:
        """Play the history of each seed until one fails. Returns its seed and what is wrong with it.

        Args:
            seeds: of the histories.
            play: plays the history of a seed, and returns its problems. Called again for a seed of a batch that has
                left waste behind.
        """
        batch: list[int] = []
        with self._looking():
            for seed in seeds:
                try:
                    problems = play(seed)
                except Exception:  # a history that breaks off has failed, and its seed must be told
                    problems = [traceback.format_exc()]
                if problems:
                    return f"seed {seed}: " + "\n".join(problems)
                batch.append(seed)
                if len(batch) == BATCH:
                    if self._collect():
                        break
                    batch.clear()
            if not self._found and not self._collect():
                return None
            for seed in batch:
                self._found.clear()
                play(seed)
                if self._collect():
                    return f"seed {seed}: " + "\n".join(self._found)
        return f"one of the seeds {batch}: " + "\n".join(self._found)

    def _collect(self) -> bool:
        gc.collect()
        return bool(self._found)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        log, hook, collecting = logging.getLogger("roost.otp"), sys.unraisablehook, gc.isenabled()
        level = log.level
        log.setLevel(logging.CRITICAL + 1)  # a history is full of crashes, and nobody reads about them
        gc.collect()
        gc.freeze()
        gc.disable()
        sys.unraisablehook = self._unraisable
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.showwarning = self._warned  # type: ignore[assignment]  # takes more than it must
                yield
        finally:
            sys.unraisablehook = hook
            gc.unfreeze()
            if collecting:
                gc.enable()
            log.setLevel(level)

    def _warned(self, message: Warning | str, category: type[Warning], *_: object) -> None:
        self._found.append(f"{category.__name__}: {message}")

    def _unraisable(self, raised: UnraisableHookArgs) -> None:
        self._found.append(f"{raised.err_msg}: {raised.exc_value!r} in {raised.object!r}")
