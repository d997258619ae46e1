"""Traps 11, 12, 17, 20 and 22: what a forward does with a layer; compilers, accelerate and checkpointing."""

import copy

import pytest
import torch
from parts import BuiltLinear, Doubled, FusedReLU, NegatedLinear, Scaled, state
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import torchsurgery as ts

# --- 11 --- a layer whose forward never runs


def test_trap_11_out_proj_is_never_called_naive():
    attention, x = nn.MultiheadAttention(4, 2), torch.randn(3, 1, 4)
    before = attention(x, x, x)[0]
    attention.out_proj.__class__ = NegatedLinear
    assert torch.equal(attention(x, x, x)[0], before), "the replacement changes nothing"


@pytest.mark.parametrize("edit", ["class", "instance", "insert", "wrap"])
def test_trap_11_never_called_is_reported_or_refused(edit):
    net, given = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2)}), nn.Linear(4, 4)
    x = torch.randn(3, 1, 4)
    edits = {
        "class": lambda p: p.replace("attention.out_proj", NegatedLinear),
        "instance": lambda p: p.replace("attention.out_proj", given),
        "insert": lambda p: p.insert(nn.ReLU(), after="attention.out_proj"),
        "wrap": lambda p: p.wrap("attention.out_proj", Doubled),
    }
    try:
        plan = edits[edit](ts.plan(net))
    except ts.PlanError as error:
        assert "attention.out_proj" in str(error).splitlines()[0]
        assert error.way_out
        return
    assert any("never called" in warning for warning in plan.changes[0].warnings)
    assert "never called" in str(plan)
    attention = net["attention"]
    before = state(net)
    with pytest.raises(ts.VerificationError, match="out_proj"):
        ts.plan(attention).replace("out_proj", NegatedLinear).apply(check=(x, x, x))
    assert [m for m in before[0] if m[2] is NegatedLinear] == []
    assert state(net) == before


def test_trap_11_vision_transformer():
    from torchvision.models import VisionTransformer

    net = VisionTransformer(
        image_size=16, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3
    )
    plan = ts.plan(net).replace(nn.Linear, NegatedLinear)
    warned = [change.name for change in plan.changes if change.warnings]
    assert warned in ([], ["encoder.layers.encoder_layer_0.self_attention.out_proj"])
    images = torch.randn(2, 3, 16, 16)
    before = state(net)
    with pytest.raises(ts.VerificationError, match="out_proj"):
        plan.apply(check=images)
    assert state(net) == before


# --- 12 --- fast paths


def _encoder(**options):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 2).eval()


def test_trap_12_fast_path_naive():
    layer, x = _encoder().layers[0], torch.randn(2, 3, 8)
    layer.linear1 = NegatedLinear(8, 16)
    with torch.no_grad():
        fast = layer(x)
    slow = layer(x).detach()
    assert not torch.allclose(fast, slow, atol=1e-4), "eval without gradients reads the weight and calls nothing"


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("target", "edit"),
    [
        ("**.linear1", lambda p, t: p.replace(t, NegatedLinear)),
        ("**.linear2", lambda p, t: p.wrap(t, Doubled)),
        ("**.norm1", lambda p, t: p.insert(nn.Dropout(0.0), after=t)),
        ("**.norm2", lambda p, t: p.replace(t, nn.RMSNorm, normalized_shape=8)),
        ("**.norm1", lambda p, t: p.replace(t, lambda old: nn.Identity())),
        ("**.dropout", lambda p, t: p.replace(t, lambda old: FusedReLU(p=0.0))),
        ("**.self_attn", lambda p, t: p.wrap(t, Attention)),
    ],
)
def test_trap_12_fast_paths(target, edit, masked):
    net, x = _encoder(), torch.randn(2, 3, 8)
    mask = {"src_key_padding_mask": torch.tensor([[False, False, True], [False, False, False]])} if masked else {}
    with torch.no_grad():
        before = net(x, **mask)
    done = edit(ts.plan(net), target).apply(check={"src": x, **mask})
    slow = net(x, **mask).detach()
    with torch.no_grad():
        fast = net(x, **mask)
    net.train()
    trained = net(x, **mask).detach()
    if masked:  # nested tensors leave zeros where the input is padded
        keep = ~mask["src_key_padding_mask"]
        slow, fast, trained = slow[keep], fast[keep], trained[keep]
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(trained, slow)
    net.eval()
    done.undo()
    with torch.no_grad():
        assert torch.equal(net(x, **mask), before), "the fast path is back"


