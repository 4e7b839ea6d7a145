"""How a process handles its mail: in order, one message at a time, sync handlers at once, async ones in its task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from roost.errors import NotSendable, Refusal
from roost.otp import ending
from roost.otp.crash import explain, report_crash, report_lost, show_message
from roost.otp.declare import ASKED, ASYNC, CONTROL, TOLD, Spec
from roost.otp.isolation import ATOMS, isolate, isolate_error
from roost.otp.mailbox import Mailbox
from roost.otp.modes import Modes, Timeout, Tracer
from roost.otp.outcome import NoReply, Stop
from roost.otp.reply import Failed, LastReply, Patience, Reply, ReplyTo, TracedReply

if TYPE_CHECKING:
    from roost.otp.process import Process

AT_ONCE: Final = (ending.ORDER, ending.STOP, ending.LEAVE)
"""What a suspended process obeys; the other orders are about its ordinary mail."""
SERVED_PER_TURN: Final = 100
"""Async handlers of one process that may follow each other without a turn of the loop between them."""


def drain(process: Process, budget: int) -> int:
    """Handle mail until there is none, or `budget` messages were handled, or an async handler has begun.

    The scheduler calls it in its turn. Returns what is left of the budget.
    """
    mail = process.mail
    assert mail is not None
    modes = process.modes
    if modes is not None and (modes.timeout is not None or modes.tracer is not None):
        return _drain_one(process, modes, budget)
    take = mail.popleft
    while mail:
        if budget <= 0:
            process.scheduler.ready(process)
            return 0
        budget -= 1
        spec, content = take(), take()
        if spec.kind == TOLD:
            try:
                spec.function(*content)
            except BaseException as error:
                if _failed(process, spec, content, {}, None, error):
                    return budget
        elif spec.kind == ASKED:
            if _answer(process, spec, *content):
                return budget
        elif _begin(process, spec, content):
            return budget
    process.rest()
    return budget


def _drain_one(process: Process, modes: Modes, budget: int) -> int:
    """The same for a process that waits with a timeout, or is traced: one message in a turn, told before and after."""
    mail = process.mail
    assert mail is not None
    spec, content = mail.popleft(), mail.popleft()
    tracer = modes.tracer
    if _is_given_up(spec, content):
        spec, content = NOTHING, ()
    elif spec.kind in (TOLD, ASKED):
        modes.disarm()  # an async handler does when it begins
    if spec.kind == TOLD:
        content = (content, {}, None, None)
    if spec.kind != CONTROL and tracer is not None:
        args, kwargs, *_ = content
        tracer("in", spec, (args[1:], kwargs))
        # What must not be dropped waits once more in the mailbox, when its handler is async: until the task begins.
        keep = type(content)
        content = keep(_traced(spec, tracer, *content))
    if _answer(process, spec, *content) if spec.kind in (TOLD, ASKED) else _begin(process, spec, content):
        return budget - 1
    if mail:
        process.scheduler.ready(process)
    else:
        process.rest()
    return budget - 1


def _traced(
    spec: Spec,
    tracer: Tracer,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    reply: ReplyTo | None,
    patience: Patience | None,
) -> tuple[object, ...]:
    if reply is None:
        return args, kwargs, None, None
    traced = TracedReply(reply, patience, spec, tracer)
    return args, kwargs, traced, traced


def _answer(
    process: Process,
    spec: Spec,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    reply: ReplyTo | None,
    patience: Patience | None,
) -> bool:
    """Handle a queued call. Returns True when that was the end of the process."""
    if reply is not None and reply.done():
        if patience is not None:
            patience.forget(reply)
        return False
    try:
        value = spec.function(*args, **kwargs)
        if reply is not None and type(value) not in ATOMS:
            value = isolate(value, f"reply of {spec!r}")
    except BaseException as error:
        return _failed(process, spec, args, kwargs, reply, error, patience)
    if reply is not None:
        if patience is not None:
            patience.forget(reply)
        process.scheduler.answer(reply, value)
    return False


# Any: what belongs to a Spec depends on its kind; see roost.otp.declare
def _begin(process: Process, spec: Spec, content: tuple[Any, ...]) -> bool:
    """Obey an order, or begin an async handler. Returns True when the drain is over."""
    if spec.kind == CONTROL:
        spec.function(process, *content)
        if process.suspended:
            _obey_waiting(process)
        return not process.alive or process.task is not None or process.suspended or spec is ARM
    assert process.mail is not None
    process.mail.extendleft((content, spec))
    process.task = process.scheduler.spawn(_serve(process), process, handling=True)
    return True


def _obey_waiting(process: Process) -> None:
    """The process is suspended now: its ordinary mail waits, and no order behind that does."""
    mail = process.mail
    while mail and process.alive and process.leaving is None:
        at = next((at for at, spec in enumerate(islice(mail, 0, None, 2)) if spec in AT_ONCE), None)
        if at is None:
            return
        spec, content = mail[2 * at], mail[2 * at + 1]
        del mail[2 * at]
        del mail[2 * at]
        spec.function(process, *content)


async def _serve(process: Process) -> None:
    """Run async handlers one after the other, for as long as the next mail is for one."""
    mail = process.mail
    assert mail is not None
    served = 0
    while mail and mail[0].kind == ASYNC:
        spec, content = mail.popleft(), mail.popleft()
        await _handle(process, spec, *content)
        if process.leaving is not None or not process.alive:
            return
        served += 1
        if process.modes is not None and process.modes.tracer is not None:
            break
        if served % SERVED_PER_TURN == 0:
            await asyncio.sleep(0)  # handlers that never wait must not keep the loop to themselves
    process.task = None
    if mail:
        process.scheduler.ready(process)
    else:
        process.rest()


async def _handle(
    process: Process,
    spec: Spec,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    reply: ReplyTo | None,
    patience: Patience | None,
) -> None:
    """Run one async handler to its end."""
    if reply is not None:
        if reply.done():
            if patience is not None:
                patience.forget(reply)
            return
        process.deadline = None if patience is None else patience.until(reply)
    process.serving = reply
    if process.modes is not None:
        process.modes.disarm()
    try:
        outcome = spec.function(*args, **kwargs)
        assert isinstance(outcome, Coroutine)
        value = await outcome
        if reply is not None and type(value) not in ATOMS:
            value = isolate(value, f"reply of {spec!r}")
    except asyncio.CancelledError as error:
        if reply is not None and patience is not None:
            patience.keep(reply, process)
        # An exit signal cancels through `leave`, which goes on when this task has ended. Otherwise somebody
        # else has cancelled the task, as the end of asyncio.run does, or the handler what it was waiting for.
        if process.leaving is None and process.alive:
            if ending.is_cancelled():
                ending.close(process, "killed", False)
            else:
                ending.crash(process, error, show_message(process, spec, args[1:], kwargs))
        raise
    except BaseException as error:
        if process.leaving is not None or not process.alive:
            if reply is not None and patience is not None:
                patience.keep(reply, process)
            report_crash(process, error, f"the end of {spec.name}")
            return
        process.serving = None
        _failed(process, spec, args, kwargs, reply, error, patience)
        return
    finally:
        process.deadline = None
        if process.ties is not None and process.ties.waits:
            process.ties.waits = {}  # whatever the handler has not awaited, nobody waits for now
    process.serving = None
    if reply is not None:
        if patience is not None:
            patience.forget(reply)
        if not reply.done():
            reply.set_result(value)


def failed_inline(
    process: Process,
    spec: Spec,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    error: BaseException,
    left: int,
    timeout_s: float | None,
) -> Awaitable[object]:
    """An inline call has raised: the process lives on after a refusal, else it has crashed or wants something."""
    scheduler = process.scheduler
    if isinstance(error, (NoReply, Stop)):
        scheduler.reductions = left
        future = process.owe(timeout_s)
        end_inline(process, spec, args, kwargs, error, future)
        return future
    try:
        if spares(error):
            _reopen(process)
            return Failed(isolate_error(error, f"the refusal of {spec!r}"))
        down = ending.crash(process, error, show_message(process, spec, args, kwargs))
        if isinstance(error, ending.BUGS):
            return Failed(down)
        raise error
    finally:
        scheduler.reductions, scheduler.running = left, None  # the dead are not kept until somebody else runs


def end_inline(
    process: Process,
    spec: Spec,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    error: BaseException,
    reply: ReplyTo,
    patience: Patience | None = None,
) -> None:
    """An inline call has ended without a value: `reply` gets what becomes of it, now or later."""
    if not _failed(process, spec, (process.server, *args), kwargs, reply, error, patience):
        _reopen(process)


def _reopen(process: Process) -> None:
    if process.mail:
        process.scheduler.ready(process)
    else:
        process.open = True


def _failed(
    process: Process,
    spec: Spec,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    reply: ReplyTo | None,
    error: BaseException,
    patience: Patience | None = None,
) -> bool:
    """A handler of queued mail has raised. Returns True when that was the end of the process."""
    if reply is not None and patience is not None:
        if spares(error):
            patience.forget(reply)  # he has his answer; whoever waits for a late reply, or for `terminate`, has none
        else:
            patience.keep(reply, process)
    if isinstance(error, Stop):
        report_crash(process, error.reason, show_message(process, spec, args[1:], kwargs))
        process.serving = LastReply(reply, _last(spec, error)) if reply is not None and error.replies else reply
        ending.close(process, error.reason, True)
        return True
    if isinstance(error, NoReply) and (reply is None or _put_off(process, reply)):
        return False
    if spares(error):
        if reply is None:
            report_lost(process, f"{show_message(process, spec, args[1:], kwargs)} was refused: {explain(error)}")
        elif not reply.done():
            reply.set_exception(isolate_error(error, f"the refusal of {spec!r}"))
        return False
    process.serving = reply
    ending.crash(process, error, show_message(process, spec, args[1:], kwargs))
    if not isinstance(error, ending.BUGS):
        raise error
    return True


def _last(spec: Spec, stop: Stop) -> Reply | Failed:
    """What the caller gets when `terminate` has run."""
    try:
        return Reply(isolate(stop.reply, f"reply of {spec!r}"))
    except NotSendable as error:
        return Failed(error)


def _put_off(process: Process, reply: ReplyTo) -> bool:
    """The reply comes later. Returns whether anybody will be able to give it."""
    modes = process.modes
    if modes is None or modes.deferring is None:
        return False
    caller, modes.deferring = modes.deferring, None
    caller.bind(reply)
    return True


def spares(error: BaseException) -> TypeGuard[Exception]:
    """Whether the process lives on: the caller was refused, or his arguments do not fit the handler's signature."""
    if isinstance(error, (Refusal, NotSendable)):
        return True
    if not isinstance(error, TypeError) or error.__traceback__ is None:
        return False
    # A TypeError without a frame of the handler was raised by the act of calling it.
    return error.__traceback__.tb_next is None


