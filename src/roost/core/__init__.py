"""Floor 1: decisions. Pure state machines without asyncio, sockets, clocks, randomness or logging."""
