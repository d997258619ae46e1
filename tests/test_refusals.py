"""What can't be pruned or widened is refused by name, with a way out, and before anything has changed."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import Heads, Residual, built
from sameness import portrait

X = torch.randn(3, 4)


def small():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def refused(net, kind, call):
    """The message of a call that must be refused and leave the model what it was."""
    before = portrait(net)
    with pytest.raises(kind) as caught:
        call(net)
    assert portrait(net) == before
    assert caught.value.way_out, "there is a way out"
    return str(caught.value)


VERBS = {
    "prune": lambda net, layer, x: ts.prune(net, layer, 1, example_inputs=x),
    "widen": lambda net, layer, x: ts.widen(net, layer, 2.0, example_inputs=x),
}
both = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


@pytest.mark.parametrize("amount", [1.0, -1, 0, 0.0, -0.5, 1.5, float("nan"), float("inf"), "3", True])
def test_amounts_that_mean_nothing(amount):
    message = refused(small(), ts.CouplingError, lambda net: ts.prune(net, "0", amount, example_inputs=X))
    assert f"got {amount!r}" in message


@pytest.mark.parametrize("amount", [8, 9, 1000])
def test_more_than_there_is(amount):
    message = refused(small(), ts.CouplingError, lambda net: ts.prune(net, "0", amount, example_inputs=X))
    assert message.startswith(f"cannot prune {amount} channels of 0: it has 8, and one must stay")


@pytest.mark.parametrize(
    ("channels", "first"),
    [
        ([8], "0 has no output channel 8"),
        ([-1], "0 has no output channel -1"),
        ([1, 3, 1], "cannot prune 0: channel 1 is given twice"),
        ([], "cannot prune 0: no channel is given"),
        ([0.5], r"channels= are whole numbers, got [0.5]"),
        (["a"], "channels= are whole numbers"),
        ([True, False] * 4, "channels= are whole numbers"),
        (3, "channels= are whole numbers, got 3"),
        (range(8), "cannot prune 0: nothing of 0.weight would be left"),
        (torch.tensor([2, 9]), "0 has no output channel 9"),
    ],
    ids=str,
)
def test_channels_that_are_not_there(channels, first):
    message = refused(small(), ts.CouplingError, lambda net: ts.prune(net, "0", channels=channels, example_inputs=X))
    assert message.startswith(first)


def test_channels_in_any_list_of_whole_numbers():
    for channels in ((5, 0), range(0, 6, 5), torch.tensor([0, 5]), torch.tensor([0, 5]).numpy(), {0, 5}):
        net = small()
        ts.prune(net, "0", channels=channels, example_inputs=X)
        assert net[0].out_features == 6


def test_channels_of_several_layers():
    message = refused(small(), ts.CouplingError, lambda net: ts.prune(net, nn.Linear, channels=[0], example_inputs=X))
    assert "channels= are those of one layer, but 2 are selected" in message


def test_part_of_what_goes_together():
    net, x = built(Heads)
    message = refused(net, ts.CouplingError, lambda net: ts.prune(net, "qkv", channels=[0], example_inputs=x))
    assert "it goes together with" in message


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({}, "prune needs one of amount, channels=, params= and macs="),
        ({"amount": 0.5, "channels": [1]}, "prune needs one of"),
        ({"amount": 0.5, "params": 0.5}, "prune needs one of"),
        ({"amount": 0.5, "example_inputs": None}, "pruning needs example_inputs"),
        ({"channels": [0], "target": None}, "channels= are those of one layer"),
        ({"amount": 2, "ranked": True}, "ranked=True takes amount as a share"),
        ({"macs": 0.5, "ranked": True}, "ranked=True takes amount as a share of all channels, and no budget"),
        ({"target": 0.5}, "0.5 stands in the target's place."),
        ({"amount": 0.5, "round_to": 0}, "round_to must be"),
        ({"amount": 0.5, "round_to": 1.5}, "round_to must be"),
        ({"params": 0}, "params must be"),
        ({"macs": 1.0}, "macs must be"),
        ({"params": "half"}, "params must be"),
        ({"params": 3}, "the model can't be pruned to 3 parameters"),
        ({"amount": 0.5, "heads": "yes"}, "heads= is True for whole heads"),
        ({"amount": 0.5, "by": None}, "by= is a function that scores channels, got None"),
        ({"amount": 0.5, "by": "l2"}, "by= is a function that scores channels, got 'l2'"),
        ({"amount": 0.5, "by": lambda slices: torch.zeros(3)}, "by= must answer one number a channel"),
        ({"amount": 0.5, "by": lambda slices: torch.full((8,), torch.nan)}, "by= answers numbers for 0.weight"),
        ({"amount": 0.01}, "nothing of Sequential can be pruned so"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_arguments_that_do_not_go_together(given, first):
    call = {"target": "0", "example_inputs": X, **given}
    message = refused(small(), ts.CouplingError, lambda net: ts.prune(net, **call))
    assert message.startswith(first)


def test_a_score_given_by_its_name_is_told_as_an_object():
    message = refused(small(), ts.CouplingError, lambda net: ts.prune(net, "0", 0.5, by="taylor", example_inputs=X))
    assert message.endswith("by=ts.importance.taylor, or one of your own")


def test_an_importance_that_fails_does_so_itself():
    net = small()
    before = portrait(net)
    with pytest.raises(ZeroDivisionError):
        ts.prune(net, "0", 0.5, by=lambda slices: 1 / 0, example_inputs=X)
    assert portrait(net) == before


@both
def test_the_output_is_pinned(verb):
    message = refused(small(), ts.CouplingError, lambda net: verb(net, "2", X))
    assert "these channels are the model's output (Sequential.forward returns 2), which keeps its width" in message
    assert "ts.set_outputs(model, " in message


@both
def test_nothing_and_no_layer_selected(verb):
    assert "'nope' selects no module" in refused(small(), ts.SelectionError, lambda net: verb(net, "nope", X))
    assert "1 has no output channels" in refused(small(), ts.SelectionError, lambda net: verb(net, "1", X))


@both
@pytest.mark.parametrize(
    "x",
    [torch.randn(3, 5), "hello", (X, X), {"y": X}],
    ids=["shape", "text", "too many", "another name"],
)
def test_inputs_that_the_model_does_not_take(verb, x):
    message = refused(small(), ts.TraceError, lambda net: verb(net, "0", x))
    assert "Sequential fails on these inputs" in message
    assert "model(*inputs)" in message


@both
def test_inputs_on_another_device_are_as_good(verb):
    net = small()
    verb(net, "0", X.to("meta"))
    assert net[0].out_features in (7, 16)


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.inner = nn.Linear(4, 8), Inner()

    def forward(self, x):
        return self.inner(self.a(x))


class Inner(nn.Module):
    def forward(self, x):
        raise KeyError("the model's own")


@both
def test_a_model_that_fails_is_named_with_its_own_error(verb):
    net = Failing()
    before = portrait(net)
    with pytest.raises(ts.TraceError, match="inner of Failing fails on these inputs: KeyError") as caught:
        verb(net, "a", X)
    assert isinstance(caught.value.__cause__, KeyError)
    assert portrait(net) == before


class Branching(nn.Module):
    """Which layer comes last is decided by what the first one gives."""

    def __init__(self):
        super().__init__()
        self.first, self.inside, self.last = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)
        self.other = nn.Linear(6, 2)

    def forward(self, x):
        x = self.inside(self.first(x))
        # Neither as it is nor with each answer turned round does this come to the other one.
        return self.last(x) if (x == x).all() or (x != x).any() else self.other(x)


def test_branches_are_said_and_what_was_not_seen_stays():
    net = Branching()
    coupling = ts.trace(net, X)
    assert coupling.unseen == ("other",)
    assert "decide by values, so that other inputs may go another way: (the model)" in str(coupling)
    plan = ts.plan(net, X).prune(amount=0.5)
    assert plan.edits[0].left == {
        "other": "not run on these inputs, as values in the model decide, so not changed along"
    }
    assert "left as they are (not run on these inputs" in str(plan)
    assert not any(name.startswith("other") for name in plan.edits[0].kept)
    assert ts.plan(net, X).widen("first", 12).edits[0].left.keys() == {"other"}
    message = refused(net, ts.SelectionError, lambda net: ts.prune(net, "other", 1, example_inputs=X))
    assert "not run: other" in message


class Unknown(nn.Module):
    """An operation that nobody has told of."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.c(torch.ops.refusals.odd(self.b(self.a(x))))


