"""How a process ends when its own code makes that hard: what terminate and handlers raise, and when."""

from __future__ import annotations

import asyncio

import pytest

from roost.errors import NotSendable, ProcessDown, StartFailed
from roost.otp import Down, Exit, GenServer, Monitor, Reason, Stop, call, cast, info
from roost.sim.loop import turns


def cancelled() -> None:
    """Ask for the result of something that was cancelled: a sync function that raises CancelledError."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    future.result()


class Careless(GenServer):
    """Raises CancelledError where nobody has cancelled anything."""

    def init(self, where: str) -> None:
        self.where = where
        if where == "init":
            cancelled()

    @call
    def ask(self) -> None:
        cancelled()

    @call
    async def sleep(self) -> None:
        await asyncio.sleep(1.0)

    @cast
    def tell(self) -> None:
        cancelled()

    def terminate(self, reason: Reason) -> None:
        if self.where == "terminate":
            cancelled()


class CarelessAtLast(GenServer):
    """Does so in an async terminate."""

    async def terminate(self, reason: Reason) -> None:
        await asyncio.sleep(0)
        cancelled()


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.virtual_time
async def test_a_cancellation_inside_a_handler_is_a_crash_and_cancels_no_caller(queued: bool) -> None:
    careless = await Careless.start("ask")
    busy = asyncio.ensure_future(careless.sleep() if queued else asyncio.sleep(0))
    await turns(3)
    with pytest.raises(ProcessDown, match="CancelledError"):
        await careless.ask()
    await busy
    assert not careless.is_alive()


@pytest.mark.virtual_time
async def test_a_cancellation_inside_a_cast_is_a_crash() -> None:
    careless = await Careless.start("tell")
    careless.tell()
    assert isinstance((await careless.down()).reason, asyncio.CancelledError)


@pytest.mark.virtual_time
async def test_a_cancellation_inside_init_fails_the_start_and_cancels_no_starter() -> None:
    with pytest.raises(StartFailed, match="CancelledError") as failed:
        await Careless.start("init")
    assert isinstance(failed.value.__cause__, asyncio.CancelledError)


@pytest.mark.virtual_time
async def test_a_cancellation_inside_terminate_does_not_keep_the_process_from_its_end() -> None:
    for dying in (await Careless.start("terminate"), await CarelessAtLast.start()):
        down = dying.down()
        await dying.stop(timeout_s=1.0)
        assert isinstance((await down).reason, asyncio.CancelledError)


class Reluctant(GenServer):
    """Is not ready when it is killed, and fails on top of that."""

    async def terminate(self, reason: Reason) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("not ready")

    @call
    def ask(self) -> None:
        """Answer nothing."""


@pytest.mark.virtual_time
async def test_the_killed_stay_killed_whatever_their_terminate_raises(caplog: pytest.LogCaptureFixture) -> None:
    reluctant = await Reluctant.start()
    stopping = asyncio.ensure_future(reluctant.stop())
    await turns(5)
    reluctant.exit("kill")
    await stopping
    await turns(5)
    assert "crashed in terminate: ValueError: not ready" in caplog.text
    with pytest.raises(ProcessDown, match="killed"):
        await reluctant.ask()


class Zealous(GenServer):
    """Goes on with something after it was told to end."""

    def init(self) -> None:
        self.heard: list[str] = HEARD

    @call
    def leave(self, reason: str) -> str:
        self.handle.exit(reason)
        self.receive_timeout(1.0)
        self.continue_with("one more thing")
        return "told"

    @info
    def one_more(self, message: str) -> None:
        self.heard.append(message)


class Heard(list[str]):
    """A list that is given to a process, not copied."""


HEARD = Heard()


@pytest.mark.parametrize("reason", ["bored", "kill"])
@pytest.mark.virtual_time
async def test_nothing_comes_between_a_handler_and_the_end_that_it_was_told(reason: str) -> None:
    zealous = await Zealous.start()
    down = zealous.down()
    assert await zealous.leave(reason) == "told"
    assert (await down).reason == ("killed" if reason == "kill" else reason)
    assert HEARD == []


class Parent(GenServer):
    """Its sync handler ends a child, whose terminate kills it."""

    @call
    async def start_child(self) -> Child:
        return await Child.start_link(self.handle)

    @call
    def provoke(self, child: Child) -> str:
        # The child is suspended and traps exits: its terminate runs at once, and kills this process.
        child._process.signal(self._process, "provoked")
        return "still alive" if self.handle.is_alive() else "dead"


class Child(GenServer):
    def init(self, parent: Parent) -> None:
        self.parent = parent
        self.trap_exits()

    def terminate(self, reason: Reason) -> None:
        self.parent.exit("kill")


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.virtual_time
async def test_a_sync_handler_ends_before_the_process_that_it_is_of(queued: bool) -> None:
    parent = await Parent.start()
    child = await parent.start_child()
    await child._process.suspend()
    down = parent.down()
    others = [asyncio.ensure_future(parent.start_child())] if queued else []
    await turns(2)
    assert await parent.provoke(child) == "still alive"
    assert not child.is_alive()
    assert (await down).reason == "killed"
    with pytest.raises(ProcessDown, match="killed"):
        await parent.provoke(child)
    for other in others:
        (await other).exit("kill")


@pytest.mark.parametrize("second", ["shutdown", "kill"])
async def test_the_first_of_two_signals_counts(second: str) -> None:
    zealous = await Zealous.start()
    down = zealous.down()
    assert await zealous.leave("bored") == "told"
    zealous.exit(second)
    assert (await down).reason == "bored"


class Watchful(GenServer):
    """Traps exits, and remembers whose."""

    def init(self) -> None:
        self.trap_exits()
        self.heard: list[Exit] = []

    @call
    def join(self, other: Zealous) -> None:
        self.link(other)

    @call
    def told(self) -> int:
        return len(self.heard)

    @info
    def exited(self, message: Exit) -> None:
        self.heard.append(message)


async def test_nothing_is_told_to_whoever_was_untied_while_others_were_told() -> None:
    plain, watchful, dying = await Watchful.start(), await Watchful.start(), await Zealous.start()
    plain._process.tied.trapping = False
    for one in (plain, watchful):
        await one.join(dying)
    told: list[str] = []
    late = Monitor(dying._process, None, lambda down: told.append("late"))

    def untie(down: Down) -> None:
        told.append("first")
        watchful._process.server.unlink(dying)
        late.cancel()

    for target, monitor in ((plain, Monitor(plain._process, None, untie)), (dying, late)):
        target._process.tied.monitors[monitor] = None
    dying.exit("bored")
    assert not plain.is_alive()
    assert await watchful.told() == 0
    assert told == ["first"]
    await watchful.stop()


class Doomed(GenServer):
    """Is killed in the middle of a handler, which goes on for a moment."""

    def init(self) -> None:
        self.beside: list[asyncio.Task[object]] = []

    @call
    async def go_on(self, killer: Killer, other: Killer) -> None:
        await killer.kill(self.handle)
        self.link(other)
        self.monitor(other)
        self.activity(asyncio.sleep(0))


class Killer(GenServer):
    @call
    def kill(self, other: Doomed) -> None:
        other.exit("kill")


async def test_the_killed_tie_themselves_to_nobody_and_start_nothing(caplog: pytest.LogCaptureFixture) -> None:
    doomed, killer, other = await Doomed.start(), await Killer.start(), await Killer.start()
    with pytest.raises(ProcessDown, match="killed"):
        await doomed.go_on(killer, other)
    await turns(3)
    assert "crashed in the end of go_on: ProcessDown" in caplog.text
    assert other._process.ties is None
    await killer.stop()
    await other.stop()


async def test_the_last_reply_crosses_like_any_other() -> None:
    class Leaving(GenServer):
        def init(self, last: object) -> None:
            self.last = last

        @call
        def leave(self) -> object:
            raise Stop("normal", reply=self.last)

    leaving = await Leaving.start(object())
    with pytest.raises(NotSendable, match=r"reply of Leaving\.leave"):
        await leaving.leave()
    assert not leaving.is_alive()