class Attention(nn.Module):
    """A wrapper around attention, which knows none of its attributes."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        answer, weights = self.inner(*args, **kwargs)
        return 2 * answer, weights


def test_trap_12_one_layer_of_many_changes_all_that_read_it():
    net, x = _encoder(), torch.randn(2, 3, 8)
    mask = torch.tensor([[False, False, True], [False, False, False]])
    ts.replace(net, "layers.1.linear1", NegatedLinear)
    slow = net(x, src_key_padding_mask=mask).detach()
    with torch.no_grad():
        fast = net(x, src_key_padding_mask=mask)
    torch.testing.assert_close(fast[~mask], slow[~mask])


# --- 17 --- an in-place neighbour


def test_trap_17_in_place_neighbour():
    net = nn.Sequential(nn.Linear(4, 4), nn.Identity(), nn.ReLU(inplace=True))
    x = torch.randn(3, 4)
    net(x).sum().backward()
    net.zero_grad()
    before = state(net)
    with pytest.raises(ts.VerificationError, match=r"2 \(ReLU\).*in place") as caught:
        ts.plan(net).replace("1", nn.Sigmoid).apply(check=x)
    assert caught.value.name == "2"
    assert "inplace=False" in caught.value.way_out
    assert state(net) == before
    ts.plan(net).replace("1", nn.Sigmoid).replace("2", nn.ReLU, inplace=False).apply(check=x)


def test_trap_17_real_model(resnet18, images):
    # The ReLU behind works in place on what the backward of a Tanh needs.
    images = images[:, :, :32, :32]
    before = state(resnet18)
    with pytest.raises(ts.VerificationError, match=r"\(ReLU\) works in place") as caught:
        ts.plan(resnet18).insert(nn.Tanh(), after="bn1").apply(check=images)
    assert caught.value.name == "relu"
    assert state(resnet18) == before


# --- 20 --- functional calls


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.block = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4))

    def forward(self, x):
        return self.block(F.relu(self.linear(x)))


def test_trap_20_functional_calls_naive():
    replaced = [m for m in Functional().modules() if isinstance(m, nn.ReLU)]
    assert replaced == [], "the loop does nothing and says nothing"


@pytest.mark.parametrize("verb", ["select", "replace", "remove", "insert", "wrap"])
def test_trap_20_functional_calls(verb):
    net = Functional()
    calls = {
        "select": lambda: ts.select(net, nn.ReLU),
        "replace": lambda: ts.replace(net, nn.ReLU, nn.Tanh),
        "remove": lambda: ts.remove(net, nn.ReLU),
        "insert": lambda: ts.insert(net, nn.Dropout(), after=nn.ReLU),
        "wrap": lambda: ts.wrap(net, nn.ReLU, Doubled),
    }
    before = state(net)
    with pytest.raises(ts.SelectionError, match=r"relu\(\) in the forward of the model itself"):
        calls[verb]()
    assert state(net)[:2] == before[:2]


def test_trap_20_the_function_itself_is_a_target():
    net, x = Functional(), torch.randn(2, 4)
    before = net(x)
    done = ts.replace(net, F.relu, nn.Tanh)
    assert torch.equal(net(x), net.block(net.linear(x).tanh()))
    done.undo()
    assert type(net) is Functional
    assert torch.equal(net(x), before)


@pytest.mark.parametrize(
    ("name", "kind", "called"),
    [
        ("densenet121", nn.AdaptiveAvgPool2d, r"adaptive_avg_pool2d\(\) in the forward of the model itself"),
        ("googlenet", nn.ReLU, r"relu\(\) in the forward of conv1"),
    ],
)
def test_trap_20_torchvision(name, kind, called):
    import torchvision

    options = {"init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        net = torchvision.models.get_model(name, weights=None, **options)
    with pytest.raises(ts.SelectionError, match=called):
        ts.replace(net, kind, nn.Identity)


# --- 22 --- compilers, accelerate, gradient checkpointing


def _net():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))


class Minus(nn.ReLU):
    """Only the class differs: a graph compiled before is stale."""

    def forward(self, x):
        return -x


COMPILED_EDITS = {
    "class": lambda p: p.replace(nn.ReLU, nn.Identity),
    "subclass": lambda p: p.replace(nn.ReLU, Minus),
    "instance": lambda p: p.replace("1", nn.Tanh()),
    "factory": lambda p: p.replace("2", lambda old: nn.Linear(4, 3)),
    "insert": lambda p: p.insert(nn.Tanh(), after=nn.ReLU),
    "wrap": lambda p: p.wrap(nn.Linear, Scaled),
    "remove": lambda p: p.remove(nn.ReLU),
}


@pytest.mark.parametrize("through", ["model", "compiled"])
@pytest.mark.parametrize("edit", COMPILED_EDITS.values(), ids=COMPILED_EDITS)
def test_trap_22_compiled_before_the_edit(edit, through):
    net, x = _net(), torch.randn(2, 4)
    compiled = torch.compile(net, backend="eager")
    before = compiled(x)
    done = edit(ts.plan(net if through == "model" else compiled)).apply()
    torch.testing.assert_close(compiled(x), net(x))
    assert compiled(x).shape != before.shape or not torch.equal(compiled(x), before)
    done.undo()
    assert torch.equal(compiled(x), before)


def test_trap_22_a_compiler_that_was_used_changes_nothing_about_how_layers_are_put_in_place():
    torch.compile(_net(), backend="eager")(torch.randn(2, 4))
    layer = nn.Linear(4, 4)
    done = ts.replace(layer, nn.Linear, BuiltLinear)  # which only works where the object becomes the new layer
    assert type(layer) is BuiltLinear
    done.undo()


def test_trap_22_compiled_function_and_compiled_in_place():
    net, x = _net(), torch.randn(2, 4)

    @torch.compile(backend="eager")
    def step(x):
        return net(x)

    step(x)
    net[1].compile(backend="eager")
    net.compile(backend="eager")
    before = net(x)
    done = ts.replace(net, nn.ReLU, Minus)
    expected = net[2](-net[0](x))
    torch.testing.assert_close(step(x), expected)
    torch.testing.assert_close(net(x), expected)
    done.undo()
    torch.testing.assert_close(step(x), before)
    torch.testing.assert_close(net(x), before)


@pytest.mark.parametrize("edit", COMPILED_EDITS.values(), ids=COMPILED_EDITS)
def test_trap_22_compiled_after_the_edit(edit):
    net, x = _net(), torch.randn(2, 4)
    edit(ts.plan(net)).apply()
    torch.testing.assert_close(torch.compile(net, backend="aot_eager", fullgraph=True)(x), net(x))
    torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), net(x))
    torch.testing.assert_close(torch.fx.symbolic_trace(net)(x), net(x))


def test_trap_22_accelerate_hooks():
    from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module

    class Counted(ModelHook):
        calls = 0

        def pre_forward(self, module, *args, **kwargs):
            Counted.calls += 1
            return args, kwargs

    net, x = _net(), torch.randn(2, 4)
    before = net(x)
    add_hook_to_module(net[0], Counted())
    held, given = state(net), nn.Linear(4, 4)
    held = state(net)
    for edit in (
        lambda: ts.replace(net, "0", NegatedLinear),
        lambda: ts.replace(net, "0", given),
        lambda: ts.remove(net, "0"),
    ):
        with pytest.raises(ts.PlanError, match=r"cannot .*0 \(Linear\).*accelerate") as caught:
            edit()
        assert "remove_hook_from_module" in caught.value.way_out
        assert state(net) == held
    done = (
        ts.plan(net)
        .wrap("0", Doubled)
        .insert(nn.Dropout(0.0), after="0.inner")
        .replace(nn.ReLU, nn.Identity)
        .apply(check=x)
    )
    calls = Counted.calls
    net(x)
    assert Counted.calls == calls + 1
    done.undo()
    assert torch.equal(net(x), before)
    remove_hook_from_module(net[0])
    del net[0].forward
    ts.replace(net, "0", NegatedLinear)
    torch.testing.assert_close(net[0](x), -F.linear(x, net[0].weight, net[0].bias))


def test_trap_22_accelerate_offload():
    from accelerate import cpu_offload

    net, x = _net(), torch.randn(2, 4)
    before = net(x)
    cpu_offload(net, execution_device="cpu")
    assert net[0].weight.device.type == "meta"
    held = state(net)
    with pytest.raises(ts.PlanError, match="accelerate"):
        ts.replace(net, nn.Linear, NegatedLinear)
    assert state(net) == held
    ts.wrap(net, "2", Doubled)
    assert torch.equal(net(x), 2 * before)


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = _net()

    def forward(self, x):
        return checkpoint(self.body, x, use_reentrant=False)


@pytest.mark.parametrize("edit", COMPILED_EDITS.values(), ids=COMPILED_EDITS)
def test_trap_22_gradient_checkpointing(edit):
    net, x = Checkpointed(), torch.randn(2, 4)
    done = edit(ts.plan(net.body)).apply()
    net(x).sum().backward()
    grads = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    net.body(x).sum().backward()
    assert all(torch.equal(p.grad, grad) for p, grad in zip(net.parameters(), grads, strict=True))
    done.undo()


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_")
def test_trap_22_gradient_checkpointing_of_transformers():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    net = LlamaForCausalLM(config).train()
    net.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    twin = copy.deepcopy(net)
    twin.gradient_checkpointing_disable()
    ids = torch.tensor([[1, 2, 3]])
    for model in (net, twin):
        ts.plan(model).replace("**.mlp.*_proj", NegatedLinear).insert(nn.Dropout(0.0), after="**.mlp").apply()
        model(ids, use_cache=False).logits.sum().backward()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
