"""The demo application: a chat room, a key-value store and the ring that carries both. Run it with `roost demo`."""
