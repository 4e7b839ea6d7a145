"""Floor 3: the only door to the world. Clock, entropy, network, disk, other cores and the watchdog over the loop, each
a protocol with its real implementation beside it. Everything above reaches the world through a `Runtime`; `roost.sim`
supplies another one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from roost.runtime.clock import Clock, SystemClock
from roost.runtime.cpu import Cpu, CpuWorkers
from roost.runtime.disk import Disk
from roost.runtime.entropy import Entropy, SystemEntropy
from roost.runtime.net import Net, TcpNet
from roost.runtime.watchdog import ThreadWatchdog, Watchdog

__all__ = ["Runtime"]


@dataclass(frozen=True, slots=True)
class Runtime:
    """The six seams of one node.

    `disk` is None for a node that keeps nothing, `watchdog` where nothing can block the loop, as in a simulation.
    """

    clock: Clock
    entropy: Entropy
    net: Net
    disk: Disk | None = None
    cpu: Cpu = field(default_factory=CpuWorkers)
    watchdog: Watchdog | None = None

    @classmethod
    def real(cls, disk: Disk | None = None) -> Runtime:
        """The machine itself."""
        return cls(SystemClock(), SystemEntropy(), TcpNet(), disk, watchdog=ThreadWatchdog())
