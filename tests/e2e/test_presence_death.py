"""Presences of real nodes that are killed, hang and stop: they leave, and nobody who is not there is shown again."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from roost.config import Address
from tests.e2e.cluster import Cluster
from tests.web.wire import Phoenix

TOPIC = "room:mortal"
WAIT_S = 20.0


class Guest:
    """A client in the room, and whom it sees there."""

    def __init__(self, client: Phoenix) -> None:
        self.client = client
        self.there: dict[str, set[str]] = {}

    @classmethod
    async def enter(cls, web: str, name: str) -> Guest:
        place = urlsplit(web)
        client = await Phoenix.open(Address(str(place.hostname), place.port or 0))
        guest = cls(client)
        await client.say("1", "1", TOPIC, "phx_join", {"name": name})
        return guest

    async def sees(self, *names: str) -> None:
        """Wait until it sees these and nobody else."""
        async with asyncio.timeout(WAIT_S):
            while {name for name, refs in self.there.items() if refs} != {*names}:
                _, _, _, event, payload = await self.client.hear()
                if event == "presence_state":
                    self.there = {}
                    self._come(payload)
                elif event == "presence_diff":
                    self._come(payload["joins"])
                    for name, entry in payload["leaves"].items():
                        self.there.get(name, set()).difference_update(meta["phx_ref"] for meta in entry["metas"])

    def _come(self, entries: dict[str, Any]) -> None:
        for name, entry in entries.items():
            self.there.setdefault(name, set()).update(meta["phx_ref"] for meta in entry["metas"])


async def test_whoever_was_on_a_node_that_is_killed_hangs_or_is_stopped_leaves(tmp_path: Path) -> None:
    with Cluster(tmp_path, 3, ("run", "tests.e2e.acceptance:app"), cwd=Path(__file__).parents[2]) as cluster:
        ada = await Guest.enter(cluster.web("a"), "Ada")
        bo = await Guest.enter(cluster.web("b"), "Bo")
        cy = await Guest.enter(cluster.web("c"), "Cy")
        for guest in (ada, bo, cy):
            await guest.sees("Ada", "Bo", "Cy")
        killed = cluster.kill9("c")
        for guest in (ada, bo):
            await guest.sees("Ada", "Bo")
        await asyncio.to_thread(cluster.wait_restarted, "c", killed)
        new = await Guest.enter(cluster.web("c"), "Dan")
        for guest in (ada, bo, new):
            await guest.sees("Ada", "Bo", "Dan")
        hung = cluster.node_pid("b")
        os.kill(hung, signal.SIGSTOP)
        try:
            for guest in (ada, new):
                await guest.sees("Ada", "Dan")
        finally:
            os.kill(hung, signal.SIGCONT)
        for guest in (ada, bo, new):
            await guest.sees("Ada", "Bo", "Dan")
        stopped = cluster.node_pid("c")
        os.kill(stopped, signal.SIGTERM)
        for guest in (ada, bo):
            await guest.sees("Ada", "Bo")
        await new.client.socket.wait_closed()
        assert new.client.socket.close_code == 1012
        for guest in (ada, bo, cy):
            await guest.client.close()
