"""A mailbox that is full: who is refused, what is dropped, and who hears of it."""

from __future__ import annotations

import asyncio

import pytest

from roost.errors import ConfigError, Overloaded
from roost.otp import Down, Exit, GenServer, Process, Scheduler, call, cast, info, send
from tests.otp.counter import Tick


class Small(GenServer):
    mailbox_messages_max = 3

    def init(self) -> None:
        self.taken: list[int] = []

    @cast
    def take(self, number: int) -> None:
        self.taken.append(number)

    @cast
    def take_pair(self, one: int, other: int) -> None:
        self.taken += [one, other]

    @cast
    async def take_slowly(self, number: int) -> None:
        await asyncio.sleep(0)
        self.taken.append(number)

    @call
    def ask(self, number: int) -> int:
        self.taken.append(number)
        return number

    @call
    def all(self) -> list[int]:
        return self.taken

    @info
    def tick(self, message: Tick) -> None:
        self.taken.append(-message.by)


class Newest(Small):
    overflow = "drop_newest"


class Oldest(Small):
    overflow = "drop_oldest"


async def test_a_full_mailbox_refuses_and_takes_again_when_it_has_room() -> None:
    small = await Small.start()
    for number in range(3):
        small.take(number)
    with pytest.raises(Overloaded, match="the mailbox of Small #1 is full"):
        small.take(3)
    with pytest.raises(Overloaded):
        small.take_pair(3, 4)
    with pytest.raises(Overloaded):
        small.take_slowly(3)
    with pytest.raises(Overloaded):
        send(small, Tick())
    with pytest.raises(Overloaded):
        await small.ask(3)
    await asyncio.sleep(0)
    assert await small.all() == [0, 1, 2]
    small.take(3)
    assert await small.all() == [0, 1, 2, 3]
    await small.stop()


async def test_the_newest_is_dropped_and_counted_but_a_caller_is_told(caplog: pytest.LogCaptureFixture) -> None:
    newest = await Newest.start()
    for number in range(8):
        newest.take(number)
    send(newest, Tick())
    with pytest.raises(Overloaded):
        await newest.ask(9)
    await asyncio.sleep(0)
    assert await newest.all() == [0, 1, 2]
    assert [record.message.rsplit(": ", 1)[1] for record in caplog.records] == [
        "1 messages dropped so far",
        "2 messages dropped so far",
        "4 messages dropped so far",
    ]
    assert newest._process.moded.dropped == 6
    await newest.stop()


async def test_the_oldest_is_dropped_and_a_caller_among_them_is_told() -> None:
    oldest = await Oldest.start()
    oldest.take(0)
    asked = asyncio.ensure_future(oldest.ask(1))
    await asyncio.sleep(0)  # the call is made, and the mail is handled
    assert await asked == 1
    oldest.take(2)
    early = oldest.ask(3)
    for number in (4, 5, 6):
        oldest.take(number)
    with pytest.raises(Overloaded):
        await early
    await asyncio.sleep(0)
    assert await oldest.all() == [0, 1, 4, 5, 6]
    await oldest.stop()


async def test_an_order_to_the_process_itself_is_never_dropped() -> None:
    oldest = await Oldest.start()
    oldest.take(0)
    stopping = asyncio.ensure_future(oldest.stop("shutdown"))
    other = await Oldest.start()
    order = other._process.order(lambda process: process.pid)
    assert await order == other.pid, "an idle process obeys at once"
    other.take(0)
    waiting = other._process.order(lambda process: len(process.mail or ()) // 2)
    for number in range(1, 9):
        other.take(number)
    assert await waiting == 2
    assert await other.all() == [7, 8]
    await stopping
    assert not oldest.is_alive()
    await other.stop()


async def test_a_mailbox_full_of_orders_takes_one_message_and_lets_go_of_none() -> None:
    class Tiny(Oldest):
        mailbox_messages_max = 1

    tiny = await Tiny.start()
    tiny.take(0)
    orders = [tiny._process.order(lambda process: process.pid) for _ in range(2)]
    for number in (1, 2):
        tiny.take(number)
    assert await asyncio.gather(*orders) == [tiny.pid] * 2
    assert await tiny.all() == [2]
    await tiny.stop()


@pytest.mark.parametrize("traced", [False, True])
async def test_what_a_process_continues_with_is_never_dropped(traced: bool) -> None:
    class Loader(Oldest):
        mailbox_messages_max = 1

        def init(self) -> None:
            super().init()
            self.continue_with(Tick())

        @info
        async def tick(self, message: Tick) -> None:
            await asyncio.sleep(0)
            self.taken.append(-message.by)

    loader = await Loader.start()
    if traced:
        loader._process.trace(lambda what, spec, value: None)
    for number in range(6):  # in every turn until it has begun
        loader.take(number)
        loader.take(number)
        await asyncio.sleep(0)
    taken = await loader.all()
    assert taken[0] == -1
    assert taken[-1] == 5
    await loader.stop()


@pytest.mark.parametrize(("messages_max", "overflow"), [(0, "refuse"), (5, "drop_all")])
def test_a_bound_that_makes_no_sense_is_refused_where_it_is_written(messages_max: int, overflow: str) -> None:
    with pytest.raises(ConfigError, match="Odd"):
        type("Odd", (GenServer,), {"mailbox_messages_max": messages_max, "overflow": overflow})


async def test_a_long_mailbox_is_told_once_in_a_turn_to_whoever_watches() -> None:
    class Watch:
        mailbox_mark = 10

        def __init__(self) -> None:
            self.seen: list[tuple[str, int]] = []

        def mailbox(self, process: Process, messages: int, /) -> None:
            self.seen.append((str(process), messages))

    class Large(Small):
        mailbox_messages_max = 100

    scheduler = Scheduler.current()
    scheduler.monitor = watch = Watch()
    large = await Large.start()
    for number in range(11):
        large.take(number)
    await asyncio.sleep(0)
    large.take(11)
    assert len(await large.all()) == 12
    assert watch.seen == [("Large #1", 11)]
    await large.stop()


async def test_the_news_of_an_end_is_never_dropped() -> None:
    class Watcher(Oldest):
        mailbox_messages_max = 1

        def init(self) -> None:
            super().init()
            self.trap_exits()
            self.gate = asyncio.Event()

        @call
        async def watch(self, other: GenServer) -> None:
            self.monitor(other)
            self.link(other)
            await self.gate.wait()

        @info
        def went_down(self, message: Down) -> None:
            self.taken.append(-1)

        @info
        def exited(self, message: Exit) -> None:
            self.taken.append(-2)

    watcher, other = await Watcher.start(), await Small.start()
    watching = asyncio.ensure_future(watcher.watch(other))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    other.exit("kill")
    for number in range(3):
        watcher.take(number)
    server = watcher._process.server
    assert isinstance(server, Watcher)
    server.gate.set()
    await watching
    await asyncio.sleep(0)
    assert await watcher.all() == [-2, -1, 2]
    await watcher.stop()
