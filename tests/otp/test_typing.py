"""What a type checker infers from a process class. mypy checks this module; the tests check that it is also true."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import assert_type

from roost import GenServer, Supervisor, call, cast
from roost.otp import Child, ChildState


class Counter(GenServer):
    def init(self, start: int = 0) -> None:
        self.n = start

    @call
    def increment(self, by: int = 1) -> int:
        self.n += by
        return self.n

    @call
    async def describe(self, *, loud: bool) -> str:
        return f"{self.n}!" if loud else str(self.n)

    @call
    def split(self) -> tuple[int, list[str]]:
        return self.n, list(str(self.n))

    @cast
    def reset(self) -> None:
        self.n = 0


async def test_that_handles_are_typed() -> None:
    counter = assert_type(await Counter.start_link(5, name="typed"), Counter)
    assert isinstance(assert_type(await counter.increment(by=2), int), int)
    assert isinstance(assert_type(await counter.describe(loud=True), str), str)
    assert isinstance(assert_type(await counter.with_timeout(1.0).split(), tuple[int, list[str]]), tuple)
    waiting = assert_type(counter.increment(), Awaitable[int])
    await waiting
    assert assert_type(counter.reset(), None) is None
    assert isinstance(assert_type(Counter.whereis("typed"), Counter), Counter)
    assert isinstance(assert_type(Counter.child(5), Child[Counter]), Child)
    await counter.stop()


async def test_that_a_supervisor_is_typed() -> None:
    supervisor = assert_type(await Supervisor.start_link([]), Supervisor)
    assert assert_type(await supervisor.which_children(), tuple[ChildState, ...]) == ()
    await supervisor.stop()


async def wrong_calls(counter: Counter) -> None:
    """Never run: each line is a mistake that mypy must see, or the unused comment fails the check."""
    await counter.increment("2")  # type: ignore[arg-type]  # a str where an int is declared
    await counter.describe()  # type: ignore[call-arg]  # loud is missing
    await counter.absent()  # type: ignore[attr-defined]  # nothing of that name
    await counter.reset()  # type: ignore[misc]  # a cast has no reply
