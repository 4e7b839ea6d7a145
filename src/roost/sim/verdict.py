"""What came of the story of one seed."""

from __future__ import annotations

from dataclasses import dataclass, field

from roost.sim.checkers import Broken
from roost.sim.history import Operation


@dataclass(slots=True)
class Verdict:
    """What came of one seed.

    Attributes:
        seed: which world it was.
        plan: what happened to it.
        digest: equal for equal seeds.
        broken: the promises that did not hold.
        acknowledged: the writes that clients could rely on.
        virtual_s: how long the story took in its own time.
        outcomes: how often each outcome was told to a client, or to an operator.
        fired: how often each fault happened.
        marks: how often each thing came about that only the right combination of faults brings about.
        history: what the clients asked and were told.
        orders: what operators asked, and were told.
        tail: the last events of the trace.
    """

    seed: int
    plan: str
    digest: str = ""
    broken: list[Broken] = field(default_factory=list)
    acknowledged: int = 0
    virtual_s: float = 0.0
    outcomes: dict[str, int] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    history: list[Operation] = field(default_factory=list)
    orders: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
