"""A program for the tests of `Application.run`: `python -m tests.otp.app_script MANNER`.

The children print when they start and stop. One of them has the name of its manner: "bad" does not start, "threaded"
does not either and leaves a thread behind that never ends, "hung" never finishes its start, "slow" starts and stops
slowly, "broken" crashes again and again, "done" finishes its work, "stuck" does not stop, "blocking" blocks the whole
loop when it is to stop.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable

import msgspec

from roost import Application, GenServer, info
from roost.otp import Reason


class Work(msgspec.Struct, frozen=True):
    """Time to do something."""


class Part(GenServer):
    """One part of the program."""

    async def init(self, app: Callable[[], Application], label: str) -> None:
        self.app, self.label = app(), label
        self.trap_exits()
        print("start", label, flush=True)
        match label:
            case "bad":
                raise OSError("no disk")
            case "threaded":
                asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
                raise OSError("no disk")
            case "hung":
                await asyncio.Event().wait()
            case "slow":
                for _ in iter(lambda: self.app.stopping, True):
                    await asyncio.sleep(0)
            case "broken" | "done":
                self.send_after(0.0, Work())
        print("started", label, flush=True)

    @info
    def work(self, message: Work) -> None:
        if self.label == "broken":
            raise ValueError("broken")
        self.exit("normal")

    async def terminate(self, reason: Reason) -> None:
        print("stop", self.label, flush=True)
        match self.label:
            case "stuck":
                await asyncio.Event().wait()
            case "blocking":
                threading.Event().wait()
        print("stopped", self.label, flush=True)


def main(manner: str) -> None:
    """Run the program."""
    apps: list[Application] = []
    parts = [
        Part.child(lambda: apps[0], label, id=label, restart="transient", shutdown_s=None, significant=label == "done")
        for label in ("first", manner, "last")
    ]
    apps.append(Application("program", parts, auto_shutdown="any_significant", stop_s=1.0))
    apps[0].run()
    print("after", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
