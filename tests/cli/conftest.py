"""Fixtures of the command line's tests."""

import pytest
from running import NETS, command


@pytest.fixture
def run(capsys, monkeypatch):
    """`run("inspect", "net.py:small")` → its exit code, output and errors."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return lambda *words: command(capsys, *words)


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """The path of a file with builders, in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    return "nets.py"
