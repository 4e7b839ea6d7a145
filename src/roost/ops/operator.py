"""The operator's side of the console: find a running node, ask it, write its answer down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from roost.cluster.console_link import ConsoleLink
from roost.config import Address
from roost.errors import ChangeFailed, ConfigError, HandshakeRefused, NodeDown
from roost.ops import questions
from roost.ops.answers import Ready
from roost.ops.console import COMMANDS, SERVICE, Answer
from roost.ops.questions import Question, SettledOf
from roost.ops.render import Form, render
from roost.ops.runfile import RunFile, RunFolder
from roost.runtime import Runtime
from roost.runtime.run_folder import run_folder

POLL_S = 0.5
"""How often a cluster that is awaited is asked."""


def find(cluster: str | None, node: str | None, environ: Mapping[str, str]) -> list[RunFile]:
    """The running nodes that may be asked, of one cluster, the best one first.

    Args:
        cluster: which cluster; None for the one that was started last.
        node: only this node; None for any.
        environ: where the run folder is found.

    Raises:
        NodeDown: when no such node runs.
        ConfigError: when the run folder cannot be trusted.
    """
    runs = RunFolder(run_folder(environ)).list(cluster, node)
    if not runs:
        raise _nothing_runs(cluster, node)
    return [run for run in runs if run.cookie == runs[0].cookie]


def ask(question: Question, form: Form, runs: Sequence[RunFile]) -> tuple[str, bool]:
    """Ask the running cluster; return the answer as text, and whether it is what a script hopes for.

    Args:
        question: of `roost.ops.questions`.
        form: "table", "json" or "csv".
        runs: the nodes of which the first that answers is asked.

    Raises:
        NodeDown: when none of them answers.
        RoostError: what the node refused with.
    """
    answer = asyncio.run(first_answer(runs, question))
    return render(answer, form), answer.ready if isinstance(answer, Ready) else True


async def first_answer(runs: Sequence[RunFile], question: Question) -> Answer:
    """What the first of these nodes that answers has to say.

    Raises:
        ChangeFailed: when a change was asked for, and not answered: it is not asked for again.
        NodeDown: when none of them does; says why for each.
        RoostError: what the node refused with.
    """
    problems: list[str] = []
    for run in runs:
        try:
            return await _answer(run, question)
        except (NodeDown, HandshakeRefused, OSError) as error:
            problems.append(f"{run.node}: {error}")
    raise NodeDown(f"the cluster {runs[0].cluster}", "; ".join(problems))


async def _answer(run: RunFile, question: Question) -> Answer:
    command = COMMANDS[str(question.__struct_config__.tag)]
    address, cookie = Address.parse(run.link), run.cookie.encode()
    async with ConsoleLink(Runtime.real(), address, cluster=run.cluster, cookie=cookie, tls=run.tls) as node:
        try:
            body = await node.call(SERVICE, questions.encode(question), command.timeout_s)
        except NodeDown as error:
            if command.changes:
                raise ChangeFailed(str(error)) from None
            raise
    return msgspec.msgpack.decode(body, type=command.answer)


def wait_until_settled(form: Form, runs: Sequence[RunFile], timeout_s: float) -> tuple[str, bool]:
    """Ask again and again until nothing moves in the cluster; return the last answer as `ask` does.

    Args:
        timeout_s: when to give up, in seconds.

    Raises: as `ask`, but a cluster that does not answer in time is asked again.
    """
    answer = asyncio.run(_settled(runs, timeout_s))
    return render(answer, form), isinstance(answer, Ready) and answer.ready


async def _settled(runs: Sequence[RunFile], timeout_s: float) -> Answer:
    clock = Runtime.real().clock
    ends = clock.now() + timeout_s
    while True:
        try:
            answer = await first_answer(runs, SettledOf())
        except NodeDown:
            if clock.now() >= ends:
                raise
        else:
            if clock.now() >= ends or (isinstance(answer, Ready) and answer.ready):
                return answer
        await clock.sleep(POLL_S)


def find_newcomer(cluster: str | None, node: str | None, environ: Mapping[str, str]) -> list[RunFile]:
    """The running node that shall join a cluster: `node`, or the only one that is alone.

    Raises:
        NodeDown: when no such node runs.
        ConfigError: when it is not clear which one is meant.
    """
    runs = find(cluster, node, environ)
    if node is None:
        every = RunFolder(run_folder(environ)).list(cluster)
        runs = [run for run in every if run.is_alone]
    if len(runs) != 1:
        found = ", ".join(run.node for run in runs) or "none"
        raise ConfigError("--node", f"say which node shall join; those that are in no cluster: {found}")
    return runs


def contact(where: str, environ: Mapping[str, str]) -> tuple[Address, RunFile | None]:
    """Where to ask to join: "host:port", or the name of a node or of a cluster that runs on this machine.

    Returns: the address, and what the run folder knows of the node there, if anything.

    Raises:
        ConfigError: when it is no address, and nothing of that name runs here.
    """
    runs = RunFolder(run_folder(environ)).list()
    try:
        address = Address.parse(where)
    except ValueError:
        for run in runs:
            if where in (run.node, run.node.partition("@")[0], run.cluster):
                return Address.parse(run.link), run
        raise ConfigError(
            "WHERE", f"{where!r} is not host:port, and no node or cluster of that name runs here"
        ) from None
    known = (run for run in runs if run.link == str(address))
    return address, next(known, None)


def _nothing_runs(cluster: str | None, node: str | None) -> NodeDown:
    if node is not None:
        return NodeDown(f"node {node}", "no such node runs here" if cluster is None else f"none such runs in {cluster}")
    if cluster is not None:
        return NodeDown(f"the cluster {cluster}", "none of its nodes runs here")
    return NodeDown("the cluster", "no node runs here: start some with roost demo, or roost run")
