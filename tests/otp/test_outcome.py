"""How a process begins, goes on and ends by its own word: Ignore, Stop, continue_with, a bounded start."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable

import msgspec
import pytest

from roost.errors import ProcessDown, StartFailed, StartIgnored
from roost.otp import GenServer, Ignore, Reason, Scheduler, Stop, call, cast, info, send
from roost.otp.ending import STOP


class Load(msgspec.Struct, frozen=True):
    what: str


class Other(msgspec.Struct, frozen=True):
    pass


class Diary:
    """What has happened, written by processes that may be gone."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.gate = asyncio.Event()


class Worker(GenServer):
    """Does on each message what the message says."""

    def init(self, diary: Diary, *orders: str) -> None:
        self.diary = diary
        for order in orders:
            match order:
                case "ignore":
                    raise Ignore
                case "no":
                    raise Stop("no disk")
                case "bug":
                    raise Stop(OSError("no disk"))
                case what:
                    self.continue_with(Load(what))

    @call
    def stop_with_reply(self, reason: str) -> int:
        raise Stop(reason, reply=42)

    @call
    async def stop_with_reply_later(self, reason: str) -> int:
        await asyncio.sleep(0)
        raise Stop(reason, reply=[42])

    @call
    def stop_silently(self) -> int:
        raise Stop

    @cast
    def stop_by_cast(self, reason: str) -> None:
        raise Stop(reason)

    @call
    def go_on(self) -> str:
        self.continue_with(Load("afterwards"))
        return "now"

    @call
    async def go_on_async(self, *what: str) -> None:
        await asyncio.sleep(0)
        for word in what:
            self.continue_with(Load(word))

    @call
    def note(self, line: str) -> None:
        self.diary.lines.append(line)

    @info
    async def load(self, message: Load) -> None:
        await asyncio.sleep(0)
        self.diary.lines.append(f"load {message.what}")

    @info
    def other(self, message: Other) -> None:
        self.diary.lines.append("other")

    def terminate(self, reason: Reason) -> None:
        self.diary.lines.append(f"terminate {reason}")


class Slow(GenServer):
    """Takes its time, to start and to end."""

    async def init(self, diary: Diary) -> None:
        self.diary = diary
        await diary.gate.wait()

    @call
    def stop_with_reply(self) -> str:
        raise Stop("normal", reply="done")

    async def terminate(self, reason: Reason) -> None:
        self.diary.gate.clear()
        self.diary.lines.append("ending")
        await self.diary.gate.wait()
        self.diary.lines.append("ended")


async def test_a_process_that_has_nothing_to_do_does_not_run_and_has_not_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(StartIgnored) as ignored:
        await Worker.start_link(Diary(), "ignore", name="idler")
    assert ignored.value.__cause__ is None
    assert str(ignored.value) == "Worker 'idler' does not run: its init said that there is nothing to do"
    assert not Scheduler.current().names
    assert not caplog.records


@pytest.mark.parametrize(("order", "cause"), [("no", None), ("bug", OSError)])
async def test_a_start_that_says_no_names_its_reason(
    order: str, cause: type[Exception] | None, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StartFailed, match="no disk") as failed:
        await Worker.start_link(Diary(), order)
    assert type(failed.value.__cause__) is (type(None) if cause is None else cause)
    assert not Scheduler.current().processes
    assert not caplog.records


async def test_an_async_start_may_take_so_long_and_no_longer() -> None:
    with pytest.raises(StartFailed, match="its init took longer than 0 s"):
        await Slow.start(Diary(), name="slow", start_timeout_s=0.0)
    assert not Scheduler.current().processes
    assert not Scheduler.current().names
    await asyncio.sleep(0)  # it was killed, and nobody waits for what is killed


async def test_the_last_reply_comes_after_terminate_and_before_the_news_of_the_end() -> None:
    diary = Diary()
    for method in ("stop_with_reply", "stop_with_reply_later"):
        worker = await Worker.start(diary)
        worker.down().add_done_callback(lambda _: diary.lines.append("down"))
        reply = getattr(worker, method)("normal")
        assert await reply in (42, [42])
        diary.lines.append("reply")
        await asyncio.sleep(0)
        assert diary.lines == ["terminate normal", "reply", "down"]
        assert not worker.is_alive()
        diary.lines.clear()


async def test_the_last_reply_waits_for_an_async_terminate() -> None:
    diary = Diary()
    diary.gate.set()
    slow = await Slow.start(diary)
    reply = asyncio.ensure_future(slow.stop_with_reply())
    await asyncio.sleep(0)
    assert diary.lines == ["ending"]
    assert not reply.done()
    diary.gate.set()
    assert await reply == "done"
    assert diary.lines == ["ending", "ended"]


