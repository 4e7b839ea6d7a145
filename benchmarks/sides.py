"""What a line says of sides beyond ours and the reference."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.callers import Sample
from benchmarks.line import middle, shown


def beside(names: Sequence[str], ours: Sequence[Sample], others: Sequence[Sequence[Sample]]) -> dict[str, object]:
    """The fields that tell of the other sides: their rate, and ours divided by it."""
    mine = middle([sample.per_s for sample in ours])
    facts: dict[str, object] = {}
    for name, samples in zip(names, others, strict=True):
        rounds = [sample.per_s for sample in samples]
        theirs = middle(rounds)
        facts[name] = theirs
        facts[f"{name}_ratio"] = mine / theirs if mine and theirs else None
        facts[f"{name}_p50_us"] = middle([sample.p50_us for sample in samples])
        facts[f"{name}_rounds"] = [shown(value) for value in rounds]
    return facts
