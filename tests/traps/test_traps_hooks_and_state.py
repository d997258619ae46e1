"""Traps 9 and 10: hooks and the user's handles; mode, dtype, device, memory format, custom attributes, random state."""

import copy
import random

import numpy as np
import pytest
import torch
from parts import BuiltLinear, Doubled, FusedReLU, random_states, state
from torch import nn

import torchsurgery as ts


class MyBatchNorm(nn.BatchNorm2d):
    """Nothing new."""


KINDS = {
    "forward pre": lambda m, log: m.register_forward_pre_hook(lambda module, args: log.append(module)),
    "forward pre with kwargs": lambda m, log: m.register_forward_pre_hook(
        lambda module, args, kwargs: log.append(module), with_kwargs=True
    ),
    "forward": lambda m, log: m.register_forward_hook(lambda module, args, answer: log.append(module)),
    "forward with kwargs, always": lambda m, log: m.register_forward_hook(
        lambda module, args, kwargs, answer: log.append(module), with_kwargs=True, always_call=True
    ),
    "backward": lambda m, log: m.register_full_backward_hook(lambda module, grad_in, grad_out: log.append(module)),
    "backward pre": lambda m, log: m.register_full_backward_pre_hook(lambda module, grad_out: log.append(module)),
    "state dict pre": lambda m, log: m.register_state_dict_pre_hook(lambda module, *rest: log.append(module)),
    "state dict": lambda m, log: m.register_state_dict_post_hook(lambda module, *rest: log.append(module)),
    "load pre": lambda m, log: m.register_load_state_dict_pre_hook(lambda module, *rest: log.append(module)),
    "load post": lambda m, log: m.register_load_state_dict_post_hook(lambda module, keys: log.append(module)),
}

# edit → what the hooks are handed: the layer that stands there, or the one inside of it
EDITS = {
    "class": lambda net: ts.replace(net, "1", nn.GroupNorm, num_groups=2),
    "subclass": lambda net: ts.replace(net, "1", MyBatchNorm),
    "instance": lambda net: ts.replace(net, "1", nn.GroupNorm(2, 4)),
    "factory": lambda net: ts.replace(net, "1", lambda old: nn.GroupNorm(2, 4)),
    "remove": lambda net: ts.remove(net, "1"),
    "wrap": lambda net: ts.wrap(net, "1", Doubled),
    "insert": lambda net: ts.insert(net, nn.ReLU(), after="1"),
}


def _use(net, log):
    """Everything that calls hooks, once; answers the modules that they were handed."""
    log.clear()
    net(torch.randn(2, 3, 4, 4, requires_grad=True)).sum().backward()
    net.load_state_dict(net.state_dict())
    return list(log)


def test_trap_09_hooks_and_handles_naive():
    net, log = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), []
    net[1].register_forward_hook(lambda *_: log.append(1))
    net[1] = nn.GroupNorm(2, 4)
    assert _use(net, log) == [], "the hook is gone"


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_trap_09_hooks_and_handles(kind, edit):
    net, log = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), []
    old = net[1]
    handle = kind(old, log)
    done = edit(net)
    layer = next((net[1]._modules[name] for name in ("inner", "layer") if name in net[1]._modules), net[1])
    assert _use(net, log) == [layer], "it is called once, with the layer that stands there"
    done.undo()
    assert _use(net, log) == [old]
    done = edit(net)
    handle.remove()
    assert _use(net, log) == [], "the handle works after the edit"
    done.undo()
    assert _use(net, log) == [], "and what was removed stays away"


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_trap_09_handle_removed_after_undo(edit):
    net, log = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), []
    handles = [kind(net[1], log) for kind in KINDS.values()]
    edit(net).undo()
    assert len(_use(net, log)) == len(KINDS)
    for handle in handles:
        handle.remove()
    assert _use(net, log) == []


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_trap_09_hook_registered_between_plan_and_apply(edit):
    net, log = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), []
    plans = {
        "class": ts.plan(net).replace("1", nn.GroupNorm, num_groups=2),
        "instance": ts.plan(net).replace("1", nn.GroupNorm(2, 4)),
    }
    for plan in plans.values():
        handle = net[1].register_forward_hook(lambda *_: log.append(1))
        done = plan.apply()
        assert _use(net, log) == [1]
        handle.remove()
        assert _use(net, log) == []
        done.undo()


def test_trap_09_hook_registered_on_the_new_layer_outlives_undo():
    net, log = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), []
    done = ts.replace(net, "1", nn.GroupNorm, num_groups=2)
    handle = net[1].register_forward_hook(lambda *_: log.append(1))
    done.undo()
    assert _use(net, log) == [1]
    handle.remove()
    assert _use(net, log) == []


def test_trap_09_order_of_hooks_is_kept():
    net, log = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), []
    for name in "abc":
        net[1].register_forward_hook(lambda *_, name=name: log.append(name))
    done = ts.replace(net, "1", nn.GroupNorm, num_groups=2)
    assert _use(net, log) == ["a", "b", "c"]
    done.undo()
    assert _use(net, log) == ["a", "b", "c"]


