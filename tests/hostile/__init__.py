"""Clients that do what no honest client does, against a real node."""