async def test_a_stop_without_a_reply_is_an_end_like_any_other() -> None:
    worker = await Worker.start(Diary())
    with pytest.raises(ProcessDown, match="normal"):
        await worker.stop_silently()


@pytest.mark.parametrize(("reason", "logged"), [("normal", 0), ("shutdown", 0), ("shutdown:moved", 0), ("bored", 1)])
async def test_only_an_unclean_reason_is_logged_as_a_crash(
    reason: str, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    diary = Diary()
    worker = await Worker.start(diary)
    down = worker.down()
    worker.stop_by_cast(reason)
    assert (await down).reason == reason
    assert diary.lines == [f"terminate {reason}"]
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == logged


async def test_what_init_continues_with_comes_before_everything_else() -> None:
    diary = Diary()
    scheduler = Scheduler.current()
    starting = asyncio.ensure_future(Worker.start(diary, "one", name="early"))
    await asyncio.sleep(0)
    worker = Worker.whereis("early")
    send(worker, Other())
    await worker.note("call")
    assert diary.lines == ["load one", "other", "call"]
    assert await starting == worker
    assert scheduler.whereis("early").pid == worker.pid
    await worker.stop()


async def test_a_handler_continues_before_the_mail_that_waits() -> None:
    diary = Diary()
    worker = await Worker.start(diary)
    replies = [worker.go_on_async("first"), worker.go_on(), worker.note("late")]
    assert await asyncio.gather(*replies) == [None, "now", None]
    assert diary.lines == ["load first", "load afterwards", "late"]
    assert await worker.go_on() == "now"
    await worker.note("last")
    assert diary.lines[3:] == ["load afterwards", "last"]
    await worker.stop()


class Clumsy(GenServer):
    """Fails to clean up."""

    def init(self, lazily: bool) -> None:
        self.lazily = lazily

    def terminate(self, reason: Reason) -> Awaitable[None] | None:
        if self.lazily:
            return self.fail()
        raise OSError("no disk")

    async def fail(self) -> None:
        await asyncio.sleep(0)
        raise OSError("no disk")


@pytest.mark.parametrize("lazily", [False, True])
async def test_what_terminate_raises_takes_the_place_of_the_reason(
    lazily: bool, caplog: pytest.LogCaptureFixture
) -> None:
    clumsy = await Clumsy.start(lazily)
    down = clumsy.down()
    await clumsy.stop("normal")
    reason = (await down).reason
    assert isinstance(reason, OSError)
    assert "crashed in terminate: OSError: no disk" in caplog.text


async def test_a_kill_before_terminate_has_begun_leaves_nothing_unawaited() -> None:
    slow = await Worker.start(Diary())
    await slow.stop()
    diary = Diary()
    diary.gate.set()
    slow_ending = await Slow.start(diary)
    slow_ending._process.post_control(STOP, "normal")
    asyncio.get_running_loop().call_soon(slow_ending.exit, "kill")  # right behind the turn in which it begins to end
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()  # would warn of a coroutine that was never awaited
    assert not slow_ending.is_alive()


class Careful(GenServer):
    """Takes back what it has begun when its start is given up."""

    async def init(self, diary: Diary) -> None:
        try:
            await diary.gate.wait()
        except asyncio.CancelledError:
            diary.lines.append("taking back")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            diary.lines.append("taken back")
            raise


@pytest.mark.parametrize("cancels", [1, 2])
async def test_a_start_that_is_given_up_ends_when_everything_is_taken_back(cancels: int) -> None:
    diary = Diary()
    starting = asyncio.ensure_future(Careful.start(diary))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for _ in range(cancels):
        starting.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert diary.lines == ["taking back", "taken back"][: 3 - cancels]
    assert not Scheduler.current().processes


class Ready(GenServer):
    """Has started in the moment in which its start is given up; `stubborn` does not even listen."""

    async def init(self, diary: Diary, stubborn: bool) -> None:
        self.diary = diary
        while not diary.gate.is_set():
            try:
                await diary.gate.wait()
            except asyncio.CancelledError:
                if not stubborn:
                    raise
                diary.gate.set()

    async def terminate(self, reason: Reason) -> None:
        self.diary.lines.append(f"ending {reason}")
        await asyncio.sleep(0)
        self.diary.lines.append("ended")


@pytest.mark.parametrize("stubborn", [False, True])
async def test_what_has_started_when_its_start_is_given_up_is_stopped(stubborn: bool) -> None:
    diary = Diary()
    starting = asyncio.ensure_future(Ready.start(diary, stubborn))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if stubborn:
        starting.cancel()
    else:
        diary.gate.set()
        await asyncio.sleep(0)  # init goes on, and ends
        starting.cancel()  # before the starter has heard of it
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert diary.lines == ["ending shutdown", "ended"]
    assert not Scheduler.current().processes
