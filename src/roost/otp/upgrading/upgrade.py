"""Code change: a new version of a module under the processes that run it.

`await upgrade(module)` does what OTP does with `sys:suspend`, loading, `sys:change_code` and `sys:resume`, as one step
that succeeds or changes nothing:

1. The new source is compiled. All processes of the module are suspended, when their handlers have ended.
2. The source is run in the module. The classes of the old version stay the same objects and get the new methods.
3. `code_change` makes a new state of a copy of each old one. Mail that waits is addressed to the new code.
4. The processes go on.

Steps 2 and 3 happen within one turn of the loop. Whatever fails, the old code and the old states run on.
"""

from __future__ import annotations

import linecache
import logging
from collections.abc import Callable, Sequence
from inspect import iscoroutine
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from roost.errors import BadMessage, UpgradeFailed
from roost.limits import UPGRADE_S
from roost.otp.crash import explain, report_lost
from roost.otp.gen_server import GenServer
from roost.otp.isolation import hand_over
from roost.otp.process_info import process_info
from roost.otp.scheduler import Scheduler
from roost.otp.state import read_state, write_state
from roost.otp.upgrading.exchange import Exchange, classes_of
from roost.otp.upgrading.holding import Hold
from roost.otp.upgrading.old_mail import Lost, readdress

if TYPE_CHECKING:
    from roost.otp.process import Process

_log = logging.getLogger("roost.otp")


class Upgraded(msgspec.Struct, frozen=True):
    """What an upgrade has done.

    Attributes:
        modules: their names.
        processes: how many processes run the new code.
        migrated: how many of them have got a new state from `code_change`.
        replaced: the message classes whose definition has changed, so that they are new classes.
        mail_made_new: how many waiting messages were of such a class, and are of its new form now.
        mail_lost: how many waiting messages the new code cannot take; each was reported, and its caller told.
    """

    modules: tuple[str, ...]
    processes: int
    migrated: int
    replaced: tuple[str, ...]
    mail_made_new: int
    mail_lost: int


async def upgrade(*modules: ModuleType, timeout_s: float = UPGRADE_S, scheduler: Scheduler | None = None) -> Upgraded:
    """Run the new source of modules under the processes that run the old one.

    Args:
        modules: what was imported from files that have changed since; in the order in which they import each other.
        timeout_s: how many seconds the handlers that run may take to their end.
        scheduler: of the processes; the current one when not given.

    Raises:
        UpgradeFailed: when a module cannot be read, compiled or run, a process stays busy, or a `code_change` raises.
            It says which and why. The old code runs on, with the old states.
    """
    if scheduler is None:
        scheduler = Scheduler.current()
    codes = [(module, _compile(module)) for module in modules]
    kinds = tuple(
        [kind for module in modules for kind in classes_of(vars(module), module) if issubclass(kind, GenServer)]
    )
    hold = Hold(scheduler, lambda process: isinstance(process.server, kinds))
    names = tuple([module.__name__ for module in modules])
    runs = scheduler.running_process()
    if runs is not None and isinstance(runs.server, kinds):
        raise UpgradeFailed(", ".join(names), str(runs), "it cannot wait for itself: upgrade from another process")
    try:
        busy = await hold.take(timeout_s)
        if busy is not None:
            handler = process_info(busy.handle).handler or "mail"
            raise UpgradeFailed(", ".join(names), str(busy), f"it was busy with {handler} for {timeout_s:g} s")
        done = _Swap(codes, hold.concerned()).run()
    finally:
        hold.release()
    _log.info("upgraded %s under %d processes", ", ".join(names), done.processes, extra={"report": done})
    return done


def _compile(module: ModuleType) -> CodeType:
    """The source of a module as it is on the disk now; what Python has cached of it may be older."""
    loader: object = None if module.__spec__ is None else module.__spec__.loader
    if not isinstance(loader, _SourceLoader) or module.__file__ is None:
        raise UpgradeFailed(module.__name__, None, "it was not imported from a source file")
    try:
        return loader.source_to_code(loader.get_data(module.__file__), module.__file__)
    except (OSError, SyntaxError, ValueError) as error:
        raise UpgradeFailed(module.__name__, None, explain(error)) from error


