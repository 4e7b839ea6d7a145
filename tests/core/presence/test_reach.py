"""Who is alive, by this node's links and by what its peers say of theirs."""

from __future__ import annotations

from roost.core.presence.fragment import Known, View
from roost.core.presence.presence import Origin
from roost.core.presence.reach import Reach

A, B, C, D = (Origin(name, 1) for name in "abcd")


def view(*up: Origin, goals: tuple[int, ...] = (0,)) -> View:
    return View(tuple(Known(origin, True, (0,), goals) for origin in up))


def reach(node: str, *links: Origin) -> Reach:
    made = Reach(node)
    for origin in links:
        made.up(origin)
    return made


def alive(made: Reach) -> dict[str, int]:
    return {node: route.origin.incarnation for node, route in made.routes().items()}


def test_a_node_with_a_link_is_alive() -> None:
    assert alive(reach("a", B)) == {"b": 1}


def test_a_node_is_alive_by_the_word_of_a_common_peer() -> None:
    made = reach("a", C)
    made.hear("c", view(C, A, B))
    assert alive(made) == {"b": 1, "c": 1}
    assert made.routes()["b"].source == "c"


def test_this_node_is_not_told_by_others_that_it_lives() -> None:
    made = reach("a", C)
    made.hear("c", view(C, A._replace(incarnation=7)))
    assert alive(made) == {"c": 1}


def test_a_word_goes_one_step_only() -> None:
    made = reach("a", B)
    made.hear("b", view(B, A, C))  # that c has a link with d is c's word, which b does not repeat
    assert alive(made) == {"b": 1, "c": 1}


def test_a_word_ends_with_its_link() -> None:
    made = reach("a", C)
    made.hear("c", view(C, A, B))
    made.down("c")
    assert alive(made) == {}


def test_a_word_is_taken_back() -> None:
    made = reach("a", C)
    made.hear("c", view(C, A, B))
    made.hear("c", view(C, A))
    assert alive(made) == {"c": 1}


def test_what_is_known_without_a_link_is_no_word() -> None:
    made = reach("a", C)
    made.hear("c", View((Known(C, True, (0,)), Known(B, False, (9,)))))
    assert alive(made) == {"c": 1}


def test_an_own_link_decides_which_boot_is_alive() -> None:
    made = reach("a", C, B._replace(incarnation=2))
    made.hear("c", view(C, A, B))
    assert alive(made) == {"b": 2, "c": 1}


def test_without_a_link_whoever_has_learned_of_a_boot_last_decides() -> None:
    made = reach("a", C, D)
    made.hear("c", view(C, A, B))
    made.hear("d", view(D, A, B._replace(incarnation=2)))
    made.hear("c", view(C, A, B))  # said again, which is no news
    assert alive(made)["b"] == 2
    made.hear("d", view(D, A))
    assert alive(made)["b"] == 1


def test_a_new_link_replaces_the_old_one_and_its_word() -> None:
    made = reach("a", C)
    made.hear("c", view(C, A, B))
    made.up(C._replace(incarnation=2))
    assert alive(made) == {"c": 2}
    assert not made.has_word("c")


def test_goals_are_what_a_source_has_said() -> None:
    made = reach("a", C)
    assert made.goals("c", C) == ()
    made.hear("c", view(C, goals=(3, 4)))
    assert made.goals("c", C) == (3, 4)
    assert made.goals("c", B) == ()


def test_what_peers_without_a_link_miss_is_passed_on_from_the_second_look_on() -> None:
    made = reach("c", A, B)
    made.hear("a", view(A, C))
    made.hear("b", view(B, C))
    assert made.relayed("a") == []
    assert made.look()
    assert made.relayed("a") == []
    assert made.look()
    assert (made.relayed("a"), made.relayed("b")) == ([B], [A])


def test_nothing_is_passed_on_when_they_have_a_link_again() -> None:
    made = reach("c", A, B)
    made.hear("a", view(A, C))
    made.hear("b", view(B, C))
    made.look()
    made.look()
    made.hear("a", view(A, C, B))
    assert made.relayed("a") == []
    assert made.relayed("b") == [A]
    made.hear("b", view(B, C, A))
    assert not made.look()
    assert made.relayed("b") == []


def test_an_old_boot_that_a_peer_still_sees_is_no_link_with_the_new_one() -> None:
    made = reach("c", A, B._replace(incarnation=2))
    made.hear("a", view(A, C, B))
    made.hear("b", view(B._replace(incarnation=2), C))
    made.look()
    made.look()
    assert made.relayed("a") == [B._replace(incarnation=2)]


def test_of_several_common_peers_the_first_passes_on() -> None:
    relays = []
    for node, links in (("c", (A, B, D)), ("d", (A, B, C))):
        made = reach(node, *links)
        made.hear("a", view(A, C, D))
        made.hear("b", view(B, C, D))
        other = "d" if node == "c" else "c"
        made.hear(other, view(A, B, C, D))
        made.look()
        made.look()
        relays.append(made.relayed("a"))
    assert relays == [[B], []]


def test_nodes_that_are_all_linked_pass_nothing_on() -> None:
    made = reach("c", A, B)
    made.hear("a", view(A, B, C))
    made.hear("b", view(A, B, C))
    assert not made.look()