class Counting(nn.Linear):
    """Its hook is a method of its own."""

    def __init__(self, in_features, out_features):
        super().__init__(in_features, out_features)
        self.calls = 0
        self.handle = self.register_forward_hook(self.count)

    def count(self, *_):
        self.calls += 1


class CountingMore(Counting):
    pass


def test_trap_09_hook_that_is_a_method_of_the_old_layer_goes_and_comes_with_it():
    net, x, log = nn.Sequential(Counting(4, 4)), torch.randn(1, 4), []
    layer = net[0]
    other = layer.register_forward_hook(lambda *_: log.append(1))
    done = ts.replace(net, Counting, nn.Linear)
    net(x)
    assert (type(net[0]), log) == (nn.Linear, [1])
    done.undo()
    net(x)
    assert (layer.calls, log) == (1, [1, 1])
    other.remove()
    layer.handle.remove()
    net(x)
    assert (layer.calls, log) == (1, [1, 1])


def test_trap_09_hook_that_is_a_method_stays_in_a_subclass():
    net, x = nn.Sequential(Counting(4, 4)), torch.randn(1, 4)
    ts.replace(net, Counting, CountingMore)
    net(x)
    assert net[0].calls == 1


def test_trap_09_one_instance_for_layers_with_hooks_each_is_refused():
    net, new = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU()), nn.Tanh()
    log = []
    for layer in net[:2]:
        layer.register_forward_hook(lambda module, *_: log.append(module))
    before = state(net)
    with pytest.raises(ts.PlanError, match="0 and 1 have hooks each") as caught:
        ts.replace(net, nn.ReLU, new, share=True)
    assert caught.value.name == "0"
    assert "share=True" in caught.value.way_out
    assert state(net) == before
    ts.replace(net, nn.ReLU, new)
    net(torch.ones(1))
    assert log == [net[0], net[1]]


def test_trap_09_real_model(resnet18, images):
    log = []
    handles = [m.register_forward_hook(lambda m, *_: log.append(m)) for m in resnet18.modules()]
    done = (
        ts.plan(resnet18)
        .replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=8)
        .replace(nn.ReLU, FusedReLU)
        .insert(nn.Dropout(0.1), after="layer*.*.conv1")
        .apply()
    )
    resnet18(images)
    # Each of the 9 ReLUs but the stem's is called twice per block.
    assert len({id(m) for m in log}) == len(handles)
    for handle in handles:
        handle.remove()
    log.clear()
    resnet18(images)
    done.undo()
    resnet18(images)
    assert log == []


# --- 10 --- mode, dtype, device, memory format, requires_grad, custom attributes, random state


def test_trap_10_mode_dtype_and_freezing_naive():
    net = nn.Sequential(nn.Linear(4, 4)).to(torch.bfloat16).eval().requires_grad_(False)
    net[0] = nn.Linear(4, 4)
    assert net[0].training
    assert net[0].weight.dtype == torch.float32
    assert net[0].weight.requires_grad


def _mixed():
    net = nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3))
    net[0].weight.requires_grad_(False)
    return net.to(torch.bfloat16, memory_format=torch.channels_last).eval()


EVERY_EDIT = (
    lambda net: ts.plan(net).replace("0", nn.Conv2d, kernel_size=3),
    lambda net: ts.plan(net).replace("1", nn.GroupNorm, num_groups=2),
    lambda net: ts.plan(net).replace("1", lambda old: nn.GroupNorm(2, 8)),
    lambda net: ts.plan(net).replace("1", nn.GroupNorm(2, 8)),
    lambda net: ts.plan(net).replace("2", FusedReLU),
    lambda net: ts.plan(net).insert(nn.Dropout(0.5), after="2"),
    lambda net: ts.plan(net).insert(nn.Conv2d(8, 8, 1), after="2"),
    lambda net: ts.plan(net).insert(nn.PReLU, before="3"),
    lambda net: ts.plan(net).wrap("3", Doubled),
    lambda net: ts.plan(net).remove("1"),
)


@pytest.mark.parametrize("edit", EVERY_EDIT)
def test_trap_10_mode_dtype_and_random_state(edit):
    net = _mixed()
    plan = edit(net)
    randomness = random_states()
    done = plan.apply()
    assert random_states() == randomness
    assert not any(module.training for module in net.modules())
    assert {p.dtype for p in net.parameters()} == {torch.bfloat16}
    frozen = [name for name, p in net.named_parameters() if not p.requires_grad]
    assert frozen == ["0.weight"]
    x = torch.randn(1, 4, 5, 5, dtype=torch.bfloat16)
    assert torch.equal(net(x), net(x)), "no dropout is live"
    done.undo()
    assert {p.dtype for p in net.parameters()} == {torch.bfloat16}
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_trap_10_memory_format_of_an_enlarged_kernel():
    net = _mixed()
    ts.replace(net, nn.Conv2d, nn.Conv2d, kernel_size=5)
    assert net[3].weight.shape == (8, 8, 5, 5)
    assert net[3].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("edit", EVERY_EDIT)
