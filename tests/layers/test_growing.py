import copy

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.growing import columns_in_words, first, more, moved, resized, with_columns
from torchsurgery.origins import Computed, Grown, Initialised, evaluate


def test_the_first_of_each_block():
    assert first(2, 3) == [(0, 0), (1, 1)] and first(3, 2, block=2) == [(0, 0), (1, 1), (2, 3), (3, 4)]


def test_rows_and_columns_by_hand():
    old, drawn = torch.arange(4.0).reshape(2, 2) + 1, torch.full((3, 3), 9.0)
    origin = moved("weight", (3, 3), [(0, 1), (2, 0)], [(1, 0), (2, 1)])
    assert isinstance(origin, Grown) and origin.what == "2 rows carried, 1 initialised"
    origin.drawn[:] = [drawn]
    expected = torch.tensor([[0.0, 3, 4], [9, 9, 9], [0, 1, 2]])
    assert torch.equal(evaluate(origin, {"weight": old}), expected)
    assert torch.equal(drawn, torch.full((3, 3), 9.0)), "what was drawn is not written into"
    assert not evaluate(origin.for_momentum(), {"weight": old})[1].any()
    turned = moved("weight", (3, 3), [(0, 1), (2, 0)], [(1, 0), (2, 1)], axis=1)
    turned.drawn[:] = [drawn]
    assert torch.equal(evaluate(turned, {"weight": old.T}), expected.T)


def test_without_new_rows_nothing_is_drawn():
    origin = moved("bias", (2,), first(4, 2))
    assert type(origin) is Computed and torch.equal(evaluate(origin, {"bias": torch.arange(4)}), torch.arange(2))
    assert moved("bias", (2,), [(0, 1), (1, 0)]).what == "rows in another order"


def test_columns():
    weight = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(with_columns(weight, 1, 1), weight.sum(1, keepdim=True))
    assert torch.equal(with_columns(weight, 1, 2), weight[:, :2])
    assert torch.equal(with_columns(weight, 1, 4), torch.cat([weight, torch.zeros(2, 1)], 1))
    x = torch.randn(3)
    assert torch.allclose(with_columns(weight, 1, 7, "repeat") @ x[torch.arange(7) % 3], weight @ x, atol=1e-5)
    assert with_columns(weight, 0, 3).shape == (3, 3)
    assert [columns_in_words(3, n)[2] for n in (1, 2, 4)] == [True, False, True]


def test_resized_says_what_holds():
    weight = torch.eye(4)
    assert resized(weight, (4, 6), (4, 6), (4, 4)).fidelity is Fidelity.EXACT
    assert resized(weight, (4, 3), (4, 3), (4, 4)).error == pytest.approx(0.5)
    assert resized(weight, (6, 4), (4, 4), (4, 6)).fidelity is Fidelity.INITIALISED
    assert resized(weight, (3, 4), (4, 4), (4, 3)).weight == Initialised("4 → 3 outputs")
    assert resized(torch.zeros(4, 4), (4, 3), (4, 3), (4, 4)).error == 0.0
    assert resized(weight.to("meta"), (4, 3), (4, 3), (4, 4)).error is None


def test_a_bias():
    assert isinstance(more("bias", 2, 3), Grown) and isinstance(more("bias", 3, 2), Initialised)


# --- in a plan


def net():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def test_what_is_drawn_stays_what_it_was_while_the_rest_follows_the_training():
    model = net()
    plan = ts.plan(model).replace("2", nn.Linear, out_features=5)
    drawn = plan.changes[0].new.weight[3:].clone()
    with torch.no_grad():
        model[2].weight.add_(1)
    expected = model[2].weight.clone()
    plan.apply()
    assert torch.equal(model[2].weight[:3], expected) and torch.equal(model[2].weight[3:], drawn)


def test_momentum_of_new_rows_is_zero():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    momentum = optimizer.state[model[2].weight]["momentum_buffer"].clone()
    ts.plan(model).replace("2", nn.Linear, out_features=5).apply(optimizer=optimizer)
    carried = optimizer.state[model[2].weight]["momentum_buffer"]
    assert torch.equal(carried[:3], momentum) and not carried[3:].any()


def test_an_average_gets_the_same_new_rows():
    model = net()
    average = torch.optim.swa_utils.AveragedModel(model)
    with torch.no_grad():
        average.module[2].weight.mul_(0.5)
    kept = average.module[2].weight.clone()
    ts.plan(model).replace("2", nn.Linear, out_features=5).apply(ema=average)
    assert torch.equal(average.module[2].weight[3:], model[2].weight[3:])
    assert torch.equal(average.module[2].weight[:3], kept)


def test_undone_and_copied():
    model, x = net(), torch.randn(2, 4)
    before = model(x)
    done = ts.replace(model, "0", nn.Linear, in_features=5)
    assert torch.allclose(model(torch.cat([x, torch.randn(2, 1)], 1)), before, atol=1e-6)
    assert torch.equal(copy.deepcopy(model)[0].weight, model[0].weight)
    done.undo()
    assert torch.equal(model(x), before)


def test_a_new_head_on_a_frozen_backbone_is_trainable():
    for classes in (2, 5):
        model = net().requires_grad_(False)
        ts.replace(model, "2", nn.Linear, out_features=classes)
        assert {name for name, p in model.named_parameters() if p.requires_grad} == {"2.weight", "2.bias"}
