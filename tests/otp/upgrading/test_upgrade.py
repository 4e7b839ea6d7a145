"""Code change under running processes: nothing is lost when it succeeds, and nothing has happened when it fails."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from roost.errors import ProcessDown, UpgradeFailed
from roost.otp import GenServer, call, sys
from roost.otp.upgrading.upgrade import Upgraded, upgrade
from tests.otp.upgrading.sources import FIRST, NEW_CALL, Write, inside, until
from tests.otp.virtual import virtual_scheduler


async def test_a_handler_is_changed_and_a_call_is_new(write: Write) -> None:
    module = write(FIRST)
    kind: Any = module.__dict__["Counter"]
    counter = await kind.start(5)
    assert await counter.increment() == 6
    write(
        FIRST.replace("self.n += by", "self.n += 10 * by").replace("PRICE = 2", "PRICE = 3")
        + "    # the end of cost\n"
        + "class Late(Counter):\n    pass\n"
    )
    done = await upgrade(module)
    assert (done.modules, done.processes, done.migrated, done.mail_lost) == (("upgraded_shop",), 1, 0, 0)
    assert await counter.increment() == 16
    assert await counter.price() == 48
    write(FIRST + "Counter.new = 1\n")
    await upgrade(module)
    assert await counter.increment() == 17
    await counter.stop()


async def test_existing_handles_and_isinstance_go_on_working(write: Write) -> None:
    module = write(FIRST)
    kind: Any = module.__dict__["Counter"]
    counter = await kind.start(5, name="kept")
    with pytest.raises(AttributeError):
        _ = counter.double
    secret = type(counter)
    write(NEW_CALL.replace("self.log = []", "self.log = []; self.fresh = 1"))
    await upgrade(module)
    assert module.__dict__["Counter"] is kind
    assert await counter.double() == 10
    assert isinstance(counter, kind)
    assert type(counter) is secret
    assert kind.whereis("kept") == counter
    assert await kind.whereis("kept").double() == 20
    with pytest.raises(AttributeError, match="private"):
        _ = counter.fresh
    write(FIRST)
    await upgrade(module)
    with pytest.raises(AttributeError):
        await counter.double()
    assert await counter.increment() == 21
    await counter.stop()


SUPER = """
class Base(GenServer):
    def init(self):
        self.words = []
    def word(self):
        return "base"
class Shop(Base):
    def init(self):
        super().init()
        self.kind = __class__
    def word(self):
        return super().word() + " old"
    @call
    def say(self) -> str:
        assert isinstance(self, __class__)
        return self.word()
    @property
    def loud(self):
        return super().word().upper()
    @call
    def shout(self) -> str:
        return self.loud
    @staticmethod
    def four():
        return 4
    @classmethod
    def made(cls):
        return cls.four()
    @call
    def count(self) -> int:
        return self.made()
"""


async def test_super_without_arguments_works_in_the_new_code(write: Write) -> None:
    module = write(SUPER)
    shop: Any = await module.__dict__["Shop"].start()
    assert (await shop.say(), await shop.shout(), await shop.count()) == ("base old", "BASE", 4)
    write(SUPER.replace("old", "new").replace('"base"', '"ground"').replace("return 4", "return 5"))
    await upgrade(module)
    assert (await shop.say(), await shop.shout(), await shop.count()) == ("ground new", "GROUND", 5)
    other: Any = await module.__dict__["Shop"].start()
    assert await other.say() == "ground new"
    assert inside(other).kind is module.__dict__["Shop"]
    await shop.stop()
    await other.stop()


async def test_a_base_may_be_added(write: Write) -> None:
    module = write(SUPER)
    shop: Any = await module.__dict__["Shop"].start()
    write(
        SUPER.replace(
            "class Shop(Base)", "class Middle(Base):\n    def word(self):\n        return 'middle'\nclass Shop(Middle)"
        )
    )
    await upgrade(module)
    assert await shop.say() == "middle old"
    assert isinstance(shop, module.__dict__["Middle"])
    await shop.stop()


MIGRATING = FIRST.replace("vsn = 1", "vsn = 2").replace(
    "    @call\n    def increment(self, by: int = 1) -> int:\n        self.n += by\n        return self.n\n",
    """    def code_change(self, old_vsn):
        self.counts = {"all": self.n, "from": old_vsn}
        del self.n
        self.log.append("migrated")
    @call
    def increment(self, by: int = 1) -> int:
        self.counts["all"] += by
        return self.counts["all"]
