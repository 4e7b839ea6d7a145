"""Judges: pure functions from a history, and what a world holds at its end, to the promises that it broke."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from roost.core.layout import Layout
from roost.sim.history import Operation

Values = Mapping[str, tuple[str, ...]]
"""By key, the concurrent values that a final read returned; an absent key counts as no values."""


@dataclass(frozen=True, slots=True)
class Broken:
    """One promise that did not hold.

    Args:
        checker: who says so.
        key: of what.
        what: the facts, in one sentence.
    """

    checker: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.checker}: {self.key}: {self.what}"


def lost_writes(history: Iterable[Operation], final: Values) -> list[Broken]:
    """No acknowledged write is lost.

    A write may be gone only when another one, that knew of it, replaced it: when a chain of writes, each made in
    sight of the one before, leads from it to a value that is there at the end, or to a delete. What "in sight" means
    is the clients' own account. A write of unknown outcome may be part of a chain, for it may have happened.
    """
    writes = [one for one in history if one.kind != "get" and one.outcome in ("ok", "info", "open")]
    seen_by: dict[tuple[str, str], tuple[str, ...]] = {(one.key, one.value): one.seen for one in writes if one.value}
    accounted: dict[tuple[str, str], None] = {}
    waiting = [(key, value) for key, values in final.items() for value in values]
    waiting += [(one.key, value) for one in writes if one.kind == "delete" for value in one.seen]
    while waiting:
        key, value = waiting.pop()
        if (key, value) not in accounted:
            accounted[key, value] = None
            waiting.extend((key, older) for older in seen_by.get((key, value), ()))
    return [
        Broken(
            "lost write",
            one.key,
            f"{one.value!r}, acknowledged to {one.client} by {one.node} at {one.ended_s:.3f} s, is neither there nor "
            f"replaced by a write that knew of it; there is {list(final.get(one.key, ()))}",
        )
        for one in writes
        if one.kind == "put" and one.outcome == "ok" and (one.key, one.value) not in accounted
    ]


def resurrected(history: Iterable[Operation], final: Values) -> list[Broken]:
    """No value comes back that an acknowledged write or delete, which knew of it, has replaced."""
    broken: list[Broken] = []
    for one in history:
        if one.kind == "get" or one.outcome != "ok":
            continue
        broken.extend(
            Broken("resurrected", one.key, f"{value!r} is back, though {one.kind} {one.index} had replaced it")
            for value in one.seen
            if value in final.get(one.key, ())
        )
    return broken


def invented(history: Iterable[Operation], final: Values) -> list[Broken]:
    """Every value that is read was written to that key, and not refused for certain."""
    operations = list(history)
    written = {(one.key, one.value): None for one in operations if one.kind == "put" and one.outcome != "fail"}
    reads = [(one.key, value, f"get {one.index}") for one in operations for value in one.got]
    reads += [(key, value, "the final read") for key, values in final.items() for value in values]
    return [
        Broken("invented", key, f"{where} returned {value!r}, which nobody wrote there")
        for key, value, where in reads
        if (key, value) not in written
    ]


def unanswered(history: Iterable[Operation]) -> list[Broken]:
    """Every request ends with an answer."""
    return [
        Broken("unanswered", one.key, f"{one.kind} {one.index} of {one.client} at {one.began_s:.3f} s has no answer")
        for one in history
        if one.outcome == "open"
    ]


def diverged(copies: Mapping[str, Mapping[str, object]]) -> list[Broken]:
    """Every node tells the same. `copies` is, by node, what it tells by key; an absent key counts as told so."""
    keys = {key: None for copy in copies.values() for key in copy}
    broken: list[Broken] = []
    for key in keys:
        told = {node: copy.get(key) for node, copy in copies.items()}
        first = next(iter(told.values()))
        if any(value != first for value in told.values()):
            broken.append(Broken("diverged", key, "; ".join(f"{node} has {value!r}" for node, value in told.items())))
    return broken


def misplaced(kept: Mapping[str, Iterable[int]], layout: Layout) -> list[Broken]:
    """In the end nobody keeps anything that others hold. `kept` is, by node, the slots in which it keeps something."""
    return [
        Broken("misplaced", node, f"keeps something in slot {slot}, which {layout.holder(slot)} holds")
        for node, slots in kept.items()
        for slot in slots
        if layout.holder(slot) != node
    ]


def thin(copies: Mapping[str, Sequence[Collection[str]]], final: Values, least: int) -> list[Broken]:
    """What is there in the end is on as many nodes as an acknowledged write was.

    Args:
        copies: by key, the values that each of its holders has.
        final: what acknowledged writes have left, by key.
        least: how many holders have to have it.
    """
    return [
        Broken("thin", key, f"only {count} of {len(copies[key])} holders have {value!r}")
        for key, values in final.items()
        for value in values
        if (count := sum(value in copy for copy in copies[key])) < least
    ]


@dataclass(slots=True)
class Count:
    """A counter, by its clients' account: how often they added 1 and were told so, how often they tried, and what it is
    in the end."""

    acknowledged: int = 0
    attempted: int = 0
    final: int = 0


def miscounted(counts: Mapping[str, Count]) -> list[Broken]:
    """Every command had its effect once, if it was acknowledged, and at most once if not."""
    return [
        Broken("miscounted", key, f"is {one.final}: {one.acknowledged} of {one.attempted} were acknowledged")
        for key, one in counts.items()
        if not one.acknowledged <= one.final <= one.attempted
    ]
