"""Zap Chat as people use it: lines over TCP on three nodes and one that joins, and the terminal in a browser."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.zap_chat import tcp
from examples.zap_chat.room import (
    LINES_MAX,
    Answer,
    Change,
    Enter,
    Guess,
    Leave,
    Line,
    Room,
    Say,
    StartGame,
    Visitor,
    change,
    merge,
)
from tests.e2e.chromium import Page, chromium
from tests.e2e.cluster import Cluster
from tests.examples.stage import KNOWS_THE_OTHERS, commit, example, newcomer, operate, statuses, stopped, wait_until
from tests.examples.talker import Talker
from tests.examples.workshop import PAGE

ROOMS: Final = 12
"""So many that some of them move."""
HOSTILE: Final = "<img/src=x/onerror=document.body.dataset.broken=1>"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests here."""
    with example("zap_chat", tmp_path_factory.mktemp("zap")) as running:
        yield running


@contextmanager
def talker(cluster: Cluster, node: str, name: str = "", *rooms: str) -> Iterator[Talker]:
    """Somebody connected to a node, under a name and in some rooms already."""
    with closing(Talker(cluster.port + ord(node) - ord("a") + tcp.PORTS_AFTER)) as somebody:
        somebody.hear("connected! 'set-name <name>' and 'join <chat name>' to get started")
        if name:
            somebody.type(f"set-name {name}")
            somebody.hear(f"ok your name is {name}")
        for room in rooms:
            somebody.type(f"join {room}")
            somebody.hear(f"* {name} has joined {room}")
        yield somebody


def test_people_on_three_nodes_talk_in_a_room(cluster: Cluster) -> None:
    with talker(cluster, "a", "Alex", "R") as alex, talker(cluster, "b") as bo, talker(cluster, "c", "Cy", "R") as cy:
        assert alex.hear("* Cy has joined R") == ["* Cy has joined R"]
        bo.type("join R", "say R hello", "")
        bo.hear("sorry, you need a name first")
        bo.hear("sorry, you need a name first")
        bo.type("set-name Bo", "say R hello", "join R")
        bo.hear("you are not in R: join it first")
        bo.hear("joined R! 'say R <message>' to chat")
        for everybody in (alex, bo, cy):
            everybody.hear("* Bo has joined R")
        bo.type("say R good  morning")
        for everybody in (alex, bo, cy):
            assert everybody.hear("R - Bo:")[-1] == "R - Bo: good morning"
        cy.type("who R", "leave R", "say R too late")
        assert cy.hear("3 in R")[-1] == "3 in R: Alex, Bo, Cy"
        cy.hear("left R")
        cy.hear("you are not in R")
        alex.hear("* Cy has left R")
        bo.close()
        alex.hear("* Bo has left R")


def test_who_joins_is_told_what_was_said_and_who_was_away_what_is_unread(cluster: Cluster) -> None:
    with talker(cluster, "a", "Ann", "past") as ann, talker(cluster, "b", "Ben", "past") as ben:
        ann.hear("* Ben has joined past")
        ann.type("say past one")
        ben.hear("past - Ann: one")
        ben.type("leave past", "show-unread")
        ben.hear("nothing is unread")
        ann.hear("* Ben has left past")
        ann.type("say past two")
        ann.hear("past - Ann: two")
        ben.type("show-unread")
        assert ben.hear("past - Ann:") == ["past - Ann: two"]
        ben.type("show-unread", "join past")
        assert ben.hear("* Ben has joined past") == [
            "nothing is unread",
            "joined past! 'say past <message>' to chat",
            "past - Ann: one",
            "past - Ann: two",
            "* Ben has joined past",
        ]


def test_a_number_is_guessed_and_the_winner_gets_his_points(cluster: Cluster) -> None:
    with talker(cluster, "a", "Gil", "game") as gil, talker(cluster, "c", "Hal", "game") as hal:
        gil.type("guess game 1", "start-game game many", "start-game game 2", "guess game 1")
        gil.hear("no game is on in game")
        gil.hear("sorry, 'many' is not a number from 2 to 1000")
        first = gil.hear("* Gil guesses 1")[-1]
        hal.hear(first)
        points = 10
        if "winner" not in first:
            assert first == "* Gil guesses 1: higher"
            gil.type("guess game 2")
            points = 8
            hal.hear("winner!")
        gil.type("scores game")
        scores = gil.hear("Gil: ")
        assert f"winner! {points} points for Gil" in " ".join([first, *scores])
        assert scores[-1] == f"  Gil: {points} points, 1 won, 0 lost"


