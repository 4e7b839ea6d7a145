"""Every Python block of the documentation runs; the blocks of a page, in order, are one program."""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parent.parent
BLOCK: Final = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


class Block(NamedTuple):
    """One fenced block, and the line of its page on which its code begins."""

    line: int
    code: str


def blocks(page: Path) -> Iterator[Block]:
    """The Python blocks of a page."""
    text = page.read_text("utf-8")
    for found in BLOCK.finditer(text):
        yield Block(text.count("\n", 0, found.start(1)), found[1])


def run(page: Path, program: list[Block]) -> dict[str, object]:
    """Run the blocks one after the other, with one event loop for all that await something; return their names.

    They are a module, as a program is: frameworks look annotations and routes up in it by its name.
    """
    module = ModuleType(page.stem)
    names = module.__dict__
    names["__builtins__"] = builtins
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        patch.setitem(sys.modules, page.stem, module)
        for block in program:
            tree = ast.parse("\n" * block.line + block.code)
            code = compile(tree, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            if code.co_flags & inspect.CO_COROUTINE:

                async def story(coroutine: object) -> None:
                    assert inspect.iscoroutine(coroutine)
                    await coroutine

                runner.run(story(FunctionType(code, names)()))
            else:
                exec(code, names)
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    run(page, list(blocks(page)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_a_block_that_fails_is_told_with_its_page_and_line() -> None:
    page = Path("page.md")
    with pytest.raises(AssertionError) as failure:
        run(page, [Block(0, "import asyncio\nawait asyncio.sleep(0)\nx = 1\n"), Block(7, "\nassert x == 2\n")])
    last = failure.traceback[-1]
    assert (Path(last.path).name, last.lineno + 1) == ("page.md", 9)


def test_a_promise_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "promises.md").read_text("utf-8")
    named = re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", page)
    assert named
    for path, test in named:
        assert (ROOT / path).exists(), path
        if test:
            assert re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), (
                f"{path}::{test}"
            )
