"""A cut of layers whose sizes lie in parts of theirs, also where an earlier edit of the plan has cut them."""

import torch
from torch import nn
from torch.nn.utils import parametrizations

import torchsurgery as ts


def normalised():
    """A depthwise convolution of normalised weight between two layers, as speech models have it."""
    torch.manual_seed(0)
    conv = parametrizations.weight_norm(nn.Conv1d(8, 8, 3, padding=1, groups=4), dim=2)
    return nn.Sequential(nn.Conv1d(3, 8, 1), conv, nn.Conv1d(8, 2, 1)).eval()


X = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(0))


def widths(conv):
    return conv.in_channels, conv.out_channels, tuple(conv.weight.shape)


def test_attributes_of_parametrized_layers_follow():
    net = normalised()
    ts.prune(net, "0", 0.5, example_inputs=X)
    assert widths(net[1]) == (4, 4, (4, 2 if net[1].groups == 2 else 1, 3))


def test_attributes_of_parametrized_layers_follow_two_cuts_of_one_plan():
    one, two = normalised(), normalised()
    recipe = ts.prune(one, "0", 0.5, example_inputs=X).recipe
    recipe += ts.widen(one, "0", 6, example_inputs=X, approximate=True).recipe
    assert one[1].out_channels == one[1].weight.shape[0] == 6
    plan = ts.plan(two).replay(recipe)
    assert plan.draft.children(plan.draft.root)["1"].out_channels == 6
    plan.apply()
    assert widths(two[1]) == widths(one[1])
    assert torch.equal(two(X), one(X))


def test_an_attention_cut_twice_in_one_plan():
    def made():
        torch.manual_seed(0)
        return nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()

    x = torch.randn(2, 5, 16)
    one, two = made(), made()
    recipe = ts.prune(one, "self_attn", 0.5, example_inputs=x).recipe
    recipe += ts.prune(one, "self_attn", 0.5, example_inputs=x).recipe
    ts.plan(two).replay(recipe).apply()
    assert (two.self_attn.num_heads, two.self_attn.head_dim) == (one.self_attn.num_heads, one.self_attn.head_dim)
    assert (
        two.self_attn.out_proj.in_features
        == one.self_attn.out_proj.in_features
        == one.self_attn.out_proj.weight.shape[1]
    )
    assert torch.equal(two(x), one(x))
