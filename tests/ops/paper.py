"""Paper to print on: a text stream that a test can wait for."""

from __future__ import annotations

import asyncio
import io
import re


class Paper(io.StringIO):
    """Keeps what is written; `until` waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self._written = asyncio.Event()

    def write(self, text: str) -> int:
        """Keep `text` and wake who waits."""
        self._written.set()
        return super().write(text)

    async def until(self, pattern: str, count: int = 1) -> list[re.Match[str]]:
        """Wait until `pattern` was written `count` times; return all matches."""
        while True:
            found = list(re.finditer(pattern, self.getvalue()))
            if len(found) >= count:
                return found
            self._written.clear()
            await self._written.wait()
