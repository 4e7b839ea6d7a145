"""Beside the tower: whole clusters in one thread, in virtual time, from a seed."""

from __future__ import annotations

from roost.sim.loop import SimLoop, run, turns

__all__ = ["SimLoop", "run", "turns"]
