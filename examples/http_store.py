"""The store that comes with Roost, over HTTP: what `handoff_kv` does, on disk, and no write is lost to another one.

Two writes at the same time are kept side by side, as siblings, until somebody settles them: a GET answers with a
`context`, and a PUT with that context replaces what was read and nothing else.

    roost run examples.http_store:app
    curl -X PUT 'localhost:4000/api/store/tea?n=3&w=2' -d '{"is": "hot"}'
    curl 'localhost:4001/api/store/tea?n=3&r=2'
    curl -X DELETE localhost:4002/api/store/tea
    curl localhost:4000/where/tea

`docs/store.md` lists every parameter and every error.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from roost import Roost
from roost.web.store import StoreApi

app = Roost("http_store")
store = app.kv("store", n=3)


async def where(request: Request) -> JSONResponse:
    """GET /where/{key}: the nodes that hold a key now."""
    return JSONResponse({"nodes": [replica.node for replica in store.where(request.path_params["key"])]})


app.web = Starlette(
    routes=[
        Mount("/api/store", StoreApi(store, "/api/store/")),
        Route("/where/{key}", where),
    ]
)
