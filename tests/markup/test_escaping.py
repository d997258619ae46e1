"""Text that a browser shows as it is."""

import pytest

from torchsurgery.markup import code, escape, name, spaced, style


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a&b", "a&amp;b"),
        ("\"'", "&quot;&#x27;"),
        ("&lt;", "&amp;lt;"),
        ("layer.0 → − ×", "layer.0 → − ×"),
        ("a\tb\nc", "a\tb\nc"),
        ("", ""),
        (None, "None"),
    ],
)
def test_escape(text, expected):
    assert escape(text) == expected


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x1b", "\x7f", "\x85", "\ud800"])
def test_what_is_no_character_is_shown_as_such(character):
    assert escape(f"a{character}b") == "a�b"
    escape(f"a{character}b").encode("utf-8")


def test_names_break_at_their_joints():
    assert name("layer1.0.out_proj") == "layer1.<wbr>0.<wbr>out_<wbr>proj"
    assert name("follows a.b, 2 replace") == "follows a.<wbr>b, 2 replace"
    assert name("<b>.") == "&lt;b&gt;."


def test_code_is_escaped():
    assert code("a<b") == "<code>a&lt;b</code>"


def test_a_number_and_its_unit_stay_together():
    assert spaced("1.81 G") == "1.81\u00a0G"
    assert spaced("<") == "&lt;"


@pytest.mark.parametrize(
    ("package", "name"), [("torchsurgery.html", "page.css"), ("torchsurgery.markup", "notebook.css")]
)
def test_style_sheets_are_whole(package, name):
    sheet = style(package, name)
    assert "/*" not in sheet
    assert "\n" not in sheet
    assert "  " not in sheet
    assert sheet.count("{") == sheet.count("}") > 10
    assert "url(" not in sheet
    assert "@import" not in sheet
