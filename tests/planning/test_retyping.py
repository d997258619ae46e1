"""Thousands of layers of one class: what the first comes to, the others come to, but for those set apart."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.planning import replacing


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Other(nn.Linear):
    """Another subclass, without a constructor of its own."""


def stack(count=6):
    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(count)))


def test_the_class_is_asked_once(monkeypatch):
    asked = []
    guard = replacing.guard
    monkeypatch.setattr(
        replacing, "guard", lambda scene, place, edit: (asked.append(place.name), guard(scene, place, edit))
    )
    ts.plan(stack()).replace(nn.Linear, Scaled)
    assert asked == ["0"]


def test_each_gets_the_change_that_it_would_get_alone():
    model = stack(3)
    together = ts.plan(model).replace(nn.Linear, Scaled).changes
    alone = [ts.plan(model).replace(name, Scaled).changes[0] for name in "012"]
    for change, other in zip(together, alone, strict=True):
        assert (change.kind, change.names, change.means) == (other.kind, other.names, other.means)
        assert (change.fidelity, change.remarks, change.origins) == (other.fidelity, other.remarks, other.origins)
        assert (change.lost, change.dropped, change.error) == (other.lost, other.dropped, other.error)
        assert change.standing is other.standing and type(change.new) is type(other.new)
        assert vars(change.old) is vars(change.new) is vars(change.standing)


def test_what_it_computes_and_what_comes_back():
    model, x = stack(), torch.randn(2, 4)
    weights, before = list(model.parameters()), model(x)
    done = ts.replace(model, nn.Linear, Scaled)
    assert all(type(layer) is Scaled for layer in model)
    assert all(a is b for a, b in zip(weights, model.parameters(), strict=True))
    torch.testing.assert_close(nn.Sequential(model[0])(x), 2 * nn.functional.linear(x, weights[0], weights[1]))
    done.undo()
    assert all(type(layer) is nn.Linear for layer in model)
    assert torch.equal(model(x), before)


def test_a_later_one_with_a_forward_of_its_own_is_refused_by_name():
    model = stack()
    model[4].forward = lambda x: x
    with pytest.raises(ts.PlanError, match=r"cannot replace 4 \(Linear\): a forward was set on this very instance"):
        ts.replace(model, nn.Linear, Scaled)
    assert type(model[0]) is nn.Linear


def test_a_later_one_that_is_parametrized_is_refused_by_name():
    model = stack()
    nn.utils.parametrizations.weight_norm(model[3])
    with pytest.raises(ts.ConfigError, match=r"cannot replace 3 \(ParametrizedLinear\).*its weight is parametrized"):
        ts.replace(model, nn.Linear, Scaled)
    assert type(model[0]) is nn.Linear


def test_subclasses_are_settled_each_for_itself():
    model = nn.Sequential(nn.Linear(4, 4), Other(4, 4), nn.Linear(4, 4), Other(4, 4))
    changes = ts.plan(model).replace(nn.Linear, Scaled).changes
    assert [type(change.old) for change in changes] == [nn.Linear, Other, nn.Linear, Other]
    assert [type(change.new) for change in changes] == [Scaled] * 4
    # An Other can't just take the class: Scaled does not derive from it.
    assert len({change.means for change in changes}) == 2


def test_an_earlier_edit_of_one_of_them_is_kept():
    model = stack(3)
    plan = ts.plan(model).replace("1", nn.Linear, out_features=4, bias=False).replace(nn.Linear, Scaled)
    plan.apply()
    assert [layer.bias is None for layer in model] == [False, True, False]
    assert all(type(layer) is Scaled for layer in model)


def test_a_function_of_the_old_layer_is_asked_for_each():
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))
    ts.replace(model, nn.Linear, Scaled, bias=lambda old: old.in_features == 8)
    assert [layer.bias is not None for layer in model] == [False, True]
