"""Groups of a few nodes, whose links lose what is under way: they come to agree, and there are no ghosts."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core import process_group
from roost.core.process_group import Delta, Groups, Join, Leave, Member, Snapshot
from roost.errors import TooLarge

NODES = ("a", "b", "c")


def view(groups: Groups) -> list[tuple[str, Member]]:
    return sorted((group, member) for group in groups.groups("") for member in groups.members("", group))


def test_a_process_joins_and_leaves_as_often_as_it_wants() -> None:
    groups = Groups("a", 1)
    for _ in range(2):
        groups.join("", "g", 7)
    assert view(groups) == [("g", Member("a", 1, 7))] * 2
    assert groups.leave("", "g", 7)
    assert view(groups) == [("g", Member("a", 1, 7))]
    assert groups.is_member(7)
    assert groups.leave("", "g", 7)
    assert not groups.leave("", "g", 7)
    assert not groups.is_member(7)
    assert groups.take_delta() == Delta(0, (Join(1, "", "g", 7), Join(2, "", "g", 7), Leave(1), Leave(2)))
    assert groups.take_delta() is None


def test_an_end_leaves_every_group() -> None:
    groups = Groups("a", 1)
    groups.join("", "g", 7)
    groups.join("other", "g", 7)
    groups.join("", "g", 8)
    groups.take_news()
    groups.ended(7)
    assert view(groups) == [("g", Member("a", 1, 8))]
    assert list(groups.members("other", "g")) == []
    assert {news.scope: news.left for news in groups.take_news()} == dict.fromkeys(("", "other"), (Member("a", 1, 7),))


def test_what_is_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_group, "MEMBERSHIPS_MAX", 1)
    groups = Groups("a", 1)
    with pytest.raises(TooLarge):
        groups.join("", "g" * 256, 7)
    groups.join("", "g", 7)
    with pytest.raises(TooLarge):
        groups.join("", "g", 8)


class Mesh:
    """Nodes and their links; a link that breaks loses what is under way."""

    def __init__(self) -> None:
        self.boots = dict.fromkeys(NODES, 1)
        self.groups = {node: Groups(node, 1) for node in NODES}
        self.links: dict[tuple[str, str], deque[Delta | Snapshot | None]] = {}
        self.processes: dict[str, list[int]] = {node: [] for node in NODES}
        self.pids = 0

    def tell(self, node: str) -> None:
        delta = self.groups[node].take_delta()
        for (source, _), link in self.links.items():
            if source == node and delta is not None:
                link.append(delta)

    def connect(self, one: str, other: str) -> None:
        if (one, other) not in self.links:
            for source, target in ((one, other), (other, one)):
                self.groups[target].peer_up(source, self.boots[source])
                self.links[source, target] = deque(self.groups[source].snapshot())

    def cut(self, one: str, other: str) -> None:
        if self.links.pop((one, other), None) is not None:
            del self.links[other, one]
            self.groups[one].peer_down(other)
            self.groups[other].peer_down(one)

    def reboot(self, node: str) -> None:
        for other in NODES:
            if other != node:
                self.cut(node, other)
        self.boots[node] += 1
        self.groups[node] = Groups(node, self.boots[node])
        self.processes[node] = []

    def deliver(self, source: str, target: str) -> None:
        link = self.links.get((source, target))
        if not link:
            return
        message = link.popleft()
        if message is None:
            link_back = self.links[target, source]
            link_back.extend(self.groups[target].snapshot())
        elif not self.groups[target].merge(source, message):
            self.links[target, source].append(None)

    def truth(self) -> list[tuple[str, Member]]:
        return sorted(("g", Member(node, self.boots[node], pid)) for node in NODES for pid in self.processes[node])


STEPS = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "end", "connect", "cut", "reboot", "deliver"]), st.integers(0, 5)),
    max_size=60,
)
PAIRS = [(one, other) for one in NODES for other in NODES if one != other]


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_nodes_come_to_agree_and_there_are_no_ghosts(steps: list[tuple[str, int]]) -> None:
    mesh = Mesh()
    for act, number in steps:
        node, pair = NODES[number % 3], PAIRS[number]
        groups, processes = mesh.groups[node], mesh.processes[node]
        if act == "join":
            mesh.pids += 1
            groups.join("", "g", mesh.pids)
            processes.append(mesh.pids)
        elif act in ("leave", "end") and processes:
            pid = processes.pop()
            groups.leave("", "g", pid) if act == "leave" else groups.ended(pid)
        elif act in ("connect", "cut", "deliver"):
            getattr(mesh, act)(*pair)
        elif act == "reboot":
            mesh.reboot(node)
        mesh.tell(node)
        for one in NODES:
            for _, member in view(mesh.groups[one]):
                assert member.node == one or (one, member.node) in mesh.links, "a ghost of a node that is not connected"
                assert member.incarnation == mesh.boots[member.node]
    for one, other in PAIRS:
        mesh.connect(one, other)
    while any(mesh.links.values()):
        for pair in PAIRS:
            mesh.deliver(*pair)
    assert [view(mesh.groups[node]) for node in NODES] == [mesh.truth()] * 3
    for groups in mesh.groups.values():
        seen: dict[Member, int] = {}
        for news in groups.take_news():
            for member in news.joined:
                seen[member] = seen.get(member, 0) + 1
            for member in news.left:
                seen[member] = seen.get(member, 0) - 1
        assert sorted(("g", member) for member, count in seen.items() if count) == mesh.truth()


def test_a_gap_is_noticed_and_old_news_changes_nothing() -> None:
    one, other = Groups("a", 1), Groups("b", 1)
    other.peer_up("a", 1)
    one.join("", "g", 1)
    first = one.take_delta()
    one.join("", "g", 2)
    second = one.take_delta()
    assert first is not None
    assert second is not None
    assert not other.merge("a", first), "its snapshot has not come yet"
    for part in one.snapshot():
        assert other.merge("a", part)
    assert other.merge("a", first)
    assert other.merge("a", second)
    assert not other.merge("a", Delta(5, ()))
    assert view(other) == view(one)
    assert other.merge("z", second), "nobody knows z"
