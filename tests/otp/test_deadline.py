"""A call that is made to answer another call waits no longer than that one."""

from __future__ import annotations

import asyncio

import pytest

from roost.errors import CallTimeout
from roost.otp import GenServer, call
from tests.otp.virtual import pass_time


class Hop(GenServer):
    """Passes a call on to the next one, after a pause."""

    def init(self, *next_hops: Hop) -> None:
        self.next_hops = next_hops
        self.left: list[float | None] = []

    @call
    async def ask(self, pause_s: float, timeout_s: float | None) -> str:
        self.left.append(self.time_left_s())
        await pass_time(pause_s)
        for hop in self.next_hops:
            try:
                await hop.with_timeout(timeout_s).ask(pause_s, timeout_s)
            except CallTimeout as error:
                return f"{error.timeout_s:g}"
        return "in time"

    @call
    async def ask_late(self, pause_s: float) -> str:
        await pass_time(pause_s)
        try:
            await self.next_hops[0].ask(0.0, None)
        except CallTimeout as error:
            return f"{error}"
        return "in time"

    @call
    def seen(self) -> list[float | None]:
        return self.left


async def ended(hops: list[Hop]) -> None:
    """Kill those that still take their pause."""
    for hop in hops:
        hop.exit("kill")
    await asyncio.sleep(0)


async def chain(length: int) -> list[Hop]:
    hops: list[Hop] = []
    for _ in range(length):
        hops.append(await Hop.start(*hops[-1:]))
    return hops


@pytest.mark.virtual_time
async def test_what_is_left_shrinks_from_call_to_call() -> None:
    hops = await chain(3)
    assert await hops[-1].with_timeout(10.0).ask(1.0, 60.0) == "in time"
    assert [await hop.seen() for hop in hops] == [[8.0], [9.0], [10.0]]
    assert await hops[-1].with_timeout(None).ask(1.0, 60.0) == "in time"
    assert [(await hop.seen())[1:] for hop in hops] == [[59.0], [60.0], [None]]


@pytest.mark.virtual_time
async def test_a_shorter_timeout_stays_what_it_is() -> None:
    hops = await chain(2)
    assert await hops[-1].with_timeout(100.0).ask(3.0, 2.0) == "2"
    await ended(hops)


@pytest.mark.virtual_time
async def test_an_inner_call_ends_when_the_outer_caller_has_given_up() -> None:
    hops = await chain(2)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(CallTimeout):
        await hops[-1].with_timeout(5.0).ask(4.0, None)
    assert loop.time() - began == 5.0
    assert await hops[-1].seen() == [5.0]
    assert loop.time() - began == 5.0, "the handler has ended with its caller"
    await ended(hops)


@pytest.mark.virtual_time
async def test_nothing_left_is_told_at_once() -> None:
    hops = await chain(2)
    with pytest.raises(CallTimeout):
        await hops[-1].with_timeout(1.0).ask_late(2.0)
    assert await hops[-1].seen() == []
    assert await hops[0].seen() == [], "the inner call was never made"


@pytest.mark.virtual_time
async def test_the_next_call_does_not_inherit_the_last_one() -> None:
    hops = await chain(2)
    with pytest.raises(CallTimeout):
        await hops[-1].with_timeout(1.0).ask_late(2.0)
    assert await hops[-1].with_timeout(50.0).ask(1.0, 50.0) == "in time"
    assert await hops[0].seen() == [48.0], "a second in the mailbox, a second of pause"