def _go_on(process: Process, message: object) -> None:
    process.inform(message, bounded=False, first=True)


def _arm(process: Process, timeout_s: float) -> None:
    modes = process.moded
    modes.disarm()

    def fire() -> None:
        modes.overdue = True
        if not _has_message(process.mail):
            time_out(process, modes)

    modes.timeout = process.scheduler.runtime.clock.call_later(timeout_s, fire)
    if process.mail:
        process.scheduler.ready(process)
    else:
        process.rest()


def time_out(process: Process, modes: Modes) -> None:
    """No message has come in time."""
    modes.disarm()
    process.inform(Timeout(), bounded=False)


def _has_message(mail: Mailbox | None) -> bool:
    """Whether something waits that ends a receive timeout: not an order to look into the process."""
    if mail is None:
        return False
    entries = zip(islice(mail, 0, None, 2), islice(mail, 1, None, 2), strict=True)
    return any(spec is not ending.ORDER and not _is_given_up(spec, content) for spec, content in entries)


# Any: what belongs to a Spec depends on its kind; see roost.otp.declare
def _is_given_up(spec: Spec, content: tuple[Any, ...]) -> bool:
    """Whether nobody waits for a call any more: no handler will see it, so it is no message."""
    if spec.kind not in (ASKED, ASYNC) or content[2] is None or not content[2].done():
        return False
    if content[3] is not None:
        content[3].forget(content[2])
    return True


def _do_nothing(process: Process) -> None:
    """After it, the process comes to rest as its modes say."""


NOTHING: Final = Spec(_do_nothing, CONTROL, "Process", {})
"""Let the process look at its mailbox."""
CONTINUE: Final = Spec(_go_on, CONTROL, "Process", {})
"""Handle a message of the process to itself before anything else in the mailbox."""
ARM: Final = Spec(_arm, CONTROL, "Process", {})
"""Send a Timeout, unless a message waits already or comes in time."""
