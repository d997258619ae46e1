"""The whole page: one file that asks for nothing, whose policy allows nothing, whatever names there are in it."""

import base64
import hashlib
import re

import pytest
import torch
import torch.nn.functional as F
from pages import parsed, report_of, rows
from torch import nn

import torchsurgery as ts
from torchsurgery.html import render

NASTY = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&lt;"


def nasty_network():
    """Names, classes, arguments and a source that a page must not take for its own."""
    kind = type(NASTY, (nn.Linear,), {})
    odd = type("</code></span><b>", (nn.ReLU,), {"extra_repr": lambda self: NASTY, "__repr__": lambda self: NASTY})
    net = nn.Sequential()
    net.__class__ = type("<h1>Net</h1>", (nn.Sequential,), {})
    net._modules[NASTY.replace(".", "")] = kind(4, 4)
    net._modules["</summary>"] = nn.Sequential(odd(), nn.Linear(4, 2))
    return net


def test_it_needs_nothing_from_elsewhere(gathered):
    text = render(gathered)
    document = parsed(text)
    for element in document.walk():
        assert element.tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use", "image"}
        assert not {"src", "href", "srcset", "action", "style"} & element.attributes.keys()
        assert not any(name.startswith("on") for name in element.attributes)
    assert not re.search(r"https?:|//|url\(|@import|javascript:", text.replace("<!doctype", ""))


def test_its_policy_allows_its_style_and_nothing_else(gathered):
    document = parsed(render(gathered))
    policy = next(e for e in document.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(document.one("style").text.encode()).digest()).decode()
    assert policy.attributes["content"].split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    head = document.one("head")
    assert [e.tag for e in head.children if not isinstance(e, str)][1] == "meta"  # right after the encoding
    assert head.all("meta")[1] is policy


def test_what_it_begins_with(gathered):
    document = parsed(render(gathered))
    assert document.one("title").text == "torchvision:resnet18: 4 edits"
    assert document.one("h1").text.startswith("ResNet 4 edits · 16 follow-ups · ")
    assert "input (2, 3, 64, 64) float32 · cpu · PyTorch" in document.one("main").text
    assert document.one("html").attributes == {"lang": "en"}
    assert [e.text for e in document.all("h2")] == [
        "Edits",
        "Checks",
        "Modules",
        "What hangs together",
        "Time and answers of each layer",
    ]


def test_the_number_of_changed_modules_is_that_of_the_marked_rows(gathered):
    document = parsed(render(gathered))
    told = re.search(r"(\d+) of 68 modules changed", document.one("h1").text)
    marked = [cells[0] for cells, kinds in rows(document) if kinds]
    assert marked.count("+after") == 1  # the dropout, which was not there before
    assert int(told[1]) == len(marked) - 1


@pytest.mark.parametrize("run", [False, True])
def test_what_users_name_is_shown_and_never_obeyed(run):
    net = nasty_network()
    x = torch.randn(2, 4) if run else None
    plan = ts.plan(net, x).replace("</summary>.1", nn.Linear(4, 3)).wrap(NASTY.replace(".", ""), nn.Sequential)
    document = parsed(render(report_of(plan, source=NASTY)))
    tags = {e.tag for e in document.walk()}
    assert "script" not in tags
    assert "img" not in tags
    assert document.one("h1").text.startswith("<h1>Net</h1> ")
    assert document.one("title").text == f"{NASTY}: 2 edits"
    assert any(cells[0] == "</summary>" for cells, _ in rows(document))
    assert any(NASTY in cells[1] for cells, _ in rows(document))


def test_without_edits_it_says_what_is_there():
    document = parsed(render(report_of(ts.plan(nn.Sequential(nn.Linear(4, 8), nn.ReLU())))))
    assert document.one("title").text == "Sequential"
    assert document.one("h1").text == "Sequential 3 modules"
    assert not document.all("input")
    assert [e.text for e in document.all("h2")] == ["Modules"]
    assert "before" not in document.one("main").text.replace("as before", "")


def test_it_is_small_for_ten_thousand_layers():
    block = lambda: nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))  # noqa: E731
    net = nn.Sequential(*(nn.Sequential(*(block() for _ in range(50))) for _ in range(50)))
    assert sum(not module._modules for module in net.modules()) == 10_000
    text = render(report_of(ts.plan(net).replace(nn.ReLU, nn.GELU).replace(nn.LayerNorm, nn.RMSNorm)))
    assert len(text.encode()) < 5_000_000
    shown = [e for e in parsed(text).all("details") if "open" in e.attributes]
    assert 1 <= len(shown) < 100  # the rest lies in folds, so that the page is there at once


class Calls(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.out(F.relu(self.norm(self.conv(x))))


# From a plan to a longer one, and the rows that are marked.
VERBS = {
    "replace": (lambda plan: plan.replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=2), "-/+norm"),
    "insert": (lambda plan: plan.insert(nn.Dropout(0.1), before="out"), "+out +before"),
    "remove": (lambda plan: plan.remove("norm"), "-norm"),
    "wrap": (lambda plan: plan.wrap("conv", nn.Sequential), "-/+conv"),
    "prune": (lambda plan: plan.prune("conv", 0.5), "~conv ↳norm ↳out"),
    "widen": (lambda plan: plan.widen("conv", 12), "~conv ↳norm ↳out"),
    "fold": (lambda plan: plan.fold(), "-/+conv -norm"),
    "set_inputs": (lambda plan: plan.set_inputs(5), "-/+conv"),
    "set_outputs": (lambda plan: plan.set_outputs(7), "-/+out"),
    "calls_to_layers": (lambda plan: plan.calls_to_layers(F.relu), "↳Calls +relu"),
}
WORDS = {"calls_to_layers": "make", "set_inputs": "set", "set_outputs": "set"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_page(verb):
    longer, marked = VERBS[verb]
    document = parsed(render(report_of(longer(ts.plan(Calls().eval(), torch.randn(2, 3, 8, 8))))))
    assert document.one("h1").text.startswith("Calls 1 edit · ")
    (edit,) = document.one("ol").all("li")
    assert edit.one("b").text == WORDS.get(verb, verb)
    assert " ".join(cells[0] for cells, kinds in rows(document) if kinds) == marked


def test_no_verb_is_forgotten():
    public = {name for name in dir(ts.Plan) if not name.startswith("_") and callable(getattr(ts.Plan, name))}
    assert public - VERBS.keys() == {"apply", "in_force", "replay", "report", "text", "then"}
