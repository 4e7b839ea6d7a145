"""The tree keeps the rules of the house, and the rules catch those who do not."""

from __future__ import annotations

import re
import statistics
import subprocess
from pathlib import Path

import pytest

from tests import tidy
from tests.tidy import Complaint, Source

ROOT = Path(__file__).parent.parent
MEDIAN_LINES_MAX = 200


def tracked() -> list[str]:
    """The files of the repository, and those that would be added to it."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [name for name in names if (ROOT / name).is_file()]


def sources() -> list[Source]:
    """Every Python file of the repository."""
    return [Source.parse(path, (ROOT / path).read_text("utf-8")) for path in tracked() if path.endswith(".py")]


def report(complaints: list[Complaint]) -> str:
    """The complaints as lines that an editor can jump to."""
    return "\n" + "\n".join(map(str, complaints))


def test_every_source_is_tidy() -> None:
    every = sources()
    documented = tidy.index(every)
    found = [complaint for source in every for complaint in tidy.complaints(source, documented)]
    assert not found, report(found)


def test_half_of_the_files_are_short() -> None:
    lines = [source.text.count("\n") for source in sources() if source.within("src")]
    assert statistics.median(lines) <= MEDIAN_LINES_MAX


def test_no_file_speaks_of_the_workplace() -> None:
    found: list[Complaint] = []
    for path in tracked():
        content = (ROOT / path).read_bytes()
        if b"\0" not in content:
            found += tidy.workplace_words(path, content.decode("utf-8"))
    assert not found, report(found)


def test_every_limit_is_enforced() -> None:
    every = sources()
    [limits] = [source for source in every if source.path == "src/roost/limits.py"]
    users = [source for source in every if source.within("src") and source is not limits]
    found = tidy.unused_limits(limits, users)
    assert not found, report(found)


def test_the_tree_of_errors_is_drawn_in_full() -> None:
    found = tidy.error_tree(*errors())
    assert not found, report(found)


def errors() -> tuple[Source, list[Source]]:
    """The page with the tree, and the files with the classes."""
    page, *families = [source for source in sources() if source.within("src/roost/errors")]
    assert page.path.endswith("__init__.py")
    return page, families


DOCUMENTED_BASE = '"""A base."""\nclass Base:\n    """A base."""\n    def init(self) -> None:\n        """Begin."""\n'
HEAD = '"""A sample."""\n'
LATER = "TO" + "DO"

PLANTED = [
    ("src/roost/core/a.py", HEAD + "x = 1\n" * 600, 601, "split it by noun"),
    ("src/roost/core/a.py", HEAD + "def _f() -> None:\n" + "    x = 1\n" * 70, 2, "_f has 71 lines"),
    ("src/roost/core/a.py", HEAD + f"x = 1  # {LATER}: more\n", 2, "finish it"),
    ("src/roost/core/a.py", HEAD + "x = 1  # type: ignore\n", 2, "silences"),
    ("src/roost/core/a.py", HEAD + "x = 1  # type: ignore[misc]\n", 2, "silences"),
    ("src/roost/core/a.py", HEAD + "import os  # noqa: F401\n", 2, "silences"),
    ("tests/core/test_a.py", "import pytest\n@pytest.mark.skip\ndef test_a() -> None: ...\n", 2, "always runs"),
    ("tests/core/test_a.py", "import pytest\npytest.importorskip('redis')\n", 2, "always runs"),
    ("tests/core/test_a.py", "import time\ntime.sleep(0.1)\n", 2, "sleeps"),
    ("tests/sim/test_a.py", "import time\ntime.sleep(0.1)\n", 2, "sleeps"),
    ("tests/core/test_a.py", "from asyncio import sleep\nawait_ = sleep(delay)\n", 2, "sleeps"),
    ("src/roost/wire/a.py", HEAD + "import pickle\n", 2, "imports pickle"),
    ("src/roost/wire/a.py", HEAD + "from marshal import loads\n", 2, "imports marshal"),
    ("src/roost/wire/a.py", HEAD + "from importlib import import_module\n", 2, "closed table"),
    ("src/roost/wire/a.py", HEAD + "x = eval('1')\n", 2, "calls eval"),
    ("src/roost/live/a.py", HEAD + "def _f() -> None:\n    asyncio.create_task(g())\n", 3, "process of otp"),
    ("src/roost/live/a.py", HEAD + "from roost import GenServer\n", 2, "where it is defined"),
    ("src/roost/live/a.py", HEAD + "seen = set()\n", 2, "begins empty"),
    ("src/roost/live/a.py", HEAD + "SEEN: Final[list[int]] = []\n", 2, "begins empty"),
    ("src/roost/live/a.py", HEAD + "IDS = itertools.count(1)\n", 2, "begins empty"),
    ("src/roost/live/a.py", HEAD + "T = {1: 2}\ndef _f() -> None:\n    T[2] = 3\n", 4, "changes T"),
    ("src/roost/live/a.py", HEAD + "T = [1]\ndef _f() -> None:\n    T.append(2)\n", 4, "changes T"),
    ("src/roost/live/a.py", HEAD + "n = 0\ndef _f() -> None:\n    global n\n    n = 1\n", 4, "global n"),
    ("src/roost/live/a.py", HEAD + "@functools.cache\ndef _f() -> None: ...\n", 3, "without bound"),
    ("src/roost/live/a.py", "x = 1\n", 1, "the module has no docstring"),
    ("src/roost/live/a.py", HEAD + "class Room: ...\n", 2, "Room has no docstring"),
    ("src/roost/live/a.py", HEAD + "def enter() -> None: ...\n", 2, "enter has no docstring"),
    ("src/roost/live/a.py", DOCUMENTED_BASE + "    def leave(self) -> None: ...\n", 6, "Base.leave has no docstring"),
    ("src/roost/live/a.py", HEAD + 'def enter(x: list[Any]) -> None:\n    """Go in."""\n', 2, "says Any"),
]

INNOCENT = [
    ("src/roost/core/a.py", HEAD + "x = 1  # type: ignore[misc]  # the stub is wrong\n"),
    ("src/roost/core/a.py", HEAD + "TABLE = {1: 2}\ndef _f() -> None:\n    TABLE = {}\n    TABLE[1] = 2\n"),
    ("src/roost/core/a.py", HEAD + "from roost import errors, limits\n"),
    ("src/roost/otp/a.py", HEAD + "def _f() -> None:\n    asyncio.create_task(g())\n"),
    ("src/roost/ops/a.py", HEAD + "import importlib\n"),
    (
        "src/roost/live/a.py",
        DOCUMENTED_BASE + 'class Room(Base):\n    """A room."""\n    def init(self) -> None: ...\n',
    ),
    ("tests/otp/test_a.py", "from roost.sim import run\nx = asyncio.sleep(3600)\n"),
    ("tests/sim/test_a.py", "import asyncio\nx = asyncio.sleep(3600)\n"),
    ("src/roost/live/a.py", HEAD + '# Any: why\ndef enter(x: Any, *y: Any) -> None:\n    """Go in."""\n'),
    ("src/roost/live/a.py", HEAD + "NOTHING = deque(maxlen=0)\n"),
    ("tests/core/test_a.py", "import asyncio\nx = asyncio.sleep(0)\nseen = set()\ndef test_a() -> None: ...\n"),
]


@pytest.mark.parametrize(("path", "text", "line", "rule"), PLANTED, ids=lambda value: str(value)[-30:])
def test_an_untidy_file_is_told(path: str, text: str, line: int, rule: str) -> None:
    source = Source.parse(path, text)
    [complaint] = tidy.complaints(source, tidy.index([source]))
    assert (complaint.path, complaint.line) == (path, line)
    assert rule in complaint.rule


@pytest.mark.parametrize(("path", "text"), INNOCENT)
def test_a_tidy_file_is_left_in_peace(path: str, text: str) -> None:
    source = Source.parse(path, text)
    assert not tidy.complaints(source, tidy.index([source]))


def test_a_word_of_the_workplace_is_told() -> None:
    [complaint] = tidy.workplace_words("docs/a.md", "fine\nsee /wo" + "rk/main\n")
    assert complaint.line == 2


def test_a_limit_that_bounds_nothing_is_told() -> None:
    limits = Source.parse("src/roost/limits.py", "A_MAX: Final = 1\nB_MAX: Final = 2\nC_MAX: Final = 3\n")
    user = Source.parse("src/roost/core/a.py", "from roost.limits import A_MAX\nx = limits.B_MAX\n")
    [complaint] = tidy.unused_limits(limits, [user])
    assert (complaint.line, complaint.rule.split()[0]) == (3, "C_MAX")


def test_an_error_that_is_missing_from_the_tree_is_told() -> None:
    page, families = errors()
    text = page.text
    undrawn = re.sub(r"\n    │   ├── TooLarge.*", "", text, count=1)
    made_up = text.replace("├── TooLarge ", "├── TooSmall ", 1)
    assert [
        complaint.rule.split(":")[0] for complaint in tidy.error_tree(Source.parse("errors.py", undrawn), families)
    ] == ["TooLarge"]
    assert len(tidy.error_tree(Source.parse("errors.py", made_up), families)) == 2
