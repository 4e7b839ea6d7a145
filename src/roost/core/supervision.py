"""Which children a supervisor stops and starts when one of them ends: the decisions, without the doing.

The rules are those of OTP's supervisor (restart_child/2, restart_multiple_children/3, do_auto_shutdown/2): a group is
stopped in reverse order and started in order; a start that fails counts as one more restart; children that had
finished, or were terminated by hand, come back with their group; temporary ones do not. Added is the pause before a
restart: the group is stopped at once, and waits for the pause of the child that has failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from roost.core.intensity import Backoff, Intensity

Restart = Literal["permanent", "transient", "temporary"]
"""When a child that ended is started again: always, only after a crash, never."""
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
"""Who is restarted with a child: nobody, all the others, or those that were started after it."""
AutoShutdown = Literal["never", "any_significant", "all_significant"]
"""Whether a supervisor ends by itself: never, with the first of its significant children, or with the last of them."""
State = Literal["running", "waiting", "stopped"]
"""A child runs; or it waits for the pause before a restart; or it has finished, was terminated, or never ran."""

RUNNING: Final = "running"
WAITING: Final = "waiting"
STOPPED: Final = "stopped"


class Line:
    """One child in the list of its supervisor."""

    __slots__ = ("backoff", "id", "restart", "significant", "state")

    def __init__(self, id: str, restart: Restart, significant: bool, calm_s: float) -> None:
        self.id, self.restart, self.significant = id, restart, significant
        self.state: State = STOPPED
        self.backoff = Backoff(calm_s)


LineT = TypeVar("LineT", bound=Line)


@dataclass(frozen=True, slots=True)
class Again(Generic[LineT]):
    """Stop these, in this order; then ask `Supervision.due` what to do, after `pause_s` seconds.

    `pause_s` is the longest pause; chance may take up to half of it away. It is None when a pause that runs already
    ends with a restart of this child too.
    """

    cause: LineT
    stop: tuple[LineT, ...]
    pause_s: float | None


@dataclass(frozen=True, slots=True)
class GiveUp(Generic[LineT]):
    """That was one restart too many: stop everything and end."""

    cause: LineT


@dataclass(frozen=True, slots=True)
class ShutDown(Generic[LineT]):
    """A significant child has ended, and the supervisor with it."""

    cause: LineT


Decision: TypeAlias = Again[LineT] | GiveUp[LineT] | ShutDown[LineT] | None
"""What a supervisor does next; None when there is nothing to do."""


class Supervision(Generic[LineT]):
    """The list of the children of one supervisor, and what follows from what happens to them.

    The work for one child is O(1), or O(children) under a strategy that restarts several of them.

    Args:
        strategy: who is restarted with a child.
        intensity: how many restarts are allowed.
        auto_shutdown: whether the supervisor ends with its significant children.
        keeps_stopped: whether a child stays in the list that does not run and is not going to; temporary ones never do.
    """

    def __init__(
        self,
        strategy: Strategy,
        intensity: Intensity,
        auto_shutdown: AutoShutdown = "never",
        *,
        keeps_stopped: bool = True,
    ) -> None:
        self.strategy, self.intensity, self.auto_shutdown = strategy, intensity, auto_shutdown
        self.keeps_stopped = keeps_stopped
        self.lines: dict[str, LineT] = {}
        """The children in the order of their starts."""
        self._pausing = False
        """Whether a group waits for the end of a pause; without groups each child has a pause of its own."""

    @property
    def waits(self) -> bool:
        """Whether a child waits for the end of a pause."""
        return any(line.state == WAITING for line in self.lines.values())

    def add(self, line: LineT) -> None:
        """One more child, behind the others."""
        self.lines[line.id] = line

    def remove(self, line: LineT) -> None:
        """Forget a child. Harmless when it is forgotten."""
        if self.lines.get(line.id) is line:
            del self.lines[line.id]

    def started(self, line: LineT, now: float) -> None:
        """The child runs since `now` (monotonic seconds)."""
        line.state = RUNNING
        line.backoff.started(now)

    def stopped(self, line: LineT) -> None:
        """The child was stopped on purpose, or did not want to run, so it is not restarted."""
        line.state = STOPPED
        if line.restart == "temporary" or not self.keeps_stopped:
            self.remove(line)

    def ended(self, line: LineT, clean: bool, now: float) -> Decision[LineT]:
        """The child has ended by itself.

        Args:
            line: which.
            clean: whether it ended as intended.
            now: monotonic seconds.

        Returns: what to do; None when nothing follows.
        """
        line.state = STOPPED
        if line.restart == "permanent" or (line.restart == "transient" and not clean):
            return self.failed(line, now)
        self.stopped(line)
        if line.significant and self._is_last(line):
            return ShutDown(line)
        return None

    def failed(self, line: LineT, now: float) -> Again[LineT] | GiveUp[LineT]:
        """The child must be restarted, or its restart has failed; otherwise as `ended`."""
        if not self.intensity.allow(now):
            return GiveUp(line)
        pause_s = line.backoff.pause_s(now, 0.0)
        if self.strategy == "one_for_one":
            line.state = WAITING
            return Again(line, (), pause_s)
        # A pause that began before, for this child or for one before it, ends with a restart of this one too.
        covered = self._pausing and next(self._from_first_waiting(line), None) is not None
        line.state = WAITING
        group = list(self.lines.values())
        if self.strategy == "rest_for_one":
            group = group[group.index(line) :]
        stop = self._take_down(group)
        if covered:
            return Again(line, stop, None)
        self._pausing = pause_s > 0
        return Again(line, stop, pause_s)

    def due(self, line: LineT) -> tuple[tuple[LineT, ...], tuple[LineT, ...]]:
        """The pause of a child is over: what to stop, in this order, and what to start then, in this order.

        Both are empty when the child was terminated meanwhile and nothing waits with it. Say `started`, `stopped` or
        `failed` of each one that was to be started; after a failure, leave the others alone.
        """
        if self.strategy == "one_for_one":
            return (), (line,) if line.state == WAITING else ()
        self._pausing = False
        group = list(self._from_first_waiting(None))
        stop = self._take_down([one for one in group if one.state == RUNNING])
        return stop, tuple([one for one in group if one.state == WAITING])

    def _from_first_waiting(self, last: LineT | None) -> Iterator[LineT]:
        """The group that a running pause is about, as far as `last`; nothing when nothing waits."""
        waits = False
        for line in self.lines.values():
            if line.state == WAITING and not waits:
                waits = True
                if self.strategy == "one_for_all":
                    yield from self.lines.values()
                    return
            if waits:
                yield line
            if line is last:
                return

    def _take_down(self, group: list[LineT]) -> tuple[LineT, ...]:
        """Let a group wait; temporary children are forgotten. Returns those that run, last first."""
        running = tuple([line for line in reversed(group) if line.state == RUNNING])
        for line in group:
            if line.restart == "temporary":
                self.stopped(line)
            else:
                line.state = WAITING
        return running

    def _is_last(self, line: LineT) -> bool:
        """Whether the supervisor ends with this significant child."""
        if self.auto_shutdown == "all_significant":
            return not any(other.significant and other.state != STOPPED for other in self.lines.values())
        return self.auto_shutdown == "any_significant"
