"""Clients outside of the cluster: each reads and changes, one request at a time, and remembers what it was told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from roost.core.context import NOTHING_READ
from roost.sim.history import History, Operation
from roost.sim.trace import Trace
from tests.real.ground import lasting
from tests.real.house import House
from tests.real.line import Answer, Line
from tests.real.shop import STORE

TIMEOUT_MS: Final = 2_000
"""What a client allows the cluster for one request."""
PATIENCE_S: Final = 20.0
"""How long it waits for the answer all the same, before it counts as unanswered."""
STAY: Final = 200
"""Pairs of requests before a client goes to another node."""
DIAL_S: Final = 1.0
REST_S: Final = 0.02
"""A pause like that of any client that was refused, or whose node is dead."""
HOT: Final = 64
COLD: Final = 1_000
UNKNOWN: Final = (503, 504)


class Told(msgspec.Struct):
    """The body of any answer."""

    data: object = None
    values: list[str] | None = None
    context: str = ""
    nodes: tuple[str, ...] = ()
    error: str = ""


_decode: Final = msgspec.json.Decoder(Told).decode


class Clients:
    """All clients.

    Args:
        house: whom they ask.
        seed: what they draw from.
        count: how many there are.
        round: part of their keys, so that each round has keys of its own.

    Attributes:
        history: what they asked for and were told.
        strange: answers that no node should give, in words.
        latencies: how long answers took, in seconds; those of naps left out.
    """

    def __init__(self, house: House, seed: int, count: int, round: int = 0) -> None:
        self.house = house
        self._began = house.now()
        self.history = History(Trace(self.elapsed))
        self.strange: list[str] = []
        self.refusals: dict[str, int] = {}
        self.answered = 0
        self._stop = asyncio.Event()
        self.keys = [f"{round}-{kind}{number}" for kind, most in (("h", HOT), ("c", COLD)) for number in range(most)]
        self._clients = [
            _Client(self, f"c{number}", random.Random(f"{seed}/{round}/{number}")) for number in range(count)
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def elapsed(self) -> float:
        """Seconds since they began."""
        return self.house.now() - self._began

    def at(self, elapsed: float) -> float:
        """The same moment on the clock of the house."""
        return self._began + elapsed

    def start(self) -> None:
        """Let them work."""
        self._tasks = [asyncio.create_task(client.work()) for client in self._clients]

    async def stop(self) -> None:
        """Let each finish what it is about, and wait for that."""
        self._stop.set()
        await asyncio.gather(*self._tasks)

    def cancel(self) -> None:
        """Give up."""
        for task in self._tasks:
            task.cancel()

    @property
    def is_over(self) -> bool:
        """Whether they have been told to stop."""
        return self._stop.is_set()

    def failed(self) -> None:
        """Raise what a client has crashed on, if one has."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def final_reads(self, letter: str) -> _FinalReads:
        """Read every key through one node."""
        return _FinalReads(self, letter)


