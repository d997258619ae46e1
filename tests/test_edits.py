"""Edits in words, short enough for one line of a plan."""

import pytest
from torch import nn

import torchsurgery as ts
from torchsurgery.edits import Insert, Remove, Replace, Wrap, new_in_words, target_in_words

NET = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))


def factory(old):
    return nn.GELU()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (nn.ReLU, "ReLU"),
        ((nn.ReLU, nn.GELU), "ReLU or GELU"),
        ("layer*.**", "layer*.**"),
        (ts.select(NET, nn.ReLU), "1"),
        (ts.select(NET, nn.Linear), "a selection of 2"),
        (ts.select(NET, nn.Linear)[0], "0"),
        (ts.select(NET, nn.Sequential)[0], "the model"),
        (NET[1], "the given ReLU"),
    ],
)
def test_target(target, words):
    assert target_in_words(target) == words


@pytest.mark.parametrize(
    ("new", "arguments", "words"),
    [
        (nn.GELU, {}, "GELU"),
        (nn.GroupNorm, {"num_groups": 8, "affine": False}, "GroupNorm(num_groups=8, affine=False)"),
        (nn.GroupNorm, {"num_groups": lambda old: 8}, "GroupNorm(num_groups=…)"),
        (nn.TransformerEncoderLayer, {"activation": nn.ReLU}, "TransformerEncoderLayer(activation=ReLU)"),
        (nn.Dropout(0.1), {}, "Dropout(p=0.1, inplace=False)"),
        (nn.Sequential(nn.ReLU()), {}, "Sequential(…)"),
        (factory, {}, "factory"),
        (lambda old: nn.GELU(), {}, "a factory's layer"),
    ],
)
def test_new(new, arguments, words):
    assert new_in_words(new, arguments) == words


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (Replace(nn.ReLU, nn.GELU), "replace ReLU → GELU"),
        (Insert(nn.ReLU, nn.Dropout(0.1), "after"), "insert Dropout(p=0.1, inplace=False) after ReLU"),
        (Insert("fc", nn.Dropout, "before", {"p": 0.2}), "insert Dropout(p=0.2) before fc"),
        (Remove("fc"), "remove fc"),
        (Wrap(nn.Linear, nn.Sequential), "wrap Linear in Sequential"),
    ],
)
def test_edit(edit, words):
    assert edit.describe() == words


def test_edits_are_values():
    assert Replace(nn.ReLU, nn.GELU) == Replace(nn.ReLU, nn.GELU)
    assert Replace(nn.ReLU, nn.GELU) != Replace(nn.ReLU, nn.GELU, share=True)
