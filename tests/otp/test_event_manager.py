"""Event managers: every event to every handler, and a handler that fails takes nobody with it.

What is expected here was asked of OTP's own gen_event, but for what `EventManager` says it does better.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from roost.errors import (
    CallTimeout,
    ConfigError,
    HandlerFailed,
    NoSuchHandler,
    NotSendable,
    ProcessDown,
    TooLarge,
)
from roost.otp import (
    EventHandler,
    EventManager,
    Exit,
    GenServer,
    HandlerGone,
    Supervisor,
    SwapHandler,
    call,
    event_manager,
    info,
    send,
    send_after,
)
from roost.sim import turns
from tests.otp.ears import Count, Do, Ears, Log, No, Order, Said, Shouted, SlowEars, manager_with
from tests.otp.virtual import virtual_scheduler


class Owner(GenServer):
    """Adds supervised handlers, and hears what becomes of them."""

    def init(self, trapping: bool = False) -> None:
        self.trap_exits(trapping)
        self.heard: list[object] = []

    @call
    async def add(self, manager: EventManager, kind: str, id: str, log_of: Keeper) -> None:
        await manager.add_sup_handler(KINDS[kind], log_of_keeper(log_of), id=id)

    @call
    async def swap(self, manager: EventManager, old: str, id: str, log_of: Keeper) -> None:
        await manager.swap_sup_handler(old, Ears, log_of_keeper(log_of), id=id, reason="swapping")

    @call
    def told(self) -> tuple[object, ...]:
        return tuple(self.heard)

    @info
    def gone(self, message: HandlerGone) -> None:
        self.heard.append(f"{message.id}: {message.reason}")

    @info
    def exited(self, exit: Exit) -> None:
        self.heard.append(exit.reason)


class Keeper(GenServer):
    """Keeps a log for those who may only send messages."""

    def init(self, log: Log) -> None:
        self.log = log


def log_of_keeper(keeper: Keeper) -> Log:
    server = keeper._process.server
    assert isinstance(server, Keeper)
    return server.log


KINDS: dict[str, type[Ears]] = {"plain": Ears, "slow": SlowEars}
both = pytest.mark.parametrize("kind", [Ears, SlowEars])


@both
async def test_every_handler_hears_every_event_the_newest_first(kind: type[Ears]) -> None:
    manager, log = await manager_with(kind, "a", "b", "c")
    assert await manager.which_handlers() == ("c", "b", "a")
    manager.notify(Said("one"))
    await manager.sync_notify(Shouted("two"))
    assert log.take() == [(id, text) for text in ("one", "two") for id in ("c", "b", "a")]
    await manager.sync_notify(3)
    assert log.take() == [(id, "else", 3) for id in ("c", "b", "a")]


async def test_sync_and_async_handlers_take_turns_and_events_stay_in_order() -> None:
    manager, log = await EventManager.start(), Log()
    for number in range(4):
        await manager.add_handler(SlowEars if number % 2 else Ears, log, id=f"h{number}")
    log.take()
    for number in range(20):
        manager.notify(Said(str(number)))
    await manager.sync_notify(Said("last"))
    texts = [*map(str, range(20)), "last"]
    assert log.take() == [(f"h{h}", text) for text in texts for h in (3, 2, 1, 0)]


async def test_no_handler_sees_what_another_did_to_an_event() -> None:
    manager, log = await manager_with(Ears, "a", "b")
    event = ["given"]
    await manager.sync_notify(event)
    assert log.take() == [("b", "else", ["given", "b"]), ("a", "else", ["given", "a"])]
    assert event == ["given"]
    with pytest.raises(NotSendable):
        manager.notify(object())


async def test_what_arrives_otherwise_is_an_event_too() -> None:
    manager, log = await manager_with(Ears, "a")
    send(manager, Said("sent"))
    send_after(manager, 0.0, Said("later"))
    send(manager, "a plain word")
    await manager.sync_notify(Said("sync"))
    await asyncio.sleep(0)
    await turns(5)
    assert sorted(map(str, log.take())) == sorted(
        map(str, [("a", "sent"), ("a", "else", "a plain word"), ("a", "sync"), ("a", "later")])
    )


@both
async def test_one_handler_is_asked(kind: type[Ears]) -> None:
    manager, log = await manager_with(kind, "a", "b")
    await manager.sync_notify(Said("one"))
    assert await manager.call("a", Count()) == 1
    with pytest.raises(NoSuchHandler, match="'x'"):
        await manager.call("x", Count())
    with pytest.raises(No):
        await manager.call("a", Do("refuse"))
    assert await manager.call("a", Do("go")) == "bye"
    assert await manager.call("b", Do("swap")) == "handed over"
    assert await manager.which_handlers() == ("successor",)
    assert ("a", "terminate", "remove_handler") in log.take()


@both
async def test_a_handler_that_fails_is_taken_out_alone(kind: type[Ears], caplog: pytest.LogCaptureFixture) -> None:
    manager, log = await manager_with(kind, "a", "b", "c")
    await manager.sync_notify(Order("b", "crash"))
    assert await manager.which_handlers() == ("c", "a")
    ((id, what, reason),) = log.take()
    assert (id, what) == ("b", "terminate")
    assert isinstance(reason, ValueError)
    (record,) = caplog.records
    assert "the handler 'b', which is taken out, in ordered" in record.message
    assert "(Order(id='b', what='crash')) with the state" in record.message
    assert "'count': 0" in record.message
    assert "ValueError: a bug" in record.message
    assert record.exc_info is not None
    with pytest.raises(HandlerFailed, match="'a' failed: ValueError: a bug") as failure:
        await manager.call("a", Do("crash"))
    assert isinstance(failure.value.__cause__, ValueError)
    assert await manager.which_handlers() == ("c",)
    assert manager.is_alive()


@both
async def test_a_refused_event_costs_nothing_but_itself(kind: type[Ears], caplog: pytest.LogCaptureFixture) -> None:
    manager, log = await manager_with(kind, "a", "b")
    await manager.sync_notify(Order("b", "refuse"))
    assert "handler 'b' refused an event in ordered" in caplog.text
    assert await manager.which_handlers() == ("b", "a")
    assert log.take() == []


async def test_what_does_not_start_is_not_there() -> None:
    class Picky(EventHandler):
        def init(self, what: str) -> None:
            if what == "refuse":
                raise No("not you")
            raise OSError(what)

    manager, log = await manager_with(Ears, "a")
    with pytest.raises(No):
        await manager.add_handler(Picky, "refuse")
    with pytest.raises(HandlerFailed, match="'Picky' failed: OSError: disk"):
        await manager.add_handler(Picky, "disk")
    with pytest.raises(HandlerFailed, match="TypeError"):
        await manager.add_handler(Picky)
    with pytest.raises(ConfigError, match="there is a handler with the id 'a'"):
        await manager.add_handler(Ears, log, id="a")
    with pytest.raises(ConfigError, match="no process runs here"):
        manager.add_sup_handler(Ears, log)
    assert await manager.which_handlers() == ("a",)


async def test_there_are_so_many_handlers_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_manager, "EVENT_HANDLERS_MAX", 2)
    manager, log = await manager_with(Ears, "a", "b")
    with pytest.raises(TooLarge, match="EVENT_HANDLERS_MAX: 3 is over the limit of 2"):
        await manager.add_handler(Ears, log, id="c")
    with pytest.raises(TooLarge):
        await manager.swap_handler("nobody", Ears, log, id="c")
    await manager.swap_handler("a", Ears, log, id="c")
    assert await manager.which_handlers() == ("c", "b")


@both
async def test_delete_gives_what_terminate_returns(kind: type[Ears]) -> None:
    manager, log = await manager_with(kind, "a", "b")
    assert await manager.delete_handler("a", {"why": 1}) == "state of a"
    assert log.take() == [("a", "terminate", {"why": 1})]
    with pytest.raises(NoSuchHandler):
        await manager.delete_handler("a")
    with pytest.raises(HandlerFailed, match="OSError: disk"):
        await manager.delete_handler("b", "fail")
    assert await manager.which_handlers() == ()


@both
async def test_a_handler_may_go_by_itself(kind: type[Ears]) -> None:
    manager, log = await manager_with(kind, "a", "b")
    await manager.sync_notify(Order("b", "go"))
    assert log.take() == [("b", "terminate", "remove_handler")]
    assert await manager.which_handlers() == ("a",)


@both
async def test_swap_hands_the_state_over(kind: type[Ears]) -> None:
    manager, log = await manager_with(kind, "a", "b", "c")
    await manager.swap_handler("b", kind, log, id="new", reason="swapping")
    assert log.take() == [
        ("b", "terminate", "swapping"),
        ("new", "init"),
        ("new", "takes over", "state of b"),
    ]
    assert await manager.which_handlers() == ("new", "c", "a"), "a swap from outside puts it before the others"
    await manager.swap_handler("nobody", kind, log, id="first")
    assert log.take() == [("first", "init"), ("first", "takes over", None)]
    with pytest.raises(ConfigError):
        await manager.swap_handler("a", kind, log, id="c")
    await manager.swap_handler("a", kind, log, id="a", reason="fail")
    taken = log.take()
    assert taken[:2] == [("a", "terminate", "fail"), ("a", "init")]
    assert "takes over', OSError('disk')" in str(taken[2])


async def test_a_handler_that_swaps_itself_keeps_its_place() -> None:
    manager, log = await manager_with(Ears, "a", "b", "c")
    await manager.sync_notify(Order("b", "swap"))
    assert await manager.which_handlers() == ("c", "successor", "a")
    assert log.take() == [
        ("b", "terminate", "swapping"),
        ("successor", "init"),
        ("successor", "takes over", "state of b"),
    ]


async def test_a_swap_whose_successor_fails_leaves_neither(caplog: pytest.LogCaptureFixture) -> None:
    class Stillborn(EventHandler):
        def init(self) -> None:
            raise OSError("disk")

    class Hopeful(EventHandler):
        def handle_event(self, event: object) -> None:
            raise SwapHandler(Stillborn)

    manager, _ = await manager_with(Ears, "a")
    with pytest.raises(HandlerFailed, match="Stillborn"):
        await manager.swap_handler("a", Stillborn)
    assert await manager.which_handlers() == ()
    await manager.add_handler(Hopeful)
    await manager.sync_notify(1)
    assert "handler 'Hopeful' has no successor" in caplog.text
    assert await manager.which_handlers() == ()


@pytest.mark.parametrize("kind", ["plain", "slow"])
async def test_a_supervised_handler_and_its_process_hear_of_each_other(kind: str) -> None:
    manager, log = await EventManager.start(), Log()
    keeper, owner = await Keeper.start(log), await Owner.start()
    for id in ("a", "b", "c", "d"):
        await owner.add(manager, kind, id, keeper)
    await manager.sync_notify(Order("a", "crash"))
    await manager.sync_notify(Order("b", "go"))
    await manager.delete_handler("c")
    await manager.sync_notify(Order("d", "swap"))
    assert await owner.told() == ("a: a bug", "b: normal", "c: normal", "d: swapped:successor")
    log.take()
    owner.exit("moving")
    await manager.which_handlers()
    ((who, what, reason),) = log.take()
    assert (who, what) == ("successor", "terminate"), "whoever swaps himself stays supervised"
    assert isinstance(reason, Exit)
    assert (reason.process, reason.reason) == (owner, "moving")
    assert await manager.which_handlers() == ()


@both
async def test_the_end_of_a_linked_process_is_an_event_for_the_handlers_that_stay(kind: type[Ears]) -> None:
    manager, log = await manager_with(kind, "a")
    owner, keeper = await Owner.start(), await Keeper.start(log)
    await owner.add(manager, "plain", "b", keeper)
    log.take()
    owner.exit("moving")
    await manager.sync_notify(Said("next"))
    expected = Exit(owner, "moving")
    assert log.take() == [("b", "terminate", expected), ("a", "else", expected), ("a", "next")]


async def test_the_owner_goes_with_the_manager_while_it_has_a_handler_there() -> None:
    for ending in ("stop", "kill"):
        manager, log = await EventManager.start(), Log()
        keeper = await Keeper.start(log)
        plain, trapper, former = await Owner.start(), await Owner.start(trapping=True), await Owner.start()
        for owner, id in ((plain, "a"), (trapper, "b"), (former, "c")):
            await owner.add(manager, "plain", id, keeper)
        await manager.delete_handler("c")
        if ending == "stop":
            await manager.stop()
            assert await trapper.told() == ("b: shutdown", "normal")
            assert await plain.told() == ("a: shutdown",)
            assert log.take()[-2:] == [("b", "terminate", "stop"), ("a", "terminate", "stop")]
        else:
            manager.exit("kill")
            assert await trapper.told() == ("killed",)
            assert not plain.is_alive()
        assert former.is_alive()
        assert await former.told() == ("c: normal",)


async def test_a_parent_that_supervises_a_handler_stays_the_parent() -> None:
    class Top(GenServer):
        async def init(self) -> None:
            self.manager = await EventManager.start_link()
            await self.manager.add_sup_handler(Quiet)
            await self.manager.delete_handler("Quiet")

        @call
        def events(self) -> EventManager:
            return self.manager

        @info
        def gone(self, message: HandlerGone) -> None:
            pass

    class Quiet(EventHandler):
        pass

    top = await Top.start()
    manager = await top.events()
    top.exit("boom")
    await turns(3)
    assert not manager.is_alive()


async def test_all_handlers_end_with_the_manager_even_the_slow_ones() -> None:
    manager, log = await EventManager.start(), Log()
    await manager.add_handler(SlowEars, log, id="slow")
    await manager.add_handler(Ears, log, id="plain")
    log.take()
    await manager.stop()
    assert log.take() == [("plain", "terminate", "stop"), ("slow", "terminate", "stop")]
    with pytest.raises(ProcessDown):
        await manager.sync_notify(1)


async def test_a_supervisor_keeps_a_manager() -> None:
    top = await Supervisor.start_link([EventManager.child(name="events")])
    first = EventManager.whereis("events")
    await first.add_handler(Ears, Log())
    first.exit("kill")
    await turns(5)
    assert await EventManager.whereis("events").which_handlers() == (), "handlers are added by those who need them"
    await top.stop()


@pytest.mark.virtual_time
async def test_a_slow_handler_keeps_the_others_and_the_next_events_waiting() -> None:
    class Sleeper(EventHandler):
        async def handle_event(self, event: object) -> None:
            await asyncio.sleep(3.0)
            heard.append((self.id, event, self.manager._process.scheduler.runtime.clock.now()))

    heard: list[tuple[object, ...]] = []
    with virtual_scheduler().entered():
        manager = await EventManager.start()
        await manager.add_handler(Sleeper, id="one")
        await manager.add_handler(Sleeper, id="two")
        with pytest.raises(CallTimeout):
            await manager.with_timeout(1.0).sync_notify("a")
        manager.notify("b")
        await asyncio.sleep(20.0)
        assert heard == [("two", "a", 3.0), ("one", "a", 6.0), ("two", "b", 9.0), ("one", "b", 12.0)]
        manager.notify("c")
        await asyncio.sleep(1.0)
        manager.exit("kill")
        await asyncio.sleep(10.0)
        assert len(heard) == 4


async def test_a_handler_whose_wait_is_cancelled_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Waiting(EventHandler):
        async def handle_event(self, event: object) -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    manager, log = await manager_with(Ears, "a")
    await manager.add_handler(Waiting)
    await manager.sync_notify(Said("x"))
    assert await manager.which_handlers() == ("a",)
    assert "what it was waiting for was cancelled" in caplog.text
    assert log.take() == [("a", "x")]


async def test_a_signal_that_ends_the_manager_cancels_what_waits_in_it() -> None:
    class Stuck(EventHandler):
        async def handle_event(self, event: object) -> None:
            began.set()
            await asyncio.Event().wait()

    began = asyncio.Event()
    manager = await EventManager.start()
    await manager.add_handler(Stuck)
    telling = asyncio.ensure_future(manager.sync_notify(1))
    await began.wait()
    manager.exit("kill")
    with pytest.raises(ProcessDown, match="killed"):
        await telling
    await turns(2)


async def play(seed: int) -> None:
    """Handlers come, go, fail and hear, against a list that is kept by hand."""
    draw = random.Random(seed)
    manager, log, expected = await EventManager.start(), Log(), list[str]()
    for number in range(40):
        what, id = draw.choice(("add", "add", "tell", "crash", "go", "delete", "call")), draw.choice("abcde")
        log.take()
        if what == "add" and id not in expected:
            await manager.add_handler(draw.choice((Ears, SlowEars)), log, id=id)
            expected.insert(0, id)
        elif what == "tell":
            manager.notify(Said(str(number)))
            await manager.sync_notify(Said("x"))
            assert log.take() == [(one, text) for text in (str(number), "x") for one in expected]
        elif what in ("crash", "go"):
            await manager.sync_notify(Order(id, what))
            expected = [one for one in expected if one != id]
        elif what == "delete" and id in expected:
            assert await manager.delete_handler(id) == f"state of {id}"
            expected.remove(id)
        elif what == "call" and id not in expected:
            with pytest.raises(NoSuchHandler):
                await manager.call(id, Count())
        assert await manager.which_handlers() == tuple(expected), f"seed {seed}, step {number}"
    await manager.stop()


async def play_all(seeds: int) -> None:
    for seed in range(seeds):
        await play(seed)


async def test_random_managers_agree_with_a_list() -> None:
    await play_all(100)


@pytest.mark.parametrize("fault", ["the failed stay", "the oldest first"])
async def test_the_list_catches_a_wrong_manager(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "the failed stay":
        monkeypatch.setattr(EventManager, "_fail", lambda manager, installed, error, during, what: iter(()))
    else:
        honest = EventManager._install
        monkeypatch.setattr(
            EventManager, "_install", lambda manager, plan, by, place, *rest: honest(manager, plan, by, 99, *rest)
        )
    with pytest.raises(AssertionError):
        await play_all(10)
