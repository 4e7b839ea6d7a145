"""Floor 3: the only door to the world. Clock, entropy, network and disk, each a protocol with its real
implementation beside it. Everything above reaches the world through a `Runtime`; `roost.sim` supplies another one.
"""

from __future__ import annotations

from dataclasses import dataclass

from roost.runtime.clock import Clock, SystemClock
from roost.runtime.disk import Disk
from roost.runtime.entropy import Entropy, SystemEntropy
from roost.runtime.net import Net, TcpNet

__all__ = ["Runtime"]


@dataclass(frozen=True, slots=True)
class Runtime:
    """The four seams of one node. `disk` is None for a node that keeps nothing."""

    clock: Clock
    entropy: Entropy
    net: Net
    disk: Disk | None = None

    @classmethod
    def real(cls, disk: Disk | None = None) -> Runtime:
        """The machine itself."""
        return cls(SystemClock(), SystemEntropy(), TcpNet(), disk)
