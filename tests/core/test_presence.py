"""Replicated presences: deltas, gaps, netsplits and restarts, with nothing but values."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from roost import limits
from roost.core import presence as presence_module
from roost.core.presence import Absence, Delta, Presence, Presences, Snapshot, by_key
from roost.errors import TooLarge


def connect(left: Presences, right: Presences, incarnations: tuple[int, int] = (1, 2)) -> None:
    left.peer_up(right.node, incarnations[1])
    right.peer_up(left.node, incarnations[0])
    for giver, taker in ((left, right), (right, left)):
        for part in giver.snapshot():
            assert taker.merge(giver.node, part)


def share(giver: Presences, taker: Presences) -> bool:
    delta = giver.take_delta()
    return delta is None or taker.merge(giver.node, delta)


def keys(presences: Presences, topic: str = "t") -> list[str]:
    return sorted(presence.key for presence in presences.present(topic))


def pair() -> tuple[Presences, Presences]:
    a, b = Presences("a", 1), Presences("b", 2)
    connect(a, b)
    return a, b


def test_a_join_is_seen_here_and_there() -> None:
    a, b = pair()
    a.track("t", "alex", {"device": "phone"})
    assert share(a, b)
    assert keys(a) == keys(b) == ["alex"]
    for side in (a, b):
        (joined,) = side.take_diffs()["t"].joins.values()
        meta = msgspec.json.decode(joined.meta)
        assert meta == {"device": "phone", "phx_ref": joined.ref}


def test_a_leave_is_seen_once() -> None:
    a, b = pair()
    id = a.track("t", "alex", {})
    share(a, b)
    b.take_diffs()
    a.untrack(id)
    a.untrack(id)
    share(a, b)
    diff = b.take_diffs()["t"]
    assert [gone.key for gone in diff.leaves.values()] == ["alex"]
    assert not diff.joins
    assert keys(b) == []
    assert b.take_diffs() == {}


def test_came_and_went_between_two_looks_is_not_mentioned() -> None:
    a, _ = pair()
    a.untrack(a.track("t", "alex", {}))
    assert a.take_diffs() == {}


def test_an_update_is_a_leave_and_a_join_that_names_what_it_replaces() -> None:
    a, b = pair()
    id = a.track("t", "alex", {"mood": 1})
    share(a, b)
    (first,) = b.take_diffs()["t"].joins.values()
    a.update(id, {"mood": 2})
    share(a, b)
    diff = b.take_diffs()["t"]
    (second,) = diff.joins.values()
    assert list(diff.leaves) == [first.ref]
    assert msgspec.json.decode(second.meta) == {"mood": 2, "phx_ref": second.ref, "phx_ref_prev": first.ref}
    assert second.ref != first.ref
    assert len(b.present("t")) == 1


def test_an_update_of_nobody_is_refused() -> None:
    with pytest.raises(KeyError):
        Presences("a", 1).update(7, {})


def test_one_key_may_be_present_many_times() -> None:
    a, b = pair()
    a.track("t", "alex", {"n": 1})
    b.track("t", "alex", {"n": 2})
    share(a, b)
    shape = msgspec.json.decode(msgspec.json.encode(by_key(b.present("t"))))
    assert sorted(meta["n"] for meta in shape["alex"]["metas"]) == [1, 2]


def test_a_node_that_goes_down_takes_its_presences_along_at_once() -> None:
    a, b = pair()
    a.track("t", "alex", {})
    b.track("t", "bo", {})
    share(a, b)
    b.take_diffs()
    b.peer_down("a")
    assert keys(b) == ["bo"]
    assert [gone.key for gone in b.take_diffs()["t"].leaves.values()] == ["alex"]
    b.peer_down("a")
    assert b.take_diffs() == {}


def test_after_a_netsplit_they_are_back() -> None:
    a, b = pair()
    a.track("t", "alex", {})
    share(a, b)
    b.peer_down("a")
    b.take_diffs()
    a.track("t", "ada", {})
    connect(a, b)
    assert keys(b) == ["ada", "alex"]
    assert sorted(joined.key for joined in b.take_diffs()["t"].joins.values()) == ["ada", "alex"]


def test_a_short_netsplit_is_not_mentioned() -> None:
    a, b = pair()
    a.track("t", "alex", {})
    share(a, b)
    b.take_diffs()
    connect(a, b)
    assert keys(b) == ["alex"]
    assert b.take_diffs() == {}


def test_a_restarted_node_starts_from_nothing() -> None:
    a, b = pair()
    a.track("t", "alex", {})
    share(a, b)
    b.take_diffs()
    born_again = Presences("a", 99)
    connect(born_again, b, (99, 2))
    born_again.track("t", "alex", {})
    share(born_again, b)
    diff = b.take_diffs()["t"]
    assert len(diff.joins) == len(diff.leaves) == 1
    assert not set(diff.joins) & set(diff.leaves)
    assert keys(b) == ["alex"]


def test_a_gap_is_noticed_and_a_snapshot_mends_it() -> None:
    a, b = pair()
    gone = a.track("t", "alex", {})
    a.track("t", "ada", {})
    share(a, b)
    a.untrack(gone)
    a.take_delta()
    a.track("t", "cleo", {})
    assert not share(a, b)
    assert keys(b) == ["ada", "alex"]
    for part in a.snapshot():
        assert b.merge("a", part)
    assert keys(b) == ["ada", "cleo"]
    a.track("t", "dan", {})
    assert share(a, b)
    assert keys(b) == ["ada", "cleo", "dan"]


def test_a_delta_that_overlaps_with_a_snapshot_changes_nothing_twice() -> None:
    a, b = pair()
    first = a.track("t", "alex", {})
    a.untrack(first)
    a.track("t", "ada", {})
    for part in a.snapshot():
        b.merge("a", part)
    b.take_diffs()
    assert share(a, b)
    assert b.take_diffs() == {}
    assert keys(b) == ["ada"]


def test_an_old_delta_brings_nobody_back() -> None:
    a, b = pair()
    id = a.track("t", "alex", {})
    old = a.take_delta()
    assert old is not None
    b.merge("a", old)
    a.untrack(id)
    share(a, b)
    assert b.merge("a", old)
    assert keys(b) == []


def test_a_delta_before_the_first_snapshot_asks_for_it() -> None:
    a, b = Presences("a", 1), Presences("b", 2)
    b.peer_up("a", 1)
    a.track("t", "alex", {})
    assert not share(a, b)
    assert keys(b) == []


def test_words_of_a_node_that_is_down_are_ignored() -> None:
    a, b = pair()
    b.peer_down("a")
    a.track("t", "alex", {})
    assert share(a, b)
    assert keys(b) == []


def test_large_snapshots_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "SNAPSHOT_CHUNK", 2)
    a, b = Presences("a", 1), Presences("b", 2)
    for number in range(5):
        a.track("t", f"k{number}", {})
    b.peer_up("a", 1)
    parts = a.snapshot()
    assert [len(part.presences) for part in parts] == [2, 2, 1]
    for part in parts[:-1]:
        b.merge("a", part)
        assert keys(b) == []
    b.merge("a", parts[-1])
    assert keys(b) == ["k0", "k1", "k2", "k3", "k4"]


def test_a_snapshot_that_was_cut_short_leaves_no_ghosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "SNAPSHOT_CHUNK", 2)
    a, b = Presences("a", 1), Presences("b", 2)
    ids = [a.track("t", f"k{number}", {}) for number in range(3)]
    b.peer_up("a", 1)
    first, _ = a.snapshot()
    b.merge("a", first)  # the second part was refused: the link is full
    a.untrack(ids[0])
    for part in a.snapshot():
        b.merge("a", part)
    assert keys(b) == ["k1", "k2"]


def test_no_part_of_a_snapshot_is_too_large_for_a_link() -> None:
    a = Presences("a", 1)
    meta: dict[str, object] = {"about": "x" * (limits.PRESENCE_META_BYTES_MAX // 2)}
    for number in range(300):
        a.track("t", f"k{number}", meta)
    parts = a.snapshot()
    assert sum(len(part.presences) for part in parts) == 300
    assert all(len(msgspec.msgpack.encode(part)) < limits.MESSAGE_BYTES_MAX // 8 for part in parts)
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]


def test_a_meta_has_a_limit() -> None:
    a = Presences("a", 1)
    id = a.track("t", "k", {})
    large: dict[str, object] = {"about": "x" * limits.PRESENCE_META_BYTES_MAX}
    with pytest.raises(TooLarge):
        a.track("t", "k2", large)
    with pytest.raises(TooLarge):
        a.update(id, large)
    assert keys(a) == ["k"]


def test_a_topic_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "PRESENCES_PER_TOPIC_MAX", 2)
    a = Presences("a", 1)
    first = a.track("t", "1", {})
    a.track("t", "2", {})
    with pytest.raises(TooLarge):
        a.track("t", "3", {})
    a.track("other", "3", {})
    a.untrack(first)
    a.track("t", "3", {})
    assert keys(a) == ["2", "3"]


def test_messages_survive_the_wire() -> None:
    codec: msgspec.msgpack.Decoder[Delta | Snapshot] = msgspec.msgpack.Decoder(Delta | Snapshot)
    delta = Delta(3, (Presence(1, "t", "k", "r", b"{}"), Absence(2)))
    snapshot = Snapshot(9, (Presence(1, "t", "k", "r", b"{}"),), True)
    assert codec.decode(msgspec.msgpack.encode(delta)) == delta
    assert codec.decode(msgspec.msgpack.encode(snapshot)) == snapshot


class Cluster(RuleBasedStateMachine):
    """Any story of joins, leaves, lost deltas and netsplits: clients' lists equal the state, and it converges."""

    tracked = Bundle("tracked")

    def __init__(self) -> None:
        super().__init__()
        self.nodes = {name: Presences(name, number) for number, name in enumerate("abc")}
        self.linked: set[frozenset[str]] = set()
        self.clients: dict[str, set[str]] = {name: set() for name in "abc"}
        for left, right in ("ab", "bc", "ac"):
            self.heal((left, right))

    pairs = st.sampled_from([("a", "b"), ("b", "c"), ("a", "c")])

    @rule(target=tracked, node=st.sampled_from("abc"), key=st.sampled_from("xyz"))
    def track(self, node: str, key: str) -> tuple[str, int]:
        return node, self.nodes[node].track("t", key, {})

    @rule(who=tracked)
    def update(self, who: tuple[str, int]) -> None:
        node, id = who
        self.nodes[node].update(id, {"again": True})

    @rule(who=consumes(tracked))
    def untrack(self, who: tuple[str, int]) -> None:
        node, id = who
        self.nodes[node].untrack(id)

    @rule(pair=pairs)
    def split(self, pair: tuple[str, str]) -> None:
        if frozenset(pair) in self.linked:
            self.linked.discard(frozenset(pair))
            self.nodes[pair[0]].peer_down(pair[1])
            self.nodes[pair[1]].peer_down(pair[0])

    @rule(pair=pairs)
    def heal(self, pair: tuple[str, str]) -> None:
        if frozenset(pair) not in self.linked:
            self.linked.add(frozenset(pair))
            connect(self.nodes[pair[0]], self.nodes[pair[1]])

    @rule(node=st.sampled_from("abc"), lost=st.booleans())
    def flush(self, node: str, lost: bool) -> None:
        delta = self.nodes[node].take_delta()
        for other in "abc":
            if delta is None or lost or frozenset((node, other)) not in self.linked:
                continue
            if not self.nodes[other].merge(node, delta):
                for part in self.nodes[node].snapshot():
                    self.nodes[other].merge(node, part)

    @invariant()
    def clients_agree_with_the_state(self) -> None:
        for name, node in self.nodes.items():
            diff = node.take_diffs().get("t")
            if diff is not None:
                assert not self.clients[name] & set(diff.joins), "announced twice"
                assert set(diff.leaves) <= self.clients[name], "left without having joined"
                self.clients[name] = (self.clients[name] | set(diff.joins)) - set(diff.leaves)
            assert self.clients[name] == {presence.ref for presence in node.present("t")}

    def teardown(self) -> None:
        for name in "abc":
            self.nodes[name].track("t", "last", {})
            self.flush(name, False)
        for pair in (("a", "b"), ("b", "c"), ("a", "c")):
            self.heal(pair)
        everyone = [{presence.ref for presence in node.present("t")} for node in self.nodes.values()]
        assert everyone[0] == everyone[1] == everyone[2]


Cluster.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestCluster = Cluster.TestCase
