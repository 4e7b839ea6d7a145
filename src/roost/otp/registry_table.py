"""The table of one registry: who is registered under which key, with which value.

An entry lives as long as its process. The table watches every process that has one, and takes its entries out in the
step in which it ends, before anybody can be told of the end.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Protocol

from roost.errors import ConfigError, NameTaken, TooLarge
from roost.otp.display import display
from roost.otp.isolation import ATOMS, isolate
from roost.otp.ties import Monitor

if TYPE_CHECKING:
    from roost.otp.process import Process


def immutable_key(key: Hashable) -> Hashable:
    """A key that nobody can change.

    Raises:
        ConfigError: when it can change, as a list can.
        NotSendable: when it cannot cross from one process to another.
    """
    if type(key) in ATOMS:
        return key
    try:
        hash(key)
    except TypeError:
        raise ConfigError("key", f"{display(key)} may change, and is not found then: use a tuple instead") from None
    return isolate(key, "a key")


class Row:
    """One entry."""

    __slots__ = ("key", "process", "value")

    def __init__(self, key: Hashable, process: Process, value: object) -> None:
        self.key, self.process, self.value = key, process, value


class Teller(Protocol):
    """Who is told of what comes and goes."""

    def __call__(self, row: Row, registered: bool, /) -> None:
        """`row` was registered, or is no more."""


class Table:
    """The entries by key and by process, each in the order in which they came.

    Args:
        unique: whether a key has at most one entry.
        entries_max: how many entries there may be.
        title: what errors call the table.
        tell: who hears of each entry that comes or goes.
    """

    def __init__(self, unique: bool, entries_max: int, title: str, tell: Teller) -> None:
        self.unique, self.entries_max, self.title = unique, entries_max, title
        self.meta: dict[Hashable, object] = {}
        self._tell = tell
        self._by_key: dict[Hashable, dict[Row, None]] = {}
        self._by_process: dict[Process, dict[Row, None]] = {}
        self._watches: dict[Process, Monitor] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<{self._count} entries under {len(self._by_key)} keys>"

    def __iter__(self) -> Iterator[Row]:
        """The entries of all that live, key by key. They may come and go meanwhile only when it is a list first."""
        for rows in self._by_key.values():
            for row in rows:
                if row.process.alive:
                    yield row

    def add(self, key: Hashable, process: Process, value: object) -> None:
        """Register a live process.

        Raises:
            NameTaken: when keys are unique, and a live process has this one.
            TooLarge: when there is no room for one more.
        """
        rows = self._by_key.get(key)
        if rows is not None and self.unique:
            if any(row.process.alive for row in rows):
                raise NameTaken(self.show(key))
            for row in list(rows):
                self.remove(row)
            rows = None
        if self._count >= self.entries_max:
            raise TooLarge("REGISTRY_ENTRIES_MAX", self._count + 1, self.entries_max)
        row = Row(key, process, value)
        if rows is None:
            rows = self._by_key[key] = {}
        rows[row] = None
        mine = self._by_process.get(process)
        if mine is None:
            mine = self._by_process[process] = {}
            watch = self._watches[process] = Monitor(process, None, lambda down: self.drop(process))
            process.tied.monitors[watch] = None
        mine[row] = None
        self._count += 1
        self._tell(row, True)

    def remove(self, row: Row) -> None:
        """Take out one entry; harmless when it is out."""
        rows, mine = self._by_key.get(row.key), self._by_process.get(row.process)
        if rows is None or mine is None or row not in rows:
            return
        del rows[row], mine[row]
        self._count -= 1
        if not rows:
            del self._by_key[row.key]
        if not mine:
            del self._by_process[row.process]
            self._watches.pop(row.process).cancel()
        self._tell(row, False)

    def drop(self, process: Process) -> None:
        """Take out all that a process has."""
        for row in list(self._by_process.get(process, ())):
            self.remove(row)

    def under(self, key: Hashable) -> list[Row]:
        """The entries of a key, of those that live.

        Raises:
            ConfigError: when it cannot be a key.
        """
        try:
            rows = self._by_key.get(key)
        except TypeError:
            immutable_key(key)
            raise
        return [] if rows is None else [row for row in rows if row.process.alive]

    def of(self, process: Process) -> list[Row]:
        """The entries of a process."""
        return list(self._by_process.get(process, ()))

    def close(self, signal: Callable[[Process], None]) -> None:
        """The registry has ended: let go of everybody, and signal each of them."""
        watches, self._watches = self._watches, {}
        for watch in watches.values():
            watch.cancel()
        for process in watches:
            signal(process)

    def show(self, key: Hashable) -> str:
        """The key as errors and logs name it."""
        return f"{self.title}[{key!r}]"
