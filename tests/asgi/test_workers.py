"""Several workers of one server on one machine are one cluster, with nothing else installed and nothing set."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import pytest

from roost.config import Address
from roost.runtime.siblings import remove_abandoned_crews
from tests.asgi.programs import Served, documented, get, hear_diff, serving, wait_until_up
from tests.web.wire import Phoenix

WORKERS: Final = 3
PATIENCE_S: Final = 30.0


class Guest:
    """Somebody in the room, at one of the workers."""

    def __init__(self, name: str, node: str, client: Phoenix) -> None:
        self.name, self.node, self.client = name, node, client

    @classmethod
    async def enter(cls, address: Address, name: str) -> Guest:
        """Come in by whichever worker takes the connection."""
        client = await Phoenix.open(address)
        joined = await client.ask("1", "1", "room:tea", "phx_join", {"name": name})
        return cls(name, joined["response"]["node"], client)

    async def say(self, text: str) -> None:
        await self.client.say("1", "2", "room:tea", "say", {"text": text})

    async def hears(self, text: str) -> None:
        while (await self.client.hear("said"))[4] != {"text": text}:
            pass


class Poller:
    """Somebody without WebSockets. Each request comes to whichever worker takes its connection."""

    def __init__(self, address: Address, token: str) -> None:
        self._address, self._path = address, f"/socket/longpoll?vsn=2.0.0&token={quote(token, safe='')}"
        self._heard: deque[list[Any]] = deque()  # Any: tests look into JSON

    @classmethod
    async def enter(cls, address: Address, name: str) -> Poller:
        _, session = await get(address, "/socket/longpoll?vsn=2.0.0")
        poller = cls(address, session["token"])
        await poller.say("1", "1", "room:tea", "phx_join", {"name": name})
        assert (await poller.hear("phx_reply"))[4]["status"] == "ok"
        return poller

    async def say(self, *frame: object) -> None:
        _, answer = await get(self._address, self._path, msgspec.json.encode(frame))
        assert answer["status"] == 200, answer

    async def hear(self, event: str) -> list[Any]:
        while True:
            while not self._heard:
                _, answer = await get(self._address, self._path)
                assert answer["status"] in (200, 204), answer
                self._heard.extend(msgspec.json.decode(message) for message in answer.get("messages", ()))
            if (message := self._heard.popleft())[3] == event:
                return message


async def one_guest_at_each(address: Address, names: tuple[str, ...], known: Mapping[str, Guest]) -> dict[str, Guest]:
    """Guests at nodes that have none yet; who gets to one that has is sent away again."""
    guests = dict(known)
    ends = time.monotonic() + PATIENCE_S
    for name in names:
        while True:
            assert time.monotonic() < ends, sorted(guests)
            try:
                guest = await Guest.enter(address, name)
            except OSError:  # it came to the worker that was killed, before anybody knew
                continue
            if guest.node not in guests:
                guests[guest.node] = guest
                break
            await guest.client.close()
    return guests


def process_at(server: Served, node: str) -> int:
    """The process of a worker."""
    [ready] = server.run_folder.glob(f"roost/workers/*/{node.partition('@')[0]}/ready")
    return int(ready.read_bytes())


@pytest.mark.parametrize("server", ["uvicorn", "granian", "hypercorn"])
async def test_workers_share_topics_presences_and_buckets(server: str, tmp_path: Path) -> None:
    with serving(tmp_path, server, documented("FastAPI"), WORKERS) as served:
        wait_until_up(served)
        guests = await one_guest_at_each(served.address, ("Ada", "Bob", "Cyd"), {})
        assert sorted(guests) == ["w01@127.0.0.1", "w02@127.0.0.1", "w03@127.0.0.1"]
        for guest in guests.values():
            await guest.say(f"I am {guest.name}")
            for other in guests.values():
                await other.hears(f"I am {guest.name}")
        found = {await visit(served, str(number)) for number in range(40)}
        assert len(found) > 1
        for guest in guests.values():
            assert {(await guest.client.hear("visited"))[4]["name"] for _ in range(40)} == set(map(str, range(40)))
        await somebody_polls(served.address, guests)
        if server == "uvicorn":
            await a_worker_is_killed(served, guests)
        for guest in guests.values():
            await guest.client.close()
    assert "Traceback" not in served.log, served.log
    crews = served.run_folder / "roost" / "workers"
    remove_abandoned_crews(crews)  # as the next server does: hypercorn ends its workers before they are done
    assert os.listdir(crews) == []


async def visit(served: Served, name: str) -> int:
    """Ask the web application at any worker; return the process that was told to the bucket."""
    status, answer = await get(served.address, f"/visit/{name}")
    assert status == 200, served.log
    return int(answer["process"])


async def somebody_polls(address: Address, guests: Mapping[str, Guest]) -> None:
    """A long poll goes on whichever worker each of its requests comes to."""
    eve = await Poller.enter(address, "Eve")
    for number in range(5):
        await eve.say("1", str(number + 2), "room:tea", "say", {"text": f"polled {number}"})
        assert (await eve.hear("said"))[4] == {"text": f"polled {number}"}
    for guest in guests.values():
        await guest.hears("polled 4")
        await guest.say(f"heard by {guest.name}")
        assert (await eve.hear("said"))[4] == {"text": f"heard by {guest.name}"}


async def a_worker_is_killed(served: Served, guests: dict[str, Guest]) -> None:
    """The others go on; the worker in its place is the same member again."""
    bob = guests.pop("w02@127.0.0.1")
    process = process_at(served, bob.node)
    os.kill(process, signal.SIGKILL)
    for guest in guests.values():
        await hear_diff(guest.client, "leaves", bob.name)
    await bob.client.close()
    guests |= await one_guest_at_each(served.address, ("Dan",), guests)
    dan = guests["w02@127.0.0.1"]
    assert process_at(served, dan.node) != process
    state = (await dan.client.hear("presence_state"))[4]
    assert state.keys() >= {guest.name for guest in guests.values() if guest is not dan}
    await dan.say("back again")
    for guest in guests.values():
        await guest.hears("back again")
