"""What a handler can answer: with a status of its own, later, often, not at all, or as its last word."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roost.errors import Refusal
from roost.live.channel import Channel, Payload, event
from roost.live.reply import ReplyRef, Status, reply
from roost.otp import Caller, GenServer, NoReply, Task, Timeout, call, cast, info
from roost.web.socket import Socket
from tests.web.rooms import OK, Rooms, client_in, log_of
from tests.web.stage import Client, make_live, settle


class Clerk(GenServer):
    """Another process of the node that answers clients."""

    @cast
    def answer(self, ref: ReplyRef, text: str) -> None:
        reply(ref, {"text": text}, status="done")

    @call
    def keep(self, ref: ReplyRef) -> ReplyRef:
        return ref


async def answer_in_two_steps(ref: ReplyRef, payload: Payload) -> None:
    """What a task does."""
    reply(ref, status="progress")
    reply(ref, payload)


class Desk(Channel, topic="desk:*"):
    """Answers in every way there is."""

    def join(self, topic: str, params: Payload, socket: Desks) -> Payload | Status | None:
        self.desks = socket
        self.waiting: list[ReplyRef] = []
        if "status" in params:
            return Status(str(params["status"]), {"code": 7})
        return None

    @event("status")
    def status(self, payload: Payload) -> Status:
        return Status("queued", {"place": 3})

    @event("bare")
    async def bare(self, payload: Payload) -> Status:
        return Status("noted")

    @event("later")
    def later(self, payload: Payload) -> None:
        self.desks.refs.append(self.reply_ref())
        raise NoReply

    @event("later, slowly")
    async def later_slowly(self, payload: Payload) -> None:
        self.desks.refs.append(self.reply_ref())
        raise NoReply

    @event("task")
    def leave_it_to_a_task(self, payload: Payload) -> None:
        Task.start(answer_in_two_steps, self.reply_ref(), payload)
        raise NoReply

    @event("soon and now")
    def soon_and_now(self, payload: Payload) -> Payload:
        self.desks.refs.append(self.reply_ref())
        return {"now": True}

    @event("silent")
    def silent(self, payload: Payload) -> None:
        raise NoReply

    @event("caller")
    def as_a_caller(self, payload: Payload) -> None:
        self.desks.callers.append(self.caller())
        raise NoReply

    @event("wait")
    def wait(self, payload: Payload) -> None:
        self.receive_timeout(5.0)

    @info
    def timed_out(self, message: Timeout) -> None:
        self.push("idle", {})
        with pytest.raises(RuntimeError, match="asks nothing now"):
            self.reply_ref()

    @event("not sendable")
    def not_sendable(self, payload: Payload) -> object:
        return object()

    def handle_in(self, event: str, payload: Payload) -> Payload:
        if event == "nonsense":
            raise Refusal("what?")
        return {"you said": event, "with": payload}


class Patient(Desk, topic="patient"):
    """Takes whatever comes, in its time."""

    async def handle_in(self, event: str, payload: Payload) -> Payload:  # type: ignore[override]  # it may be async
        return {"slowly": event}


class Desks(Socket):
    """The socket of these tests."""

    channels = (Desk, Patient)

    def __init__(self) -> None:
        self.refs: list[ReplyRef] = []
        self.callers: list[Caller[object]] = []


async def at_the_desk(topic: str = "desk:1") -> tuple[Client, Desks]:
    client = Client(make_live()[0], Desks)
    client.say("11", "1", topic, "phx_join", {})
    assert await client.hear() == [["11", "1", topic, "phx_reply", OK]]
    socket = client.connection.socket
    assert isinstance(socket, Desks)
    return client, socket


async def test_a_status_of_its_own_passes_through() -> None:
    client, _ = await at_the_desk()
    client.say("11", "2", "desk:1", "status", {})
    client.say("11", "3", "desk:1", "bare", {})
    assert await client.hear() == [
        ["11", "2", "desk:1", "phx_reply", {"status": "queued", "response": {"place": 3}}],
        ["11", "3", "desk:1", "phx_reply", {"status": "noted", "response": {}}],
    ]


async def test_a_join_may_be_refused_with_more_than_a_reason() -> None:
    live, _ = make_live()
    client = Client(live, Desks)
    client.say("11", "1", "desk:1", "phx_join", {"status": "error"})
    assert await client.hear() == [["11", "1", "desk:1", "phx_reply", {"status": "error", "response": {"code": 7}}]]
    assert live.scheduler.processes == {}
    client.say("12", "2", "desk:1", "phx_join", {"status": "ok"})
    assert await client.hear() == [["12", "2", "desk:1", "phx_reply", {"status": "ok", "response": {"code": 7}}]]


@pytest.mark.parametrize("name", ["later", "later, slowly"])
async def test_a_reply_may_come_later_and_more_than_once(name: str) -> None:
    client, desks = await at_the_desk()
    client.say("11", "2", "desk:1", name, {})
    client.say("11", "3", "desk:1", "status", {})
    assert [message[1] for message in await client.hear()] == ["3"]
    (ref,) = desks.refs
    reply(ref)
    reply(ref, {"n": 2})
    reply(ref, {"n": 3}, status="progress")
    assert await client.hear() == [
        ["11", "2", "desk:1", "phx_reply", OK],
        ["11", "2", "desk:1", "phx_reply", {"status": "ok", "response": {"n": 2}}],
        ["11", "2", "desk:1", "phx_reply", {"status": "progress", "response": {"n": 3}}],
    ]


async def test_a_reply_may_come_from_another_process_of_the_node() -> None:
    client, desks = await at_the_desk()
    client.say("11", None, "desk:1", "later", {})
    await client.hear()
    with client.connection.live.scheduler.entered():
        clerk = await Clerk.start()
        assert await clerk.keep(desks.refs[0]) is desks.refs[0]
        clerk.answer(desks.refs[0], "hello")
    answer = {"status": "done", "response": {"text": "hello"}}
    assert await client.hear() == [["11", None, "desk:1", "phx_reply", answer]]


async def test_a_reply_may_come_from_a_task() -> None:
    client, _ = await at_the_desk()
    with client.connection.live.scheduler.entered():
        client.say("11", "2", "desk:1", "task", {"text": "hello"})
        assert await client.hear() == [
            ["11", "2", "desk:1", "phx_reply", {"status": "progress", "response": {}}],
            ["11", "2", "desk:1", "phx_reply", {"status": "ok", "response": {"text": "hello"}}],
        ]


async def test_a_handler_may_answer_now_and_again_later() -> None:
    client, desks = await at_the_desk()
    client.say("11", 2, "desk:1", "soon and now", {})
    assert [message[4]["response"] for message in await client.hear()] == [{"now": True}]
    reply(desks.refs[0], {"soon": True})
    assert await client.hear() == [["11", 2, "desk:1", "phx_reply", {"status": "ok", "response": {"soon": True}}]]


@pytest.mark.parametrize("end", ["leave", "loss", "join"])
async def test_a_reply_to_a_client_that_is_gone_is_harmless(end: str) -> None:
    client, desks = await at_the_desk()
    client.say("11", "2", "desk:1", "later", {})
    await client.hear()
    if end == "leave":
        client.say("11", "3", "desk:1", "phx_leave", {})
    elif end == "join":
        client.say("12", "3", "desk:1", "phx_join", {})
    else:
        client.connection.lost()
    await client.hear()
    reply(desks.refs[0], {"too": "late"})
    assert await client.hear() == []


async def test_a_late_reply_that_cannot_be_sent_is_told_to_who_sends_it() -> None:
    client, desks = await at_the_desk()
    client.say("11", "2", "desk:1", "later", {})
    await client.hear()
    with pytest.raises(TypeError):
        reply(desks.refs[0], {"value": complex(1, 2)})
    client.say("11", "3", "desk:1", "status", {})
    assert len(await client.hear()) == 1


async def test_a_handler_need_not_answer_at_all() -> None:
    client, _ = await at_the_desk()
    client.say("11", "2", "desk:1", "silent", {})
    client.say("11", "3", "desk:1", "status", {})
    assert [message[1] for message in await client.hear()] == ["3"]


async def test_what_is_not_answered_holds_the_client_up_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.web.connection.SOCKET_PENDING_MAX", 3)
    client, _ = await at_the_desk()
    for ref in range(9):
        client.say("11", ref, "desk:1", "later", {})
    await settle()
    assert not client.is_paused


async def test_the_caller_of_a_gen_server_answers_too() -> None:
    client, desks = await at_the_desk()
    client.say("11", "2", "desk:1", "caller", {})
    assert await client.hear() == []
    desks.callers[0].reply({"at": "last"})
    assert await client.hear() == [["11", "2", "desk:1", "phx_reply", {"status": "ok", "response": {"at": "last"}}]]


async def test_events_without_a_handler_of_their_own_are_handled_in_one() -> None:
    client, _ = await at_the_desk()
    client.say("11", "2", "desk:1", "dance", {"x": 1})
    client.say("11", "3", "desk:1", "nonsense", {})
    assert [message[4] for message in await client.hear()] == [
        {"status": "ok", "response": {"you said": "dance", "with": {"x": 1}}},
        {"status": "error", "response": {"reason": "what?"}},
    ]
    other, _ = await at_the_desk("patient")
    other.say("11", "2", "patient", "dance", {})
    assert (await other.hear())[0][4]["response"] == {"slowly": "dance"}


async def test_a_reply_that_no_process_could_have_crashes_the_channel(caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await at_the_desk()
    client.say("11", "2", "desk:1", "not sendable", {})
    assert await client.hear() == [["11", "11", "desk:1", "phx_error", {"reason": "channel_crash"}]]
    assert "object" in caplog.text


async def test_a_channel_may_wait_with_a_timeout() -> None:
    live, clock = make_live()
    client = Client(live, Desks)
    await client.join("desk:1", "11")
    client.say("11", "2", "desk:1", "wait", {})
    assert await client.hear() == [["11", "2", "desk:1", "phx_reply", OK]]
    clock.advance(5.1)
    assert await client.hear() == [["11", None, "desk:1", "idle", {}]]
    client.say("11", "3", "desk:1", "status", {})
    assert [message[1] for message in await client.hear()] == ["3"]


# the last words


async def test_a_channel_that_stops_with_a_reply_closes_and_then_pushes_what_terminate_says() -> None:
    client, _ = await client_in()
    client.say("1", "2", "room:a", "stop", {"last": "words"})
    assert await client.hear() == [
        ["1", "2", "room:a", "phx_reply", {"status": "ok", "response": {"bye": True}}],
        ["1", "1", "room:a", "phx_close", {}],
        ["1", None, "room:a", "parting", {"last": "words"}],
    ]
    assert log_of(client)[-1] == "terminate room:a normal"


async def test_a_channel_that_stops_without_a_reply_just_closes() -> None:
    client, _ = await client_in()
    client.say("1", "2", "room:a", "stop silently", {})
    assert await client.hear() == [["1", "1", "room:a", "phx_close", {}]]


async def test_a_channel_that_stops_for_another_reason_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await client_in()
    client.say("1", "2", "room:a", "quit badly", {})
    assert await client.hear() == [["1", "1", "room:a", "phx_error", {"reason": "channel_crash"}]]
    assert "out of order" in caplog.text


@pytest.mark.parametrize(
    ("end", "events"),
    [
        (lambda client: client.say("1", "2", "room:a", "phx_leave", {}), ["phx_reply", "phx_close", "parting"]),
        (lambda client: client.say("2", "2", "room:a", "phx_join", {}), ["phx_reply", "phx_close", "parting"]),
        (lambda client: client.say("1", "2", "room:a", "crash", {}), ["parting", "phx_error"]),
        (lambda client: client.connection.drain(), ["parting"]),
        (lambda client: client.connection.lost(), []),
    ],
    ids=["leave", "join anew", "crash", "drain", "loss"],
)
async def test_what_terminate_pushes_comes_last(end: Callable[[Client], None], events: list[str]) -> None:
    client = Client(make_live()[0], Rooms)
    await client.join("room:a", "1", {"parting": True})
    end(client)
    assert [message[3] for message in await client.hear()] == events
