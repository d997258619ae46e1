"""Plans: values that touch nothing, and of which later edits see what earlier ones bring."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import torchsurgery as ts
from sameness import portrait
from torchsurgery import origins
from torchsurgery.edits import Insert, Remove, Replace, Wrap


class Fused(nn.Sequential):
    def __init__(self, inplace=False):
        super().__init__(nn.ReLU(inplace), nn.Dropout(0.1))


class ReLUPlus(nn.ReLU):
    pass


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.BatchNorm1d(3), nn.Linear(3, 2), nn.ReLU())


def everything(plan):
    return (
        plan.replace(nn.ReLU, nn.GELU)
        .insert(nn.Dropout(0.1), after=nn.GELU)
        .replace(nn.BatchNorm1d, nn.GroupNorm, num_groups=1)
        .wrap(nn.Linear, nn.Sequential)
        .replace("3", lambda old: nn.Linear(3, 2))
        .remove("4")
    )


# --- a plan touches nothing


def test_making_printing_and_comparing_a_plan_touches_nothing(net):
    before = portrait(net)
    plan = everything(ts.plan(net))
    assert str(plan)
    assert repr(plan)
    assert plan.after.params
    assert portrait(net) == before


def test_a_plan_for_resnet18_touches_nothing(resnet18):
    before = portrait(resnet18)
    (
        ts.plan(resnet18)
        .replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=8)
        .replace(nn.ReLU, Fused)
        .replace(ts.select(resnet18, nn.Conv2d, kernel_size=1), nn.Conv2d, kernel_size=3)
        .wrap("fc", nn.Sequential)
    )
    assert portrait(resnet18) == before


def test_a_longer_plan_leaves_the_shorter_as_it_was(net):
    first = ts.plan(net).replace(nn.ReLU, nn.GELU)
    second = first.remove(nn.GELU)
    assert (len(first.edits), len(second.edits)) == (1, 2)
    assert [type(c.new) for c in first.changes] == [nn.GELU, nn.GELU]
    first.apply()
    assert isinstance(net[1], nn.GELU)


def test_two_plans_from_one_go_their_own_ways(net):
    first = ts.plan(net).replace(nn.ReLU, nn.GELU)
    with_dropout, bare = first.insert(nn.Dropout(0.1), after=nn.GELU), first.remove(nn.BatchNorm1d)
    bare.apply().undo()
    with_dropout.apply()
    assert isinstance(net[1].layer, nn.GELU)
    assert isinstance(net[2], nn.BatchNorm1d)


def test_edits_are_kept_in_order(net):
    plan = everything(ts.plan(net))
    assert [type(edit) for edit in plan.edits] == [Replace, Insert, Replace, Wrap, Replace, Remove]


def test_sizes_before_and_after(net):
    plan = ts.plan(net).replace("3", nn.Linear(3, 10)).remove(nn.BatchNorm1d)
    # Linear 2·3+3, BatchNorm 3+3, Linear 3·2+2; then Linear 2·3+3, Linear 3·10+10
    assert (plan.before.params, plan.after.params) == (9 + 6 + 8, 9 + 40)
    # BatchNorm's buffers: two of three float32 and one int64
    assert plan.before.bytes == 4 * 23 + 4 * 6 + 8
    assert plan.after.bytes == 4 * 49
    done = plan.apply()
    assert sum(p.numel() for p in net.parameters()) == 49
    assert (done.before, done.after) == (plan.before, plan.after)


def test_a_tied_parameter_counts_once():
    net = nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 5, bias=False))
    net[1].weight = net[0].weight
    assert ts.plan(net).before.params == 10
    assert ts.plan(net).replace("1", nn.Linear(2, 5, bias=False)).after.params == 20


def test_the_same_seed_plans_the_same_new_weights(net):
    torch.manual_seed(5)
    first = ts.plan(net).replace("0", nn.Linear, bias=True).replace("0", lambda old: nn.Bilinear(2, 2, 3))
    torch.manual_seed(5)
    second = ts.plan(net).replace("0", nn.Linear, bias=True).replace("0", lambda old: nn.Bilinear(2, 2, 3))
    assert torch.equal(first.changes[-1].new.weight, second.changes[-1].new.weight)


# --- later edits see what earlier ones bring


def test_what_is_replaced_is_found_by_its_new_type_and_no_more_by_its_old(net):
    plan = ts.plan(net).replace(nn.ReLU, nn.GELU)
    assert [c.name for c in plan.replace(nn.GELU, nn.SiLU).changes] == ["1", "4", "1", "4"]
    with pytest.raises(ts.SelectionError, match="ReLU selects no module"):
        plan.remove(nn.ReLU)


def test_what_is_inserted_is_found_by_its_name(net):
    plan = ts.plan(net).insert(nn.Dropout(0.1), after="1").replace("1.after", nn.AlphaDropout)
    plan.apply()
    assert type(net[1].after) is nn.AlphaDropout


def test_what_lies_inside_of_a_new_layer_is_edited(net):
    ts.plan(net).replace(nn.ReLU, Fused).replace(nn.Dropout, nn.AlphaDropout).remove("4.0").apply()
    assert [type(layer) for layer in net[1]] == [nn.ReLU, nn.AlphaDropout]
    assert [type(layer) for layer in net[4]] == [nn.Identity, nn.AlphaDropout]


def test_a_chain_on_one_layer_ends_with_the_last(net):
    layer = net[1]
    done = ts.plan(net).replace("1", nn.GELU).replace("1", nn.SiLU).replace("1", nn.ELU).apply()
    assert type(net[1]) is nn.ELU
    assert net[1] is layer
    done.undo()
    assert type(net[1]) is nn.ReLU
    assert net[1] is layer


def test_a_block_wrapped_after_its_inside_was_changed():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    before = portrait(net)
    done = ts.plan(net).replace(nn.ReLU, nn.GELU()).wrap("0", nn.Sequential).replace(nn.GELU, nn.SiLU).apply()
    assert type(net[0][0][1]) is nn.SiLU
    done.undo()
    assert portrait(net) == before


def test_a_block_that_becomes_another_after_its_inside_was_changed():
    class Block(nn.Sequential):
        pass

    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    before = portrait(net)
    done = ts.plan(net).replace("0.1", nn.Tanh()).replace("0", Block).replace("0.1", nn.GELU).apply()
    assert type(net[0]) is Block
    assert type(net[0][1]) is nn.GELU
    done.undo()
    assert portrait(net) == before


def test_hooks_and_notes_go_through_a_chain(net):
    handle = net[1].register_forward_hook(lambda module, args, output: output + 10)
    net[1].note = "mine"
    ts.plan(net).replace("1", nn.GELU).replace("1", nn.SiLU()).replace("1", lambda old: nn.ReLU()).apply()
    assert net[1](torch.zeros(1)).item() == 10
    assert net[1].note == "mine"
    handle.remove()
    assert net[1](torch.zeros(1)).item() == 0


def test_load_hooks_that_know_their_module_are_told_of_the_last(net):
    seen = []
    net[0].register_load_state_dict_pre_hook(lambda module, *_: seen.append(module))
    ts.plan(net).replace("0", nn.Linear(2, 3)).replace("0", nn.Linear(2, 3)).apply()
    net.load_state_dict(net.state_dict())
    assert seen == [net[0]]


def test_a_list_outside_the_tree_goes_through_a_chain(net):
    net.__dict__["layers"] = [net[1]]
    done = ts.plan(net).replace("1", nn.GELU()).replace("1", nn.SiLU()).insert(nn.Dropout(), after="1").apply()
    assert net.layers == [net[1]]
    assert isinstance(net[1].layer, nn.SiLU)
    done.undo()
    assert net.layers == [net[1]]
    assert type(net[1]) is nn.ReLU


def test_what_goes_inside_later_leaves_the_list_alone(net):
    net.__dict__["layers"] = [net[1]]
    ts.plan(net).insert(nn.Dropout(), after="1").insert(nn.Identity(), after="1.layer").apply()
    assert net.layers == [net[1]]
    assert isinstance(net[1].after, nn.Dropout)


def test_a_wrapper_holds_the_very_object_that_became_the_layer(net):
    layer = net[1]
    plan = ts.plan(net).replace("1", nn.GELU).wrap("1", nn.Sequential)
    first = plan.apply()
    assert net[1][0] is layer
    assert type(layer) is nn.GELU
    first.undo()
    plan.wrap("1.0", nn.Sequential).apply()
    assert net[1][0][0] is layer


def test_what_an_instance_carries_counts_for_later_edits(net):
    weight = net[0].weight
    given = nn.Linear(2, 3)
    plan = ts.plan(net).replace("0", given, carry=True)
    assert plan.draft.parameters()["0.weight"] is weight
    plan.apply()
    assert given.weight is weight


def test_a_selection_from_before_is_good_for_the_plan(net):
    found = ts.select(net, nn.ReLU)
    plan = ts.plan(net).replace(found, nn.GELU).insert(nn.Dropout(0.1), after=found)
    plan.apply()
    assert isinstance(net[1].layer, nn.GELU)


# --- applying


def test_everything_applied_and_undone(net):
    before = portrait(net)
    done = everything(ts.plan(net)).apply()
    assert [type(layer).__name__ for layer in net] == ["Sequential", "Inserted", "GroupNorm", "Linear", "Removed"]
    done.undo()
    assert portrait(net) == before


def test_an_empty_plan_does_nothing(net):
    before = portrait(net)
    plan = ts.plan(net)
    assert repr(plan) == "Plan: 0 edits, 0 follow-ups · 0 of 6 modules · params 23 → 23"
    plan.apply().undo()
    assert portrait(net) == before


def test_a_plan_is_applied_again_after_undo(net):
    plan = everything(ts.plan(net.eval()))
    first = plan.apply()
    after = net(torch.ones(2, 2))
    first.undo()
    second = plan.apply()
    assert torch.equal(net(torch.ones(2, 2)), after)
    second.undo()
    assert type(net[1]) is nn.ReLU


def test_a_plan_is_not_applied_twice(net):
    plan = ts.plan(net).replace(nn.ReLU, nn.GELU)
    plan.apply()
    before = portrait(net)
    with pytest.raises(ts.PlanError, match="1 is no longer the layer that the plan was made for") as caught:
        plan.apply()
    assert (caught.value.name, caught.value.way_out) == ("1", "make the plan anew:  ts.plan(model)")
    assert portrait(net) == before


@pytest.mark.parametrize(
    "make",
    [
        lambda plan: plan.replace(nn.ReLU, nn.GELU),
        lambda plan: plan.replace(nn.ReLU, nn.GELU()),
        lambda plan: plan.remove(nn.ReLU),
        lambda plan: plan.insert(nn.Dropout(0.1), after=nn.ReLU),
        lambda plan: plan.wrap(nn.ReLU, nn.Sequential),
        lambda plan: plan.replace(nn.ReLU, ReLUPlus),
    ],
    ids=["become", "put", "remove", "insert", "wrap", "retype"],
)
def test_a_stale_plan_is_refused(net, make):
    plan = make(ts.plan(net))
    net[4] = nn.ReLU()
    before = portrait(net)
    with pytest.raises(ts.PlanError, match="4 is no longer the layer that the plan was made for"):
        plan.apply()
    assert portrait(net) == before


def test_a_plan_from_before_another_surgery_is_refused(net):
    plan = ts.plan(net).replace(nn.ReLU, nn.GELU)
    done = ts.replace(net, nn.ReLU, nn.SiLU)
    with pytest.raises(ts.PlanError, match="no longer"):
        plan.apply()
    done.undo()
    plan.apply()
    assert isinstance(net[1], nn.GELU)


def test_a_plan_from_before_training_takes_the_weights_of_now(net):
    plan = ts.plan(net).replace(nn.BatchNorm1d, nn.GroupNorm, num_groups=1)
    with torch.no_grad():
        net[2].weight.fill_(3)
    plan.apply()
    assert net[2].weight.tolist() == [3, 3, 3]


@pytest.fixture
def computed(monkeypatch):
    """The shapes of all tensors of which entries are taken, in order."""
    seen = []

    def taken(tensor, *given):
        seen.append(tensor.shape)
        return true(tensor, *given)

    true = origins.taken
    monkeypatch.setattr(origins, "taken", taken)
    return seen


def test_what_is_planned_and_applied_in_one_go_is_computed_once(net, computed):
    expected = net[0].weight[1:].clone()
    done = ts.prune(net, "0", channels=[0], example_inputs=torch.randn(2, 2))
    assert len(computed) == 7, "for the plan, its certificate and the model"
    assert torch.equal(net[0].weight, expected)
    done.undo()
    assert net[0].weight.shape == (3, 2)


def test_what_was_planned_before_is_computed_again_when_it_is_applied(net, computed):
    plan = ts.plan(net, torch.randn(2, 2)).prune("0", channels=[0])
    net[0].weight.data += 1  # which leaves no trace
    expected = net[0].weight[1:].clone()
    plan.apply()
    assert len(computed) == 7 + 7
    assert torch.equal(net[0].weight, expected)


def test_a_model_in_a_compiled_wrapper_is_changed_inside():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    ts.replace(torch.compile(net), nn.ReLU, nn.GELU)
    assert isinstance(net[1], nn.GELU)


def test_no_model():
    with pytest.raises(ts.SelectionError, match=r"the model must be an nn\.Module, got OrderedDict"):
        ts.plan(nn.ReLU().state_dict())


# --- checks


def test_a_check_that_holds(net):
    done = ts.plan(net).replace(nn.ReLU, nn.GELU).apply(check=torch.randn(4, 2))
    assert done.in_force


def test_a_check_that_fails_takes_everything_back(net):
    plan, inputs = ts.plan(net).replace(nn.ReLU, nn.GELU).replace("2", nn.Linear(3, 4)), torch.randn(4, 2)
    before = portrait(net)
    with pytest.raises(ts.VerificationError):
        plan.apply(check=inputs)
    assert portrait(net) == before


# --- an averaged copy is changed alike


def test_ema_is_changed_alike(net):
    average = AveragedModel(net)
    plan = (
        ts.plan(net).replace(nn.ReLU, nn.GELU).replace("3", lambda old: nn.Linear(3, 7)).insert(nn.PReLU(), after="1")
    )
    done = plan.apply(ema=average)
    copied = average.module
    assert repr(copied) == repr(net)
    assert all(torch.equal(a, b) for a, b in zip(copied.state_dict().values(), net.state_dict().values(), strict=True))
    assert not {id(p) for p in copied.parameters()} & {id(p) for p in net.parameters()}
    average.update_parameters(net)
    done.undo()
    assert repr(average.module) == repr(net)


def test_ema_of_another_model_is_refused(net):
    other = AveragedModel(nn.Sequential(nn.Linear(2, 3)))
    before = portrait(net)
    with pytest.raises(ts.PlanError, match="ema= must be an average of this very model, and has no 1, 4"):
        ts.plan(net).replace(nn.ReLU, nn.GELU).apply(ema=other)
    assert portrait(net) == before


def test_a_copy_of_the_altered_model_computes_the_same(net):
    everything(ts.plan(net)).apply()
    x = torch.randn(4, 2)
    assert torch.equal(copy.deepcopy(net.eval())(x), net(x))


# --- follow-ups


def test_what_must_follow_elsewhere_is_a_change_of_its_own():
    encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    plan = ts.plan(encoder).replace("linear1", lambda old: nn.Linear(4, 8))
    assert [c.kind for c in plan.changes] == ["replace", "follow"]
    assert repr(plan).startswith("Plan: 1 edit, 1 follow-up · 2 of ")
    done = plan.apply()
    assert encoder.activation_relu_or_gelu == 0
    done.undo()
    assert encoder.activation_relu_or_gelu == 1


def test_a_layer_that_is_never_called_is_told():
    attention = nn.MultiheadAttention(4, 2)
    (change,) = ts.plan(attention).replace("out_proj", lambda old: nn.Linear(4, 4)).changes
    assert change.warnings == ("never called: MultiheadAttention reads out_proj.weight and out_proj.bias itself",)


def test_a_factory_may_take_layers_out_of_the_model_that_an_earlier_edit_replaces():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), nn.ReLU())
    block = list(net[0])
    plan = ts.plan(net).remove(nn.LayerNorm).replace("0", lambda old: nn.Sequential(*block))
    assert plan.after.params == 6
    plan.apply()
    assert sum(p.numel() for p in net.parameters()) == 6
    assert isinstance(net[0][1], nn.Identity)
