"""An import that takes a while, watched from a page: begun over HTTP, its progress on a channel.

Whoever has begun it may close the page, and open it again on any node. A crash of the import is told, and hurts nothing
else; when the node that it ran on is lost, that is told as well.

    roost run examples.progress:app
    curl -X POST localhost:4000/imports -H 'content-type: application/json' -d '{"rows": 2000}'
    open http://localhost:4000/
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from examples.pages import pages
from examples.progress.importing import ROWS_MAX, RUNNING_MAX, Board, Busy, Job, Unknown
from roost import Channel, Down, DynamicSupervisor, Roost, Socket, Supervisor, event, info
from roost.errors import Refusal, RoostError
from roost.live.channel import Payload

ID_MAX: Final = 200


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """What a POST asks for."""

    rows: int = 2_000


class ImportChannel(Channel, topic="import:*"):
    """One import, watched by one page."""

    async def join(self, topic: str, params: Payload, socket: Socket) -> Payload:
        """The reply is how far it is; what comes after that is pushed as "progress"."""
        self.id = topic.removeprefix("import:")
        if not 1 <= len(self.id) <= ID_MAX:
            raise Refusal("an import has a name")
        self.board = Board.whereis("board", node=self.id.partition("/")[0])
        try:
            job = await self.board.look(self.id)
        except Unknown as error:
            raise Refusal(str(error)) from error
        except RoostError as error:
            raise Refusal(f"the node that it ran on cannot be reached ({error}): start it again") from error
        self.monitor(self.board)
        return view(job)

    @event("cancel")
    async def cancel(self, payload: Payload) -> Payload:
        """Stop it."""
        return view(await self.board.cancel(self.id))

    @event("crash")
    async def crash(self, payload: Payload) -> None:
        """Make it crash."""
        await self.board.crash(self.id)

    @info
    def lost(self, down: Down) -> None:
        """The board has ended with its node: nobody will tell anything more."""
        self.push("lost", {"reason": f"the node that it ran on is lost ({down.reason})"})


class ImportSocket(Socket):
    """Everybody may watch."""

    channels = (ImportChannel,)


def view(job: Job) -> Payload:
    """A job as JSON."""
    return msgspec.structs.asdict(job)


async def begin(request: Request) -> JSONResponse:
    """POST /imports with {"rows": 2000}: 201 and the job; its `id` is that of the topic "import:<id>"."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return JSONResponse({"error": "the body must be application/json"}, 415)
    try:
        order = msgspec.json.decode(await request.body() or b"{}", type=Order)
    except msgspec.MsgspecError as error:
        return JSONResponse({"error": str(error)}, 400)
    if not 1 <= order.rows <= ROWS_MAX:
        return JSONResponse({"error": f"rows is a number from 1 to {ROWS_MAX}"}, 400)
    try:
        job = await Board.whereis("board").begin(order.rows)
    except Busy as busy:
        return JSONResponse({"error": str(busy)}, 503, {"retry-after": "5"})
    return JSONResponse(view(job), 201)


async def look(request: Request) -> JSONResponse:
    """GET /imports/{id}: how far it is."""
    id: str = request.path_params["id"]
    try:
        return JSONResponse(view(await Board.whereis("board", node=id.partition("/")[0]).look(id)))
    except RoostError as error:
        return JSONResponse({"error": str(error)}, 404 if isinstance(error, Unknown) else 503)


work = [
    Board.child(lambda topic, event, payload: app.broadcast(topic, event, payload), name="board"),
    DynamicSupervisor.child(max_children=RUNNING_MAX, name="imports"),
]
app: Roost = Roost(
    "progress",
    children=[Supervisor.child(work, strategy="one_for_all", name="work")],
    sockets={"/socket": ImportSocket},
    web=pages(
        Path(__file__).parent / "page",
        [Route("/imports", begin, methods=["POST"]), Route("/imports/{id:path}", look)],
    ),
)