def test_a_name_belongs_to_one_visitor_of_a_room(cluster: Cluster) -> None:
    with talker(cluster, "a", "Twin", "one"), talker(cluster, "b") as other:
        other.type("set-name Twin", "join one", "join another", "set-name Other", "join one")
        other.hear("somebody in one is called Twin already: set-name first")
        other.hear("* Twin has joined another")
        heard = other.hear("* Other has joined one")
        assert "* Other has joined another" in heard, "who takes another name keeps his rooms"


def test_who_types_before_he_is_welcomed_is_heard_all_the_same(cluster: Cluster) -> None:
    for _ in range(20):
        with closing(Talker(cluster.port + tcp.PORTS_AFTER)) as quick:
            quick.type("set-name Quick", "join quick", "quit")
            quick.hear("connected!")
            quick.hear("joined quick!")
            quick.hear("bye")


def test_a_node_welcomes_so_many_and_tells_the_others(cluster: Cluster) -> None:
    with ExitStack() as connected:
        for _ in range(tcp.CONNECTIONS_MAX):
            connected.enter_context(closing(Talker(cluster.port + 1 + tcp.PORTS_AFTER))).hear("connected!")
        refused = connected.enter_context(closing(Talker(cluster.port + 1 + tcp.PORTS_AFTER)))
        assert refused.line() == "sorry, this node is full: try another one"

    def is_welcome() -> bool:
        with closing(Talker(cluster.port + 1 + tcp.PORTS_AFTER)) as another:
            return another.line().startswith("connected!")

    wait_until(is_welcome)  # as soon as the node has noticed that somebody has gone


def test_what_makes_no_sense_is_refused_and_hurts_nobody(cluster: Cluster) -> None:
    with talker(cluster, "a", "Odd", "odd") as odd:
        odd.type("dance", "say odd", "set-name two words", "set-name " + "x" * 31, "ping 99", "join")
        for reason in (
            "sorry, I don't understand 'dance'",
            "what do you want to say?",
            "a name is one word",
            "a name has at most 30 characters",
            "'99' is not a number from 1 to 10",
            "a room is missing",
        ):
            odd.hear(reason)
        odd.send(b"say odd \x1b[31mred\r\n\xff\xfe\n" + b"x" * 5_000 + b"\nping 2\r\n")
        assert odd.hear("sorry")[-1] == "sorry, I don't understand 'say odd ?[31mred'. Try 'help'"
        odd.hear("sorry, I don't understand")
        assert odd.hear("at most 1000 bytes") == ["sorry, a line has at most 1000 bytes"]
        odd.hear("pong from partition")
        odd.hear("pong from partition")
        odd.type(*(f"say odd {number}" for number in range(100)))
        said = [odd.hear("odd - Odd: ")[-1] for _ in range(100)]
        assert said == [f"odd - Odd: {number}" for number in range(100)], "none is lost, and none overtakes another"
        odd.type("quit")
        odd.hear("bye")


