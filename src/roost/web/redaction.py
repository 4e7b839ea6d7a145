"""Parameters of clients as a log may show them: without secrets, and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from roost.limits import REPORT_CHARS_MAX

SECRETS: Final = ("password", "token", "secret")
"""A parameter whose name contains one of these is not shown."""
FILTERED: Final = "[FILTERED]"


def redacted(params: Mapping[str, object]) -> str:
    """The parameters, with FILTERED in place of secrets, in at most REPORT_CHARS_MAX characters."""
    shown = {name: FILTERED if is_secret(name) else value for name, value in params.items()}
    return repr(shown)[:REPORT_CHARS_MAX]


def is_secret(name: str) -> bool:
    """Whether a parameter of this name may hold a secret."""
    lowered = name.lower()
    return any(secret in lowered for secret in SECRETS)
