"""Registry: processes found by any key, one or many under each, with a value beside each of them.

After Elixir's Registry. Registering, looking up and dispatching are direct uses of a table, without a message and
without waiting; the process that is the registry only owns the table. What differs is said in `Registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import ClassVar, Final, Generic, Literal, NamedTuple, TypeVar, get_args
from typing import cast as typed

import msgspec

from roost.errors import BadFunction, ConfigError, NoSuchProcess, Overloaded, TooLarge
from roost.limits import REGISTRY_ENTRIES_MAX, REGISTRY_META_MAX
from roost.otp.closure import discard
from roost.otp.crash import report_lost
from roost.otp.display import display
from roost.otp.face import face
from roost.otp.gen_server import GenServer
from roost.otp.isolation import ATOMS, isolate
from roost.otp.process import Process
from roost.otp.registry_table import Row, Table, immutable_key
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


class Entry(NamedTuple, Generic[ServerT, ValueT]):
    """One entry, as predicates and `entries` see it."""

    key: Hashable
    process: ServerT
    value: ValueT


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
    are one key. Values cross as messages do, in and out. Who registers without a value has None, which the type of
    the values should then admit: `Registry[Room, str | None]`.
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
            listeners: processes of this node, or names of them, that get a Registered and an Unregistered for every
                entry. A name may belong to nobody for a while.
            meta: what `meta` knows from the beginning.
            entries_max: how many entries there may be.

        Raises:
            ConfigError: when an argument makes no sense.
        """
        if keys not in _KEYS:
            raise ConfigError("keys", f"{keys!r} is not one of {', '.join(_KEYS)}")
        if entries_max < 1:
            raise ConfigError("entries_max", f"{entries_max} is not a positive number")
        process = self._process
        self._listeners = _checked_listeners(listeners, process.scheduler)
        self._table = Table(keys == "unique", entries_max, process.name or str(process), self._tell)
        for name, value in (meta or {}).items():
            _put_meta(self._table, name, value)
        process.tied.monitors[Monitor(process, None, self._ended)] = None

    # Those who register

    @face
    def register(self, key: Hashable, value: ValueT | None = None, *, process: GenServer | None = None) -> None:
        """Register a process: the one that runs, when no other is given.

        Raises:
            NameTaken: when keys are unique, and a live process has this one, be it the same.
            TooLarge: when there are REGISTRY_ENTRIES_MAX entries.
            NotSendable: when the key or the value cannot cross.
            ConfigError: when the key may change, no process runs here, or it is of another node.
            ProcessDown: when the process, or the registry, has ended.
        """
        table, owner = _table(self), _owner(self, process)
        if not owner.alive:
            raise owner.down()
        if type(value) not in ATOMS:
            value = typed("ValueT", isolate(value, f"the value of {table.show(key)}"))
        table.add(immutable_key(key), owner, value)

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
            ConfigError: when the key may change, no process runs here, or it is of another node.
        """
        table, owner, key = _table(self), _owner(self, process), immutable_key(key)
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
        key = immutable_key(key)
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
            ExceptionGroup: of what the callback has raised, after all were called. A callback that returns something to
                await counts as failed, with a BadFunction: nobody would await it.
        """
        table = _table(self)
        errors: list[Exception] = []
        called = 0
        for row in table.under(key):
            if not row.process.alive:
                continue
            called += 1
            try:
                outcome = callback(typed("ServerT", row.process.handle), _out(row))
                if outcome is not None and discard(outcome):
                    raise BadFunction(
                        display(callback), "returned something to await: `lookup`, and await each of them"
                    )
            except Exception as error:
                errors.append(error)
        if errors:
            raise ExceptionGroup(f"dispatch to {table.show(key)} failed for {len(errors)} of {called}", errors)
        return called

    @face
    def entries(
        self, where: Callable[[Entry[ServerT, ValueT]], bool] | None = None
    ) -> tuple[Entry[ServerT, ValueT], ...]:
        """All entries, or those for which `where` is true, key by key."""
        found: list[Entry[ServerT, ValueT]] = [
            Entry(row.key, typed("ServerT", row.process.handle), _out(row)) for row in _table(self)
        ]
        return tuple(found if where is None else [entry for entry in found if where(entry)])

    @face
    def count(self, where: Callable[[Entry[ServerT, ValueT]], bool] | None = None) -> int:
        """How many entries there are, or for how many `where` is true."""
        return len(_table(self)) if where is None else len(self.entries(where))

    @face
    def meta(self, name: Hashable, default: object = None) -> object:
        """What `put_meta` has put under `name`."""
        return isolate(_table(self).meta.get(immutable_key(name), default), "a value of meta")

    @face
    def put_meta(self, name: Hashable, value: object) -> None:
        """Keep something beside the entries: what all users of the registry share.

        Raises:
            TooLarge: when there are REGISTRY_META_MAX names.
            NotSendable: when the name or the value cannot cross.
        """
        _put_meta(_table(self), name, value)

    @face
    def delete_meta(self, name: Hashable) -> None:
        """Forget what `put_meta` has put under `name`. Harmless when that is nothing."""
        _table(self).meta.pop(immutable_key(name), None)

    @face
    def via(self, key: Hashable, value: ValueT | None = None) -> RegistryKey:
        """A place in this registry as a name: for `start_link(name=...)`, `child(name=...)` and `whereis`.

        It means the registry by its name, if that has one, and so goes on to mean it after a restart.

        Raises:
            ConfigError: when keys are not unique.
            NotSendable: when the key or the value cannot cross.
        """
        table, process = _table(self), self._process
        _check_unique(table)
        named = process.name is not None and process.scheduler.names.get(process.name) is process
        registry = process.name if named and process.name is not None else self
        return RegistryKey(registry, immutable_key(key), isolate(value, f"the value of {table.show(key)}"))

    # Inside

    def _ended(self, down: Down) -> None:
        scheduler, registry = self.scheduler, self._process
        self._table.close(lambda process: scheduler.signal(process, registry, down.reason))

    def _tell(self, row: Row, registered: bool) -> None:
        registry, owner = self._process.handle, row.process.handle
        for listener in self._listeners:
            process = self.scheduler.names.get(listener) if isinstance(listener, str) else listener
            if process is None:
                continue
            try:
                if registered:
                    process.inform(Registered(registry, row.key, owner, isolate(row.value, "a value")))
                else:
                    process.inform(Unregistered(registry, row.key, owner))
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
            ConfigError: when it is no registry with unique keys of this node, or the key may change.
        """
        self._registry(process._process.scheduler).register(self.key, self.value, process=process)

    def whereis(self) -> GenServer | None:
        """Who has the key; None when nobody has.

        Raises:
            NoSuchProcess: when the registry does not run.
            ConfigError: as `register`.
        """
        for process, _ in self._registry(Scheduler.current()).lookup(self.key):
            return process
        return None

    def _registry(self, scheduler: Scheduler) -> Registry[GenServer, object]:
        name = self.registry
        process = scheduler.whereis(name) if isinstance(name, str) else _local("registry", name, scheduler)
        if not isinstance(process.handle, Registry):
            raise ConfigError("registry", f"{process} is no registry")
        if not process.alive:
            raise NoSuchProcess(str(process))
        _check_unique(_table(process.handle))
        return process.handle


def _table(registry: Registry[ServerT, ValueT]) -> Table:
    process = registry._process
    if not process.alive:
        raise process.down()
    return typed("Registry[GenServer, object]", process.server)._table


def _check_unique(table: Table) -> None:
    if not table.unique:
        raise ConfigError("via", f"{table.title} has duplicate keys: a name belongs to one process")


def _owner(registry: GenServer, process: GenServer | None) -> Process:
    """Whom an operation is about."""
    scheduler = registry._process.scheduler
    if process is not None:
        return _local("process", process, scheduler)
    owner = scheduler.running_process()
    if owner is None:
        raise ConfigError("process", "no process runs here: say which one is meant, with process=")
    return owner


def _local(setting: str, handle: GenServer, scheduler: Scheduler) -> Process:
    """The process of a handle, which must be one of this node."""
    process: object = getattr(handle, "_process", None)
    if process is None:
        raise ConfigError(setting, f"{display(handle)} is not the handle of a process")
    if not isinstance(process, Process) or process.scheduler is not scheduler:
        raise ConfigError(setting, f"{handle!r} is not on the node of the registry")
    return process


def _checked_listeners(listeners: Sequence[str | GenServer], scheduler: Scheduler) -> tuple[str | Process, ...]:
    if isinstance(listeners, str):
        raise ConfigError("listeners", f"{listeners!r} is one name: listeners=[{listeners!r}]")
    return tuple([one if isinstance(one, str) else _local("listeners", one, scheduler) for one in listeners])


def _put_meta(table: Table, name: Hashable, value: object) -> None:
    name = immutable_key(name)
    if name not in table.meta and len(table.meta) >= REGISTRY_META_MAX:
        raise TooLarge("REGISTRY_META_MAX", len(table.meta) + 1, REGISTRY_META_MAX)
    table.meta[name] = isolate(value, "a value of meta")


def _out(row: Row) -> ValueT:  # type: ignore[type-var]  # what the table does not know, the registry was declared with
    value = row.value
    return typed("ValueT", value if type(value) in ATOMS else isolate(value, "a value of a registry"))
