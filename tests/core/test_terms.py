"""Terms: what a caller asks for becomes numbers, or a refusal that names the parameter."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.terms import (
    Keeper,
    ReadOptions,
    ReadTerms,
    TermsBook,
    WriteOptions,
    WriteTerms,
    check_terms,
    majority,
    resolve_read,
    resolve_write,
)
from roost.errors import InvalidQuorum
from roost.limits import TERMS_REMEMBERED

PLAIN = Keeper("the bucket 'b'", 3)
WITH_DISK = Keeper("the bucket 'b'", 3, False, True)
DURABLE = Keeper("the bucket 'b'", 3, True, True)


def write(options: WriteOptions, usual: WriteOptions | None = None, keeper: Keeper = PLAIN) -> WriteTerms:
    return resolve_write(options, usual or {}, keeper, 5)


def read(options: ReadOptions, usual: ReadOptions | None = None) -> ReadTerms:
    return resolve_read(options, usual or {}, PLAIN, 5)


def test_a_majority_is_more_than_half() -> None:
    assert [majority(n) for n in range(1, 6)] == [1, 2, 2, 3, 3]


def test_what_is_not_said_is_the_usual() -> None:
    assert write({}) == WriteTerms(3, 2)
    assert read({}) == ReadTerms(3, 2)
    assert write({"w": None, "n": None, "sloppy": None}) == WriteTerms(3, 2)
    assert write({}, {"w": 1, "pw": "all", "sloppy": False}) == WriteTerms(3, 1, 3, 0, False)
    assert read({}, {"r": "all", "hedge": True, "notfound_ok": False}) == ReadTerms(
        3, 3, notfound_ok=False, is_hedged=True
    )


def test_what_is_said_counts_more_than_what_is_declared() -> None:
    assert write({"w": 3, "sloppy": True}, {"w": 1, "sloppy": False}) == WriteTerms(3, 3)
    assert read({"hedge": False, "r": "default"}, {"hedge": True, "r": 1}) == ReadTerms(3, 1)


def test_names_are_numbers_of_n() -> None:
    for n in (1, 2, 3):
        for name, number in (("one", 1), ("quorum", majority(n)), ("all", n)):
            options = cast(WriteOptions, {"n": n, "w": name, "pw": name, "node_confirms": name})
            assert write(options) == WriteTerms(n, number, number, number)
            assert read(cast(ReadOptions, {"n": n, "r": name, "pr": name})) == ReadTerms(n, number, number)


def test_what_is_declared_counts_up_to_the_number_of_copies_there_are() -> None:
    assert resolve_write({}, {"w": 3, "pw": 2}, PLAIN, 1) == WriteTerms(1, 1, 1)
    assert resolve_read({"n": 2}, {"r": 3}, PLAIN, 5) == ReadTerms(2, 2)


def test_a_durable_bucket_counts_what_is_on_disk() -> None:
    assert write({}, keeper=DURABLE).durable == 2
    assert write({"w": "all"}, keeper=DURABLE).durable == 3
    staged = write({"w": "all", "dw": "one"}, keeper=DURABLE)
    assert (staged.needed, staged.durable) == (3, 1)
    more = write({"w": 1, "dw": 3}, keeper=WITH_DISK)
    assert (more.needed, more.durable) == (1, 3)
    assert write({}, keeper=WITH_DISK).durable == 0


@pytest.mark.parametrize(
    ("options", "keeper", "wrong"),
    [
        ({"n": 0}, PLAIN, "n"),
        ({"n": 4}, PLAIN, "n"),
        ({"n": 6}, Keeper("it", 8), "n"),
        ({"w": 0}, PLAIN, "w"),
        ({"w": 4}, PLAIN, "w"),
        ({"n": 2, "w": 3}, PLAIN, "w"),
        ({"w": "most"}, PLAIN, "w"),
        ({"w": True}, PLAIN, "w"),
        ({"w": 1.5}, PLAIN, "w"),
        ({"pw": -1}, PLAIN, "pw"),
        ({"n": 2, "pw": 3}, PLAIN, "pw"),
        ({"node_confirms": 4}, PLAIN, "node_confirms"),
        ({"dw": 1}, PLAIN, "dw"),
        ({"dw": 4}, WITH_DISK, "dw"),
        ({"dw": 0}, DURABLE, "dw"),
    ],
)
def test_what_can_never_be_is_refused_by_name(options: dict[str, object], keeper: Keeper, wrong: str) -> None:
    with pytest.raises(InvalidQuorum) as caught:
        write(cast(WriteOptions, options), keeper=keeper)
    assert caught.value.parameter == wrong
    assert str(caught.value).startswith(f"{wrong}=")


def test_reads_are_checked_too() -> None:
    for name in ("n", "r", "pr", "node_confirms"):
        with pytest.raises(InvalidQuorum) as caught:
            read(cast(ReadOptions, {name: 4}))
        assert caught.value.parameter == name
    with pytest.raises(InvalidQuorum, match="the bucket 'b' keeps 3 copies"):
        read({"n": 4})


def test_an_option_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="there is no option 'r'"):
        write(cast(WriteOptions, {"r": 1}))
    with pytest.raises(TypeError, match="there is no option 'speed'"):
        read(cast(ReadOptions, {"speed": 1}))


@given(
    st.builds(
        WriteTerms,
        *[st.integers(-1, 6) for _ in range(4)],
        st.booleans(),
        st.integers(-1, 6),
    )
)
def test_numbers_of_other_nodes_are_in_their_ranges_or_refused(terms: WriteTerms) -> None:
    rest = (terms.durable, terms.primaries, terms.nodes)
    possible = 1 <= terms.n <= 5 and 1 <= terms.needed <= terms.n and all(0 <= one <= terms.n for one in rest)
    try:
        check_terms(terms, 5)
    except InvalidQuorum:
        assert not possible
    else:
        assert possible


def test_a_book_remembers_what_options_mean_and_not_too_many() -> None:
    book = TermsBook(resolve_write, WriteOptions(w=1), PLAIN)
    assert book.terms({}, 5) is book.terms({}, 5)
    assert book.terms({}, 2) == WriteTerms(2, 1)
    assert book.terms({"w": 3}, 5) == WriteTerms(3, 3)
    for members in range(3, 3 * TERMS_REMEMBERED):
        assert book.terms({"w": 2}, members) == WriteTerms(3, 2)
    with pytest.raises(InvalidQuorum):
        book.terms({"w": 2}, 1)


def test_a_book_refuses_what_is_declared_and_never_possible() -> None:
    with pytest.raises(InvalidQuorum):
        TermsBook(resolve_write, WriteOptions(w=4), PLAIN)
