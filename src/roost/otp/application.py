"""Application: a whole program as one tree of processes, from its start to an orderly stop."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

from roost.core.supervision import AutoShutdown, Strategy
from roost.errors import CallTimeout, ConfigError, ProcessDown, RoostError
from roost.limits import APPLICATION_STOP_S
from roost.otp.child import Child
from roost.otp.crash import explain, is_clean
from roost.otp.gen_server import GenServer
from roost.otp.keeper import Kept
from roost.otp.outcome import Stop
from roost.otp.process import Process
from roost.otp.scheduler import Scheduler
from roost.otp.supervisor import Supervisor
from roost.otp.system_monitor import SystemMonitor

logger = logging.getLogger("roost.application")

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
EXIT_FAILED: Final = 1
ALARM_S: Final = 1
"""How much longer than `stop_s` a program may take to end before the system's alarm clock kills it."""


class Root(Supervisor):
    """The supervisor at the root of an application."""

    async def init(  # type: ignore[override]  # the application says it all
        self, application: Application
    ) -> None:
        """Start the system monitor, then the children."""
        self._application = application
        self._starting = True
        watching = (SystemMonitor.child(),) if application.monitored else ()
        await super().init(
            (*watching, *application.children),
            strategy=application.strategy,
            max_restarts=application.max_restarts,
            within_s=application.within_s,
            auto_shutdown=application.auto_shutdown,
        )
        self._starting = False

    async def start_one(self, kept: Kept) -> GenServer:
        """Start a child, unless the program is to end already.

        Raises:
            Stop: when it is; those before it are stopped then.
        """
        if self._starting and self._application.stopping:
            raise Stop("shutdown")
        return await super().start_one(kept)

    def give_up(self, id: str) -> None:
        """Let the application know why it ends."""
        intensity = self._plan.intensity
        excess = f"more than {intensity.max_restarts} restarts in {intensity.within_s:g} s"
        self._application.complaint = f"{excess}, the last of {id!r}"
        super().give_up(id)


