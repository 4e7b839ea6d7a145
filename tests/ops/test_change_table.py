"""Plans, changes and verdicts, as the operator reads them, letter by letter."""

from __future__ import annotations

import msgspec
import pytest

from roost.ops.answers import Done, Flow, PlannedChange, PlannedMember, PlanStatus, Ready
from roost.ops.render import Answer, render

A, B, D = "a@127.0.0.1", "b@127.0.0.1", "d@127.0.0.1"
PLAN = PlanStatus(
    "demo",
    A,
    "00ff",
    64,
    (
        PlannedChange("join", D, ""),
        PlannedChange("replace", B, D),
        PlannedChange("set-zone", A, ""),
    ),
    (
        PlannedMember(A, "valid", True, 32, 32),
        PlannedMember(B, "leaving", False, 32, 0),
        PlannedMember(D, "valid", False, 0, 32),
    ),
    (Flow(B, D, 32),),
    (Flow(A, D, 1), Flow(B, D, 64)),
    ("2 nodes hold at most 2 of 3 copies",),
)
STAGED = Done(
    "demo", A, "Staged: leave b@127.0.0.1", 9, ("join d@127.0.0.1", "leave b@127.0.0.1"), "roost cluster plan"
)
CLEARED = Done("demo", A, "Cleared: 2 staged changes", 10, (), "")


def test_a_plan_as_a_table() -> None:
    assert render(PLAN, "table") == (
        "=============================== Staged Changes ================================\n"
        "Action        Details\n"
        "-------------------------------------------------------------------------------\n"
        "join          d@127.0.0.1\n"
        "replace       b@127.0.0.1 with d@127.0.0.1\n"
        "set-zone      a@127.0.0.1 to a zone of its own\n"
        "-------------------------------------------------------------------------------\n"
        "WARNING: 2 nodes hold at most 2 of 3 copies\n"
        "\n"
        "========================= Membership after the commit =========================\n"
        "Status      Ring    Pending    Node\n"
        "-------------------------------------------------------------------------------\n"
        "valid      50.0%      50.0%    a@127.0.0.1 (C)\n"
        "leaving    50.0%       0.0%    b@127.0.0.1\n"
        "valid       0.0%      50.0%    d@127.0.0.1\n"
        "-------------------------------------------------------------------------------\n"
        "Valid:2 / Leaving:1 / Exiting:0 / Joining:0 / Down:0\n"
        "\n"
        "Partitions reassigned: 32\n"
        "  32 partitions from b@127.0.0.1 to d@127.0.0.1\n"
        "\n"
        "Transfers: 65\n"
        "  1 transfer from a@127.0.0.1 to d@127.0.0.1\n"
        "  64 transfers from b@127.0.0.1 to d@127.0.0.1\n"
        "\n"
        "Nothing has changed yet. Next: roost cluster commit, or roost cluster clear"
    )


def test_a_plan_as_csv() -> None:
    assert render(PLAN, "csv") == (
        "what,kind,node,detail,count\n"
        "change,join,d@127.0.0.1,,\n"
        "change,replace,b@127.0.0.1,d@127.0.0.1,\n"
        "change,set-zone,a@127.0.0.1,,\n"
        "member,valid,a@127.0.0.1,32,32\n"
        "member,leaving,b@127.0.0.1,32,0\n"
        "member,valid,d@127.0.0.1,0,32\n"
        "warning,2 nodes hold at most 2 of 3 copies,,,\n"
        "reassigned,,b@127.0.0.1,d@127.0.0.1,32\n"
        "transfers,,a@127.0.0.1,d@127.0.0.1,1\n"
        "transfers,,b@127.0.0.1,d@127.0.0.1,64"
    )


def test_what_was_done_ends_with_what_to_type_next() -> None:
    assert render(STAGED, "table") == (
        "Staged: leave b@127.0.0.1.\nStaged changes:\n  join d@127.0.0.1\n  leave b@127.0.0.1\nNext: roost cluster plan"
    )
    assert render(CLEARED, "table") == "Cleared: 2 staged changes."
    assert render(STAGED, "csv") == (
        "node,done,version,staged\na@127.0.0.1,Staged: leave b@127.0.0.1,9,join d@127.0.0.1; leave b@127.0.0.1"
    )


READY = Ready("demo", A, "all nodes agree on the ring", True, ())
UNREADY = Ready("demo", A, "all nodes agree on the ring", False, ("b@127.0.0.1 does not answer", "d@127.0.0.1 leaves"))


def test_a_verdict_begins_with_true_or_false() -> None:
    assert render(READY, "table") == "TRUE demo: all nodes agree on the ring."
    assert render(UNREADY, "table") == "FALSE b@127.0.0.1 does not answer\nFALSE d@127.0.0.1 leaves"
    assert render(UNREADY, "csv") == (
        "node,ready,reasons\na@127.0.0.1,false,b@127.0.0.1 does not answer; d@127.0.0.1 leaves"
    )


@pytest.mark.parametrize("answer", [PLAN, STAGED, CLEARED, READY, UNREADY])
def test_json_says_all_of_it(answer: Answer) -> None:
    assert msgspec.json.decode(render(answer, "json"), type=type(answer)) == answer
