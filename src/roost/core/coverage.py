"""Coverage: which nodes to ask so that every partition is asked about exactly once.

A holder that is up answers for its partition; a fallback only when no holder is up, since it has only what was written
meanwhile. Asking few nodes is cheaper than asking many, so the node that can answer for the most partitions is chosen
first (the greedy set cover of Riak Core's coverage plan).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roost.core.ring import Replica


def plan(
    candidates: Mapping[int, Sequence[Replica]], first: int = 0
) -> tuple[dict[str, list[Replica]], tuple[int, ...]]:
    """Choose one replica for each partition.

    Args:
        candidates: for each partition, who could answer, the best first.
        first: from which node on ties are settled, so that many coverages spread over all nodes.

    Returns: the chosen replicas by node, in the order of their partitions; and the partitions that nobody answers for.
    """
    able: dict[str, dict[int, Replica]] = {}
    nobody: list[int] = []
    for partition, replicas in sorted(candidates.items()):
        fit = [one for one in replicas if one.is_primary] or list(replicas)
        if not fit:
            nobody.append(partition)
        for one in fit:
            able.setdefault(one.node, {}).setdefault(partition, one)
    names = sorted(able)
    names = names[first % len(names) :] + names[: first % len(names)] if names else []
    chosen: dict[str, list[Replica]] = {}
    while any(able.values()):
        best = max(names, key=lambda name: len(able[name]))
        chosen[best] = [replica for _, replica in sorted(able[best].items())]
        done = set(able[best])
        for partitions in able.values():
            for partition in done & partitions.keys():
                del partitions[partition]
    return chosen, tuple(nobody)
