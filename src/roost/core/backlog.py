"""What waits for a reader that is behind, within a budget, and what gives way when that is used up.

A socket whose client does not read as fast as it is written to keeps its ready frames here; so does a long poll
between two requests. Three policies, as values:

- `CloseSlow`: nothing is lost; over the budget the reader has to be closed.
- `DropOldest`: over the budget, what is oldest of what may be lost goes first.
- `Coalesce`: of what is said about one thing again and again, only the newest waits.

What may be lost is decided by a function that is given (`Look`; `roost.wire.phoenix.look` for frames of Phoenix):
never a reply, the end of a channel, a presence, or what was pushed to one client. Whatever is left out, the frames
that a reader gets are in the order in which they were written.

A frame counts with its bytes and BACKLOG_FRAME_BYTES for keeping it, so that a budget is about what is really held.
A frame is only looked into when its reader is behind, once for all readers of one `SlowReaders`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from roost.errors import ConfigError
from roost.limits import BACKLOG_FRAME_BYTES, SOCKET_BUFFER_BYTES_MAX


@dataclass(frozen=True, slots=True)
class CloseSlow:
    """Lose nothing: a reader with more than `budget_bytes` waiting is closed, with 1013.

    Raises:
        ConfigError: when the budget is not positive.
    """

    budget_bytes: int = SOCKET_BUFFER_BYTES_MAX

    def __post_init__(self) -> None:
        _check_budget(self.budget_bytes)


@dataclass(frozen=True, slots=True)
class DropOldest:
    """Lose the oldest broadcasts that wait, as many as the budget demands.

    A reader for whom more than `budget_bytes` wait of what must not be lost is closed, with 1013.

    Raises:
        ConfigError: when the budget is not positive.
    """

    budget_bytes: int = SOCKET_BUFFER_BYTES_MAX

    def __post_init__(self) -> None:
        _check_budget(self.budget_bytes)


@dataclass(frozen=True, slots=True)
class Coalesce:
    """Let only the newest wait of what is said about one thing: one topic, one event, one value of a field.

    ::

        slow_reader = Coalesce(events={"moved": "user"})

    Nothing else is lost: a reader for whom more than `budget_bytes` wait nevertheless is closed, with 1013. What has
    no such field, or bytes for a payload, is not coalesced.

    Attributes:
        budget_bytes: what may wait.
        events: the field of the payload that says what an event is about, by the name of the event.

    Raises:
        ConfigError: when the budget is not positive, or no event is named.
    """

    budget_bytes: int = SOCKET_BUFFER_BYTES_MAX
    events: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_budget(self.budget_bytes)
        if not self.events:
            raise ConfigError("events", "name the events to coalesce: Coalesce(events={'moved': 'user'})")


Policy = CloseSlow | DropOldest | Coalesce
"""What to do about a reader that is behind."""


class Seen(NamedTuple):
    """What a look into one frame has found.

    Attributes:
        is_expendable: whether it may be lost.
        key: what it is about, when a newer one about the same may replace it; else None.
    """

    is_expendable: bool
    key: Hashable | None


Look = Callable[[bytes, Mapping[str, str]], Seen]
"""Looks into a ready frame; the mapping is that of `Coalesce.events`, empty for the other policies."""


class SlowReaders:
    """The readers that share one policy, as the sockets of one endpoint do, and what has happened to them.

    Args:
        policy: what to do about those that are behind.
        look: looks into a frame.

    Attributes:
        behind: readers for whom something waits now.
        waiting_bytes: what waits for all of them now.
        dropped: frames that `DropOldest` has left out, so far.
        coalesced: frames that a newer one has replaced, so far.
        closed: readers that were over their budget, so far.
    """

    __slots__ = ("_frame", "_look", "_seen", "behind", "closed", "coalesced", "dropped", "policy", "waiting_bytes")

    def __init__(self, policy: Policy, look: Look) -> None:
        self.policy = policy
        self._look = look
        self._frame: bytes | None = None
        self._seen = Seen(False, None)
        self.behind = self.waiting_bytes = self.dropped = self.coalesced = self.closed = 0

    def look(self, frame: bytes) -> Seen:
        """Look into a frame; a broadcast that comes by for many readers is remembered."""
        if frame is not self._frame:
            policy = self.policy
            self._seen = self._look(frame, policy.events if isinstance(policy, Coalesce) else {})
            self._frame = frame
        return self._seen


class Backlog:
    """The frames that wait for one reader, oldest first.

    Args:
        readers: its policy, and where it is counted. Nothing is counted while nothing waits.
        budget_bytes: its own budget, when it is not that of the policy.

    ::

        if not backlog.add(frame):      # over the budget: close with 1013; the backlog is empty
            ...
        for frame in backlog.take(64 * 1024): ...
        backlog.clear()                 # the reader is gone

    When the reader is gone, whoever owns this has to `clear` it; else it is counted for ever.
    """

    __slots__ = ("_budget_bytes", "_frames", "_kept", "_number", "_readers", "size_bytes")

    def __init__(self, readers: SlowReaders, budget_bytes: int | None = None) -> None:
        self._readers = readers
        self._budget_bytes = readers.policy.budget_bytes if budget_bytes is None else budget_bytes
        self._kept: deque[bytes] = deque()
        """What was looked at when room was needed, and must not be lost; all of it is older than `_frames`."""
        self._frames: OrderedDict[Hashable, bytes] = OrderedDict()
        """The rest, by what it is about, or by a number."""
        self._number = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept) + len(self._frames)

    def __bool__(self) -> bool:
        """Whether something waits."""
        return self.size_bytes > 0

    def add(self, frame: bytes) -> bool:
        """Let one frame wait, by the rules of the policy. O(1) amortised.

        Returns: False when the reader is over its budget. It is counted as closed then, and nothing waits any more.
        """
        readers = self._readers
        if not self.size_bytes:
            readers.behind += 1
        key: Hashable | None = None
        if isinstance(readers.policy, Coalesce):
            key = readers.look(frame).key
        if key is None:
            self._number += 1
            key = self._number
        else:
            replaced = self._frames.pop(key, None)
            if replaced is not None:
                self._forget(replaced)
                readers.coalesced += 1
        self._frames[key] = frame
        size_bytes = len(frame) + BACKLOG_FRAME_BYTES
        self.size_bytes += size_bytes
        readers.waiting_bytes += size_bytes
        if self.size_bytes <= self._budget_bytes:
            return True
        if isinstance(readers.policy, DropOldest):
            self._drop_oldest()
            if self.size_bytes <= self._budget_bytes:
                if not self.size_bytes:
                    readers.behind -= 1
                return True
        self.clear()
        readers.closed += 1
        return False

    def take(self, size_bytes: int) -> list[bytes]:
        """Take out the oldest frames: as many as fit into `size_bytes`, but one at least; none when nothing waits."""
        taken: list[bytes] = []
        room_bytes = size_bytes
        while self.size_bytes:
            frame = self._kept[0] if self._kept else next(iter(self._frames.values()))
            if taken and len(frame) > room_bytes:
                break
            if self._kept:
                self._kept.popleft()
            else:
                self._frames.popitem(last=False)
            taken.append(frame)
            room_bytes -= len(frame)
            self._forget(frame)
            if not self.size_bytes:
                self._readers.behind -= 1
        return taken

    def clear(self) -> None:
        """Forget everything: the reader is gone, or to be closed."""
        if self.size_bytes:
            self._readers.behind -= 1
            self._readers.waiting_bytes -= self.size_bytes
            self.size_bytes = 0
            self._kept.clear()
            self._frames.clear()

    def _drop_oldest(self) -> None:
        readers = self._readers
        while self.size_bytes > self._budget_bytes and self._frames:
            _, frame = self._frames.popitem(last=False)
            if readers.look(frame).is_expendable:
                self._forget(frame)
                readers.dropped += 1
            else:
                self._kept.append(frame)

    def _forget(self, frame: bytes) -> None:
        size_bytes = len(frame) + BACKLOG_FRAME_BYTES
        self.size_bytes -= size_bytes
        self._readers.waiting_bytes -= size_bytes


def _check_budget(budget_bytes: int) -> None:
    if budget_bytes <= 0:
        raise ConfigError("budget_bytes", f"{budget_bytes} is not positive")
