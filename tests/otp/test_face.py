"""Methods that handles have beside the declared messages."""

from __future__ import annotations

import pytest

from roost.otp import GenServer, call, remote_handle
from roost.otp.face import face, is_face


class Shelf(GenServer):
    def init(self) -> None:
        self.books = 2

    @call
    def count(self) -> int:
        return self.books

    @face
    def describe(self, word: str = "shelf") -> str:
        """Says what the handle is."""
        return f"{word} of {self!r}"

    @call
    def label(self) -> str:
        return "asked"

    def burn(self) -> None:
        self.books = 0


class Labelled(Shelf):
    @face
    def label(self) -> str:  # type: ignore[override]  # what the base is asked, this one says at once
        return "read"

    def describe(self, word: str = "shelf") -> str:
        return word


async def test_it_runs_in_the_caller_and_sees_the_handle() -> None:
    shelf = await Shelf.start(name="top")
    assert shelf.describe() == "shelf of <Shelf 'top'>"
    assert shelf.with_timeout(1.0).describe("place") == "place of <Shelf 'top'>"
    assert type(shelf).describe is Shelf.describe, "a plain function, found without any detour"
    assert Shelf.describe.__doc__ == "Says what the handle is."
    with pytest.raises(AttributeError, match=r"Shelf\.burn: the state of a process is private"):
        shelf.burn()


async def test_a_nearer_class_decides() -> None:
    labelled = await Labelled.start()
    assert labelled.label() == "read"
    assert "label" not in Labelled.__calls__
    with pytest.raises(AttributeError, match=r"Labelled\.describe: the state of a process is private"):
        labelled.describe()


async def test_a_process_of_another_node_has_none() -> None:
    there = remote_handle(Labelled, "top", "b@host", None)  # type: ignore[arg-type]  # nothing is sent
    with pytest.raises(AttributeError, match="label works on processes of this node only, not on Labelled 'top' at b"):
        there.label()
    with pytest.raises(AttributeError, match="private"):
        there.describe()
    assert is_face(Labelled.label)
    assert not is_face(Labelled.describe)
