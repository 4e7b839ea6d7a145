"""The members and the ring, as the operator reads them, letter by letter."""

from __future__ import annotations

import msgspec
import pytest

from roost.cluster.status import (
    Member,
    MemberStatus,
    Pending,
    RingStatus,
    Share,
    Sight,
    Transfers,
    TransferStatus,
)
from roost.ops.answers import HandoffConfig, Traffic
from roost.ops.render import Answer, render

A, B, C, D = "a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1", "d@127.0.0.1"


def member(name: str, percent: float, *, up: bool = True, down_for: tuple[str, ...] = (), web: int = 4000) -> Member:
    up_for = tuple(seer for seer in (A, B, C) if seer not in down_for) if up else ()
    return Member(name, "valid", up, up_for, down_for, percent, None, f"http://127.0.0.1:{web}", "", name == A)


HEALTHY = MemberStatus("demo", A, (member(A, 34.375), member(B, 32.8125, web=4001), member(C, 32.8125, web=4002)), ())
ILL = MemberStatus(
    "demo",
    A,
    (
        member(A, 34.375),
        member(B, 32.8125, web=4001, down_for=(C,)),
        member(C, 32.8125, web=4002, up=False, down_for=(A, B)),
    ),
    ("leave b@127.0.0.1", "set-zone a@127.0.0.1 to r1"),
)


def test_members_as_a_table() -> None:
    assert render(HEALTHY, "table") == (
        "================================= Membership ==================================\n"
        "Status      Ring   Pending   Health   Node\n"
        "-------------------------------------------------------------------------------\n"
        "valid      34.4%      --     up       a@127.0.0.1 (C)  http://127.0.0.1:4000/\n"
        "valid      32.8%      --     up       b@127.0.0.1      http://127.0.0.1:4001/\n"
        "valid      32.8%      --     up       c@127.0.0.1      http://127.0.0.1:4002/\n"
        "-------------------------------------------------------------------------------\n"
        "Valid:3 / Leaving:0 / Exiting:0 / Joining:0 / Down:0\n"
        "(C) is the claimant, which drives changes."
    )


def test_members_that_are_down_are_marked_and_it_is_told_for_whom() -> None:
    lines = render(ILL, "table").split("\n")
    assert lines[5] == "valid      32.8%      --     down!    c@127.0.0.1      http://127.0.0.1:4002/"
    assert lines[8:10] == [
        "b@127.0.0.1 is down for c@127.0.0.1 but up for a@127.0.0.1, b@127.0.0.1.",
        "c@127.0.0.1 is down for every node that answers.",
    ]


def test_staged_changes_stand_below_the_members() -> None:
    assert render(ILL, "table").split("\n")[-3:] == [
        "Staged changes, which wait for roost cluster plan and roost cluster commit:",
        "  leave b@127.0.0.1",
        "  set-zone a@127.0.0.1 to r1",
    ]


def line_of(**facts: object) -> str:
    """The line of a member that differs from a healthy one in these facts."""
    return render(MemberStatus("demo", A, (msgspec.structs.replace(member(A, 34.375), **facts),), ()), "table").split(
        "\n"
    )[3]


def test_pending_shares_stand_under_their_column() -> None:
    assert line_of(status="leaving", pending_percent=0.0) == (
        "leaving    34.4%      0.0%   up       a@127.0.0.1 (C)  http://127.0.0.1:4000/"
    )


@pytest.mark.parametrize(
    ("status", "up", "health"),
    [("valid", True, "up"), ("valid", False, "down!"), ("down", False, "down"), ("down", True, "up!")],
)
def test_who_is_down_unexpectedly_has_a_mark(status: str, up: bool, health: str) -> None:
    assert line_of(status=status, up=up, pending_percent=1.0).split()[3] == health


def test_zones_have_a_column_where_they_are_used() -> None:
    one, other = member(A, 34.375), member(B, 32.8125)
    lines = render(MemberStatus("demo", A, (msgspec.structs.replace(one, zone="r1"), other), ()), "table").split("\n")
    assert lines[1] == "Status      Ring   Pending   Health   Zone   Node"
    assert lines[3:5] == [
        "valid      34.4%      --     up       r1     a@127.0.0.1 (C)",
        "valid      32.8%      --     up              b@127.0.0.1",
    ]


