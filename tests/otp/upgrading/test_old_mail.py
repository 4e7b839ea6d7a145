"""Mail that was sent before an upgrade: the new code takes it, or somebody hears of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roost.errors import BadMessage
from roost.otp import send, sys
from roost.otp.upgrading.upgrade import upgrade
from tests.otp.upgrading.sources import FIRST, HEAD, Write, inside, until

MESSAGES = """
class Tick(msgspec.Struct, frozen=True):
    number: int
class Same(msgspec.Struct, frozen=True):
    number: int
class Pop(Request[int], frozen=True):
    by: int
class Clock(GenServer):
    def init(self):
        self.heard = []
    @info
    def tick(self, message: Tick) -> None:
        self.heard.append((message.number, type(message) is Tick))
    @info
    def same(self, message: Same) -> None:
        self.heard.append((message.number, type(message) is Same))
    @cast
    def take(self, tick: Tick, more: list[Tick]) -> None:
        self.heard.append((tick, more))
    @call
    def give(self, tick: Tick) -> int:
        return tick.number
    def handle_call(self, message: Pop | Same) -> int:
        return 100
    @call
    def later(self) -> None:
        self.send_after(0.01, Tick(77))
"""
NEW_TICK = "class Tick(msgspec.Struct, frozen=True):\n    number: int\n    unit: str = 's'\n"


@pytest.mark.parametrize("head", [HEAD, HEAD.replace("from __future__ import annotations", "")])
async def test_messages_that_are_unchanged_stay_what_they_are(head: str, write: Write) -> None:
    module = write(MESSAGES, head=head)
    names = vars(module)
    same, pop, tick = names["Same"], names["Pop"], names["Tick"]
    clock: Any = await names["Clock"].start()
    await sys.suspend(clock)
    send(clock, same(1))
    asking = asyncio.ensure_future(clock.call(pop(1)))
    await asyncio.sleep(0)
    write(MESSAGES.replace("return 100", "return 200"), head=head)
    done = await upgrade(module)
    assert (names["Same"], names["Pop"], names["Tick"]) == (same, pop, tick)
    assert (done.replaced, done.mail_made_new, done.mail_lost) == ((), 0, 0)
    sys.resume(clock)
    assert await asking == 200
    assert await clock.call(same(3)) == 200
    assert (await sys.get_state(clock))["heard"] == [(1, True)]
    await clock.stop()


@pytest.mark.parametrize("head", [HEAD, HEAD.replace("from __future__ import annotations", "")])
async def test_mail_of_the_old_form_is_made_new(head: str, write: Write) -> None:
    module = write(MESSAGES, head=head)
    names = vars(module)
    old, same = names["Tick"], names["Same"]
    clock: Any = await names["Clock"].start()
    await clock.later()
    await sys.suspend(clock)
    send(clock, old(1))
    send(clock, same(2))
    clock.take(old(3), [old(4)])
    asking = asyncio.ensure_future(clock.give(old(5)))
    await asyncio.sleep(0)
    write(MESSAGES.replace("class Tick(msgspec.Struct, frozen=True):\n    number: int\n", NEW_TICK), head=head)
    done = await upgrade(module)
    new = names["Tick"]
    assert new is not old
    assert names["Same"] is same
    assert (done.replaced, done.mail_made_new, done.mail_lost) == (("Tick",), 3, 0)
    sys.resume(clock)
    assert await asking == 5
    assert inside(clock).heard == [(1, True), (2, True), (new(3), [new(4)])]
    send(clock, old(6))
    send(clock, new(7))
    await until(lambda: len(inside(clock).heard) == 6)
    assert sorted(inside(clock).heard[3:]) == [(6, True), (7, True), (77, True)]
    await clock.stop()


async def test_mail_that_cannot_be_made_new_is_reported(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    module = write(MESSAGES)
    names = vars(module)
    old = names["Tick"]
    clock: Any = await names["Clock"].start(name="clock")
    await sys.suspend(clock)
    send(clock, old(1))
    send(clock, names["Same"](2))
    asking = asyncio.ensure_future(clock.give(old(5)))
    await asyncio.sleep(0)
    write(
        MESSAGES.replace(
            "class Tick(msgspec.Struct, frozen=True):\n    number: int\n",
            "class Tick(msgspec.Struct, frozen=True):\n    number: int\n    zone: str\n",
        )
    )
    done = await upgrade(module)
    assert (done.mail_made_new, done.mail_lost) == (0, 2)
    with pytest.raises(BadMessage, match="an old Tick cannot be made new: Missing required argument 'zone'"):
        await asking
    assert "Clock 'clock': tick was sent before the upgrade, and is lost: BadMessage" in caplog.text
    sys.resume(clock)
    assert (await sys.get_state(clock))["heard"] == [(2, True)] or inside(clock).heard == []
    await clock.stop()


async def test_mail_for_what_is_gone_is_refused(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    module = write(MESSAGES)
    names = vars(module)
    clock: Any = await names["Clock"].start()
    await sys.suspend(clock)
    asking = asyncio.ensure_future(clock.give(names["Tick"](5)))
    clock.take(names["Tick"](1), [])
    send(clock, names["Same"](1))
    await asyncio.sleep(0)
    gone = MESSAGES.replace("@call\n    def give", "def give").replace("@cast\n    def take", "def take")
    write(gone.replace("    @info\n    def same", "    def same"))
    done = await upgrade(module)
    assert done.mail_lost == 3
    with pytest.raises(BadMessage, match=r"Clock\.give does not exist any more"):
        await asking
    assert "take was sent before the upgrade, and is lost" in caplog.text
    assert "no @info handler takes a Same any more" in caplog.text
    await clock.stop()


async def test_a_sync_handler_may_become_async_and_the_other_way_round(write: Write) -> None:
    module = write(FIRST)
    counter: Any = await module.__dict__["Counter"].start()
    await sys.suspend(counter)
    asking = asyncio.ensure_future(counter.increment(2))
    waiting = asyncio.ensure_future(counter.wait("x"))
    counter.note("y")
    await asyncio.sleep(0)
    changed = FIRST.replace("def increment", "async def increment").replace("def note", "async def note")
    write(changed.replace("async def wait", "def wait").replace("await self.gate.wait()", "pass"))
    await upgrade(module)
    sys.resume(counter)
    assert (await asking, await waiting, await counter.history()) == (2, "old x", ["old y"])
    assert await counter.increment() == 3
    assert await counter.wait("z") == "old z"
    await counter.stop()


async def test_old_versions_can_be_upgraded_again_and_again(write: Write) -> None:
    module = write(MESSAGES)
    names = vars(module)
    first = names["Tick"]
    clock: Any = await names["Clock"].start()
    forms = [first]
    for extra in ("a: int = 1", "a: int = 1\n    b: int = 2", "b: int = 2"):
        write(
            MESSAGES.replace(
                "class Tick(msgspec.Struct, frozen=True):\n    number: int\n",
                f"class Tick(msgspec.Struct, frozen=True):\n    number: int\n    {extra}\n",
            )
        )
        done = await upgrade(module)
        assert done.replaced == ("Tick",)
        forms.append(names["Tick"])
    for number, form in enumerate(forms):
        send(clock, form(number))
    await until(lambda: len(inside(clock).heard) == 4)
    assert inside(clock).heard == [(number, True) for number in range(4)]
    await clock.stop()
