"""The browser's half of Roost, served by every application: `/roost/roost.js` and its types.

A page imports it with `import { Socket } from "/roost/roost.js"`; there is nothing to build and nothing to install.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from roost.web.answer import Receive, Scope, Send, refuse

PREFIX: Final = "/roost/"
FOLDER: Final = Path(__file__).parent / "static"
TYPES: Final = {"roost.js": b"text/javascript; charset=utf-8", "roost.d.ts": b"text/plain; charset=utf-8"}
"""The files, and what they are."""


class ClientFile(NamedTuple):
    """A file as it is sent."""

    content: bytes
    etag: bytes


async def client_files(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request for one of the files, as an ASGI application.

    Browsers ask each time whether it has changed, so that a page and its client are of one version. Pages of other
    hosts may use it: it is the same for everybody.
    """
    path: str = scope["path"]
    name = path.rpartition("/")[2]
    if scope["method"] not in ("GET", "HEAD"):
        message = f"{scope['method']} is not possible here"
        await refuse(send, 405, "method_not_allowed", message, (b"allow", b"GET, HEAD"))
        return
    file = load(name)
    headers = [
        (b"etag", file.etag),
        (b"cache-control", b"no-cache"),
        (b"x-content-type-options", b"nosniff"),
        (b"access-control-allow-origin", b"*"),
    ]
    if _is_known(scope, file.etag):
        await send({"type": "http.response.start", "status": 304, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    headers += [(b"content-type", TYPES[name]), (b"content-length", b"%d" % len(file.content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else file.content})


@lru_cache(maxsize=len(TYPES))
def load(name: str) -> ClientFile:
    """Read one of the files of TYPES, once."""
    content = (FOLDER / name).read_bytes()
    return ClientFile(content, b'"%s"' % hashlib.sha256(content).hexdigest()[:32].encode())


def _is_known(scope: Scope, etag: bytes) -> bool:
    """Whether the client has the file already (RFC 9110, 13.1.2)."""
    for name, value in scope["headers"]:
        if name == b"if-none-match":
            tags = [tag.strip().removeprefix(b"W/") for tag in value.split(b",")]
            return etag in tags or b"*" in tags
    return False
