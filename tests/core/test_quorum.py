"""Operations are fed every order of replies, failures and deadlines; each answers exactly once."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.causality import decode, encode, merge, update
from roost.core.quorum import Answer, Effect, GetOp, PutOp, Repair, Send, check_quorum, majority
from roost.core.ring import Replica
from roost.errors import DeadlineExceeded, InvalidQuorum, NoQuorum

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
    op = PutOp(asked, needed, [f"s{number}" for number in range(spares)])
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
            assert all(one.partition == replica.partition and not one.is_primary for one in sends)
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
    op = PutOp(replicas(1), 2, ["spare"])
    (answer,) = op.begin()
    assert isinstance(answer, Answer)
    assert isinstance(answer.error, NoQuorum)
    assert (answer.error.got, answer.error.needed) == (1, 2)
    assert op.is_over


def test_a_put_names_those_that_answered_in_order() -> None:
    one, two, three = replicas(3)
    op = PutOp([one, two, three], 2)
    assert op.begin() == ()
    assert op.replied(three) == ()
    assert op.replied(one) == (Answer(None),)
    assert op.nodes == ("n2", "n0")
    assert op.replied(two) == ()


def test_a_failed_replica_is_replaced_by_the_next_spare_in_its_partition() -> None:
    one, two = replicas(2)
    op = PutOp([one, two], 2, ["s0", "s1"])
    assert op.failed(two) == (Send(Replica(1, "s0", False)),)
    assert op.failed(Replica(1, "s0", False)) == (Send(Replica(1, "s1", False)),)
    (answer,) = op.failed(Replica(1, "s1", False))
    assert isinstance(answer, Answer)
    assert isinstance(answer.error, NoQuorum)
    assert (answer.error.got, answer.error.needed) == (1, 2)


def test_nothing_follows_the_deadline() -> None:
    one, two, three = replicas(3)
    op = GetOp([one, two, three], 2, ["spare"])
    op.found_at(one, OLD)
    (answer,) = op.deadline_passed(0.5)
    assert isinstance(answer, Answer)
    assert isinstance(answer.error, DeadlineExceeded)
    assert (answer.error.got, answer.error.needed, answer.error.timeout_s) == (1, 2, 0.5)
    assert op.found_at(two, NEW) == op.failed(three) == op.deadline_passed(0.5) == ()
    assert op.found == OLD
    put = PutOp([one, two, three], 3)
    put.replied(one)
    put.deadline_passed(0.5)
    assert put.replied(two) == put.failed(three) == ()
    assert put.nodes == ("n0",)


def test_a_read_answers_after_r_and_repairs_after_all() -> None:
    one, two, three = replicas(3)
    op = GetOp([one, two, three], 2)
    assert op.found_at(one, OLD) == ()
    assert op.found_at(two, None) == (Answer(None),)
    assert op.found == OLD
    assert not op.is_over
    assert op.found_at(three, NEW) == (Repair(NEW, (one, two)),)
    assert op.is_over


def test_a_read_from_all_answers_and_repairs_in_one_step() -> None:
    one, two = replicas(2)
    op = GetOp([one, two], 2)
    op.found_at(one, OLD)
    both = encode(merge(decode(OLD), decode(OTHER)))
    assert op.found_at(two, OTHER) == (Answer(None), Repair(both, (one, two)))


def test_replicas_that_agree_are_not_repaired() -> None:
    one, two, three = replicas(3)
    op = GetOp([one, two, three], 1)
    assert op.found_at(one, NEW) == (Answer(None),)
    assert op.found_at(two, NEW) == op.found_at(three, NEW) == ()
    nothing = GetOp([one, two], 1)
    assert nothing.found_at(one, None) == (Answer(None),)
    assert nothing.found_at(two, None) == ()
    assert nothing.found is None


def test_what_answered_is_repaired_when_the_last_one_fails_or_is_late() -> None:
    one, two, three = replicas(3)
    op = GetOp([one, two, three], 2)
    op.found_at(one, OLD)
    op.found_at(two, NEW)
    assert op.failed(three) == (Repair(NEW, (one,)),)
    late = GetOp([one, two, three], 2)
    late.found_at(one, OLD)
    late.found_at(two, NEW)
    assert late.deadline_passed(1.0) == (Repair(NEW, (one,)),)


def test_what_is_no_object_changes_nothing() -> None:
    one, two = replicas(2)
    op = GetOp([one, two], 2)
    op.found_at(one, OLD)
    with pytest.raises(msgspec.MsgspecError):
        op.found_at(two, b"\x01")
    assert (op.found, op.open) == (OLD, 1)


@given(st.permutations([(0, OLD), (1, NEW), (2, OTHER), (3, None)]))
def test_a_read_finds_the_same_in_every_order(story: list[tuple[int, bytes | None]]) -> None:
    everyone = replicas(4)
    op = GetOp(everyone, 4)
    effects: list[Effect] = []
    for number, found in story:
        effects += op.found_at(everyone[number], found)
    assert op.found == encode(merge(decode(NEW), decode(OTHER)))
    (repair,) = [one for one in effects if isinstance(one, Repair)]
    assert sorted(repair.replicas) == everyone


@pytest.mark.parametrize(("value", "n", "wrong"), [(1, 0, "n"), (1, 4, "n"), (0, 3, "w"), (4, 3, "w"), (3, 2, "w")])
def test_impossible_numbers_are_refused(value: int, n: int, wrong: str) -> None:
    with pytest.raises(InvalidQuorum) as caught:
        check_quorum("w", value, n, 3)
    assert caught.value.parameter == wrong


def test_possible_numbers_pass() -> None:
    for n in range(1, 4):
        for value in range(1, n + 1):
            check_quorum("r", value, n, 3)
    assert [majority(n) for n in range(1, 6)] == [1, 2, 2, 3, 3]
