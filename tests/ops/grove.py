"""A launcher over sprigs as a program of its own, for a test that kills it: `python -m tests.ops.grove`."""

from __future__ import annotations

import asyncio
import sys

from roost.ops.launcher import Launcher
from roost.ops.plan import plan_nodes, short
from roost.ops.screen import Screen
from roost.runtime import Runtime


async def grow() -> int:
    """Run two sprigs until a signal."""
    nodes = plan_nodes("grove", 2, 4000)
    screen = Screen(sys.stdout, [short(node.name) for node in nodes])
    return await Launcher(nodes, (sys.executable, "-m", "tests.ops.sprig"), "A grove", Runtime.real(), screen).run()


if __name__ == "__main__":
    sys.exit(asyncio.run(grow()))
