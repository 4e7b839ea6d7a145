"""Floor 7: what a live application is made of: topics, channels, presences."""
