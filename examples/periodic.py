"""A periodic task: something that happens every so often, without drift, and survives its own crashes.

An interval counts from when it was set: a late tick does not push the next one. When a run fails, the supervisor starts
the process anew, and the interval with it.

    python examples/periodic.py
"""

from __future__ import annotations

import asyncio

import msgspec

from roost import GenServer, Supervisor, call, info

PERIOD_S = 0.1


class Sweep(msgspec.Struct, frozen=True):
    """It is time."""


class Carts(GenServer):
    """Shopping carts that nobody came back for."""

    def init(self, ages: dict[str, int]) -> None:
        self.ages = ages

    @call
    def grow_old(self, limit: int) -> tuple[str, ...]:
        """A period has passed; returns the carts that are over the limit, and forgets them."""
        self.ages = {cart: age + 1 for cart, age in self.ages.items()}
        gone = tuple(cart for cart, age in self.ages.items() if age > limit)
        self.ages = {cart: age for cart, age in self.ages.items() if age <= limit}
        return gone


class Sweeper(GenServer):
    """Looks for old carts every PERIOD_S seconds."""

    def init(self, limit: int) -> None:
        self.limit = limit
        self.send_every(PERIOD_S, Sweep())

    @info
    async def sweep(self, message: Sweep) -> None:
        """One run. A cart called "bug" makes it crash, once: by then the cart is gone."""
        for cart in await Carts.whereis("carts").grow_old(self.limit):
            if cart == "bug":
                raise ValueError("a cart that nobody expected")
            print(f"released {cart}")


async def main() -> None:
    """Watch a few periods."""
    carts = {"apples": 2, "bug": 1, "pears": 0, "plums": -1}
    tree = await Supervisor.start_link([Carts.child(carts, name="carts"), Sweeper.child(2, name="sweeper")])
    await asyncio.sleep(PERIOD_S * 5.5)
    print("still sweeping" if Sweeper.whereis("sweeper").is_alive() else "gone")
    await tree.stop()


if __name__ == "__main__":
    asyncio.run(main())
