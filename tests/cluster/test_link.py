"""One link against a transport that the test holds in its hands: what one read may hold, and what a peer may do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
import pytest

from roost import limits
from roost.cluster.link import Link, Service
from roost.errors import BadMessage, Overloaded, Refusal, RoostError
from roost.runtime.clock import SystemClock
from roost.wire.frames import FrameReader, frame
from roost.wire.handshake import NONCE_BYTES, Denied, Handshake, Hello, Role, Word, decode_word, encode_word
from roost.wire.messages import Cast, Message, Refused, Reply, Request, decode_batch, encode_batch

A = Hello(2, 1, "meadow", "a@h", 1, "node", b"id", b"A" * NONCE_BYTES)
B = Hello(2, 1, "meadow", "b@h", 2, "node", b"id", b"B" * NONCE_BYTES)
COOKIE = b"cookie"

pack = msgspec.msgpack.encode


class Wire(asyncio.Transport):
    """Keeps what is written, and can be clogged."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = FrameReader(limits.FRAME_BYTES_MAX)
        self.written: list[bytes] = []
        self.clogged_bytes = 0
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.extend(bytes(payload) for payload in self.frames.feed(bytes(data)))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def get_write_buffer_size(self) -> int:
        return self.clogged_bytes

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True


class Noting:
    """A service that notes what it is asked and told; it refuses what it is made with."""

    def __init__(self, refusal: RoostError | None = None) -> None:
        self.heard: list[object] = []
        self.refusal = refusal

    def on_request(self, link: Link, request: Request) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.heard.append(msgspec.msgpack.decode(request.body))
        link.reply(request.id, pack(None))

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        self.heard.append(msgspec.msgpack.decode(body))


class House:
    """The owner of the link: it lets everybody in."""

    def __init__(self, service: Service) -> None:
        self.services: Mapping[str, Service] = {"noting": service}
        self.told: list[str] = []

    def services_for(self, role: Role) -> Mapping[str, Service]:
        return self.services

    def connected(self, link: Link) -> None:
        """Nothing to be done."""

    def admit(self, peer: Hello) -> None:
        self.told.append("admit")

    def opened(self, link: Link) -> None:
        self.told.append("opened")

    def doubted(self, node: str) -> None:
        self.told.append(f"doubted {node}")

    def closed(self, link: Link, reason: str) -> None:
        self.told.append("closed")

    def released(self, link: Link) -> None:
        """Nothing to be done."""


class Side:
    """A link in a house, on a wire. The other side is the test."""

    def __init__(self, service: Service | None = None, *, dials: bool = True) -> None:
        self.service = service or Noting()
        self.house = House(self.service)
        self.wire = Wire()
        self.link = Link(self.house, SystemClock(), Handshake(A, COOKIE, "b@h" if dials else None), dialled=dials)
        self.link.connection_made(self.wire)

    def hear(self, *payloads: bytes) -> None:
        """Everything arrives in one read."""
        self.link.data_received(b"".join(map(frame, payloads)))

    def open(self, *more: bytes) -> None:
        """Let the dialler in; its first batches come with the welcome."""
        acceptor = Handshake(B, COOKIE)
        challenge, _ = acceptor.step(self.word())
        assert challenge is not None
        self.hear(encode_word(challenge))
        welcome, _ = acceptor.step(self.word())
        assert welcome is not None
        self.hear(encode_word(welcome), *more)

    def word(self) -> Word:
        """The next word that the link has said."""
        word: Word = decode_word(self.wire.written.pop(0))
        return word

    async def said(self) -> list[Message]:
        """What the link has said by the end of this turn."""
        await asyncio.sleep(0)
        written, self.wire.written = self.wire.written, []
        return [message for payload in written for message in decode_batch(payload)]


def batch(*messages: Message) -> bytes:
    return encode_batch(list(messages))


def request(id: int) -> Request:
    return Request(id, 1000, "noting", msgspec.Raw(pack(id)))


