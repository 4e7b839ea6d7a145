"""What a channel class may say of itself."""

from __future__ import annotations

import pytest

from roost.live.channel import Channel, Payload, event, intercept


@pytest.mark.parametrize("topic", ["", "room:*:x", "*:x"])
def test_a_topic_has_its_star_at_the_end_or_nowhere(topic: str) -> None:
    with pytest.raises(TypeError, match="only at its end"):
        type("Room", (Channel,), {}, topic=topic)


def test_two_handlers_of_one_event_are_refused() -> None:
    with pytest.raises(TypeError, match="one and two both declare 'say'"):

        class Said(Channel, topic="said"):
            @event("say")
            def one(self, payload: object) -> None: ...

            @event("say")
            def two(self, payload: object) -> None: ...

    with pytest.raises(TypeError, match="one and two both declare 'said'"):

        class Heard(Channel, topic="heard"):
            @intercept("said")
            def one(self, payload: object) -> None: ...

            @intercept("said")
            def two(self, payload: object) -> None: ...


def test_a_subclass_may_handle_an_event_of_its_base_anew() -> None:
    class Base(Channel, topic="base"):
        @event("say")
        def say(self, payload: object) -> None: ...

    class Loud(Base, topic="loud"):
        @event("say")
        def shout(self, payload: object) -> None: ...

    assert Loud.__events__["say"].function.__name__ == "shout"


def test_init_may_not_wait() -> None:
    async def init(self: Channel, topic: str, seat: object) -> None: ...

    with pytest.raises(TypeError, match="belongs into join"):
        type("Room", (Channel,), {"init": init}, topic="room:*")


class Base(Channel, topic="base"):
    """Declares events."""

    @event("one")
    def first(self, payload: Payload) -> str:
        return "base"

    @event("two")
    async def second(self, payload: Payload) -> None: ...

    @intercept("news")
    def news(self, payload: Payload) -> None: ...


class Derived(Base, topic="derived"):
    """Declares one of them anew, and one more."""

    @event("one")
    def other(self, payload: Payload) -> str:
        return "derived"

    @event("three")
    def third(self, payload: Payload) -> None: ...


def test_a_class_has_the_events_of_its_bases_and_may_declare_them_anew() -> None:
    assert sorted(Base.__events__) == ["one", "two"]
    assert sorted(Derived.__events__) == ["one", "three", "two"]
    assert (Base.__events__["one"].name, Derived.__events__["one"].name) == ("first", "other")
    assert list(Derived.__intercepts__) == ["news"]


def test_what_is_not_declared_is_no_event() -> None:
    assert not {"join", "terminate", "push", "broadcast", "track", "__init__"} & set(Derived.__events__)


def test_a_topic_is_inherited_when_none_is_named() -> None:
    assert type("Same", (Derived,), {}).__pattern__ == "derived"  # type: ignore[attr-defined]  # made at run time
