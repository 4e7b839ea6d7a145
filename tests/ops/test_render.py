"""What the operator reads, letter by letter."""

from __future__ import annotations

import msgspec
import pytest

from roost.cluster.status import Handoff, Member, MemberStatus, RingStatus, Share
from roost.ops.render import render
from roost.otp.process_info import Memory, ProcessInfo, ProcessNode, ProcessTree

A, B, C = "a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"


def member(name: str, percent: float, *, up: bool = True, down_for: tuple[str, ...] = (), web: int = 4000) -> Member:
    up_for = tuple(seer for seer in (A, B, C) if seer not in down_for) if up else ()
    return Member(name, "valid", up, up_for, down_for, percent, None, f"http://127.0.0.1:{web}")


HEALTHY = MemberStatus("demo", A, (member(A, 34.375), member(B, 32.8125, web=4001), member(C, 32.8125, web=4002)))
ILL = MemberStatus(
    "demo",
    A,
    (
        member(A, 34.375),
        member(B, 32.8125, web=4001, down_for=(C,)),
        member(C, 32.8125, web=4002, up=False, down_for=(A, B)),
    ),
)


def test_members_as_a_table() -> None:
    assert render(HEALTHY, "table") == (
        "================================= Membership ==================================\n"
        "Status     Ring    Pending    Health  Node\n"
        "-------------------------------------------------------------------------------\n"
        "valid      34.4%      --      up      a@127.0.0.1  http://127.0.0.1:4000/\n"
        "valid      32.8%      --      up      b@127.0.0.1  http://127.0.0.1:4001/\n"
        "valid      32.8%      --      up      c@127.0.0.1  http://127.0.0.1:4002/\n"
        "-------------------------------------------------------------------------------\n"
        "Valid:3 / Leaving:0 / Exiting:0 / Joining:0 / Down:0"
    )


def test_members_that_are_down_are_marked_and_it_is_told_for_whom() -> None:
    lines = render(ILL, "table").split("\n")
    assert lines[5] == "valid      32.8%      --      down!   c@127.0.0.1  http://127.0.0.1:4002/"
    assert lines[8:] == [
        "b@127.0.0.1 is down for c@127.0.0.1 but up for a@127.0.0.1, b@127.0.0.1.",
        "c@127.0.0.1 is down for every node that answers.",
    ]


def test_pending_shares_stand_under_their_column() -> None:
    leaving = msgspec.structs.replace(member(A, 34.375), status="leaving", pending_percent=0.0)
    line = render(MemberStatus("demo", A, (leaving,)), "table").split("\n")[3]
    assert line == "leaving    34.4%      0.0%    up      a@127.0.0.1  http://127.0.0.1:4000/"


def test_members_as_csv() -> None:
    assert render(ILL, "csv") == (
        "node,status,up,ring_percent,pending_percent,web,up_for,down_for\n"
        "a@127.0.0.1,valid,true,34.38,,http://127.0.0.1:4000,a@127.0.0.1 b@127.0.0.1 c@127.0.0.1,\n"
        "b@127.0.0.1,valid,true,32.81,,http://127.0.0.1:4001,a@127.0.0.1 b@127.0.0.1,c@127.0.0.1\n"
        "c@127.0.0.1,valid,false,32.81,,http://127.0.0.1:4002,,a@127.0.0.1 b@127.0.0.1"
    )


@pytest.mark.parametrize("status", [HEALTHY, ILL])
def test_members_as_json_say_all_of_it(status: MemberStatus) -> None:
    assert msgspec.json.decode(render(status, "json"), type=MemberStatus) == status


RING = RingStatus("demo", A, True, (), 64, (Share(A, 22), Share(B, 21), Share(C, 21)), (), ())
RING_ILL = RingStatus(
    "demo",
    A,
    False,
    (B,),
    64,
    (Share(A, 22), Share(B, 21), Share(C, 21)),
    (Handoff(11, A, C, 120, 3, "c@127.0.0.1 is down"),),
    (C,),
)


def test_the_ring_as_a_table() -> None:
    assert render(RING, "table") == (
        "==================================== Ring =====================================\n"
        "Ring Ready: true\n"
        "Ring Size:  64 partitions\n"
        "\n"
        "Node           Partitions\n"
        "a@127.0.0.1            22\n"
        "b@127.0.0.1            21\n"
        "c@127.0.0.1            21\n"
        "\n"
        "=============================== Hinted Handoff ================================\n"
        "No pending handoffs.\n"
        "\n"
        "============================== Unreachable Nodes ==============================\n"
        "All nodes are up and reachable"
    )


def test_a_ring_in_trouble_as_a_table() -> None:
    lines = render(RING_ILL, "table").split("\n")
    assert lines[1:4] == [
        "Ring Ready: false",
        "Ring Size:  64 partitions",
        "Another ring than a@127.0.0.1's: b@127.0.0.1",
    ]
    assert lines[11:13] == [
        "Partition  From         To           Items  Attempts  Waiting because",
        "       11  a@127.0.0.1  c@127.0.0.1    120         3  c@127.0.0.1 is down",
    ]
    assert lines[15:] == [C, "", "Fallbacks serve what they hold, and hand it back when they return."]


def test_the_ring_as_csv() -> None:
    assert render(RING_ILL, "csv") == (
        "node,partitions,reachable,same_ring,handoff_items\n"
        "a@127.0.0.1,22,true,true,120\n"
        "b@127.0.0.1,21,true,false,0\n"
        "c@127.0.0.1,21,false,,0"
    )


