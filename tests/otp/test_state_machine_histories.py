"""Thousands of random programs: the same trace here, in a reference model, and from the real gen_statem."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from roost.core import state_machine as core
from roost.sim import run
from tests.otp.state_model import Model
from tests.otp.state_programs import Draw, Program, Trace
from tests.otp.state_puppets import Actor, Doll, Puppet, Sleeper, perform
from tests.otp.state_recorder import recorded
from tests.otp.virtual import virtual_scheduler

HISTORIES = 2_500
"""In each of ten runs."""
KINDS = {"classes": Doll, "values": Puppet}


def traces(programs: list[tuple[Program, type[Actor]]], seed: int) -> list[Trace]:
    """Run all of them side by side in one simulated world."""

    async def story() -> list[Trace]:
        with virtual_scheduler().entered():
            performed = await asyncio.gather(*(perform(program, kind) for program, kind in programs))
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, left
        return performed

    return run(seed, story())


def expected(seed: int, count: int) -> dict[Program, Trace]:
    """Programs, and what the model makes of them; without those of which the manual says too little."""
    found: dict[Program, Trace] = {}
    for program in Draw(seed).programs(count):
        model = Model(program)
        trace = model.run()
        if not model.tied:
            found[program] = trace
    return found


@pytest.fixture(autouse=True)
def quiet_crashes(caplog: pytest.LogCaptureFixture) -> None:
    """Programs crash on purpose."""
    caplog.set_level(logging.CRITICAL, "roost.otp")


@pytest.mark.parametrize("seed", range(10))
def test_random_programs_run_as_the_model_says(seed: int) -> None:
    want = expected(seed, HISTORIES)
    assert len(want) > HISTORIES * 0.9
    got = traces([(program, KINDS[program.states]) for program in want], seed)
    for (program, trace), found in zip(want.items(), got, strict=True):
        assert found == trace, program


def test_async_handlers_run_as_the_model_says() -> None:
    want = expected(100, HISTORIES)
    got = traces([(program, Sleeper) for program in want], 100)
    for (program, trace), found in zip(want.items(), got, strict=True):
        assert found == trace, program


def test_the_programs_reach_everything() -> None:
    seen = [seen for trace in expected(7, 500).values() for seen in trace.seen]
    kinds = {"call", "cast", "info", "internal", "state", "event", "0", "1", "2", "enter", "down"}
    assert {one.kind for one in seen} == kinds
    assert all(sum(one.kind == kind for one in seen) > 50 for kind in kinds)


@pytest.mark.parametrize("kind", [Puppet, Doll, Sleeper])
def test_the_traces_of_gen_statem_are_reproduced(kind: type[Actor]) -> None:
    records = recorded()
    assert len(records) >= 500
    got = traces([(record.program, kind) for record in records], 3)
    for record, found in zip(records, got, strict=True):
        assert found == record.trace, record.program


def test_the_model_reproduces_the_traces_of_gen_statem() -> None:
    for record in recorded():
        assert Model(record.program).run() == record.trace, record.program


Step = Callable[..., object]


def newest_first(machine: core.StateMachine[object], *args: object, step: Step) -> object:
    """A fault: postponed events come back in the wrong order."""
    machine._postponed.reverse()
    return step(machine, *args)


def forgotten_end(machine: core.StateMachine[object], key: core.Key, *args: object, step: Step) -> object:
    """A fault: a change of state does not end the state timeout."""
    return None if key == core.STATE else step(machine, key, *args)


def deaf_end(machine: core.StateMachine[object], key: core.Key, *args: object, step: Step) -> object:
    """A fault: events do not end the event timeout."""
    return None if key == core.EVENT else step(machine, key, *args)


def zeros_first(machine: core.StateMachine[object], effects: list[object], *, step: Step) -> object:
    """A fault: timeouts of zero come before inserted and postponed events."""
    if machine._zeros:
        machine._queue.appendleft(machine._zeros.pop(next(iter(machine._zeros))))
    return step(machine, effects)


@pytest.mark.parametrize(
    ("method", "fault"),
    [("_handled", newest_first), ("_end", forgotten_end), ("_end", deaf_end), ("_next", zeros_first)],
)
def test_a_planted_fault_is_found(method: str, fault: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    step: Step = getattr(core.StateMachine, method)

    def faulty(machine: core.StateMachine[object], *args: object, **kwargs: object) -> object:
        return fault(machine, *args, **kwargs, step=step)

    monkeypatch.setattr(core.StateMachine, method, faulty)
    want = expected(0, 200)
    assert traces([(program, Puppet) for program in want], 0) != list(want.values())
