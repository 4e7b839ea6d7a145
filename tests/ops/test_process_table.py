"""The processes of a node, as the operator reads them, letter by letter."""

from __future__ import annotations

import msgspec

from roost.ops.render import render
from roost.otp.process_info import Memory, ProcessInfo, ProcessNode, ProcessTree

A = "a@127.0.0.1"


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
