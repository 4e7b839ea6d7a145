"""A node's log: one line an event on standard output, where its launcher, or systemd, picks it up."""

from __future__ import annotations

import logging
import sys

FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
TIME_FORMAT = "%H:%M:%S"


def configure_logs() -> None:
    """Send the log of this process, from INFO on, to standard output.

    A log line that nobody reads any more, because the launcher died, is dropped without further noise.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(FORMAT, TIME_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "websockets"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.raiseExceptions = False
