"""The silly store loses what it is said to lose, and nothing else. What a node that joins loses is in the workshop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Final

import pytest

from tests.e2e.cluster import Cluster
from tests.examples.stage import example, stopped
from tests.examples.workshop import follow

KEYS: Final = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests here."""
    with example("silly_kv", tmp_path_factory.mktemp("silly")) as running:
        yield running


def put(cluster: Cluster, prefix: str) -> dict[str, object]:
    """Store many values; on which node each of them is."""
    visitor = cluster.visitor("a")
    homes: dict[str, object] = {}
    for key in [f"{prefix}-{number}" for number in range(KEYS)]:
        answer = visitor.ask("PUT", f"/store/{key}", raw=f"value of {key}".encode())
        assert answer.status == 200
        homes[key] = answer.body["node"]
    visitor.close()
    return homes


def lost(cluster: Cluster, keys: dict[str, object], node: str = "a") -> set[str]:
    """The keys that are not found any more; the others have their values."""
    visitor = cluster.visitor(node)
    answers = {key: visitor.ask("GET", f"/store/{key}") for key in keys}
    visitor.close()
    for key, answer in answers.items():
        assert (answer.status, answer.body.get("value")) in [(200, f"value of {key}"), (404, None)]
    return {key for key, answer in answers.items() if answer.status == 404}


def test_a_value_is_found_from_every_node(cluster: Cluster) -> None:
    homes = put(cluster, "found")
    assert len(set(homes.values())) == 3
    assert not any(lost(cluster, homes, node) for node in "abc")


def test_a_node_that_dies_takes_its_values_with_it(cluster: Cluster) -> None:
    homes = put(cluster, "dies")
    on_c = {key for key, node in homes.items() if node == "c@127.0.0.1"}
    with stopped(cluster.pid):
        killed = cluster.kill9("c")
        assert lost(cluster, homes) == on_c
    cluster.wait_restarted("c", killed)
    assert lost(cluster, homes) == on_c, "it comes back with nothing"


def test_a_value_that_is_no_text_is_refused(cluster: Cluster) -> None:
    with closing(cluster.visitor("a")) as visitor:
        assert visitor.ask("PUT", "/store/tea", raw=b"\xff").status == 400


def test_the_workshop_says_what_happens(cluster: Cluster) -> None:
    """The last test here: it leaves a member behind that is gone."""
    follow(2, "silly_kv", cluster)
