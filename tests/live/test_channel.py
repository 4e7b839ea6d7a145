"""What a channel class may say of itself."""

from __future__ import annotations

import pytest

from roost.live.channel import Channel


@pytest.mark.parametrize("topic", ["", "room:*:x", "*:x"])
def test_a_topic_has_its_star_at_the_end_or_nowhere(topic: str) -> None:
    with pytest.raises(TypeError, match="only at its end"):
        type("Room", (Channel,), {}, topic=topic)


def test_init_may_not_wait() -> None:
    async def init(self: Channel, topic: str, seat: object) -> None: ...

    with pytest.raises(TypeError, match="belongs into join"):
        type("Room", (Channel,), {"init": init}, topic="room:*")
