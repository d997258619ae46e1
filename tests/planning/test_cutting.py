"""A cut of layers whose sizes lie in parts of theirs, also where an earlier edit of the plan has cut them."""

import random
from dataclasses import replace

import numpy as np
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


class TiedByOtherNames(nn.Module):
    """A table whose rows are read as the weight of a product under another name, and a buffer that both hold."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 8)
        self.out = nn.Module()
        self.out.kernel = self.embedding.weight
        self.scale = nn.Linear(8, 8, bias=False)

    def forward(self, x):
        return self.scale(self.embedding(x)) @ self.out.kernel.T


def test_a_tensor_that_layers_share_by_different_names_is_made_once():
    net, x = TiedByOtherNames(), torch.tensor([[0, 3]])
    plan = ts.plan(net, x).prune("embedding", 0.5)
    computed = {change.name: change.origins for change in plan.changes}
    assert computed["embedding"]["weight"].sources == ("weight",)
    assert computed["out"]["kernel"].sources == ("kernel",)
    assert computed["embedding"]["weight"].describe() == computed["out"]["kernel"].describe() == "(5, 8 → 4)"
    done = plan.apply()
    assert net.out.kernel is net.embedding.weight and net.embedding.weight.shape == (5, 4)
    assert net(x).shape == (1, 2, 5)
    done.undo()
    assert net.out.kernel is net.embedding.weight and net.embedding.weight.shape == (5, 8)


def test_names_that_no_tensor_has_are_passed_over():
    net = normalised()
    edit = ts.plan(net, X).prune("0", 0.5).edits[0]
    kept = {**edit.kept, "gone.weight": {0: (0,)}, "0.gone": {0: (0,)}}
    plan = ts.plan(net, X).then(replace(edit, kept=kept))
    assert [change.name for change in plan.changes] == [
        change.name for change in ts.plan(net, X).prune("0", 0.5).changes
    ]


def test_a_cut_leaves_the_random_states_alone():
    net = normalised()
    edits = [
        ts.plan(net, X).prune("0", 0.5).edits[0],
        ts.plan(net, X).widen("0", 12, noise=0.1, approximate=True).edits[0],
    ]
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    state, numbers = random.getstate(), np.random.get_state()
    for edit in edits:
        ts.plan(net, X).then(edit)
    assert torch.equal(torch.randn(3), expected)
    assert random.getstate() == state and all(map(np.array_equal, np.random.get_state(), numbers))
