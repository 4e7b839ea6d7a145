"""Registries: who is found under which key, for exactly as long as he lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.errors import (
    BadFunction,
    ConfigError,
    NameTaken,
    NoSuchProcess,
    NotSendable,
    ProcessDown,
    StartFailed,
    TooLarge,
)
from roost.otp import (
    Down,
    Entry,
    Exit,
    GenServer,
    Registered,
    Registry,
    RegistryKey,
    Supervisor,
    Unregistered,
    call,
    cast,
    info,
    remote_handle,
)
from roost.otp import registry as registry_module
from roost.otp.registry_table import Table
from roost.sim import turns


class Room(GenServer):
    """Registers itself, and notes what it hears."""

    def init(self, registry: Registry[Room, object] | None = None, trapping: bool = False) -> None:
        self.trap_exits(trapping)
        self.heard: list[object] = []
        if registry is not None:
            registry.register("from init", "early")
            registry.unregister("from init")

    @call
    def enter(self, registry: Registry[Room, object], key: object, value: object = None) -> None:
        registry.register(key, value)

    @call
    async def enter_slowly(self, registry: Registry[Room, object], key: str) -> None:
        await asyncio.sleep(0)
        registry.register(key)

    @call
    def leave(self, registry: Registry[Room, object], key: object) -> None:
        registry.unregister(key)

    @call
    def change(self, registry: Registry[Room, int], key: str) -> tuple[int, int]:
        return registry.update_value(key, lambda n: n + 1)

    @call
    def mine(self, registry: Registry[Room, object]) -> tuple[object, ...]:
        return registry.keys()

    @call
    def watch(self, other: GenServer) -> None:
        self.monitor(other)

    @call
    def crash(self) -> None:
        raise ValueError("a bug")

    @call
    def told(self) -> tuple[object, ...]:
        return tuple(self.heard)

    @cast
    def note(self, text: str) -> None:
        self.heard.append(text)

    @info
    def exited(self, exit: Exit) -> None:
        self.heard.append(exit.reason)

    @info
    def went_down(self, down: Down) -> None:
        self.heard.append(down.reason)

    @info
    def registered(self, message: Registered) -> None:
        self.heard.append(("in", message.key, message.process, message.value))

    @info
    def unregistered(self, message: Unregistered) -> None:
        self.heard.append(("out", message.key, message.process))


class Other(GenServer):
    """A process of another class."""


Rooms = Registry[Room, object]


async def registry(keys: str = "unique", listeners: Sequence[str | GenServer] = (), **options: int | object) -> Rooms:
    """A registry that is linked to nobody."""
    started: Rooms = await Registry.start(keys, listeners=listeners, **options)  # type: ignore[arg-type]  # none is named name
    return started


async def test_a_process_registers_itself_and_is_found() -> None:
    rooms = await registry()
    lobby = await Room.start(rooms)
    assert rooms.count() == 0, "it had left again in init"
    await lobby.enter(rooms, "lobby", "The lobby")
    await lobby.enter_slowly(rooms, "hall")
    assert rooms.lookup("lobby") == ((lobby, "The lobby"),)
    assert rooms.lookup("hall") == ((lobby, None),)
    assert rooms.lookup("cellar") == ()
    assert await lobby.mine(rooms) == rooms.keys(lobby) == ("lobby", "hall")
    await lobby.leave(rooms, "hall")
    await lobby.leave(rooms, "hall")
    assert rooms.keys(lobby) == ("lobby",)


async def test_a_unique_key_belongs_to_one() -> None:
    rooms = await registry(entries_max=3)
    one, other = await Room.start(), await Room.start()
    await one.enter(rooms, "a")
    for room in (one, other):
        with pytest.raises(NameTaken, match=r"\['a'\]"):
            await room.enter(rooms, "a")
    one.exit("kill")
    await other.enter(rooms, "a")
    rooms.register("b", process=other)
    rooms.register("c", process=other)
    with pytest.raises(TooLarge, match="REGISTRY_ENTRIES_MAX: 4 is over the limit of 3"):
        rooms.register("d", process=other)


async def test_a_duplicate_key_belongs_to_many_and_to_one_several_times() -> None:
    rooms = await registry("duplicate")
    one, other = await Room.start(), await Room.start()
    for room, value in ((one, 1), (other, 2), (one, 3)):
        await room.enter(rooms, "news", value)
    assert rooms.lookup("news") == ((one, 1), (other, 2), (one, 3))
    assert rooms.values("news", one) == (1, 3)
    assert rooms.keys(one) == ("news", "news")
    rooms.unregister("news", where=lambda value: value == 3, process=one)
    assert rooms.lookup("news") == ((one, 1), (other, 2))
    with pytest.raises(ConfigError, match="which value is meant"):
        rooms.update_value("news", lambda value: value, process=one)
    with pytest.raises(ConfigError, match="a name belongs to one process"):
        rooms.via("news")


async def test_an_entry_disappears_with_its_process_before_anybody_hears_of_the_end() -> None:
    rooms = await registry("duplicate")
    one, watcher = await Room.start(), await Room.start()
    await one.enter(rooms, "a")
    await one.enter(rooms, "b")
    await watcher.enter(rooms, "a")
    seen: list[object] = []
    process = one._process
    one.note("keeps it busy")
    process.scheduler.deliver_call(
        process, process.calls["told"], (), {}, lambda value, error: seen.append((rooms.lookup("b"), error is not None))
    )
    one.exit("kill")
    assert seen == [((), True)], "who is answered in the middle of the end sees no dead handle either"
    assert rooms.entries() == (Entry("a", watcher, None),)
    assert rooms.count() == 1
    process = watcher._process
    rooms.unregister("a", process=watcher)
    assert process.ties is not None
    assert not process.ties.monitors, "nothing is left of a watch over a process without entries"


async def test_the_registered_end_with_their_registry_as_if_they_were_linked() -> None:
    for reason, dies, hears in (("boom", True, ("boom",)), ("kill", True, ("killed",)), ("normal", False, ("normal",))):
        rooms = await registry()
        plain, trapper, gone = await Room.start(), await Room.start(trapping=True), await Room.start()
        for room, key in ((plain, "a"), (trapper, "b"), (gone, "c")):
            await room.enter(rooms, key)
        await gone.leave(rooms, "c")
        down = plain.down()
        if reason == "normal":
            await rooms.stop()
        else:
            rooms.exit(reason)
        assert plain.is_alive() is not dies
        if dies:
            assert (await down).reason == hears[0]
        assert await trapper.told() == hears
        assert gone.is_alive(), "it was not registered any more"
        assert trapper._process.ties is not None
        assert not trapper._process.ties.monitors
        for ask in (lambda: rooms.lookup("a"), rooms.count, lambda: rooms.register("x", process=trapper)):  # noqa: B023  # called here
            use: Callable[[], object] = ask
            with pytest.raises(ProcessDown):
                use()


async def test_a_registry_that_is_started_again_is_empty_and_works() -> None:
    top = await Supervisor.start_link(
        [
            Registry.child(name="rooms"),
            Supervisor.child(
                [Room.child(name=RegistryKey("rooms", "lobby", 7), restart="permanent")], id="rooms below"
            ),
        ]
    )
    first: Rooms = Registry.whereis("rooms")
    via = first.via("lobby")
    assert Room.whereis(via).is_alive()
    first.exit("kill")
    await turns(20)
    second: Rooms = Registry.whereis("rooms")
    assert second != first
    ((lobby, value),) = second.lookup("lobby")
    assert value == 7
    assert Room.whereis(via) == lobby, "a name in a registry means whichever runs under the name of that registry"
    await top.stop()


async def test_via_is_a_name() -> None:
    rooms = await registry()
    lobby = await Room.start(name=rooms.via("lobby", {"seats": 3}))
    assert Room.whereis(rooms.via("lobby")) == lobby
    assert rooms.lookup("lobby") == ((lobby, {"seats": 3}),)
    assert "['lobby']" in repr(lobby)
    with pytest.raises(NameTaken):
        await Room.start(name=rooms.via("lobby"))
    await lobby.stop()
    with pytest.raises(NoSuchProcess, match=r"\['lobby'\]"):
        Room.whereis(rooms.via("lobby"))
    with pytest.raises(NoSuchProcess, match="nowhere"):
        await Room.start(name=RegistryKey("nowhere", 1))
    with pytest.raises(NoSuchProcess, match="nowhere"):
        Room.whereis(RegistryKey("nowhere", 1))
    await Other.start(name=rooms.via("hall"))
    with pytest.raises(NoSuchProcess, match=r"no Room is registered as \"Registry #1\['hall'\]\""):
        Room.whereis(rooms.via("hall"))
    via = rooms.via(("room", 1))
    await rooms.stop()
    with pytest.raises(NoSuchProcess):
        await Room.start(name=via)


async def test_a_process_whose_init_fails_leaves_no_entry() -> None:
    class Stillborn(GenServer):
        def init(self) -> None:
            raise OSError("no disk")

    rooms = await registry()
    with pytest.raises(Exception, match="no disk"):
        await Stillborn.start(name=rooms.via("a"))
    assert rooms.count() == 0
    await Room.start(name=rooms.via("a"))


async def test_dispatch_runs_here_for_everybody_even_when_one_fails() -> None:
    rooms = await registry("duplicate")
    subscribers = [await Room.start() for _ in range(3)]
    for number, room in enumerate(subscribers):
        await room.enter(rooms, "news", number)
    assert rooms.dispatch("news", lambda room, number: room.note(f"hello {number}")) == 3
    assert [await room.told() for room in subscribers] == [("hello 0",), ("hello 1",), ("hello 2",)]
    assert rooms.dispatch("nothing", lambda room, number: room.note("never")) == 0

    def picky(room: Room, number: object) -> None:
        if number != 1:
            raise ValueError(number)
        subscribers[2].exit("kill")

    with pytest.raises(ExceptionGroup, match="failed for 1 of 2") as raised:
        rooms.dispatch("news", picky)
    assert [str(error) for error in raised.value.exceptions] == ["0"], "the third had ended when it was his turn"


async def test_dispatch_awaits_nothing_and_says_so() -> None:
    rooms = await registry("duplicate")
    room = await Room.start()
    rooms.register("news", process=room)

    async def later(room: Room, value: object) -> None:
        await room.told()

    for callback in (later, lambda room, value: room.told()):
        with pytest.raises(ExceptionGroup) as raised:
            rooms.dispatch("news", callback)
        (error,) = raised.value.exceptions
        assert isinstance(error, BadFunction)
        assert str(error).endswith("returned something to await: `lookup`, and await each of them")


async def test_values_change_only_inside() -> None:
    rooms = await registry()
    counter: Registry[Room, int] = await Registry.start()
    room = await Room.start()
    value = {"seats": [1]}
    await room.enter(rooms, "a", value)
    value["seats"].append(2)
    ((_, seen),) = rooms.lookup("a")
    assert seen == {"seats": [1]}
    assert isinstance(seen, dict)
    seen["seats"].append(3)
    assert rooms.values("a", room) == ({"seats": [1]},)
    assert rooms.entries()[0].value == {"seats": [1]}
    counter.register("n", 1, process=room)
    assert await room.change(counter, "n") == (2, 1)
    assert counter.update_value("n", lambda n: n * 10, process=room) == (20, 2)
    with pytest.raises(NoSuchProcess):
        counter.update_value("n", lambda n: n, process=await Room.start())


async def test_what_makes_no_sense_is_refused() -> None:
    rooms = await registry()
    room = await Room.start()
    with pytest.raises(StartFailed, match="keys: 'uniq' is not one of unique, duplicate"):
        await registry("uniq")
    with pytest.raises(StartFailed, match="entries_max: 0 is not a positive number"):
        await registry(entries_max=0)
    with pytest.raises(ConfigError, match="no process runs here"):
        rooms.register("a")
    changing: Hashable = ["a"]  # type: ignore[assignment]  # the mistake that is meant
    for use in (
        lambda: rooms.register(changing, process=room),
        lambda: rooms.unregister(changing, process=room),
        lambda: rooms.values(changing, room),
        lambda: rooms.update_value(changing, lambda value: value, process=room),
        lambda: rooms.lookup(changing),
        lambda: rooms.dispatch(changing, print),
        lambda: rooms.via(changing),
        lambda: rooms.meta(changing),
        lambda: rooms.put_meta(changing, 1),
        lambda: rooms.delete_meta(changing),
        lambda: RegistryKey(rooms, changing).whereis(),
    ):
        ask: Callable[[], object] = use
        with pytest.raises(ConfigError, match=r"key: \['a'\] may change, and is not found then: use a tuple instead"):
            ask()
    with pytest.raises(ConfigError, match="process: 'room' is not the handle of a process"):
        rooms.register("a", process="room")  # type: ignore[arg-type]  # the mistake that is meant
    with pytest.raises(NotSendable, match="the value of"):
        rooms.register("a", asyncio.Event(), process=room)
    with pytest.raises(NotSendable, match="a key"):
        rooms.register(asyncio.Event(), process=room)
    await room.stop()
    with pytest.raises(ProcessDown):
        rooms.register("a", process=room)
    there = remote_handle(Room, "room", "b@host", None)  # type: ignore[arg-type]  # nothing is sent
    with pytest.raises(ConfigError, match="not on the node of the registry"):
        rooms.register("a", process=there)
    assert rooms.count() == 0
    far: Rooms = remote_handle(Registry, "rooms", "b@host", None)  # type: ignore[arg-type]  # nothing is sent
    with pytest.raises(AttributeError, match="lookup works on processes of this node only"):
        far.lookup("a")
    with pytest.raises(AttributeError, match="the state of a process is private"):
        print(rooms._table)


async def test_listeners_that_cannot_listen_are_refused_at_once() -> None:
    there = remote_handle(Room, "room", "b@host", None)  # type: ignore[arg-type]  # nothing is sent
    with pytest.raises(StartFailed, match=r"'ears' is one name: listeners=\['ears'\]"):
        await registry(listeners="ears")
    with pytest.raises(StartFailed, match="listeners: 3 is not the handle of a process"):
        await registry(listeners=[3])  # type: ignore[list-item]  # the mistake that is meant
    with pytest.raises(StartFailed, match="listeners: <Room 'room' at b@host> is not on the node of the registry"):
        await registry(listeners=[there])


async def test_a_key_of_something_else_than_a_registry_with_unique_keys_is_no_name() -> None:
    await Room.start(name="a room")
    many: Rooms = await Registry.start("duplicate", name="many")
    there = remote_handle(Registry, "rooms", "b@host", None)  # type: ignore[arg-type]  # nothing is sent
    for place, text in (
        ("a room", "registry: Room 'a room' is no registry"),
        ("many", "via: many has duplicate keys: a name belongs to one process"),
        (there, "registry: <Registry 'rooms' at b@host> is not on the node of the registry"),
    ):
        via = RegistryKey(place, "lobby")
        with pytest.raises(ConfigError, match=text):
            await Room.start(name=via)
        with pytest.raises(ConfigError, match=text):
            Room.whereis(via)
    assert many.count() == 0


async def test_a_name_belongs_to_a_process_until_it_has_ended() -> None:
    class Closing(GenServer):
        def init(self, gate: asyncio.Event) -> None:
            self.gate = gate

        async def terminate(self, reason: object) -> None:
            await self.gate.wait()

    gate = asyncio.Event()
    ears = await Room.start()
    rooms = await registry(listeners=[ears])
    closing = await Closing.start(gate, name=rooms.via("a"))
    stopping = asyncio.ensure_future(closing.stop())
    await turns(3)
    with pytest.raises(NameTaken):
        await Room.start(name=rooms.via("a"))
    gate.set()
    assert (await closing.down()).reason == "normal"
    room = await Room.start(name=rooms.via("a"))
    await stopping
    assert await ears.told() == (("in", "a", closing, None), ("out", "a", closing), ("in", "a", room, None))


async def test_entries_and_counts_take_predicates() -> None:
    rooms = await registry("duplicate")
    room = await Room.start()
    for key, value in (("a", 1), ("b", 2), ("a", 3)):
        rooms.register(key, value, process=room)
    assert rooms.count() == 3
    assert [entry.value for entry in rooms.entries()] == [1, 3, 2]
    assert rooms.entries(lambda entry: entry.key == "b") == (Entry("b", room, 2),)
    assert rooms.count(lambda entry: isinstance(entry.value, int) and entry.value > 1) == 2


async def test_meta_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "REGISTRY_META_MAX", 2)
    rooms = await registry(meta={"a": 1})
    rooms.put_meta("b", 2)
    rooms.put_meta("b", 3)
    with pytest.raises(TooLarge, match="REGISTRY_META_MAX: 3 is over the limit of 2"):
        rooms.put_meta("c", 4)


async def test_meta_is_kept_beside_the_entries() -> None:
    rooms = await registry(meta={"topic": ["news"]})
    topic = rooms.meta("topic")
    assert topic == ["news"]
    assert isinstance(topic, list)
    topic.append("gossip")
    assert rooms.meta("topic") == ["news"]
    rooms.put_meta("topic", "sports")
    assert rooms.meta("topic") == "sports"
    assert rooms.meta("none", 3) == 3
    rooms.delete_meta("topic")
    rooms.delete_meta("topic")
    assert rooms.meta("topic") is None
    with pytest.raises(NotSendable):
        rooms.put_meta("x", object())


async def test_listeners_hear_of_everything(caplog: pytest.LogCaptureFixture) -> None:
    direct, dead = await Room.start(), await Room.start()
    await dead.stop()
    rooms = await registry("duplicate", listeners=["ears", direct, dead, "nobody"])
    named = await Room.start(name="ears")
    one, other = await Room.start(), await Room.start()
    await one.enter(rooms, "a", 1)
    await other.enter(rooms, "a", 2)
    await one.leave(rooms, "a")
    other.exit("kill")
    expected = (("in", "a", one, 1), ("in", "a", other, 2), ("out", "a", one), ("out", "a", other))
    assert await direct.told() == expected
    assert await named.told() == expected
    assert not [record for record in caplog.records if "@info" in record.message]


async def test_a_listener_that_is_full_misses_what_is_told_then(caplog: pytest.LogCaptureFixture) -> None:
    class Small(Room):
        mailbox_messages_max = 1

    ears = await Small.start()
    rooms = await registry("duplicate", listeners=[ears])
    room = await Room.start()
    rooms.register("a", process=room)
    rooms.register("b", process=room)
    assert "has not heard of" in caplog.text
    assert "its mailbox is full" in caplog.text
    await turns(2)
    assert await ears.told() == (("in", "a", room, None),)


KEYS: Final = ("a", "b", ("c", 1))

Step = tuple[str, int, int]
STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from(
            ("start", "register", "register", "register", "unregister", "update", "kill", "stop", "boom", "crash")
        ),
        st.integers(0, 5),
        st.integers(0, len(KEYS) - 1),
    ),
    max_size=60,
)


class Model:
    """What a registry should say, as a plain list."""

    def __init__(self, unique: bool) -> None:
        self.unique = unique
        self.rows: list[tuple[object, Room, object]] = []
        self.told: list[object] = []

    def register(self, key: object, room: Room, value: object) -> bool:
        if self.unique and any(row[0] == key for row in self.rows):
            return False
        self.rows.append((key, room, value))
        self.told.append(("in", key, room, value))
        return True

    def remove(self, unwanted: Callable[[object, Room], bool]) -> None:
        for key, room, _ in [row for row in self.rows if unwanted(row[0], row[1])]:
            self.told.append(("out", key, room))
        self.rows = [row for row in self.rows if not unwanted(row[0], row[1])]

    def check(self, rooms: Rooms, everybody: list[Room]) -> None:
        assert rooms.count() == len(self.rows)
        assert sorted(map(repr, rooms.entries())) == sorted(repr(Entry(*row)) for row in self.rows)
        for key in KEYS:
            assert rooms.lookup(key) == tuple((room, value) for k, room, value in self.rows if k == key)
        for room in everybody:
            assert rooms.keys(room) == tuple(key for key, owner, _ in self.rows if owner == room)


async def play(steps: list[Step], unique: bool) -> None:
    """Do the same to a registry and to the model, and compare them after every step."""
    ears = await Room.start()
    rooms = await registry("unique" if unique else "duplicate", listeners=[ears])
    model = Model(unique)
    everybody = [await Room.start()]
    for number, (what, who, which) in enumerate(steps):
        room, key = everybody[who % len(everybody)], KEYS[which]
        if what == "start":
            everybody.append(await Room.start())
        elif not room.is_alive():
            with pytest.raises(ProcessDown):
                rooms.register(key, process=room)
        elif what == "register":
            try:
                await room.enter(rooms, key, number)
                assert model.register(key, room, number)
            except NameTaken:
                assert not model.register(key, room, number)
        elif what == "unregister":
            await room.leave(rooms, key)
            model.remove(lambda k, owner, room=room, key=key: (k, owner) == (key, room))  # type: ignore[misc]  # bound now
        elif what == "update" and unique and key in rooms.keys(room):
            new, old = rooms.update_value(key, lambda value: ("new", value), process=room)
            assert new == ("new", old)
            model.rows = [(k, owner, new if (k, owner) == (key, room) else v) for k, owner, v in model.rows]
        elif what in ("kill", "boom"):
            room.exit(what)
            model.remove(lambda k, owner, room=room: owner == room)  # type: ignore[misc]  # bound now
        elif what == "stop":
            await room.stop()
            model.remove(lambda k, owner, room=room: owner == room)  # type: ignore[misc]  # bound now
        elif what == "crash":
            with pytest.raises(ProcessDown):
                await room.crash()
            model.remove(lambda k, owner, room=room: owner == room)  # type: ignore[misc]  # bound now
        model.check(rooms, everybody)
    assert await ears.told() == tuple(model.told)
    await rooms.stop()
    for room in everybody:
        ties = room._process.ties
        assert ties is None or not ties.monitors


@settings(max_examples=250, deadline=None)
@given(steps=STEPS, unique=st.booleans())
def test_a_registry_says_what_a_plain_list_says_whoever_dies(steps: list[Step], unique: bool) -> None:
    asyncio.run(play(steps, unique))


@pytest.mark.parametrize("fault", ["the dead stay", "the first is forgotten", "nobody is told"])
def test_the_model_catches_a_wrong_table(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "the dead stay":
        monkeypatch.setattr(Table, "drop", lambda table, process: None)
    elif fault == "the first is forgotten":
        honest = Table.of
        monkeypatch.setattr(Table, "of", lambda table, process: honest(table, process)[1:])
    else:
        monkeypatch.setattr(Registry, "_tell", lambda registry, row, registered: None)
    steps: list[Step] = [("register", 0, 0), ("register", 0, 1), ("kill", 0, 0)]
    with pytest.raises(AssertionError):
        asyncio.run(play(steps, True))
