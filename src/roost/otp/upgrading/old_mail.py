"""Mail that was sent to the old code of a process, and will be handled by the new code."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from typing import cast as typed

from roost.errors import BadMessage
from roost.otp.compiling import info_table
from roost.otp.crash import explain
from roost.otp.declare import CONTROL, TOLD, Spec
from roost.otp.upgrading.definitions import BEFORE, make_new

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer
    from roost.otp.mailbox import Mailbox
    from roost.otp.process import Process
    from roost.otp.reply import ReplyTo

Tables = tuple[Mapping[str, Spec], Mapping[str, Spec]]
"""The calls and the casts of a class."""


class Lost:
    """A message that the new code cannot take."""

    __slots__ = ("reason", "reply", "text")

    def __init__(self, text: str, reason: str, reply: ReplyTo | None) -> None:
        self.text, self.reason, self.reply = text, reason, reply


def readdress(process: Process, before: Tables) -> tuple[Mailbox | None, int, list[Lost]]:
    """The mail of a process as the new code of its class takes it.

    Args:
        process: one that is suspended; nothing of it is changed.
        before: the tables of the class of its handle, in the old code.

    Returns: its new mailbox, how many messages in it were made new, and those that nobody can take any more.
    """
    if process.mail is None:
        return None, 0, []
    mail: Mailbox = deque()
    made_new = 0
    lost: list[Lost] = []
    # Any: what belongs to a Spec depends on its kind; see roost.otp.declare
    entries: Any = iter(process.mail)
    for spec, content in zip(entries, entries, strict=True):
        if spec.kind == CONTROL:
            mail += (spec, content)
            continue
        args, kwargs, reply, deadlines = (content, {}, None, None) if spec.kind == TOLD else content
        try:
            news = tuple([make_new(value) for value in args[1:]])
            named = {name: make_new(value) for name, value in kwargs.items()}
            now = _now(process, spec, news, before)
        except BadMessage as error:
            lost.append(Lost(spec.name, explain(error), reply))
            continue
        changed = any(new is not old for new, old in zip(news, args[1:], strict=True))
        made_new += changed or any(named[name] is not kwargs[name] for name in kwargs)
        if now.kind == TOLD and not named and reply is None:
            mail += (now, (args[0], *news))
        else:
            mail += (now.queued, ((args[0], *news), named, reply, deadlines))
    return mail or None, made_new, lost


def _now(process: Process, spec: Spec, args: tuple[object, ...], before: Tables) -> Spec:
    """What handles, in the new code, what `spec` handled in the old one.

    Raises:
        BadMessage: when nothing does.
    """
    handle = type(process.handle)
    for old, now in zip(before, (handle.__calls__, handle.__casts__), strict=True):
        declared = old.get(spec.name)
        if declared is not None and declared.function is spec.function:
            if spec.name not in now:
                raise BadMessage(f"{spec!r} does not exist any more")
            return now[spec.name]
    if len(args) == 1 and (found := type(process.server).info_for(type(args[0]))) is not None:
        return found
    if len(args) == 1 and spec.kind == TOLD:
        raise BadMessage(f"no @info handler takes a {type(args[0]).__name__} any more")
    return spec


def take_old_forms(kind: type[GenServer]) -> dict[type, Spec | None]:
    """The info table of a class, with a handler for each old form of its messages that makes them new.

    Timers that were set, and modules that were not upgraded, go on to send the old form.
    """
    table = info_table(kind)
    for message, spec in list(table.items()):
        for old in vars(message).get(BEFORE, ()):
            if spec is not None:
                take = _making_new(spec.function)
                take.__name__ = spec.name
                table.setdefault(old, Spec(take, TOLD, spec.owner, {}))
    return table


def _making_new(function: Callable[..., object]) -> Callable[..., object]:
    if asyncio.iscoroutinefunction(function):

        async def take_async(self: GenServer, message: object) -> object:
            return await typed("Awaitable[object]", function(self, make_new(message)))

        return take_async

    def take(self: GenServer, message: object) -> object:
        return function(self, make_new(message))

    return take
