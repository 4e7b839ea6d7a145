"""What the log says about processes that end badly: one record per crash, readable without the source.

Every record of `roost.otp` about an end carries its facts as data too: `record.report` is a `CrashReport` or a
`SupervisorReport`, for loggers that write JSON and for handlers that count or alert::

    class Alerts(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            match getattr(record, "report", None):
                case CrashReport(kind="Payments", reason=reason):
                    page_somebody(reason)

What they say follows the crash reports of OTP's proc_lib and the supervisor reports of its supervisor.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Literal

import msgspec

from roost.limits import ANCESTORS_SHOWN_MAX
from roost.otp.display import cut, display, display_call, explain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roost.otp.declare import Spec
    from roost.otp.process import Process
    from roost.otp.ties import Reason

__all__ = [
    "CrashReport",
    "SupervisorReport",
    "ancestors",
    "explain",
    "is_clean",
    "kind_of",
    "report_bug",
    "report_child_ended",
    "report_child_killed",
    "report_child_not_started",
    "report_child_started",
    "report_crash",
    "report_gave_up",
    "report_lost",
    "report_stray",
    "show_message",
]

_log = logging.getLogger("roost.otp")

REPORT = "report"
"""The attribute of a log record that holds its report."""


class CrashReport(msgspec.Struct, frozen=True):
    """One crash. Texts are bounded, and have "***" for whatever the class of the process says is secret.

    Attributes:
        kind: the class of the process.
        name: its registered name, if it had one.
        pid: its number on its node.
        node: the node.
        last_message: what it was doing, as the call of a handler, or the name of an activity.
        reason: why it ended, in one line.
        error: the full name of the type of the exception; None when it ended with a word.
        state: its attributes, as `show_state` gives them.
        mailbox: how many messages waited.
        ancestors: the process that started it, the one that started that, and so on.
        traceback: of the exception, with its causes; empty when it ended with a word.
    """

    kind: str
    name: str | None
    pid: int
    node: str
    last_message: str
    reason: str
    error: str | None
    state: str
    mailbox: int
    ancestors: tuple[str, ...]
    traceback: str


ChildEvent = Literal["terminated", "started", "not started", "killed", "gave up"]
"""What a supervisor reports about a child, or, with "gave up", about itself because of a child."""


class SupervisorReport(msgspec.Struct, frozen=True):
    """One thing that a supervisor saw or did.

    Attributes:
        supervisor: who reports.
        node: where it lives.
        event: what happened.
        child: the id of the child.
        reason: why the child ended or did not start; for "killed" and "gave up", what was exceeded.
        action: what the supervisor does now, such as "restarting in 0.5 s"; empty when nothing is left to do.
    """

    supervisor: str
    node: str
    event: ChildEvent
    child: str
    reason: str
    action: str


def is_clean(reason: object) -> bool:
    """Whether a process that ended so has ended as intended: "normal", "shutdown" or "shutdown:..."."""
    return isinstance(reason, str) and (reason in ("normal", "shutdown") or reason.startswith("shutdown:"))


def kind_of(process: Process) -> str:
    """The name of the class of a process."""
    return type(process.handle).__name__.removesuffix(" handle")


def ancestors(process: Process) -> tuple[str, ...]:
    """Who started the process, who started that one, and so on, as far as they are known."""
    found: list[str] = []
    parent = process.ties.parent if process.ties is not None else None
    while parent is not None and len(found) < ANCESTORS_SHOWN_MAX:
        found.append(str(parent))
        parent = parent.ties.parent if parent.ties is not None else None
    return tuple(found)


def show_message(process: Process, spec: Spec, args: Sequence[object], kwargs: Mapping[str, object]) -> str:
    """A message to `process` as text: bounded, without its secrets. `args` are those after the server itself."""
    return display_call(spec.function, args, kwargs, type(process.handle).redacted)


def report_crash(process: Process, reason: Reason, during: str) -> None:
    """One record: who, what it was doing, its state, its ancestors, and the traceback.

    Args:
        process: who crashes; it still has its state.
        reason: what it raised, or the word with which it ends. Nothing is written about an intended end.
        during: the message that it was handling, from `show_message`, or the name of what it was doing.
    """
    if is_clean(reason) or not _log.isEnabledFor(logging.ERROR):
        return
    error = reason if isinstance(reason, BaseException) else None
    report = CrashReport(
        kind_of(process),
        process.name,
        process.pid,
        process.scheduler.name,
        cut(during),
        cut(explain(reason)),
        None if error is None else f"{type(error).__module__}.{type(error).__qualname__}",
        _state(process),
        len(process.mail or ()) // 2,
        ancestors(process),
        "" if error is None else "".join(traceback.format_exception(error)).rstrip(),
    )
    _log.error(
        "%s crashed in %s: %s\n  pid %d on %s, %d messages waiting\n  state: %s\n  ancestors: %s",
        process,
        report.last_message,
        report.reason,
        report.pid,
        report.node,
        report.mailbox,
        report.state,
        ", ".join(report.ancestors) or "none",
        exc_info=None if error is None else (type(error), error, error.__traceback__),
        extra={REPORT: report},
    )


def report_lost(process: Process, what: str) -> None:
    """One record about a message that nobody will ever hear of."""
    _log.warning("%s: %s", process, cut(what))


def report_stray(process: Process, message: object) -> None:
    """One record about a message that no handler of the process takes."""
    report_lost(
        process,
        f"no @info handler takes a {type(message).__name__}: {display(message, type(process.handle).redacted)}",
    )


def report_bug(where: str, error: BaseException) -> None:
    """One record about an exception where none is meant to be."""
    _log.error("%s raised %s", where, explain(error), exc_info=(type(error), error, error.__traceback__))


def report_child_ended(supervisor: Process, child: str, process: object, reason: Reason, action: str) -> None:
    """A child has ended. An error when that was not intended, else a word for those who debug.

    Args:
        supervisor: whose child it was.
        child: its id.
        process: its handle, for the text.
        reason: why it ended.
        action: what comes now: "restarting", "restarting in 0.5 s", "not restarted".
    """
    level = logging.DEBUG if is_clean(reason) else logging.ERROR
    text = f"child {child!r} ({process!r}) terminated: {explain(reason)}; {action}"
    _report(level, supervisor, "terminated", child, explain(reason), action, text)


def report_child_started(supervisor: Process, child: str, process: object) -> None:
    """A child runs, for the first time or again: a word for those who debug."""
    _report(logging.DEBUG, supervisor, "started", child, "", "", f"child {child!r} started as {process!r}")


def report_child_not_started(supervisor: Process, child: str, reason: Reason, action: str) -> None:
    """A child did not start; `action` is what comes now."""
    text = f"child {child!r} did not start: {explain(reason)}; {action}"
    _report(logging.ERROR, supervisor, "not started", child, explain(reason), action, text)


def report_child_killed(supervisor: Process, child: str, process: object, shutdown_s: float) -> None:
    """A child was killed, because it did not stop within `shutdown_s` seconds."""
    why = f"it did not stop within {shutdown_s:g} s"
    _report(logging.WARNING, supervisor, "killed", child, why, "", f"kills child {child!r} ({process!r}): {why}")


def report_gave_up(supervisor: Process, child: str, max_restarts: int, within_s: float) -> None:
    """The supervisor ends: there were too many restarts, the last one of `child`."""
    why = f"more than {max_restarts} restarts in {within_s:g} s"
    text = f"gives up: {why}, the last of {child!r}"
    _report(logging.ERROR, supervisor, "gave up", child, why, "", text)


def _report(
    level: int, supervisor: Process, event: ChildEvent, child: str, reason: str, action: str, text: str
) -> None:
    if _log.isEnabledFor(level):
        report = SupervisorReport(str(supervisor), supervisor.scheduler.name, event, child, cut(reason), action)
        _log.log(level, "%s: %s", supervisor, cut(text), extra={REPORT: report})


def _state(process: Process) -> str:
    server = getattr(process, "server", None)
    if server is None:
        return "gone"
    try:
        state = server.show_state()
    except Exception as error:  # a state that cannot even be shown must not hide the crash
        return f"<not shown: {explain(error)}>"
    return display(state, type(server).redacted)
