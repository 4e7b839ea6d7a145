"""A real process that behaves as a node does towards its launcher, and nothing else: `python -m tests.ops.sprig`.

SPRIG in its environment says how: "serve" (the default), "refuse", "crash", "stubborn" (ignores SIGTERM), or "shed"
(starts a process of its own, prints its id, and serves). SPRIG_ONLY confines all but "serve" to the node of that name.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

from roost.ops.leash import NodeEnd, Ready, Refused


def shed() -> int:
    """Start a process that does nothing, and return its id."""
    return subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid


async def serve(leash: NodeEnd, manner: str) -> None:
    """Be a node until SIGTERM, or until the launcher is gone."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, (lambda: print("no")) if manner == "stubborn" else stop.set)
    leash.watch(stop.set)
    if manner == "shed":
        print(f"shed {shed()}")
    print(f"serving {os.environ['ROOST_NAME']} {os.getpid()}")
    leash.say(Ready(os.getpid()))
    await stop.wait()
    print("stopped in order")


def main() -> None:
    """Do as SPRIG says."""
    leash = NodeEnd.take(os.environ)
    assert leash is not None
    manner = os.environ.get("SPRIG", "serve")
    if os.environ.get("SPRIG_ONLY", os.environ["ROOST_NAME"]) != os.environ["ROOST_NAME"]:
        manner = "serve"
    if manner == "refuse":
        leash.say(Refused("the sprig", "does not want to"))
        sys.exit(2)
    if manner == "crash":
        sys.exit("the sprig breaks")
    asyncio.run(serve(leash, manner))


if __name__ == "__main__":
    main()
