"""A thousand clients join one topic at once, each with a presence: how long until every one of them lists all.

There is no other side in Python: no library there has presences that converge. What Phoenix needs for it was measured
once, and is in the note.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Final

import msgspec
from picows import WSFrame, WSMsgType, WSTransport

from benchmarks.crowd import Browser, Crowd
from benchmarks.dialect import Phoenix
from benchmarks.line import Bound, Line, middle
from benchmarks.nodes import processes, serving, settings
from benchmarks.peers import Server
from benchmarks.rounds import Plan, alternate

CLIENTS = 1_000
NODES = 2
WAIT_S = 40.0

Present = dict[str, msgspec.Raw]


class _Diff(msgspec.Struct):
    joins: Present
    leaves: Present


_frame: Final = msgspec.json.Decoder(tuple[str | None, str | None, str, str, msgspec.Raw]).decode
_present: Final = msgspec.json.Decoder(Present).decode
_diff: Final = msgspec.json.Decoder(_Diff).decode


class Watcher(Browser):
    """A client that keeps the list, as the Phoenix client does: what comes before the state waits for it."""

    def __init__(self, crowd: Gathering) -> None:
        super().__init__(crowd)
        self._gathering = crowd
        self._listed: dict[str, None] = {}
        self._knows = False
        self.is_done = False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Merge."""
        if frame.msg_type != WSMsgType.TEXT:
            return
        self._gathering.frames += 1
        _, _, _, event, payload = _frame(frame.get_payload_as_bytes())
        if event == "presence_state":
            self._knows = True
            self._listed.update(dict.fromkeys(_present(payload)))
        elif event == "presence_diff":
            diff = _diff(payload)
            if diff.leaves:
                self._gathering.fail("somebody has left")
            self._listed.update(dict.fromkeys(diff.joins))
        if self._knows and not self.is_done and len(self._listed) == self._gathering.everybody:
            self.is_done = True
            self._gathering.one_done()


class Gathering(Crowd):
    """Clients of one node; `everybody` counts those of all nodes."""

    def __init__(self, port: int, size: int, everybody: int, done: asyncio.Semaphore) -> None:
        super().__init__(port, Phoenix(), size)
        self.everybody = everybody
        self.frames = 0
        self._done = done

    def one_done(self) -> None:
        """One client lists everybody."""
        self._done.release()


@dataclass(frozen=True, slots=True)
class _Turn:
    seconds: float
    frames: int


async def gather(servers: Sequence[Server], clients: int, numbers: itertools.count[int]) -> _Turn:
    """Connect all, join all at once, and wait until everybody lists everybody."""
    done = asyncio.Semaphore(0)
    topic = f"crowd:{next(numbers)}"
    share = clients // len(servers)
    crowds = [Gathering(server.port, share, share * len(servers), done) for server in servers]
    try:
        for crowd in crowds:
            await crowd.connect(partial(Watcher, crowd))
        start = perf_counter()
        everyone = [browser for crowd in crowds for browser in crowd.browsers]
        for number, browser in enumerate(everyone):
            browser.say(msgspec.json.encode(("0", "0", topic, "phx_join", {"name": f"client-{number}"})))
        async with asyncio.timeout(WAIT_S):
            for _ in range(share * len(servers)):
                await done.acquire()
        return _Turn(perf_counter() - start, sum(crowd.frames for crowd in crowds))
    finally:
        for crowd in crowds:
            crowd.leave()
        await asyncio.sleep(0.3)  # so that their going is over before the next come


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    clients = plan.count(CLIENTS)
    numbers = itertools.count()
    lines: list[Line] = []
    for name, count in (("presence_join", 1), ("presence_join_2", NODES)):
        async with processes(settings(count)) as servers:
            await serving(servers)
            # The first turn, which is not recorded, waits until the nodes know each other.
            (turns,) = await alternate(plan, partial(gather, servers, clients, numbers))
        lines.append(
            Line(
                name,
                "s",
                [Bound("ours", "<=", 1)],
                f"{clients} connected clients on {count} node(s) join one topic at once, each with a presence, until "
                "each has listed all; the generator merges what every client gets; Phoenix, measured once on such a "
                "machine: 8.5 to 11.4 s, 1,000,000 frames",
                [[turn.seconds for turn in turns], []],
                {"frames": middle([float(turn.frames) for turn in turns])},
            )
        )
    return lines
