"""Registry: processes found by any key, one or many under each, with a value beside each of them.

After Elixir's Registry. Registering, looking up and dispatching are direct uses of a table, without a message and
without waiting; the process that is the registry only owns the table. What differs is said in `Registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import ClassVar, Final, Generic, Literal, NamedTuple, TypeVar, get_args
from typing import cast as typed

import msgspec

from roost.errors import ConfigError, NoSuchProcess, NotSendable, Overloaded
from roost.limits import REGISTRY_ENTRIES_MAX
from roost.otp.crash import report_lost
from roost.otp.face import face, running_process
from roost.otp.gen_server import GenServer
from roost.otp.isolation import ATOMS, isolate
from roost.otp.process import Process
from roost.otp.registry_table import Row, Table
from roost.otp.scheduler import Scheduler
from roost.otp.ties import Down, Monitor

ServerT = TypeVar("ServerT", bound=GenServer)
ValueT = TypeVar("ValueT")

Keys = Literal["unique", "duplicate"]
"""Whether a key belongs to one process, or to as many as want it."""
_KEYS: Final = get_args(Keys)


class Registered(msgspec.Struct, frozen=True):
    """Told to a listener: a process was registered."""

    __sendable__: ClassVar[bool] = True

    registry: GenServer
    key: Hashable
    process: GenServer
    value: object


class Unregistered(msgspec.Struct, frozen=True):
    """Told to a listener: an entry is gone, because its process wanted that or has ended."""

    __sendable__: ClassVar[bool] = True

    registry: GenServer
    key: Hashable
    process: GenServer


class Entry(NamedTuple):
    """One entry, as predicates and `entries` see it."""

    key: Hashable
    process: GenServer
    value: object


class Registry(GenServer, Generic[ServerT, ValueT]):
    """Finds processes by key.

    ::

        rooms: Registry[Room, str] = await Registry.start_link(name="rooms")
        lobby = await Room.start_link(name=rooms.via("lobby"))
        ((room, title),) = rooms.lookup("lobby")

    As in Elixir, a process that has registered itself is tied to the registry: when the registry ends, it gets an exit
    signal with the reason, as over a link. So nobody runs on in the belief that he can be found, and a registry that
    its supervisor has started again is empty for everybody. Start it before those who use it.

    Better than Elixir: an entry disappears in the same step in which its process ends. A lookup never returns a handle
    of a process that has ended before.

    Every method but those of all handles runs in the caller, at once, and raises ProcessDown when the registry has
    ended. Keys are what can cross between processes and be hashed; they are equal when Python says so, so 1 and 1.0
    are one key. Values cross as messages do, in and out.
    """

    def init(
        self,
        keys: Keys = "unique",
        *,
        listeners: Sequence[str | GenServer] = (),
        meta: Mapping[Hashable, object] | None = None,
        entries_max: int = REGISTRY_ENTRIES_MAX,
    ) -> None:
        """Begin with an empty table.

        Args:
            keys: "unique" or "duplicate".
            listeners: processes, or names of processes, that get a Registered and an Unregistered for every entry.
            meta: what `meta` knows from the beginning.
            entries_max: how many entries there may be.

        Raises:
            ConfigError: when `keys` is another word.
        """
        if keys not in _KEYS:
            raise ConfigError("keys", f"{keys!r} is not one of {', '.join(_KEYS)}")
        self._listeners = tuple(listeners)
        process = self._process
        self._table = Table(keys == "unique", entries_max, process.name or str(process), self._tell)
        for name, value in (meta or {}).items():
            self._table.meta[_key(name)] = isolate(value, "a value of meta")
        process.tied.monitors[Monitor(process, None, self._ended)] = None

    # Those who register

    @face
    def register(self, key: Hashable, value: ValueT | None = None, *, process: GenServer | None = None) -> None:
        """Register a process: the one that runs, when no other is given.

        Raises:
            NameTaken: when keys are unique, and a live process has this one, be it the same.
            TooLarge: when there are REGISTRY_ENTRIES_MAX entries.
            NotSendable: when the key or the value cannot cross.
            ConfigError: when no process runs here, or it is of another node.
            ProcessDown: when the process, or the registry, has ended.
        """
        table, owner = _table(self), _owner(self, process)
        if not owner.alive:
            raise owner.down()
        if type(value) not in ATOMS:
            value = typed("ValueT", isolate(value, f"the value of {table.show(key)}"))
        table.add(_key(key), owner, value)

    @face
    def unregister(
        self,
        key: Hashable,
        *,
        where: Callable[[ValueT], bool] | None = None,
        process: GenServer | None = None,
    ) -> None:
        """Take a process out: all its entries under `key`, or those with a value for which `where` is true.

        Harmless when there are none. `process` is the one that runs, when no other is given.

        Raises:
            ConfigError: when no process runs here, or it is of another node.
        """
        table, owner = _table(self), _owner(self, process)
        for row in table.of(owner):
            if row.key == key and (where is None or where(_out(row))):
                table.remove(row)

    @face
    def update_value(
        self, key: Hashable, function: Callable[[ValueT], ValueT], *, process: GenServer | None = None
    ) -> tuple[ValueT, ValueT]:
        """Give an entry of the running process, or of `process`, a new value: what `function` makes of the old one.

        It runs in the caller.

        Returns: the new value and the old one.

        Raises:
            NoSuchProcess: when the process is not registered under `key`.
            NotSendable: when the new value cannot cross.
            ConfigError: when keys are not unique, no process runs here, or it is of another node.
        """
        table, owner = _table(self), _owner(self, process)
        if not table.unique:
            raise ConfigError("update_value", f"{table.title} has duplicate keys: which value is meant?")
        row = next((row for row in table.under(key) if row.process is owner), None)
        if row is None:
            raise NoSuchProcess(table.show(key))
        old: ValueT = _out(row)
        row.value = isolate(function(old), f"the value of {table.show(key)}")
        return _out(row), old

    @face
    def keys(self, process: GenServer | None = None) -> tuple[Hashable, ...]:
        """The keys of the running process, or of `process`, in the order in which it registered them.

        Raises:
            ConfigError: when no process runs here, or it is of another node.
        """
        return tuple([row.key for row in _table(self).of(_owner(self, process))])

    @face
    def values(self, key: Hashable, process: GenServer | None = None) -> tuple[ValueT, ...]:
        """The values that the running process, or `process`, has under `key`.

        Raises:
            ConfigError: when no process runs here, or it is of another node.
        """
        return tuple([_out(row) for row in _table(self).of(_owner(self, process)) if row.key == key])

    # Those who look

    @face
    def lookup(self, key: Hashable) -> tuple[tuple[ServerT, ValueT], ...]:
        """Who is registered under `key`, and with which value; at most one when keys are unique."""
        rows = _table(self).under(key)
        return tuple([(typed("ServerT", row.process.handle), _out(row)) for row in rows])

    @face
    def dispatch(self, key: Hashable, callback: Callable[[ServerT, ValueT], object]) -> int:
        """Call `callback(process, value)` for everybody under `key`, here in the caller.

        One that fails does not keep the others from their turn.

        Returns: how many there were.

        Raises:
            ExceptionGroup: of what the callback has raised, after all were called.
        """
        table = _table(self)
        errors: list[Exception] = []
        called = 0
        for row in table.under(key):
            if not row.process.alive:
                continue
            called += 1
            try:
                callback(typed("ServerT", row.process.handle), _out(row))
            except Exception as error:
                errors.append(error)
        if errors:
            raise ExceptionGroup(f"dispatch to {table.show(key)} failed for {len(errors)} of {called}", errors)
        return called

    @face
    def entries(self, where: Callable[[Entry], bool] | None = None) -> tuple[Entry, ...]:
        """All entries, or those for which `where` is true, key by key."""
        found = [Entry(row.key, row.process.handle, _out(row)) for row in _table(self)]
        return tuple(found if where is None else [entry for entry in found if where(entry)])

    @face
    def count(self, where: Callable[[Entry], bool] | None = None) -> int:
        """How many entries there are, or for how many `where` is true."""
        return len(_table(self)) if where is None else len(self.entries(where))

    @face
    def meta(self, name: Hashable, default: object = None) -> object:
        """What `put_meta` has put under `name`."""
        return isolate(_table(self).meta.get(name, default), "a value of meta")

    @face
    def put_meta(self, name: Hashable, value: object) -> None:
        """Keep something beside the entries: what all users of the registry share.

        Raises:
            NotSendable: when the name or the value cannot cross.
        """
        _table(self).meta[_key(name)] = isolate(value, "a value of meta")

    @face
    def via(self, key: Hashable, value: ValueT | None = None) -> RegistryKey:
        """A place in this registry as a name: for `start_link(name=...)`, `child(name=...)` and `whereis`.

        It means the registry by its name, if that has one, and so goes on to mean it after a restart.

        Raises:
            ConfigError: when keys are not unique.
            NotSendable: when the key or the value cannot cross.
        """
        table, process = _table(self), self._process
        if not table.unique:
            raise ConfigError("via", f"{table.title} has duplicate keys: a name belongs to one process")
        named = process.name is not None and process.scheduler.names.get(process.name) is process
        registry = process.name if named and process.name is not None else self
        return RegistryKey(registry, _key(key), isolate(value, f"the value of {table.show(key)}"))

    # Inside

    def _ended(self, down: Down) -> None:
        scheduler, registry = self.scheduler, self._process
        self._table.close(lambda process: scheduler.signal(process, registry, down.reason))

    def _tell(self, row: Row, registered: bool) -> None:
        handle = self._process.handle
        for listener in self._listeners:
            process = self.scheduler.names.get(listener) if isinstance(listener, str) else listener._process
            if process is None:
                continue
            owner = row.process.handle
            try:
                if registered:
                    process.inform(Registered(handle, row.key, owner, isolate(row.value, "a value")))
                else:
                    process.inform(Unregistered(handle, row.key, owner))
            except Overloaded:
                report_lost(process, f"has not heard of {self._table.show(row.key)}: its mailbox is full")


class RegistryKey(msgspec.Struct, frozen=True):
    """A key of a registry as the name of a process: `Room.start_link(name=RegistryKey("rooms", "lobby"))`.

    Unlike `registry.via(key)` it can be written down before the registry runs, as in a list of children.

    Attributes:
        registry: the registry, or its name.
        key: where the process is registered.
        value: what stands beside it.
    """

    registry: str | GenServer
    key: Hashable
    value: object = None

    def __str__(self) -> str:
        title = self.registry if isinstance(self.registry, str) else str(self.registry._process)
        return f"{title}[{self.key!r}]"

    def register(self, process: GenServer, /) -> None:
        """Take the key for `process`.

        Raises:
            NameTaken: when a live process has it.
            NoSuchProcess: when the registry does not run.
        """
        self._registry(process._process.scheduler).register(self.key, self.value, process=process)

    def whereis(self) -> GenServer | None:
        """Who has the key; None when nobody has.

        Raises:
            NoSuchProcess: when the registry does not run.
        """
        for process, _ in self._registry(Scheduler.current()).lookup(self.key):
            return process
        return None

    def _registry(self, scheduler: Scheduler) -> Registry[GenServer, object]:
        registry = self.registry
        found = scheduler.whereis(registry).handle if isinstance(registry, str) else registry
        if not isinstance(found, Registry) or not found.is_alive():
            raise NoSuchProcess(str(registry))
        return found


def _table(registry: Registry[ServerT, ValueT]) -> Table:
    process = registry._process
    if not process.alive:
        raise process.down()
    return typed("Registry[GenServer, object]", process.server)._table


def _owner(registry: GenServer, process: GenServer | None) -> Process:
    """Whom an operation is about."""
    scheduler = registry._process.scheduler
    if process is None:
        owner = running_process(scheduler)
        if owner is None:
            raise ConfigError("process", "no process runs here: say which one is meant")
        return owner
    given: object = process._process
    if not isinstance(given, Process) or given.scheduler is not scheduler:
        raise ConfigError("process", f"{process!r} is not on the node of the registry")
    return given


def _key(key: Hashable) -> Hashable:
    """A key that nobody can change."""
    if type(key) in ATOMS:
        return key
    try:
        hash(key)
    except TypeError:
        raise NotSendable(type(key).__name__, "a key, which must not change") from None
    return isolate(key, "a key")


def _out(row: Row) -> ValueT:  # type: ignore[type-var]  # what the table does not know, the registry was declared with
    value = row.value
    return typed("ValueT", value if type(value) in ATOMS else isolate(value, "a value of a registry"))
