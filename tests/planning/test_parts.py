"""Layers of several layers are converted as an earlier edit of the same plan leaves them."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery.planning.parts import as_drafted


def padded():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 8, 3))
    return nn.Sequential(inner, nn.ReLU(), nn.Conv2d(8, 3, 1)).eval()


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_convolution_that_was_pruned_and_its_padding_become_one():
    one, two = padded(), padded()
    recipe = ts.prune(one, "0.1", 0.5, example_inputs=X).recipe + ts.replace(one, "0", nn.Conv2d).recipe
    before = portrait(two)
    done = ts.plan(two, X).prune("0.1", 0.5).replace("0", nn.Conv2d).apply()
    assert two[0].out_channels == one[0].out_channels == 4
    assert torch.equal(two[0].weight, one[0].weight)
    assert torch.equal(two(X), one(X))
    done.undo()
    assert portrait(two) == before
    ts.plan(two).replay(recipe).apply()
    assert torch.equal(two(X), one(X))


def test_what_is_computed_of_it_follows_training():
    net, other = padded(), padded()
    plan = ts.plan(net, X).prune("0.1", channels=[0, 1]).replace("0", nn.Conv2d)
    for model in (net, other):
        with torch.no_grad():
            model[0][1].weight.add_(1)
    plan.apply()
    ts.prune(other, "0.1", channels=[0, 1], example_inputs=X)
    assert torch.allclose(net(X), other(X), atol=1e-6)


def test_momentum_follows_both():
    net, other = padded(), padded()
    sgds = [torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9) for model in (net, other)]
    for model, sgd in zip((net, other), sgds, strict=True):
        model(X).sum().backward()
        sgd.step()
    ts.plan(net, X).prune("0.1", channels=[0, 1]).replace("0", nn.Conv2d).apply(optimizer=sgds[0])
    ts.prune(other, "0.1", channels=[0, 1], example_inputs=X, optimizer=sgds[1])
    ts.plan(other).replace("0", nn.Conv2d).apply(optimizer=sgds[1])
    mine, theirs = (sgd.state[model[0].weight] for model, sgd in zip((net, other), sgds, strict=True))
    assert torch.equal(mine["momentum_buffer"], theirs["momentum_buffer"])


def test_a_layer_that_keeps_its_parts_is_seen_itself():
    net = padded()
    plan = ts.plan(net).remove("1")
    assert as_drafted(plan.draft, net[0]) is net[0]
    assert as_drafted(plan.draft, net[2]) is net[2]
    plan = plan.replace("0.0", nn.ZeroPad2d(1))
    seen = as_drafted(plan.draft, plan.draft.children(plan.draft.root)["0"])
    assert isinstance(seen[0], nn.ZeroPad2d) and seen[1] is net[0][1]
    assert isinstance(net[0][0], nn.ReflectionPad2d)


@pytest.mark.parametrize("later", ["fold", "freeze", "factory"])
@pytest.mark.parametrize("share", [False, True])
def test_parts_that_go_along_are_those_that_an_earlier_edit_has_put(later, share):
    """What is left of timm's norms is their activation: the new one, whether it is another object or not."""
    import timm

    net, x = timm.create_model("test_byobnet").eval(), torch.randn(1, 3, 32, 32)
    plan = ts.plan(net, x).replace(nn.ReLU, nn.Mish(), share=share)
    if later == "fold":
        plan = plan.fold(x)
    elif later == "freeze":
        plan = ts.freeze_norms(plan)
    else:
        norms = ts.select(net, where=lambda name, module: type(module).__name__ == "BatchNormAct2d")
        plan = plan.replace(norms, lambda old: nn.Sequential(nn.Identity(), old.act))
    acting = sum(isinstance(module, nn.ReLU) for module in net.modules())
    before = portrait(net)
    done = plan.apply()
    assert not any(isinstance(module, nn.ReLU) for module in net.modules())
    found = [module for module in net.modules() if isinstance(module, nn.Mish)]
    assert len(found) == (1 if share else acting)
    net(x)
    done.undo()
    assert portrait(net) == before
