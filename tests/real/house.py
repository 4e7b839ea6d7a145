"""The nodes of a real cluster: their processes, and what they say of themselves."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import msgspec

from roost.config import Config, Seed
from roost.ops.child import Child
from roost.ops.leash import Ready, Refused, Word
from roost.runtime import Runtime
from tests.real.ground import Ground, lasting
from tests.real.line import Line
from tests.real.shop import CONTROL, State

START_S: Final = 30.0
STOP_S: Final = 10.0
STATE_S: Final = 2.0
LOOK_S: Final = 0.1
"""How often a state is looked at while something is waited for: nobody tells when all of a cluster has it."""
COOKIE: Final = b"real"
CLUSTER: Final = "real"
BUG: Final = re.compile(r" (ERROR|CRITICAL) |^Traceback ")


class HouseError(Exception):
    """The cluster did not do what was waited for."""


class Place:
    """One place, and the node that lives there, if one does.

    Attributes:
        letter: which place it is.
        is_founder: whether its node knows all others from birth.
        is_up: whether its process runs, and is ready.
        is_asleep: whether its process is stopped by a signal.
        ends: from when until when its processes ended.
        naps: from when until when it was asleep.
        stopped_s: how long it took to stop in order, each time.
    """

    def __init__(self, letter: str, *, is_founder: bool) -> None:
        self.letter = letter
        self.is_founder = is_founder
        self.is_up = False
        self.is_asleep = False
        self.ends: list[tuple[float, float]] = []
        self.ending_since = 0.0
        self.naps: list[tuple[float, float]] = []
        self.stopped_s: list[float] = []
        self.child: Child | None = None
        self.ending = ""
        self.ended = asyncio.Event()
        self.ready = asyncio.Event()

    def slept_s(self, began: float, ended: float) -> float:
        """For how much of a time it was asleep, in seconds."""
        return sum(max(0.0, min(ended, until) - max(began, since)) for since, until in self.naps)

    def died_within(self, began: float, ended: float) -> bool:
        """Whether its process ended in that time."""
        return any(since <= ended and began <= until for since, until in self.ends)


class House:
    """All places of one ground.

    Args:
        ground: where they are.
        folder: where they keep their data, and their logs.
        founders: the letters of those who are there from the beginning.
        target: the application that they run.

    Attributes:
        places: those where a node lives, dead or alive.
        ever: all that there have been.
        serving: the members that clients may use, as their operator tells them.
        leaving: those of them that the cluster is told to let go.
        troubles: what should not have happened, in words.
    """

    def __init__(self, ground: Ground, folder: Path, founders: str, target: str) -> None:
        self.ground, self.folder, self.founders, self._target = ground, folder, founders, target
        self.places: dict[str, Place] = {}
        self.ever: list[Place] = []
        self.serving: dict[str, None] = {}
        self.leaving: dict[str, None] = {}
        self.troubles: list[str] = []
        self._clock = Runtime.real().clock

    def now(self) -> float:
        """The clock of everything that is noted here."""
        return time.monotonic()

    def letters(self) -> list[str]:
        """The places where a node lives, dead or alive."""
        return sorted(self.places)

    def running(self) -> list[str]:
        """The places where one is ready."""
        return [letter for letter in self.letters() if self.places[letter].is_up]

    # Processes

    async def found(self) -> None:
        """Start the founders."""
        for letter in self.founders:
            self._open(letter, is_founder=True)
        await asyncio.gather(*[self.start(letter) for letter in self.founders])
        self.serving.update(dict.fromkeys(self.founders))

    async def move_in(self, letter: str) -> None:
        """Start a node that knows nothing, in an empty place; it asks to join by itself."""
        self._open(letter, is_founder=False)
        await self.start(letter)

    def _open(self, letter: str, *, is_founder: bool) -> None:
        shutil.rmtree(self._data(letter), ignore_errors=True)
        place = self.places[letter] = Place(letter, is_founder=is_founder)
        self.ever.append(place)

    async def start(self, letter: str) -> None:
        """Start the process of a place, and wait until it is ready."""
        place = self.places[letter]
        place.ended, place.ready, place.ending = asyncio.Event(), asyncio.Event(), ""
        child = Child(self._clock, partial(self._line, letter), partial(self._word, place), partial(self._over, place))
        command = self.ground.inside(letter, [sys.executable, "-m", "roost.ops.node", self._target])
        runs = self.folder / "runs"
        runs.mkdir(exist_ok=True, mode=0o700)
        await child.start(
            command,
            {**os.environ, **self._config(place).to_env(), "XDG_RUNTIME_DIR": str(runs), "PYTHONUNBUFFERED": "1"},
        )
        place.child = child
        async with asyncio.timeout(START_S):
            await place.ready.wait()

    async def kill(self, letter: str) -> None:
        """kill -9."""
        await self._end(self.places[letter], "killed", Child.kill)

    async def stop(self, letter: str) -> None:
        """SIGTERM, and wait for an orderly end."""
        place, began = self.places[letter], self.now()
        await self._end(place, "stopped", Child.terminate)
        place.stopped_s.append(self.now() - began)

    async def leave(self, letter: str) -> None:
        """The node of a place has gone for good."""
        if self.places[letter].is_up:
            await self.stop(letter)
        del self.places[letter]
        self.leaving.pop(letter, None)

    def suspend(self, letter: str) -> None:
        """SIGSTOP."""
        place = self.places[letter]
        assert place.child is not None
        os.kill(place.child.pid, signal.SIGSTOP)
        place.is_asleep = True
        place.naps.append((self.now(), float("inf")))

    def resume(self, letter: str) -> None:
        """SIGCONT."""
        place = self.places[letter]
        assert place.child is not None
        place.naps[-1] = (place.naps[-1][0], self.now())
        os.kill(place.child.pid, signal.SIGCONT)
        place.is_asleep = False

    async def close(self) -> None:
        """End every process that still runs, whatever it does."""
        for place in self.places.values():
            if place.child is not None and not place.ended.is_set():
                place.ending = "killed"
                place.child.kill()
        for place in self.places.values():
            if place.child is not None:
                await place.ended.wait()

    async def _end(self, place: Place, how: str, act: Callable[[Child], None]) -> None:
        assert place.child is not None
        place.is_up, place.ending, place.ending_since = False, how, self.now()
        act(place.child)
        try:
            async with asyncio.timeout(STOP_S):
                await place.ended.wait()
        except TimeoutError:
            self.troubles.append(f"{place.letter} was {how}, and did not end within {STOP_S:g} s")
            place.child.kill()
            await place.ended.wait()

    def _word(self, place: Place, word: Word) -> None:
        match word:
            case Ready():
                place.is_up = True
                place.ready.set()
            case Refused(setting, reason):
                self.troubles.append(f"{place.letter} refused to start: {setting}: {reason}")

    def _over(self, place: Place, code: int) -> None:
        place.is_up = False
        place.ends.append((place.ending_since, self.now()))
        place.ended.set()
        if not place.ending:
            self.troubles.append(f"{place.letter} ended by itself, with code {code}")
        elif place.ending == "stopped" and code:
            self.troubles.append(f"{place.letter} was told to stop, and ended with code {code}")

    def _line(self, letter: str, line: str) -> None:
        with (self.folder / f"{letter}.log").open("a") as file:
            file.write(f"{self.now():.3f} {line}\n")
        if BUG.search(line):
            self.troubles.append(f"{letter} said: {line}")

    def _data(self, letter: str) -> Path:
        return self.folder / "data" / letter

    def _config(self, place: Place) -> Config:
        letter, ground = place.letter, self.ground
        others = [other for other in self.serving if other != letter] or list(self.founders)
        known = self.founders if place.is_founder else others
        return Config(
            name=ground.name(letter),
            cluster=CLUSTER,
            listen=ground.listens(letter),
            advertise=ground.advertised(letter),
            seeds=tuple(Seed(ground.name(other), ground.dialled(letter, other), ground.web(other)) for other in known),
            cookie=COOKIE,
            web=ground.web(letter),
            data=str(self._data(letter)),
        )

    # What they say

    async def state(self, letter: str) -> State | None:
        """What a node knows; None when it does not answer."""
        return await self._ask(letter, "GET", "state", STATE_S)

    async def order(self, letter: str, order: str, **facts: str) -> State:
        """Let a node do something.

        Raises:
            HouseError: it refuses, or does not answer.
        """
        path = f"{order}?{urlencode({key: self.ground.name(place) for key, place in facts.items()})}"
        told = await self._ask(letter, "POST", path, START_S, strict=True)
        assert told is not None
        return told

    async def _ask(
        self, letter: str, method: str, path: str, timeout_s: float, *, strict: bool = False
    ) -> State | None:
        try:
            line = await Line.to(self.ground.web(letter), timeout_s)
            try:
                status, body = await line.ask(method, CONTROL + path, timeout_s=timeout_s)
            finally:
                line.close()
        except (OSError, TimeoutError) as error:
            if strict:
                raise HouseError(f"{letter} does not answer to {path}: {error}") from None
            return None
        if status != 200:
            raise HouseError(f"{letter} refuses {path}: {status} {body.decode()}")
        return msgspec.json.decode(body, type=State)

    async def until(self, condition: Callable[[dict[str, State]], str], timeout_s: float) -> float:
        """Wait until the states of all running nodes are as they should be; return how long that took, in seconds.

        Args:
            condition: says what is still missing, "" when nothing is.

        Raises:
            HouseError: says what is missing after `timeout_s`.
        """
        began = self.now()
        while True:
            awake = [letter for letter in self.running() if not self.places[letter].is_asleep]
            states = {one: told for one in awake if (told := await self.state(one)) is not None}
            missing = condition(states)
            if not missing:
                return self.now() - began
            if self.now() - began > timeout_s:
                raise HouseError(f"{missing}, {timeout_s:g} s after it should have begun: {states}")
            await lasting(LOOK_S)

    def is_settled(self, states: dict[str, State]) -> str:
        """What is missing for a cluster that is whole: all there, all of one mind, and nothing on its way."""
        names = sorted(self.ground.name(letter) for letter in self.letters())
        silent = sorted(set(self.letters()) - set(states))
        if silent:
            return f"{silent} do not answer"
        for letter, state in states.items():
            if sorted(state.members) != names or set(state.members.values()) != {"valid"} or state.staged:
                return f"{letter} knows the members {state.members} and {state.staged}, not {names}"
            if list(state.up) != names:
                return f"{letter} sees only {state.up}"
            if state.moving or state.waiting:
                return f"{letter} has {state.moving} partitions on their way, and waits for {state.waiting[:3]}"
        if len({(state.cluster, state.generation, state.version) for state in states.values()}) != 1:
            return "they know different versions"
        return ""
