from __future__ import annotations

from roost.core.layout import Layout
from roost.core.ring import Ring, slot_of
from roost.sim.checkers import (
    Count,
    diverged,
    invented,
    lost_writes,
    miscounted,
    misplaced,
    resurrected,
    thin,
    unanswered,
)
from roost.sim.history import Operation, Outcome


class Tale:
    """Builds a history on key "k"."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def put(self, value: str, *seen: str, outcome: Outcome = "ok") -> Tale:
        self._add(Operation(len(self.operations), "c1", "a", "put", "k", value, seen, 1.0, 2.0, outcome))
        return self

    def delete(self, *seen: str, outcome: Outcome = "ok") -> Tale:
        self._add(Operation(len(self.operations), "c1", "a", "delete", "k", "", seen, 1.0, 2.0, outcome))
        return self

    def get(self, *got: str) -> Tale:
        self._add(Operation(len(self.operations), "c1", "a", "get", "k", got=got, outcome="ok"))
        return self

    def _add(self, operation: Operation) -> None:
        self.operations.append(operation)

    def lost(self, *final: str) -> list[str]:
        return [broken.what.split("'")[1] for broken in lost_writes(self.operations, {"k": final})]

    def back(self, *final: str) -> int:
        return len(resurrected(self.operations, {"k": final}))

    def new(self, *final: str) -> int:
        return len(invented(self.operations, {"k": final}))


def test_an_acknowledged_write_that_is_there_or_was_replaced_knowingly_is_not_lost() -> None:
    assert Tale().put("1").lost("1") == []
    assert Tale().put("1").put("2", "1").put("3", "2").lost("3") == []
    assert Tale().put("1").put("2").put("3", "1", "2").lost("3") == []
    assert Tale().put("1").put("2").lost("1", "2") == []


def test_an_acknowledged_write_that_is_gone_is_lost() -> None:
    assert Tale().put("1").lost() == ["1"]
    assert Tale().put("1").put("2").lost("2") == ["1"]
    assert Tale().put("1").put("2", "1").lost() == ["1", "2"]
    assert Tale().put("1").put("2", "1").put("3").lost("3") == ["1", "2"]


def test_only_acknowledged_writes_can_be_lost_but_unknown_ones_can_replace() -> None:
    assert Tale().put("1", outcome="info").put("2", outcome="fail").lost() == []
    assert Tale().put("1").put("2", "1", outcome="info").put("3", "2").lost("3") == []
    assert Tale().put("1").put("2", "1", outcome="info").lost("2") == []
    assert Tale().put("1").put("2", "1", outcome="info").lost("1") == []
    assert Tale().put("1").put("2", "1", outcome="fail").lost("2") == ["1"]


def test_a_delete_accounts_for_what_it_knew() -> None:
    assert Tale().put("1").delete("1").lost() == []
    assert Tale().put("1").put("2").delete("1").lost() == ["2"]
    assert Tale().put("1").delete("1", outcome="info").lost() == []


def test_the_counter_example_of_kv679_is_found() -> None:
    """A vnode that lost its clock reuses a dot: the new write seems old to the others, and is dropped."""
    assert Tale().put("1").put("2", "1").delete("2").put("3").lost() == ["3"]


def test_what_was_replaced_does_not_come_back() -> None:
    assert Tale().put("1").put("2", "1").back("2") == 0
    assert Tale().put("1").put("2", "1").back("1", "2") == 1
    assert Tale().put("1").delete("1").back("1") == 1
    assert Tale().put("1").delete("1", outcome="info").back("1") == 0


def test_a_value_that_nobody_wrote_is_found_in_reads_and_at_the_end() -> None:
    assert Tale().put("1").get("1").new("1") == 0
    assert Tale().put("1", outcome="info").get("1").new("1") == 0
    assert Tale().put("1").get("2").new("1") == 1
    assert Tale().put("1").new("2") == 1
    assert Tale().put("1", outcome="fail").get("1").new("1") == 2


def test_a_request_without_an_answer_is_found() -> None:
    assert unanswered(Tale().put("1").operations) == []
    assert [broken.key for broken in unanswered(Tale().put("1", outcome="open").operations)] == ["k"]


def test_copies_that_differ_are_found() -> None:
    assert diverged({"a": {"k": 1}, "b": {"k": 1}}) == []
    assert diverged({}) == []
    broken = diverged({"a": {"k": 1, "l": 2}, "b": {"k": 1}, "c": {"k": 3, "l": 2}})
    assert [str(one) for one in broken] == [
        "diverged: k: a has 1; b has 1; c has 3",
        "diverged: l: a has 2; b has None; c has 2",
    ]


def test_what_is_kept_where_others_hold_it_is_found() -> None:
    layout = Layout.settled(Ring(("a", "b"), (0, 1)))
    assert misplaced({"a": [slot_of(0, 0), slot_of(1, 1)], "b": [slot_of(1, 0)]}, layout) == []
    assert [one.key for one in misplaced({"a": [slot_of(1, 0)], "b": [slot_of(1, 2)]}, layout)] == ["a", "b"]


def test_what_is_on_too_few_nodes_is_found() -> None:
    copies = {"k": [("1", "2"), ("1",), ()]}
    assert thin(copies, {"k": ("1",)}, 2) == []
    assert [one.what for one in thin(copies, {"k": ("1", "2")}, 2)] == ["only 1 of 3 holders have '2'"]


def test_a_command_that_is_lost_or_done_twice_is_found() -> None:
    assert miscounted({"k": Count(3, 5, 3), "l": Count(3, 5, 5)}) == []
    assert [one.key for one in miscounted({"k": Count(3, 5, 2), "l": Count(3, 5, 6)})] == ["k", "l"]