class _Client:
    def __init__(self, clients: Clients, name: str, draw: random.Random) -> None:
        self._all, self._name, self._draw = clients, name, draw
        self._house, self._history = clients.house, clients.history
        self._written = 0
        self._home = ""
        self._line: Line | None = None

    async def work(self) -> None:
        """Work until told to stop."""
        while not self._all.is_over:
            await self._settle_down()
            for _ in range(STAY):
                if not self._is_linked or self._home not in self._house.serving or self._all.is_over:
                    break
                key = self._key()
                known = await self._get(key)
                if known is not None and self._is_linked:
                    await self._change(key, *known)
            if self._line is not None:
                self._line.close()
                self._line = None

    @property
    def _is_linked(self) -> bool:
        """Whether there is a line that stands: on one that is known to be lost nothing is asked."""
        return self._line is not None and not self._line.is_lost

    async def _settle_down(self) -> None:
        """Find a node that takes calls."""
        self._home = self._draw.choice(list(self._house.serving))
        try:
            self._line = await Line.to(self._house.ground.web(self._home), DIAL_S)
        except (OSError, TimeoutError):
            await lasting(REST_S)

    def _key(self) -> str:
        if self._draw.random() < 0.3:
            return self._all.keys[self._draw.randrange(HOT)]
        return self._all.keys[HOT + self._draw.randrange(COLD)]

    async def _get(self, key: str) -> tuple[tuple[str, ...], str] | None:
        operation = self._history.get(self._name, self._home, key)
        answer = await self._ask(operation, "GET", f"{STORE}{quote(key)}?timeout_ms={TIMEOUT_MS}", b"")
        found = read(answer)
        if found is not None:
            self._history.end(operation, "ok", got=found[0])
        return found

    async def _change(self, key: str, seen: tuple[str, ...], context: str) -> None:
        path = f"{STORE}{quote(key)}?timeout_ms={TIMEOUT_MS}&context={context}"
        if seen and self._draw.random() < 0.1:
            operation = self._history.delete(self._name, self._home, key, seen)
            answer = await self._ask(operation, "DELETE", path, b"")
        else:
            self._written += 1
            value = f"{self._name}-{self._written}"
            operation = self._history.put(self._name, self._home, key, value, seen)
            answer = await self._ask(operation, "PUT", path, msgspec.json.encode(value))
        if answer is None:
            return
        nodes = _decode(answer.body).nodes if answer.status == 200 else ()
        if len(set(nodes)) < 2:
            if self._home not in self._house.leaving:  # one that has left is a cluster of its own
                self._all.strange.append(f"{operation}: acknowledged by {nodes}: {answer}")
            self._history.end(operation, "info", note="alone")
        else:
            self._history.end(operation, "ok", note=",".join(nodes))

    async def _ask(self, operation: Operation, method: str, path: str, body: bytes) -> Answer | None:
        """Ask, and note what went wrong; the answer when nothing did."""
        assert self._line is not None
        try:
            answer = await self._line.ask(method, path, body, PATIENCE_S)
        except TimeoutError:
            self._hang_up()  # the operation stays open: unanswered
            return None
        except ConnectionError:
            self._hang_up()
            self._history.end(operation, "info", note="broken")
            return None
        self._all.answered += 1
        if answer.status in (200, 300) or (answer.status == 404 and method == "GET"):
            return answer
        told = _decode(answer.body)
        if answer.status in UNKNOWN:
            self._all.refusals[told.error] = self._all.refusals.get(told.error, 0) + 1
        else:
            self._all.strange.append(f"{operation}: {answer}")
        self._history.end(operation, "info", note=told.error or str(answer.status))
        await lasting(REST_S)
        return None

    def _hang_up(self) -> None:
        assert self._line is not None
        self._line.close()
        self._line = None


def read(answer: Answer | None) -> tuple[tuple[str, ...], str] | None:
    """The values that a read has found, and the context to replace them with; None when it was refused."""
    if answer is None or answer.status not in (200, 300, 404):
        return None
    told = _decode(answer.body)
    if answer.status == 404:
        return (), NOTHING_READ
    if answer.status == 300:
        return tuple(sorted(map(str, told.values or ()))), told.context
    return (str(told.data),), told.context


class _FinalReads:
    """Every key, read through one node, by several lines at once."""

    LINES: Final = 4

    def __init__(self, clients: Clients, letter: str) -> None:
        self._clients, self._letter = clients, letter

    async def run(self, keys: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """What is found by key. Refusals are asked again.

        Raises:
            OSError, TimeoutError: the node does not answer.
        """
        found: dict[str, tuple[str, ...]] = {}
        left = iter(keys)

        async def reader() -> None:
            line = await Line.to(self._clients.house.ground.web(self._letter), PATIENCE_S)
            for key in left:
                while (values := read(await line.ask("GET", STORE + quote(key), timeout_s=PATIENCE_S))) is None:
                    await lasting(REST_S)
                found[key] = values[0]
            line.close()

        await asyncio.gather(*[reader() for _ in range(self.LINES)])
        return found