@pytest.mark.parametrize("status", [RING, RING_ILL])
def test_the_ring_as_json_says_all_of_it(status: RingStatus) -> None:
    assert msgspec.json.decode(render(status, "json"), type=RingStatus) == status


@pytest.mark.parametrize("status", [HEALTHY, ILL, RING, RING_ILL])
def test_tables_fit_79_columns(status: MemberStatus | RingStatus) -> None:
    assert max(map(len, render(status, "table").split("\n"))) <= 79


def process(pid: int, kind: str, name: str | None = None, **facts: object) -> ProcessInfo:
    """An idle process, but for `facts`."""
    plain: dict[str, object] = {
        "kind": kind,
        "name": name,
        "pid": pid,
        "node": A,
        "status": "idle",
        "handler": None,
        "place": None,
        "waits_for": (),
        "mailbox": 0,
        "mailbox_max": 100_000,
        "dropped": 0,
        "trapping": False,
        "ancestors": (),
        "links": (),
        "link_count": 0,
        "monitors": (),
        "monitor_count": 0,
        "watchers": 0,
        "timers": 0,
        "activities": (),
    }
    return msgspec.convert({**plain, **facts}, ProcessInfo)


BUSY = process(
    12,
    "Stock",
    "sku-42",
    status="waiting",
    handler="Stock.reserve",
    place="shop.py:31",
    waits_for=("Ledger 'main'",),
    mailbox=3,
    dropped=2,
    trapping=True,
    ancestors=("Supervisor 'children'", "Supervisor 'root'"),
    links=("Supervisor 'children'",),
    link_count=3,
    monitors=("Ledger 'main'",),
    monitor_count=1,
    watchers=1,
    timers=4,
    activities=("reading",),
    memory=Memory(2_048, 20, False),
)
TREE = ProcessTree(
    A,
    100,
    (
        ProcessNode(
            process(1, "Supervisor", "root"),
            (
                ProcessNode(process(2, "Supervisor"), (ProcessNode(BUSY, (), 1),), 90),
                ProcessNode(process(3, "X"), (), 0),
            ),
            0,
        ),
        ProcessNode(process(4, "Y", "y" * 60), (), 0),
    ),
    3,
)


def test_processes_as_a_table() -> None:
    assert render(TREE, "table") == (
        "========================== Processes of a@127.0.0.1 ===========================\n"
        "Process                                   Number  Status   Mail  Handler\n"
        "-------------------------------------------------------------------------------\n"
        "root  Supervisor                               1  idle        0\n"
        "  Supervisor                                   2  idle        0\n"
        "    sku-42  Stock                             12  waiting     3  Stock.reserve shop.py:31\n"
        "      ... 1 more\n"
        "    ... 90 more\n"
        "  X                                            3  idle        0\n"
        f"{'y' * 37}...       4  idle        0\n"
        "... 3 more\n"
        "-------------------------------------------------------------------------------\n"
        "100 processes"
    )


def test_processes_as_csv() -> None:
    assert render(TREE, "csv") == (
        "pid,parent,depth,kind,name,status,handler,place,mailbox,children_omitted\n"
        "1,,0,Supervisor,root,idle,,,0,0\n"
        "2,1,1,Supervisor,,idle,,,0,90\n"
        "12,2,2,Stock,sku-42,waiting,Stock.reserve,shop.py:31,3,1\n"
        "3,1,1,X,,idle,,,0,0\n"
        f"4,,0,Y,{'y' * 60},idle,,,0,0"
    )


def test_processes_as_json_say_all_of_it() -> None:
    assert msgspec.json.decode(render(TREE, "json"), type=ProcessTree) == TREE
    assert msgspec.json.decode(render(BUSY, "json"), type=ProcessInfo) == BUSY


def test_a_process_as_a_table() -> None:
    assert render(BUSY, "table") == (
        "=============================== Stock 'sku-42' ================================\n"
        "Node         a@127.0.0.1\n"
        "Number       12\n"
        "Status       waiting\n"
        "Handler      Stock.reserve shop.py:31\n"
        "Waits for    Ledger 'main'\n"
        "Mailbox      3 of at most 100000 messages, 2 dropped\n"
        "Started by   Supervisor 'children' < Supervisor 'root'\n"
        "Links        Supervisor 'children', and 2 more\n"
        "Traps exits  yes\n"
        "Monitors     Ledger 'main'\n"
        "Watchers     1\n"
        "Timers       4\n"
        "Activities   reading\n"
        "State        at least 2048 bytes in 20 objects"
    )


def test_an_idle_process_as_a_table_has_few_lines() -> None:
    assert render(process(3, "X"), "table") == (
        "==================================== X #3 =====================================\n"
        "Node         a@127.0.0.1\n"
        "Number       3\n"
        "Status       idle\n"
        "Mailbox      0 of at most 100000 messages"
    )


def test_a_process_as_csv() -> None:
    assert render(BUSY, "csv") == (
        "pid,kind,name,node,status,handler,place,mailbox,mailbox_max,dropped,links,monitors,watchers,timers,ancestors,"
        "state_bytes\n"
        "12,Stock,sku-42,a@127.0.0.1,waiting,Stock.reserve,shop.py:31,3,100000,2,3,1,1,4,"
        "Supervisor 'children'; Supervisor 'root',2048"
    )
