"""A real cluster of three processes: its store, its sockets, its deaths and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from roost.limits import BODY_BYTES_MAX, KEY_BYTES_MAX
from tests.e2e.cluster import HOST, Answer, Cluster, demo, roost

STOP_S: Final = 5.0
"""A stop may take this long, and no longer."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that several stories share; each uses keys and rooms of its own."""
    with demo(tmp_path_factory.mktemp("cluster")) as shared:
        yield shared


def ask(cluster: Cluster, node: str, method: str, path: str, value: object = None, raw: bytes | None = None) -> Answer:
    """One request on a connection of its own."""
    visitor = cluster.visitor(node)
    try:
        return visitor.ask(method, path, value, raw)
    finally:
        visitor.close()


def assert_refused(answer: Answer, status: int, code: str) -> dict[str, object]:
    """The answer is an error of the one documented shape; return its body."""
    assert (answer.status, answer.body["error"]) == (status, code), answer
    assert isinstance(answer.body["message"], str)
    assert answer.body["message"]
    assert answer.headers["content-type"].startswith("application/json")
    return answer.body


def test_every_node_answers_a_ping_with_a_partition_and_its_owner(cluster: Cluster) -> None:
    ring = ask(cluster, "a", "GET", "/api/ring").body
    for node in cluster.names():
        answer = ask(cluster, node, "GET", "/api/ping")
        assert answer.status == 200
        owners, members = (cast(list[object], ring[name]) for name in ("owners", "members"))
        owner = cast(dict[str, object], members[cast(int, owners[cast(int, answer.body["pong"])])])
        assert answer.body["node"] == owner["name"]


def test_what_one_node_stores_every_node_returns_until_it_is_deleted(cluster: Cluster) -> None:
    value = {"cart": ["sku-42", 7, None, 1.5, True], "ø": "ü"}
    put = ask(cluster, "a", "PUT", "/api/store/user%3A42%20%C3%B8?n=3&w=3", value)
    assert put.status == 200
    assert (put.body["data"], put.body["key"], put.body["acks"]) == (True, "user:42 ø", 3)
    assert sorted(cast(list[str], put.body["nodes"])) == [f"{node}@{HOST}" for node in cluster.names()]
    for node in cluster.names():
        got = ask(cluster, node, "GET", "/api/store/user%3A42%20%C3%B8?n=3&r=2")
        assert (got.status, got.body["data"], got.body["key"]) == (200, value, "user:42 ø")
        assert cast(int, got.body["replies"]) >= 2
    deleted = ask(cluster, "b", "DELETE", "/api/store/user%3A42%20%C3%B8?n=3&w=3")
    assert (deleted.status, deleted.body["data"], deleted.body["acks"]) == (200, True, 3)
    for node in cluster.names():
        assert_refused(ask(cluster, node, "GET", "/api/store/user%3A42%20%C3%B8"), 404, "not_found")


def test_an_empty_value_is_a_value(cluster: Cluster) -> None:
    values: list[object] = [None, False, 0, "", [], {}]
    for value in values:
        assert ask(cluster, "a", "PUT", "/api/store/empty", value).status == 200
        got = ask(cluster, "b", "GET", "/api/store/empty")
        assert (got.status, got.body["data"]) == (200, value)


def test_a_later_write_replaces_an_earlier_one(cluster: Cluster) -> None:
    for turn, node in enumerate("abcabc"):
        context = ask(cluster, node, "GET", "/api/store/turns").body.get("context", "")
        query = f"&context={context}" if context else ""
        assert ask(cluster, node, "PUT", f"/api/store/turns?w=3{query}", turn).status == 200
        assert ask(cluster, "a", "GET", "/api/store/turns?r=2").body["data"] == turn


