"""The coordinated store: n copies, w of them written, r of them read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast

import pytest

from tests.e2e.cluster import Answer, Cluster, Visitor
from tests.examples.stage import ask_until_answered, example, stopped, wait_until
from tests.examples.workshop import follow

NODES: Final = ["a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"]
KEYS: Final = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests here."""
    with example("coordinated_kv", tmp_path_factory.mktemp("coordinated")) as running:
        yield running


@pytest.fixture
def a(cluster: Cluster) -> Iterator[Visitor]:
    """A connection to the node a."""
    visitor = cluster.visitor("a")
    yield visitor
    visitor.close()


def put(visitor: Visitor, key: str, value: str, query: str) -> Answer:
    """Store a value."""
    return visitor.ask("PUT", f"/store/{key}?{query}", raw=value.encode())


def replies(answer: Answer) -> dict[str, str | None]:
    """What each node has replied."""
    return cast(dict[str, str | None], answer.body["replies"])


def test_the_workshop_says_what_happens(cluster: Cluster) -> None:
    follow(3, "coordinated_kv", cluster)


def test_a_value_is_on_as_many_nodes_as_are_asked_for(a: Visitor) -> None:
    written = put(a, "tea", "hot", "n=3&w=3")
    assert (written.status, sorted(cast(list[str], written.body["nodes"]))) == (200, NODES)
    read = a.ask("GET", "/store/tea?n=3&r=3")
    assert (read.body["value"], replies(read)) == ("hot", dict.fromkeys(NODES, "hot"))
    assert len(replies(a.ask("GET", "/store/tea?n=3&r=1"))) == 1
    put(a, "tea", "cold", "n=3&w=3")
    assert a.ask("GET", "/store/tea?n=3&r=3").body["value"] == "cold"
    assert a.ask("GET", "/store/coffee").status == 404


def test_a_node_that_dies_takes_no_value_with_it(cluster: Cluster, a: Visitor) -> None:
    for number in range(KEYS):
        assert put(a, f"kept-{number}", f"value {number}", "n=3&w=2").status == 200
    with stopped(cluster.pid):
        killed = cluster.kill9("c")
        for number in range(KEYS):
            assert a.ask("GET", f"/store/kept-{number}?n=3&r=2").body["value"] == f"value {number}"
        refused = put(a, "kept-0", "never", "n=3&w=3")
        assert (refused.status, refused.body["error"]) == (503, "no_quorum")
    cluster.wait_restarted("c", killed)
    first = ask_until_answered(a, "GET", "/store/kept-1?n=3&r=3")
    assert (first.body["value"], replies(first)) == (
        "value 1",
        {"a@127.0.0.1": "value 1", "b@127.0.0.1": "value 1", "c@127.0.0.1": None},
    )
    second = a.ask("GET", "/store/kept-1?n=3&r=3")
    assert replies(second) == dict.fromkeys(NODES, "value 1"), "the first read has repaired it"


def test_a_node_that_hangs_keeps_nobody_waiting_and_what_it_has_missed_is_seen(cluster: Cluster, a: Visitor) -> None:
    put(a, "changed", "old", "n=3&w=3")
    with stopped(cluster.node_pid("c")):
        late = a.ask("GET", "/store/changed?n=3&r=3&timeout_ms=50")
        # The others may just have noticed already that it does not answer.
        assert (late.status, late.body["error"]) in [(504, "deadline"), (503, "no_quorum")]
        wait_until(lambda: a.ask("GET", "/store/changed?n=3&r=3&timeout_ms=50").status == 503)
        assert put(a, "changed", "new", "n=3&w=2").status == 200
    first = ask_until_answered(a, "GET", "/store/changed?n=3&r=3")
    assert (first.body["value"], replies(first)["c@127.0.0.1"]) == ("new", "old")
    second = a.ask("GET", "/store/changed?n=3&r=3")
    assert replies(second) == dict.fromkeys(NODES, "new")


@pytest.mark.parametrize("query", ["n=3&w=4", "n=4&w=1", "w=0", "n=three"])
def test_what_this_cluster_can_never_do_is_refused(a: Visitor, query: str) -> None:
    assert put(a, "tea", "hot", query).status == 400
