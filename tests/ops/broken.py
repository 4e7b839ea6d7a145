"""An application whose module fails while it is imported."""

from __future__ import annotations

app = "".split()[0]
