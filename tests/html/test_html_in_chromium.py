"""The page in a browser: it is there at every width and in both themes, works without a script, and can be read by all.

Needs Debian's chromium and chromium-driver; skipped, and said so, where they are not.
"""

import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from pages import report_of
from test_html_page import NASTY, nasty_network
from torch import nn

import torchsurgery as ts
from torchsurgery.html import render, save

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from chromium import MISSING, Chromium

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

WIDTHS, THEMES = (360, 800, 1280), ("light", "dark")
EVERYWHERE = [(width, theme) for width in WIDTHS for theme in THEMES]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    started = Chromium(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def pages(gathered, small, tmp_path_factory):
    """The same three pages for all tests: much has happened, little has, and everything is named to do harm."""
    folder = tmp_path_factory.mktemp("pages")
    plan = ts.plan(nasty_network(), torch.randn(2, 4)).wrap(NASTY.replace(".", ""), nn.Sequential)
    reports = {"full": gathered, "small": small, "nasty": report_of(plan, source=NASTY)}
    return {name: save(report, folder / f"{name}.html") for name, report in reports.items()}


PAGES = ("full", "small", "nasty")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "theme"), EVERYWHERE)
def test_nothing_is_wrong_and_nothing_sticks_out(browser, pages, name, width, theme):
    browser.show(pages[name], width, theme)
    assert browser.complaints() == []
    wide = browser.ask("return document.documentElement.scrollWidth")
    assert wide <= width
    sticking_out = browser.ask(
        "return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert sticking_out == []


@pytest.mark.parametrize("theme", THEMES)
def test_both_themes_are_what_was_asked_for(browser, pages, theme):
    browser.show(pages["full"], theme=theme)
    ground = browser.ask("return getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, ground[4:-1].split(", "))) / 3
    assert (brightness > 200) == (theme == "light")


def test_nothing_is_fetched_and_nothing_runs(browser, pages):
    for name in PAGES:
        browser.show(pages[name])
        assert browser.ask("return performance.getEntriesByType('resource').length") == 0
        assert browser.ask("return document.scripts.length + document.images.length") == 0
    assert browser.ask("return document.title") == f"{NASTY}: 1 edit"


def test_the_policy_keeps_out_what_would_get_in(browser, gathered, tmp_path):
    """Were a name ever not escaped, neither its script nor its style nor its picture would do anything."""
    bad = (
        "<script>document.title = 'run'</script><p style='color: red' id='styled'>x</p><img src='https://localhost/x'>"
    )
    page = tmp_path / "page.html"
    page.write_text(render(gathered).replace("<main>", f"<main>{bad}"), "utf-8")
    browser.show(page)
    assert browser.ask("return document.title") == "torchvision:resnet18: 4 edits"
    assert browser.ask("return getComputedStyle(document.getElementById('styled')).color") != "rgb(255, 0, 0)"
    assert sum("Content Security Policy" in line for line in browser.complaints()) == 3


# --- what can be done


def shown(browser):
    """The names of the rows that can be seen."""
    return browser.ask(
        "return [...document.querySelectorAll('.tree ul .row')].filter(e => e.checkVisibility())"
        ".map(e => e.querySelector('code').textContent)"
    )


def test_the_filter_leaves_what_has_changed(browser, pages, gathered):
    browser.show(pages["full"])
    everything = [pair for pair in gathered.tree.walk()]
    assert len(shown(browser)) == len(everything)
    box = browser.driver.find_element("id", "changed")
    box.click()
    assert shown(browser)[1:] == [pair.name.rpartition(".")[2] for pair in everything if pair.changed][1:]
    box.click()
    assert len(shown(browser)) == len(everything)


def test_the_filter_works_by_its_label_and_by_the_keyboard(browser, pages):
    browser.show(pages["small"])
    before = shown(browser)
    browser.driver.find_element("css selector", "label[for=changed]").click()
    assert shown(browser) == ["Sequential", "1"]
    browser.driver.find_element("id", "changed").send_keys(" ")
    assert shown(browser) == before


def test_folds_open_and_close(browser, pages):
    browser.show(pages["full"])
    number = len(shown(browser))
    fold = browser.driver.find_elements("css selector", ".tree details details summary")[0]
    fold.click()
    assert len(shown(browser)) < number
    fold.send_keys("\ue007")  # Enter
    assert len(shown(browser)) == number


def test_bars_are_as_long_as_the_numbers_say(browser, pages, gathered):
    browser.show(pages["full"])
    place, was, now = browser.ask(
        "const bar = document.querySelector('.tree ul .bar');"
        "return [bar.getBoundingClientRect().width, ...['::before', '::after'].map("
        "side => parseFloat(getComputedStyle(bar, side).width))]"
    )
    assert was == pytest.approx(place, abs=0.5)
    assert now / was == pytest.approx(gathered.after.params / gathered.before.params, abs=0.01)


def test_printed_it_shows_what_is_folded(browser, tmp_path):
    net = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(300)))
    page = save(report_of(ts.plan(net).replace(nn.ReLU, nn.GELU)), tmp_path / "page.html")
    browser.show(page)
    assert len(shown(browser)) == 301
    browser.show(page, medium="print")
    assert browser.ask("return document.querySelectorAll('.tree ul ul ul .row')[5].getBoundingClientRect().height") > 5
    pdf = browser.do("Page.printToPDF", printBackground=True)["data"]
    assert len(pdf) > 50_000


# --- for everyone


@pytest.fixture(scope="module")
def axe():
    """Deque's accessibility engine, which lies beside the trained weights: its package wants a browser of its own."""
    for place in (Path(sys.prefix, "weights"), *map(Path, sys.path)):
        if (script := place / "axe_playwright_python" / "axe.min.js").is_file():
            return script.read_text("utf-8")
    pytest.skip("axe-core is not there: make test  installs it, see the Makefile")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "theme"), [(360, "dark"), (800, "light"), (1280, "light"), (1280, "dark")])
def test_axe_finds_nothing(browser, pages, axe, name, width, theme):
    browser.show(pages[name], width, theme)
    browser.ask(axe)
    result = browser.driver.execute_async_script(
        "const done = arguments[arguments.length - 1]; axe.run(document).then(done, e => done({error: String(e)}))"
    )
    found = {rule["id"]: [node["html"][:120] for node in rule["nodes"]][:3] for rule in result["violations"]}
    assert found == {}
    passed = {rule["id"] for rule in result["passes"]}
    assert {"color-contrast", "document-title", "html-has-lang", "heading-order", "list", "label"} <= passed


@pytest.mark.parametrize("name", PAGES)
def test_headings_go_down_one_by_one(browser, pages, name):
    browser.show(pages[name])
    levels = browser.ask("return [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(e => +e.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


# The contrast of each text with what is behind it, as WCAG 2.2 computes it.
CONTRAST = """
const numbers = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const ground = element => {
  for (let e = element; e; e = e.parentElement) {
    const colour = numbers(getComputedStyle(e).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
};
return [...document.querySelectorAll('main *')].filter(e => e.checkVisibility()
    && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
  const style = getComputedStyle(e), text = numbers(e instanceof SVGElement ? style.fill : style.color);
  const [a, b] = [light(text), light(ground(e))].sort((x, y) => y - x);
  return [(a + .05) / (b + .05), e.outerHTML.slice(0, 100)];
}).filter(([ratio]) => ratio < 4.5);
"""


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("theme", THEMES)
def test_every_text_stands_out(browser, pages, name, theme):
    browser.show(pages[name], theme=theme)
    assert browser.ask(CONTRAST) == []
