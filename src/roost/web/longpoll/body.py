"""What a client posts: the frames in the body of one request.

A body of type application/x-ndjson has one frame per line; of any other type, it is one text frame. A line that begins
as JSON does is a text frame, any other one is the base64 of a binary frame (neither `[` nor `{` is in its alphabet).
Empty lines are none. Nothing of a body is acted on unless all of it can be read.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from roost.errors import BadMessage, TooLarge
from roost.limits import LONGPOLL_LINES_MAX

NDJSON: Final = "application/x-ndjson"
_LINE: Final = re.compile(rb"[^\r\n](?:[^\n]*[^\r\n])?")
"""A line that is not empty, without its end."""


class Said(NamedTuple):
    """One frame of a client: text when it is not binary."""

    is_binary: bool
    data: bytes


def frames_of(body: bytes, content_type: str) -> Sequence[Said]:
    """The frames of a body in their order.

    Raises:
        TooLarge: more than LONGPOLL_LINES_MAX lines.
        BadMessage: a line that is neither JSON nor base64; says which.
    """
    if content_type.partition(";")[0].strip().lower() != NDJSON:
        return (Said(False, body),)
    lines = [found[0] for found in itertools.islice(_LINE.finditer(body), LONGPOLL_LINES_MAX + 1)]
    if len(lines) > LONGPOLL_LINES_MAX:
        raise TooLarge("LONGPOLL_LINES_MAX", len(lines), LONGPOLL_LINES_MAX)
    return [
        Said(False, line) if line[0] in b"[{" else Said(True, _binary(line, number))
        for number, line in enumerate(lines, 1)
    ]


def _binary(line: bytes, number: int) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise BadMessage(f"line {number}: neither JSON nor base64: {error}") from None
