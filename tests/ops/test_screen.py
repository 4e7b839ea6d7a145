"""What the launcher prints, with and without a terminal."""

from __future__ import annotations

import io

import pytest

from roost.ops.plan import plan_nodes
from roost.ops.screen import Screen


class Terminal(io.StringIO):
    """A terminal to write to."""

    def isatty(self) -> bool:
        return True


def test_a_file_gets_plain_lines_in_one_column() -> None:
    out = io.StringIO()
    screen = Screen(out, ["a", "ab"], {})
    screen.line("a", "hello")
    screen.line("ab", "hello")
    screen.notice("hello")
    assert out.getvalue() == "a     | hello\nab    | hello\nroost | hello\n"


def test_a_terminal_gets_colours_one_for_each_node() -> None:
    out = Terminal()
    screen = Screen(out, ["a", "b"], {})
    screen.line("a", "hello")
    screen.line("b", "hello")
    assert out.getvalue() == "\x1b[36ma     |\x1b[0m hello\n\x1b[33mb     |\x1b[0m hello\n"


def test_colours_go_round() -> None:
    out = Terminal()
    names = [f"n{number:02}" for number in range(30)]
    screen = Screen(out, names, {})
    for name in names:
        screen.line(name, "")
    lines = out.getvalue().splitlines()
    assert lines[0].partition("m")[0] == lines[12].partition("m")[0] == lines[24].partition("m")[0]


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_turned_off(environ: dict[str, str]) -> None:
    out = Terminal()
    Screen(out, ["a"], environ).line("a", "hello")
    assert out.getvalue() == "a     | hello\n"


def test_the_table_of_nodes() -> None:
    out = io.StringIO()
    nodes = plan_nodes("demo", 2, 4000)
    Screen(out, ["a", "b"], {}).banner("Two nodes", nodes, [17, 4711])
    assert out.getvalue() == (
        "\n"
        "  Two nodes\n"
        "\n"
        "  node          web                      node link        process\n"
        "  ---------------------------------------------------------------\n"
        "  a@127.0.0.1   http://127.0.0.1:4000/   127.0.0.1:4100   17\n"
        "  b@127.0.0.1   http://127.0.0.1:4001/   127.0.0.1:4101   4711\n"
        "\n"
        "  open http://127.0.0.1:4000/  (Ctrl-C stops everything)\n"
        "\n"
    )
