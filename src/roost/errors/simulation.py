"""Runs of the simulator that prove nothing."""

from __future__ import annotations

from typing import ClassVar

from roost.errors.root import RoostError


class SimulationError(RoostError):
    """A simulated run that proves nothing: see `roost.sim`."""

    code: ClassVar[str] = "simulation"


class SimulationStuck(SimulationError):
    """The virtual world cannot go on."""

    code: ClassVar[str] = "simulation_stuck"

    def __init__(self, at_s: float, reason: str) -> None:
        super().__init__(at_s, reason)
        self.at_s, self.reason = at_s, reason

    def __str__(self) -> str:
        return f"the simulation is stuck at {self.at_s:g} virtual seconds: {self.reason}"


class SimulationLeak(SimulationError):
    """A module reached a real clock, or real randomness, that no seed decides."""

    code: ClassVar[str] = "simulation_leak"

    def __init__(self, door: str, module: str) -> None:
        super().__init__(door, module)
        self.door, self.module = door, module

    def __str__(self) -> str:
        return f"{self.module} called {self.door} in a simulation: go through the node's Runtime"


class SimulationUnclean(SimulationError):
    """The story ended well, but something failed where nobody looked."""

    code: ClassVar[str] = "simulation_unclean"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "unnoticed failures in the simulation: " + "; ".join(self.problems)


class NodeCrashed(SimulationError):
    """The simulated node died while it served this request: whether it took effect is unknown."""

    code: ClassVar[str] = "node_crashed"

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.node = node

    def __str__(self) -> str:
        return f"{self.node} crashed while it served the request"
