"""The parent process of a cluster on one machine: it starts the nodes, shows their output, restarts those that die,
and stops them all.

Everything happens in the turns of one coroutine, `Launcher.run`: what child processes, timers and signals report only
changes state and wakes it. Nothing that it started outlives it: each child stops by itself when its leash drops.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import roost
from roost.config import Config
from roost.core.intensity import Backoff
from roost.errors import ConfigError
from roost.ops.child import Child
from roost.ops.folder import DataFolder
from roost.ops.leash import Ready, Refused, Word
from roost.ops.plan import check_target, furnish, short
from roost.ops.screen import Screen
from roost.ops.start import Start
from roost.runtime import Runtime
from roost.runtime.clock import Timer
from roost.runtime.net import Listener

RESTART_FIRST_S = 0.2
RESTART_LAST_S = 10.0
STABLE_S = 60.0
"""A node that ran this long starts over with the shortest pause."""
START_S = 30.0
"""A node that is not ready after this long is killed."""
STOP_S = 3.5
"""How long the nodes may take to stop in order before they are killed."""

EXIT_STOPPED = 0
EXIT_FAILED = 1
EXIT_MISTAKE = 2


class Place:
    """One node's place: its settings stay while its processes come and go."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.name = short(config.name)
        self.child: Child | None = None
        self.backoff = Backoff(STABLE_S, 2 * RESTART_FIRST_S, RESTART_LAST_S)
        self.is_ready = False
        self.was_ready = False
        self.ended_because = ""
        self.patience: Timer | None = None


async def check_ports(nodes: Sequence[Config], runtime: Runtime) -> None:
    """See that every port of `nodes` can be bound, before anything starts.

    Raises:
        ConfigError: names the first port that cannot, what it is for, and what to do.
    """
    bound: list[Listener] = []
    try:
        for node in nodes:
            for address, purpose in ((node.web, "the web port"), (node.listen, "the link port")):
                if address is None:
                    continue
                try:
                    bound.append(await runtime.net.listen(address, asyncio.Protocol))
                except PermissionError:
                    raise ConfigError(
                        "--port", f"port {address.port} may not be used by this user: choose one from 1024 on"
                    ) from None
                except OSError:
                    raise ConfigError(
                        "--port",
                        f"port {address.port}, {purpose} of {node.name}, is taken: "
                        "stop the program that uses it, or choose another with --port",
                    ) from None
    finally:
        for listener in bound:
            listener.close()


