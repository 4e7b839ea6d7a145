"""One line of output: what was measured, against what, and whether it is good enough."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import msgspec

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True, slots=True)
class Bound:
    """One condition of a target: a field of the line, ">=" or "<=", and a number."""

    field: str
    comparison: str
    limit: float

    def holds(self, value: object) -> bool:
        """Whether `value` is a number within the bound. A value that is missing never is."""
        return isinstance(value, int | float) and _COMPARISONS[self.comparison](value, self.limit)

    def __str__(self) -> str:
        return f"{self.field} {self.comparison} {shown(float(self.limit))}"


@dataclass(slots=True)
class Line:
    """The result of one benchmark.

    Attributes:
        turns: what ours measured in each round, then what the reference did, in `unit`. Their medians are shown.
        facts: more fields of the line.
    """

    name: str
    unit: str
    target: Sequence[Bound]
    note: str
    turns: Sequence[Sequence[float]]
    facts: dict[str, object] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """The line with everything that follows from its rounds."""
        ours_rounds, reference_rounds = self.turns[:2]
        ours, reference = middle(ours_rounds), middle(reference_rounds)
        values: dict[str, object] = {
            "name": self.name,
            "ours": shown(ours),
            "reference": shown(reference),
            "ratio": shown(ours / reference) if ours and reference else None,
            "unit": self.unit,
            **{name: shown(value) for name, value in self.facts.items()},
        }
        missed = [str(bound) for bound in self.target if not bound.holds(values.get(bound.field))]
        return {
            **values,
            "target": [str(bound) for bound in self.target],
            "ok": not missed,
            "missed": missed,
            "rounds": len(ours_rounds),
            "ours_rounds": [shown(value) for value in ours_rounds],
            "reference_rounds": [shown(value) for value in reference_rounds],
            "note": self.note,
        }

    def as_json(self) -> str:
        """The line as it is printed."""
        return msgspec.json.encode(self.as_dict()).decode()


def failure(name: str, reason: str) -> str:
    """The line of a benchmark that could not be measured."""
    return msgspec.json.encode({"name": name, "ok": False, "error": reason}).decode()


def middle(values: Sequence[float]) -> float | None:
    """The median, or None of nothing."""
    return median(values) if values else None


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def shown(value: object) -> object:
    """A number with four significant digits, which is more than any benchmark is good for; others as they are."""
    if not isinstance(value, float):
        return value
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() and abs(short) >= 1000 else short
