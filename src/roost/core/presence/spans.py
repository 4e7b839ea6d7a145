"""Sets of event numbers, as spans. A clock with its cloud is one such set: `((0, clock), ...)`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

Span = tuple[int, int]
"""The numbers over the first, up to the second."""
Spans = tuple[Span, ...]
"""A set of numbers. In order, and neither touching nor empty, wherever it was made by `joined`."""

END: Final = 2**53
"""The last event of every node: whoever has seen it knows that no other will come."""


def joined(*sets: Iterable[Span]) -> Spans:
    """The union of sets. What touches becomes one: that is how a cloud is absorbed by its clock."""
    spans: list[Span] = []
    for after, until in sorted(span for spans_ in sets for span in spans_):
        if until <= after:
            continue
        if spans and after <= spans[-1][1]:
            if until > spans[-1][1]:
                spans[-1] = (spans[-1][0], until)
        else:
            spans.append((after, until))
    return tuple(spans)


def covers(spans: Spans, number: int) -> bool:
    """Whether a number is in a set that `joined` has made."""
    if not spans:
        return False
    if spans[0][0] < number <= spans[0][1]:
        return True
    at = bisect_left(spans, (number,)) - 1
    return at >= 0 and spans[at][0] < number <= spans[at][1]


def clock_of(spans: Spans) -> int:
    """Up to which number a set has no hole."""
    return spans[0][1] if spans and spans[0][0] == 0 else 0


def top_of(spans: Spans) -> int:
    """The highest number of a set."""
    return spans[-1][1] if spans else 0


def beyond(spans: Spans, number: int) -> Spans:
    """What is over `number`."""
    return tuple((max(after, number), until) for after, until in spans if until > number)
