from __future__ import annotations

import contextlib
import os
import random
import time

import pytest

from roost.errors import SimulationLeak, SimulationUnclean
from roost.runtime.clock import SystemClock
from roost.runtime.entropy import SystemEntropy
from roost.sim.leak import DOORS
from roost.sim.loop import running_loop
from roost.sim.running import run


def test_roost_reaching_a_real_clock_is_caught() -> None:
    async def story() -> float:
        return SystemClock().now()

    with pytest.raises(SimulationLeak, match=r"roost\.runtime\.clock called time\.monotonic"):
        run(0, story())


def test_a_leak_that_is_swallowed_still_makes_the_run_unclean() -> None:
    async def story() -> None:
        with contextlib.suppress(SimulationLeak):
            SystemEntropy().token(4)

    with pytest.raises(SimulationUnclean, match=r"os\.urandom"):
        run(0, story())


def test_libraries_and_tests_may_look_at_the_clock() -> None:
    async def story() -> None:
        assert time.monotonic() > 0
        assert os.urandom(1)
        assert 0 <= random.random() < 1
        assert running_loop().problems == []

    run(0, story())


def test_the_doors_are_as_before_when_the_run_has_ended() -> None:
    async def story() -> None:
        raise LookupError("told")

    before = [getattr(module, name) for module, name in DOORS]
    with pytest.raises(LookupError, match="told"):
        run(0, story())
    assert [getattr(module, name) for module, name in DOORS] == before
    assert SystemClock().now() > 0
