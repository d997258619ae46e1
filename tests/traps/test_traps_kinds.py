"""Traps 8, 15, 18, 19, 21: parametrized, subclassed, lazy, quantized, scripted, traced layers; copies and pickles."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from parts import BuiltLinear, Doubled, FusedReLU, MyLinear, Scaled, state
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import torchsurgery as ts


def _refused(model, edit, kind=ts.PlanError, first=""):
    """The error of an edit that is refused: it names the layer and leads on; nothing has changed."""
    before = state(model)
    with pytest.raises(kind) as caught:
        edit(model)
    assert first in str(caught.value).splitlines()[0]
    assert caught.value.way_out
    assert state(model) == before
    return caught.value


# --- 8 --- parametrized and pruned layers

PARAMETRIZED = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "old weight_norm": torch.nn.utils.weight_norm,
    "old spectral_norm": torch.nn.utils.spectral_norm,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
}


def test_trap_08_parametrized_layers_naive():
    layer = parametrizations.weight_norm(nn.Linear(4, 4))
    assert type(layer).__name__ == "ParametrizedLinear"
    assert "weight" not in dict(layer.named_parameters())


@pytest.mark.parametrize("make", PARAMETRIZED.values(), ids=PARAMETRIZED)
def test_trap_08_parametrized_layers_by_class_are_refused(make):
    net = nn.Sequential(nn.ReLU(), make(nn.Linear(4, 4)).eval()).eval()
    net(torch.randn(2, 4))
    error = _refused(net, lambda m: ts.replace(m, "1", BuiltLinear), first="1 (")
    assert "make it plain first" in error.way_out or "remove" in error.way_out
    _refused(net, lambda m: ts.replace(m, "1", nn.LayerNorm, normalized_shape=4), first="1 (")


@pytest.mark.parametrize("make", PARAMETRIZED.values(), ids=PARAMETRIZED)
def test_trap_08_parametrized_layers_stay_beside_other_edits(make):
    net = nn.Sequential(nn.ReLU(), make(nn.Linear(4, 4))).eval()
    x = torch.randn(2, 4)
    before, layer = net(x), net[1]
    done = ts.plan(net).replace(nn.ReLU, FusedReLU).insert(nn.Dropout(), after="1").wrap("1", Doubled).apply(check=x)
    assert torch.equal(net(x), 2 * before)
    done.undo()
    assert net[1] is layer
    done = ts.replace(net, "1", nn.Linear(4, 4))
    assert type(net[1]) is nn.Linear
    net(x)
    done.undo()
    assert torch.equal(net(x), before)
    done = ts.remove(net, "1")
    assert torch.equal(net(x), x.relu())
    done.undo()
    assert torch.equal(net(x), before)


@pytest.mark.parametrize("make", PARAMETRIZED.values(), ids=PARAMETRIZED)
def test_trap_08_a_retyped_layer_keeps_what_makes_its_weight(make):
    net = nn.Sequential(make(nn.Linear(4, 4))).eval()
    x = torch.randn(2, 4)
    before = net(x)
    try:
        ts.replace(net, "0", MyLinear)
    except ts.PlanError as error:
        assert error.way_out
    else:
        assert type(net[0]) is MyLinear
    assert torch.equal(net(x), before)


def test_trap_08_parametrization_is_no_layer_to_replace():
    net = nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 4)))
    assert parametrize.is_parametrized(net[0], "weight")
    names = ts.select(net, nn.Module).names
    assert "0.parametrizations.weight" in names


# --- 15 --- constructor arguments that are not attributes


def test_trap_15_constructor_arguments_naive():
    linear = nn.Linear(4, 4)
    with pytest.raises(RuntimeError, match="Boolean value of Tensor"):
        nn.Linear(linear.in_features, linear.out_features, linear.bias)  # a Parameter, where a bool is meant


class Gated(nn.Linear):
    """What its argument was can't be read off the layer."""

    def __init__(self, in_features, out_features, depth):
        super().__init__(in_features, out_features)
        self.factor = 7919 * depth + 13


@pytest.mark.parametrize("bias", [True, False])
def test_trap_15_bias_is_a_parameter(bias):
    net = nn.Sequential(
        nn.Linear(4, 4, bias=bias), nn.Conv2d(4, 4, 1, bias=bias), nn.MultiheadAttention(4, 2, 0.1, bias=bias)
    )
    assert ts.config_of(net[0])["bias"] is bias
    assert ts.config_of(net[1])["bias"] is bias
    assert ts.config_of(net[2])["bias"] is bias
    ts.replace(net, nn.Linear, BuiltLinear)
    ts.replace(net, nn.Conv2d, nn.Conv2d, kernel_size=3)
    assert (net[0].bias is not None, net[1].bias is not None) == (bias, bias)


def test_trap_15_dropout_is_a_module():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
    assert isinstance(layer.dropout, nn.Dropout)
    assert ts.config_of(layer)["dropout"] == 0.3
    assert ts.config_of(layer)["dim_feedforward"] == 16


