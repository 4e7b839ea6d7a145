"""Names, ports and folders of the nodes on one machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.config import Address
from roost.errors import ConfigError
from roost.ops.plan import furnish, letters, place, plan_newcomers, plan_nodes, short


def test_nodes_are_lettered_and_ports_follow_each_other() -> None:
    a, b, c = plan_nodes("demo", 3, 4000)
    assert [node.name for node in (a, b, c)] == ["a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"]
    assert [node.web for node in (a, b, c)] == [Address("127.0.0.1", port) for port in (4000, 4001, 4002)]
    assert [node.listen for node in (a, b, c)] == [Address("127.0.0.1", port) for port in (4100, 4101, 4102)]
    assert a.seeds == b.seeds == c.seeds
    assert [(seed.name, seed.address, seed.web) for seed in a.seeds] == [
        (node.name, node.listen, node.web) for node in (a, b, c)
    ]


def test_letters_go_on_after_z() -> None:
    assert [letters(index) for index in (0, 25, 26, 51, 52, 701, 702)] == ["a", "z", "aa", "az", "ba", "zz", "aaa"]


def test_the_most_nodes_have_names_and_ports_of_their_own() -> None:
    nodes = plan_nodes("demo", 100, 4000)
    assert len({node.name for node in nodes}) == 100
    assert len({address for node in nodes for address in (node.web, node.listen)}) == 200


@pytest.mark.parametrize("nodes", [-1, 0, 101])
def test_a_number_of_nodes_out_of_range_is_refused(nodes: int) -> None:
    with pytest.raises(ConfigError, match=f"--nodes: {nodes} is not from 1 to 100"):
        plan_nodes("demo", nodes, 4000)


@pytest.mark.parametrize("port", [-1, 0, 65_434, 70_000])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(ConfigError, match=f"--port: {port} is not from 1 to 65433"):
        plan_nodes("demo", 3, port)


def test_the_last_port_fits() -> None:
    assert plan_nodes("demo", 3, 65_433)[2].listen == Address("127.0.0.1", 65_535)


def test_each_node_has_its_own_folder_and_all_share_the_cookie() -> None:
    a, b = furnish(plan_nodes("demo", 2, 4000), Path("data"), b"secret")
    assert (a.data, b.data) == ("data/a", "data/b")
    assert a.cookie == b.cookie == b"secret"


def test_the_short_name_has_no_host() -> None:
    assert short("a@127.0.0.1") == "a"


def test_the_place_of_a_name_is_where_its_letters_are() -> None:
    assert all(place(letters(index)) == index for index in range(2000))


CONTACT = Address("127.0.0.1", 4100)


def test_newcomers_know_whom_to_ask_and_nobody_else() -> None:
    d, e = plan_newcomers("demo", "d", 2, 4003, CONTACT)
    assert [(node.name, node.web, node.listen) for node in (d, e)] == [
        ("d@127.0.0.1", Address("127.0.0.1", 4003), Address("127.0.0.1", 4103)),
        ("e@127.0.0.1", Address("127.0.0.1", 4004), Address("127.0.0.1", 4104)),
    ]
    assert d.seeds == e.seeds == ()
    assert d.contacts == e.contacts == (CONTACT,)


def test_one_newcomer_may_have_any_name() -> None:
    (node,) = plan_newcomers("demo", "big-one@127.0.0.1", 1, 4003, CONTACT)
    assert node.name == "big-one@127.0.0.1"


@pytest.mark.parametrize("name", ["big-one", "D", "d1", "ä"])
def test_several_newcomers_are_lettered(name: str) -> None:
    with pytest.raises(ConfigError, match=r"--name: .* is not made of the letters a to z"):
        plan_newcomers("demo", name, 2, 4003, CONTACT)