def test_members_as_csv() -> None:
    assert render(ILL, "csv") == (
        "node,status,up,claimant,ring_percent,pending_percent,zone,web,up_for,down_for\n"
        "a@127.0.0.1,valid,true,true,34.38,,,http://127.0.0.1:4000,a@127.0.0.1 b@127.0.0.1 c@127.0.0.1,\n"
        "b@127.0.0.1,valid,true,false,32.81,,,http://127.0.0.1:4001,a@127.0.0.1 b@127.0.0.1,c@127.0.0.1\n"
        "c@127.0.0.1,valid,false,false,32.81,,,http://127.0.0.1:4002,,a@127.0.0.1 b@127.0.0.1"
    )


def hinted(**facts: object) -> TransferStatus:
    """A transfer that waits for C."""
    waiting = TransferStatus(
        "hinted", 11, 0, A, C, "waiting", 0, 120, 0, 0.0, None, 3, "c@127.0.0.1 is down", 4.0, "kv"
    )
    return msgspec.structs.replace(waiting, **facts)


GIVING = hinted(
    kind="ownership", partition=3, index=2, target=D, phase="giving", items_done=500, items_total=1000,
    bytes_done=1_250_000, rate_bytes_s=340_000.0, eta_s=65.2, attempts=1, reason="",
)  # fmt: skip
RING = RingStatus(
    "demo", A, A, True, 1, 7, True, (), 64, 0,
    (Share(A, 22, 22), Share(B, 21, 21), Share(C, 21, 21)), (), (), (), (), (),
)  # fmt: skip
RING_ILL = RingStatus(
    cluster="demo",
    node=A,
    claimant=C,
    claimant_up=False,
    epoch=2,
    version=9,
    ready=False,
    differing=(B,),
    size=64,
    moving=15,
    shares=(Share(A, 22, 16), Share(B, 21, 21), Share(C, 21, 27)),
    pending=(
        Pending(A, C, tuple(range(14)), 15, "c@127.0.0.1 is down"),
        Pending(B, B, (9,), 1, "1 transfer under way"),
    ),
    transfers=(hinted(), GIVING),
    unreachable=(C,),
    sights=(Sight(A, (C,)), Sight(B, (A, C))),
    staged=("leave b@127.0.0.1",),
)


def test_the_ring_as_a_table() -> None:
    assert render(RING, "table") == (
        "================================== Claimant ===================================\n"
        "Claimant:   a@127.0.0.1\n"
        "Status:     up\n"
        "Ring Ready: true\n"
        "Ring Size:  64 partitions\n"
        "Version:    7, epoch 1\n"
        "\n"
        "==================================== Ring =====================================\n"
        "Node           Partitions\n"
        "a@127.0.0.1            22\n"
        "b@127.0.0.1            21\n"
        "c@127.0.0.1            21\n"
        "\n"
        "============================== Ownership Handoff ==============================\n"
        "No pending changes.\n"
        "\n"
        "=============================== Hinted Handoff ================================\n"
        "No pending handoffs.\n"
        "\n"
        "============================== Unreachable Nodes ==============================\n"
        "All nodes are up and reachable"
    )


def test_a_ring_in_trouble_as_a_table() -> None:
    assert render(RING_ILL, "table").split("\n\n") == [
        "================================== Claimant ===================================\n"
        "Claimant:   c@127.0.0.1\n"
        "Status:     down\n"
        "Ring Ready: false\n"
        "Ring Size:  64 partitions\n"
        "Version:    9, epoch 2\n"
        "Another version than a@127.0.0.1's: b@127.0.0.1",
        "==================================== Ring =====================================\n"
        "Node           Partitions    Pending\n"
        "a@127.0.0.1            22         16\n"
        "b@127.0.0.1            21         21\n"
        "c@127.0.0.1            21         27",
        "============================== Ownership Handoff ==============================\n"
        "Staged: leave b@127.0.0.1\n"
        "Nothing of that happens before roost cluster plan and roost cluster commit.",
        "Owner:      a@127.0.0.1\n"
        "Next Owner: c@127.0.0.1\n"
        "Partitions: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more\n"
        "  15 copies to give: c@127.0.0.1 is down",
        "Owner:      b@127.0.0.1 (other copies move)\nPartitions: 9\n  1 copy to give: 1 transfer under way",
        "=============================== Hinted Handoff ================================\n"
        "Partition  From         To           Items  Attempts  Waiting because\n"
        "       11  a@127.0.0.1  c@127.0.0.1    120         3  c@127.0.0.1 is down",
        "============================== Unreachable Nodes ==============================\n"
        "c@127.0.0.1\n"
        "a@127.0.0.1 does not see c@127.0.0.1\n"
        "b@127.0.0.1 does not see a@127.0.0.1, c@127.0.0.1",
        "Fallbacks serve what they hold, and hand it back when they return. If one is\n"
        "lost for good: roost cluster force-remove, or roost cluster force-replace.",
    ]


