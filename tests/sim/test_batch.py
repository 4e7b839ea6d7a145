from __future__ import annotations

from collections import Counter

from roost.sim.batch import ENOUGH, SHARES, Summary, relate, summarise, summarise_in_parallel, tale_of
from roost.sim.checkers import Broken
from roost.sim.marks import CLUSTER_MARKS
from roost.sim.nemesis import KINDS
from roost.sim.overheard import HANDOFF_MARKS
from roost.sim.verdict import Verdict


def test_several_processes_tell_what_one_tells() -> None:
    assert summarise_in_parallel(3, 4, 2) == summarise(range(3, 7))


def test_every_story_is_told_by_its_share_of_the_seeds() -> None:
    counts = Counter(tale_of(seed) for seed in range(1000))
    assert all(abs(counts[name] - 100 * share) < 60 for name, share in SHARES.items())
    assert relate(5).digest == relate(5).digest


def test_a_summary_names_what_failed_and_what_never_came_about() -> None:
    summary = Summary()
    summary.add(Verdict(7, "", broken=[Broken("lost write", "k", "it is gone")], fired={"crash": 2}, virtual_s=1.5))
    assert summary.failed == {7: "lost write: k: it is gone"}
    assert summary.missing() == ()
    summary.merge(Summary(ENOUGH, fired=dict.fromkeys(KINDS, 1), marks=dict.fromkeys(CLUSTER_MARKS, 1)))
    assert summary.missing() == HANDOFF_MARKS
    assert summary.line() == f"{ENOUGH + 1} seeds, 1 failed: 2 virtual seconds, 0 acknowledged writes, 13 faults"
    assert "        3  fault: crash" in summary.table().splitlines()
