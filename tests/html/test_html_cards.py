"""Totals, edits and checks."""

import pytest
import torch
from pages import parsed, report_of
from torch import nn

import torchsurgery as ts
from torchsurgery.html.cards import cards, checks, edits


def texts(markup, kind):
    return [e.text.replace("\u00a0", " ") for e in parsed(markup).all(kind=kind)]


def test_cards_tell_what_is_and_what_was(gathered):
    found = texts(cards(gathered), "card")
    assert found[0] == "params8,434,314was 11,689,512 −27.8 %"
    assert found[1].startswith("MACs")
    assert found[2] == "weights33.8 MBwas 46.8 MB −27.8 %"
    assert found[3] == "output(2, 10)was (2, 1000) changed by edit 2"
    assert found[4].startswith("time of a run")
    assert "× " in found[4]


def test_an_output_of_which_no_single_layer_tells_just_changes():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 6)

        def forward(self, x):
            return torch.cat([self.layer(x)] * 2, 1)

    report = report_of(ts.plan(Twice()).replace("layer", nn.Linear(4, 3)), torch.ones(1, 4))
    assert "output(1, 6)was (1, 12) changes" in texts(cards(report), "card")


def test_cards_are_of_the_very_numbers(gathered):
    # 8 of the 20 convolutions lose a quarter of their outputs, 8 of their inputs
    assert gathered.before.params == 11_689_512
    assert gathered.after.params == 8_434_314
    assert gathered.before.macs / 2 == pytest.approx(1.814e9 * (64 / 224) ** 2, rel=0.02)


def test_what_was_not_run_has_fewer_cards(small):
    assert [text[:6] for text in texts(cards(small), "card")] == ["params", "weight"]
    assert all("as before" in text for text in texts(cards(small), "card"))


def test_each_edit_with_what_comes_of_it(gathered):
    found = [" ".join(e.text.split()) for e in parsed(edits(gathered)).all("li")]
    assert found[0].startswith("prune layer*.*.conv1 −25 % by l2 · 8 modules · 16 follow")
    assert found[1].startswith("replace fc → Linear(in_features=512, out_features=10, bias=True) · 1 module")
    assert "new weight, bias" in found[1]
    assert found[2].startswith("insert Dropout(p=0.1, inplace=False) after layer1.0.relu")
    assert found[3].startswith("wrap layer4 in Sequential")


def test_what_stays_is_told_with_its_reason():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8)).eval()
    report = report_of(ts.plan(net).fold(torch.randn(1, 3, 8, 8)))
    assert "left as they are (after ReLU, before the output): 3" in parsed(edits(report)).text


def test_warnings_and_what_is_left_out_are_told():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    report = report_of(ts.plan(nn.Sequential(layer)).replace((nn.TransformerEncoderLayer, nn.Linear), nn.Identity()))
    assert "left out, as they lie inside of what is replaced" in parsed(edits(report)).text


def test_checks_are_those_of_the_altered_model(gathered):
    found = [e.text for e in parsed(checks(gathered)).all("li")]
    assert found[0] == "forward runs (2, 3, 64, 64) → (2, 10)"
    assert any(text.startswith("gradients reach every trainable parameter") for text in found)
    assert {kind for e in parsed(checks(gathered)).all("li") for kind in e.classes} == {"good"}


class Fails(nn.Module):
    def forward(self, x):
        return x.detach()


def test_a_check_that_fails_is_shown():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    report = report_of(ts.plan(net, torch.randn(2, 4)).replace("1", Fails()).replace("2", nn.Linear(4, 2)))
    kinds = [e.classes for e in parsed(checks(report)).all("li")]
    assert ["bad"] in kinds or ["warn"] in kinds


def test_a_state_that_cannot_be_run_is_told():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    plan = ts.plan(net).set_inputs(4, example_inputs=torch.randn(2, 3, 8, 8))
    report = report_of(plan, torch.randn(2, 4, 8, 8))
    line = parsed(checks(report)).all("li")[0]
    assert line.classes == ["warn"]
    assert line.text.startswith("not run before the edits ")
    assert "3 channels" in line.text
    found = texts(cards(report), "card")
    assert "MACs" in found[1]
    assert "was not run" in found[1]
    assert found[3].endswith("was not run ")  # and nothing is said of a change


def test_nothing_to_tell_is_no_section(small):
    assert checks(small) == ""
    assert edits(report_of(ts.plan(nn.ReLU()))) == ""
