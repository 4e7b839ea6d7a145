"""The chat in real browsers on real nodes: who is here, who is typing, what was said, and who is not invited."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.chat.history import HISTORY_MAX, Message, added, merge_histories
from tests.e2e.chromium import Browser, Page, chromium
from tests.e2e.cluster import HOST, Cluster
from tests.examples.stage import KNOWS_THE_OTHERS, example, stopped

HOSTILE: Final = "<img src=x onerror=\"document.body.dataset.broken='yes'\">"
HOSTILE_NAME: Final = "<b>Eve</b>"
READY: Final = "document.querySelector('#message-form').dataset.ready === 'true'"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests here."""
    with example("chat", tmp_path_factory.mktemp("chat")) as running:
        yield running


async def enter(browser: Browser, web: str, address: str, name: str) -> Page:
    """Open the page of a node at a room, and come in under a name."""
    page = await browser.page()
    await page.goto(f"{web}/#{address}")
    await page.fill("#name", name)
    await page.press_enter()
    await page.wait(READY)
    return page


async def say(page: Page, body: str) -> None:
    """Send a message, and wait until the node has taken it."""
    await page.fill("#message", body)
    await page.press_enter()
    await page.wait("document.querySelector('#message').value === '' && !document.querySelector('#send').disabled")


def shown(body: str) -> str:
    """The condition that a message is on the page, as text, once."""
    body = json.dumps(body)
    return f"[...document.querySelectorAll('.message-body')].filter(each => each.textContent === {body}).length === 1"


def here(*names: str) -> str:
    """The condition that these are in the room, and nobody else."""
    found = "[...document.querySelectorAll('#people li')].map(each => each.dataset.name).sort().join('|')"
    return f"{found} === {json.dumps('|'.join(sorted(names)))}"


async def make_private(page: Page, title: str) -> str:
    """Make a private room; the part of the address that invites into it."""
    await page.fill("#room", title)
    await page.click("button[value=private]")
    await page.wait(f"{READY} && document.querySelector('#title').textContent === {json.dumps(title)}")
    await page.evaluate("navigator.clipboard.writeText = async () => undefined")  # a headless one asks for leave
    await page.click("#invite")
    link = cast(str, await page.wait("document.querySelector('#invite').dataset.link"))
    return link.partition("#")[2]


async def test_people_see_who_is_here_who_is_typing_and_what_is_said(cluster: Cluster, tmp_path: Path) -> None:
    async with chromium(tmp_path) as browser:
        ada = await enter(browser, cluster.web("a"), "tea", "Ada")
        eve = await enter(browser, cluster.web("b"), "tea", HOSTILE_NAME)
        for page in (ada, eve):
            await page.wait(here("Ada", HOSTILE_NAME))
        await eve.fill("#message", "I have an")
        await ada.wait(f"document.querySelector('#typing').textContent === {json.dumps(HOSTILE_NAME + ' is typing…')}")
        assert await eve.text("#typing") == ""
        await say(eve, HOSTILE)
        for page in (ada, eve):
            await page.wait(shown(HOSTILE))
            await page.wait("document.querySelector('#typing').textContent === ''")
            assert await page.evaluate("document.querySelectorAll('#chat img, #chat b b, #people b').length") == 0
            assert await page.evaluate("document.body.dataset.broken ?? null") is None
        await ada.reload()
        await ada.wait(f"{READY} && {shown(HOSTILE)} && {here('Ada', HOSTILE_NAME)}")

        await eve.fill("#room", "coffee & cake/?%")
        await eve.press_enter()
        await eve.wait(f"{READY} && document.querySelector('#title').textContent === 'coffee & cake/?%'")
        await ada.wait(here("Ada"))
        assert "has gone" in await ada.text("#log")
        assert ada.problems == eve.problems == []