@runtime_checkable
class _SourceLoader(Protocol):
    """What imports modules from files, as far as an upgrade needs it."""

    def get_data(self, path: str, /) -> bytes:
        """What is in a file."""

    def source_to_code(self, data: bytes, path: str, /) -> CodeType:
        """The code of a module."""


class _Swap:
    """The step from the old code to the new one, within one turn of the loop."""

    def __init__(self, codes: Sequence[tuple[ModuleType, CodeType]], processes: Sequence[Process]) -> None:
        self._codes, self._processes = codes, processes
        self._exchange = Exchange(processes)
        self._name = ", ".join(module.__name__ for module, _ in codes)

    def run(self) -> Upgraded:
        """Do it, or leave everything as it was.

        Raises:
            UpgradeFailed: then it is as it was.
        """
        tables = [(handle.__calls__, handle.__casts__) for handle in (type(one.handle) for one in self._processes)]
        versions = [type(process.server).vsn for process in self._processes]
        try:
            for module, code in self._codes:
                self._exchange.exchange(module, code)
            states = [self._migrate(*each) for each in zip(self._processes, versions, strict=True)]
            mail = [readdress(*each) for each in zip(self._processes, tables, strict=True)]
        except BaseException as error:
            self._exchange.patch.take_back()
            for module, _ in self._codes:
                linecache.checkcache(module.__file__)
            if isinstance(error, UpgradeFailed) or not isinstance(error, Exception):
                raise
            raise UpgradeFailed(self._name, None, explain(error)) from error
        for process, state, (box, _, lost) in zip(self._processes, states, mail, strict=True):
            if state is not None:
                write_state(process.server, state)
            process.mail = box
            process.entries_max = 2 * type(process.server).mailbox_messages_max
            for message in lost:
                _tell(process, message)
        return Upgraded(
            tuple([module.__name__ for module, _ in self._codes]),
            len(self._processes),
            sum(state is not None for state in states),
            tuple(self._exchange.replaced),
            sum(made_new for _, made_new, _ in mail),
            sum(len(lost) for _, _, lost in mail),
        )

    def _migrate(self, process: Process, old_vsn: int | str | None) -> dict[str, object] | None:
        """The new state of a process; None when it keeps its own."""
        server = process.server
        kind = type(server)
        if kind.code_change is GenServer.code_change:
            return None
        held = read_state(server)
        twin = kind.__new__(kind)
        twin._process, twin._timeout_s = process, server._timeout_s
        change: Callable[[int | str | None], object] = twin.code_change
        try:
            write_state(twin, {name: hand_over(value) for name, value in held.items()})
            outcome = change(old_vsn)
        except Exception as error:
            raise UpgradeFailed(self._name, str(process), f"its code_change failed: {explain(error)}") from error
        if iscoroutine(outcome):
            outcome.close()
            raise UpgradeFailed(self._name, str(process), "its code_change is async: it must be done within one turn")
        # What was not changed stays the same object: an activity of the process may use it too.
        return {name: held[name] if _same(held.get(name), new) else new for name, new in read_state(twin).items()}


def _same(old: object, new: object) -> bool:
    """Whether `new` is an unchanged copy of `old`; 1.0 in the place of 1 is a change."""
    if old is new:
        return True
    if type(old) is not type(new):
        return False
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return len(old) == len(new) and all(map(_same, old.items(), new.items()))
    if isinstance(old, (set, frozenset)) and isinstance(new, (set, frozenset)):
        return {id(item) for item in old} == {id(item) for item in new}
    return False


def _tell(process: Process, message: Lost) -> None:
    """Let those know who should of a message that nobody can take."""
    if message.reply is None:
        report_lost(process, f"{message.text} was sent before the upgrade, and is lost: {message.reason}")
    elif not message.reply.done():
        message.reply.set_exception(BadMessage(message.reason))
