"""The import that is watched from pages: its progress on every node, its end by cancel, crash, or loss of its node."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, cast

import pytest

from examples.progress.importing import ROWS_MAX, RUNNING_MAX
from tests.e2e.chromium import Browser, Page, chromium
from tests.e2e.cluster import HOST, Cluster
from tests.examples.stage import KNOWS_THE_OTHERS, example, stopped

LONG: Final = 50_000
"""Rows that take longer than any test."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests here."""
    with example("progress", tmp_path_factory.mktemp("progress")) as running:
        yield running


def post(cluster: Cluster, node: str, body: str, kind: str = "application/json") -> tuple[int, dict[str, object]]:
    """POST /imports to a node."""
    with closing(http.client.HTTPConnection(HOST, cluster.port + ord(node) - ord("a"), timeout=20)) as connection:
        connection.request("POST", "/imports", body, {"content-type": kind})
        response = connection.getresponse()
        return response.status, cast(dict[str, object], json.loads(response.read()))


async def watching(browser: Browser, cluster: Cluster, node: str, id: object) -> Page:
    """The page of a node, watching an import."""
    page = await browser.page()
    await page.goto(f"{cluster.web(node)}/#{id}")
    await page.wait(status("running"))
    return page


def status(wanted: str) -> str:
    """The condition that the page shows an import in this state."""
    return f"document.querySelector('#job:not([hidden])')?.dataset.status === {json.dumps(wanted)}"


PERCENT: Final = "Number(document.querySelector('#bar').getAttribute('aria-valuenow'))"


async def test_an_import_is_begun_and_watched_to_its_end(cluster: Cluster, tmp_path: Path) -> None:
    async with chromium(tmp_path) as browser:
        page = await browser.page()
        await page.goto(cluster.web("a"))
        await page.fill("#rows", "400")
        await page.press_enter()
        await page.wait(f"{status('running')} && {PERCENT} > 0 && {PERCENT} < 90")
        await page.reload()
        await page.wait(f"{status('done')} && {PERCENT} === 100")
        assert await page.text("#line") == "400 of 400 rows, 100 %"
        assert (await page.text("#imported"), await page.text("#left-out")) == ("396", "4")
        assert "product 99,?" in await page.text("#bad")
        assert page.problems == []


async def test_a_crash_is_told_to_everybody_who_watches_and_the_import_can_begin_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    _, job = post(cluster, "a", json.dumps({"rows": LONG}))
    async with chromium(tmp_path) as browser:
        mine = await watching(browser, cluster, "a", job["id"])
        friend = await watching(browser, cluster, "c", job["id"])
        await friend.click("#crash")
        for page in (mine, friend):
            await page.wait(status("crashed"))
            assert "ZeroDivisionError: somebody has pressed the crash button" in await page.text("#news")
        await mine.fill("#rows", str(LONG))
        await mine.click("#again")
        await mine.wait(f"{status('running')} && location.hash.length > 1")
        await mine.wait("Number(document.querySelector('#imported').textContent) > 0")
        assert await friend.evaluate(status("crashed")), "it is another import"
        await mine.click("#cancel")
        await mine.wait(status("cancelled"))
        assert await mine.text("#job-title") == "Import cancelled"
        assert mine.problems == friend.problems == []


async def test_an_import_whose_node_is_lost_is_told_to_be(cluster: Cluster, tmp_path: Path) -> None:
    _, job = post(cluster, "b", json.dumps({"rows": LONG}))
    async with chromium(tmp_path) as browser:
        there = await watching(browser, cluster, "b", job["id"])
        elsewhere = await watching(browser, cluster, "a", job["id"])
        await there.wait(KNOWS_THE_OTHERS)
        with stopped(cluster.pid):
            killed = cluster.kill9("b")
            for page in (there, elsewhere):
                await page.wait(status("lost"))
                assert "the node that it ran on" in (await page.text("#news")).lower()
            await there.fill("#rows", "100")
            await there.click("#again")  # on the node that the page has gone on with
            await there.wait(status("done"))
        cluster.wait_restarted("b", killed)
        assert there.problems == elsewhere.problems == []


async def test_an_import_that_nobody_knows_can_be_begun_instead(cluster: Cluster, tmp_path: Path) -> None:
    async with chromium(tmp_path) as browser:
        for id in ("a@127.0.0.1/unknown", "nobody/nothing", "%F0%9F", "<b>"):
            page = await browser.page()
            await page.goto(f"{cluster.web('a')}/#{id}")
            await page.wait(status("lost"))
            assert page.problems == []


@pytest.mark.parametrize("body", ["{", "[]", '{"rows": 0}', json.dumps({"rows": ROWS_MAX + 1}), '{"row": 1}'])
def test_an_order_that_makes_no_sense_is_refused(cluster: Cluster, body: str) -> None:
    code, answer = post(cluster, "a", body)
    assert code == 400
    assert answer["error"]


def test_a_form_of_another_site_begins_nothing(cluster: Cluster) -> None:
    assert post(cluster, "a", "{}", "text/plain")[0] == 415


def test_no_more_imports_run_at_a_time_than_a_node_bears(cluster: Cluster) -> None:
    codes = [post(cluster, "c", json.dumps({"rows": LONG}))[0] for _ in range(RUNNING_MAX)]
    assert codes == [201] * RUNNING_MAX
    code, answer = post(cluster, "c", json.dumps({"rows": LONG}))
    assert code == 503
    assert "wait until one is done" in cast(str, answer["error"])


def test_a_job_is_found_through_every_node(cluster: Cluster) -> None:
    _, job = post(cluster, "a", json.dumps({"rows": 10}))
    with closing(cluster.visitor("b")) as visitor:
        assert visitor.ask("GET", f"/imports/{job['id']}").body["rows"] == 10
        assert visitor.ask("GET", "/imports/a@127.0.0.1/none").status == 404
        assert visitor.ask("GET", "/imports/nowhere/none").status == 503
