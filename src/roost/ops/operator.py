"""The operator's side of the console: find a running node, ask it, write its answer down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from roost.cluster.console_link import ConsoleLink
from roost.config import Address
from roost.errors import HandshakeRefused, NodeDown
from roost.ops.console import COMMANDS, SERVICE, Answer, Question
from roost.ops.render import Form, render
from roost.ops.runfile import RunFile, RunFolder, run_folder
from roost.runtime import Runtime

ASK_S = 5.0


def ask(
    command: str, form: Form, cluster: str | None, node: str | None, environ: Mapping[str, str], about: str = ""
) -> str:
    """Ask the running cluster and return the answer as text.

    Args:
        command: a name of `roost.ops.console.COMMANDS`.
        form: "table", "json" or "csv".
        cluster: which cluster; None for the one that was started last.
        node: which node answers; None for any that does.
        environ: where the run folder is found.
        about: what the question is about, for commands that take something.

    Raises:
        NodeDown: when no such node runs, or none of them answers.
        RoostError: what the node refused with.
        ConfigError: when the run folder cannot be trusted, or the node knows nothing of what the question is about.
    """
    folder = RunFolder(run_folder(environ))
    runs = folder.list(cluster, node)
    if not runs:
        raise _nothing_runs(cluster, node)
    one_cluster = [run for run in runs if run.cookie == runs[0].cookie]
    answer = asyncio.run(first_answer(one_cluster, command, about))
    return render(answer, form)


async def first_answer(runs: Sequence[RunFile], command: str, about: str = "") -> Answer:
    """What the first of these nodes that answers has to say.

    Raises:
        NodeDown: when none of them does; says why for each.
        RoostError: what the node refused with.
    """
    problems: list[str] = []
    for run in runs:
        try:
            return await _answer(run, command, about)
        except (NodeDown, HandshakeRefused, OSError) as error:
            problems.append(f"{run.node}: {error}")
    raise NodeDown(f"the cluster {runs[0].cluster}", "; ".join(problems))


async def _answer(run: RunFile, command: str, about: str) -> Answer:
    address, cookie = Address.parse(run.link), run.cookie.encode()
    async with ConsoleLink(Runtime.real(), address, cluster=run.cluster, cookie=cookie) as node:
        body = await node.call(SERVICE, msgspec.msgpack.encode(Question(command, about)), ASK_S)
    return msgspec.msgpack.decode(body, type=COMMANDS[command].answer)


def _nothing_runs(cluster: str | None, node: str | None) -> NodeDown:
    if node is not None:
        return NodeDown(f"node {node}", "no such node runs here" if cluster is None else f"none such runs in {cluster}")
    if cluster is not None:
        return NodeDown(f"the cluster {cluster}", "none of its nodes runs here")
    return NodeDown("the cluster", "no node runs here: start some with roost demo, or roost run")