async def test_a_large_first_batch_may_come_in_one_read_with_the_welcome() -> None:
    service = Noting()
    side = Side(service)
    large = bytes(2 * limits.HANDSHAKE_BYTES_MAX)
    side.open(batch(Cast("noting", msgspec.Raw(pack(large)))), batch(request(1)))
    assert side.house.told == ["admit", "opened"]
    assert service.heard == [large, 1]


async def test_a_stranger_cannot_send_much() -> None:
    side = Side(dials=False)
    side.hear(bytes(limits.HANDSHAKE_BYTES_MAX + 1))
    assert side.house.told == ["closed"]


@pytest.mark.parametrize("noise", [b"\x92\x05\xa1\xff", b"\x91" * 4000, b"\xc1", b""])
async def test_noise_is_denied_as_what_it_is(noise: bytes) -> None:
    side = Side(dials=False)
    side.hear(noise)
    assert isinstance(side.word(), Denied)
    assert side.house.told == ["closed"]


@pytest.mark.parametrize(
    "noise", [b"\x91\x93\x04\xa1\xff\xc0", b"\x91\x93\x04\xa1x" + b"\x91" * 9999 + b"\xc0", b"\x91\xc1"]
)
async def test_a_batch_that_is_none_ends_the_link(noise: bytes) -> None:
    side = Side()
    outcomes: list[object] = []
    side.open()
    side.link.request("noting", pack(1), 1.0, outcomes.append)
    side.hear(noise)
    assert side.house.told[-1] == "closed"
    assert len(outcomes) == 1


class Picky(Refusal):
    """A refusal that is not made of its arguments, against the rule."""

    def __init__(self, kind: type) -> None:
        super().__init__(kind.__name__)


async def test_a_refusal_that_cannot_be_built_ends_its_own_request_only() -> None:
    side = Side()
    outcomes: list[object] = []
    side.open()
    side.link.request("noting", pack(1), 1.0, outcomes.append)
    side.link.request("noting", pack(2), 1.0, outcomes.append)
    code = f"{Picky.__module__}.{Picky.__qualname__}"
    side.hear(batch(Refused(1, code, msgspec.Raw(pack(["int"]))), Reply(2, msgspec.Raw(pack("fine")))))
    assert side.link.is_open
    assert isinstance(outcomes[0], BadMessage)
    assert isinstance(outcomes[1], msgspec.Raw)
    assert bytes(outcomes[1]) == pack("fine")


class Huge(Refusal):
    """A refusal of any size."""

    def __init__(self, fact: object) -> None:
        super().__init__(fact)


@pytest.mark.parametrize(
    ("fact", "code"),
    [(2**70, "bad_message"), ("\ud800", "bad_message"), (bytes(limits.MESSAGE_BYTES_MAX), "too_large")],
)
async def test_a_refusal_that_cannot_be_sent_is_an_answer_all_the_same(fact: object, code: str) -> None:
    side = Side(Noting(Huge(fact)))
    side.open(batch(request(7)))
    (refused,) = await side.said()
    assert isinstance(refused, Refused)
    assert (refused.id, refused.code) == (7, code)


async def test_a_peer_that_asks_and_does_not_read_is_refused() -> None:
    service = Noting()
    side = Side(service)
    side.open()
    side.link.pause_writing()
    side.wire.clogged_bytes = limits.LINK_BUFFER_BYTES_MAX + 1
    side.hear(batch(request(1)))
    (refused,) = await side.said()
    assert isinstance(refused, Refused)
    assert refused.code == Overloaded.code
    assert service.heard == []
    side.wire.clogged_bytes = 0
    side.link.resume_writing()
    side.hear(batch(request(2)))
    assert isinstance((await side.said())[0], Reply)
    assert service.heard == [2]


async def test_a_request_may_wait_for_ever() -> None:
    side = Side()
    outcomes: list[object] = []
    side.open()
    side.link.request("noting", pack(1), float("inf"), outcomes.append)
    (asked,) = await side.said()
    assert isinstance(asked, Request)
    side.hear(batch(Reply(asked.id, msgspec.Raw(pack("at last")))))
    assert len(outcomes) == 1
