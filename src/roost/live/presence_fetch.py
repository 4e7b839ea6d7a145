"""The `fetch` hook: what an application adds to presences before clients are told of them.

A hook runs in a process of its own, at most one for each topic, so that topics do not wait for each other and those of
one topic stay in order. When it crashes, is killed, or takes longer than PRESENCE_FETCH_S, that is logged, and clients
are told without what it would have added.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeGuard

import msgspec

from roost.core.presence.presence import Metas, Presence
from roost.limits import PRESENCE_FETCH_S
from roost.otp import Down, Monitor, Ok, Process, Scheduler
from roost.otp.tasks.process import Work, launch
from roost.runtime.clock import Timer

logger = logging.getLogger("roost.presence")

Entries = dict[str, dict[str, Any]]
"""What a hook sees: `{key: {"metas": [meta, ...]}}`. Any: it is JSON."""
Extras = Mapping[str, Mapping[str, object]]
"""What it returns: what to add to the entries of keys. Metas stay as they are."""
Fetch = Callable[[str, Entries], Awaitable[Extras] | Extras]
"""A hook: `(topic, entries) -> extras`, `def` or `async def`."""
FetchFor = Callable[[str], Fetch | None]
"""Which hook a topic has."""


def entries(presences: Iterable[Presence]) -> Entries:
    """What a hook sees of presences: values that are its own."""
    found: Entries = {}
    for presence in presences:
        entry = found.setdefault(presence.key, {"metas": []})
        entry["metas"].append(msgspec.json.decode(presence.meta))
    return found


def with_extras(metas: Metas, extras: Extras) -> Mapping[str, Mapping[str, object]]:
    """The entries of clients, and what a hook has added to them."""
    if not extras:
        return metas
    return {key: {**extras.get(key, {}), **entry} for key, entry in metas.items()}


class Fetches:
    """The hooks that run.

    Args:
        scheduler: the processes of this node.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._running: dict[str, Process] = {}

    def is_busy(self, topic: str) -> bool:
        """Whether a hook of a topic runs."""
        return topic in self._running

    def run(self, topic: str, fetch: Fetch, seen: Entries, done: Callable[[Extras], None]) -> None:
        """Ask a hook; `done` is called once, with what it adds, or with nothing when it fails."""
        work: Work[object] = Work(fetch, f"fetch({topic!r})", answers=False)
        process = launch(self._scheduler, work, (topic, seen), {}, None)
        timer = self._scheduler.runtime.clock.call_later(PRESENCE_FETCH_S, process.kill)
        self._running[topic] = process
        monitor = Monitor(process, None, partial(self._ended, topic, work, timer, done))
        process.tied.monitors[monitor] = None

    def stop(self) -> None:
        """End every hook; what would have been done with it is not."""
        running, self._running = self._running, {}
        for process in running.values():
            process.kill()

    def _ended(self, topic: str, work: Work[object], timer: Timer, done: Callable[[Extras], None], down: Down) -> None:
        timer.cancel()
        if self._running.pop(topic, None) is None:
            return
        outcome = work.outcome
        if isinstance(outcome, Ok) and _are_extras(outcome.value):
            done(outcome.value)
            return
        why = f"has returned {outcome.value!r}" if isinstance(outcome, Ok) else f"has ended: {down.reason}"
        logger.warning("fetch for %s %s; clients are told without it", topic, why)
        done({})


def _are_extras(value: object) -> TypeGuard[Extras]:
    if not isinstance(value, dict) or not all(isinstance(extra, dict) for extra in value.values()):
        return False
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError):
        return False
    return True
