"""The process of one node: `python -m roost.ops.node MODULE:ATTR`, told by ROOST_* variables who it is.

It stops in order on SIGTERM, and when its launcher is gone: sockets are drained, what runs is finished, exit code 0.
With a wrong setting, or an application that cannot be loaded, it says one line, to its launcher when it has one, and
exits with 2; an application that crashes while it starts shows its traceback and exits with 1.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import MutableMapping

import uvloop

from roost.config import Config
from roost.errors import ConfigError
from roost.ops.leash import NodeEnd, Refused
from roost.ops.logs import configure_logs
from roost.ops.runfile import RunFolder, run_folder
from roost.ops.target import load_target
from roost.runtime import Runtime
from roost.web.app import Roost

logger = logging.getLogger("roost.node")

STOP_S = 5
"""A stop that takes longer ends the process as it is."""
COLLECT_AFTER = 50_000
"""Objects between two visits of the garbage collector; Python's own default is for programs that hold little."""


def main() -> None:
    """Run one node until it is told to stop."""
    configure_logs()
    leash: NodeEnd | None = None
    try:
        leash = NodeEnd.take(os.environ)
        app, config = _prepare(sys.argv[1:], os.environ)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_live(app, config, leash))
    except ConfigError as error:
        if leash is None:
            print(f"roost: {error}", file=sys.stderr)
        else:
            leash.say(Refused(error.setting, error.reason))
        sys.exit(2)


def _prepare(arguments: list[str], environ: MutableMapping[str, str]) -> tuple[Roost, Config]:
    if len(arguments) != 1:
        raise ConfigError("MODULE:ATTR", "name one application: python -m roost.ops.node chat:app")
    config = Config.from_env(environ)
    app = load_target(arguments[0])
    # Whatever the application starts need not know the secret of the cluster.
    environ.pop("ROOST_COOKIE", None)
    return app, config


async def _live(app: Roost, config: Config, leash: NodeEnd | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    if leash is not None:
        leash.watch(stop.set)
    runtime = Runtime.real(_disk(config))
    runs = RunFolder(run_folder(os.environ))
    try:
        running = await app.boot(config, runtime)
    except OSError as error:
        raise ConfigError(config.name, f"cannot start: {error}") from None