""",
)


async def test_a_state_is_migrated_while_callers_hammer_it(write: Write) -> None:
    module = write(FIRST)
    counters: list[Any] = [await module.__dict__["Counter"].start() for _ in range(3)]
    stop, made = asyncio.Event(), [0, 0, 0]

    async def hammer(at: int) -> None:
        last = 0
        while not stop.is_set():
            for _ in range(7):
                answer = await counters[at].increment()
                assert answer > last
                last = answer
                made[at] += 1
            counters[at].note("x")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as callers:
        for at in range(3):
            for _ in range(10):
                callers.create_task(hammer(at))
        await asyncio.sleep(0)
        write(MIGRATING)
        before = sum(made)
        done = await upgrade(module)
        assert (done.processes, done.migrated, done.mail_lost) == (3, 3, 0)
        await until(lambda: sum(made) >= before + 3_000)
        stop.set()
    for at, counter in enumerate(counters):
        state = await sys.get_state(counter)
        assert state["counts"] == {"all": made[at], "from": 1}
        assert "n" not in state
        await counter.stop()


async def test_a_migration_that_fails_leaves_everything_as_it_was(write: Write) -> None:
    module = write(FIRST + "REGISTRY = {}\n")
    kind: Any = module.__dict__["Counter"]
    first, second = await kind.start(0), await kind.start(2, name="bad")
    await first.increment()
    second.note("x")
    names = dict(vars(module))
    state, other = await sys.get_state(first), await sys.get_state(second)
    attributes, shown = dict(vars(kind)), dict(vars(type(first)))
    write(
        MIGRATING.replace("del self.n", "assert self.n != 2, 'it is two'; del self.n").replace("* PRICE", "* 1000")
        + "NEW = 1\n"
    )
    with pytest.raises(UpgradeFailed) as failed:
        await upgrade(module)
    assert str(failed.value) == (
        "upgraded_shop was not upgraded: Counter 'bad': its code_change failed: AssertionError: it is two"
    )
    assert failed.value.process == "Counter 'bad'"
    assert isinstance(failed.value.__cause__, AssertionError)
    assert dict(vars(module)) == names
    assert dict(vars(kind)) == attributes
    assert dict(vars(type(first))) == shown
    assert await sys.get_state(first) == state
    assert await sys.get_state(second) == other
    assert (await first.increment(), await second.increment(), await first.price()) == (2, 3, 4)
    await first.stop()
    await second.stop()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("class Counter(:\n", "SyntaxError: invalid syntax"),
        ("raise RuntimeError('no')\n", "its new source failed: RuntimeError: no"),
        ("raise SystemExit(3)\n", "its new source failed: SystemExit: 3"),
        ("import a_module_that_is_not_there\n", "ModuleNotFoundError"),
        ("", "Counter 'kept': the new source has no Counter"),
        ("class Counter:\n    pass\n", "Counter 'kept': the new source has no Counter"),
        ("class Counter(GenServer):\n    __slots__ = ('x',)\n", "or one that its instances cannot be of"),
        ("class Counter(GenServer):\n    overflow = 'burn'\n", "overflow"),
    ],
)
async def test_a_source_that_is_wrong_changes_nothing(source: str, says: str, write: Write) -> None:
    module = write(FIRST)
    kind: Any = module.__dict__["Counter"]
    counter = await kind.start(5, name="kept")
    names, attributes = dict(vars(module)), dict(vars(kind))
    write("PRICE = 1000\n" + source)
    with pytest.raises(UpgradeFailed) as failed:
        await upgrade(module)
    assert says in str(failed.value)
    assert (dict(vars(module)), dict(vars(kind))) == (names, attributes)
    assert (await counter.increment(), await counter.price()) == (6, 12)
    await counter.stop()


async def test_an_async_code_change_is_refused(write: Write) -> None:
    module = write(FIRST)
    counter: Any = await module.__dict__["Counter"].start(5)
    write(MIGRATING.replace("def code_change", "async def code_change"))
    with pytest.raises(UpgradeFailed, match="its code_change is async"):
        await upgrade(module)
    assert await counter.increment() == 6
    await counter.stop()


async def test_a_module_that_has_no_source_is_refused() -> None:
    with pytest.raises(UpgradeFailed, match="itertools was not upgraded: it was not imported from a source file"):
        await upgrade(importlib.import_module("itertools"))
    with pytest.raises(UpgradeFailed, match="made was not upgraded"):
        await upgrade(ModuleType("made"))


async def test_a_file_that_is_gone_is_told(write: Write, tmp_path: Path) -> None:
    module = write(FIRST)
    (tmp_path / "upgraded_shop.py").unlink()
    with pytest.raises(UpgradeFailed, match="FileNotFoundError"):
        await upgrade(module)


@pytest.mark.virtual_time
async def test_a_process_that_stays_busy_stops_the_upgrade(write: Write) -> None:
    with virtual_scheduler().entered():
        module = write(FIRST)
        kind: Any = module.__dict__["Counter"]
        idle, busy = await kind.start(name="idle"), await kind.start(name="busy")
        waiting = asyncio.ensure_future(busy.with_timeout(None).wait("x"))
        await inside(busy).began.wait()
        write(FIRST.replace("old", "new"))
        before = asyncio.get_running_loop().time()
        upgrading = asyncio.ensure_future(upgrade(module, timeout_s=3.0))
        await asyncio.sleep(0)
        asking = asyncio.ensure_future(idle.increment())
        with pytest.raises(UpgradeFailed, match=r"Counter 'busy': it was busy with Counter\.wait for 3 s"):
            await upgrading
        assert 3.0 <= asyncio.get_running_loop().time() - before < 3.1
        assert await asking == 1
        inside(busy).gate.set()
        assert await waiting == "old x"
        assert await busy.increment() == 1
        await idle.stop()
        await busy.stop()


async def test_a_handler_that_runs_ends_with_the_old_code(write: Write) -> None:
    module = write(FIRST)
    counter: Any = await module.__dict__["Counter"].start()
    waiting = [asyncio.ensure_future(counter.wait(label)) for label in "xy"]
    await inside(counter).began.wait()
    counter.note("late")
    write(FIRST.replace("old", "new"))
    upgrading = asyncio.ensure_future(upgrade(module))
    await asyncio.sleep(0)
    inside(counter).gate.set()
    await upgrading
    assert await asyncio.gather(*waiting) == ["old x", "new y"]
    assert await counter.history() == ["new late"]
    await counter.stop()


async def test_processes_that_wait_for_each_other_do_not_block_the_upgrade(write: Write) -> None:
    source = FIRST + (
        "class Asker(GenServer):\n"
        "    def init(self, counter):\n"
        "        self.counter, self.gate, self.began = counter, asyncio.Event(), asyncio.Event()\n"
        "    @call\n"
        "    async def ask(self) -> int:\n"
        "        self.began.set()\n"
        "        await self.gate.wait()\n"
        "        return await self.counter.increment() + await self.counter.increment()\n"
    )
    module = write(source)
    counter: Any = await module.__dict__["Counter"].start()
    asker: Any = await module.__dict__["Asker"].start(counter)
    asking = asyncio.ensure_future(asker.ask())
    await inside(asker).began.wait()
    write(source.replace("self.n += by", "self.n += 100 * by"))
    upgrading = asyncio.ensure_future(upgrade(module))
    await until(lambda: counter._process.suspended)
    inside(asker).gate.set()
    await upgrading
    assert await asking == 1 + 2, "the handler that ran saw one version of everything"
    assert await counter.increment() == 102
    await asker.stop()
    await counter.stop()


async def test_whoever_is_suspended_stays_so(write: Write) -> None:
    module = write(FIRST)
    counter: Any = await module.__dict__["Counter"].start()
    await sys.suspend(counter)
    counter.note("x")
    write(FIRST.replace("old", "new"))
    await upgrade(module)
    assert counter._process.suspended
    sys.resume(counter)
    assert await counter.history() == ["new x"]
    await counter.stop()


async def test_a_process_that_starts_meanwhile_is_upgraded_too(write: Write) -> None:
    module = write(FIRST)
    kind: Any = module.__dict__["Counter"]
    busy = await kind.start()
    waiting = asyncio.ensure_future(busy.wait("x"))
    await inside(busy).began.wait()
    write(MIGRATING)
    upgrading = asyncio.ensure_future(upgrade(module))
    await asyncio.sleep(0)
    late = await kind.start(7)
    gone = await kind.start(7)
    gone.exit("kill")
    inside(busy).gate.set()
    done = await upgrading
    assert done.migrated == 2
    assert await late.increment() == 8
    assert (await sys.get_state(late))["counts"] == {"all": 8, "from": 1}
    await waiting
    await busy.stop()
    await late.stop()


async def test_a_process_cannot_upgrade_itself(write: Write) -> None:
    source = (
        "class Selfish(GenServer):\n"
        "    @call\n"
        "    async def change(self, to: object) -> object:\n"
        "        from roost.otp.upgrading.upgrade import upgrade\n"
        "        import sys\n"
        "        return await upgrade(sys.modules[__name__])\n"
    )
    module = write(source)
    selfish: Any = await module.__dict__["Selfish"].start()
    with pytest.raises(UpgradeFailed, match="it cannot wait for itself"):
        await selfish.change(1)
    await selfish.stop()


async def test_another_process_may_do_it(write: Write) -> None:
    module = write(FIRST)
    counter: Any = await module.__dict__["Counter"].start()

    class Operator(GenServer):
        @call
        async def upgrade(self) -> int:
            done: Upgraded = await upgrade(module)
            return done.processes

    operator = await Operator.start()
    write(FIRST.replace("self.n += by", "self.n += 5"))
    assert await operator.upgrade() == 1
    assert await counter.increment() == 5
    await operator.stop()
    await counter.stop()


async def test_a_cancelled_upgrade_lets_everybody_go_on(write: Write) -> None:
    module = write(FIRST)
    kind: Any = module.__dict__["Counter"]
    busy, idle = await kind.start(), await kind.start()
    waiting = asyncio.ensure_future(busy.wait("x"))
    await inside(busy).began.wait()
    write(FIRST.replace("old", "new"))
    upgrading = asyncio.ensure_future(upgrade(module))
    await until(lambda: idle._process.suspended)
    upgrading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upgrading
    assert await idle.increment() == 1
    inside(busy).gate.set()
    assert await waiting == "old x"
    assert await busy.increment() == 1
    await idle.stop()
    await busy.stop()


async def test_a_message_that_was_taken_off_a_handle_runs_the_new_code(write: Write) -> None:
    module = write(FIRST)
    counter: Any = await module.__dict__["Counter"].start()
    increment = counter.increment
    write(FIRST.replace("self.n += by", "self.n += 5 * by"))
    await upgrade(module)
    assert await increment() == 5
    await counter.stop()


async def test_what_other_modules_have_imported_is_new_too(write: Write) -> None:
    module = write(FIRST + "class SoldOut(Refusal):\n    def __str__(self):\n        return 'old'\n")
    other = write(
        """
        from upgraded_shop import Counter, SoldOut, cost
        class Special(Counter):
            @call
            def special(self) -> str:
                return f"{self.n} {cost(1)}"
        TABLE = {"counter": Counter}
        """,
        "upgraded_other",
    )
    special: Any = await other.__dict__["Special"].start(1)
    sold_out = other.__dict__["SoldOut"]()
    write(
        NEW_CALL.replace("PRICE = 2", "PRICE = 20").replace("self.n += by", "self.n += 7")
        + "class SoldOut(Refusal):\n    def __str__(self):\n        return 'new'\n"
    )
    done = await upgrade(module)
    assert done.processes == 1
    assert await special.increment() == 8
    assert await special.double() == 16
    assert await special.special() == "16 20"
    assert other.__dict__["cost"](1) == 20
    assert str(sold_out) == "new"
    assert isinstance(sold_out, module.__dict__["SoldOut"])
    assert other.__dict__["TABLE"]["counter"] is module.__dict__["Counter"]
    assert isinstance(special, module.__dict__["Counter"])
    await special.stop()


BASE = """
class Base(GenServer):
    @call
    def word(self) -> str:
        return "old" + tail()
