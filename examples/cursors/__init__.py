"""Cursors: hundreds of them on one page, a hundred flown by each node, and one for every visitor.

Each move is a broadcast of its own, thousands of them in a second. A page that does not keep up gets fewer of them, and
of each cursor the newest: what waits for it is one move for each cursor, however long it sleeps.

    roost run examples.cursors:app
    open http://localhost:4000/ http://localhost:4001/
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from examples.pages import pages
from roost import Channel, GenServer, Roost, Socket, event, info, pg
from roost.core.backlog import Coalesce
from roost.errors import Refusal
from roost.live.channel import Payload
from roost.otp import Reason

TOPIC: Final = "cursors:field"
BIRDS: Final = 100
"""Cursors that each node flies."""
TICK_S: Final = 0.1
NAME_MAX: Final = 40
ID_BYTES: Final = 6
DIGITS: Final = 4
"""Of a place, which is from 0 to 1 from left to right and from top to bottom."""


class CursorChannel(Channel, topic=TOPIC):
    """One visitor: sees all cursors, and moves his own."""

    def join(self, topic: str, params: Payload, socket: Socket) -> Payload:
        """Come in under a name."""
        name = params.get("name")
        name = " ".join(name.split()) if isinstance(name, str) else ""
        if not 1 <= len(name) <= NAME_MAX:
            raise Refusal(f"a name has from 1 to {NAME_MAX} characters")
        self.name = name
        self.id = self.scheduler.runtime.entropy.token(ID_BYTES).hex()
        pg.join(TOPIC, self.handle)
        return {"id": self.id, "node": self.scheduler.name}

    @event("move")
    def move(self, payload: Payload) -> None:
        """My cursor is somewhere else now, or still there."""
        x, y = _place(payload.get("x")), _place(payload.get("y"))
        self.broadcast_from("moved", moved(self.id, self.scheduler.name, x, y, self.now_ms(), self.name))

    def terminate(self, reason: Reason) -> None:
        """The page is closed."""
        if hasattr(self, "id"):
            self.broadcast("gone", {"id": self.id})

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.scheduler.runtime.clock.wall() * 1000)


class Tick(msgspec.Struct, frozen=True):
    """It is time to fly on."""


class Bird(NamedTuple):
    """A curve to fly along."""

    id: str
    speed_x: float
    speed_y: float
    start_x: float
    start_y: float
    reach: float


class Flock(GenServer):
    """The cursors that this node flies, as long as somebody looks at any node's page."""

    def init(self) -> None:
        entropy = self.scheduler.runtime.entropy
        self.node = self.scheduler.name
        self.birds = [
            Bird(
                f"{self.node}/{number}",
                entropy.uniform(0.1, 0.5),
                entropy.uniform(0.1, 0.5),
                entropy.uniform(0, math.tau),
                entropy.uniform(0, math.tau),
                entropy.uniform(0.2, 0.47),
            )
            for number in range(BIRDS)
        ]
        self.send_every(TICK_S, Tick())

    @info
    def tick(self, message: Tick) -> None:
        """Tell where each of them is now."""
        if not pg.members(TOPIC):
            return
        now_s = self.scheduler.runtime.clock.wall()
        for bird in self.birds:
            x = 0.5 + bird.reach * math.sin(now_s * bird.speed_x + bird.start_x)
            y = 0.5 + bird.reach * math.sin(now_s * bird.speed_y + bird.start_y)
            app.broadcast(TOPIC, "moved", moved(bird.id, self.node, x, y, int(now_s * 1000)))


class CursorSocket(Socket):
    """Everybody may look. Of what is said about one cursor, only the newest waits for a slow page."""

    channels = (CursorChannel,)
    slow_reader = Coalesce(events={"moved": "id"})


def moved(id: str, node: str, x: float, y: float, at_ms: int, name: str = "") -> Payload:
    """What is told about one cursor."""
    return {"id": id, "node": node, "x": round(x, DIGITS), "y": round(y, DIGITS), "at": at_ms, "name": name}


def _place(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Refusal("a place is a number from 0 to 1")
    return float(value)


app: Roost = Roost(
    "cursors",
    children=[Flock.child(name="flock")],
    sockets={"/socket": CursorSocket},
    web=pages(Path(__file__).parent / "page"),
)
