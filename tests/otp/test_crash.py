"""What the log says about an end: readable, complete, bounded, without secrets, and never an exception itself."""

from __future__ import annotations

import dataclasses
import logging
from collections import ChainMap, OrderedDict, UserDict, deque
from collections.abc import Callable
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import ClassVar

import msgspec
import pytest

from roost.errors import ProcessDown, Refusal
from roost.limits import REPORT_CHARS_MAX
from roost.otp import GenServer, Supervisor, call, cast, info, send
from roost.otp.crash import (
    CrashReport,
    SupervisorReport,
    report_child_ended,
    report_child_killed,
    report_child_not_started,
    report_child_started,
    report_crash,
    report_gave_up,
)


class Order(msgspec.Struct, frozen=True):
    """A message with something to hide."""

    card: str
    quantity: int


class Broken(msgspec.Struct, frozen=True):
    """A message that cannot be shown."""

    number: int

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class Unshowable:
    """A part of a state that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class Mute(Exception):
    """An exception without words."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Shop(GenServer):
    """A process with secrets."""

    redacted: ClassVar[frozenset[str]] = frozenset({"card", "password"})

    def init(self, state: object = None) -> None:
        self.password = "hunter2"
        self.orders = [Order("4111-1111", 2)]
        self.kept = {"password": "hunter2", "open": True}
        self.state = state

    @call
    def login(self, user: str, password: str) -> None:
        raise ValueError("a bug")

    @call
    def buy(self, order: Order) -> None:
        raise ValueError("a bug")

    @call
    async def buy_slowly(self, order: Order) -> None:
        raise ValueError("a bug")

    @cast
    def fail(self, value: object = None) -> None:
        raise ValueError("a bug")

    @cast
    def refuse(self, password: str) -> None:
        raise Refusal(password)

    @call
    def fail_without_words(self) -> None:
        raise Mute

    @info
    def take(self, message: Broken) -> None:
        raise ValueError("a bug")

    @call
    async def buy_through(self, shop: Shop) -> None:
        await shop.login("ann", "hunter2")


class Terse(Shop):
    """A process that says what it shows."""

    def show_state(self) -> object:
        return {"orders": len(self.orders)}


class Mistaken(Shop):
    """A process that fails to say what it shows."""

    def show_state(self) -> object:
        raise RuntimeError("a bug in show_state")


class Parent(GenServer):
    """A process that starts another."""

    @call
    async def begin(self) -> Shop:
        return await Shop.start_link(name="grandchild")

    @call
    async def begin_parent(self) -> Parent:
        return await Parent.start_link(name="child")


def reports(caplog: pytest.LogCaptureFixture) -> list[CrashReport]:
    """The crashes that were logged."""
    found = [getattr(record, "report", None) for record in caplog.records]
    return [report for report in found if isinstance(report, CrashReport)]


async def crashed(caplog: pytest.LogCaptureFixture, shop: Shop, message: Callable[[], object]) -> CrashReport:
    """The report of the crash that `message` causes."""
    down = shop.down()
    message()
    await down
    [report] = reports(caplog)
    return report


async def test_a_crash_is_one_record_that_says_it_all(caplog: pytest.LogCaptureFixture) -> None:
    shop = await Shop.start(name="corner")
    with pytest.raises(ProcessDown):
        await shop.login("ann", "hunter2")
    [record] = [record for record in caplog.records if record.name == "roost.otp"]
    assert record.getMessage() == (
        "Shop 'corner' crashed in login('ann', ***): ValueError: a bug\n"
        f"  pid {shop._process.pid} on local, 0 messages waiting\n"
        "  state: {'password': ***, 'orders': [Order(card=***, quantity=2)], "
        "'kept': {'password': ***, 'open': True}, 'state': None}\n"
        "  ancestors: none"
    )
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)
    assert record.levelno == logging.ERROR


async def test_a_crash_is_data_too(caplog: pytest.LogCaptureFixture) -> None:
    shop = await Shop.start(name="corner")
    report = await crashed(caplog, shop, lambda: shop.fail(3))
    assert (report.kind, report.name, report.node) == ("Shop", "corner", "local")
    assert (report.pid, report.last_message) == (shop._process.pid, "fail(3)")
    assert (report.reason, report.error) == ("ValueError: a bug", "builtins.ValueError")
    assert report.traceback.startswith("Traceback (most recent call last)")
    assert "in fail\n" in report.traceback
    assert msgspec.json.decode(msgspec.json.encode(report), type=CrashReport) == report


