"""A process world in virtual time, for stories about time."""

from __future__ import annotations

from roost.otp import Scheduler
from roost.runtime import Runtime
from roost.runtime.net import TcpNet
from roost.sim.clock import SimClock
from roost.sim.entropy import SimEntropy
from roost.sim.loop import running_loop


def virtual_scheduler(seed: int = 0) -> Scheduler:
    """A scheduler whose clock is that of the running simulation: `with virtual_scheduler().entered(): ...`."""
    return Scheduler(Runtime(SimClock(running_loop()), SimEntropy(seed, "entropy"), TcpNet()))


async def pass_time(seconds: float) -> None:
    """Let virtual time pass; in the real world it refuses."""
    running_loop()
    await Scheduler.current().runtime.clock.sleep(seconds)
