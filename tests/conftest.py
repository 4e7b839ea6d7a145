"""Runs `async def` tests on a fresh event loop, and makes whatever they leave behind an error.

`@pytest.mark.virtual_time` runs one in a simulated world instead, where a sleep of an hour takes no time;
`@pytest.mark.virtual_time(seed=7)` chooses the interleaving.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from typing import cast

import pytest
from hypothesis import settings

from roost.sim import run

TEST_TIMEOUT_S = 60.0
ALONE = "real"
"""The folder of tests with whole clusters that are judged by how soon they notice something."""


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and let no example of a property fail because the machine is busy."""
    settings.register_profile("untimed", parent=settings.default, deadline=None)
    settings.load_profile("untimed")
    config.addinivalue_line("markers", "virtual_time(seed=0): run this async test in virtual time")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what must not be split when two processes share the tests: a file, or all that moves real cables."""
    for item in items:
        folder = item.path.parent
        group = folder if folder.name == ALONE else item.path
        item.add_marker(pytest.mark.xdist_group(str(group)))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test to its end; a task that it leaves running fails it."""
    if not inspect.iscoroutinefunction(pyfuncitem.function):
        return None
    names = inspect.signature(pyfuncitem.function).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    problems: list[str] = []

    virtual = pyfuncitem.get_closest_marker("virtual_time")

    async def story() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: problems.append(str(context)))
        async with asyncio.timeout(None if virtual is not None else TEST_TIMEOUT_S):
            await cast("Coroutine[object, object, None]", pyfuncitem.obj(**arguments))
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        problems.extend(f"left running: {task!r}" for task in left)

    if virtual is not None:
        run(int(virtual.kwargs.get("seed", 0)), story())
    else:
        with asyncio.Runner() as runner:
            runner.run(story())
    assert not problems, "\n".join(problems)
    return True
