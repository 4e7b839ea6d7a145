"""One module and its new source: what it defines, put in the place of what was there."""

from __future__ import annotations

import linecache
from collections.abc import Iterator, Mapping, Sequence
from inspect import iscoroutinefunction
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, TypeGuard

from roost.errors import UpgradeFailed
from roost.otp.compiling import members
from roost.otp.crash import explain
from roost.otp.declare import Call, Cast, Spec
from roost.otp.gen_server import GenServer
from roost.otp.handle import handle_class
from roost.otp.remote import make_remote_class
from roost.otp.state_engine import Handler
from roost.otp.state_machine import StateMachine
from roost.otp.upgrading.definitions import BEFORE, NEXT, changed_classes, is_value_class
from roost.otp.upgrading.old_mail import take_old_forms
from roost.otp.upgrading.patching import Patch, same_layout, turn

if TYPE_CHECKING:
    from roost.otp.process import Process


class Exchange:
    """New code for some modules, under processes that are suspended.

    Args:
        processes: all processes of the modules.
    """

    def __init__(self, processes: Sequence[Process]) -> None:
        self._processes = processes
        self.patch = Patch()
        self.replaced: list[str] = []
        """Names of the classes that are others now."""

    def exchange(self, module: ModuleType, code: CodeType) -> None:
        """Run the new source of one module, and put what it defines in the place of what was there.

        Raises:
            UpgradeFailed: when it raises, or a process would have no class any more. What was done stays to be taken
                back.
        """
        patch = self.patch
        try:
            before = patch.execute(module, code)
        except (Exception, SystemExit) as error:
            raise UpgradeFailed(module.__name__, None, f"its new source failed: {explain(error)}") from error
        linecache.checkcache(module.__file__)
        fresh = tuple(classes_of(vars(module), module))
        named = {kind.__qualname__: kind for kind in fresh}
        olds = tuple(classes_of(before, module))
        pairs = tuple([(old, named[old.__qualname__]) for old in olds if old.__qualname__ in named])
        changed = self._changed(pairs, fresh)
        kept = tuple([(old, new) for old, new in pairs if old not in changed])
        become = {new: old for old, new in kept}
        self._check(module, olds, become)
        turn(become, fresh)
        for old, new in pairs:
            if old in changed:
                self._replace(old, new)
        families = {old: _family(old, become) for old, _ in kept if issubclass(old, GenServer)}
        for kind in fresh:
            bases = tuple([become.get(base, base) for base in kind.__bases__])
            if kind in become:
                patch.adopt(become[kind], kind, bases)
            elif not is_value_class(kind):
                patch.rebase(kind, bases)
        self._functions(module, before)
        for old, family in families.items():
            for kind in family:
                self._refresh(kind, own=kind is old)

    @staticmethod
    def _changed(pairs: Sequence[tuple[type, type]], fresh: Sequence[type]) -> frozenset[type]:
        """The old classes that cannot stay: their instances are of another kind than those of the new ones."""
        values = {old: new for old, new in pairs if is_value_class(old) and is_value_class(new)}
        news = {new for _, new in pairs}
        changed = changed_classes(values, [kind for kind in fresh if kind not in news and is_value_class(kind)])
        return changed | {old for old, new in pairs if old not in values and not same_layout(old, new)}

    def _check(self, module: ModuleType, olds: Sequence[type], become: dict[type, type]) -> None:
        """See to it that every process still has a class."""
        stay = set(become.values())
        for process in self._processes:
            for kind in type(process.server).__mro__:
                if kind in olds and kind not in stay:
                    why = f"the new source has no {kind.__qualname__}, or one that its instances cannot be of"
                    raise UpgradeFailed(module.__name__, str(process), why)

    def _replace(self, old: type, new: type) -> None:
        """Note that one class has become another."""
        self.patch.set(old, NEXT, new)
        type.__setattr__(new, BEFORE, (old, *vars(old).get(BEFORE, ())))
        self.replaced.append(new.__qualname__)

    def _functions(self, module: ModuleType, before: dict[str, object]) -> None:
        """Let functions that other modules have imported do what the new ones do."""
        names = vars(module)
        for name, old in before.items():
            new = names.get(name)
            if isinstance(old, FunctionType) and isinstance(new, FunctionType) and old is not new:
                own = old.__module__ == new.__module__ == module.__name__ and old.__qualname__ == name
                if own and self.patch.function(old, new):
                    names[name] = old

    def _refresh(self, kind: type[GenServer], *, own: bool) -> None:
        """Make the tables and the handles of a class fit its functions, or those of its bases."""
        patch = self.patch
        if not own:
            calls: dict[str, Spec] = {}
            casts: dict[str, Spec] = {}
            for name, member in members(kind).items():
                declared = getattr(member, "__spec__", None)
                if isinstance(declared, tuple) and declared[0] is Call:
                    calls[name] = declared[1]
                elif isinstance(declared, tuple) and declared[0] is Cast:
                    casts[name] = declared[1]
            patch.set(kind, "__calls__", calls)
            patch.set(kind, "__casts__", casts)
            patch.set(kind, "__init_async__", iscoroutinefunction(kind.init))
            if issubclass(kind, StateMachine):
                patch.set(kind, "__handlers__", _handlers(kind))
        patch.set(kind, "__infos__", take_old_forms(kind))
        shown = frozenset((*kind.__calls__, *kind.__casts__))
        patch.attributes(kind.__handle__, vars(handle_class(kind, shown)))
        remote = vars(kind).get("__remote__")
        if remote is not None:
            patch.attributes(remote, vars(make_remote_class(kind)))


def classes_of(names: Mapping[str, object], module: ModuleType) -> Iterator[type]:
    """The classes that a module defines at its top, and those inside of them."""
    for name, value in names.items():
        if _is_own(value, module, name):
            yield value
            inside = {f"{name}.{inner}": part for inner, part in vars(value).items()}
            yield from classes_of(inside, module)


def _is_own(value: object, module: ModuleType, name: str) -> TypeGuard[type]:
    return isinstance(value, type) and value.__module__ == module.__name__ and value.__qualname__ == name


def _family(old: type[GenServer], become: dict[type, type]) -> list[type[GenServer]]:
    """A class and those derived from it in whatever module, but for handles and what the new source has made."""
    found = [old]
    for kind in found:
        for child in kind.__subclasses__():
            if "__handle_of__" not in vars(child) and child not in found and child not in become:
                found.append(child)
    return found


def _handlers(kind: type[StateMachine]) -> dict[str, Handler]:
    """What each message does in a state that is defined in another module than what it is derived from."""
    found: dict[str, Handler] = {}
    for base in reversed(kind.__mro__):
        own: Mapping[str, Handler] = vars(base).get("__handlers__", {})
        found.update({name: handler for name, handler in own.items() if name in vars(base)})
    return found
