"""Stock that is never oversold: a thousand buyers want a hundred tickets at the same moment.

One process owns the tickets. It handles one message at a time, so two buyers can never see the same last ticket;
there is no lock to forget. A reservation that is not paid in time goes back by itself.

    python examples/stock.py
"""

from __future__ import annotations

import asyncio

import msgspec

from roost import GenServer, call, info
from roost.errors import Refusal

TICKETS = 100
BUYERS = 1_000
PAY_WITHIN_S = 0.2


class SoldOut(Refusal):
    """All tickets are sold or reserved."""


class Expired(Refusal):
    """The reservation was not paid in time."""


class Release(msgspec.Struct, frozen=True):
    """The time to pay is over."""

    buyer: int


class Stock(GenServer):
    """The tickets of one concert."""

    def init(self, tickets: int) -> None:
        self.available = tickets
        self.reserved: set[int] = set()
        self.sold: list[int] = []

    @call
    def reserve(self, buyer: int) -> int:
        """Keep a ticket for a while; returns how many are left for others."""
        if self.available == 0:
            raise SoldOut
        self.available -= 1
        self.reserved.add(buyer)
        self.send_after(PAY_WITHIN_S, Release(buyer))
        return self.available

    @call
    def pay(self, buyer: int) -> None:
        """Make the reservation a sale."""
        if buyer not in self.reserved:
            raise Expired
        self.reserved.remove(buyer)
        self.sold.append(buyer)

    @call
    def sales(self) -> tuple[int, ...]:
        """Who has bought, in order."""
        return tuple(self.sold)

    @info
    def release(self, message: Release) -> None:
        """Give back what was not paid."""
        if message.buyer in self.reserved:
            self.reserved.remove(message.buyer)
            self.available += 1


async def buy(stock: Stock, buyer: int) -> str:
    """One buyer: every third changes his mind and never pays."""
    try:
        await stock.reserve(buyer)
        await asyncio.sleep(0)  # looks for his credit card
        if buyer % 3 == 0:
            return "walked away"
        await stock.pay(buyer)
    except SoldOut:
        return "sold out"
    return "bought"


async def main() -> None:
    """Sell until nothing is left, and count."""
    stock = await Stock.start_link(TICKETS)
    first = await asyncio.gather(*(buy(stock, buyer) for buyer in range(BUYERS)))
    print(f"first rush:  {first.count('bought')} bought, {first.count('walked away')} walked away")
    await asyncio.sleep(2 * PAY_WITHIN_S)  # what was not paid goes back
    second = await asyncio.gather(*(buy(stock, buyer) for buyer in range(1, 3 * BUYERS, 3)))
    print(f"second rush: {second.count('bought')} bought")
    sold = await stock.sales()
    print(f"{len(sold)} of {TICKETS} tickets sold, none of them twice")
    assert len(sold) == TICKETS
    await stock.stop()


if __name__ == "__main__":
    asyncio.run(main())
