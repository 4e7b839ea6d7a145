"""The topics and presences of a cluster as text: a line of figures for each node."""

from __future__ import annotations

from roost.live.topic_counts import TopicCounts
from roost.ops.answers import TopicsStatus
from roost.ops.table import Rows, banner, columns, count, rule

HEADER = ("Topics", "Subscribers", "Presences", "Lost", "Missed", "Bad", "Unfit", "Unwanted")


def topic_table(answer: TopicsStatus) -> str:
    """How many topics, subscribers and presences each node has, and what did not arrive."""
    every = [one.counts for one in answer.nodes]
    lines = columns(HEADER, [_cells(counts) for counts in every], range(len(HEADER)), gap=3)
    text = [banner("Topics"), lines.pop(0), rule()]
    for one, line in zip(answer.nodes, lines, strict=True):
        text += [one.node, line]
    subscribers = count(sum(counts.subscribers for counts in every), "subscriber")
    presences = count(sum(counts.presences for counts in every), "presence")
    text += [rule(), f"{subscribers}, {presences}; {count(sum(map(_missing, every)), 'message')} did not arrive."]
    if answer.silent:
        text.append(f"Without an answer: {', '.join(answer.silent)}")
    return "\n".join(text)


def _missed(counts: TopicCounts) -> int:
    """What processes here did not get."""
    return counts.refused + counts.unknown + counts.failed


def _missing(counts: TopicCounts) -> int:
    return counts.lost + _missed(counts) + counts.bad + counts.unfit


def _cells(counts: TopicCounts) -> tuple[str, ...]:
    figures = (
        counts.topics,
        counts.subscribers,
        counts.presences,
        counts.lost,
        _missed(counts),
        counts.bad,
        counts.unfit,
        counts.unwanted,
    )
    return tuple(map(str, figures))


def topic_rows(answer: TopicsStatus) -> Rows:
    """A row for each node."""
    names = TopicCounts.__struct_fields__
    rows = [(one.node, *(str(getattr(one.counts, name)) for name in names)) for one in answer.nodes]
    return ("node", *names), rows