@pytest.fixture
def unknown():
    with torch.library._scoped_library("refusals", "DEF") as library:
        library.define("odd(Tensor x) -> Tensor")
        library.impl("odd", lambda x: x * 2, "CompositeExplicitAutograd")
        yield Unknown()


@both
def test_unknown_operations_are_named(verb, unknown):
    message = refused(unknown, ts.CouplingError, lambda net: verb(net, "b", X))
    assert "refusals::odd is not known" in message
    assert '@ts.rule("refusals::odd")' in message
    verb(unknown, "a", X)
    assert unknown.a.out_features in (7, 16)
    assert unknown(X).shape == (3, 2)


def sparse(layout):
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    weight = net[0].weight.detach()
    net[0].weight = nn.Parameter(weight.to_sparse() if layout == "coo" else weight.to_sparse_csr())
    return net


@both
@pytest.mark.parametrize("layout", ["coo", "csr"])
@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse_weights_stay_and_the_rest_may_change(verb, layout):
    net = sparse(layout)
    with pytest.raises(
        ts.CouplingError, match=f"entries of a torch.sparse_{layout} tensor can't be taken out or copied"
    ):
        verb(net, "0", X)
    verb(net, "2", X)
    assert net[2].out_features in (5, 12)
    assert net[4].in_features == net[2].out_features
    assert net[0].weight.shape == (8, 4)