class Launcher:
    """Runs `nodes`, each in a process of its own.

    Args:
        nodes: the settings of every node.
        command: what runs one node; it finds its settings in its environment.
        title: the line above the table of nodes.
        runtime: the launcher's clock and entropy.
        screen: where lines go.
        environ: what the nodes' processes inherit.
        stop_s: how long the nodes may take to stop in order before they are killed.
    """

    def __init__(
        self,
        nodes: Sequence[Config],
        command: Sequence[str],
        title: str,
        runtime: Runtime,
        screen: Screen,
        environ: Mapping[str, str] = os.environ,
        stop_s: float = STOP_S,
    ) -> None:
        self._stop_s = stop_s
        self._places = [Place(node) for node in nodes]
        self._command, self._title = command, title
        self._runtime, self._screen = runtime, screen
        self._environ = {**environ, "PYTHONUNBUFFERED": "1"}
        self._due: deque[Place] = deque(self._places)
        self._wake = asyncio.Event()
        self._verdict: int | None = None
        self._announced = False
        self._refusal: Refused | None = None

    async def run(self) -> int:
        """Run until a signal, or until a node cannot start at all. Nothing is left running on return.

        Returns:
            The exit code: 0 after a signal, 1 when a node crashed before it was ever ready.

        Raises:
            ConfigError: when a node refused its settings or the application; everything is stopped by then.
        """
        self._wake.set()
        with self._signals():
            try:
                while self._verdict is None or any(place.child for place in self._places):
                    await self._wake.wait()
                    self._wake.clear()
                    while self._due and self._verdict is None:
                        await self._start(self._due.popleft())
            finally:
                self._kill_all()
        if self._refusal is not None:
            raise ConfigError(self._refusal.setting, self._refusal.reason)
        return self._verdict

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._signalled)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _signalled(self) -> None:
        if self._verdict is None:
            self._notice("stopping; once more kills at once")
            self._stop(EXIT_STOPPED)
        else:
            self._kill_all()

    def _stop(self, verdict: int) -> None:
        if self._verdict is not None:
            return
        self._verdict = verdict
        self._wake.set()
        for place in self._places:
            if place.child is not None:
                place.child.terminate()
        self._runtime.clock.call_later(self._stop_s, self._kill_all)

    def _kill_all(self) -> None:
        for place in self._places:
            if place.child is not None:
                place.child.kill()

    async def _start(self, place: Place) -> None:
        child = Child(
            self._runtime.clock,
            lambda line: self._line(place, line),
            lambda word: self._hear(place, word),
            lambda code: self._ended(place, code),
        )
        place.ended_because = ""
        place.backoff.started(self._runtime.clock.now())
        environ = {**self._environ, **place.config.to_env()}
        place.child = child  # before it starts: it may say something, or end, while `start` still waits
        try:
            await child.start(self._command, environ)
        except OSError as error:
            place.child = None
            self._again(place, f"cannot be started ({error.strerror or error})")
            return
        place.patience = self._runtime.clock.call_later(START_S, lambda: self._impatient(place, child))
        if self._verdict is not None:
            child.terminate()

    def _impatient(self, place: Place, child: Child) -> None:
        if place.child is child and not place.is_ready:
            place.ended_because = f"was not ready within {START_S:g} s"
            child.kill()

    def _hear(self, place: Place, word: Word) -> None:
        match word:
            case Ready():
                again = place.was_ready
                place.is_ready = place.was_ready = True
                place.backoff.started(self._runtime.clock.now())
                if again and place.child is not None:
                    self._notice(f"node {place.name} is ready again, process {place.child.pid}")
                self._announce()
            case Refused(setting, reason) if place.was_ready:
                place.ended_because = f"cannot start: {setting}: {reason}"
            case Refused():
                if self._verdict is None:
                    self._refusal = word
                self._stop(EXIT_MISTAKE)

    def _announce(self) -> None:
        children = [place.child for place in self._places if place.child is not None and place.is_ready]
        if self._announced or len(children) < len(self._places):
            return
        self._announced = True
        nodes = [place.config for place in self._places]
        try:
            self._screen.banner(self._title, nodes, [child.pid for child in children])
        except OSError:
            self._stop(EXIT_STOPPED)

    def _ended(self, place: Place, code: int) -> None:
        place.child = None
        if place.patience is not None:
            place.patience.cancel()
        self._wake.set()
        place.is_ready = False
        if self._verdict is not None:
            return
        reason = place.ended_because or _reason(code)
        if not place.was_ready and code >= 0:
            self._notice(f"node {place.name} {reason} before it was ready: its lines above say why")
            self._stop(EXIT_FAILED)
            return
        self._again(place, reason)

    def _again(self, place: Place, reason: str) -> None:
        jitter = self._runtime.entropy.uniform(0.0, 1.0)
        pause_s = max(RESTART_FIRST_S, place.backoff.pause_s(self._runtime.clock.now(), jitter))
        self._notice(f"node {place.name} {reason}; starting it again in {pause_s:.1f} s")

        def due() -> None:
            self._due.append(place)
            self._wake.set()

        self._runtime.clock.call_later(pause_s, due)

    def _line(self, place: Place, line: str) -> None:
        try:
            self._screen.line(place.name, line)
        except OSError:
            self._stop(EXIT_STOPPED)

    def _notice(self, text: str) -> None:
        try:
            self._screen.notice(text)
        except OSError:
            self._stop(EXIT_STOPPED)


def _reason(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def node_command(target: str) -> tuple[str, ...]:
    """What runs one node of the application `target`."""
    return sys.executable, "-m", "roost.ops.node", target


def launch(start: Start, target: str) -> int:
    """Run `target` on some nodes in this terminal; return the exit code.

    Raises:
        ConfigError: says which setting is wrong and what to do; nothing runs then.
    """
    check_target(target, [str(Path.cwd()), *sys.path])
    return asyncio.run(_launch(start, target))


async def _launch(start: Start, target: str) -> int:
    runtime = Runtime.real()
    await check_ports(start.nodes, runtime)
    data = DataFolder(start.folder, start.birth, runtime.entropy, start.cookie)
    try:
        configs = furnish(start.nodes, data.path, data.cookie)
        screen = Screen(sys.stdout, [short(config.name) for config in configs])
        title = f"Roost {roost.__version__}: {start.title}, data in {start.folder}"
        return await Launcher(configs, node_command(target), title, runtime, screen).run()
    finally:
        data.close()
