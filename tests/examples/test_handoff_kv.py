"""The store whose values move: to a node that joins, back when it leaves, and to one that was away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, cast

import pytest

from tests.e2e.cluster import Cluster, Visitor
from tests.examples.stage import commit, example, newcomer, operate, statuses, stopped, wait_until
from tests.examples.workshop import follow

KEYS: Final = 100
PAUSE_S: Final = 0.02
"""How long the writer thinks between two writes: all of them are read again later."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes, so that there is one to stand in for another."""
    with example("handoff_kv", tmp_path_factory.mktemp("handoff"), nodes=4) as running:
        yield running


@pytest.fixture
def visitor(cluster: Cluster) -> Iterator[Visitor]:
    """A connection to the node a."""
    found = cluster.visitor("a")
    yield found
    found.close()


class Writer:
    """Writes one key after the other and remembers those that were acknowledged."""

    def __init__(self, visitor: Visitor, prefix: str) -> None:
        self._visitor = visitor
        self._prefix = prefix
        self.values: dict[str, str] = {}

    def write(self, number: int = KEYS) -> None:
        """Store so many values more."""
        for _ in range(number):
            key = f"{self._prefix}-{len(self.values)}"
            answer = self._visitor.ask("PUT", f"/store/{key}", raw=f"value of {key}".encode())
            assert answer.status == 200, answer
            self.values[key] = f"value of {key}"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Somebody writes all the time, inside the block; every write must be acknowledged."""
        stop = threading.Event()

        def write() -> None:
            while not stop.wait(PAUSE_S):
                self.write(1)

        with ThreadPoolExecutor(1) as pool:
            writes = pool.submit(write)
            try:
                yield
            finally:
                stop.set()
        writes.result()

    def wrong(self) -> list[str]:
        """The keys of which not every copy has the value."""
        return [key for key, value in self.values.items() if not self._is_whole(key, value)]

    def _is_whole(self, key: str, value: str) -> bool:
        answer = self._visitor.ask("GET", f"/store/{key}?r=3")
        if answer.status != 200:
            return False
        found = cast(dict[str, str | None], answer.body["replies"])
        return len(found) == 3 and set(found.values()) == {value}


def held(visitor: Visitor) -> dict[str, int]:
    """For how many keys each node is the first to be asked."""
    return cast(dict[str, int], visitor.ask("GET", "/held").body)


def test_the_workshop_says_what_happens(tmp_path: Path) -> None:
    with example("handoff_kv", tmp_path) as cluster:
        follow(4, "handoff_kv", cluster)


def test_values_move_to_a_node_that_joins_and_back_when_it_leaves(cluster: Cluster, visitor: Visitor) -> None:
    writer = Writer(visitor, "moved")
    writer.write()
    before = held(visitor)
    assert (len(before), sum(before.values())) == (4, KEYS)
    with newcomer(cluster, "handoff_kv") as joining:
        with writer.writing():
            commit(cluster)
        joined = held(visitor)
        assert joined["e@127.0.0.1"] > KEYS // 10
        assert sum(joined.values()) == len(writer.values)
        assert not writer.wrong()
        with closing(joining.visitor("a")) as on_newcomer:
            assert held(on_newcomer) == joined, "it answers for the whole store as well"

        operate(cluster, "leave", "e@127.0.0.1")
        with writer.writing():
            commit(cluster)
        assert "e@127.0.0.1" not in statuses(cluster)
    after = held(visitor)
    assert (len(after), sum(after.values())) == (4, len(writer.values))
    assert not writer.wrong()


def test_a_node_that_was_away_gets_what_was_written_meanwhile(cluster: Cluster, visitor: Visitor) -> None:
    writer = Writer(visitor, "away")
    with stopped(cluster.pid):
        killed = cluster.kill9("c")
        writer.write()
        assert not writer.wrong(), "a fourth node stands in"
    cluster.wait_restarted("c", killed)
    wait_until(lambda: not writer.wrong())
    assert held(visitor)["c@127.0.0.1"] > 0


@pytest.mark.parametrize("path", ["/store/key?r=two", "/store/key?r=9"])
def test_a_read_that_makes_no_sense_is_refused(visitor: Visitor, path: str) -> None:
    assert visitor.ask("GET", path).status == 400
