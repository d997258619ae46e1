"""Tables and plots of the documentation are those of the committed results, and can be read by all."""

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def made():
    """The module that makes them."""
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import figures

        yield figures
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in set(sys.modules) - before:
            if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


@pytest.fixture(scope="module")
def written(made):
    return made.written()


def drawings(written):
    return {path.stem: text for path, text in written.items() if path.suffix == ".svg"}


def test_what_is_committed_is_what_the_results_say(written):
    for path, text in written.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is of other results: make figures"


def test_no_other_figure_lies_there(made, written):
    assert {path for path in (made.DOCS / "figures").iterdir()} == {p for p in written if p.suffix == ".svg"}


def test_every_figure_tells_what_it_shows(written):
    page = next(text for path, text in written.items() if path.suffix == ".md")
    for name, text in drawings(written).items():
        root = ET.fromstring(text)
        assert root.get("role") == "img"
        title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert f"![{title.text}. {description.text}](figures/{name}.svg)" in page


def test_colours_are_those_of_light_and_dark(written):
    for text in drawings(written).values():
        style = ET.fromstring(text).find(f"{SVG}style").text
        assert "color-scheme:light dark" in style
        assert not re.search(r"(?<!light-dark\()#[0-9a-f]{3,6}(?![^(]*\))", style)
        assert "fill=" not in text and "stroke=" not in text


def numbers(element, *names):
    return [float(element.get(name)) for name in names]


def test_nothing_sticks_out(written):
    for name, text in drawings(written).items():
        root = ET.fromstring(text)
        left, top, width, height = map(float, root.get("viewBox").split())
        for label in root.iter(f"{SVG}text"):
            x, y = numbers(label, "x", "y")
            long = len(label.text) * {"title": 8.4, None: 6.6}.get(label.get("class"), 6.1)
            begin = x - {"end": long, "middle": long / 2}.get(label.get("text-anchor"), 0)
            assert left <= begin and begin + long <= left + width + 1, (name, label.text)
            assert top < y < top + height
        for dot in root.iter(f"{SVG}circle"):
            assert left <= float(dot.get("cx")) <= left + width


def test_bars_are_as_long_as_their_numbers_say(written):
    root = ET.fromstring(drawings(written)["pruned"])
    bars = [bar for bar in root.iter(f"{SVG}rect") if bar.get("class") in ("ours", "theirs")]
    told = [found for t in root.iter(f"{SVG}text") if (found := re.fullmatch(r"(\d+) of (\d+)", t.text))]
    assert len(bars) == len(told) == 16
    whole = max(float(bar.get("width")) for bar in bars)
    for bar, (good, tried) in zip(bars, (map(int, found.groups()) for found in told), strict=True):
        assert float(bar.get("width")) == pytest.approx(max(1.0, whole * good / tried), abs=0.1)


def test_every_model_has_a_dot(made, written):
    rows = [row for row in made._rows(made.zoo_prune.STUDY) if made.zoo_report.holds(row)]
    assert drawings(written)["left"].count("<circle") == len(rows) > 300


def test_words_are_folded():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from drawing import Scale, folded
    finally:
        sys.path.remove(str(BENCHMARKS))
    assert folded("one two three", 7) == ["one two", "three"]
    assert folded("", 7) == [""]
    assert Scale(1, 100, 0, 10, logarithmic=True)(10) == pytest.approx(5)
    assert Scale(0, 4, 10, 20)(1) == pytest.approx(12.5)
