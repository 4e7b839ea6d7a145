"""Marks: what must come about sometimes, over many seeds, or a batch of them proves less than it seems to.

A mark is read from the evidence after a story, so the product knows nothing of it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from roost.sim.chronicle import Chronicle
from roost.sim.cluster_checkers import values

CLUSTER_MARKS: Final = (
    "a node joined",
    "a node left and knew it",
    "a node took the place of another",
    "a node was removed by force",
    "a node that was down came back",
    "a claimant was succeeded",
    "a claimant left",
    "a majority was overruled",
    "a commit was refused because the plan had changed",
    "a change was refused because too few could be reached",
    "several changes were under way at once",
    "a staged change was taken back",
    "a partition moved on",
    "a member that had lost its disk was let in again",
)
"""What must come about in a cluster that changes."""


def cluster_marks(chronicle: Chronicle) -> dict[str, int]:
    """How often each of CLUSTER_MARKS came about."""
    found = dict.fromkeys(CLUSTER_MARKS, 0)
    lost = {f"{one.machine}@sim" for one in chronicle.sightings if one.disk}
    for order in chronicle.orders:
        let_in = order.verb == "join" and order.outcome == "done" and order.subject in lost
        found["a member that had lost its disk was let in again"] += let_in
        found["a commit was refused because the plan had changed"] += order.note == "plan_changed"
        found["a change was refused because too few could be reached"] += order.note == "no_quorum"
        found["a majority was overruled"] += order.verb == "overrule" and order.outcome == "done"
    main = chronicle.sightings[0].cluster.id
    outside = {machine for _, machine, cluster, _ in chronicle.sightings if cluster.id != main}
    for before, after in pairwise(value.cluster for value in values(chronicle.sightings).get(main, ())):
        gone = set(before.names) - set(after.names)
        staged = {change.action for change in before.staged} - {change.action for change in after.staged}
        found["a node joined"] += len(set(before.having("joining")) & set(after.having("valid")))
        found["a node left and knew it"] += len(gone & {f"{machine}@sim" for machine in outside})
        found["a node took the place of another"] += "replace" in staged and bool(after.having("leaving"))
        found["a node was removed by force"] += bool({"force-remove", "force-replace"} & staged and gone)
        found["a node that was down came back"] += len(set(before.having("down")) & set(after.having("valid")))
        found["a claimant was succeeded"] += before.epoch < after.epoch and before.layout.goal == after.layout.goal
        found["a claimant left"] += before.epoch < after.epoch and before.claimant in after.having("leaving")
        found["several changes were under way at once"] += len(after.layout.rings) > 2 > len(before.layout.rings) - 1
        found["a staged change was taken back"] += bool(set(before.having("joining")) & gone)
        found["a partition moved on"] += len(set(before.layout.moving()) - set(after.layout.moving()))
    return found
