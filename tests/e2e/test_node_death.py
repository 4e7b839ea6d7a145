"""Nodes die under load, and nothing that was acknowledged is lost."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.e2e.cluster import Cluster, demo

WRITERS_PER_NODE: Final = 2
WRITES_BEFORE: Final = 600
WRITES_AFTER: Final = 600
SERVICE_S: Final = 2.0
"""How soon after a death the other nodes take writes again."""
WAIT_S: Final = 40.0


class Load:
    """Writers that put one new key after another, each through its own node while that node lives."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._news = threading.Condition()
        self._stop = threading.Event()
        self.acknowledged: dict[str, str] = {}
        self.times: dict[str, list[tuple[float, float]]] = {node: [] for node in cluster.names()}
        """Per node: when an acknowledged write was sent, and when it was acknowledged."""
        self.strange: list[str] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """The writers write inside the block, and have stopped after it."""
        names = [(node, writer) for node in self._cluster.names() for writer in range(WRITERS_PER_NODE)]
        threads = [threading.Thread(target=self._write, args=name, daemon=True) for name in names]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(WAIT_S)
        assert not any(thread.is_alive() for thread in threads)
        assert not self.strange, self.strange[:5]

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for something that more acknowledged writes bring about."""
        with self._news:
            assert self._news.wait_for(condition, WAIT_S), f"{len(self.acknowledged)} writes were acknowledged"

    def _write(self, node: str, writer: int) -> None:
        visitor = self._cluster.visitor(node)
        number = 0
        while not self._stop.is_set():
            number += 1
            key, value = f"{node}{writer}-{number}", f"value {number}"
            sent = time.monotonic()
            try:
                answer = visitor.ask("PUT", f"/api/store/{key}?n=3&w=2", value)
            except (OSError, http.client.HTTPException):
                self._stop.wait(0.02)  # its node is dead: a pause like that of any client that tries again
                continue
            with self._news:
                if answer.status == 200:
                    self.acknowledged[key] = value
                    self.times[node].append((sent, time.monotonic()))
                elif answer.status not in (503, 504):
                    self.strange.append(f"{key}: {answer}")
                self._news.notify_all()
        visitor.close()


def assert_all_kept(cluster: Cluster, acknowledged: dict[str, str]) -> None:
    """Every acknowledged write is read back through every node."""
    for node in cluster.names():
        visitor = cluster.visitor(node)
        answers = {key: visitor.ask("GET", f"/api/store/{key}?n=3&r=2") for key in acknowledged}
        visitor.close()
        lost = [key for key, answer in answers.items() if answer.body.get("data") != acknowledged[key]]
        assert not lost, f"{len(lost)} of {len(acknowledged)} are lost on {node}: {answers[lost[0]]}"


def test_a_node_dies_under_load_and_no_acknowledged_write_is_lost(tmp_path: Path) -> None:
    with demo(tmp_path) as cluster:
        load = Load(cluster)
        with load.running():
            load.wait(lambda: len(load.acknowledged) >= WRITES_BEFORE)
            killed = cluster.kill9("c")
            died = time.monotonic()
            survivors = ("a", "b")

            def serving_since(node: str) -> float | None:
                return next((acked for sent, acked in reversed(load.times[node]) if sent > died), None)

            load.wait(lambda: all(serving_since(node) is not None for node in survivors))
            for node in survivors:
                first = next(acked for sent, acked in load.times[node] if sent > died)
                assert first - died <= SERVICE_S, f"{node} took {first - died:.1f} s"
            so_far = len(load.acknowledged)
            load.wait(lambda: len(load.acknowledged) >= so_far + WRITES_AFTER)
            cluster.wait_restarted("c", killed)
            returned = time.monotonic()
            load.wait(lambda: any(sent > returned for sent, _ in load.times["c"]))
        assert_all_kept(cluster, load.acknowledged)


def test_a_cluster_of_which_all_nodes_die_comes_back_with_its_data(tmp_path: Path) -> None:
    with demo(tmp_path) as cluster:
        visitor = cluster.visitor("a")
        written = {f"key-{number}": f"value {number}" for number in range(100)}
        for key, value in written.items():
            assert visitor.ask("PUT", f"/api/store/{key}?n=3&w=3", value).status == 200
        visitor.close()
        killed = {node: cluster.kill9(node) for node in cluster.names()}
        for node, pid in killed.items():
            cluster.wait_restarted(node, pid)
        assert_all_kept(cluster, written)


def test_too_few_replicas_are_told_and_service_returns_with_them(tmp_path: Path) -> None:
    with demo(tmp_path) as cluster:
        visitor = cluster.visitor("a")
        assert visitor.ask("PUT", "/api/store/kept?n=3&w=3", "kept").status == 200
        os.kill(cluster.pid, signal.SIGSTOP)  # while the launcher stands still, the dead stay dead
        try:
            killed = {node: cluster.kill9(node) for node in ("b", "c")}
            answer = visitor.ask("PUT", "/api/store/refused?n=3&w=2", 1)
            assert (answer.status, answer.body["error"]) == (503, "no_quorum")
            assert (answer.body["got"], answer.body["needed"]) == (1, 2)
            answer = visitor.ask("GET", "/api/store/kept?n=3&r=2")
            assert (answer.status, answer.body["got"], answer.body["needed"]) == (503, 1, 2)
            assert visitor.ask("GET", "/api/store/kept?n=3&r=1").body["data"] == "kept"
        finally:
            os.kill(cluster.pid, signal.SIGCONT)
        for node, pid in killed.items():
            cluster.wait_restarted(node, pid)
        assert visitor.ask("PUT", "/api/store/refused?n=3&w=3", 1).status == 200
        assert visitor.ask("GET", "/api/store/kept?n=3&r=3").body["data"] == "kept"
        visitor.close()
