"""New code in the place of old code: modules, classes and functions that stay who they are and do something else.

Handles, `isinstance`, imports in other modules and values in a state all go by identity. So an old class object gets
the attributes of the new one, an old function its code, and whatever of the new code refers to the new class objects
is turned to the old ones. Every step notes how to take it back, and nothing here gives up the turn: whoever runs next
sees all of it, or nothing.
"""

from __future__ import annotations

import functools
import gc
import operator
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Final, get_args

from roost.otp.upgrading.definitions import is_value_class

OF_THE_MODULE: Final = frozenset(
    "__name__ __doc__ __package__ __loader__ __spec__ __file__ __cached__ __path__ __builtins__".split()
)
"""Names of a module that its source does not make."""
OF_THE_CLASS: Final = frozenset("__dict__ __weakref__ __handle__ __remote__ _abc_impl".split())
"""Attributes of a class that belong to the class object itself."""
OF_THE_FUNCTION: Final = ("__code__", "__defaults__", "__kwdefaults__", "__annotations__", "__doc__", "__dict__")
"""What a function is made of, besides its name, its module and its cells."""


WRITTEN_IN_PYTHON: Final = 1 << 9
"""The flag of a class that was made by a class statement."""


class Patch:
    """Steps that can be taken back, last one first."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def take_back(self) -> None:
        """Make everything as it was."""
        while self._undo:
            self._undo.pop()()

    def execute(self, module: ModuleType, code: CodeType) -> dict[str, object]:
        """Run new source in the namespace of a module, from the beginning. Returns what was there before.

        Functions of both versions share that namespace: it is the same dict, with the new contents.
        """
        names = vars(module)
        before = dict(names)
        self._undo += (lambda: names.update(before), names.clear)
        for name, value in before.items():
            submodule = isinstance(value, ModuleType) and value.__name__ == f"{module.__name__}.{name}"
            if name not in OF_THE_MODULE and not submodule:
                del names[name]
        FunctionType(code, names)()
        return before

    def set(self, kind: type, name: str, value: object) -> None:
        """Set an attribute of a class."""
        self._note(kind, name)
        type.__setattr__(kind, name, value)

    def delete(self, kind: type, name: str) -> None:
        """Delete an attribute of a class itself."""
        self._note(kind, name)
        type.__delattr__(kind, name)

    def _note(self, kind: type, name: str) -> None:
        if name in vars(kind):
            before = vars(kind)[name]
            self._undo.append(lambda: type.__setattr__(kind, name, before))
        else:
            self._undo.append(lambda: type.__delattr__(kind, name))

    def attributes(self, kind: type, namespace: Mapping[str, object]) -> None:
        """Give a class these attributes, and take away its other ones."""
        namespace = dict(
            namespace
        )  # that of a class may be cleared by the garbage collector, once nobody has the class
        for name, value in list(vars(kind).items()):
            if name not in namespace and name not in OF_THE_CLASS and not isinstance(value, types.MemberDescriptorType):
                self.delete(kind, name)
        for name, value in namespace.items():
            old = vars(kind).get(name)
            if name not in OF_THE_CLASS and not isinstance(value, types.MemberDescriptorType) and old is not value:
                if isinstance(old, FunctionType) and isinstance(value, FunctionType):
                    self.cells(old, value)
                self.set(kind, name, value)

    def rebase(self, kind: type, bases: tuple[type, ...]) -> None:
        """Give a class other bases.

        Raises:
            TypeError: when they do not fit its instances.
        """
        before = kind.__bases__
        if bases != before:
            kind.__bases__ = bases
            self._undo.append(lambda: setattr(kind, "__bases__", before))

    def adopt(self, kind: type, new: type, bases: tuple[type, ...]) -> None:
        """Make a class do what its new version does.

        Raises:
            TypeError: when its new bases do not fit its instances.
        """
        self.rebase(kind, bases)
        if not is_value_class(kind):
            self.attributes(kind, vars(new))
            return
        for name, value in vars(new).items():
            made = isinstance(value, (FunctionType, property, staticmethod, classmethod))
            if made and not (hasattr(kind, "__members__") and name.startswith("_")):
                self.set(kind, name, value)

    def function(self, old: FunctionType, new: FunctionType) -> bool:
        """Let an old function do what the new one does. Returns False when it cannot, as it closes over something."""
        if old.__closure__ is not None or new.__closure__ is not None:
            return False
        before = {name: getattr(old, name) for name in OF_THE_FUNCTION}
        for name in OF_THE_FUNCTION:
            self._undo.append(functools.partial(setattr, old, name, before[name]))
            setattr(old, name, getattr(new, name))
        return True

    def cells(self, old: FunctionType, new: FunctionType) -> None:
        """Let a declared message that somebody took from the old class run the new handler.

        Both versions of a call were made by the same function of Roost, with the handler in their cells.
        """
        if old.__code__ is not new.__code__ or not hasattr(new, "__spec__"):
            return
        for mine, theirs in zip(old.__closure__ or (), new.__closure__ or (), strict=True):
            before = mine.cell_contents
            self._undo.append(functools.partial(setattr, mine, "cell_contents", before))
            mine.cell_contents = theirs.cell_contents


def same_layout(old: type, new: type) -> bool:
    """Whether instances of one could be instances of the other."""
    return type(old) is type(new) and _layout(old) == _layout(new)


def turn(become: Mapping[type, type], fresh: Sequence[type]) -> None:
    """Turn what refers to new class objects, in whatever way, to the old ones that have taken their place.

    Cells of closures, `super()` without arguments among them, and entries of dicts and lists are found by the garbage
    collector; annotations that were evaluated are built again.

    Args:
        become: the old class of each new one.
        fresh: all classes that the new source has made.
    """
    # The namespace of a class is a dict too, but must be changed through the class.
    own = {id(held) for kind in fresh for held in gc.get_referents(kind) if isinstance(held, dict)}
    news = tuple(become)
    for holder in gc.get_referrers(*news):
        if id(holder) in own:
            continue
        if isinstance(holder, types.CellType):
            holder.cell_contents = become[holder.cell_contents]
        elif type(holder) is list:
            holder[:] = [_turned(item, become) for item in holder]
        elif type(holder) is dict:
            for key, item in list(holder.items()):
                if isinstance(item, type) and item in become:
                    holder[key] = become[item]
    for kind in fresh:
        for name, value in list(vars(kind).items()):
            if isinstance(value, type) and value in become:
                type.__setattr__(kind, name, become[value])
        for notes in _annotation_dicts(kind):
            notes.update({name: turned_hint(note, become) for name, note in notes.items()})


def _turned(item: object, become: Mapping[type, type]) -> object:
    return become.get(item, item) if isinstance(item, type) else item


def turned_hint(hint: object, become: Mapping[type, type]) -> object:
    """An annotation with old classes in the place of new ones."""
    if isinstance(hint, type) and hint in become:
        return become[hint]
    args = get_args(hint)
    news = tuple([turned_hint(arg, become) for arg in args])
    if all(new is old for new, old in zip(news, args, strict=True)):
        return hint
    if isinstance(hint, types.UnionType):
        return functools.reduce(operator.or_, news)
    origin: object = getattr(hint, "__origin__", None)
    if isinstance(hint, types.GenericAlias) and isinstance(origin, type):
        return types.GenericAlias(origin, news)
    copy_with: Callable[[tuple[object, ...]], object] | None = getattr(hint, "copy_with", None)
    return hint if copy_with is None else copy_with(news)


def _annotation_dicts(kind: type) -> Iterator[dict[str, object]]:
    """The annotations of a class, and of the functions in it."""
    notes = vars(kind).get("__annotations__")
    if isinstance(notes, dict):
        yield notes
    for value in vars(kind).values():
        for function in functions_in(value):
            yield function.__annotations__


def functions_in(value: object) -> Iterator[FunctionType]:
    """The functions that an attribute of a class consists of."""
    if isinstance(value, (staticmethod, classmethod)):
        yield from functions_in(value.__func__)
    elif isinstance(value, property):
        for part in (value.fget, value.fset, value.fdel):
            yield from functions_in(part)
    elif isinstance(value, FunctionType):
        yield value
        yield from functions_in(getattr(value, "__wrapped__", None))
        declared = getattr(value, "__spec__", None)
        if declared is not None and declared[1].function is not value:
            yield from functions_in(declared[1].function)


def _layout(kind: type) -> list[object]:
    """The bases that decide what an instance is made of: those with slots, and those that are not written in Python."""
    bases = [base for base in kind.__mro__ if "__slots__" in vars(base) or not base.__flags__ & WRITTEN_IN_PYTHON]
    return [
        (base.__module__, base.__qualname__, tuple(vars(base).get("__slots__", ())))
        for base in bases
        if base is not object
    ]
