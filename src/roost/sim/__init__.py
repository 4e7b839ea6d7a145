"""Beside the tower: whole clusters in one thread, in virtual time, from a seed.

A test of an application boots its nodes in a `World`, breaks it by verbs or by a `Nemesis`, and judges what its clients
were told. `run` decides everything that is open by a seed, so a failure can be told again::

    python -m roost.sim --seeds 200
"""

from __future__ import annotations

from roost.sim.history import History
from roost.sim.loop import SimLoop, turns
from roost.sim.nemesis import Nemesis, Plan
from roost.sim.running import run
from roost.sim.weather import Climate
from roost.sim.world import World, node_name

__all__ = ["Climate", "History", "Nemesis", "Plan", "SimLoop", "World", "node_name", "run", "turns"]