@both
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_quantized_layers(verb):
    net = torch.ao.quantization.quantize_dynamic(small(), {nn.Linear})
    with pytest.raises(
        ts.CouplingError, match="cannot change the width of 0: the weights of a quantized Linear"
    ) as caught:
        verb(net, "0", X)
    assert "before the model is quantized" in caught.value.way_out


class Weird(torch.Tensor):
    """A tensor of a class of its own, as libraries for quantization have them."""


@both
def test_tensors_of_another_class(verb):
    net = small()
    net[0].weight = nn.Parameter(torch.randn(8, 4).as_subclass(Weird))
    message = refused(net, ts.CouplingError, lambda net: verb(net, "0", X))
    assert "entries of a " in message


@both
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript(verb):
    net = torch.jit.script(small())
    with pytest.raises(ts.TraceError, match="is TorchScript, which doesn't show its operations"):
        verb(net, "0", X)


@both
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_layers(verb):
    net = nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 2))
    with pytest.raises(ts.TraceError, match=r"0 \(LazyLinear\) is lazy") as caught:
        verb(net, "0", X)
    assert "run the model once" in caught.value.way_out


@both
def test_no_model(verb):
    with pytest.raises(ts.SelectionError, match=r"must be an nn\.Module"):
        verb("resnet18", "0", X)


@both
def test_one_entry_can_neither_go_nor_be_told_apart(verb):
    net = nn.Sequential(nn.Linear(4, 1), nn.Linear(1, 2))
    message = refused(net, ts.CouplingError, lambda net: verb(net, "0", X))
    assert "it has one entry only" in message


def test_a_layer_that_is_to_stay_and_to_go():
    net, x = built(Residual)
    message = refused(net, ts.CouplingError, lambda net: ts.prune(net, "stem", 0.5, ignore="block2", example_inputs=x))
    assert "cannot prune stem and keep block2 (ignore=): they are one group" in message


class Adapted(nn.Module):
    """A layer with a low-rank adapter beside it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.down = nn.Parameter(torch.randn(2, inner.in_features))
        self.up = nn.Parameter(torch.zeros(inner.out_features, 2))

    def forward(self, x):
        return self.inner(x) + x @ self.down.T @ self.up.T


@pytest.mark.parametrize(
    "verb",
    [lambda net, x: ts.prune(net, "0", 0.5, example_inputs=x), lambda net, x: ts.widen(net, "0", 12, example_inputs=x)],
)
def test_a_layer_that_was_wrapped_is_named_inside(verb):
    net, x = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(1, 3)
    ts.wrap(net, "0", Adapted)
    with pytest.raises(ts.CouplingError, match=r"isn't clear what the output channels of 0 \(Adapted\) are") as raised:
        verb(net, x)
    assert "down and up are weights of it" in str(raised.value)
    assert raised.value.way_out == "name the layer inside:  '0.inner'"
    ts.prune(net, "0.inner", 0.5, example_inputs=x)
    assert (net[0].inner.out_features, net[0].up.shape, net[0].down.shape) == (4, (4, 2), (2, 3))