def test_trap_15_what_can_not_be_known_is_refused():
    net = nn.Sequential(Gated(4, 4, depth=3))

    class Other(Gated):
        def __init__(self, in_features, out_features, depth):
            super().__init__(in_features, out_features, depth)

    error = _refused(net, lambda m: ts.replace(m, Gated, Other), ts.ConfigError, first="0 (")
    assert "depth" in str(error)
    ts.replace(net, Gated, lambda old: Other(4, 4, depth=3))
    assert type(net[0]) is Other


# --- 18 --- a subclass with its own forward, matched by its base class


class Activated(nn.BatchNorm2d):
    """As timm's BatchNormAct2d."""

    def forward(self, x):
        return super().forward(x).relu()


def test_trap_18_subclass_with_its_own_forward_naive():
    net = nn.Sequential(Activated(4)).eval()
    net[0] = nn.GroupNorm(2, net[0].num_features)
    assert net(torch.randn(2, 4, 3, 3)).min() < 0, "the activation is lost in silence"


@pytest.mark.parametrize("edit", ["replace", "factory", "remove"])
def test_trap_18_subclass_with_its_own_forward_is_refused(edit):
    net = nn.Sequential(nn.BatchNorm2d(4), nn.Sequential(Activated(4)))
    new = nn.GroupNorm(2, 4)
    edits = {
        "replace": lambda m: ts.replace(m, nn.BatchNorm2d, nn.GroupNorm, num_groups=2),
        "factory": lambda m: ts.replace(m, nn.BatchNorm2d, lambda old: new),
        "remove": lambda m: ts.remove(m, nn.BatchNorm2d),
    }
    error = _refused(net, edits[edit], first="1.0 (Activated)")
    assert error.name == "1.0"
    assert "exact=True" in error.way_out


def test_trap_18_subclass_is_changed_when_asked_for():
    net = nn.Sequential(nn.BatchNorm2d(4), Activated(4))
    ts.replace(net, ts.select(net, nn.BatchNorm2d, exact=True), nn.GroupNorm, num_groups=2)
    assert [type(m) for m in net] == [nn.GroupNorm, Activated]
    ts.replace(net, Activated, nn.GroupNorm, num_groups=2)
    assert type(net[1]) is nn.GroupNorm


def test_trap_18_timm_batchnorm_with_activation():
    import timm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = timm.create_model("efficientnet_lite0", pretrained=False).eval()
    name = ts.select(net, nn.BatchNorm2d).names[0]
    error = _refused(net, lambda m: ts.replace(m, nn.BatchNorm2d, nn.GroupNorm, num_groups=ts.divisor(8)), first=name)
    assert "BatchNormAct2d" in str(error)
    done = ts.insert(net, nn.Dropout(0.1), after=nn.BatchNorm2d)
    assert len(done.changes) == len(ts.select(net, nn.BatchNorm2d))


# --- 19 --- lazy, quantized, scripted, traced, compiled


