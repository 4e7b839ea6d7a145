"""What the log says about processes that end badly: one record per crash, readable without the source."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from roost.otp.process import Process

TEXT_MAX: Final = 2_000
"""Characters of a state or a message in one log record."""

_log = logging.getLogger("roost.otp")


def explain(reason: object) -> str:
    """A reason in one line."""
    if isinstance(reason, BaseException):
        text = str(reason)
        return f"{type(reason).__name__}: {text}" if text else type(reason).__name__
    return str(reason)


def is_clean(reason: object) -> bool:
    """Whether a process that ended so has ended as intended: "normal", "shutdown" or "shutdown:..."."""
    return isinstance(reason, str) and (reason in ("normal", "shutdown") or reason.startswith("shutdown:"))


def report_crash(process: Process, error: BaseException, during: str) -> None:
    """One record: who, what it was doing, its state, and the traceback."""
    _log.error(
        "%s crashed in %s: %s\n  state: %s",
        process,
        _shorten(during),
        explain(error),
        _state(process),
        exc_info=(type(error), error, error.__traceback__),
    )


def report_lost(process: Process, what: str) -> None:
    """One record about a message that nobody will ever hear of."""
    _log.warning("%s: %s", process, _shorten(what))


def report_bug(where: str, error: BaseException) -> None:
    """One record about an exception where none is meant to be."""
    _log.error("%s raised %s", where, explain(error), exc_info=(type(error), error, error.__traceback__))


def _state(process: Process) -> str:
    try:
        return _shorten(repr(vars(process.server)))
    except Exception as error:  # a state that cannot even be shown must not hide the crash
        return f"<not shown: {explain(error)}>"


def _shorten(text: str) -> str:
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + f"... ({len(text)} characters)"
