"""The examples that ping: any vnode, or the vnode of a word."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.e2e.cluster import Cluster
from tests.examples.stage import example
from tests.examples.workshop import follow

NODES: Final = {"a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"}
PINGS: Final = 100
"""So many that nobody draws a ring of which one node is never hit."""


def pings(cluster: Cluster, node: str, *paths: str) -> list[tuple[object, object]]:
    """The partition and the node that answer each of these requests to one node."""
    visitor = cluster.visitor(node)
    answers = [visitor.ask("GET", path) for path in paths]
    visitor.close()
    assert {answer.status for answer in answers} == {200}
    return [(answer.body["partition"], answer.body["node"]) for answer in answers]


def test_pings_are_answered_all_over_the_cluster(tmp_path: Path) -> None:
    with example("pingring", tmp_path) as cluster:
        follow(0, "pingring", cluster)
        found = pings(cluster, "a", *["/ping"] * PINGS)
    assert {node for _, node in found} == NODES
    assert len({partition for partition, _ in found}) > 10
    assert len(set(found)) == len({partition for partition, _ in found}), "each partition is on one node"


def test_a_word_finds_the_same_vnode_from_every_node(tmp_path: Path) -> None:
    words = [f"/ping/word-{number}" for number in range(PINGS)]
    with example("simple_hash", tmp_path) as cluster:
        follow(1, "simple_hash", cluster)
        anywhere = pings(cluster, "a", *["/ping"] * PINGS)
        first, *others = [pings(cluster, node, *words) for node in "abc"]
    assert {node for _, node in anywhere} == {node for _, node in first} == NODES
    assert len(set(anywhere)) > 10
    assert others == [first, first]