def test_a_room_moves_with_all_that_is_in_it_and_its_members_go_on(cluster: Cluster) -> None:
    rooms = [f"moving-{number}" for number in range(ROOMS)]
    with talker(cluster, "a", "Kim", *rooms) as kim, talker(cluster, "b", "Lou", *rooms) as lou:
        for room in rooms:
            kim.type(f"say {room} before", f"start-game {room} 1000", f"guess {room} 1000")
        for _ in rooms:
            lou.hear("* Kim guesses 1000")
        with newcomer(cluster, "zap_chat") as joining:
            commit(cluster)
            with talker(joining, "a", "New", *rooms) as new:
                for room in rooms:
                    new.type(f"who {room}", f"guess {room} 1")
                    assert f"3 in {room}: Kim, Lou, New" in new.hear("* New guesses 1")
                    kim.type(f"say {room} after")
                    new.hear(f"{room} - Kim: after")
                    lou.hear(f"{room} - Kim: after")
                new.type(*(f"leave {room}" for room in rooms))
                lou.hear(f"* New has left {rooms[-1]}")
            operate(cluster, "leave", "d@127.0.0.1" if "d@127.0.0.1" in statuses(cluster) else "e@127.0.0.1")
            commit(cluster)
        with talker(cluster, "c", "Old", *rooms) as old:
            for room in rooms:
                old.type(f"leave {room}", f"join {room}", f"start-game {room}")
                told = old.hear(f"a game is on in {room}")
                assert [line for line in told if line.startswith(room)] == [
                    f"{room} - Kim: before",
                    f"{room} - Kim: after",
                ]


def has_said_more_often(cluster: Cluster, text: str, times: int) -> bool:
    """Whether the cluster has printed something more often than so many times."""
    return cluster.output().count(text) > times


def test_when_a_node_dies_its_visitors_leave_and_every_room_lives_on(cluster: Cluster) -> None:
    rooms = [f"outliving-{number}" for number in range(ROOMS)]
    with talker(cluster, "a", "Mia", *rooms) as mia, talker(cluster, "c", "Ned", *rooms) as ned:
        for room in rooms:
            ned.type(f"say {room} before")
            mia.hear(f"{room} - Ned: before")
        for victim in ("c", "b"):  # the second one before anything was said anew: what the first one lost is back
            given = f"of RoomVnode to {victim}@"
            before = cluster.output().count(given)
            with stopped(cluster.pid):
                killed = cluster.kill9(victim)
                if victim == "c":
                    told = {mia.hear("* Ned has left")[-1] for _ in rooms}
                    assert told == {f"* Ned has left {room}" for room in rooms}
                for room in rooms:
                    mia.type(f"say {room} without {victim}")
                    mia.hear(f"{room} - Mia: without {victim}")
            cluster.wait_restarted(victim, killed)
            wait_until(partial(has_said_more_often, cluster, given, before))
            with talker(cluster, victim, f"Visitor-{victim}") as visitor:
                for room in rooms:
                    visitor.type(f"join {room}")
                    heard = visitor.hear("has joined")
                    assert f"{room} - Ned: before" in heard
                    assert f"{room} - Mia: without {victim}" in heard
                    mia.hear(f"* Visitor-{victim} has joined {room}")


