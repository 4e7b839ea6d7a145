"""Floor 3: the only door to the world. Clock, entropy, network, disk, other cores and the watchdog over the loop, each
a protocol with its real implementation beside it. Everything above reaches the world through a `Runtime`; `roost.sim`
supplies another one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from roost.runtime.clock import Clock, SystemClock
from roost.runtime.cpu import Cpu, CpuWorkers
from roost.runtime.disk import Disk, Notes
from roost.runtime.entropy import Entropy, SystemEntropy
from roost.runtime.net import Net, TcpNet
from roost.runtime.watchdog import ThreadWatchdog, Watchdog

__all__ = ["Runtime"]


@dataclass(frozen=True, slots=True)
class Runtime:
    """The seams of one node.

    `disk` is None for a node that keeps nothing; such a node may still have `notes`, where it keeps what it knows of
    its cluster, and its votes, for the process that takes its place. `watchdog` is None where nothing can block the
    loop, as in a simulation.
    """

    clock: Clock
    entropy: Entropy
    net: Net
    disk: Disk | None = None
    cpu: Cpu = field(default_factory=CpuWorkers)
    watchdog: Watchdog | None = None
    notes: Notes | None = None

    @classmethod
    def real(cls, disk: Disk | None = None) -> Runtime:
        """The machine itself."""
        return cls(SystemClock(), SystemEntropy(), TcpNet(), disk, watchdog=ThreadWatchdog())
