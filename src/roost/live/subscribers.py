"""The subscribers of one topic on one node: nearly always one, sometimes a few, now and then a thousand.

When things fail: a sink that raises, which none should, is logged; the others are given the frame all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

FEW_MAX: Final = 8
"""How many subscribers are few: they are kept in less space, and the functions of more are worth remembering."""

logger = logging.getLogger("roost.pubsub")


class Sink(Protocol):
    """Where ready frames go: a socket, or whatever stands for one. It must not raise."""

    @property
    def write(self) -> Callable[[bytes], object]:
        """Takes one frame; never blocks. It stays the same function, because topics remember it: a thousand calls of
        remembered functions are a good deal faster than a thousand attributes looked up.
        """

    def flush(self) -> None:
        """The turn ends: send what was taken."""


class One:
    """The only subscriber of a topic."""

    __slots__ = ("_key", "_sink")

    def __init__(self, key: object, sink: Sink) -> None:
        self._key, self._sink = key, sink

    def __len__(self) -> int:
        return 1

    def add(self, key: object, sink: Sink) -> Subscribers:
        """What the subscribers are with one more, or with another sink for the same key."""
        if key is self._key or key == self._key:
            return One(key, sink)
        return Few((self._key, key), (self._sink, sink))

    def remove(self, key: object) -> Subscribers | None:
        """What they are without one."""
        return None if key is self._key or key == self._key else self

    def sinks(self, excluded: object = None) -> Sequence[Sink]:
        """The sinks of all, but that of the key `excluded`."""
        return () if self._key is excluded else (self._sink,)

    def write(self, frame: bytes, excluded: object) -> None:
        """Give a frame to all, but to the key `excluded`."""
        if excluded is None or self._key is not excluded:
            _give((self._sink.write,), frame)

    def flush(self) -> None:
        """The turn ends."""
        _flush((self._sink.flush,))


class Few:
    """Two subscribers of a topic, or up to FEW_MAX. It never changes: a change makes another one."""

    __slots__ = ("_keys", "_sinks")

    def __init__(self, keys: tuple[object, ...], sinks: tuple[Sink, ...]) -> None:
        self._keys, self._sinks = keys, sinks

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: object, sink: Sink) -> Subscribers:
        """What the subscribers are with one more, or with another sink for the same key."""
        keys, sinks = self._keys, self._sinks
        if key in keys:
            at = keys.index(key)
            return Few(keys, (*sinks[:at], sink, *sinks[at + 1 :]))
        if len(keys) == FEW_MAX:
            return Many({**dict(zip(keys, sinks, strict=True)), key: sink})
        return Few((*keys, key), (*sinks, sink))

    def remove(self, key: object) -> Subscribers | None:
        """What they are without one."""
        keys, sinks = self._keys, self._sinks
        if key not in keys:
            return self
        at = keys.index(key)
        if len(keys) == 2:
            return One(keys[1 - at], sinks[1 - at])
        return Few((*keys[:at], *keys[at + 1 :]), (*sinks[:at], *sinks[at + 1 :]))

    def sinks(self, excluded: object = None) -> Sequence[Sink]:
        """The sinks of all, but that of the key `excluded`."""
        if excluded is None:
            return self._sinks
        return [sink for key, sink in zip(self._keys, self._sinks, strict=True) if key is not excluded]

    def write(self, frame: bytes, excluded: object) -> None:
        """Give a frame to all, but to the key `excluded`."""
        _give([sink.write for sink in (self._sinks if excluded is None else self.sinks(excluded))], frame)

    def flush(self) -> None:
        """The turn ends."""
        _flush([sink.flush for sink in self._sinks])


class Many:
    """More than a few subscribers of a topic, with their functions remembered."""

    __slots__ = ("_flushes", "_sinks", "_writes")

    def __init__(self, sinks: dict[object, Sink]) -> None:
        self._sinks = sinks
        self._writes: list[Callable[[bytes], object]] | None = None
        self._flushes: list[Callable[[], None]] | None = None

    def __len__(self) -> int:
        return len(self._sinks)

    def add(self, key: object, sink: Sink) -> Subscribers:
        """What the subscribers are with one more, or with another sink for the same key."""
        self._sinks[key] = sink
        self._writes = self._flushes = None
        return self

    def remove(self, key: object) -> Subscribers | None:
        """What they are without one."""
        if self._sinks.pop(key, None) is not None:
            self._writes = self._flushes = None
            if len(self._sinks) <= FEW_MAX // 2:
                return Few(tuple(self._sinks), tuple(self._sinks.values()))
        return self

    def sinks(self, excluded: object = None) -> Sequence[Sink]:
        """The sinks of all, but that of the key `excluded`."""
        return [sink for key, sink in self._sinks.items() if excluded is None or key is not excluded]

    def write(self, frame: bytes, excluded: object) -> None:
        """Give a frame to all, but to the key `excluded`."""
        if excluded is None:
            if self._writes is None:
                self._writes = [sink.write for sink in self._sinks.values()]
            _give(self._writes, frame)
        else:
            _give([sink.write for sink in self.sinks(excluded)], frame)

    def flush(self) -> None:
        """The turn ends."""
        if self._flushes is None:
            self._flushes = [sink.flush for sink in self._sinks.values()]
        _flush(self._flushes)


def _give(writes: Iterable[Callable[[bytes], object]], frame: bytes) -> None:
    for write in writes:
        try:
            write(frame)
        except Exception:
            logger.exception("a subscriber has failed on a broadcast")


def _flush(flushes: Iterable[Callable[[], None]]) -> None:
    for flush in flushes:
        try:
            flush()
        except Exception:
            logger.exception("a subscriber has failed at the end of a turn")


Subscribers = One | Few | Many
