"""Mistakes that newcomers make, and what they are told."""

from __future__ import annotations

import logging

import pytest

from roost.errors import ConfigError, NotSendable, ProcessDown, StartFailed
from roost.otp import GenServer, Ignore, NoReply, Scheduler, call


class Plain(GenServer):
    """Says nothing of its own start."""

    @call
    def forget_to_take_the_caller(self) -> str:
        raise NoReply

    @call
    def ignore(self) -> str:
        raise Ignore

    @call
    def ask(self, value: object) -> object:
        return value


async def slow() -> int:
    return 1


@pytest.mark.parametrize("name", ["stop", "exit", "down", "pid", "is_alive", "with_timeout"])
def test_a_message_cannot_be_called_what_every_handle_has(name: str) -> None:
    def handler(self: object) -> None:
        """Never declared."""

    handler.__name__ = name
    with pytest.raises(ConfigError, match=f"{name}: every handle has this already: Clash"):
        type("Clash", (GenServer,), {name: call(handler)})


async def test_arguments_that_nobody_takes_are_refused() -> None:
    with pytest.raises(StartFailed, match="Plain has no `init` that could take arguments"):
        await Plain.start(1, color="red")
    assert not Scheduler.current().processes
    plain = await Plain.start()
    await plain.stop()


async def test_a_name_is_text_or_a_place_in_a_registry() -> None:
    with pytest.raises(ConfigError, match="5 is neither text nor a place in a registry"):
        await Plain.start(name=5)  # type: ignore[arg-type]  # what mypy would find is tested here
    assert not Scheduler.current().processes


async def test_a_forgotten_await_is_named() -> None:
    plain = await Plain.start()
    with pytest.raises(NotSendable, match="a Reply that nobody has awaited cannot be sent"):
        await plain.ask(plain.ask(1))
    coroutine = slow()
    with pytest.raises(NotSendable, match="a coroutine that nobody has awaited cannot be sent"):
        await plain.ask(coroutine)
    coroutine.close()
    await plain.stop()


@pytest.mark.parametrize(
    ("method", "says"),
    [("forget_to_take_the_caller", "without self.caller()"), ("ignore", "Ignore is for init")],
)
async def test_a_word_in_the_wrong_place_says_where_it_belongs(
    method: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = await Plain.start()
    with pytest.raises(ProcessDown, match=says.replace("(", r"\(").replace(")", r"\)")):
        await getattr(plain, method)()
    assert [says in record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [True]


@pytest.mark.parametrize("bound", [0, -1, "5", 1.5])
def test_a_mailbox_is_bounded_by_a_number(bound: object) -> None:
    with pytest.raises(ConfigError, match="it must be a number, at least 1"):
        type("Odd", (GenServer,), {"mailbox_messages_max": bound})
