"""Replace and Remove."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery.origins import Computed, Initialised, Same


class Fused(nn.Linear):
    """A user's subclass without a constructor of its own."""

    def forward(self, x):
        return super().forward(x).relu()


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU())


def change(net, *args, **kwargs):
    (only,) = ts.plan(net).replace(*args, **kwargs).changes
    return only


# --- classes


def test_a_class_is_configured_from_the_old_layer():
    net = nn.Sequential(nn.LeakyReLU(0.3, inplace=True), nn.Conv2d(4, 8, 3, stride=2, groups=2, bias=False))
    ts.plan(net).replace("0", nn.ReLU).replace("1", nn.Conv2d, bias=True).apply()
    assert repr(net[0]) == "ReLU(inplace=True)"
    assert repr(net[1]) == "Conv2d(4, 8, kernel_size=(3, 3), stride=(2, 2), groups=2)"


def test_parameters_are_carried_as_objects(net):
    weight, bias = net[0].weight, net[0].bias
    ts.replace(net, "0", Fused)
    assert net[0].weight is weight
    assert net[0].bias is bias


def test_arguments_are_values_or_functions_of_the_old_layer():
    net = nn.Sequential(nn.BatchNorm2d(32), nn.BatchNorm2d(48))
    ts.replace(net, nn.BatchNorm2d, nn.GroupNorm, num_groups=lambda old: old.num_features // 16, eps=1e-3)
    assert [(norm.num_groups, norm.num_channels, norm.eps) for norm in net] == [(2, 32, 1e-3), (3, 48, 1e-3)]


def test_a_divisor_for_each_layer():
    net = nn.Sequential(nn.BatchNorm2d(48), nn.BatchNorm2d(7))
    ts.replace(net, nn.BatchNorm2d, nn.GroupNorm, num_groups=ts.divisor(32))
    assert [norm.num_groups for norm in net] == [24, 7]


def test_origins_tell_where_each_tensor_comes_from():
    net = nn.Sequential(nn.BatchNorm2d(4))
    what = change(net, "0", nn.GroupNorm, num_groups=2)
    assert what.origins == {"weight": Same("weight"), "bias": Same("bias")}
    assert set(what.lost) == {"running_mean", "running_var", "num_batches_tracked"}


def test_what_an_adopting_layer_carries_need_not_be_said(net):
    what = change(net, "0", Fused)
    assert what.origins == {}
    assert what.lost == ()
    assert what.fidelity is ts.Fidelity.EXACT or what.fidelity is not None


# --- convolutions


@pytest.mark.parametrize(("old", "new", "padding"), [(1, 3, 1), (3, 5, 2), (3, 1, 0), (1, 7, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_another_kernel_size_keeps_the_output_shape(old, new, padding, stride):
    net = nn.Sequential(nn.Conv2d(2, 3, old, stride=stride, padding=old // 2))
    x = torch.randn(1, 2, 9, 8)
    before = net(x)
    ts.replace(net, nn.Conv2d, nn.Conv2d, kernel_size=new)
    assert net[0].kernel_size == (new, new)
    assert net[0].padding == (padding, padding)
    assert net[0].stride == (stride, stride)
    assert net(x).shape == before.shape
    if new > old:
        torch.testing.assert_close(net(x), before)


def test_the_trained_kernel_sits_in_the_middle():
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    with torch.no_grad():
        net[0].weight.fill_(7)
    ts.replace(net, nn.Conv2d, nn.Conv2d, kernel_size=3)
    assert net[0].weight.tolist() == [[[[0, 0, 0], [0, 7, 0], [0, 0, 0]]]]


def test_a_smaller_kernel_says_what_it_drops():
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    with torch.no_grad():
        net[0].weight.fill_(1)
    what = change(net, "0", nn.Conv2d, kernel_size=1)
    assert what.fidelity is ts.Fidelity.APPROXIMATE
    assert any("8 of 9 taps" in remark for remark in what.remarks)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(2, 2, 3, padding="same"),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 2, 3, padding=2, dilation=2),
        nn.Conv1d(2, 2, 3, padding=1),
        nn.Conv3d(2, 2, 3, padding=1),
    ],
    ids=["same", "reflect", "dilation", "1d", "3d"],
)
def test_other_paddings_and_dimensions(conv):
    net = nn.Sequential(conv)
    x = torch.randn(1, 2, *[8] * (conv.weight.dim() - 2))
    before = net(x)
    ts.replace(net, "0", type(conv), kernel_size=5)
    torch.testing.assert_close(net(x), before)


@pytest.mark.parametrize("size", [2, 4])
def test_an_even_kernel_keeps_shape_and_output(size):
    net = nn.Sequential(nn.Conv2d(2, 2, 1))
    x = torch.randn(1, 2, 8, 8)
    before = net(x)
    ts.replace(net, "0", nn.Conv2d, kernel_size=size)
    torch.testing.assert_close(net(x), before)


def test_every_one_by_one_convolution_of_resnet18(resnet18, images):
    before = resnet18(images)
    found = ts.select(resnet18, nn.Conv2d, kernel_size=(1, 1))
    done = ts.replace(resnet18, found, nn.Conv2d, kernel_size=3)
    assert [resnet18.get_submodule(name).kernel_size for name in found.names] == [(3, 3)] * 3
    assert [resnet18.get_submodule(name).stride for name in found.names] == [(2, 2)] * 3
    torch.testing.assert_close(resnet18(images), before, atol=1e-5, rtol=0)
    done.undo()
    assert torch.equal(resnet18(images), before)


# --- instances


def test_an_instance_is_taken_as_it_is_and_copied_for_further_places(net):
    given = nn.PReLU()
    ts.replace(net, nn.ReLU, given)
    assert net[1] is given
    assert net[3] is not given
    assert net[3].weight is not given.weight
    assert net[3].weight.item() == given.weight.item() == 0.25


def test_one_instance_shared_by_all_places(net):
    given = nn.PReLU()
    ts.replace(net, nn.ReLU, given, share=True)
    assert net[1] is net[3] is given


def test_an_instance_keeps_its_own_tensors_unless_told_to_carry(net):
    old, given, other = net[0].weight, nn.Linear(2, 2), nn.Linear(2, 2)
    own = given.weight
    ts.replace(net, "0", given)
    assert net[0].weight is own
    ts.replace(net, "0", other, carry=True).undo()
    assert other.weight is not own, "what was carried into the instance is given back on undo"
    assert net[0].weight is own
    assert old is not own


def test_an_instance_carries_on_request(net):
    weight, bias = net[0].weight, net[0].bias
    given = nn.Linear(2, 2)
    ts.replace(net, "0", given, carry=True)
    assert net[0] is given
    assert given.weight is weight
    assert given.bias is bias


# --- factories


def test_a_factory_takes_the_old_layer(net):
    ts.replace(net, nn.Linear, lambda old: nn.Sequential(nn.Linear(old.in_features, 1), nn.Linear(1, old.out_features)))
    assert [layer.out_features for layer in net[0]] == [1, 2]


def test_a_factory_takes_the_name_if_it_wants(net):
    seen = []

    def factory(old, name):
        seen.append(name)
        return nn.GELU()

    ts.replace(net, nn.ReLU, factory)
    assert seen == ["1", "3"]


@pytest.mark.parametrize(
    ("factory", "arguments"),
    [
        (lambda old, slope: nn.LeakyReLU(slope), {"slope": 0.5}),
        (lambda old, slope=0.5: nn.LeakyReLU(slope), {}),
        (lambda old, name, *, slope: nn.LeakyReLU(slope), {"slope": 0.5}),
        (lambda *args: nn.LeakyReLU(0.5), {}),
    ],
    ids=["argument", "default", "name and keyword", "anything"],
)
def test_arguments_of_a_factory(net, factory, arguments):
    ts.replace(net, nn.ReLU, factory, **arguments)
    assert net[1].negative_slope == 0.5


def test_a_factory_without_a_signature(net):
    class Odd:
        __signature__ = "none"

        def __call__(self, old):
            return nn.GELU()

    ts.replace(net, nn.ReLU, Odd())
    assert isinstance(net[1], nn.GELU)


def test_a_factory_that_does_not_look_at_the_weights_has_them_carried(net):
    weight = net[0].weight
    ts.replace(net, "0", lambda old: nn.Linear(old.in_features, old.out_features))
    assert net[0].weight is weight


def test_a_factory_that_reads_the_weights_has_seen_to_them_itself(net):
    def doubled(old):
        new = nn.Linear(2, 2)
        with torch.no_grad():
            new.weight.copy_(2 * old.weight)
        return new

    before = net[0].weight.clone()
    ts.replace(net, "0", doubled)
    assert torch.equal(net[0].weight, 2 * before)


@pytest.mark.parametrize("carry", [True, False])
def test_carry_decides_where_it_is_given(net, carry):
    weight = net[0].weight
    ts.replace(net, "0", lambda old: nn.Linear(2, 2), carry=carry)
    assert (net[0].weight is weight) is carry


def test_tensors_of_another_shape_or_kind_are_not_carried(net):
    def factory(old):
        new = nn.Linear(2, 2)
        del new.bias
        new.register_buffer("bias", torch.zeros(2))
        return new

    what = change(net, "0", factory)
    assert what.origins == {"weight": Same("weight"), "bias": Initialised("as given")}
    assert what.lost == ("bias",)


def test_a_factory_that_holds_the_old_layer_wraps_it(net):
    old = net[1]
    ts.replace(net, net[1], lambda layer: nn.Sequential(layer, nn.Dropout(0.1)))
    assert net[1][0] is old


def test_a_replacement_is_never_entered(net):
    ts.replace(net, nn.Linear, lambda old: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    assert len(ts.select(net, nn.Linear)) == 4


def test_of_nested_matches_the_outermost():
    net = nn.Sequential(nn.Sequential(nn.Sequential(nn.ReLU())), nn.ReLU())
    plan = ts.plan(net).replace(ts.select(net, "*.**") - ts.select(net, "1"), nn.Identity)
    assert [c.name for c in plan.changes] == ["0"]
    assert plan.planned[0].skipped == ("0.0", "0.0.0")
    plan.apply()
    assert repr(net) == "Sequential(\n  (0): Identity()\n  (1): ReLU()\n)"


def test_the_innermost_on_request():
    net = nn.Sequential(nn.Sequential(nn.Sequential(nn.ReLU())))
    ts.replace(net, ts.select(net, "*.**").innermost(), nn.GELU)
    assert isinstance(net[0][0][0], nn.GELU)


# --- ties


def test_a_tie_that_is_carried_stays():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    ts.replace(net, "1", Fused)
    assert net[1].weight is net[0].weight


def test_a_tie_that_breaks_is_told():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    what = change(net, "1", nn.Linear(2, 2))
    assert "weight is no longer tied to 0.weight" in what.remarks


def test_computed_tensors_follow_what_training_does_meanwhile():
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    plan = ts.plan(net).replace("0", nn.Conv2d, kernel_size=3)
    assert isinstance(plan.changes[0].origins["weight"], Computed)
    with torch.no_grad():
        net[0].weight.fill_(5)
    plan.apply()
    assert net[0].weight[0, 0, 1].tolist() == [0, 5, 0]


# --- remove


def test_remove_leaves_an_identity_so_that_no_name_changes(net):
    x = torch.tensor([[-1.0, 1.0]])
    ts.remove(net, nn.ReLU)
    assert [type(layer) for layer in net] == [nn.Linear, nn.Identity, nn.Linear, nn.Identity]
    assert torch.equal(net(x), net[2](net[0](x)))


def test_remove_is_undone(net):
    before = portrait(net)
    ts.remove(net, nn.Linear).undo()
    assert portrait(net) == before


def test_the_model_itself_is_not_removed():
    with pytest.raises(ts.PlanError, match=r"cannot remove the model \(ReLU\): it is the model itself"):
        ts.remove(nn.ReLU(), "")


# --- what is refused


def boom(old):
    raise ZeroDivisionError("in the user's factory")


def boom_at_three(old, name):
    if name == "3":
        raise ZeroDivisionError("in the user's factory")
    return nn.GELU()


REFUSED = {
    "a factory of None": (
        nn.ReLU,
        lambda old: None,
        {},
        "the factory for 1 (ReLU) must give an nn.Module, got NoneType",
    ),
    "a factory of a class": (
        nn.ReLU,
        lambda old: nn.GELU,
        {},
        "the factory for 1 (ReLU) must give an nn.Module, got type",
    ),
    "neither": (nn.ReLU, 3, {}, "what is given for 1 (ReLU) must be a class, an instance or a factory, got int"),
    "arguments for an instance": (nn.ReLU, nn.GELU(), {"approximate": "tanh"}, "takes no arguments, got approximate"),
    "no module class": (nn.ReLU, int, {}, "int"),
    "groups that don't divide": ("0", nn.GroupNorm, {"num_groups": 3}, "cannot replace 0 (Linear)"),
}


@pytest.mark.parametrize(("target", "new", "arguments", "first"), REFUSED.values(), ids=REFUSED)
def test_refused_and_nothing_has_changed(net, target, new, arguments, first):
    before = portrait(net)
    with pytest.raises(ts.PlanError) as caught:
        ts.replace(net, target, new, **arguments)
    assert first in str(caught.value).splitlines()[0]
    assert caught.value.way_out
    assert portrait(net) == before


def test_a_layer_that_is_in_the_model_already(net):
    before = portrait(net)
    with pytest.raises(
        ts.PlanError, match=r"the given instance for 1 \(ReLU\) is in the model already, as 3"
    ) as caught:
        ts.replace(net, "1", net[3])
    assert "copy.deepcopy(layer)" in caught.value.way_out
    with pytest.raises(ts.PlanError, match="is in the model already, as the model itself"):
        ts.replace(net, "1", net)
    assert portrait(net) == before


@pytest.mark.parametrize("factory", [boom, boom_at_three])
def test_a_factory_that_raises_keeps_its_exception_with_a_note(net, factory):
    before = portrait(net)
    with pytest.raises(ZeroDivisionError, match="in the user's factory") as caught:
        ts.replace(net, nn.ReLU, factory)
    (note,) = getattr(caught.value, "__notes__", ["at 1 (ReLU); nothing has changed"])
    assert "nothing has changed" in note
    assert portrait(net) == before


def test_a_factory_that_draws_leaves_the_random_state(net):
    before = portrait(net)

    def factory(old):
        torch.rand(10)
        return nn.Linear(2, 2)

    ts.plan(net).replace(nn.Linear, factory)
    assert portrait(net) == before


def test_a_function_of_tensors_is_no_layer():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    for edit in (lambda: ts.replace(net, nn.ReLU, F.gelu), lambda: ts.insert(net, F.gelu, after="0")):
        with pytest.raises(ts.PlanError, match=r"F.gelu, works on tensors and makes no layer") as raised:
            edit()
        assert raised.value.way_out == "give the layer that does the same:  nn.GELU"


def test_what_an_insertion_has_left_is_not_the_layer():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    ts.insert(net, nn.Dropout(0.1), before="0")
    for new in (nn.Linear, nn.Linear(2, 2), lambda old: nn.Linear(2, 2)):
        with pytest.raises(ts.PlanError, match=r"0 \(Inserted\) is what an insertion has left.*Dropout") as raised:
            ts.replace(net, "0", new)
        assert "'0.layer'" in raised.value.way_out
    ts.replace(net, "0.layer", nn.Linear, out_features=2, bias=False)
    assert net[0].layer.bias is None
    ts.replace(net, ts.select(net, ts.Inserted, "0"), nn.Linear(2, 2))
    assert type(net[0]) is nn.Linear
