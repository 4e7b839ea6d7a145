"""The system monitor: who blocks the loop, and whose mailbox is long, as events and as numbers."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from roost.errors import Overloaded, StartIgnored
from roost.limits import MONITORED_PER_SWEEP, SUBSCRIBERS_MAX, SWEEP_MAILBOXES_S
from roost.otp import GenServer, Scheduler, Supervisor, call, cast, info
from roost.otp.system_monitor import Event, LongMailbox, LongSchedule, SystemMonitor
from roost.runtime import Runtime
from roost.runtime.watchdog import Look, Tell, Watch
from tests.otp.virtual import virtual_scheduler


class Hand:
    """A watchdog that looks when a test wants it to."""

    def __init__(self) -> None:
        self.running = False
        self.late_s = 0.0
        self.look: Look | None = None
        self.tell: Tell | None = None

    def watch(self, late_s: float, look: Look, tell: Tell) -> Watch:
        self.running, self.late_s, self.look, self.tell = True, late_s, look, tell
        return self

    def lag_s(self) -> float:
        return 0.25

    def stop(self) -> None:
        self.running = False

    def watched(self) -> int:
        """How many watches there are."""
        return int(self.running)

    def seen(self) -> object:
        """What the watchdog sees in whoever calls this."""
        assert self.look is not None
        return self.look(sys._getframe(1))

    def blocked(self, seconds: float, *sights: object) -> None:
        """The loop turns again."""
        assert self.tell is not None
        self.tell(seconds, {sight: sights.count(sight) for sight in dict.fromkeys(sights)}, True)


class Worker(GenServer):
    """A process that is seen at work."""

    def init(self, hand: Hand | None = None) -> None:
        self.hand = hand
        self.sights: list[object] = []
        self.gate = asyncio.Event()
        self.events: list[Event] = []

    def _see(self) -> None:
        assert self.hand is not None
        self.sights.append(self.hand.seen())

    @call
    def work(self) -> None:
        self._see()

    @cast
    def note(self) -> None:
        pass

    @call
    def beside(self) -> None:
        self.activity(self.roam())

    @call
    async def work_slowly(self) -> None:
        await asyncio.sleep(0)
        self._see()

    async def roam(self) -> None:
        self._see()

    @call
    async def wait(self) -> None:
        await self.gate.wait()

    @info
    def heard(self, event: LongSchedule) -> None:
        self.events.append(event)

    @info
    def heard_of_mail(self, event: LongMailbox) -> None:
        self.events.append(event)


def state(worker: Worker) -> Worker:
    """The inside of a process."""
    server = worker._process.server
    assert isinstance(server, Worker)
    return server


async def pass_time(sweeps: float) -> None:
    """Let so many sweeps pass, in virtual time."""
    passed = asyncio.Event()
    Scheduler.current().runtime.clock.call_later(sweeps * SWEEP_MAILBOXES_S, passed.set)
    await passed.wait()


def world(hand: Hand | None = None) -> Scheduler:
    """A node whose watchdog is moved by hand."""
    real = Runtime.real()
    return Scheduler(Runtime(real.clock, real.entropy, real.net, watchdog=hand), "a")


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[Hand, Worker, list[Event]]]:
    """A node with a monitor, a worker and a subscriber."""
    hand, events = Hand(), list[Event]()
    with world(hand).entered():
        monitor = await SystemMonitor.start()
        SystemMonitor.subscribe(events.append)
        worker = await Worker.start(hand, name="worker")
        yield hand, worker, events
        await worker.stop()
        await monitor.stop()
    assert not hand.running


async def test_a_handler_that_blocks_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async with watched() as (hand, worker, events):
        await worker.work()
        [sight] = state(worker).sights
        hand.blocked(0.5, sight, sight, sight)
        [event] = events
        assert isinstance(event, LongSchedule)
        assert (event.node, event.process, event.pid) == ("a", "Worker 'worker'", worker.pid)
        assert (event.function, event.seconds, event.share) == ("Worker.work", 0.5, 1.0)
        line = Worker.__calls__["work"].function.__code__.co_firstlineno + 2
        assert event.place == f"test_system_monitor.py:{line}"
        assert [frame.rpartition(" in ")[2] for frame in event.stack] == [
            "Worker.work: self._see()",
            "Worker._see: self.sights.append(self.hand.seen())",
        ]
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert f"Worker 'worker' blocked the loop for 0.500 s in Worker.work ({event.place})" in record.getMessage()
        assert event.stack[1] in record.getMessage()
        assert record.__dict__["report"] == event


async def test_async_handlers_and_activities_and_other_tasks_are_named() -> None:
    async with watched() as (hand, worker, events):
        await worker.work_slowly()
        await worker.beside()
        await asyncio.sleep(0)

        async def stranger() -> object:
            return hand.seen()

        for sight in (*state(worker).sights, await asyncio.create_task(stranger(), name="the stranger")):
            hand.blocked(0.2, sight)
        assert [(event.process, event.function) for event in events if isinstance(event, LongSchedule)] == [
            ("Worker 'worker'", "Worker.work_slowly"),
            ("Worker 'worker'", "Worker.roam"),
            ("the stranger", "stranger"),
        ]
        stranger_seen = events[2]
        assert isinstance(stranger_seen, LongSchedule)
        assert (stranger_seen.pid, len(stranger_seen.stack)) == (None, 1)


async def test_the_one_that_was_seen_most_is_named_with_its_share() -> None:
    async with watched() as (hand, worker, events):
        await worker.work()
        await worker.work_slowly()
        often, seldom = state(worker).sights
        hand.blocked(1.0, seldom, often, often, often)
        [event] = events
        assert isinstance(event, LongSchedule)
        assert (event.function, event.share) == ("Worker.work", 0.75)


async def test_numbers_are_kept() -> None:
    async with watched() as (hand, worker, _):
        assert hand.late_s == 0.1
        await worker.work()
        [sight] = state(worker).sights
        for seconds in (0.25, 0.5, 0.125):
            hand.blocked(seconds, sight)
        numbers = SystemMonitor.metrics()
        assert (numbers.long_schedules, numbers.blocked_s, numbers.blocked_max_s) == (3, 0.875, 0.5)
        assert (numbers.events, numbers.events_lost, numbers.lag_s) == (3, 0, 0.25)


async def test_the_log_hears_less_and_less_of_the_same_function(caplog: pytest.LogCaptureFixture) -> None:
    async with watched() as (hand, worker, events):
        await worker.work()
        await worker.work_slowly()
        one, other = state(worker).sights
        for _ in range(9):
            hand.blocked(0.2, one)
        assert (len(events), len(caplog.records)) == (9, 4)
        hand.blocked(0.2, other)
        assert len(caplog.records) == 5


async def test_a_process_can_subscribe_until_it_ends() -> None:
    async with watched() as (hand, worker, events):
        listener = await Worker.start()
        SystemMonitor.subscribe(listener)
        await worker.work()
        [sight] = state(worker).sights
        hand.blocked(0.2, sight)
        await asyncio.sleep(0)
        assert state(listener).events == events
        await listener.stop()
        hand.blocked(0.2, sight)
        assert (SystemMonitor.metrics().events, SystemMonitor.metrics().events_lost) == (2, 0)


async def test_a_subscriber_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with watched() as (hand, worker, events):

        def broken(event: Event) -> None:
            raise RuntimeError("a bug")

        forget = SystemMonitor.subscribe(broken)
        after: list[Event] = []
        SystemMonitor.subscribe(after.append)
        await worker.work()
        [sight] = state(worker).sights
        hand.blocked(0.2, sight)
        assert len(events) == len(after) == 1
        assert "a subscriber of the system monitor raised RuntimeError: a bug" in caplog.text
        forget()
        forget()
        hand.blocked(0.2, sight)
        assert (len(after), SystemMonitor.metrics().events_lost) == (2, 1)


async def test_subscribers_are_bounded() -> None:
    with world().entered():
        forgets = [SystemMonitor.subscribe(print) for _ in range(SUBSCRIBERS_MAX)]
        with pytest.raises(Overloaded, match="subscribers of the system monitor"):
            SystemMonitor.subscribe(print)
        forgets[0]()
        SystemMonitor.subscribe(print)


async def test_one_monitor_is_enough_and_subscribers_outlive_it() -> None:
    hand, events = Hand(), list[Event]()
    with world(hand).entered():
        SystemMonitor.subscribe(events.append)
        first = await SystemMonitor.start(long_schedule_ms=50)
        assert (hand.running, hand.late_s) == (True, 0.05)
        with pytest.raises(StartIgnored):
            await SystemMonitor.start()
        assert hand.watched() == 1
        first.exit("kill")
        assert hand.watched() == 0
        second = await SystemMonitor.start()
        hand.blocked(0.2, hand.seen())
        assert len(events) == 1
        await second.stop()


async def test_a_supervisor_goes_on_without_a_second_monitor() -> None:
    hand = Hand()
    with world(hand).entered():
        first = await Supervisor.start([SystemMonitor.child()])
        second = await Supervisor.start([SystemMonitor.child(), Worker.child(name="worker")])
        assert Worker.whereis("worker").is_alive()
        await second.stop()
        assert hand.watched() == 1
        await first.stop()
        assert hand.watched() == 0


async def test_a_monitor_that_crashes_is_started_again_and_forgets_nothing() -> None:
    hand, events = Hand(), list[Event]()
    with world(hand).entered():
        supervisor = await Supervisor.start([SystemMonitor.child()])
        SystemMonitor.subscribe(events.append)
        hand.blocked(0.25, hand.seen())
        [child] = await supervisor.which_children()
        assert child.process is not None
        child.process.exit("boom")
        while not hand.watched():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0)
        hand.blocked(0.25, hand.seen())
        assert (len(events), SystemMonitor.metrics().long_schedules) == (2, 2)
        await supervisor.stop()


async def test_a_frame_that_cannot_be_looked_into_is_still_told() -> None:
    class Trap:
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError("a trap")

    async with watched() as (hand, _, events):

        def trapped(trap: Trap) -> object:
            return hand.seen()

        hand.blocked(0.2, trapped(Trap()))
        assert [(event.process, event.function) for event in events if isinstance(event, LongSchedule)] == [
            ("unknown (a trap)", "trapped")
        ]


async def test_a_handler_that_blocks_for_real_is_seen_while_it_does(caplog: pytest.LogCaptureFixture) -> None:
    said, events, heard = threading.Event(), list[Event](), asyncio.Event()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "has been blocking" in record.getMessage():
                said.set()

    class Hog(GenServer):
        @call
        def hog(self) -> None:
            while not said.is_set():
                pass

    def hear(event: Event) -> None:
        if isinstance(event, LongSchedule) and event.function == "Hog.hog":
            events.append(event)
            heard.set()

    ear = Ear()
    logging.getLogger("roost.otp").addHandler(ear)
    try:
        with Scheduler(Runtime.real()).entered():
            monitor = await SystemMonitor.start(long_schedule_ms=20)
            SystemMonitor.subscribe(hear)
            hog = await Hog.start(name="hog")
            await hog.hog()
            await heard.wait()
            [event] = events
            assert isinstance(event, LongSchedule)
            assert (event.process, event.pid) == ("Hog 'hog'", hog.pid)
            assert event.seconds >= 0.2
            assert "while not said.is_set()" in event.stack[0] or "pass" in event.stack[0]
            await monitor.stop()
    finally:
        logging.getLogger("roost.otp").removeHandler(ear)
    assert not [thread for thread in threading.enumerate() if thread.name == "roost watchdog"]


@pytest.mark.virtual_time
async def test_a_mailbox_that_grows_is_told_at_the_mark_and_at_each_doubling(caplog: pytest.LogCaptureFixture) -> None:
    events: list[Event] = []
    with virtual_scheduler().entered():
        monitor = await SystemMonitor.start(mailbox_mark=10)
        SystemMonitor.subscribe(events.append)
        worker = await Worker.start(name="slow")
        waiting = asyncio.ensure_future(worker.with_timeout(None).wait())
        await asyncio.sleep(0)
        for _ in range(45):
            worker.note()
            await pass_time(1.0)
        told = [event for event in events if isinstance(event, LongMailbox)]
        assert [(event.process, event.messages, event.over) for event in told] == [
            ("Worker 'slow'", 11, False),
            ("Worker 'slow'", 22, False),
            ("Worker 'slow'", 44, False),
        ]
        numbers = SystemMonitor.metrics()
        assert (numbers.long_mailboxes, numbers.mailbox_max, numbers.events) == (1, 45, 3)
        assert "Worker 'slow' has 11 messages in its mailbox" in caplog.text
        state(worker).gate.set()
        await waiting
        await pass_time(1.5)
        assert events[-1] == LongMailbox("local", "Worker 'slow'", worker.pid, 0, 10, True)
        assert SystemMonitor.metrics().long_mailboxes == 0
        await worker.stop()
        await monitor.stop()


async def test_a_flood_is_seen_in_the_turn_that_handles_it() -> None:
    events: list[Event] = []
    with world().entered():
        monitor = await SystemMonitor.start(mailbox_mark=10)
        SystemMonitor.subscribe(events.append)
        worker = await Worker.start()
        for _ in range(10):
            worker.note()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert events == []
        for _ in range(11):
            worker.note()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        [event] = events
        assert isinstance(event, LongMailbox)
        assert (event.pid, event.messages) == (worker.pid, 11)
        await worker.stop()
        await monitor.stop()


@pytest.mark.virtual_time
async def test_the_sweep_reaches_every_process_and_forgets_the_dead() -> None:
    with virtual_scheduler().entered():
        monitor = await SystemMonitor.start(mailbox_mark=10)
        first = await Worker.start()
        crowd = [await Worker.start() for _ in range(2 * MONITORED_PER_SWEEP)]
        await first._process.suspend()
        for _ in range(11):
            first.note()
        await pass_time(3.5)
        assert SystemMonitor.metrics().long_mailboxes == 1
        first.exit("kill")
        await pass_time(1.0)
        assert SystemMonitor.metrics().long_mailboxes == 0
        for worker in crowd:
            worker.exit("kill")
        await monitor.stop()


async def test_without_a_monitor_nothing_is_watched() -> None:
    with world().entered():
        assert SystemMonitor.metrics() == SystemMonitor.metrics()
        assert SystemMonitor.metrics().lag_s == 0.0
        worker = await Worker.start()
        for _ in range(5_000):
            worker.note()
        await worker.stop()
        assert SystemMonitor.metrics().mailbox_max == 0