def tail():
    return "!"
"""
LEAF = """
from upgraded_base import Base
class Leaf(Base):
    @call
    def leaf(self) -> str:
        return "old leaf"
"""


async def test_two_modules_are_upgraded_as_one(write: Write) -> None:
    base, leaf = write(BASE, "upgraded_base"), write(LEAF, "upgraded_leaf")
    process: Any = await leaf.__dict__["Leaf"].start()
    write(BASE.replace("old", "new").replace("!", "?"), "upgraded_base")
    write("raise RuntimeError('not yet')\n", "upgraded_leaf")
    with pytest.raises(UpgradeFailed, match="upgraded_leaf was not upgraded: its new source failed"):
        await upgrade(base, leaf)
    assert (await process.word(), await process.leaf()) == ("old!", "old leaf")
    write(LEAF.replace("old", "new"), "upgraded_leaf")
    await upgrade(base, leaf)
    assert (await process.word(), await process.leaf()) == ("new?", "new leaf")
    await process.stop()


MACHINE = """
class Door(StateMachine):
    def init(self):
        self.goto(Locked)
    @call
    def push(self) -> str:
        return "old default"
class Locked(Door):
    @call
    def push(self) -> str:
        self.goto(Open)
        return "old locked"
class Open(Door):
    pass
"""


async def test_a_state_machine_goes_on_in_its_state(write: Write) -> None:
    module = write(MACHINE)
    door: Any = await module.__dict__["Door"].start()
    other: Any = await module.__dict__["Door"].start()
    assert await door.push() == "old locked"
    write(MACHINE.replace("old", "new"))
    await upgrade(module)
    assert (await door.push(), await other.push(), await other.push()) == ("new default", "new locked", "new default")
    await door.stop()
    await other.stop()


async def test_aliases_between_state_and_activity_survive_a_migration(write: Write) -> None:
    source = FIRST.replace(
        "    @call\n    def history",
        "    @call\n    def begin(self) -> None:\n        self.kept = []\n        self.activity(self.run(self.kept))\n"
        "    async def run(self, kept):\n        await self.gate.wait()\n        kept.append('ran')\n"
        "    @call\n    def seen(self) -> list[str]:\n        return self.kept\n"
        "    @call\n    def history",
    )
    module = write(source)
    counter: Any = await module.__dict__["Counter"].start()
    await counter.begin()
    write(
        source.replace(
            "    @call\n    def history",
            "    def code_change(self, old):\n        self.n = float(self.n)\n    @call\n    def history",
        )
    )
    done = await upgrade(module)
    assert done.migrated == 1
    inside(counter).gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await counter.seen() == ["ran"]
    assert isinstance(inside(counter).n, float)
    await counter.stop()


async def test_numbers_that_are_equal_but_of_another_type_are_migrated(write: Write) -> None:
    module = write(FIRST)
    counter: Any = await module.__dict__["Counter"].start(1)
    inside(counter).log = [1, {"a": 2}]
    write(
        FIRST.replace(
            "    @call\n    def price",
            "    def code_change(self, old):\n"
            "        self.log = [float(self.log[0]), {'a': 2.0}]\n"
            "    @call\n    def price",
        )
    )
    await upgrade(module)
    assert repr(inside(counter).log) == "[1.0, {'a': 2.0}]"
    await counter.stop()


async def test_a_handle_of_a_remote_process_knows_the_new_calls(write: Write) -> None:
    from roost.otp import remote_handle

    asked: list[str] = []

    class Wire:
        async def call(self, target: object, spec: Any, *rest: object) -> object:
            asked.append(spec.name)
            return 5

        def cast(self, *rest: object) -> None:
            raise AssertionError

    module = write(FIRST)
    wire: Any = Wire()
    far: Any = remote_handle(module.__dict__["Counter"], "far", "b@127.0.0.1", wire)
    write(NEW_CALL)
    await upgrade(module)
    assert await far.double() == 5
    assert asked == ["double"]


async def test_a_crash_after_the_upgrade_shows_the_new_source(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    module = write(FIRST)
    counter: Any = await module.__dict__["Counter"].start()
    write(FIRST.replace("self.n += by", "raise ValueError('the new line')"))
    await upgrade(module)
    with pytest.raises(ProcessDown):
        await counter.increment()
    assert "raise ValueError('the new line')" in caplog.text
