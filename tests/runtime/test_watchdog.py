"""The watchdog sees what keeps the loop from turning, keeps quiet when nothing does, and leaves no thread."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from subprocess import PIPE
from types import FrameType

import pytest
import uvloop

from roost.runtime import watchdog
from roost.runtime.watchdog import ThreadWatchdog, Watch

LATE_S = 0.02
WAIT = "import signal; signal.pause()"
Factory = Callable[[], asyncio.AbstractEventLoop]
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Keeper:
    """Who watches: it remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, dict[object, int], bool]] = []
        self.threads: set[str] = set()
        self.still = threading.Event()
        self.over = asyncio.Event()

    def look(self, frame: FrameType) -> object:
        self.threads.add(threading.current_thread().name)
        names = []
        outer: FrameType | None = frame
        while outer is not None:
            names.append(outer.f_code.co_name)
            outer = outer.f_back
        return "blocker" if "blocker" in names else "something else"

    def tell(self, seconds: float, seen: Mapping[object, int], over: bool) -> None:
        self.told.append((seconds, dict(seen), over))
        if over:
            self.over.set()
        else:
            self.still.set()

    def blocker(self) -> None:
        """Keep the loop to itself until the watchdog has said so."""
        while not self.still.is_set():
            pass

    def wait_for_a_program(self) -> None:
        """The same with a program of the system, whose output `subprocess` awaits in the module selectors."""
        with subprocess.Popen([sys.executable, "-c", WAIT], stdout=PIPE, stderr=PIPE) as program:
            ender = threading.Thread(target=self._end, args=(program,))
            ender.start()
            program.communicate()
            ender.join()

    def _end(self, program: subprocess.Popen[bytes]) -> None:
        self.still.wait(10.0)
        program.kill()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "roost watchdog"]


def run(factory: Factory, story: Coroutine[object, object, None]) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(story)


@pytest.mark.parametrize("factory", LOOPS)
def test_what_blocks_the_loop_is_seen_while_it_does(factory: Factory) -> None:
    async def story() -> None:
        keeper = Keeper()
        watch = ThreadWatchdog().watch(LATE_S, keeper.look, keeper.tell)
        await asyncio.sleep(0)
        keeper.blocker()
        await keeper.over.wait()
        watch.stop()
        still = next(told for told in keeper.told if not told[2])
        over = next(told for told in keeper.told if told[2] and "blocker" in told[1])
        assert watchdog.STILL * LATE_S <= still[0] <= over[0]
        assert over[1]["blocker"] >= still[1]["blocker"] >= 1
        assert keeper.threads == {"roost watchdog"}
        assert not threads()

    run(factory, story())


@pytest.mark.parametrize("factory", LOOPS)
def test_whoever_waits_for_a_program_blocks_the_loop(factory: Factory) -> None:
    async def story() -> None:
        keeper = Keeper()
        watch = ThreadWatchdog().watch(LATE_S, keeper.look, keeper.tell)
        await asyncio.sleep(0)
        keeper.wait_for_a_program()
        watch.stop()
        assert keeper.still.is_set()

    run(factory, story())


@pytest.mark.parametrize("factory", LOOPS)
def test_a_machine_that_was_asleep_is_nobody_s_fault(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        keeper, asleep_s, idle = Keeper(), 0.0, asyncio.Event()
        loop = asyncio.get_running_loop()
        real_now, real_is_idle = time.monotonic, watchdog._ThreadWatch._is_idle

        def is_idle(self: watchdog._ThreadWatch, frame: FrameType) -> bool:
            answer = real_is_idle(self, frame)
            if answer:
                loop.call_soon_threadsafe(idle.set)
            return answer

        monkeypatch.setattr(watchdog._ThreadWatch, "_is_idle", is_idle)
        monkeypatch.setattr("roost.runtime.watchdog.time.monotonic", lambda: real_now() + asleep_s)
        watch = ThreadWatchdog().watch(5.0, keeper.look, keeper.tell)
        while not idle.is_set():
            asleep_s += 100.0
            timer = loop.call_later(0.5, idle.set)
            await idle.wait()
            timer.cancel()
        watch.stop()
        assert keeper.told == []

    run(factory, story())


async def test_signs_of_life_tell_how_late_the_loop_is() -> None:
    keeper = Keeper()
    watch = ThreadWatchdog().watch(LATE_S, keeper.look, keeper.tell)
    assert watch.lag_s() == 0.0
    keeper.blocker()
    await keeper.over.wait()
    assert watch.lag_s() >= watchdog.STILL * LATE_S - LATE_S
    watch.stop()


async def test_stopping_twice_is_harmless() -> None:
    keeper = Keeper()
    watch: Watch = ThreadWatchdog().watch(60.0, keeper.look, keeper.tell)
    assert len(threads()) == 1
    watch.stop()
    watch.stop()
    assert not threads()
    assert keeper.told == []


def test_the_thread_of_a_loop_that_was_closed_ends() -> None:
    keeper: list[Keeper] = []

    async def story() -> None:
        keeper.append(Keeper())
        ThreadWatchdog().watch(LATE_S, keeper[0].look, keeper[0].tell)

    asyncio.run(story())
    for thread in threads():
        thread.join(10.0)
    assert not threads()
