"""What is started, from what an operator has typed and what runs already."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from roost.config import Address
from roost.errors import ConfigError, NodeDown
from roost.ops.folder import Birth, DataFolder
from roost.ops.operator import contact, find_newcomer
from roost.ops.runfile import RunFile, RunFolder
from roost.ops.start import Wish, new_cluster, newcomers
from roost.runtime.entropy import SystemEntropy


def running(folder: Path, name: str, port: int, *, cluster: str = "demo", is_alone: bool = False) -> dict[str, str]:
    """Let a node of that name run, as far as the run folder knows; return the environment in which that is so."""
    environ = {"XDG_RUNTIME_DIR": str(folder)}
    path = folder / "roost"
    link, web = f"127.0.0.1:{port + 100}", f"127.0.0.1:{port}"
    run = RunFile(cluster, f"{name}@127.0.0.1", link, web, f"cookie of {cluster}", os.getpid(), 1.0, is_alone=is_alone)
    RunFolder(path).write(run)
    (path / f"{os.getpid()}.json").rename(path / f"{os.getpid()}-{name}.json")
    return environ


def test_a_new_cluster_has_three_nodes_from_port_4000_on() -> None:
    start = new_cluster("demo", Wish(), {})
    assert [(node.name, node.web) for node in start.nodes] == [
        (f"{name}@127.0.0.1", Address("127.0.0.1", 4000 + index)) for index, name in enumerate("abc")
    ]
    assert (start.folder, start.birth, start.cookie) == (Path(".roost/demo"), Birth("demo", 3), None)
    assert {node.policy for node in start.nodes} == {"manual"}


def test_a_folder_is_started_with_the_nodes_that_were_born_there(tmp_path: Path) -> None:
    DataFolder(tmp_path, Birth("demo", 5), SystemEntropy()).close()
    assert len(new_cluster("demo", Wish(data=tmp_path), {}).nodes) == 5
    assert len(new_cluster("demo", Wish(nodes=2, data=tmp_path), {}).nodes) == 2


def test_a_new_cluster_may_commit_joins_by_itself_and_have_another_ring() -> None:
    start = new_cluster("demo", Wish(nodes=1, policy="auto"), {"ROOST_RING_SIZE": "16"})
    assert (start.nodes[0].policy, start.nodes[0].ring_size) == ("auto", 16)
    with pytest.raises(ConfigError, match="power of 2"):
        new_cluster("demo", Wish(), {"ROOST_RING_SIZE": "17"})


def test_a_name_is_for_newcomers() -> None:
    with pytest.raises(ConfigError, match=r"--name: .* goes with --join"):
        new_cluster("demo", Wish(name="x"), {})


@pytest.mark.parametrize("where", ["demo", "c", "c@127.0.0.1", "127.0.0.1:4102"])
def test_newcomers_find_cookie_and_free_name_and_port_in_the_run_folder(tmp_path: Path, where: str) -> None:
    environ = running(tmp_path, "c", 4002)
    start = newcomers("chat", where, Wish(nodes=2), environ)
    assert [(node.name, node.cluster, node.web) for node in start.nodes] == [
        ("d@127.0.0.1", "demo", Address("127.0.0.1", 4003)),
        ("e@127.0.0.1", "demo", Address("127.0.0.1", 4004)),
    ]
    assert start.cookie == b"cookie of demo"
    assert start.nodes[0].contacts == (Address("127.0.0.1", 4102),)
    assert start.folder == Path(".roost/demo-d")
    assert start.birth == Birth("demo", 2, "d", is_joining=True)


def test_a_cluster_elsewhere_is_joined_with_its_cookie(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path), "ROOST_COOKIE": "secret", "ROOST_CLUSTER": "far"}
    start = newcomers("chat", "10.0.0.7:4100", Wish(name="x", port=4010, data=tmp_path), environ)
    assert (start.cookie, start.nodes[0].cluster, start.nodes[0].name) == (b"secret", "far", "x@127.0.0.1")
    with pytest.raises(ConfigError, match=r"ROOST_COOKIE: no node of 10\.0\.0\.7:4100 runs on this machine"):
        newcomers("chat", "10.0.0.7:4100", Wish(data=tmp_path), {"XDG_RUNTIME_DIR": str(tmp_path)})


def test_newcomers_do_not_decide_on_the_policy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="roost cluster policy auto"):
        newcomers("demo", "demo", Wish(policy="auto"), running(tmp_path, "a", 4000))


def test_what_is_no_address_and_does_not_run_here_cannot_be_joined(tmp_path: Path) -> None:
    environ = running(tmp_path, "a", 4000)
    for where in ("chat", "b", "", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999"):
        with pytest.raises(ConfigError, match=r"WHERE: .* is not host:port, and no node or cluster of that name"):
            contact(where, environ)


def test_the_node_that_shall_join_is_the_one_that_is_alone(tmp_path: Path) -> None:
    environ = running(tmp_path, "a", 4000)
    with pytest.raises(ConfigError, match=r"--node: .* in no cluster: none"):
        find_newcomer(None, None, environ)
    running(tmp_path, "d", 4003, is_alone=True)
    assert [run.node for run in find_newcomer(None, None, environ)] == ["d@127.0.0.1"]
    running(tmp_path, "e", 4004, is_alone=True)
    with pytest.raises(ConfigError, match=r"--node: .* in no cluster: d@127\.0\.0\.1, e@127\.0\.0\.1"):
        find_newcomer(None, None, environ)
    assert [run.node for run in find_newcomer(None, "e", environ)] == ["e@127.0.0.1"]
    with pytest.raises(NodeDown, match="no such node runs here"):
        find_newcomer(None, "z", environ)


def test_nodes_in_company_are_asked_before_those_that_are_alone(tmp_path: Path) -> None:
    environ = running(tmp_path, "a", 4000, is_alone=True)
    running(tmp_path, "b", 4001)
    assert [run.node for run in RunFolder(Path(environ["XDG_RUNTIME_DIR"]) / "roost").list()] == [
        "b@127.0.0.1",
        "a@127.0.0.1",
    ]
