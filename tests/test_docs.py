"""Every code block of the documentation runs as it stands there, and prints what stands below it.

A page's Python blocks share one namespace. A `text` block behind one is what it prints; in a `console` block the lines
behind `$` are commands, those below what they answer; a block with a title is a file. `...` stands for anything.
What stands in a comment that begins with `run` makes the names that fragments use, and is not shown.
"""

import contextlib
import doctest
import io
import re
import shlex
from pathlib import Path

import pytest
import torch

from torchsurgery.cli import main

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.M | re.S)
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

PAGES = [page for page in sorted(DOCS.rglob("*.md")) if _BLOCK.search(page.read_text(encoding="utf-8"))]


def blocks(page):
    text = re.sub(r"(?ms)^<!-- run\n(.*?)^-->", r"```python\n\1```", page.read_text("utf-8"))
    return [(kind, re.search(r'title="([^"]+)"', rest), code) for kind, rest, code in _BLOCK.findall(text)]


def agree(expected, got):
    assert doctest.OutputChecker().check_output(expected, got, _FLAGS), f"expected\n{expected}\ngot\n{got}"


def commands(block):
    """Each command of a block with what it answers."""
    for part in re.split(r"(?m)^\$ ", block)[1:]:
        command, _, answer = part.partition("\n")
        yield command, answer


def run(command):
    """One command as a shell would run it; `; echo $?` and the like are not understood."""
    program, *words = shlex.split(command)
    assert program == "torchsurgery", f"{command}: only commands of this library are run"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as left:
            code = left.code
    return code, out.getvalue() + err.getvalue()


def perform(page):
    scope, printed = {"__name__": "docs"}, None
    for kind, title, code in blocks(page):
        if title is not None:
            Path(title[1]).write_text(code, encoding="utf-8")
        elif kind == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(code, str(page), "exec"), scope)
            printed = out.getvalue()
        elif kind == "text" and printed is not None:
            agree(code, printed)
            printed = None
        elif kind == "console":
            for command, answer in commands(code):
                status, said = run(command)
                assert status == 0 or "Error" in answer, said
                if answer.strip():
                    agree(answer, said)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
@pytest.mark.filterwarnings("default")
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    perform(page)


def test_every_page_is_in_the_navigation():
    nav = (TOP / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    for page in DOCS.rglob("*.md"):
        assert str(page.relative_to(DOCS)) in nav


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link
