"""Supervision against a reference model: tens of thousands of random histories of random trees.

*Scripts* do one thing at a time to a tree at rest; Roost must then do exactly what the model says, which is what OTP
does: the model has to tell the recorded traces of OTP's own supervisor, too. *Storms* do anything at any moment and
cancel whoever waits; there the rules of `supervision_rules` must hold. *Sweeps* interrupt the start and the stop of a
tree in every single turn of the loop. After each of them nothing may be left: no task, no
process, no timer, no swallowed cancellation, no error that nobody took, no coroutine that nobody awaited.

A failure names its seed. To see that one history alone::

    python -c "from tests.otp.supervision_play import play_calm; print(*play_calm(SEED))"
    python -c "from tests.otp.supervision_storm import play_storm; print(*play_storm(SEED))"
    python -c "from tests.otp.supervision_sweep import sweep; print(*sweep(SEED))"
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.otp.supervision_faults import FAULTS, with_fault
from tests.otp.supervision_grove import SOUND, Kinds
from tests.otp.supervision_model import Thread
from tests.otp.supervision_play import compare, play_calm
from tests.otp.supervision_record import Recorded, disagreement, expected, load
from tests.otp.supervision_storm import play_storm
from tests.otp.supervision_sweep import sweep
from tests.otp.supervision_waste import Waste

HISTORIES = 1_500
"""Histories of one test; sixteen of these tests are 24,000 histories."""
TREES = 50
"""Trees of one test that are interrupted, each some forty times."""
SUSPECTS = 1_500
"""Histories within which each planted fault must show."""


@pytest.fixture(scope="module")
def recorded() -> list[Recorded]:
    """What OTP's own supervisor has done."""
    return load()


def told(one: Recorded, *, leaves_orphans: bool) -> list[list[Thread]]:
    """What the model says of a recorded script."""
    return [step.threads for step in expected(one.script, leaves_orphans=leaves_orphans)[0]]


@pytest.mark.parametrize("first", range(0, 8 * HISTORIES, HISTORIES))
def test_a_tree_at_rest_does_what_the_model_says(first: int) -> None:
    failure = Waste().first_failure(range(first, first + HISTORIES), play_calm)
    assert failure is None, f"play_calm: {failure}"


@pytest.mark.parametrize("first", range(0, 8 * HISTORIES, HISTORIES))
def test_the_rules_hold_in_any_storm(first: int) -> None:
    failure = Waste().first_failure(range(first, first + HISTORIES), play_storm)
    assert failure is None, f"play_storm: {failure}"


@pytest.mark.parametrize("first", range(0, 4 * TREES, TREES))
def test_an_interruption_in_any_turn_leaves_nothing(first: int) -> None:
    """Whoever waits for a start or a stop gives up, or the supervisor is killed: each tree in each turn of the loop."""
    failure = Waste().first_failure(range(first, first + TREES), sweep)
    assert failure is None, f"sweep: {failure}"


def test_the_model_tells_what_otp_has_done(recorded: list[Recorded]) -> None:
    assert len(recorded) >= 400
    assert [(number, problem) for number, one in enumerate(recorded) if (problem := disagreement(one))] == []


def test_roost_does_what_otp_has_done(recorded: list[Recorded]) -> None:
    def play(number: int) -> list[str]:
        script = recorded[number].script
        told, shape = expected(script, leaves_orphans=False)
        return compare(number, script, told, shape)

    failure = Waste().first_failure(range(len(recorded)), play)
    assert failure is None, f"recorded script of this number: {failure}"


def test_roost_leaves_no_orphans_and_is_like_otp_otherwise(recorded: list[Recorded]) -> None:
    differ = [one for one in recorded if told(one, leaves_orphans=True) != told(one, leaves_orphans=False)]
    assert 0 < len(differ) < len(recorded) / 20
    assert all(b"brutal" in msgspec.json.encode(one.script) for one in differ)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_histories_find_a_planted_fault(fault: str) -> None:
    """At least one of both kinds shows it; what only a cancellation can show, only storms do."""

    def play(seed: int, kinds: Kinds = SOUND) -> list[str]:
        return play_calm(seed, kinds) or play_storm(seed, kinds)

    assert Waste().first_failure(range(SUSPECTS), lambda seed: play(seed, with_fault(fault))) is not None


def test_waste_is_traced_to_its_history() -> None:
    async def forgotten() -> None:
        """Nobody awaits this."""

    def play(seed: int) -> list[str]:
        if seed == 3:
            knot: list[object] = [forgotten()]
            knot.append(knot)
        if seed == 5:
            asyncio.new_event_loop().close()
        return []

    failure = Waste().first_failure(range(10), play)
    assert failure is not None
    assert failure.startswith("seed 3: RuntimeWarning: coroutine")
    assert Waste().first_failure(range(4, 10), play) is None
