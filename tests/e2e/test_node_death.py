"""Nodes die under load, and nothing that was acknowledged is lost."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

from tests.e2e.cluster import Cluster, Visitor, demo

WRITERS_PER_NODE: Final = 2
WRITES: Final = 500
"""Acknowledged writes before the death, and as many again after it."""
SERVICE_S: Final = 2.0
"""How soon after a death the other nodes take writes again."""
WAIT_S: Final = 40.0


class Load:
    """Writers that put one new key after another, each through its own node while that node lives."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        self._cluster = cluster
        self._prefix = prefix
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
            key, value = f"{self._prefix}-{node}{writer}-{number}", f"value {number}"
            sent = time.monotonic()
            try:
                answer = visitor.ask("PUT", f"/api/store/{key}?n=3&w=2", value)
            except (OSError, http.client.HTTPException):
                self._stop.wait(0.02)  # its node is dead: a pause like that of any client that tries again
                continue
            with self._news:
                if answer.status == 200 and len(set(cast(list[str], answer.body["nodes"]))) >= 2:
                    self.acknowledged[key] = value
                    self.times[node].append((sent, time.monotonic()))
                elif answer.status not in (503, 504):
                    self.strange.append(f"{key}: {answer}")
                self._news.notify_all()
        visitor.close()


def assert_all_kept(cluster: Cluster, acknowledged: dict[str, str], nodes: Sequence[str] = ("a", "b", "c")) -> None:
    """Every acknowledged write is read back through each of these nodes."""
    for node in nodes:
        visitor = cluster.visitor(node)
        answers = {key: visitor.ask("GET", f"/api/store/{key}?n=3&r=2") for key in acknowledged}
        visitor.close()
        lost = [key for key, answer in answers.items() if answer.body.get("data") != acknowledged[key]]
        assert not lost, f"{len(lost)} of {len(acknowledged)} are lost on {node}: {answers[lost[0]]}"


@contextmanager
def launcher_asleep(cluster: Cluster) -> Iterator[None]:
    """While the launcher stands still, the dead stay dead."""
    os.kill(cluster.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(cluster.pid, signal.SIGCONT)


def assert_service_goes_on(load: Load, died: float, node: str) -> None:
    """A write that was sent to this node after a death was acknowledged soon."""
    load.wait(lambda: any(sent > died for sent, _ in load.times[node]))
    took_s = min(acked for sent, acked in load.times[node] if sent > died) - died
    assert took_s <= SERVICE_S, f"{node} took {took_s:.1f} s"


def test_a_node_dies_under_load_and_no_acknowledged_write_is_lost(tmp_path: Path) -> None:
    with demo(tmp_path) as cluster:
        with launcher_asleep(cluster):
            before = Load(cluster, "before")
            with before.running():
                before.wait(lambda: len(before.acknowledged) >= WRITES)
                killed = cluster.kill9("c")
                died = time.monotonic()
                for node in "ab":
                    assert_service_goes_on(before, died, node)
                so_far = len(before.acknowledged)
                before.wait(lambda: len(before.acknowledged) >= so_far + WRITES)
            assert_all_kept(cluster, before.acknowledged, "ab")

        after = Load(cluster, "after")
        with after.running():
            cluster.wait_restarted("c", killed)
            returned = time.monotonic()
            after.wait(lambda: any(sent > returned for sent, _ in after.times["c"]))
        assert_all_kept(cluster, before.acknowledged | after.acknowledged)


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
        with launcher_asleep(cluster):
            killed = {node: cluster.kill9(node) for node in ("b", "c")}
            answer = visitor.ask("PUT", "/api/store/refused?n=3&w=2", 1)
            assert (answer.status, answer.body["error"]) == (503, "no_quorum")
            assert (answer.body["got"], answer.body["needed"]) == (1, 2)
            answer = visitor.ask("GET", "/api/store/kept?n=3&r=2")
            assert (answer.status, answer.body["got"], answer.body["needed"]) == (503, 1, 2)
            assert visitor.ask("GET", "/api/store/kept?n=3&r=1").body["data"] == "kept"
        for node, pid in killed.items():
            cluster.wait_restarted(node, pid)
        assert visitor.ask("PUT", "/api/store/refused?n=3&w=3", 1).status == 200
        assert visitor.ask("GET", "/api/store/kept?n=3&r=3").body["data"] == "kept"
        visitor.close()


def test_a_hung_node_delays_nobody_and_is_soon_taken_for_down(tmp_path: Path) -> None:
    with demo(tmp_path) as cluster:
        visitor = cluster.visitor("a")
        assert visitor.ask("PUT", "/api/store/kept?n=3&w=3", "kept").status == 200
        hung = cluster.node_pid("c")
        os.kill(hung, signal.SIGSTOP)
        try:
            answer = visitor.ask("GET", "/api/store/kept?n=3&r=3&timeout_ms=50")
            if is_up(visitor, "c@127.0.0.1"):
                assert (answer.status, answer.body["error"]) == (504, "deadline")
                assert (answer.body["needed"], answer.body["timeout_s"]) == (3, 0.05)
            assert visitor.ask("PUT", "/api/store/more?n=3&w=2", 1).status == 200
            while is_up(visitor, "c@127.0.0.1"):
                assert visitor.ask("GET", "/api/store/kept?n=3&r=2").body["data"] == "kept"
            answer = visitor.ask("GET", "/api/store/kept?n=3&r=3")
            assert (answer.status, answer.body["got"], answer.body["needed"]) == (503, 2, 3)
        finally:
            os.kill(hung, signal.SIGCONT)
        while not is_up(visitor, "c@127.0.0.1"):
            assert visitor.ask("GET", "/api/store/kept?n=3&r=2").body["data"] == "kept"
        assert visitor.ask("GET", "/api/store/kept?n=3&r=3").body["data"] == "kept"
        visitor.close()


def is_up(visitor: Visitor, node: str) -> bool:
    """Whether the node that is asked can reach `node`."""
    members = cast(list[dict[str, object]], visitor.ask("GET", "/api/ring").body["members"])
    return any(member["name"] == node and member["up"] is True for member in members)
