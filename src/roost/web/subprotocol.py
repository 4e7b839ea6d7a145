"""WebSocket subprotocols: which one is spoken, and the token that Phoenix clients hide among them.

A browser lets a page set no header of a WebSocket request but the subprotocols. The phoenix client therefore offers
`phoenix` and `base64url.bearer.phx.<token>`; the latter is taken out before anybody sees the list.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Final

PHOENIX: Final = "phoenix"
TOKEN_PREFIX: Final = "base64url.bearer.phx."


def split_token(offered: Iterable[str]) -> tuple[str | None, list[str]]:
    """The token among the offered subprotocols, or None, and the others."""
    token, others = None, []
    for name in offered:
        if name.startswith(TOKEN_PREFIX):
            token = _token(name.removeprefix(TOKEN_PREFIX))
        else:
            others.append(name)
    return token, others


def is_acceptable(offered: Sequence[str], spoken: Sequence[str]) -> bool:
    """Whether a client can be talked to: it offers nothing, or this socket declares nothing, or something fits."""
    return not offered or not spoken or select(offered, spoken) is not None


def select(offered: Sequence[str], spoken: Sequence[str]) -> str | None:
    """The subprotocol to answer with: `phoenix` when it is offered, else the client's first that is spoken here."""
    if PHOENIX in offered:
        return PHOENIX
    return next((name for name in offered if name in spoken), None)


def _token(text: str) -> str | None:
    """Despite the name of the prefix the token is in standard base64, without padding."""
    plain = text.translate({ord("-"): "+", ord("_"): "/"})
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode()
    except ValueError:  # no base64, no UTF-8, or no ASCII, which not every server refuses
        return None
