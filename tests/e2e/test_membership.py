"""Operators change a cluster of real processes by the command line: it grows, shrinks, and loses nodes for good."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import time
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.cluster import HOST, Cluster, demo

KEYS: Final = 60
SUCCESSION_S: Final = 15.0
"""How soon after its death a claimant is succeeded."""


def put(cluster: Cluster, node: str) -> dict[str, str]:
    """Store some values through one node, each on three; return them."""
    values = {f"key {number}": f"value {number}" for number in range(KEYS)}
    visitor = cluster.visitor(node)
    for key, value in values.items():
        answer = visitor.ask("PUT", f"/api/store/{key.replace(' ', '%20')}?n=3&w=3", value)
        assert answer.status == 200, answer
    visitor.close()
    return values


def lost(cluster: Cluster, node: str, values: dict[str, str]) -> list[str]:
    """The keys whose values a node does not return."""
    visitor = cluster.visitor(node)
    answers = {key: visitor.ask("GET", f"/api/store/{key.replace(' ', '%20')}?r=1") for key in values}
    visitor.close()
    return [f"{key}: {answer}" for key, answer in answers.items() if answer.body.get("data") != values[key]]


def well(cluster: Cluster, *arguments: str) -> str:
    """What a command prints that does well."""
    done = cluster.roost(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def refused(cluster: Cluster, *arguments: str) -> str:
    """The one line of a command that is refused as a mistake."""
    done = cluster.roost(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    return done.stderr


def rows(cluster: Cluster, *arguments: str) -> list[dict[str, str]]:
    """What a command says as CSV."""
    return list(csv.DictReader(io.StringIO(well(cluster, *arguments, "--format", "csv"))))


def members(cluster: Cluster, *flags: str) -> dict[str, dict[str, object]]:
    """What member-status says as JSON, by the short name of each member."""
    status = json.loads(well(cluster, "member-status", "--format", "json", *flags))
    return {member["name"].partition("@")[0]: member for member in status["members"]}


def settle(cluster: Cluster) -> None:
    """Let what is staged happen, and wait for the end of it."""
    well(cluster, "cluster", "plan")
    assert "Committed: " in well(cluster, "cluster", "commit")
    assert well(cluster, "wait-for-settled", "--timeout", "60") == "TRUE demo: all data is where it belongs.\n"
    assert well(cluster, "ringready") == "TRUE demo: all nodes agree on the ring.\n"


def test_a_node_joins_is_given_its_share_and_leaves_again(tmp_path: Path) -> None:
    with demo(tmp_path / "old") as old, old.newcomers(tmp_path / "new", "d") as new:
        values = put(old, "a")
        assert [(name, one["status"]) for name, one in members(old).items()] == [
            ("a", "valid"), ("b", "valid"), ("c", "valid"), ("d", "joining"),
        ]  # fmt: skip
        assert f"Staged changes, which wait for roost cluster plan and roost cluster commit:\n  join d@{HOST}" in well(
            old, "member-status"
        )
        assert "roost cluster plan first" in refused(old, "cluster", "commit")

        plan = well(old, "cluster", "plan")
        assert f"join        d@{HOST}" in plan
        assert "Valid:4 / Leaving:0" in plan
        assert f"to d@{HOST}" in plan
        assert plan.endswith("Nothing has changed yet. Next: roost cluster commit, or roost cluster clear\n")
        planned = rows(old, "cluster", "plan")
        assert [(row["kind"], row["node"]) for row in planned if row["what"] == "change"] == [("join", f"d@{HOST}")]
        reassigned = [row for row in planned if row["what"] == "reassigned"]
        assert {row["detail"] for row in reassigned} == {f"d@{HOST}"}
        assert sum(int(row["count"]) for row in reassigned) == 16
        settle(old)

        assert [one["ring_percent"] for one in members(old).values()] == [25.0] * 4
        assert [row["ring_percent"] for row in rows(old, "member-status")] == ["25.00"] * 4
        assert [row["partitions"] for row in rows(old, "ring-status")] == ["16"] * 4
        assert {node: lost(old, node, values) for node in "abc"} == {node: [] for node in "abc"}
        assert lost(new, "d", values) == []

        assert f"Staged: leave d@{HOST}." in well(old, "cluster", "leave", "d")
        assert "leave is staged for d@127.0.0.1 already" in refused(old, "cluster", "leave", "d")
        settle(old)
        new.wait_output(f"d@{HOST} has left the cluster demo and goes on as a cluster of its own")
        assert list(members(old)) == ["a", "b", "c"]
        assert list(members(old, "--node", "d")) == ["d"]
        assert {node: lost(old, node, values) for node in "abc"} == {node: [] for node in "abc"}


def test_a_newcomer_takes_the_place_of_a_node_and_nothing_else_moves(tmp_path: Path) -> None:
    with demo(tmp_path / "old") as old, old.newcomers(tmp_path / "new", "d", 2) as new:
        values = put(old, "a")
        well(old, "cluster", "clear")
        for node in "de":
            new.wait_output(f"{node}@{HOST} has left the cluster demo")
        assert f"d@{HOST}, e@{HOST}" in refused(old, "cluster", "join", "demo")
        assert f"join d@{HOST}" in well(old, "cluster", "join", "demo", "--node", "d")
        assert "no cluster" not in well(old, "cluster", "replace", "c", "d")
        flows = {(row["what"], row["node"], row["detail"]) for row in rows(old, "cluster", "plan") if row["count"]}
        flows = {flow for flow in flows if flow[0] in ("reassigned", "transfers")}
        assert flows == {(what, f"c@{HOST}", f"d@{HOST}") for what in ("reassigned", "transfers")}
        settle(old)
        assert list(members(old)) == ["a", "b", "d"]
        assert lost(new, "d", values) == []


@pytest.mark.parametrize("victim", ["a", "c"])
def test_a_node_that_dies_for_good_is_marked_and_removed(tmp_path: Path, victim: str) -> None:
    with demo(tmp_path) as cluster:
        values = put(cluster, "b")
        assert members(cluster)["a"]["is_claimant"]
        assert "is up: stop it first" in refused(cluster, "cluster", "down", victim)
        os.kill(cluster.pid, signal.SIGSTOP)  # or it would start the node again
        cluster.kill9(victim)
        deadline = time.monotonic() + SUCCESSION_S
        while (now := members(cluster, "--node", "b"))[victim]["is_claimant"] or now[victim]["up"]:
            assert time.monotonic() < deadline, now
        assert " down! " in well(cluster, "member-status", "--node", "b")

        assert cluster.roost("ringready").returncode == 1
        assert f"Marked as down: {victim}@{HOST}." in well(cluster, "cluster", "down", victim)
        assert members(cluster)[victim]["status"] == "down"
        well(cluster, "ringready")  # nothing is expected of the dead
        well(cluster, "cluster", "force-remove", victim)
        plan = well(cluster, "cluster", "plan")
        assert f"WARNING: the copies that {victim}@{HOST} holds are lost" in plan
        assert "removed" in plan
        settle(cluster)
        rest = [name for name in "abc" if name != victim]
        assert list(members(cluster)) == rest
        assert {node: lost(cluster, node, values) for node in rest} == {node: [] for node in rest}

        os.kill(cluster.pid, signal.SIGCONT)
        cluster.wait_output(f"{victim}@{HOST} has left the cluster demo and goes on as a cluster of its own")
        assert list(members(cluster)) == rest
