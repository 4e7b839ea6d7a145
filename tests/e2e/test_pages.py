"""The page in a real browser on a real cluster: people chat across nodes, look into the store, and outlive a node."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Final

from tests.e2e.chromium import Browser, Page, chromium
from tests.e2e.cluster import demo

HOSTILE: Final = "<img src=x onerror=\"document.body.dataset.broken='yes'\"> & <b>bold</b>"
RETURN_S: Final = 30.0
"""A killed node is started again after a pause, and boots."""


async def enter(browser: Browser, web: str, room: str, name: str) -> Page:
    """Open the page of a node and join a room under a name."""
    page = await browser.page()
    await page.goto(f"{web}/#{room}")
    await page.fill("#name", name)
    await page.press_enter()
    await page.wait(READY)
    return page


async def say(page: Page, body: str) -> None:
    """Send a chat message and wait until the node has taken it."""
    await page.fill("#message", body)
    await page.press_enter()
    await page.wait("document.querySelector('#message').value === '' && !document.querySelector('#send').disabled")


READY: Final = "document.querySelector('#message-form').dataset.ready === 'true'"


def shown(body: str) -> str:
    """The condition that a message is on the page, as text."""
    return f"[...document.querySelectorAll('.message-body')].some(body => body.textContent === {json.dumps(body)})"


def present(name: str, node: str) -> str:
    """The condition that somebody is listed, with the node that he came through."""
    person = f"[...document.querySelectorAll('.person')].find(person => person.dataset.name === {json.dumps(name)})"
    return f"{person}?.querySelector('.badge')?.dataset.node === {json.dumps(node)}"


def connected(node: str) -> str:
    """The condition that the page is connected to that node."""
    return f"document.querySelector('#status[data-state=open]')?.dataset.node === {json.dumps(node)}"


async def test_people_on_two_nodes_chat_and_see_each_other(tmp_path: Path) -> None:
    with demo(tmp_path / "cluster") as cluster:
        async with chromium(tmp_path / "profile") as browser:
            ada = await enter(browser, cluster.web("a"), "tea", "Ada")
            bo = await enter(browser, cluster.web("b"), "tea", "Bo")
            for page in (ada, bo):
                await page.wait(present("Ada", "a@127.0.0.1"))
                await page.wait(present("Bo", "b@127.0.0.1"))
            await say(ada, "Hello from the first node.")
            await say(bo, HOSTILE)
            for page in (ada, bo):
                await page.wait(shown("Hello from the first node."))
                await page.wait(shown(HOSTILE))
                assert await page.evaluate("document.querySelectorAll('.message-body *').length") == 0
                assert await page.evaluate("document.body.dataset.broken ?? null") is None

            await ada.reload()
            await ada.wait(READY)
            await ada.wait(shown("Hello from the first node."))
            await ada.wait(shown(HOSTILE))
            assert await ada.text("#rename") == "You are Ada"

            await bo.evaluate("location.hash = 'coffee'")
            await ada.wait("document.querySelectorAll('.person').length === 1")
            await bo.wait(f"{READY} && document.querySelector('#log-empty').checkVisibility()")
            assert ada.problems == []
            assert bo.problems == []


async def test_store_answers_and_the_ring_shows_where(tmp_path: Path) -> None:
    with demo(tmp_path / "cluster") as cluster:
        async with chromium(tmp_path / "profile") as browser:
            page = await browser.page()
            await page.goto(cluster.web("b"))
            await page.wait("document.querySelectorAll('.slice').length === 64")
            await page.wait("document.querySelectorAll('.member[data-up=true]').length === 3")

            await page.fill("#value", '{"cart": [')
            await page.wait("document.querySelector('#value').getAttribute('aria-invalid') === 'true'")
            await page.fill("#value", '{"cart": ["sku-42"]}')
            await page.click("button[value=PUT]")
            await page.wait("document.querySelector('#answer-line').textContent.includes('Stored: 2 confirmed')")
            await page.wait("document.querySelectorAll('.slice.held').length === 3")
            holders = await page.evaluate(
                "new Set([...document.querySelectorAll('.slice.held')].map(slice => slice.dataset.node)).size"
            )
            assert holders == 3

            await page.click("button[value=GET]")
            await page.wait("document.querySelector('#answer-line').textContent.includes('Read from 2 copies')")
            answer = json.loads(await page.text("#answer-json"))
            assert answer["data"] == {"cart": ["sku-42"]}

            # The page carries the causal context from answer to write, so writing twice settles instead of conflicting.
            await page.fill("#value", "[1, 2]")
            await page.click("button[value=PUT]")
            await page.wait("document.querySelector('#answer-line').textContent.includes('Stored: 2 confirmed')")
            await page.click("button[value=GET]")
            await page.wait("document.querySelector('#answer-json').textContent.includes('[ 1, 2 ]')")

            await page.click("button[value=DELETE]")
            await page.wait("document.querySelector('#answer-line').textContent.includes('Deleted')")
            await page.click("button[value=GET]")
            await page.wait("document.querySelector('#answer-line').textContent.includes('Nothing is stored under')")
            assert page.problems == []


async def test_page_outlives_its_node(tmp_path: Path) -> None:
    with demo(tmp_path / "cluster") as cluster:
        async with chromium(tmp_path / "profile") as browser:
            ada = await enter(browser, cluster.web("a"), "tea", "Ada")
            cy = await enter(browser, cluster.web("c"), "tea", "Cy")
            await cy.wait(connected("c@127.0.0.1"))
            await say(cy, "Before.")

            # While the launcher stands still the dead node stays dead, however slow this machine is.
            os.kill(cluster.pid, signal.SIGSTOP)
            try:
                os.kill(cluster.node_pid("c"), signal.SIGKILL)
                greyed = (
                    "[...document.querySelectorAll('.slice[data-node^=c]')].every(s => s.classList.contains('down'))"
                )
                await ada.wait(greyed)
                await ada.wait("document.querySelector('.member[data-node^=c]').dataset.up === 'false'")
                await cy.wait(f"{connected('a@127.0.0.1')} || {connected('b@127.0.0.1')}")
                await cy.wait("document.querySelector('.note').textContent.includes('c@127.0.0.1 does not answer')")
                await cy.wait(READY)
                await cy.wait(greyed)
                await say(cy, "After.")
                await say(ada, "Welcome back.")
                for page in (ada, cy):
                    for body in ("Before.", "After.", "Welcome back."):
                        await page.wait(shown(body))
                await cy.click("button[value=PUT]")
                await cy.wait("document.querySelector('#answer-line').textContent.includes('Stored: 2 confirmed')")
            finally:
                os.kill(cluster.pid, signal.SIGCONT)
            await asyncio.gather(*(page.wait("!document.querySelector('.slice.down')", RETURN_S) for page in (ada, cy)))
            assert ada.problems == []
            assert cy.problems == []