async def test_the_waiting_mail_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    shop = await Shop.start()
    down = shop.down()
    for number in range(3):
        shop.fail(number)
    await down
    [report] = reports(caplog)
    assert report.mailbox == 2


async def test_the_ancestors_are_the_chain_of_parents(caplog: pytest.LogCaptureFixture) -> None:
    root = await Parent.start(name="root")
    child = await root.begin_parent()
    grandchild = await child.begin()
    report = await crashed(caplog, grandchild, grandchild.fail)
    assert report.ancestors == ("Parent 'child'", "Parent 'root'")
    assert "ancestors: Parent 'child', Parent 'root'" in caplog.text


@pytest.mark.parametrize("slowly", [False, True])
async def test_no_secret_of_a_message_is_told(slowly: bool, caplog: pytest.LogCaptureFixture) -> None:
    shop = await Shop.start()
    with pytest.raises(ProcessDown):
        await (shop.buy_slowly if slowly else shop.buy)(Order("4111-1111", 3))
    [report] = reports(caplog)
    assert report.last_message.endswith("(Order(card=***, quantity=3))")
    assert "4111" not in caplog.text
    assert "hunter2" not in caplog.text


class Orders(list[object]):
    """A list of its own kind."""


HIDING = {"password": "hunter2"}


@pytest.mark.parametrize(
    ("holder", "text"),
    [
        (deque([HIDING]), "deque([{'password': ***}])"),
        (Orders([HIDING]), "Orders([{'password': ***}])"),
        (frozenset([(Order("hunter2", 2),)]), "frozenset([(Order(card=***, quantity=2),)])"),
        (MappingProxyType(HIDING), "mappingproxy({'password': ***})"),
        (UserDict(HIDING), "UserDict({'password': ***})"),
        (ChainMap(HIDING), "ChainMap({'password': ***})"),
        (OrderedDict(HIDING), "OrderedDict({'password': ***})"),
        (HIDING.items(), "dict_items({'password': ***})"),
        (HIDING.values(), "<1 values of a dict>"),
        (SimpleNamespace(**HIDING), "namespace(password=***)"),
        (partial(len, HIDING, **HIDING), "partial(<built-in function len>, {'password': ***}, password=***)"),
        (ValueError(HIDING, 1), "ValueError({'password': ***}, 1)"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_no_container_tells_a_secret(holder: object, text: str, caplog: pytest.LogCaptureFixture) -> None:
    shop = await Shop.start(holder)
    report = await crashed(caplog, shop, shop.fail)
    assert report.state.endswith(f"'state': {text}}}")
    assert "hunter2" not in caplog.text


async def test_a_refused_cast_tells_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    shop = await Shop.start()
    shop.refuse("hidden")
    shop.fail()
    await shop.down()
    assert "refuse(***) was refused" in caplog.text


async def test_a_class_says_what_it_shows(caplog: pytest.LogCaptureFixture) -> None:
    shop = await Terse.start()
    assert (await crashed(caplog, shop, shop.fail)).state == "{'orders': 1}"


async def test_a_show_state_that_raises_hides_no_crash(caplog: pytest.LogCaptureFixture) -> None:
    shop = await Mistaken.start()
    report = await crashed(caplog, shop, shop.fail)
    assert report.reason == "ValueError: a bug"
    assert report.state == "<not shown: RuntimeError: a bug in show_state>"


async def test_a_repr_that_raises_hides_no_crash(caplog: pytest.LogCaptureFixture) -> None:
    shop = await Shop.start({"bad": Unshowable(), "good": 1})
    report = await crashed(caplog, shop, shop.fail)
    assert "{'bad': <Unshowable not shown: RuntimeError: no text>, 'good': 1}" in report.state


async def test_a_message_that_cannot_be_shown_hides_no_crash(caplog: pytest.LogCaptureFixture) -> None:
    shop = await Shop.start()
    report = await crashed(caplog, shop, lambda: send(shop, Broken(7)))
    assert report.last_message == "take(Broken(number=7))"


async def test_an_exception_without_words_is_still_told(caplog: pytest.LogCaptureFixture) -> None:
    shop = await Shop.start()
    with pytest.raises(ProcessDown, match="Mute"):
        await shop.fail_without_words()
    [report] = reports(caplog)
    assert report.reason == "Mute: <not shown: RuntimeError>"


@pytest.mark.parametrize("large", ["x" * 10**6, ["abc"] * 10**6, {n: n for n in range(10**5)}, b"x" * 10**6])
async def test_a_large_state_is_cut(large: object, caplog: pytest.LogCaptureFixture) -> None:
    shop = await Shop.start(large)
    report = await crashed(caplog, shop, lambda: shop.fail(large))
    assert len(report.state) == REPORT_CHARS_MAX
    assert len(report.last_message) == REPORT_CHARS_MAX
    assert report.state.endswith("...")


async def test_a_state_that_contains_itself_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    ring = Ring([])
    ring.items.append(ring)
    shop = await Shop.start(ring)
    report = await crashed(caplog, shop, shop.fail)
    assert "Ring(items=[Ring(items=[" in report.state
    assert "..." in report.state


@dataclasses.dataclass
class Ring:
    """A value that contains itself."""

    items: list[Ring]


@pytest.mark.parametrize("reason", ["normal", "shutdown", "shutdown:moved"])
async def test_an_intended_end_is_no_crash(reason: str, caplog: pytest.LogCaptureFixture) -> None:
    shop = await Shop.start()
    await shop.stop(reason)
    other = await Shop.start()
    report_crash(other._process, reason, "nothing")
    await other.stop()
    assert not caplog.records


async def test_a_word_is_a_reason_without_traceback(caplog: pytest.LogCaptureFixture) -> None:
    shop = await Shop.start()
    report_crash(shop._process, "bored", "sitting around")
    [report] = reports(caplog)
    assert (report.reason, report.error, report.traceback) == ("bored", None, "")
    await shop.stop()


async def test_a_process_that_has_ended_can_be_reported(caplog: pytest.LogCaptureFixture) -> None:
    shop = await Shop.start()
    process = shop._process
    await shop.stop()
    report_crash(process, ValueError("late"), "its end")
    [report] = reports(caplog)
    assert report.state == "gone"


async def test_what_supervisors_report(caplog: pytest.LogCaptureFixture) -> None:
    shop, supervisor = await Shop.start(name="corner"), await Supervisor.start(name="street")
    caplog.set_level(logging.DEBUG, "roost.otp")
    me = supervisor._process
    report_child_started(me, "corner", shop)
    report_child_ended(me, "corner", shop, ValueError("a bug"), "restarting in 0.5 s")
    report_child_ended(me, "corner", shop, "shutdown", "not restarted")
    report_child_not_started(me, "corner", "no room", "restarting")
    report_child_killed(me, "corner", shop, 5.0)
    report_gave_up(me, "corner", 3, 5.0)
    assert [
        (record.levelname, record.getMessage().removeprefix("Supervisor 'street': ")) for record in caplog.records
    ] == [
        ("DEBUG", "child 'corner' started as <Shop 'corner'>"),
        ("ERROR", "child 'corner' (<Shop 'corner'>) terminated: ValueError: a bug; restarting in 0.5 s"),
        ("DEBUG", "child 'corner' (<Shop 'corner'>) terminated: shutdown; not restarted"),
        ("ERROR", "child 'corner' did not start: no room; restarting"),
        ("WARNING", "kills child 'corner' (<Shop 'corner'>): it did not stop within 5 s"),
        ("ERROR", "gives up: more than 3 restarts in 5 s, the last of 'corner'"),
    ]
    told = [getattr(record, "report", None) for record in caplog.records]
    assert told[1] == SupervisorReport(
        "Supervisor 'street'", "local", "terminated", "corner", "ValueError: a bug", "restarting in 0.5 s"
    )
    assert [report.event for report in told if isinstance(report, SupervisorReport)] == [
        "started",
        "terminated",
        "terminated",
        "not started",
        "killed",
        "gave up",
    ]
    await supervisor.stop()
    await shop.stop()