class Application:
    """A program that is a tree of processes, on one node and without a cluster.

    ::

        app = Application("shop", [Stock.child(name="stock"), Orders.child(name="orders")])

        if __name__ == "__main__":
            app.run()

    In a program that has a loop already, `async with app:` starts and stops it. A cluster of nodes with the web in
    front is `Roost(...)`, which has the same children.

    Args:
        name: the name of the program in its log; the supervisor at the root is registered under it.
        children: what `Supervisor` starts, in this order, and stops in reverse order.
        strategy: as for `Supervisor`.
        max_restarts: as for `Supervisor`.
        within_s: as for `Supervisor`.
        auto_shutdown: as for `Supervisor`; with it, a program ends by itself when its work is done.
        stop_s: seconds that all children together may take to stop before what is left is killed.
        monitored: whether a `SystemMonitor` is started before the children, and ends after them. A monitor of your own
            among the children, with other marks, takes False.
    """

    def __init__(
        self,
        name: str,
        children: Sequence[Child] = (),
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        within_s: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        stop_s: float = APPLICATION_STOP_S,
        monitored: bool = True,
    ) -> None:
        self.name = name
        self.children = tuple(children)
        self.stop_s = stop_s
        self.monitored = monitored
        self.strategy: Strategy = strategy
        self.max_restarts, self.within_s = max_restarts, within_s
        self.auto_shutdown: AutoShutdown = auto_shutdown
        self.stopping = False
        """Whether a signal has told the program to end."""
        self._root: Supervisor | None = None
        self.complaint: str | None = None
        """Why it has given up; None when it has not."""

    async def start(self) -> None:
        """Start the children in order.

        When it is cancelled, those that had started are stopped first.

        Raises:
            ConfigError: when it runs already.
            StartFailed: when a child did not start; those before it have been stopped.
            NameTaken: when a live process has its name.
        """
        if self._root is not None and self._root.is_alive():
            raise ConfigError("application", f"{self.name!r} runs already")
        self.complaint, self._root = None, None
        self._root = await Root.start(self, name=self.name)

    async def wait(self) -> None:
        """Wait until it has ended, whoever stops it. Returns when it was stopped, or has shut down by itself.

        Raises:
            ProcessDown: when its root gave up, crashed or was killed.
        """
        root = self._root
        if root is None:
            return
        await root.down()
        reason = root._process.reason
        if self.complaint is None and not is_clean(reason):
            self.complaint = f"its root has ended: {explain(reason)}"
            logger.error("%s: %s", self.name, self.complaint)
        if self.complaint is not None:
            raise ProcessDown(self.name, self.complaint)

    async def stop(self) -> None:
        """Stop the children in reverse order. After `stop_s` seconds, kill what is left. Harmless when it has ended.

        Then the worker processes of `Task.cpu` end, unless another application runs in this loop and may need them.

        Raises:
            CallTimeout: when something had to be killed.
        """
        root, self._root = self._root, None
        if root is None:
            return
        scheduler = root._process.scheduler
        try:
            await root.stop("shutdown", self.stop_s)
        except CallTimeout:
            self._kill(_tree(root._process))
            raise
        finally:
            if not any(isinstance(process.server, Root) for process in scheduler.processes.values()):
                await scheduler.runtime.cpu.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def run(self) -> None:
        """Run it as the whole program, on uvloop where that is installed, until it ends or is told to.

        To be called in the main thread, which gets the signals. SIGTERM and SIGINT stop it in order; a second one ends
        the operating system's process at once. So does the alarm clock of the system, a little later than `stop_s`,
        when not even the event loop goes on; and when it has failed, and a thread of the loop does not end.

        Raises:
            SystemExit: with code 1, when it did not start, gave up, or had to be killed; one line in the log says why.
                After an orderly end this just returns, which ends a script with code 0.
        """
        self.stopping = False
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                code = runner.run(self._live())
                if code and not self.stopping:
                    self._set_alarm()  # threads of the loop are waited for now, however long they take
        finally:
            signal.alarm(0)
        if code:
            raise SystemExit(code)

    async def _live(self) -> int:
        """The life of the program; returns its exit code."""
        loop, task, ended = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()
        assert task is not None
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._halt, number, ended, task)
        try:
            await self.start()
            assert self._root is not None
            self._root.down().add_done_callback(lambda _: ended.set())
            await ended.wait()
            try:
                await (self.stop() if self._root.is_alive() else self.wait())
            finally:
                await self.stop()
        except (CallTimeout, ProcessDown):
            return EXIT_FAILED  # the log has a line about it
        except RoostError as error:
            if not self.stopping:
                logger.error("%s has not started: %s", self.name, error)
                return EXIT_FAILED
        except asyncio.CancelledError:
            if not self.stopping or task.uncancel():
                raise
            if self.complaint is None:  # else `stop` has killed them, and has told so
                self._kill(list(Scheduler.current().processes.values()))
            return EXIT_FAILED
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
        return 0

    def _halt(self, number: signal.Signals, ended: asyncio.Event, task: asyncio.Task[object]) -> None:
        """The first signal. The next one does what it does to a program that knows nothing of signals."""
        logger.info("%s stops: %s", self.name, number.name)
        loop = asyncio.get_running_loop()
        for each in STOP_SIGNALS:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        self._set_alarm()
        self.stopping = True
        ended.set()
        loop.call_later(self.stop_s, task.cancel)  # a start ends before its next child, unless this one hangs

    def _set_alarm(self) -> None:
        """From now on the system ends the program when it does not do so itself."""
        signal.alarm(math.ceil(self.stop_s) + ALARM_S)

    def _kill(self, processes: Sequence[Process]) -> None:
        self.complaint = f"it has not stopped within {self.stop_s:g} s"
        logger.error("%s has not stopped within %g s: what is left is killed", self.name, self.stop_s)
        for process in processes:
            process.kill()


def _tree(root: Process) -> list[Process]:
    """A process and all that live below it."""
    tree = [root]
    for process in tree:
        ties = process.ties
        if ties is not None:
            tree += [linked for linked in ties.links if linked.ties is not None and linked.ties.parent is process]
    return tree


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes uvloop's loop; None, for the standard one, where it is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
