"""The process of one node: `python -m roost.ops.node MODULE:ATTR`, told by ROOST_* variables who it is.

It stops in order on SIGTERM, and when its launcher is gone: sockets are drained, what runs is finished, exit code 0.
With a wrong setting, or an application that cannot be loaded, it says one line, to its launcher when it has one, and
exits with 2. An application that crashes while it starts, or again and again later, shows why and exits with 1.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path

import uvloop

from roost.cluster.node import Node
from roost.config import Config
from roost.core.membership import Cluster
from roost.errors import ConfigError, ProcessDown, RoostError
from roost.ops.desk import console_child
from roost.ops.leash import NodeEnd, Ready, Refused
from roost.ops.logs import configure_logs
from roost.ops.plan import TARGET
from roost.ops.runfile import RunFile, RunFolder
from roost.ops.target import load_target
from roost.otp import Supervisor
from roost.runtime import Runtime
from roost.runtime.disk import FolderDisk
from roost.runtime.run_folder import run_folder
from roost.web.app import Roost

MEET_S = 2.0
"""How long a node that serves waits for its companions before it says that it is ready."""

logger = logging.getLogger("roost.node")

STOP_S = 5
"""How long a node whose launcher is gone may take to stop before it is ended as it is."""


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
    except RoostError as error:
        logger.error("%s", error)
        sys.exit(1)


def _prepare(arguments: list[str], environ: MutableMapping[str, str]) -> tuple[Roost, Config]:
    if len(arguments) != 1:
        raise ConfigError(TARGET, "name one application: python -m roost.ops.node chat:app")
    config = Config.from_env(environ)
    app = load_target(arguments[0])
    # Whatever the application starts need not know the secret of the cluster.
    environ.pop("ROOST_COOKIE", None)
    return app, config


async def _live(app: Roost, config: Config, leash: NodeEnd | None) -> None:
    stop, met = asyncio.Event(), asyncio.Event()

    def halt() -> None:
        stop.set()
        met.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, halt)
    if leash is not None:
        leash.watch(lambda: _abandoned(halt))
    disk = None if config.data is None else FolderDisk(Path(config.data))
    runtime = Runtime.real(disk)
    try:
        running = await app.boot(config, runtime)
    except OSError as error:
        raise ConfigError(config.name, error.strerror or str(error)) from None
    folder = RunFolder(run_folder(os.environ))
    try:
        with running.node.entered():
            console = await Supervisor.start(
                [console_child(running.node, sockets=running.socket_counts, topics=running.topic_counts)],
                name="console-supervisor",
            )
            given_up = Supervisor.whereis("root").down()
            given_up.add_done_callback(lambda _: halt())
        unfollow = _follow(running.node, folder)
        gc.freeze()
        await _meet(running.node, met)
        if leash is not None and not stop.is_set():
            leash.say(Ready(os.getpid()))
        await stop.wait()
        unfollow()
        folder.remove(os.getpid())
        await console.stop("shutdown")
        if given_up.done():
            raise ProcessDown(config.name, f"its parts crash again and again ({given_up.result().reason})")
        given_up.cancel()
    finally:
        folder.remove(os.getpid())
        await running.stop()


async def _meet(node: Node, met: asyncio.Event) -> None:
    """Wait until every companion is up, so that "ready" means that writes find all of their replicas; not for long.

    A node that is told to join a cluster has companions once it is in.
    """

    def look(_: object = None) -> None:
        is_in = len(node.membership.members) > 1 or not node.config.contacts
        if is_in and not node.membership.unreachable():
            met.set()

    unwatches = [node.fabric.watch(look), node.membership.watch(look)]
    patience = node.runtime.clock.call_later(MEET_S, met.set)
    look()
    await met.wait()
    patience.cancel()
    for unwatch in unwatches:
        unwatch()


def _abandoned(halt: Callable[[], None]) -> None:
    """The launcher is gone: stop in order, or, when that takes too long, by the alarm that nobody catches."""
    logger.info("the launcher is gone: stopping")
    signal.alarm(STOP_S)
    halt()


def _follow(node: Node, folder: RunFolder) -> Callable[[], None]:
    """Let the console find this node, and say in the log when it comes into a cluster or is in none any more.

    Returns what ends that.
    """
    config, started_at = node.config, node.runtime.clock.wall()
    was_alone = [False] if len(config.members) > 1 else [True]

    def adopted(cluster: Cluster) -> None:
        is_alone = len(cluster.members) == 1
        if is_alone == was_alone[0]:
            return
        was_alone[0] = is_alone
        _leave_word(folder, config, started_at, is_alone=is_alone)
        if is_alone:
            logger.warning(
                "%s has left the cluster %s and goes on as a cluster of its own: stop it, or let it join again with "
                "roost cluster join",
                config.name,
                cluster.name,
            )
        elif cluster.member(config.name).status == "joining":
            logger.info("%s is joining %s: roost cluster plan and commit let it in", config.name, cluster.name)

    cluster = node.membership.cluster
    _leave_word(folder, config, started_at, is_alone=len(cluster.members) == 1)
    adopted(cluster)
    return node.membership.watch(adopted)


def _leave_word(folder: RunFolder, config: Config, started_at: float, *, is_alone: bool) -> None:
    """Write the run file; a node that nobody can find is still a node."""
    if config.reachable is None:
        return
    run = RunFile(
        cluster=config.cluster,
        node=config.name,
        link=str(config.reachable),
        tls=config.tls,
        web=str(config.web or ""),
        cookie=config.cookie.decode(),
        pid=os.getpid(),
        started_at=started_at,
        is_alone=is_alone,
    )
    try:
        folder.write(run)
    except ConfigError as error:
        logger.warning("the console cannot find this node: %s", error)


if __name__ == "__main__":
    main()
