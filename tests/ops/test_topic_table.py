"""The topics and presences of a cluster, as the operator reads them, letter by letter."""

from __future__ import annotations

import msgspec

from roost.live.topic_counts import TopicCounts
from roost.ops.answers import NodeTopics, TopicsStatus
from roost.ops.render import render

BUSY = TopicCounts(2_400, 3_601, 1_200, refused=2, unwanted=31)
SLOW = TopicCounts(1, 1, 0, lost=17, unknown=1, failed=1, bad=3, unfit=4)
STATUS = TopicsStatus(
    "chat", "a@127.0.0.1", (NodeTopics("a@127.0.0.1", BUSY), NodeTopics("b@127.0.0.1", SLOW)), ("c@127.0.0.1",)
)

TABLE = """\
=================================== Topics ====================================
Topics   Subscribers   Presences   Lost   Missed   Bad   Unfit   Unwanted
-------------------------------------------------------------------------------
a@127.0.0.1
  2400          3601        1200      0        2     0       0         31
b@127.0.0.1
     1             1           0     17        2     3       4          0
-------------------------------------------------------------------------------
3602 subscribers, 1200 presences; 28 messages did not arrive.
Without an answer: c@127.0.0.1"""


def test_a_line_of_figures_for_each_node() -> None:
    assert render(STATUS, "table") == TABLE


def test_json_and_csv_have_everything() -> None:
    assert msgspec.json.decode(render(STATUS, "json"), type=TopicsStatus) == STATUS
    assert render(STATUS, "csv").splitlines() == [
        "node,topics,subscribers,presences,lost,refused,unknown,failed,bad,unfit,unwanted",
        "a@127.0.0.1,2400,3601,1200,0,2,0,0,0,0,31",
        "b@127.0.0.1,1,1,0,17,0,1,1,3,4,0",
    ]