def test_writes_that_do_not_know_of_each_other_are_both_kept_until_one_settles_them(cluster: Cluster) -> None:
    ask(cluster, "a", "PUT", "/api/store/cart?w=3", ["tea"])
    base = ask(cluster, "a", "GET", "/api/store/cart?r=3").body["context"]
    ask(cluster, "a", "PUT", f"/api/store/cart?w=3&context={base}", ["tea", "ink"])
    ask(cluster, "b", "PUT", f"/api/store/cart?w=3&context={base}", ["tea", "pen"])
    both = ask(cluster, "c", "GET", "/api/store/cart?r=3")
    body = assert_refused(both, 300, "conflict")
    assert sorted(cast(list[list[str]], body["values"])) == [["tea", "ink"], ["tea", "pen"]]
    settled = ask(cluster, "c", "PUT", f"/api/store/cart?w=3&context={body['context']}", ["tea", "ink", "pen"])
    assert settled.status == 200
    assert ask(cluster, "a", "GET", "/api/store/cart?r=3").body["data"] == ["tea", "ink", "pen"]


@pytest.mark.parametrize(
    ("method", "path", "raw", "status", "code"),
    [
        ("GET", "/api/store/nothing-here", None, 404, "not_found"),
        ("PUT", "/api/store/bad", b"{not json", 400, "bad_request"),
        ("PUT", "/api/store/bad", b"", 400, "bad_request"),
        ("PUT", "/api/store/bad", b"\xff", 400, "bad_request"),
        ("PUT", "/api/store/bad?n=2&w=3", b"1", 400, "invalid_quorum"),
        ("PUT", "/api/store/bad?w=0", b"1", 400, "invalid_quorum"),
        ("PUT", "/api/store/bad?n=4&w=2", b"1", 400, "invalid_quorum"),
        ("GET", "/api/store/bad?n=2&r=3", None, 400, "invalid_quorum"),
        ("GET", "/api/store/bad?n=0", None, 400, "invalid_quorum"),
        ("GET", "/api/store/bad?n=two", None, 400, "bad_request"),
        ("GET", "/api/store/bad?colour=red", None, 400, "bad_request"),
        ("PUT", "/api/store/bad?context=%21", b"1", 400, "bad_message"),
        ("DELETE", "/api/store/bad?w=4", None, 400, "invalid_quorum"),
        ("PUT", "/api/store/big", b'"' + b"x" * BODY_BYTES_MAX + b'"', 413, "too_large"),
        ("PUT", f"/api/store/{'k' * (KEY_BYTES_MAX + 1)}", b"1", 413, "too_large"),
        ("PATCH", "/api/store/bad", b"1", 405, "method_not_allowed"),
        ("GET", "/api/nothing", None, 404, "not_found"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_refusal_is_json_of_one_shape(
    cluster: Cluster, method: str, path: str, raw: bytes | None, status: int, code: str
) -> None:
    body = assert_refused(ask(cluster, "b", method, path, raw=raw), status, code)
    if code == "invalid_quorum":
        assert {"parameter", "value", "reason"} <= set(body)


def test_the_ring_is_one_and_the_same_everywhere(cluster: Cluster) -> None:
    rings = [ask(cluster, node, "GET", "/api/ring").body for node in cluster.names()]
    for node, ring in zip(cluster.names(), rings, strict=True):
        assert ring["node"] == f"{node}@{HOST}"
        assert ring["owners"] == rings[0]["owners"]
        members = cast(list[dict[str, object]], ring["members"])
        assert [(member["name"], member["up"]) for member in members] == [(f"{n}@{HOST}", True) for n in "abc"]
    owners = cast(list[int], rings[0]["owners"])
    assert len(owners) == rings[0]["size"] == 64
    assert sorted(owners.count(member) for member in range(3)) == [21, 21, 22]
    lists = [ask(cluster, node, "GET", "/api/ring/user:42").body for node in cluster.names()]
    assert lists[0] == lists[1] == lists[2]
    replicas = cast(list[dict[str, object]], lists[0]["preference_list"])
    assert {replica["node"] for replica in replicas} == {f"{node}@{HOST}" for node in cluster.names()}


def test_the_console_finds_the_cluster_by_itself(cluster: Cluster) -> None:
    for command in ("member-status", "ring-status"):
        table = cluster.roost(command)
        assert (table.returncode, table.stderr) == (0, "")
        as_json = cluster.roost(command, "--format", "json")
        assert (as_json.returncode, as_json.stderr) == (0, "")
        assert json.loads(as_json.stdout)
        for node in cluster.names():
            assert f"{node}@{HOST}" in table.stdout
            assert f"{node}@{HOST}" in as_json.stdout


class Guest:
    """Somebody in a chat room, over a bare WebSocket."""

    def __init__(self, connection: ClientConnection, topic: str) -> None:
        self.connection = connection
        self.topic = topic
        self._ref = 0

    def push(self, event: str, payload: object) -> dict[str, object]:
        """Push an event and return its reply."""
        self._ref += 1
        ref = str(self._ref)
        self.connection.send(json.dumps(["1", ref, self.topic, event, payload]))
        return self.wait("phx_reply", ref)

    def wait(self, event: str, ref: str | None = None) -> dict[str, object]:
        """The payload of the next such event, or of the reply to a reference."""
        while True:
            _, its_ref, topic, name, payload = json.loads(self.connection.recv(timeout=10))
            if (topic, name) == (self.topic, event) and (ref is None or ref == its_ref):
                return cast(dict[str, object], payload)


@contextmanager
def guest(cluster: Cluster, node: str, topic: str) -> Iterator[Guest]:
    """A guest who has joined a room under the name "guest <node>"."""
    address = cluster.web(node).replace("http", "ws") + "/socket/websocket?vsn=2.0.0"
    with connect(address, open_timeout=10) as connection:
        joined = Guest(connection, topic)
        assert joined.push("phx_join", {"name": f"guest {node}"})["status"] == "ok"
        yield joined


def test_a_message_on_one_node_is_heard_on_the_others(cluster: Cluster) -> None:
    topic = "room:plain"
    with guest(cluster, "a", topic) as ada, guest(cluster, "b", topic) as bo, guest(cluster, "c", topic) as cy:
        assert ada.push("new_msg", {"body": "<b>hello</b>"}) == {"status": "ok", "response": {}}
        for listener in (bo, cy):
            heard = listener.wait("new_msg")
            assert (heard["body"], heard["name"], heard["node"]) == ("<b>hello</b>", "guest a", f"a@{HOST}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_everything_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path) as cluster, guest(cluster, "a", "room:end") as visitor:
        assert len(cluster.processes()) == 4
        stopped = cluster.stop(number)
        assert stopped.code == 0
        assert stopped.took_s <= STOP_S
        assert cluster.processes() == []
        assert "Traceback" not in cluster.output()
        with pytest.raises(ConnectionClosed) as closed:
            visitor.wait("anything")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    assert roost("member-status", environ=cluster.environ).returncode == 1


def test_nothing_outlives_a_launcher_that_is_killed(tmp_path: Path) -> None:
    with demo(tmp_path) as cluster:
        cluster.stop(signal.SIGKILL)
        assert cluster.wait_nothing_left(STOP_S) == []


@pytest.mark.parametrize(
    ("arguments", "clue"),
    [
        (["demo", "--colour", "red"], "--colour"),
        (["demo", "--nodes", "0"], "--nodes"),
        (["demo", "--nodes", "many"], "--nodes"),
        (["demo", "--port", "70000"], "--port"),
        (["demo", "--data", "/proc/nowhere"], "--data"),
        (["run", "nothing"], "module:attribute"),
        (["run", "no_such_module:app"], "no_such_module"),
        (["dance"], "dance"),
        (["member-status", "--format", "xml"], "--format"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], clue: str) -> None:
    if arguments[0] == "run":
        arguments = [*arguments, "--data", str(tmp_path)]
    done = roost(*arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert clue in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        done = roost("demo", "--port", str(port), "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(port) in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_console_says_that_nothing_runs(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir(mode=0o700)
    done = roost("member-status", environ={**os.environ, "XDG_RUNTIME_DIR": str(runs)})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
