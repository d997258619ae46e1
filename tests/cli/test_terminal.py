"""Colours, characters and progress, by what the terminal is."""

import io
import sys
import time

import pytest

from torchsurgery.cli.terminal import _PLAIN, Terminal, folded


class Screen(io.TextIOWrapper):
    """A terminal of some encoding."""

    def __init__(self, encoding="utf-8", tty=True):
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict", newline="\n")
        self.tty = tty

    def isatty(self):
        return self.tty

    @property
    def shown(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture
def screens(monkeypatch):
    """Puts screens in the place of standard output and error."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    def put(**how):
        out, err = Screen(**how), Screen(**how)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    return put


TEXT = "plan x   dry run\n\n1  prune a\n   ~ a  64 → 48  −9,216\n   ↳ b\n  ✓ c\n├─ d █▊\nparams −27.8 %"


def test_a_pipe_gets_plain_text(screens):
    out, _ = screens(tty=False)
    Terminal().show(TEXT)
    assert out.shown == TEXT + "\n"
    assert Terminal().width is None


def test_a_terminal_gets_colours_and_the_same_text(screens, monkeypatch):
    import re

    out, _ = screens()
    monkeypatch.setenv("COLUMNS", "50")
    Terminal().show(TEXT)
    assert "\x1b[" in out.shown
    assert re.sub(r"\x1b\[[\d;]*m", "", out.shown) == TEXT + "\n"
    assert Terminal().width == 50


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colours_where_none_are_wanted(screens, monkeypatch, variable, value):
    out, _ = screens()
    monkeypatch.setenv(variable, value)
    Terminal().show(TEXT)
    assert out.shown == TEXT + "\n"


def test_colours_where_they_are_asked_for(screens, monkeypatch):
    out, _ = screens(tty=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    Terminal().show(TEXT)
    assert "\x1b[" in out.shown


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_other_encodings_keep_the_columns(screens, encoding):
    out, _ = screens(encoding=encoding, tty=False)
    Terminal().show(TEXT)
    assert [len(line) for line in out.shown.splitlines()] == [len(line) for line in TEXT.splitlines()]
    assert "64 > 48  -9,216" in out.shown


def test_every_plain_character_is_one():
    assert all(isinstance(plain, int) and plain < 128 for plain in _PLAIN.values())


def test_long_lines_are_broken_between_words():
    line = "   ~ layer1.0.conv1  out_channels 64 → 48    −9,216"
    rows = folded(f"short\n\n{line}", 30).split("\n")
    assert rows == ["short", "", "   ~ layer1.0.conv1", "     out_channels 64 → 48", "     −9,216"]
    assert folded(line, 80) == line
    assert folded("averylongwordthatstaysinonepiece", 10) == "averylongwordthatstaysinonepiece"


def test_only_a_terminal_has_a_width_to_be_broken_at(screens, monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    for tty, lines in ((True, 2), (False, 1)):
        out, _ = screens(tty=tty)
        Terminal().show("several words here")
        assert out.shown.count("\n") == lines


def test_errors(screens):
    out, err = screens(tty=False)
    Terminal().error("PlanError", "no\n  way", "r.yaml, line 3")
    assert (out.shown, err.shown) == ("", "r.yaml, line 3: PlanError: no\n  way\n")


def test_machines_get_json_and_nothing_else(screens):
    out, err = screens()
    terminal = Terminal(json=True, delay=0)
    terminal.show("text")
    terminal.data({"a": "→"})
    with terminal.busy("work"):
        time.sleep(0.05)
    assert (out.shown, err.shown) == ('{\n  "a": "\\u2192"\n}\n', "")


def test_text_is_no_json(screens):
    out, _ = screens()
    Terminal().data({})
    assert out.shown == ""


def test_progress_is_shown_when_it_takes_a_while(screens):
    _, err = screens()
    with Terminal(delay=0).busy("planning", 8) as advance:
        for _ in range(4):
            time.sleep(0.1)
            advance(1)
    assert "planning" in err.shown
    assert "/8 · " in err.shown
    assert " s left" in err.shown


def test_no_progress_for_what_is_done_at_once(screens):
    _, err = screens()
    with Terminal().busy("planning", 1) as advance:
        advance(1)
    assert err.shown == ""


def test_no_progress_in_a_pipe_unless_it_is_asked_for(screens):
    _, err = screens(tty=False)
    for progress in (False, True):
        assert err.shown == ""
        with Terminal(progress=progress, delay=0).busy("planning"):
            time.sleep(0.1)
    assert err.shown.startswith("planning: 1 s\n")
    assert "\x1b" not in err.shown


def test_a_terminal_that_can_do_nothing_gets_lines(screens, monkeypatch):
    _, err = screens()
    monkeypatch.setenv("TERM", "dumb")
    with Terminal(delay=0).busy("planning"):
        time.sleep(0.1)
    assert "\x1b" not in err.shown


def test_progress_ends_when_the_work_fails(screens):
    screens()
    with pytest.raises(ZeroDivisionError), Terminal(delay=0).busy("x"):
        time.sleep(0.05)
        raise ZeroDivisionError