async def test_a_private_room_is_entered_with_its_invitation_and_with_no_other(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with chromium(tmp_path) as browser:
        ada = await enter(browser, cluster.web("a"), "", "Ada")
        other = await make_private(ada, "Other plans")
        invitation = await make_private(ada, "Plans")
        topic, token = invitation.split("/")
        await say(ada, "psst")
        assert str(await ada.evaluate("location.href")).endswith(f"#{topic}"), "nobody reads the token over a shoulder"

        bo = await enter(browser, cluster.web("b"), invitation, "Bo")
        await bo.wait(f"{shown('psst')} && document.querySelector('#title').textContent === 'Plans'")
        await ada.wait(here("Ada", "Bo"))
        await bo.reload()  # the page remembers the token
        await bo.wait(f"{READY} && {shown('psst')}")

        for address, reason in (
            (topic, "this room is private"),
            (f"{topic}/{token[:-1]}{'A' if token[-1] != 'A' else 'B'}", "the token is not valid"),
            (f"{topic}/{other.split('/')[1]}", "this invitation is for another room"),
        ):
            stranger = await browser.page()
            await stranger.goto(f"{cluster.web('c')}/#{address}")
            await stranger.fill("#name", "Mallory")
            await stranger.press_enter()
            await stranger.wait(f"document.querySelector('#empty').textContent.includes({json.dumps(reason)})")
            assert not await stranger.evaluate(shown("psst"))
            assert stranger.problems == []
        assert ada.problems == bo.problems == []


async def test_the_room_goes_on_when_a_node_dies(cluster: Cluster, tmp_path: Path) -> None:
    async with chromium(tmp_path) as browser:
        ada = await enter(browser, cluster.web("a"), "lasting", "Ada")
        cy = await enter(browser, cluster.web("c"), "lasting", "Cy")
        await say(cy, "before")
        await cy.wait(f"{here('Ada', 'Cy')} && {KNOWS_THE_OTHERS}")
        with stopped(cluster.pid):
            killed = cluster.kill9("c")
            there = json.dumps(f"Connected to {urlsplit(cluster.web('c')).netloc}")
            await cy.wait(f"document.querySelector('#status').textContent !== {there}")
            await cy.wait(f"document.querySelector('#status').dataset.state === 'open' && {READY}")
            await say(cy, "after")
            await say(ada, "welcome back")
            for page in (ada, cy):
                await page.wait(" && ".join(shown(body) for body in ("before", "after", "welcome back")))
                await page.wait(here("Ada", "Cy"))
        await asyncio.to_thread(cluster.wait_restarted, "c", killed)
        assert ada.problems == cy.problems == []


async def test_a_name_is_asked_for_until_there_is_one(cluster: Cluster, tmp_path: Path) -> None:
    async with chromium(tmp_path) as browser:
        page = await browser.page()
        await page.goto(cluster.web("a"))
        await page.evaluate("document.querySelector('#name').removeAttribute('maxlength')")
        for name, problem in (("  ", ""), ("x" * 41, "a name has from 1 to 40 characters")):
            await page.fill("#name", name)
            await page.press_enter()
            await page.wait(f"document.querySelector('#name-hint').textContent.includes({json.dumps(problem)})")
            assert not await page.evaluate("document.querySelector('#name-form').hidden")
        await page.fill("#name", "Ada")
        await page.press_enter()
        await page.wait(f"{READY} && {here('Ada')}")
        await page.click("#rename")
        await page.fill("#name", "Ada Lovelace")
        await page.press_enter()
        await page.wait(f"{READY} && {here('Ada Lovelace')}")
        assert page.problems == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ("{", "application/json", 400),
        ('{"title": " "}', "application/json", 400),
        ('{"title": "x"}', "text/plain", 415),
    ],
)
def test_a_private_room_needs_a_title_and_a_page_of_ours(cluster: Cluster, body: str, kind: str, status: int) -> None:
    with closing(http.client.HTTPConnection(HOST, cluster.port, timeout=20)) as connection:
        connection.request("POST", "/private", body, {"content-type": kind})
        response = connection.getresponse()
        assert (response.status, "error" in json.loads(response.read())) == (status, True)


histories = st.lists(
    st.builds(lambda at, id: {"id": id, "at": at}, st.integers(0, 9), st.sampled_from("abcdefgh")),
    max_size=8,
    unique_by=lambda message: cast(str, message["id"]),
)


@given(histories, histories)
def test_histories_merge_in_any_order(one: list[Message], other: list[Message]) -> None:
    times = {message["id"]: message["at"] for message in one}
    other = [{**message, "at": times.get(message["id"], message["at"])} for message in other]  # an id has one time
    assert merge_histories((one, other)) == merge_histories((other, one)) == merge_histories((one, other, one))


def test_a_history_keeps_the_last_messages_in_the_order_in_which_they_came() -> None:
    history: object = None
    for number in range(2 * HISTORY_MAX):
        history = added(history, {"id": str(number), "at": 5, "body": str(number)})
    bodies = [message["body"] for message in cast(list[Message], history)]
    assert bodies == [str(number) for number in range(HISTORY_MAX, 2 * HISTORY_MAX)]
