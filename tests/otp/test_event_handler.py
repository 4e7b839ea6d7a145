"""Event handlers: how they are written, and what is said about those that are not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from roost.errors import BadFunction, ConfigError, NotSendable
from roost.otp import EventHandler, EventManager, RemoveHandler, SwapHandler, call, cast, info
from roost.otp.crash import report_crash
from tests.otp.ears import Do, Ears, Log, Said, SlowEars, manager_with

both = pytest.mark.parametrize("kind", [Ears, SlowEars])


async def test_what_is_no_class_of_event_handlers_is_refused_before_the_manager_hears_of_it() -> None:
    class Nameless(EventHandler):
        @info
        def said(self, event) -> None:  # type: ignore[no-untyped-def]  # the mistake that is meant
            pass

    manager, _ = await manager_with(Ears, "a")
    for kind in (Ears(), Log, print):
        with pytest.raises(ConfigError, match="is not a class of event handlers"):
            manager.add_handler(kind)  # type: ignore[arg-type]  # the mistake that is meant
        with pytest.raises(ConfigError, match="is not a class of event handlers"):
            manager.swap_handler("a", kind)  # type: ignore[arg-type]  # the mistake that is meant
        with pytest.raises(ConfigError, match="is not a class of event handlers"):
            SwapHandler(kind)  # type: ignore[arg-type]  # the mistake that is meant
    with pytest.raises(TypeError, match=r"@info Nameless\.said must take one argument, annotated"):
        manager.add_handler(Nameless)
    assert await manager.which_handlers() == ("a",)


def test_a_class_that_is_written_like_something_else_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigError, match="nobody would call that of Late: set up its state in `init`"):

        class Late(EventHandler):
            def __init__(self) -> None:
                self.count = 0

    for declare in (call, cast):
        with pytest.raises(ConfigError, match=r"count: Asked is no process: take events with @info"):
            type("Asked", (EventHandler,), {"count": declare(Ears.note)})


async def test_a_method_that_returns_something_to_await_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    class Hasty(EventHandler):
        @info
        def said(self, event: Said) -> Awaitable[None]:
            return self.later()

        def handle_call(self, request: object) -> Awaitable[None]:
            return self.later()

        async def later(self) -> None:
            raise AssertionError

    manager = await EventManager.start()
    await manager.add_handler(Hasty)
    await manager.sync_notify(Said("x"))
    assert "Hasty.said returned something to await: make it an `async def`" in caplog.text
    with pytest.raises(BadFunction, match=r"Hasty.handle_call returned something to await"):
        await manager.call("Hasty", 1)


async def test_a_successor_with_an_async_init_is_ready_when_the_swap_is_done() -> None:
    class Ready(EventHandler):
        async def init(self, number: int) -> None:
            await asyncio.sleep(0)
            self.number = number

        def handle_call(self, request: object) -> int:
            return self.number

    manager, _ = await manager_with(Ears, "a")
    await manager.swap_handler("a", Ready, 7)
    assert await manager.call("Ready", "number") == 7


async def test_reports_show_the_handlers_without_their_secrets(caplog: pytest.LogCaptureFixture) -> None:
    class Login(EventHandler):
        redacted = frozenset({"password"})

        def init(self, user: str, password: str) -> None:
            self.user, self.password = user, password

    manager = await EventManager.start()
    await manager.add_handler(Login, "ada", "1234")
    report_crash(manager._process, ValueError("a bug"), "a test")
    assert "state: {'Login': {'user': 'ada', 'password': ***}}" in caplog.text


@both
async def test_a_reply_that_cannot_cross_is_named(kind: type[Ears]) -> None:
    class Odd(kind):  # type: ignore[misc, valid-type]  # one of the two
        def note(self, *what: object) -> None:
            pass

        def obey(self, what: str) -> None:
            raise RemoveHandler(reply=object())

        def terminate(self, reason: object) -> object:
            return object()

    manager, log = await EventManager.start(), Log()
    await manager.add_handler(Odd, log)
    with pytest.raises(NotSendable, match="the reply of the event handler 'Odd'"):
        await manager.call("Odd", Do("x"))
    await manager.add_handler(Odd, log)
    with pytest.raises(NotSendable, match="what the event handler 'Odd' returned in terminate"):
        await manager.delete_handler("Odd")
    assert await manager.which_handlers() == ()


async def test_a_handler_that_raises_a_cancellation_fails_alone() -> None:
    class Cancelled(EventHandler):
        def handle_event(self, event: object) -> None:
            raise asyncio.CancelledError

    manager, _ = await manager_with(Ears, "a")
    await manager.add_handler(Cancelled)
    await manager.sync_notify(Said("x"))
    assert await manager.which_handlers() == ("a",)