TRANSCRIPT: Final = re.compile(r"^```text\n\$ nc localhost 40(\d)(\d)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_workshop_says_what_happens(tmp_path: Path) -> None:
    """Exercise 6: what is typed there is typed here, and what it prints is what is printed there."""
    [section] = re.findall(r"^## Exercise 6:.*?(?=^## )", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    transcripts = TRANSCRIPT.findall(section)
    assert len(transcripts) == 3
    with example("zap_chat", tmp_path) as cluster, ExitStack() as connected, stopped(cluster.pid):
        visitors: list[Talker] = []
        for tens, ones, lines in transcripts:
            if ones == "2":
                cluster.kill9("a")
                visitors[1].hear("* Ada has left tea")
            visitor = connected.enter_context(closing(Talker(cluster.port + 10 * int(tens) + int(ones))))
            visitors.append(visitor)
            for line in lines.splitlines():
                if line.startswith("> "):
                    visitor.type(line.removeprefix("> "))
                else:
                    assert visitor.line() == line


async def command(page: Page, line: str, answer: str) -> None:
    """Type a command into the terminal, and wait for a line that contains the answer."""
    await page.fill("#line", line)
    await page.press_enter()
    await page.wait(printed(answer))


def printed(text: str) -> str:
    """The condition that the terminal shows this."""
    return f"[...document.querySelectorAll('.out')].some(line => line.textContent.includes({json.dumps(text)}))"


async def test_the_terminal_in_a_browser_talks_to_nc_and_outlives_its_node(tmp_path: Path) -> None:
    with example("zap_chat", tmp_path / "cluster") as cluster:
        async with chromium(tmp_path / "profile") as browser:
            page = await browser.page()
            await page.goto(cluster.web("b"))
            await page.wait("document.body.dataset.node === 'b@127.0.0.1'")
            await command(page, "join tea", "sorry, you need a name first")
            await command(page, "set-name Pia", "ok your name is Pia")
            await command(page, "join tea", "* Pia has joined tea")
            with talker(cluster, "a", "<b>Eve</b>", "tea") as nc:
                nc.type(f"say tea {HOSTILE}")
                await page.wait(printed(f"tea - <b>Eve</b>: {HOSTILE}"))
                assert await page.evaluate("document.querySelectorAll('#screen img').length") == 0
                await command(page, "say tea from a page", "tea - Pia: from a page")
                nc.hear("tea - Pia: from a page")
                await page.click("#chips button")  # the first one begins a sentence
                assert await page.evaluate("document.activeElement.id + document.querySelector('#line').value") == (
                    "linesay tea "
                )
                await page.reload()
                await page.wait(printed("tea - Pia: from a page"))
                await page.wait(KNOWS_THE_OTHERS)
                with stopped(cluster.pid):
                    os.kill(cluster.node_pid("b"), signal.SIGKILL)
                    await page.wait("['a@127.0.0.1', 'c@127.0.0.1'].includes(document.body.dataset.node)")
                    await page.wait(printed("joined tea!"))
                    await command(page, "say tea still here", "tea - Pia: still here")
                    nc.hear("tea - Pia: still here")
                    await command(page, "who tea", "2 in tea: ")
                assert await page.evaluate("document.body.dataset.broken ?? null") is None
                assert page.problems == []


# The rules, without a cluster.

PEOPLE: Final = [Visitor(name, f"owner of {name}", f"visit of {name}", "a") for name in ("Ada", "Bo")]
who = st.sampled_from(PEOPLE)
times = st.integers(0, 100)
lines = st.builds(Line, times, st.text("0123456789", min_size=6, max_size=6), st.just("Ada"), st.just("hi"))
commands = st.one_of(
    st.builds(Enter, st.just("r"), who, times),
    st.builds(Leave, st.just("r"), who, times),
    st.builds(Say, st.just("r"), who, lines),
    st.builds(StartGame, st.just("r"), who, times, st.integers(1, 5), st.just(5)),
    st.builds(Guess, st.just("r"), who, st.integers(1, 5)),
)


def after(told: list[Change]) -> Room:
    """A room that was told these commands."""
    room = Room()
    for each in told:
        room, _ = change(room, each)
    return room


@given(st.lists(commands, max_size=30), st.lists(commands, max_size=30), st.lists(commands, max_size=30))
def test_copies_merge_to_the_same_in_any_order_and_twice(
    one: list[Change], other: list[Change], third: list[Change]
) -> None:
    a, b, c = after(one), after(other), after(third)
    assert merge(a, b) == merge(b, a)
    assert merge(a, merge(b, c)) == merge(merge(a, b), c)
    assert merge(merge(a, b), b) == merge(a, b)
    assert merge(a, a) == a


def test_a_room_remembers_the_last_lines_only() -> None:
    room = after([Enter("r", PEOPLE[0], 1)])
    for number in range(2 * LINES_MAX):
        room, _ = change(room, Say("r", PEOPLE[0], Line(1, str(number), "Ada", str(number))))
    assert [line.text for line in room.lines] == [str(number) for number in range(LINES_MAX, 2 * LINES_MAX)]


def test_three_guesses_each_and_everybody_has_lost() -> None:
    room = after([Enter("r", PEOPLE[0], 1), Enter("r", PEOPLE[1], 2), StartGame("r", PEOPLE[0], 3, 9, 10)])
    answers: list[Answer] = []
    for guesser in (*PEOPLE, *PEOPLE, *PEOPLE, PEOPLE[0]):
        room, answer = change(room, Guess("r", guesser, 1))
        answers.append(answer)
    assert answers[-2].to_all[-1] == "* nobody has guesses left: it was 9"
    assert answers[-1].to_you == ("no game is on in r: 'start-game r 100'",)
    assert {name: score.losses for name, score in room.scores.items()} == {"Ada": 1, "Bo": 1}