def test_the_ring_as_csv() -> None:
    assert render(RING_ILL, "csv") == (
        "node,partitions,pending_partitions,claimant,reachable,same_ring,handoff_items\n"
        "a@127.0.0.1,22,16,false,true,true,620\n"
        "b@127.0.0.1,21,21,false,true,false,0\n"
        "c@127.0.0.1,21,27,true,false,,0"
    )


MOVING = Transfers("demo", A, 2, (hinted(), GIVING), (B,))
STILL = Transfers("demo", A, 0, (), ())


def test_transfers_as_a_table_say_how_far_they_are_and_why_they_wait() -> None:
    assert render(MOVING, "table") == (
        "================================== Transfers ==================================\n"
        "ownership  kv: partition 3, copy 2  a@127.0.0.1 -> d@127.0.0.1\n"
        "  |==========          |  50%  500 of 1000 items, 1.2 MB, 340.0 KB/s, 1 min 5 s left, giving\n"
        "hinted     kv: partition 11, copy 0  a@127.0.0.1 -> c@127.0.0.1\n"
        "  waits with 120 items, 3 attempts so far: c@127.0.0.1 is down\n"
        "-------------------------------------------------------------------------------\n"
        "2 transfers: 1 under way, 1 waiting, 0 given\n"
        "2 partitions on the way to other nodes\n"
        "What these have to give is not known, they do not answer: b@127.0.0.1"
    )


def test_no_transfers_are_told_as_such_but_not_for_nodes_that_are_silent() -> None:
    assert render(STILL, "table").split("\n")[1:] == ["No transfers: all data is where it belongs."]
    silent = msgspec.structs.replace(STILL, silent=(B,))
    assert render(silent, "table").split("\n")[1:] == [
        "No transfers: everything that is known of is where it belongs.",
        "What these have to give is not known, they do not answer: b@127.0.0.1",
    ]


def test_a_transfer_of_nothing_is_whole() -> None:
    empty = msgspec.structs.replace(GIVING, items_done=0, items_total=0, rate_bytes_s=0.0, eta_s=None)
    line = render(Transfers("demo", A, 1, (empty,), ()), "table").split("\n")[2]
    assert line == "  |====================| 100%  0 of 0 items, 1.2 MB, giving"


def test_transfers_as_csv() -> None:
    assert render(MOVING, "csv") == (
        "kind,ring,partition,copy,source,target,phase,items_done,items_total,bytes_done,rate_bytes_s,eta_s,attempts,reason,"
        "started_s_ago\n"
        "hinted,kv,11,0,a@127.0.0.1,c@127.0.0.1,waiting,0,120,0,0,,3,c@127.0.0.1 is down,4.0\n"
        "ownership,kv,3,2,a@127.0.0.1,d@127.0.0.1,giving,500,1000,1250000,340000,65.2,1,,4.0"
    )


LIMITS = HandoffConfig("demo", A, (Traffic(A, 1, 2, 0, 2), Traffic(B, 0, 0, 0, 0)), (C,))


def test_the_limits_of_handoff_as_a_table_and_as_csv() -> None:
    assert render(LIMITS, "table") == (
        "=================================== Handoff ===================================\n"
        "Node           Giving     At most    Taking     At most\n"
        "-------------------------------------------------------------------------------\n"
        "a@127.0.0.1         1           2         0           2\n"
        "b@127.0.0.1         0    disabled         0    disabled\n"
        "-------------------------------------------------------------------------------\n"
        "Nothing was changed, they do not answer: c@127.0.0.1"
    )
    assert render(LIMITS, "csv") == (
        "node,outgoing,outgoing_max,incoming,incoming_max\na@127.0.0.1,1,2,0,2\nb@127.0.0.1,0,0,0,0"
    )


@pytest.mark.parametrize("status", [HEALTHY, ILL, RING, RING_ILL, MOVING, STILL, LIMITS])
def test_json_says_all_of_it(status: Answer) -> None:
    assert msgspec.json.decode(render(status, "json"), type=type(status)) == status


@pytest.mark.parametrize("status", [HEALTHY, ILL, RING, RING_ILL, STILL, LIMITS])
def test_tables_fit_79_columns(status: Answer) -> None:
    assert max(map(len, render(status, "table").split("\n"))) <= 79
