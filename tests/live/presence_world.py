"""Nodes with presences and one client on each, joined by cables."""

from __future__ import annotations

from typing import Any

import msgspec

from roost.limits import PRESENCE_LOOK_S, PRESENCE_TICK_S
from roost.live.presence import Presence
from roost.live.presence_fetch import FetchFor
from roost.live.pubsub import PubSub
from roost.otp import Scheduler
from roost.runtime import Runtime
from roost.wire.phoenix.ready import text_of
from tests.live.cable import Cables
from tests.web.stage import HandClock

TOPIC = "t"


class Viewer:
    """A client on a topic: what a Phoenix client makes of states and diffs, but for its forgiveness.

    Attributes:
        there: the metas of each key, by their references.
        diffs: every diff, as it came.
        wrong: joins of who was there, and leaves of who was not.
    """

    def __init__(self) -> None:
        self.there: dict[str, dict[str, dict[str, Any]]] = {}
        self.diffs: list[dict[str, Any]] = []
        self.frames = 0
        self.entries: dict[str, dict[str, Any]] = {}
        self.wrong: list[str] = []

    def write(self, frame: bytes) -> None:
        _, _, _, event, payload = msgspec.json.decode(text_of(frame))
        self.take(event, payload)

    def flush(self) -> None:
        pass

    def take(self, event: str, payload: Any) -> None:
        self.frames += 1
        if event == "presence_state":
            self.there = {}
            self._join(msgspec.json.decode(payload))
            return
        assert event == "presence_diff"
        self.diffs.append(payload)
        self._join(payload["joins"])
        for key, entry in payload["leaves"].items():
            for meta in entry["metas"]:
                if self.there.get(key, {}).pop(meta["phx_ref"], None) is None:
                    self.wrong.append(f"{key} left without being there")
            if not self.there.get(key):
                self.there.pop(key, None)

    def _join(self, joins: dict[str, Any]) -> None:
        for key, entry in joins.items():
            self.entries[key] = entry
            for meta in entry["metas"]:
                if meta["phx_ref"] in self.there.setdefault(key, {}):
                    self.wrong.append(f"{key} joined twice")
                self.there[key][meta["phx_ref"]] = meta

    def keys(self) -> list[str]:
        return sorted(self.there)

    def metas(self) -> int:
        return sum(map(len, self.there.values()))


class World:
    """A few nodes. Time passes when the test says so."""

    def __init__(self, *names: str, fetch_for: FetchFor | None = None) -> None:
        self.cables, self.clock = Cables(), HandClock()
        self.runtime = Runtime(self.clock, Runtime.real().entropy, Runtime.real().net)
        self.presence: dict[str, Presence] = {}
        self.schedulers: dict[str, Scheduler] = {}
        self.viewers: dict[str, Viewer] = {}
        self.boots: dict[str, int] = {}
        self._fetch_for = fetch_for
        for name in names:
            self.boot(name)
        self.heal()
        self.settle()

    # Faults

    def boot(self, name: str) -> None:
        """Start a node, or another boot of it, that has no links yet."""
        self.boots[name] = self.boots.get(name, 0) + 1
        fabric = self.cables.fabric(name, self.boots[name])
        pubsub = PubSub(fabric, self.clock)
        scheduler = self.schedulers[name] = Scheduler(self.runtime, name)
        self.presence[name] = Presence(scheduler, fabric, pubsub, fetch_for=self._fetch_for)
        viewer = self.viewers[name] = Viewer()
        pubsub.subscribe(TOPIC, viewer, viewer)

    def split(self, left: str, right: str) -> None:
        """Cut the cable between two nodes."""
        if frozenset((left, right)) in self.cables.plugged:
            self.cables.pull(left, right)

    def kill(self, name: str) -> None:
        """End a node without a word."""
        for other in list(self.presence):
            if other != name:
                self.split(name, other)
        del self.presence[name], self.viewers[name], self.cables.fabrics[name]

    def stop(self, name: str) -> None:
        """Stop a node in order."""
        self.presence[name].stop()
        self.cables.flow()
        self.kill(name)

    def restart(self, name: str) -> None:
        """Kill a node, and start another boot of it that is linked with all."""
        if name in self.presence:
            self.kill(name)
        self.boot(name)
        self.heal(name)

    def heal(self, *names: str) -> None:
        """Plug in every cable, or every one of some nodes."""
        everybody = sorted(self.presence)
        for left in everybody:
            for right in everybody:
                wanted = not names or left in names or right in names
                if left < right and wanted and frozenset((left, right)) not in self.cables.plugged:
                    self.cables.plug(left, right)

    # Time

    def settle(self) -> None:
        """Let the next few ticks pass."""
        for _ in range(4):
            self.cables.flow()
            self.clock.advance(PRESENCE_TICK_S)
        self.cables.flow()

    def wait(self) -> None:
        """Let so much time pass that common peers pass things on."""
        for _ in range(3):
            self.clock.advance(PRESENCE_LOOK_S)
            self.settle()

    def sweep(self) -> None:
        """Let so much time pass that nodes that can not be reached are forgotten."""
        for _ in range(3):
            self.clock.advance(30.0)
            self.settle()

    # Acting and looking

    def track(self, name: str, *keys: str) -> list[int]:
        return [self.presence[name].track(TOPIC, key, {"at": name}) for key in keys]

    def untrack(self, name: str, *ids: int) -> None:
        for id in ids:
            self.presence[name].untrack(id)

    def seen(self) -> dict[str, list[str]]:
        """Whom the client of each node sees, which is whom the node lists."""
        for name, viewer in self.viewers.items():
            assert viewer.wrong == []
            listed = self.presence[name].list(TOPIC)
            assert viewer.keys() == sorted(listed)
            assert viewer.metas() == self.presence[name].count(TOPIC) == sum(map(len, listed.values()))
        return {name: viewer.keys() for name, viewer in sorted(self.viewers.items())}

    def agreed(self) -> list[str]:
        """Whom all see."""
        first, *others = self.seen().values()
        assert all(other == first for other in others), self.seen()
        return first
