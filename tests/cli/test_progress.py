"""Work in words, and on screens."""

import io
import time

import pytest

from torchsurgery.cli.progress import Display, Work, in_time


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (0.2, "1 s"), (59, "59 s"), (59.5, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_time(seconds, told):
    assert in_time(seconds) == told


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (Work("x", 8, "", 3, 0), "4 s left · 3/8 · 1.5/s"),
        (Work("x", 8, "", 0, 0), "2 s"),
        (Work("x", None, "", 0, 0), "2 s"),
        (Work("x", None, "", 300, 0), "2 s · 300 · 150/s"),
        (Work("x", 4, "", 5, 0), "2 s · 5 · 2.5/s"),  # more than was expected
        (Work("x", 8, "", 8, 0), "2 s · 8/8 · 4/s"),
        (Work("x", 46_800_000, "B", 23_400_000, 0), "2 s left · 23.4 MB of 46.8 MB · 11.7 MB/s"),
        (Work("x", 304_000_000, "params", 152_000_000, 0), "2 s left · 152.0 M of 304.0 M params · 76.00 M/s"),
        (Work("x", None, "params", 2000, 0), "2 s · 2.000 k params · 1.000 k/s"),
    ],
)
def test_words(work, told):
    assert work.words(2.0) == told


def shown(**how):
    """What a display writes while something is under way in something else."""
    stream = io.StringIO()
    display = Display(stream, **how)
    with display.work("outer"):
        time.sleep(0.15)
        with display.work("inner", 4) as advance:
            advance(2)
            time.sleep(0.3)
    assert display._under_way == []
    assert display._end is None
    return stream.getvalue()


def test_the_innermost_has_a_line():
    lines = shown(drawn=False, delay=0.1, every=0.1).splitlines()
    assert lines[0] == "outer: 1 s"
    assert lines[-1].startswith("inner: 1 s left · 2/4 · ")
    assert lines[-1].endswith("/s")


def test_nothing_is_written_of_what_is_short():
    assert shown(drawn=False, delay=5) == ""
    assert shown(drawn=True, delay=5) == ""


@pytest.mark.parametrize("columns", ["40", "120"])
def test_drawn(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the stream for a terminal
    drawn = shown(drawn=True, delay=0)
    assert "outer" in drawn
    assert "left" in drawn
    assert ("━" in drawn) == (columns == "120")


def test_an_interrupt_ends_it_and_goes_through():
    display = Display(io.StringIO(), drawn=False, delay=0)
    with pytest.raises(KeyboardInterrupt), display.work("outer"), display.work("inner"):
        raise KeyboardInterrupt
    assert display._under_way == []
    with display.work("again"):
        assert len(display._under_way) == 1
