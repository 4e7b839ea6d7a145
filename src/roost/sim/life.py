"""One life of a simulated node: from its start to its stop, crash or power cut.

Whatever runs inside a node carries its life in its `contextvars` context, because tasks and callbacks inherit the
context they were made in. So the loop knows whose every callback is, and a node can be paused, or killed without a
single `finally` block of it running, as a real process is by SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextvars


class Life:
    """What the loop, the network and the disk know of one running node.

    `stopped` is true while the loop must not run it (paused, or dead); `dead` once its seams are cut for ever.
    """

    __slots__ = ("context", "dead", "held", "name", "number", "stopped")

    def __init__(self, name: str, number: int = 1) -> None:
        self.name, self.number = name, number
        self.stopped = False
        self.dead = False
        self.held: list[asyncio.Handle] = []
        self.context = contextvars.copy_context()
        self.context.run(LIFE.set, self)

    def __repr__(self) -> str:
        return f"Life({self.name!r}, {self.number})"


LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("roost.sim.life", default=None)
"""The life that the running code belongs to; None for the test itself, which stands outside the world."""
