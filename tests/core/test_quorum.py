"""Operations are fed every order of replies, failures and deadlines; each answers exactly once."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.causality import decode, encode, merge, update
from roost.core.quorum import Answer, Effect, Effects, GetOp, PutOp, Repair, Send
from roost.core.ring import Replica
from roost.core.terms import ReadTerms, WriteTerms
from roost.errors import DeadlineExceeded, NoQuorum

OLD = encode(update(None, None, 1, b"old"))
NEW = encode(update(decode(OLD), None, 1, b"new"))
OTHER = encode(update(None, None, 2, b"other"))


def replicas(n: int) -> list[Replica]:
    return [Replica(number, f"n{number}", True) for number in range(n)]


def answers(effects: list[Effect]) -> list[Answer]:
    return [one for one in effects if isinstance(one, Answer)]


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 3),
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["ok", "fail", "deadline"])), max_size=20),
)
@settings(max_examples=300)
def test_a_put_answers_once_and_rightly(n: int, needed: int, spares: int, story: list[tuple[int, str]]) -> None:
    asked = replicas(n)
    op = PutOp(asked, WriteTerms(3, needed), [f"s{number}" for number in range(spares)])
    effects: list[Effect] = list(op.begin())
    if needed > n:
        assert [type(one.error) for one in answers(effects)] == [NoQuorum]
        return
    acks = failures = 0
    expected: type[Exception] | None = None
    is_expected = False
    for which, event in story:
        if event == "deadline":
            effects += op.deadline_passed(1.0)
            expected, is_expected = (expected, True) if is_expected else (DeadlineExceeded, True)
            break
        if not asked:
            break
        replica = asked.pop(which % len(asked))
        if event == "ok":
            acks += 1
            effects += op.replied(replica)
        else:
            new = op.failed(replica)
            effects += new
            sends = [one.replica for one in new if isinstance(one, Send)]
            asked += sends
            assert all(one.slot == replica.slot and not one.is_primary for one in sends)
            failures += not sends
        if not is_expected and acks >= needed:
            expected, is_expected = None, True
        elif not is_expected and n - failures < needed:
            expected, is_expected = NoQuorum, True
    found = answers(effects)
    assert len(found) == is_expected
    assert op.is_answered == is_expected
    if is_expected:
        error = found[0].error
        assert (None if error is None else type(error)) is expected
        if isinstance(error, NoQuorum | DeadlineExceeded):
            assert error.got < error.needed == needed


def test_too_few_replicas_are_refused_before_anybody_is_asked() -> None:
    op = PutOp(replicas(1), WriteTerms(3, 2), ["spare"])
    (answer,) = op.begin()
    assert isinstance(answer, Answer)
    assert isinstance(answer.error, NoQuorum)
    assert (answer.error.got, answer.error.needed) == (1, 2)
    assert op.is_over


def test_a_put_names_those_that_answered_in_order() -> None:
    one, two, three = replicas(3)
    op = PutOp([one, two, three], WriteTerms(3, 2))
    assert op.begin() == ()
    assert op.replied(three) == ()
    assert op.replied(one) == (Answer(None),)
    assert op.nodes == ("n2", "n0")
    assert op.replied(two) == ()


def test_a_failed_replica_is_replaced_by_the_next_spare_in_its_partition() -> None:
    one, two = replicas(2)
    op = PutOp([one, two], WriteTerms(3, 2), ["s0", "s1"])
    assert op.failed(two) == (Send(Replica(1, "s0", False)),)
    assert op.failed(Replica(1, "s0", False)) == (Send(Replica(1, "s1", False)),)
    (answer,) = op.failed(Replica(1, "s1", False))
    assert isinstance(answer, Answer)
    assert isinstance(answer.error, NoQuorum)
    assert (answer.error.got, answer.error.needed) == (1, 2)


def test_nothing_follows_the_deadline() -> None:
    one, two, three = replicas(3)
    op = GetOp([one, two, three], ReadTerms(3, 2), ["spare"])
    op.found_at(one, OLD)
    (answer,) = op.deadline_passed(0.5)
    assert isinstance(answer, Answer)
    assert isinstance(answer.error, DeadlineExceeded)
    assert (answer.error.got, answer.error.needed, answer.error.timeout_s) == (1, 2, 0.5)
    assert op.found_at(two, NEW) == op.failed(three) == op.deadline_passed(0.5) == ()
    assert op.found == OLD
    put = PutOp([one, two, three], WriteTerms(3, 3))
    put.replied(one)
    put.deadline_passed(0.5)
    assert put.replied(two) == put.failed(three) == ()
    assert put.nodes == ("n0",)


def test_a_read_answers_after_r_and_repairs_after_all() -> None:
    one, two, three = replicas(3)
    op = GetOp([one, two, three], ReadTerms(3, 2))
    assert op.found_at(one, OLD) == ()
    assert op.found_at(two, None) == (Answer(None),)
    assert op.found == OLD
    assert not op.is_over
    assert op.found_at(three, NEW) == (Repair(NEW, (one, two)),)
    assert op.is_over


def test_a_read_from_all_answers_and_repairs_in_one_step() -> None:
    one, two = replicas(2)
    op = GetOp([one, two], ReadTerms(3, 2))
    op.found_at(one, OLD)
    both = encode(merge(decode(OLD), decode(OTHER)))
    assert op.found_at(two, OTHER) == (Answer(None), Repair(both, (one, two)))


def test_replicas_that_agree_are_not_repaired() -> None:
    one, two, three = replicas(3)
    op = GetOp([one, two, three], ReadTerms(3, 1))
    assert op.found_at(one, NEW) == (Answer(None),)
    assert op.found_at(two, NEW) == op.found_at(three, NEW) == ()
    nothing = GetOp([one, two], ReadTerms(3, 1))
    assert nothing.found_at(one, None) == (Answer(None),)
    assert nothing.found_at(two, None) == ()
    assert nothing.found is None


def test_what_answered_is_repaired_when_the_last_one_fails_or_is_late() -> None:
    one, two, three = replicas(3)
    op = GetOp([one, two, three], ReadTerms(3, 2))
    op.found_at(one, OLD)
    op.found_at(two, NEW)
    assert op.failed(three) == (Repair(NEW, (one,)),)
    late = GetOp([one, two, three], ReadTerms(3, 2))
    late.found_at(one, OLD)
    late.found_at(two, NEW)
    assert late.deadline_passed(1.0) == (Repair(NEW, (one,)),)


def test_what_is_no_object_changes_nothing() -> None:
    one, two = replicas(2)
    op = GetOp([one, two], ReadTerms(3, 2))
    op.found_at(one, OLD)
    with pytest.raises(msgspec.MsgspecError):
        op.found_at(two, b"\x01")
    assert (op.found, op.open) == (OLD, 1)


@given(st.permutations([(0, OLD), (1, NEW), (2, OTHER), (3, None)]))
def test_a_read_finds_the_same_in_every_order(story: list[tuple[int, bytes | None]]) -> None:
    everyone = replicas(4)
    op = GetOp(everyone, ReadTerms(3, 4))
    effects: list[Effect] = []
    for number, found in story:
        effects += op.found_at(everyone[number], found)
    assert op.found == encode(merge(decode(NEW), decode(OTHER)))
    (repair,) = [one for one in effects if isinstance(one, Repair)]
    assert sorted(repair.replicas) == everyone


def played(op: PutOp, story: list[tuple[Replica, str]]) -> list[Effect]:
    """What follows from begin, and from each reply: "yes", "no", "nothing", "disk" or "no disk"."""
    effects: list[Effect] = list(op.begin())
    for replica, event in story:
        if event == "no":
            effects += op.failed(replica)
        elif event in ("disk", "no disk"):
            effects += op.flushed(event == "disk")
        elif isinstance(op, GetOp):
            effects += op.found_at(replica, None if event == "nothing" else NEW)
        else:
            effects += op.replied(replica)
    return effects


def refused(effects: list[Effect]) -> tuple[int, int, str]:
    (answer,) = answers(effects)
    assert isinstance(answer.error, NoQuorum)
    return answer.error.got, answer.error.needed, answer.error.what


@pytest.mark.parametrize("n", range(1, 6))
def test_a_read_fails_after_n_less_the_greater_of_r_and_pr_plus_one_failures(n: int) -> None:
    for r in range(1, n + 1):
        for pr in range(n + 1):
            everyone = replicas(n)
            op = GetOp(everyone, ReadTerms(n, r, pr))
            allowed = n - max(r, pr)
            assert answers(played(op, [(one, "no") for one in everyone[:allowed]])) == []
            got, needed, what = refused(list(op.failed(everyone[allowed])))
            assert (got, needed) == (n - allowed - 1, max(r, pr))
            assert what == ("r" if r >= pr else "pr")


@pytest.mark.parametrize("n", range(1, 6))
def test_a_read_with_basic_quorum_fails_after_more_than_half_if_that_is_sooner(n: int) -> None:
    for r in range(1, n + 1):
        everyone = replicas(n)
        op = GetOp(everyone, ReadTerms(n, r, basic_quorum=True))
        allowed = min(n // 2 + 1, n - r + 1) - 1
        assert answers(played(op, [(one, "no") for one in everyone[:allowed]])) == []
        assert refused(list(op.failed(everyone[allowed])))[1:] == (r, "r")


def test_a_read_that_takes_nothing_for_an_answer_is_done_with_it() -> None:
    one, two, three = replicas(3)
    assert answers(played(GetOp([one, two, three], ReadTerms(3, 1)), [(two, "nothing")])) == [Answer(None)]


def test_a_read_that_does_not_takes_the_copy_that_comes_later() -> None:
    one, two, three = replicas(3)
    op = GetOp([one, two, three], ReadTerms(3, 1, notfound_ok=False))
    assert answers(played(op, [(one, "nothing"), (two, "nothing")])) == []
    assert op.found_at(three, NEW) == (Answer(None), Repair(NEW, (one, two)))
    assert (op.found, op.counted) == (NEW, 1)


def test_a_read_of_what_nobody_has_finds_nothing() -> None:
    one, two, three = replicas(3)
    for r, asked in ((1, 3), (2, 2), (3, 1)):
        op = GetOp([one, two, three], ReadTerms(3, r, notfound_ok=False))
        story = [(replica, "nothing") for replica in (one, two, three)]
        assert answers(played(op, story[: asked - 1])) == []
        op = GetOp([one, two, three], ReadTerms(3, r, notfound_ok=False))
        assert answers(played(op, story[:asked])) == [Answer(None)]
        assert op.found is None
    quick = GetOp([one, two, three], ReadTerms(3, 1, notfound_ok=False, basic_quorum=True))
    assert answers(played(quick, [(one, "nothing"), (two, "nothing")])) == [Answer(None)]


@pytest.mark.parametrize("other", ["yes", "no"])
def test_nothing_is_not_believed_when_another_replica_failed_or_has_something(other: str) -> None:
    one, two, three = replicas(3)
    op = GetOp([one, two, three], ReadTerms(3, 2, notfound_ok=False))
    assert refused(played(op, [(one, other), (two, "nothing"), (three, "nothing")])) == (1, 2, "r")
    short = GetOp([one], ReadTerms(3, 1, notfound_ok=False))
    assert refused(played(short, [(one, "nothing")])) == (0, 1, "r")


def test_answers_of_stand_ins_do_not_count_for_primaries() -> None:
    one, two, _ = replicas(3)
    stand_in = Replica(2, "s", False)
    for op in (PutOp([one, two, stand_in], WriteTerms(3, 1, 2)), GetOp([one, two, stand_in], ReadTerms(3, 1, 2))):
        assert answers(played(op, [(stand_in, "yes"), (one, "yes")])) == []
        effects = op.found_at(two, NEW) if isinstance(op, GetOp) else op.replied(two)
        assert effects == (Answer(None),)
        assert op.counted == 3


def test_too_few_primaries_are_refused_before_anybody_is_asked() -> None:
    one, two, _ = replicas(3)
    stand_in = Replica(2, "s", False)
    assert refused(played(PutOp([one, two, stand_in], WriteTerms(3, 1, 3)), [])) == (2, 3, "pw")
    assert refused(played(GetOp([one, two, stand_in], ReadTerms(3, 1, 3)), [])) == (2, 3, "pr")
    error = PutOp([one, two, stand_in], WriteTerms(3, 1, 3)).refusal()
    assert str(error) == "2 of the 3 primaries needed (pw) could answer"


def test_a_spare_does_not_help_when_a_primary_is_needed() -> None:
    one, two, three = replicas(3)
    assert refused(played(PutOp([one, two, three], WriteTerms(3, 1, 3), ["s"]), [(one, "no")])) == (2, 3, "pw")


def test_different_nodes_must_confirm_and_a_spare_is_one() -> None:
    one, two, three = replicas(3)
    op = PutOp([one, two, three], WriteTerms(3, 1, nodes=3), ["s"])
    spare = Replica(1, "s", False)
    assert played(op, [(one, "yes"), (two, "no")]) == [Send(spare)]
    assert played(op, [(spare, "yes")]) == []
    assert op.replied(three) == (Answer(None),)
    none_left = PutOp([one, two, three], WriteTerms(3, 1, nodes=3))
    assert refused(played(none_left, [(one, "no")])) == (2, 3, "node_confirms")


def test_one_node_that_answers_twice_confirms_once() -> None:
    one, two = Replica(0, "a", True), Replica(1, "a", True)
    assert refused(played(PutOp([one, two], WriteTerms(2, 1, nodes=2)), [])) == (1, 2, "node_confirms")
    other = Replica(2, "b", True)
    op = PutOp([one, two, other], WriteTerms(3, 1, nodes=2))
    assert played(op, [(one, "yes"), (two, "yes")]) == []
    assert op.replied(other) == (Answer(None),)


def test_a_staged_write_counts_what_is_received_and_what_is_on_disk() -> None:
    one, two, three = replicas(3)
    op = PutOp([one, two, three], WriteTerms(3, 2, durable=1))
    assert played(op, [(one, "yes"), (two, "yes")]) == []
    assert op.flushed(True) == (Answer(None),)
    early = PutOp([one, two, three], WriteTerms(3, 2, durable=1))
    assert answers(played(early, [(one, "yes"), (one, "disk")])) == []
    assert early.replied(three) == (Answer(None),)
    assert early.flushed(True) == early.flushed(False) == ()


def test_a_staged_write_fails_when_too_few_disks_are_left() -> None:
    one, two, three = replicas(3)
    op = PutOp([one, two, three], WriteTerms(3, 3, durable=2), ["s"])
    assert answers(played(op, [(one, "yes"), (one, "no disk"), (two, "yes")])) == []
    assert refused(played(op, [(two, "no disk")])) == (1, 2, "dw")
    helped = PutOp([one, two, three], WriteTerms(3, 3, durable=2), ["s"])
    spare = Replica(0, "s", False)
    assert played(helped, [(one, "no"), (one, "no disk"), (two, "yes"), (two, "no disk")]) == [Send(spare)]
    assert played(helped, [(spare, "yes"), (spare, "disk"), (three, "yes")]) == []
    assert helped.flushed(True) == (Answer(None),)


def test_what_is_counted_on_disk_only_needs_no_second_answer() -> None:
    one, two, three = replicas(3)
    op = PutOp([one, two, three], WriteTerms(3, 1, durable=2))
    assert played(op, [(one, "yes")]) == []
    assert op.replied(two) == (Answer(None),)
    assert refused(played(PutOp([one], WriteTerms(3, 1, durable=2)), [])) == (1, 2, "dw")


def test_the_deadline_names_what_was_missing() -> None:
    one, two, three = replicas(3)
    stand_in = Replica(2, "s", False)
    cases: list[tuple[PutOp, list[tuple[Replica, str]], tuple[int, int, str]]] = [
        (PutOp([one, two, three], WriteTerms(3, 2)), [(one, "yes")], (1, 2, "w")),
        (PutOp([one, two, stand_in], WriteTerms(3, 1, 2)), [(stand_in, "yes"), (one, "yes")], (1, 2, "pw")),
        (PutOp([one, two, three], WriteTerms(3, 2, durable=1)), [(one, "yes"), (two, "yes")], (0, 1, "dw")),
        (GetOp([one, two, three], ReadTerms(3, 1, nodes=2)), [(one, "yes")], (1, 2, "node_confirms")),
    ]
    for op, story, missing in cases:
        assert answers(played(op, story)) == []
        answer = op.deadline_passed(0.5)[0]
        assert isinstance(answer, Answer)
        error = answer.error
        assert isinstance(error, DeadlineExceeded)
        assert (error.got, error.needed, error.what) == missing
        assert error.what in str(error)


def test_stand_ins_are_not_repaired() -> None:
    one, two, _ = replicas(3)
    stand_in = Replica(2, "s", False)
    op = GetOp([one, two, stand_in], ReadTerms(3, 2))
    assert played(op, [(stand_in, "nothing"), (one, "yes"), (two, "yes")]) == [Answer(None)]
    both = GetOp([one, two, stand_in], ReadTerms(3, 2))
    assert played(both, [(stand_in, "nothing"), (one, "yes"), (two, "nothing")])[1:] == [Repair(NEW, (two,))]


def test_a_hedged_read_asks_one_more_for_each_that_is_late_and_then_nobody() -> None:
    one, two, three = replicas(3)
    op = GetOp([one], ReadTerms(3, 1), ["spare"], [two, three])
    assert op.begin() == ()
    assert op.hedge() == (Send(two),)
    assert op.found_at(two, NEW) == (Answer(None),)
    assert op.hedge() == ()
    assert not op.is_over
    assert op.found_at(one, NEW) == ()
    assert op.is_over


def test_a_hedged_read_asks_the_rest_before_the_spares_when_one_fails() -> None:
    one, two, three = replicas(3)
    op = GetOp([one, two], ReadTerms(3, 2), ["spare"], [three])
    assert op.failed(one) == (Send(three),)
    assert op.failed(three) == (Send(Replica(2, "spare", False)),)
    assert op.found_at(two, NEW) == ()
    assert refused(list(op.failed(Replica(2, "spare", False)))) == (1, 2, "r")


def test_a_hedged_read_asks_on_when_nothing_does_not_count() -> None:
    one, two, three = replicas(3)
    op = GetOp([one], ReadTerms(3, 1, notfound_ok=False), (), [two, three])
    assert op.found_at(one, None) == (Send(two),)
    assert op.found_at(two, None) == (Send(three),)
    assert op.found_at(three, NEW) == (Answer(None), Repair(NEW, (one, two)))


def test_a_hedged_read_whose_replicas_differ_asks_the_rest_in_order_to_repair_them() -> None:
    one, two, three = replicas(3)
    op = GetOp([one, two], ReadTerms(3, 2), (), [three])
    op.found_at(one, OLD)
    assert op.found_at(two, NEW) == (Answer(None), Send(three))
    assert not op.is_over
    assert op.found_at(three, None) == (Repair(NEW, (one, three)),)
    assert op.is_over


def test_nothing_is_asked_after_the_deadline_of_a_hedged_read() -> None:
    one, two, three = replicas(3)
    op = GetOp([one, two], ReadTerms(3, 2), (), [three])
    op.found_at(one, OLD)
    assert len(op.deadline_passed(1.0)) == 1
    assert op.hedge() == ()
    assert op.is_over


EVENTS = st.sampled_from(["yes", "nothing", "no", "late"])


@given(
    st.integers(1, 5),
    st.data(),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 7), EVENTS), max_size=30),
)
@settings(max_examples=400)
def test_a_read_answers_once_whatever_its_terms(
    n: int,
    data: st.DataObject,
    spares: int,
    notfound_ok: bool,
    basic_quorum: bool,
    is_hedged: bool,
    story: list[tuple[int, str]],
) -> None:
    r, pr, nodes = data.draw(st.integers(1, n)), data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
    down = data.draw(st.integers(0, n))
    everyone = [one if one.slot >= down else Replica(one.slot, f"f{one.slot}", False) for one in replicas(n)]
    terms = ReadTerms(n, r, pr, nodes, notfound_ok=notfound_ok, basic_quorum=basic_quorum, is_hedged=is_hedged)
    first = max(r, pr, nodes) if is_hedged else n
    op = GetOp(everyone[:first], terms, [f"s{number}" for number in range(spares)], everyone[first:])
    asked = everyone[:first]
    counted: list[Replica] = []
    effects: list[Effect] = []

    def do(new: Effects) -> None:
        effects.extend(new)
        asked.extend(one.replica for one in new if isinstance(one, Send))

    do(op.begin())
    for which, event in [*story, *[(0, "yes")] * 3 * n]:
        if event == "late":
            do(op.hedge())
            continue
        if not asked or op.is_over:
            break
        replica = asked.pop(which % len(asked))
        if event != "no" and (event == "yes" or notfound_ok) and not op.is_answered:
            counted.append(replica)
        do(op.failed(replica) if event == "no" else op.found_at(replica, NEW if event == "yes" else None))
        if op.is_answered and len(answers(effects)) == 1 and answers(effects)[0].error is None and op.counted:
            assert len(counted) == op.counted >= r
            assert sum(one.is_primary for one in counted) >= pr
            assert len({one.node for one in counted}) >= nodes
    assert len(answers(effects)) == 1, "when everybody has answered, so has it"
    assert op.is_answered
