"""The store over HTTP, as an example of what an application does with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Final, cast

import pytest

from tests.e2e.cluster import Cluster, Visitor
from tests.examples.stage import ask_until_answered, example
from tests.examples.workshop import follow

NODES: Final = ["a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests here."""
    with example("http_store", tmp_path_factory.mktemp("http")) as running:
        yield running


@pytest.fixture
def a(cluster: Cluster) -> Iterator[Visitor]:
    """A connection to the node a."""
    visitor = cluster.visitor("a")
    yield visitor
    visitor.close()


def test_the_workshop_says_what_happens(cluster: Cluster) -> None:
    follow(5, "http_store", cluster)


def test_a_value_is_stored_found_and_deleted(a: Visitor) -> None:
    written = a.ask("PUT", "/api/store/tea?n=3&w=2", {"is": "hot"})
    assert (written.status, written.body["data"]) == (200, True)
    assert len(cast(list[str], written.body["nodes"])) >= 2
    assert a.ask("GET", "/api/store/tea?n=3&r=2").body["data"] == {"is": "hot"}
    assert a.ask("DELETE", "/api/store/tea").status == 200
    assert a.ask("GET", "/api/store/tea").status == 404


def test_a_key_has_as_many_homes_as_copies(a: Visitor) -> None:
    found = a.ask("GET", "/where/tea")
    assert (found.status, sorted(cast(list[str], found.body["nodes"]))) == (200, NODES)


def test_of_two_writes_at_the_same_time_none_is_lost(a: Visitor) -> None:
    nothing = a.ask("GET", "/api/store/cups").body["context"]
    for number in (1, 2):
        assert a.ask("PUT", f"/api/store/cups?context={nothing}", number).status == 200
    both = a.ask("GET", "/api/store/cups")
    assert (both.status, both.body["error"]) == (300, "conflict")
    assert sorted(cast(list[int], both.body["values"])) == [1, 2]
    assert a.ask("PUT", f"/api/store/cups?context={both.body['context']}", 3).status == 200
    assert a.ask("GET", "/api/store/cups").body["data"] == 3


def test_values_are_there_again_when_all_nodes_have_died(cluster: Cluster, a: Visitor) -> None:
    assert a.ask("PUT", "/api/store/kept?w=3", "kept").status == 200
    killed = {node: cluster.kill9(node) for node in cluster.names()}
    for node, pid in killed.items():
        cluster.wait_restarted(node, pid)
    a.close()
    with closing(cluster.visitor("a")) as again:
        assert ask_until_answered(again, "GET", "/api/store/kept?r=3").body["data"] == "kept"