def test_trap_19_lazy_layers():
    net = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyBatchNorm1d())
    for edit in (
        lambda m: ts.replace(m, nn.LazyLinear, BuiltLinear),
        lambda m: ts.replace(m, "2", nn.LayerNorm),
        lambda m: ts.replace(m, "0", MyLinear),
    ):
        with pytest.raises(ts.PlanError, match=r"(0|2) \(Lazy.*has no sizes yet") as caught:
            edit(net)
        assert "model(*example_inputs)" in caught.value.way_out
    ts.plan(net).replace(nn.ReLU, nn.Tanh).insert(nn.Dropout(0.0), after="0").wrap("2", Doubled).apply()
    assert net(torch.randn(3, 5)).shape == (3, 4)
    assert type(net[0].layer) is nn.Linear
    ts.replace(net, nn.Linear, BuiltLinear)
    assert net[0].layer.in_features == 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_trap_19_quantized_layers():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).eval()
    quantized = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
    x = torch.randn(2, 4)
    before = quantized(x)
    with pytest.raises(ts.SelectionError, match="Linear selects no module"):
        ts.replace(quantized, nn.Linear, MyLinear)
    for new in (nn.Linear, nn.Bilinear):
        with pytest.raises(ts.ConfigError, match=r"0 \(Linear\).*it is quantized") as caught:
            ts.replace(quantized, "0", new)
        assert caught.value.way_out == "alter the model before it is quantized"
    done = ts.plan(quantized).insert(nn.Tanh(), after="0").replace(nn.ReLU, nn.Identity).wrap("2", Doubled).apply()
    torch.testing.assert_close(quantized(x), 2 * quantized[2].inner(quantized[0].layer(x).tanh()))
    done.undo()
    assert torch.equal(quantized(x), before)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace_method` is deprecated")
@pytest.mark.parametrize(
    "make", [torch.jit.script, lambda m: torch.jit.trace(m, torch.ones(1, 4))], ids=["script", "trace"]
)
def test_trap_19_script_modules(make):
    scripted = make(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    net = nn.Sequential(scripted, nn.ReLU())
    new = nn.Tanh()
    for model, edit, name in (
        (scripted, lambda m: ts.replace(m, "1", new), "1"),
        (scripted, lambda m: ts.insert(m, new, after="0"), "0"),
        (net, lambda m: ts.replace(m, "0.1", new), "0.1"),
        (net, lambda m: ts.wrap(m, "0", Doubled), "0"),
        (net, lambda m: ts.remove(m, "0.0"), "0.0"),
    ):
        with pytest.raises(ts.PlanError, match="TorchScript") as caught:
            edit(model)
        assert str(caught.value).startswith(f"{name} (") or "model" in str(caught.value).splitlines()[0]
        assert "torch.jit.script" in caught.value.way_out
    ts.replace(net, "1", new)
    assert net[1] is new


class Read(nn.Module):
    """Calls two of its layers, and reads the weight of the third."""

    def __init__(self):
        super().__init__()
        self.first, self.relu, self.read = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)

    def forward(self, x):
        return self.relu(self.first(x)) @ self.read.weight


def test_trap_19_fx_graph_module():
    net, x = torch.fx.symbolic_trace(Read()), torch.randn(2, 4)
    before = net(x)
    done = (
        ts.plan(net).replace(nn.ReLU, nn.Identity).wrap("first", Doubled).insert(nn.Dropout(0.0), after="relu").apply()
    )
    expected = 2 * net.first.inner(x) @ net.read.weight
    torch.testing.assert_close(net(x), expected)
    net.recompile()
    torch.testing.assert_close(net(x), expected)
    torch.testing.assert_close(copy.deepcopy(net)(x), expected)
    done.undo()
    assert torch.equal(net(x), before)
    new = nn.Linear(4, 4)
    error = _refused(net, lambda m: ts.replace(m, "read", new), first="read (")
    assert "never called" in str(error)
    _refused(net, lambda m: ts.wrap(m, "", Doubled), first="the model")


def test_trap_19_exported_program():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    exported = torch.export.export(net, (torch.randn(2, 4),)).module()
    new = nn.Linear(4, 4)
    error = _refused(exported, lambda m: ts.replace(m, "0", new), first="0 (")
    assert error.way_out == "change the model before it is traced or exported"
    with pytest.raises(ts.SelectionError, match=r"relu\(\) in the forward of the model itself"):
        ts.replace(exported, nn.ReLU, nn.Tanh)


def test_trap_19_compiled_layer_inside():
    net = nn.Sequential(nn.Linear(4, 4).requires_grad_(False), torch.compile(nn.ReLU(), backend="eager"))
    x, new = torch.randn(2, 4), nn.Tanh()
    before = net(x)
    error = _refused(net, lambda m: ts.replace(m, "1", new), first="1 (OptimizedModule)")
    assert "'1._orig_mod'" in error.way_out
    done = ts.replace(net, "1._orig_mod", nn.Tanh)
    torch.testing.assert_close(net(x), net[0](x).tanh())
    done.undo()
    assert torch.equal(net(x), before)


# --- 21 --- deepcopy and pickle


ALTERATIONS = {
    "class": lambda net: ts.replace(net, nn.ReLU, FusedReLU),
    "subclass": lambda net: ts.replace(net, nn.Linear, MyLinear),
    "insert": lambda net: ts.insert(net, nn.Dropout(0.1), after=nn.ReLU),
    "insert before": lambda net: ts.insert(net, nn.PReLU(), before=nn.Linear),
    "wrap": lambda net: ts.wrap(net, nn.Linear, Scaled),
    "remove": lambda net: ts.remove(net, nn.BatchNorm1d),
    "kernel": lambda net: ts.replace(net, nn.Linear, BuiltLinear),
    "root": lambda net: ts.wrap(net, "", Doubled),
    "shared": lambda net: ts.replace(net, nn.ReLU, nn.Tanh(), share=True),
}


@pytest.mark.parametrize("undone", [False, True])
@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_trap_21_deepcopy_and_pickle(alter, undone):
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(4, 4), relu, nn.BatchNorm1d(4), nn.Sequential(relu, nn.Linear(4, 4))).eval()
    done = alter(net)
    if undone:
        done.undo()
    x, file = torch.randn(3, 4), io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    twins = [copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.load(file, weights_only=False)]
    for twin in twins:
        assert torch.equal(twin(x), net(x))
        assert not {id(p) for p in twin.parameters()} & {id(p) for p in net.parameters()}
        assert [type(m) for m in twin.modules()] == [type(m) for m in net.modules()], "what is shared is shared"
        twin.load_state_dict(net.state_dict())
        ts.insert(twin, nn.Dropout(), after=nn.Linear)
        assert not any(isinstance(m, ts.Inserted) for m in net.modules()) or "insert" in alter.__code__.co_names


def test_trap_21_real_model(resnet18, images):
    ts.plan(resnet18).replace(nn.ReLU, FusedReLU).insert(nn.Dropout(0.1), after="layer*.*.bn1").apply()
    twin = pickle.loads(pickle.dumps(resnet18))
    assert torch.equal(twin(images), resnet18(images))
    assert torch.equal(copy.deepcopy(resnet18)(images), resnet18(images))
