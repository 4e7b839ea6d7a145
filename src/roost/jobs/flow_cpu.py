"""The part of a flow that computes in worker processes: a whole line over many elements is one job.

Functions travel by the name of the place where they are defined; what they are bound to by `functools.partial` travels
as a value.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Final
from typing import cast as typed

from roost.core.window import Window
from roost.errors import ConfigError, FlowFailed, RoostError
from roost.jobs.flow_fold import Counting, Folder, FoldNode, Grouping, Reducing
from roost.jobs.flow_line import Kind, Line, Meter, Step, name_of
from roost.otp.display import explain
from roost.runtime.cpu import Cpu, script
from roost.runtime.worker_main import MAIN, Place, Setup, is_worker

Located = tuple[str, list[object], dict[str, object]]
"""A function: its place, and what it is bound to."""
PLAIN: Final = Window.whole()

_PLACE: Final = Place()


class CpuLine:
    """Steps, and perhaps partial sums, in worker processes.

    Args:
        steps: what to do with each element.
        folder: how to add what comes out, before it comes back; None brings back the elements.
        cpu: the workers.
        meter: of the run.

    Raises:
        ConfigError: when a function is async, or is not defined at the top of a module.
    """

    __slots__ = ("_cpu", "_folder", "_meter", "_name", "_script", "_steps")

    def __init__(self, steps: Sequence[Step], folder: Folder | None, cpu: Cpu, meter: Meter) -> None:
        self._cpu, self._meter = cpu, meter
        self._name = ", ".join([*(step.name for step in steps), *(() if folder is None else (folder.name,))])
        self._steps = [(step.kind, locate(step.function)) for step in steps]
        self._folder = None if folder is None else _folder_parts(folder)
        self._script = script()

    async def take(self, items: list[object]) -> list[object]:
        """Run a batch through: its elements, or the one partial sum of them.

        Raises:
            FlowFailed: when a function raised, and the policy is to raise; when a value cannot travel; or when the
                worker was lost, whatever the policy is.
        """
        job = (self._steps, self._folder, items, self._meter.skips, *self._script)
        try:
            made, skipped = await self._cpu.run(run_job, job)
        except FlowFailed:
            raise
        except RoostError as error:
            raise FlowFailed(self._name, f"a batch of {len(items)} elements", explain(error)) from error
        for failed in skipped:
            self._meter.skip(FlowFailed(*failed))
        return made


def run_job(
    steps: list[tuple[Kind, Located]],
    folder: tuple[str, list[Located | None]] | None,
    items: list[object],
    skips: bool,
    path: str,
    is_module: bool,
) -> tuple[list[object], list[tuple[str, str, str]]]:
    """What a worker process does. Returns what comes out, and the elements that were left out."""
    place = _place(path, is_module)
    skipped: list[FlowFailed] = []
    meter = Meter("skip" if skips else "raise", skipped.append)
    fold = None if folder is None else FoldNode(_whole_folder(folder, place), PLAIN, _parts_only, 0, False, meter)
    line = Line([Step(kind, find(located, place)) for kind, located in steps], fold, meter)
    made = line.take(items)
    if fold is not None:
        made = [dict(part) if isinstance(part, Counter) else part for part in fold.end()]
    return made, [(failed.step, failed.element, failed.reason) for failed in skipped]


def _parts_only(sum: object, trigger: object) -> tuple[Iterable[object], object]:
    return (sum,), None


def locate(function: Callable[..., object]) -> Located:
    """Where a function is found, as a value that can travel.

    Raises:
        ConfigError: when it cannot be found by a name.
    """
    if isinstance(function, partial):
        place, args, kwargs = locate(function.func)
        return place, [*args, *function.args], {**kwargs, **function.keywords}
    return _name(function), [], {}


def _name(function: Callable[..., object]) -> str:
    owner: object = getattr(function, "__objclass__", None) or getattr(function, "__self__", None)
    if isinstance(owner, type):  # str.split, or a class method
        return f"{_name(owner)}.{function.__name__}"
    try:
        return _PLACE.name_of(function)
    except LookupError:
        raise ConfigError(
            "cpu", f"{name_of(function)} is not defined at the top of a module, so that no worker process can find it"
        ) from None


def find(located: Located, place: Place) -> Callable[..., object]:
    """The function that `locate` has located."""
    name, args, kwargs = located
    function = typed("Callable[..., object]", place.find(name))
    return partial(function, *args, **kwargs) if args or kwargs else function


@lru_cache(maxsize=2)
def _place(path: str, is_module: bool) -> Place:
    """Where this process finds functions. A worker imports the script of its node when it must, and once."""
    return Place(Setup([], [], path, is_module, 0, 0) if is_worker() and not _has_script() else None)


def _has_script() -> bool:
    return MAIN in sys.modules


def _folder_parts(folder: Folder) -> tuple[str, list[Located | None]]:
    functions: tuple[Callable[..., object] | None, ...]
    match folder:
        case Counting(key):
            functions = (key,)
        case Grouping(key, value):
            functions = (key, value)
        case Reducing(make, function, combiner):
            functions = (make, function, combiner)
        case _:
            raise ConfigError("cpu", f"{folder.name} cannot be added up in parts")
    return type(folder).__name__, [None if function is None else locate(function) for function in functions]


def _whole_folder(parts: tuple[str, list[Located | None]], place: Place) -> Folder:
    kind, located = parts
    kinds: dict[str, Callable[..., Folder]] = {"Counting": Counting, "Grouping": Grouping, "Reducing": Reducing}
    return kinds[kind](*[None if one is None else find(one, place) for one in located])
