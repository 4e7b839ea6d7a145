"""Addresses that are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from roost.config import Address


class Static:
    """Always finds the same addresses.

    Args:
        addresses: where members are.
    """

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = tuple(addresses)

    async def look(self) -> Sequence[Address]:
        """The addresses."""
        return self._addresses

    async def close(self) -> None:
        """It holds nothing."""
