"""What may happen to a cluster-wide name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roost.core.global_name import NOBODY, Change, Owner, Sighting, claim, follow, release, renew, title_of, voters

MEMBERS = ("a", "b", "c")
ADA, BOB = Owner("a", 1, 7), Owner("b", 1, 7)


def after(*changes: Change) -> bytes | None:
    """What the register holds when all of them are made; one that refuses changes nothing."""
    value: bytes | None = None
    for change in changes:
        value = change(value) or value
    return value


def test_a_name_is_taken_by_the_first_and_refused_to_the_second() -> None:
    value = after(claim(ADA, MEMBERS, None))
    assert title_of(value).owner == ADA
    assert title_of(value).epoch == 1
    assert claim(BOB, MEMBERS, None)(value) is None
    assert title_of(claim(ADA, MEMBERS, None)(value)).epoch == 1, "the same owner has the same epoch"


def test_a_lease_that_is_over_is_taken_unless_it_was_renewed() -> None:
    value = after(claim(ADA, MEMBERS, None))
    seen = Sighting(1, 0)
    taken = title_of(claim(BOB, MEMBERS, seen)(value))
    assert (taken.owner, taken.epoch) == (BOB, 2)
    assert claim(BOB, MEMBERS, seen)(renew(ADA, 1, MEMBERS)(value)) is None


def test_an_owner_that_has_lost_the_name_neither_renews_nor_releases_it() -> None:
    value = after(claim(ADA, MEMBERS, None), claim(BOB, MEMBERS, Sighting(1, 0)))
    assert renew(ADA, 1, MEMBERS)(value) is None
    assert release(ADA, 1, MEMBERS)(value) is None
    assert renew(BOB, 1, MEMBERS)(value) is None


def test_the_epoch_survives_that_a_name_is_given_back() -> None:
    value = after(claim(ADA, MEMBERS, None), release(ADA, 1, MEMBERS))
    assert title_of(value).owner is None
    assert title_of(claim(ADA, MEMBERS, None)(value)).epoch == 2


def test_the_voters_are_those_that_the_value_names() -> None:
    electorate = voters(MEMBERS)
    assert electorate(None) == set(MEMBERS)
    value = after(claim(ADA, ("a", "b"), None))
    assert electorate(value) == {"a", "b"}
    assert electorate(follow(MEMBERS)(value)) == set(MEMBERS)
    assert follow(("a", "b"))(value) == value
    assert follow(MEMBERS)(None) is None
    assert title_of(None) == NOBODY


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "lapsed", "renew", "release", "follow"]),
        st.sampled_from([ADA, BOB]),
        st.integers(0, 4),
        st.integers(0, 3),
    )
)


@given(STEPS)
def test_epochs_never_fall_and_no_two_owners_share_one(steps: list[tuple[str, Owner, int, int]]) -> None:
    value: bytes | None = None
    owners: dict[int, Owner] = {}
    for act, owner, epoch, renewal in steps:
        changes: dict[str, Change] = {
            "claim": claim(owner, MEMBERS, None),
            "lapsed": claim(owner, MEMBERS, Sighting(epoch, renewal)),
            "renew": renew(owner, epoch, MEMBERS),
            "release": release(owner, epoch, MEMBERS),
            "follow": follow(("a",)),
        }
        before = title_of(value)
        value = changes[act](value) or value
        title = title_of(value)
        assert title.epoch >= before.epoch
        if title.owner is not None:
            assert owners.setdefault(title.epoch, title.owner) == title.owner
        if before.owner is not None and title.owner not in (None, before.owner):
            assert act == "lapsed"
