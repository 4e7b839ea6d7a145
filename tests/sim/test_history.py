from __future__ import annotations

from roost.sim.history import History, read_lines
from roost.sim.trace import LINES_KEPT, Trace


def test_a_history_tells_when_who_asked_what_and_survives_as_json_lines() -> None:
    now = [1.0]
    history = History(Trace(lambda: now[0]))
    put = history.put("c1", "a", "k", "v", ("old",))
    get = history.get("c2", "b", "k")
    now[0] = 2.5
    history.end(get, "ok", got=("v", "w"))
    history.end(put, "info", note="call_timeout")
    gone = history.delete("c1", "a", "k", ("v",))
    history.end(gone, "ok")
    assert [one.index for one in history.operations] == [0, 1, 2]
    assert (put.began_s, put.ended_s, put.outcome, put.seen) == (1.0, 2.5, "info", ("old",))
    assert history.acknowledged() == [gone]
    assert history.lines().count(b"\n") == 3
    assert read_lines(history.lines()) == history.operations


def test_every_beginning_and_end_changes_the_digest() -> None:
    trace = Trace(lambda: 0.0)
    history = History(trace)
    digests = [trace.digest]
    operation = history.put("c1", "a", "k", "v", ())
    digests.append(trace.digest)
    history.end(operation, "ok")
    digests.append(trace.digest)
    assert len(set(digests)) == 3


def test_a_trace_depends_on_time_kind_and_facts_and_keeps_the_last_lines() -> None:
    def digest(at_s: float, kind: str, *facts: str | int) -> str:
        trace = Trace(lambda: at_s)
        trace.add(kind, *facts)
        return trace.digest

    assert len({digest(0.0, "x", 1), digest(0.1, "x", 1), digest(0.0, "y", 1), digest(0.0, "x", 2)}) == 4
    assert digest(0.0, "x", 1) == digest(0.0, "x", 1)
    trace = Trace(lambda: 0.0)
    for number in range(5 * LINES_KEPT):
        trace.add("n", number)
    assert len(trace.tail()) == LINES_KEPT
    assert trace.tail()[-1].endswith(f"n ({5 * LINES_KEPT - 1},)")
    assert trace.events == 5 * LINES_KEPT


def test_once_takes_note_of_the_next_event_of_a_kind_only() -> None:
    trace = Trace(lambda: 0.0)
    noted: list[int] = []
    trace.once("put ok", lambda: noted.append(trace.events))
    trace.add("put")
    trace.add("put ok")
    trace.add("put ok")
    assert noted == [2]