def test_trap_10_on_meta(edit):
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3))
    edit(net).apply()
    assert {tensor.device.type for tensor in net.state_dict().values()} == {"meta"}


@pytest.mark.parametrize("edit", EVERY_EDIT)
def test_trap_10_what_changes_between_plan_and_apply_is_followed(edit):
    net = nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3))
    plan = edit(net)
    net.double().eval()
    net[0].requires_grad_(False)
    with torch.no_grad():
        net[0].weight.fill_(0.25)
    done = plan.apply()
    assert not any(module.training for module in net.modules())
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert net(torch.randn(1, 4, 5, 5, dtype=torch.float64)).dtype == torch.float64
    assert net[0].weight.sum() == 8
    assert not net[0].weight.requires_grad
    done.undo()
    assert {p.dtype for p in net.parameters()} == {torch.float64}


@pytest.mark.parametrize("edit", EVERY_EDIT)
def test_trap_10_undo_after_eval_bf16_and_freezing(edit):
    net = nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3))
    layers = list(net)
    done = edit(net).apply()
    net.eval().to(torch.bfloat16)
    done.undo()
    assert list(net) == layers
    assert not any(module.training for module in net.modules())
    assert {t.dtype for t in net.state_dict().values() if t.is_floating_point()} == {torch.bfloat16}
    net(torch.randn(1, 4, 5, 5, dtype=torch.bfloat16))


def test_trap_10_undo_after_training_keeps_what_was_learnt():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 2))
    done = ts.replace(net, nn.BatchNorm2d, nn.GroupNorm, num_groups=2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(torch.randn(2, 3, 3, 3)).square().sum().backward()
    optimizer.step()
    weight = net[1].weight.detach().clone()
    done.undo()
    assert type(net[1]) is nn.BatchNorm2d
    assert torch.equal(net[1].weight, weight)
    assert not torch.equal(weight, torch.ones(4))


def test_trap_10_layer_of_two_dtypes_keeps_both():
    net = nn.Sequential(nn.Linear(4, 4))
    net[0].weight.data = net[0].weight.data.bfloat16()
    weight, bias = net[0].weight, net[0].bias
    ts.replace(net, nn.Linear, BuiltLinear)
    assert net[0].weight is weight
    assert net[0].bias is bias
    assert (weight.dtype, bias.dtype) == (torch.bfloat16, torch.float32)


def test_trap_10_custom_attributes():
    for new, arguments in (
        (nn.GroupNorm, {"num_groups": 2}),
        (nn.GroupNorm(2, 4), {}),
        (lambda old: nn.GroupNorm(2, 4), {}),
    ):
        net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        net[1].tag = ("mine", 1)
        ts.replace(net, "1", new, **arguments)
        assert net[1].tag == ("mine", 1)


class OtherBatchNorm(nn.BatchNorm2d):
    """A class of which nothing is known yet when the layer with a hook comes."""


def test_trap_10_custom_attribute_of_a_layer_with_a_hook():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), OtherBatchNorm(4))
    net[1].tag = "mine"
    net[1].register_forward_hook(lambda *_: None)
    ts.replace(net, "1", nn.GroupNorm(2, 4))
    assert net[1].tag == "mine"


def test_trap_10_random_state_of_all_generators():
    def factory(old):
        random.random(), np.random.rand(), torch.rand(1)
        return nn.Linear(old.in_features, old.out_features)

    net, given = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4)), nn.Linear(4, 4)
    before = random_states()
    plan = ts.plan(net).replace(nn.Linear, factory).insert(nn.PReLU, after="0").insert(given, after=nn.ReLU)
    assert random_states() == before
    done = plan.replace(nn.BatchNorm1d, nn.LayerNorm, normalized_shape=4).apply(check=torch.randn(3, 4))
    torch.randn(3, 4)
    done.undo()
    torch.manual_seed(0)
    first = ts.plan(nn.Sequential(nn.Linear(4, 4))).replace("0", lambda old: nn.Linear(4, 4), carry=False).apply().model
    torch.manual_seed(0)
    second = (
        ts.plan(nn.Sequential(nn.Linear(4, 4))).replace("0", lambda old: nn.Linear(4, 4), carry=False).apply().model
    )
    assert torch.equal(first[0].weight, second[0].weight), "the same seed gives the same new weights"


def test_trap_10_real_model_in_bf16_channels_last(resnet18):
    net = resnet18.to(torch.bfloat16, memory_format=torch.channels_last)
    x = torch.randn(2, 3, 32, 32, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    twin = copy.deepcopy(net)
    done = (
        ts.plan(net)
        .replace(nn.ReLU, FusedReLU)
        .replace(nn.Conv2d, nn.Conv2d, kernel_size=lambda old: old.kernel_size[0])
        .apply()
    )
    assert torch.equal(net(x), twin(x))
    done.undo()
    assert torch.equal(net(x), twin(x))
