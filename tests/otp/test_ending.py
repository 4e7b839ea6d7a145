"""How a process ends when its own code makes that hard: what terminate and handlers raise, and when."""

from __future__ import annotations

import asyncio

import pytest

from roost.errors import ProcessDown, StartFailed
from roost.otp import GenServer, Reason, call, cast, info
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
