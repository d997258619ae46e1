"""Escaping, and lengths of bars."""

import pytest
from pages import parsed

from torchsurgery.html import markup


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a&b", "\"'><img src=x onerror=alert(1)>", "&lt;", "layer.0", "→ − ×", ""]
)
def test_escaped_text_reads_as_it_was(text):
    assert parsed(f"<p>{markup.escape(text)}</p>").text == text
    assert parsed(f'<p title="{markup.escape(text)}"></p>').one("p").attributes["title"] == text


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x1b", "\x7f", "\x85", "\ud800"])
def test_what_is_no_character_is_shown_as_such(character):
    assert markup.escape(f"a{character}b") == "a�b"
    markup.escape(f"a{character}b").encode("utf-8")


def test_line_ends_and_tabs_stay():
    assert markup.escape("a\tb\nc") == "a\tb\nc"


def test_code_is_escaped():
    assert markup.code("a<b") == "<code>a&lt;b</code>"


def test_a_number_and_its_unit_stay_together():
    assert markup.spaced("1.81 G") == "1.81\u00a0G"


def test_shapes_are_listed():
    assert markup.in_shapes([(1, 2), (3,)]) == "(1, 2), (3,)"
    assert markup.in_shapes([(i,) for i in range(9)]).endswith("and 5 more")


@pytest.mark.parametrize(
    ("before", "after", "whole", "expected"),
    [
        (100, 72.2, 100, ("w200", "n144")),
        (1, 1, 1_000_000, ("w1", "n1")),  # something is never nothing
        (0, 50, 100, ("w0", "n100")),
        (50, 0, 100, ("w100", "n0")),
        (300, 100, 200, ("w200", "n100")),  # never longer than its place
    ],
)
def test_bars(before, after, whole, expected):
    assert parsed(markup.bar(before, after, whole)).one("i").classes == ["bar", *expected]


def test_no_bar_for_nothing():
    assert markup.bar(0, 0, 100) == "" == markup.bar(1, 1, 0)


def test_style_sheets_are_small_and_whole():
    sheet = markup.style("page.css")
    assert "/*" not in sheet
    assert "\n" not in sheet
    assert sheet.count("{") == sheet.count("}") > 50
