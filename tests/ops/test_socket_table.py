"""The sockets of a cluster, as the operator reads them, letter by letter."""

from __future__ import annotations

import msgspec

from roost.ops.answers import NodeSockets, SocketsStatus
from roost.ops.render import render
from roost.web.socket_counts import SocketCounts

BUSY = SocketCounts("/socket", 1_200, 2_400, 3, 2, 2_300_000, 17, 40, 1)
IDLE = SocketCounts("/admin/socket", 1, 1, 0, 0, 0, 0, 0, 0)
STATUS = SocketsStatus(
    "chat",
    "a@127.0.0.1",
    (NodeSockets("a@127.0.0.1", (IDLE, BUSY)), NodeSockets("b@127.0.0.1", (IDLE,))),
    ("c@127.0.0.1",),
)

TABLE = """\
=================================== Sockets ===================================
Path           Sockets  Channels  Polls     Behind  Dropped  Coalesced  Closed
-------------------------------------------------------------------------------
a@127.0.0.1
/admin/socket        1         1      0          0        0          0       0
/socket           1200      2400      3  2: 2.3 MB       17         40       1
b@127.0.0.1
/admin/socket        1         1      0          0        0          0       0
-------------------------------------------------------------------------------
1202 sockets, 2402 channels; 2 clients behind.
Without an answer: c@127.0.0.1"""


def test_a_line_for_each_endpoint_of_each_node() -> None:
    assert render(STATUS, "table") == TABLE


def test_an_application_without_sockets_says_so() -> None:
    nothing = SocketsStatus("chat", "a@127.0.0.1", (NodeSockets("a@127.0.0.1", ()),), ())
    assert render(nothing, "table").splitlines()[-1] == "The application has no sockets."


def test_json_and_csv_have_everything() -> None:
    assert msgspec.json.decode(render(STATUS, "json"), type=SocketsStatus) == STATUS
    head, first, second, _ = render(STATUS, "csv").splitlines()
    assert head == "node,path,sockets,channels,polls,behind,waiting_bytes,dropped,coalesced,closed_slow"
    assert first == "a@127.0.0.1,/admin/socket,1,1,0,0,0,0,0,0"
    assert second == "a@127.0.0.1,/socket,1200,2400,3,2,2300000,17,40,1"
