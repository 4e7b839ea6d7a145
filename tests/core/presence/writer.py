"""A node that writes presences, and fragments of what it has written."""

from __future__ import annotations

from hypothesis import strategies as st

from roost.core.presence.fragment import Fragment
from roost.core.presence.presence import Origin, Presence
from roost.core.presence.replica import Replica

ORIGIN = Origin("a", 1)


def row(dot: int, key: str = "k") -> Presence:
    return Presence(dot, "t", key, f"r{dot}", b"{}")


def add(replica: Replica, key: str = "k") -> int:
    dot = replica.clock + 1
    replica.add(row(dot, key))
    return dot


def after(replica: Replica, clock: int) -> Fragment:
    fragment = replica.after(clock)
    assert fragment is not None
    return fragment


def copy(replica: Replica) -> Replica:
    """Another node's replica that has been told everything."""
    made = Replica(replica.origin)
    whole = replica.after(0)
    if whole is not None:
        assert made.merge(whole) is not None
    return made


def facts(replica: Replica) -> tuple[object, object]:
    return replica.seen, dict(replica.rows)


class Story:
    """A writer's history: what was there after each event, and fragments that it has given away."""

    def __init__(self) -> None:
        self.writer = Replica(ORIGIN)
        self.removed_by: dict[int, int] = {}
        self.fragments: list[Fragment] = []


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """A writer that adds and removes, and now and then tells somebody what has happened after some event."""
    story = Story()
    writer = story.writer
    for _ in range(draw(st.integers(1, 25))):
        what = draw(st.sampled_from(["add", "add", "remove", "tell", "tell"]))
        if what == "add":
            add(writer)
        elif what == "remove" and writer.rows:
            dot = draw(st.sampled_from(sorted(writer.rows)))
            writer.remove(dot)
            story.removed_by[writer.clock] = dot
        elif what == "tell" and writer.clock:
            fragment = writer.after(draw(st.integers(0, writer.clock - 1)))
            assert fragment is not None
            story.fragments.append(fragment)
    return story
