"""The README's code runs as it stands there, and its commands exist."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", re.findall(r"^```python\n(.*?)^```", README, re.M | re.S))
def test_code_runs(code, capsys):
    scope = {}
    exec(compile(code, "README.md", "exec"), scope)
    assert "BatchNorm2d" not in {type(m).__name__ for m in scope["model"].modules()}
    assert scope["model"](scope["x"]).shape == (2, 10)
    assert capsys.readouterr().out.strip(), "the plan is printed"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_commands_are_targets_of_the_makefile(page):
    commands = set(re.findall(r"^    make ([a-z]+)", (TOP / page).read_text(encoding="utf-8"), re.M))
    targets = set(re.findall(r"^([a-z]+):", (TOP / "Makefile").read_text(encoding="utf-8"), re.M))
    assert commands
    assert commands <= targets
