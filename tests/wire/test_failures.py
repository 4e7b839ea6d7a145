"""Declared errors cross with their facts; nothing else is ever built from what the wire says."""

from __future__ import annotations

import msgspec
import pytest

from roost.errors import BadMessage, CallTimeout, InvariantViolated, NoQuorum, ProcessDown, Refusal, RoostError
from roost.wire.failures import decode_failure, encode_failure


class SoldOut(Refusal):
    """An application's own refusal."""

    def __init__(self, sku: str, available: int) -> None:
        super().__init__(sku, available)
        self.sku, self.available = sku, available


def across(error: BaseException) -> RoostError:
    return decode_failure(*encode_failure(error, "hits on b@h"))


@pytest.mark.parametrize("error", [NoQuorum(1, 2), CallTimeout("b@h", 0.5), SoldOut("sku-42", 0)])
def test_a_declared_error_arrives_as_itself(error: RoostError) -> None:
    arrived = across(error)
    assert type(arrived) is type(error)
    assert arrived.facts() == error.facts()


@pytest.mark.parametrize("error", [KeyError("x"), InvariantViolated("bug")])
def test_any_other_error_arrives_as_process_down_with_its_text(error: BaseException) -> None:
    arrived = across(error)
    assert isinstance(arrived, ProcessDown)
    assert type(error).__name__ in arrived.reason


def test_an_undeclared_code_is_a_bad_message() -> None:
    assert isinstance(decode_failure("os.system", msgspec.msgpack.encode(["rm"])), BadMessage)


@pytest.mark.parametrize("facts", [["one", 2], [1], [1, 2, 3], "text"])
def test_wrong_facts_are_a_bad_message(facts: object) -> None:
    assert isinstance(decode_failure("no_quorum", msgspec.msgpack.encode(facts)), BadMessage)


class Expired(Refusal):
    """A refusal that is not made of its arguments, against the rule."""

    def __init__(self, ticket: type) -> None:
        super().__init__(ticket.__name__)


class Mute(Refusal):
    """A refusal that cannot even say what it is."""

    def __init__(self, number: int) -> None:
        super().__init__(number)

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_a_refusal_that_cannot_be_built_again_is_a_bad_message() -> None:
    assert isinstance(across(Expired(int)), BadMessage)


@pytest.mark.parametrize("error", [SoldOut("sku-42", 2**70), SoldOut("\ud800", 1), Mute(2**70)])
def test_a_refusal_that_cannot_be_encoded_is_a_bad_message(error: RoostError) -> None:
    assert isinstance(across(error), BadMessage)


def test_a_bug_whose_text_is_no_text_still_arrives() -> None:
    assert isinstance(across(OSError("\udcff")), ProcessDown)
