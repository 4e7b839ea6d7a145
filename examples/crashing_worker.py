"""A worker that crashes and comes back in a valid state, while everybody else goes on.

The worker's own state is thrown away with it: whatever made it crash is gone. What must not be lost lives in another
process, which was not touched. Callers get an error or a reply, never silence.

    python examples/crashing_worker.py
"""

from __future__ import annotations

import asyncio

from roost import GenServer, Supervisor, call, cast
from roost.errors import NoSuchProcess, ProcessDown


class Totals(GenServer):
    """What must survive: how much each account has."""

    def init(self) -> None:
        self.totals: dict[str, int] = {}

    @cast
    def add(self, account: str, amount: int) -> None:
        """Book an amount that has been checked."""
        self.totals[account] = self.totals.get(account, 0) + amount

    @call
    def read(self) -> dict[str, int]:
        """All accounts."""
        return self.totals


class Parser(GenServer):
    """Turns lines into bookings; one day somebody sends a line that it cannot read."""

    def init(self) -> None:
        self.currency = "EUR"
        self.parsed = 0

    @call
    def book(self, line: str) -> int:
        """Book one line such as "alice 20 EUR"; returns how many this worker has booked."""
        account, amount, self.currency = line.split()
        if self.currency != "EUR":
            raise ValueError(f"cannot book {self.currency}")  # and the state is already wrong
        Totals.whereis("totals").add(account, int(amount))
        self.parsed += 1
        return self.parsed


LINES = ("alice 20 EUR", "bob 5 EUR", "carol 7 XYZ", "alice 22 EUR", "dave many EUR", "bob 1 EUR")


async def main() -> None:
    """Book all lines; some of them crash the worker."""
    tree = await Supervisor.start_link(
        [Totals.child(name="totals"), Parser.child(name="parser")], max_restarts=3, within_s=5.0
    )
    for line in LINES:
        parser = await running_parser()
        try:
            print(f"{line:14} booked, number {await parser.book(line)} of this worker")
        except ProcessDown as down:
            print(f"{line:14} {down.reason}")
    print(dict(sorted((await Totals.whereis("totals").read()).items())))
    await tree.stop()


async def running_parser() -> Parser:
    """The worker; between its crash and its restart there is none. After a second crash that is a moment longer."""
    while True:
        try:
            return Parser.whereis("parser")
        except NoSuchProcess:
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main())
