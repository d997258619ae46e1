"""check(): what it finds, whom it names, and that the model is afterwards bit for bit what it was."""

import copy
import random
from collections import OrderedDict, deque
from dataclasses import FrozenInstanceError, dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

import torchsurgery as ts
from torchsurgery import history
from torchsurgery.checks import Check, Checks, check
from torchsurgery.checks.observing import Print, copied, difference, observed, shapes, tensors_in, tolerance
from torchsurgery.checks.snapshots import Snapshot
from torchsurgery.errors import VerificationError


class Twice(nn.Linear):
    """A Linear whose forward does more than its weight says."""

    def forward(self, x):
        return 2 * super().forward(x)


class Faithful(nn.Linear):
    """A Linear with a forward of its own that computes the same, for now."""

    def forward(self, x):
        return super().forward(x)


class SquareRoot(torch.autograd.Function):
    """Its backward needs its output, as sigmoid's and tanh's."""

    @staticmethod
    def forward(ctx, x):
        y = x.abs().sqrt()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad / (2 * y + 1e-3)


class NeedsItsOutput(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return SquareRoot.apply(x * self.scale)


def of(function, *tensors, **attributes):
    """A module that computes `function(self, *args)`."""

    def forward(self, *args, **kwargs):
        return function(self, *args, **kwargs)

    module = type("Made", (nn.Module,), {"forward": forward})()
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def everything(model):
    """All that must stay: objects, versions, values, modes, hooks, python state, random states."""
    state = []
    for name, module in model.named_modules(remove_duplicate=False):
        own = {k: list(v) if isinstance(v, (list, deque)) else v for k, v in module.__dict__.items()}
        plain = {k: v for k, v in own.items() if isinstance(v, (int, float, str, list, type(None)))}
        held = {k: [(a, id(b)) for a, b in v.items()] for k, v in own.items() if isinstance(v, dict)}
        state.append((name, type(module), id(module), list(own), plain, held))
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, t in tensors:
        grad = None if t.grad is None else (id(t.grad), t.grad._version, t.grad.tolist())
        state.append((name, id(t), t._version, t.data_ptr(), t.detach().flatten().tolist(), t.requires_grad, grad))
    numpy = np.random.get_state()
    state.append((random.getstate(), torch.get_rng_state().tolist(), numpy[1].tolist(), numpy[2]))
    state.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
    return state


def failing(model, inputs, *layers):
    """The error of a check that must fail and leave the model alone; its message keeps to the house style."""
    before = everything(model)
    with pytest.raises(VerificationError) as caught:
        check(model, inputs, layers=layers)
    assert everything(model) == before
    error, lines = caught.value, str(caught.value).splitlines()
    assert error.name is not None
    assert error.name in lines[0]
    assert len(lines) >= 2
    assert error.way_out
    assert lines[-1].endswith(error.way_out)
    assert all(len(line) <= 160 for line in lines), lines
    assert not error.checks.ok
    assert sum(not line.ok for line in error.checks.lines) >= 1
    return error


def passing(model, inputs, *layers):
    before = everything(model)
    checks = check(model, inputs, layers=layers)
    assert everything(model) == before
    assert checks.ok
    return checks


def line(checks, name):
    return next(line for line in checks.lines if line.name == name)


# --- what is answered


def test_printed():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))
    checks = passing(model, torch.randn(3, 4), model[0], model[2])
    assert str(checks).splitlines()[:2] == [
        "  ✓ forward runs            (3, 4) → (3, 2)",
        "  ✓ new layers called       2 of 2",
    ]
    assert str(checks).splitlines()[2].startswith("  ✓ fast paths agree        eval with and without gradients, ")
    assert str(checks).splitlines()[3:] == [
        "  ✓ eval is deterministic   two runs agree bit for bit",
        "  ✓ gradients reach         every trainable parameter (6 of 6)",
    ]
    assert checks.remarks == ()


def test_signs_and_values():
    lines = (Check("a", True, "x"), Check("b", True, "y", remark=True), Check("c" * 30, False, "z"))
    assert str(Checks(lines)).splitlines() == [f"  ✓ {'a':<24}x", f"  ! {'b':<24}y", f"  ✗ {'c' * 30} z"]
    assert not Checks(lines).ok
    assert Checks(lines).remarks == ("b: y",)
    with pytest.raises(FrozenInstanceError):
        lines[0].ok = False


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_resnet18(resnet18, images, mode):
    model = resnet18.train(mode == "train")
    model.bn1.eval()
    checks = passing(model, images, model.relu, model.fc)
    assert line(checks, "forward runs").detail == "(2, 3, 64, 64) → (2, 1000)"
    assert line(checks, "gradients reach").detail == "every trainable parameter (62 of 62)"
    assert checks.remarks == ()


def test_bert_from_a_config():
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("transformers.models.bert.modeling_bert", exc_type=(ImportError, RuntimeError))
    config = transformers.BertConfig(
        vocab_size=99, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    model = transformers.BertModel(config)
    inputs = {"input_ids": torch.randint(0, 99, (2, 7)), "attention_mask": torch.ones(2, 7, dtype=torch.long)}
    layer = model.encoder.layer[1].intermediate.dense
    checks = passing(model, inputs, layer)
    assert line(checks, "forward runs").detail == "(2, 7), (2, 7) → (2, 7, 16), (2, 16)"
    assert len(model.eval()(**inputs, output_hidden_states=True).hidden_states) == 3
    checks = passing(transformers.BertForMaskedLM(config), {**inputs, "labels": inputs["input_ids"]})
    assert "every trainable" in line(checks, "gradients reach").detail
    layer.register_forward_pre_hook(lambda module, args: (args[0][..., :9],))
    assert failing(model, inputs, layer).name == "encoder.layer.1.intermediate.dense"


# --- inputs


def test_inputs_of_every_kind():
    model = of(lambda self, a, b=None: a if b is None else a * b)
    x = torch.ones(2, 3)
    for inputs in (x, (x,), [x, x], (x, x), {"a": x}, {"a": x, "b": x}, OrderedDict(a=x)):
        assert passing(model, inputs).lines[0].name == "forward runs"
    packed = pack_padded_sequence(torch.randn(4, 2, 3), torch.tensor([4, 2]))
    assert "every trainable" in line(passing(nn.GRU(3, 5), packed), "gradients reach").detail


@pytest.mark.parametrize("inputs", [3, "x", None, {1: torch.ones(2)}, np.ones(3)], ids=str)
def test_inputs_of_the_wrong_kind(inputs):
    with pytest.raises(VerificationError, match=rf"inputs of type {type(inputs).__name__}.*\n.*expected: a tensor"):
        check(nn.Linear(2, 2), inputs)


def test_not_a_model():
    with pytest.raises(VerificationError, match="no model to check: got a list"):
        check([nn.Linear(2, 2)], torch.ones(2))


def test_inputs_are_not_written_into_and_stay_one_object():
    x = torch.tensor([[-1.0, 2.0]])
    passing(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 2)), x)
    assert (x.tolist(), x._version) == ([[-1.0, 2.0]], 0)
    same = of(lambda self, a, b: a * (1.0 if a is b else torch.nan))
    passing(same, (x, x))
    held = {"cache": [x], "when": lambda: 1}
    twin = copied(held)
    assert twin["cache"][0] is not x
    assert copied((stuck := iter([1]), x))[1] is not None
    assert copied({"generator": (i for i in [stuck])})["generator"] is not None


def test_lazy_model():
    with pytest.raises(VerificationError, match=r"^1 \(LazyLinear\) is lazy") as caught:
        check(nn.Sequential(nn.ReLU(), nn.LazyLinear(3)), torch.ones(2, 2))
    assert caught.value.name == "1"


@dataclass
class Answer:
    scores: torch.Tensor
    extra: object


def test_outputs_of_every_kind():
    class Holder:
        def __init__(self, x):
            self.inner = x

    layer = nn.Linear(2, 2)
    for wrap in (
        lambda x: (x, [x, {"a": x}]),
        lambda x: {"a": x, "b": None, "c": "text"},
        lambda x: Answer(x, {1, 2}),
        Holder,
        lambda x: torch.distributions.Normal(x, x.exp()),
        lambda x: x.to_sparse(),
        lambda x: torch.complex(x, x),
        lambda x: torch.nested.as_nested_tensor([x[:1], x], layout=torch.jagged),
    ):
        model = of(lambda self, x, wrap=wrap: wrap(self.layer(x)), layer=layer)
        assert line(passing(model, torch.randn(2, 2), layer), "gradients reach").detail.endswith("(2 of 2)")


def test_an_output_without_tensors_is_compared_with_nothing():
    assert passing(of(lambda self, x: 3), torch.ones(2)).lines[0].detail == "(2,) → no tensor"


# --- forward


def test_a_forward_that_raises_is_named_with_its_shapes():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.ReLU(), nn.Linear(9, 2)))
    error = failing(model, torch.ones(2, 3, 8, 8), model[0])
    assert error.name == "1.1"
    assert str(error).startswith(
        "1.1 (Linear) raises in eval without gradients.\n  got: (2, 4, 8, 8)\n  RuntimeError: "
    )
    assert isinstance(error.__cause__, RuntimeError)
    assert [(c.name, c.ok) for c in error.checks.lines] == [("forward runs", False)]


def test_wrong_arguments_are_the_models_own():
    error = failing(nn.Sequential(nn.Linear(2, 2)), (torch.ones(2), torch.ones(2)))
    assert error.name == ""
    assert str(error).startswith("the model itself (Sequential) raises in eval without gradients.")
    assert "ts.check(model, (x,))" in error.way_out


def test_an_exception_in_a_helper_of_a_module():
    def helper(value):
        raise KeyError(value)

    inner = of(lambda self, x: helper("gone"))
    assert failing(nn.Sequential(inner), torch.ones(2)).name == "0"


def test_raises_only_with_gradients():
    def forward(self, x):
        if torch.is_grad_enabled():
            raise OSError("no")
        return x

    error = failing(nn.Sequential(of(forward)), torch.ones(2))
    assert "raises in eval with gradients" in str(error)


def test_raises_only_in_train():
    def forward(self, x):
        if self.training:
            raise OSError("no")
        return x

    error = failing(nn.Sequential(of(forward), nn.Linear(2, 2)), torch.ones(2, 2))
    assert (error.name, "raises in train" in str(error)) == ("0", True)
    assert line(error.checks, "eval is deterministic").ok


def test_one_value_per_channel_is_a_remark():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    checks = passing(model, torch.ones(1, 3), model[0])
    assert checks.remarks == ("train mode not run: 1 needs more than one value per channel: give a larger batch",)
    assert line(checks, "gradients reach").detail.endswith("(6 of 6)")


def test_not_finite_names_the_first_layer():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(of(lambda self, x: x / 0)), nn.Linear(2, 2))
    error = failing(model, torch.ones(1, 2), model[0])
    assert error.name == "1.0"
    with pytest.raises(VerificationError, match=r"^the model itself \(Made\) gives numbers that are not finite"):
        check(of(lambda self, x: self.a(x).log(), a=nn.ReLU()), -torch.ones(2))
    passing(nn.Sequential(nn.Identity()), torch.tensor([torch.inf, torch.nan]))


# --- determinism


def test_random_in_eval():
    class Noise(nn.Dropout):
        def forward(self, x):
            return F.dropout(x, self.p, True)

    model = nn.Sequential(nn.Linear(4, 64), Noise(), nn.Linear(64, 4))
    x = torch.randn(8, 4)
    assert failing(model, x, model[1]).name == "1"
    assert "1 (Noise)" in failing(model, x, model[1]).args[0]
    checks = passing(model, x, model[2])
    assert line(checks, "eval is random").detail.endswith("1 (Noise)")


def test_what_is_kept_between_calls_shows():
    def forward(self, x):
        self.calls += 1
        self.seen.append(self.calls)
        return x * self.calls

    model = nn.Sequential(of(forward, calls=0, seen=[]), nn.Linear(2, 2))
    assert failing(model, torch.ones(2, 2), model[0]).name == "0"
    assert (model[0].calls, model[0].seen) == (0, [])


def test_a_permutation_is_found_too():
    model = nn.Sequential(of(lambda self, x: x[:, torch.randperm(x.shape[1])]), nn.Identity())
    assert failing(model, torch.randn(2, 32), model[0]).name == "0"


# --- never called


def test_never_called():
    model = of(lambda self, x: F.relu(self.fc(x)), fc=nn.Linear(2, 2), act=nn.ReLU(), spare=nn.ReLU())
    error = failing(model, torch.ones(2, 2), model.fc, model.act, model.spare)
    assert (error.name, error.expected, error.got) == ("act", "a call", "no call")
    assert "never called" in str(error)
    assert "nor are spare" in str(error)


def test_never_called_outside_of_the_tree():
    model = nn.Sequential(nn.Linear(2, 2))
    lost = nn.ReLU()
    assert failing(model, torch.ones(2, 2), lost).name == "<ReLU outside of the module tree>"
    held = [nn.Tanh()]
    passing(of(lambda self, x: held[0](x)), torch.ones(2), held[0])


def test_out_proj_is_read_for_its_weight_only():
    model = nn.Sequential(OrderedDict(attn=of(lambda self, x: self.mha(x, x, x)[0], mha=nn.MultiheadAttention(8, 2))))
    x = torch.randn(5, 3, 8)
    model.attn.mha.out_proj = Faithful(8, 8)
    error = failing(model, x, model.attn.mha.out_proj)
    assert str(error).startswith("attn.mha.out_proj (Faithful) is never called.")
    assert "attn.mha (MultiheadAttention) holds it" in str(error)
    assert error.way_out.endswith("ts.replace(model, 'attn.mha', …)")
    # A plain Linear loses nothing by being read, trained or frozen.
    model.attn.mha.out_proj = nn.Linear(8, 8)
    for needs_grad in (True, False):
        model.requires_grad_(needs_grad)
        checks = passing(model, x, model.attn.mha.out_proj)
        assert line(checks, "new layers called").remark
        assert line(checks, "new layers called").detail == "0 of 1; only its weight is read: attn.mha.out_proj (Linear)"


@pytest.mark.parametrize("when", ["train", "eval", "train without gradients"])
def test_one_call_in_any_mode_is_enough(when):
    def forward(self, x):
        now = "train" if self.training else "eval"
        now += " without gradients" if self.training and not torch.is_grad_enabled() else ""
        return x + 0 * self.extra(x) if now == when else x

    model = of(forward, extra=nn.ReLU(), fc=nn.Linear(2, 2))
    assert line(passing(model, torch.ones(2, 2), model.extra), "new layers called").detail == "1 of 1"


def test_a_direct_call_of_forward_counts():
    model = of(lambda self, x: self.fc.forward(x), fc=nn.Linear(2, 2))
    passing(model, torch.ones(2, 2), model.fc)


def test_containers_need_no_call():
    layers = nn.ModuleList([nn.Linear(2, 2)])
    checks = passing(of(lambda self, x: self.layers[0](x), layers=layers), torch.ones(1, 2), layers)
    assert line(checks, "no new layer is known").remark


# --- fast paths


def encoder_layer():
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)


def test_a_fast_path_that_gives_something_else():
    model = nn.Sequential(OrderedDict(block=encoder_layer()))
    model.block.linear1 = Twice(8, 16)
    error = failing(model, torch.randn(2, 5, 8), model.block.linear1)
    assert error.name == "block.linear1"
    assert "fast path" in str(error).splitlines()[0]
    assert "block (TransformerEncoderLayer) reads its tensors" in str(error)
    assert error.got > error.expected
    # Altered by hand, so that no layer is known to be new: found as well.
    with pytest.raises(VerificationError, match=r"^block.linear1 \(Twice\) is passed over by a fast path"):
        check(model, torch.randn(2, 5, 8))


def test_the_way_out_of_a_fast_path_works():
    model = encoder_layer()
    model.linear1 = Twice(8, 16)
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        passing(model, torch.randn(2, 5, 8), model.linear1)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_a_forward_passed_over_fails_though_the_numbers_agree():
    model = encoder_layer()
    model.linear2 = Faithful(16, 8)
    error = failing(model, torch.randn(2, 5, 8), model.linear2)
    assert error.name == "linear2"
    assert "for the weights that it has now" in str(error)
    model.linear2 = nn.Linear(16, 8)
    model.linear2.forward = lambda x: F.linear(x, model.linear2.weight, model.linear2.bias)
    assert failing(model, torch.randn(2, 5, 8), model.linear2).name == "linear2"
    del model.linear2.forward
    assert "fast paths agree" in str(passing(model, torch.randn(2, 5, 8), model.linear2))


def test_a_norm_that_the_kernel_takes_for_another():
    model = encoder_layer()
    model.norm1 = nn.RMSNorm(8, eps=1e-5)
    error = failing(model, torch.randn(2, 5, 8), model.norm1)
    assert error.name == "norm1"
    assert str(error).startswith("norm1 (RMSNorm) lacks what is read of it in eval without gradients.")
    assert error.way_out == "torch.backends.mha.set_fastpath_enabled(False)"
    model.norm1 = nn.GroupNorm(1, 8)
    model.norm1.forward = lambda x: F.group_norm(x.transpose(1, 2), 2).transpose(1, 2)
    assert failing(model, torch.randn(2, 5, 8), model.norm1).name == "norm1"


def test_what_torch_itself_does_otherwise_is_a_remark():
    model = nn.TransformerEncoder(encoder_layer(), 2)
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    inputs = {"src": torch.randn(2, 5, 8), "src_key_padding_mask": mask}
    layer = model.layers[0].linear1
    checks = passing(model, inputs, layer)
    assert line(checks, "fast paths differ").remark


def test_a_new_layer_that_looks_at_the_grad_mode():
    model = nn.Sequential(nn.Linear(2, 2), of(lambda self, x: x * (2 if torch.is_grad_enabled() else 1)))
    assert failing(model, torch.ones(2, 2), model[1]).name == "1"
    assert line(passing(model, torch.ones(2, 2), model[0]), "fast paths differ").detail.endswith("1 (Made)")


def test_watching_does_not_turn_the_fast_path_off(monkeypatch):
    taken = []
    kernel = torch._transformer_encoder_layer_fwd
    monkeypatch.setattr(torch, "_transformer_encoder_layer_fwd", lambda *args: taken.append(1) or kernel(*args))
    passing(encoder_layer(), torch.randn(2, 5, 8))
    assert len(taken) == 2


# --- gradients


def test_a_layer_that_stops_gradients():
    class Detached(nn.Linear):
        def forward(self, x):
            return F.linear(x, self.weight.detach(), self.bias)

    class Graphless(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                return super().forward(x)

    model = nn.Sequential(nn.Linear(2, 2), Detached(2, 2), nn.Linear(2, 2))
    error = failing(model, torch.randn(3, 2), model[1])
    assert error.name == "1"
    assert str(error).startswith("1 (Detached) gets no gradient for 1.weight.")
    model[1].weight.requires_grad_(False)
    passing(model, torch.randn(3, 2), model[1])
    model[1] = Graphless(2, 2)
    error = failing(model, torch.randn(3, 2), model[1])
    assert str(error).startswith("1 (Graphless) gets no gradient for 1.weight.")
    assert "nor for 1.bias" in str(error)


def test_a_place_where_no_gradient_arrives_is_a_remark():
    def forward(self, x):
        with torch.no_grad():
            x = self.teacher(x)
        self.side(x)
        self.wide(x).detach()
        return self.head(x)

    linear = lambda: nn.Linear(2, 2)  # noqa: E731
    model = of(forward, teacher=linear(), side=linear(), wide=linear(), head=linear())
    checks = passing(model, torch.ones(3, 2), model.teacher, model.side, model.wide, model.head)
    assert line(checks, "gradients reach").detail == "trainable parameters (2 of 8)"
    assert line(checks, "no gradient for").detail == "teacher.weight, teacher.bias, side.weight, … 3 more"


def test_an_expert_without_tokens_is_a_remark():
    moe = of(lambda self, x: self.experts[0](x), experts=nn.ModuleList(nn.Linear(2, 2) for _ in range(2)))
    checks = passing(nn.Sequential(moe), torch.ones(3, 2), moe)
    assert line(checks, "no gradient for").detail == "0.experts.1.weight, 0.experts.1.bias"


def test_a_parameter_outside_of_the_tree_counts():
    held = [nn.Linear(2, 2)]
    checks = passing(of(lambda self, x: held[0](x)), torch.ones(3, 2), held[0])
    assert line(checks, "gradients reach").detail.endswith("(2 of 2)")


def test_all_frozen():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).requires_grad_(False)
    assert passing(model, torch.ones(3, 2), model[1]).remarks == ("gradients not checked: every parameter is frozen",)


def test_an_output_that_cannot_be_differentiated():
    model = of(lambda self, x: self.fc(x).argmax(-1), fc=nn.Linear(2, 2))
    checks = passing(model, torch.randn(3, 2), model.fc)
    assert "differentiable" in line(checks, "gradients not checked").detail


def test_gradients_that_are_not_finite():
    model = nn.Sequential(nn.Linear(2, 2), of(lambda self, x: (x * 0).sqrt()), nn.Linear(2, 2))
    error = failing(model, torch.randn(3, 2), model[1])
    assert error.name == "1"
    assert "got: inf or nan for 0.weight, 0.bias" in str(error)
    assert failing(model, torch.randn(3, 2), model[2]).name == "0"


def test_integer_inputs_and_sparse_gradients():
    model = nn.Sequential(nn.Embedding(9, 4, sparse=True), nn.Linear(4, 2))
    assert line(passing(model, torch.randint(0, 9, (2, 3)), model[0]), "gradients reach").detail.endswith("(3 of 3)")


def test_a_backward_that_raises():
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise OSError("broken")

    model = nn.Sequential(nn.Linear(2, 2), of(lambda self, x: Bad.apply(x)))
    error = failing(model, torch.ones(2, 2), model[1])
    assert error.name == ""
    assert "raises OSError" in str(error)
    assert "new layers: 1 (Made)" in str(error)


def test_reentrant_checkpoints_are_a_remark():
    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(self.fc, self.first(x), use_reentrant=self.reentrant)

    model = of(forward, first=nn.Linear(2, 2), fc=nn.Linear(2, 2), reentrant=True)
    assert "use_reentrant=False" in passing(model, torch.ones(3, 2), model.fc).remarks[0]
    model.reentrant = False
    assert line(passing(model, torch.ones(3, 2), model.fc), "gradients reach").detail.endswith("(4 of 4)")


# --- in-place neighbours


def test_in_place_neighbour():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), NeedsItsOutput(), nn.ReLU(inplace=True))
    error = failing(model, torch.randn(3, 4), model[2])
    assert error.name == "3"
    assert str(error).startswith(
        "3 (ReLU) works in place, and overwrites what the backward of 2 (NeedsItsOutput) needs."
    )
    assert error.way_out == "ts.replace(model, '3', nn.ReLU, inplace=False)"
    assert "modified by an inplace operation" in str(error)
    model[3].inplace = False
    passing(model, torch.randn(3, 4), model[2])


def test_two_in_place_neighbours_among_many():
    blocks = [nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True)) for _ in range(9)]
    model = nn.Sequential(*blocks)
    for place in (2, 7):
        model[place][0] = NeedsItsOutput()
    error = failing(model, torch.randn(3, 4), model[2][0], model[7][0])
    assert error.name == "2.1"
    assert "so do 7.1" in str(error)


def test_in_place_without_a_flag():
    model = of(lambda self, x: self.b(self.a(x).mul_(2)), a=NeedsItsOutput(), b=nn.ReLU(inplace=True))
    error = failing(model, torch.randn(3, 4), model.a)
    assert error.name == "a"
    assert "no layer with inplace=True does it" in str(error)
    assert check(nn.ReLU(inplace=True), torch.ones(2)).ok


def test_in_place_on_a_leaf_raises_in_forward():
    def forward(self, x):
        return self.act(self.weight if torch.is_grad_enabled() and self.training else self.weight * 1) + x

    model = of(forward, weight=nn.Parameter(torch.ones(2)), act=nn.ReLU(inplace=True))
    error = failing(model, torch.ones(2), model.act)
    assert error.name == "act"
    assert error.way_out == "ts.replace(model, 'act', nn.ReLU, inplace=False)"


# --- left as it was


class Busy(nn.Module):
    """Writes to everything that a module can write to while it runs."""

    def __init__(self, stop=None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.codebook = nn.Parameter(torch.ones(2), requires_grad=False)
        self.swapped = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("maybe", None)
        self.register_buffer("alias", self.count)
        self.plain = torch.zeros(2)
        self.calls, self.log, self.table, self.last = 0, [], {"a": [1]}, deque([1, 2], maxlen=2)
        self.names, self.generator, self.stop = {"x"}, torch.Generator(), stop
        self.gone, self.inner = nn.Tanh(), nn.ReLU()
        self.register_forward_hook(lambda *_: None)

    def forward(self, x):
        with torch.no_grad():
            self.count += 1
            self.codebook.data.mul_(0.5)
            self.swapped.data = torch.zeros(2)
            self.plain.add_(1)
        self.calls += 1
        self.log.append(x)
        self.table["a"].append(2)
        self.table["b"] = 3
        self.table["a"] = self.table.pop("a")
        self.last.append(5)
        self.names.add("y")
        self.maybe = torch.ones(1)
        self.fresh = nn.Linear(2, 2)
        gone, self.inner.training = self.gone, True
        del self.gone
        self.gone = gone
        self.codebook.requires_grad_(True)
        self.weight.grad = torch.ones(2, 2)
        self.register_forward_pre_hook(lambda *_: None)
        self.inner.__class__ = nn.Tanh
        noise = random.random(), np.random.rand(), torch.rand(1), torch.rand(1, generator=self.generator)
        torch.set_grad_enabled(torch.is_grad_enabled())
        if self.stop and self.training:
            raise self.stop
        return x @ self.weight + 0 * sum(float(n) for n in noise)


def busy(stop=None):
    model = nn.Sequential(nn.BatchNorm1d(2), Busy(stop), nn.Dropout())
    model[0].weight.grad = torch.ones(2)
    model[1].eval()
    return model, model[1]


def python_state(layer):
    held = layer.calls, layer.log, layer.table, list(layer.last), layer.names, layer.plain.tolist()
    return copy.deepcopy(held), layer.plain._version, layer.generator.get_state().tolist(), list(layer._modules)


@pytest.mark.parametrize("stop", [None, OSError("no"), KeyboardInterrupt(), MemoryError()], ids=repr)
def test_left_as_it_was(stop):
    model, layer = busy(stop)
    model.train()
    x = torch.randn(4, 2)
    before, held = everything(model), python_state(layer)
    if stop is None:
        check(model, x, layers=[layer])
    else:
        expected = KeyboardInterrupt if isinstance(stop, KeyboardInterrupt) else VerificationError
        with pytest.raises(expected):
            check(model, x, layers=[layer])
    assert everything(model) == before
    assert python_state(layer) == held
    assert type(layer.inner) is nn.ReLU


def test_interrupted_at_every_call(monkeypatch):
    """A KeyboardInterrupt that comes at the n-th forward of any layer, for each n."""
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), NeedsItsOutput(), nn.ReLU(inplace=True))
    x = torch.randn(4, 2)
    before, forward = everything(model), nn.BatchNorm1d.forward
    interrupted = 0
    for at in range(100):
        left = [at]

        def interrupting(self, x, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return forward(self, x)

        monkeypatch.setattr(nn.BatchNorm1d, "forward", interrupting)
        with pytest.raises((KeyboardInterrupt, VerificationError)) as caught:
            check(model, x, layers=[model[2]])
        assert everything(model) == before
        if caught.type is VerificationError:
            break
        interrupted += 1
    assert interrupted > 5


def test_interrupted_while_putting_back(monkeypatch):
    model, layer = busy()
    x = torch.randn(4, 2)
    before, restore, stops = everything(model), Snapshot.restore, [KeyboardInterrupt()]

    def interrupted(self):
        if stops:
            raise stops.pop()
        restore(self)

    monkeypatch.setattr(Snapshot, "restore", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check(model, x, layers=[layer])
    assert everything(model) == before


def test_parts_kept_in_eval_stay_so_in_train():
    seen = []
    model = nn.Sequential(of(lambda self, x: seen.append(self.training) or x), nn.Linear(2, 2)).train()
    model[0].eval()
    passing(model, torch.ones(2, 2))
    assert not any(seen)
    model.eval()
    passing(model, torch.ones(2, 2))
    assert any(seen)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_in_the_callers_grad_mode(mode):
    model = nn.Sequential(nn.Linear(2, 2))
    with mode():
        x = torch.ones(2, 2)
        assert line(passing(model, x, model[0]), "gradients reach").detail.endswith("(2 of 2)")
        assert not torch.is_grad_enabled()


def test_an_outstanding_graph_of_the_caller_survives():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    loss = model(torch.randn(4, 2)).square().sum()
    passing(model, torch.randn(4, 2))
    loss.backward()
    assert model[0].weight.grad is not None


def test_hooks_run_and_stay():
    seen = []
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].register_full_backward_hook(lambda *_: seen.append("backward"))
    handle = model[0].register_forward_hook(lambda *_: seen.append("forward"))
    passing(model, torch.ones(2, 2), model[0])
    assert {"forward", "backward"} <= set(seen)
    handle.remove()
    assert not model[0]._forward_hooks


def test_an_instances_own_forward_stays():
    layer = nn.Linear(2, 2)
    layer.forward = own = lambda x: x * 3 + layer.weight.sum() + layer.bias.sum()
    passing(nn.Sequential(layer), torch.ones(2, 2), layer)
    assert layer.__dict__["forward"] is own
    with observed([layer, layer], lambda *_: None):
        assert layer.__dict__["forward"] is not own
    assert layer.__dict__["forward"] is own


def test_large_parameters_are_not_copied(monkeypatch):
    monkeypatch.setattr("torchsurgery.checks.snapshots.COPIED_BYTES", 8)
    checks = passing(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), torch.randn(3, 4))
    assert line(checks, "parameters not copied").remark


def test_shared_and_tied():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(nn.Embedding(4, 4), shared, nn.ReLU(), shared, nn.Linear(4, 4, bias=False))
    model[4].weight = model[0].weight
    assert line(passing(model, torch.tensor([[1, 2]]), shared), "gradients reach").detail.endswith("(3 of 3)")


def test_scripted_and_traced_models():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    before = [(t._version, t.tolist()) for t in scripted.state_dict().values()]
    assert check(scripted, torch.randn(3, 2)).ok
    assert [(t._version, t.tolist()) for t in scripted.state_dict().values()] == before
    assert all(module.training for module in scripted.modules())
    traced = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    passing(traced, torch.randn(3, 2), traced.get_submodule("0"))


def test_compiled_parts_run_as_written():
    calls = []

    def backend(graph, inputs):
        calls.append(graph)
        return graph.forward

    model = nn.Sequential(torch.compile(nn.Linear(2, 2), backend=backend))
    assert check(model, torch.ones(3, 2)).remarks[-1].startswith("compiled parts")
    assert not calls


# --- distributed


@pytest.fixture
def one_process():
    """A process group of this process alone."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_between_two_steps_of_ddp(one_process):
    inner = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model = nn.parallel.DistributedDataParallel(inner)
    for _ in range(3):
        model(torch.randn(3, 4)).square().sum().backward()
        checks = passing(model, torch.randn(3, 4), inner[0])
        assert line(checks, "gradients reach").detail.endswith("(4 of 4)")


@pytest.mark.filterwarnings("ignore")
def test_between_two_steps_of_fsdp2(one_process):
    from torch.distributed.fsdp import fully_shard

    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2))
    fully_shard(model[0])
    fully_shard(model)
    for _ in range(3):
        model(torch.randn(3, 4)).sum().backward()
        checks = check(model, torch.randn(3, 4), layers=[model[0][0]])
        assert line(checks, "gradients not checked").detail.startswith("FSDP2")
        assert all(type(p).__name__ == "DTensor" for p in model.parameters())


def test_random_generators_of_other_devices(monkeypatch):
    from types import SimpleNamespace

    from torchsurgery.checks.snapshots import _generators

    one = SimpleNamespace(get_rng_state=lambda: "one", set_rng_state=print)
    many = SimpleNamespace(get_rng_state_all=lambda: "all", set_rng_state_all=repr)
    monkeypatch.setattr(torch, "get_device_module", {"mps": one, "cuda": many}.get)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    pairs = list(_generators({"cpu", "meta", "mps"}))
    assert pairs[-2:] == [(many.get_rng_state_all, repr), (one.get_rng_state, print)]


# --- meta


def test_on_meta():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
        x = torch.ones(3, 4)
    checks = check(model, x, layers=[model[0]])
    assert line(checks, "forward runs").detail == "(3, 4) → (3, 2)"
    assert line(checks, "new layers called").detail == "1 of 1"
    assert line(checks, "gradients reach").detail.endswith("(6 of 6)")
    assert checks.remarks == ("model is on meta: shapes only: finite, deterministic and fast paths were not checked",)
    assert all(p.is_meta and p.grad is None for p in model.parameters())
    with pytest.raises(VerificationError, match=r"^3 \(Linear\) raises"):
        model[3] = nn.Linear(5, 2, device="meta")
        check(model, x)


def test_on_meta_with_inputs_elsewhere():
    with pytest.raises(VerificationError, match="is on meta, its inputs are on cpu") as caught:
        check(nn.Linear(2, 2, device="meta"), torch.ones(1, 2))
    assert caught.value.way_out == "ts.check(model, inputs.to('meta'))"


def test_on_meta_where_values_are_needed():
    model = of(lambda self, x: self.fc(x) * x.sum().item(), fc=nn.Linear(2, 2, device="meta"))
    checks = check(model, torch.ones(2, 2, device="meta"))
    assert checks.ok
    assert checks.lines[0].name == "forward stops on meta"


# --- what the parts do


def test_tensors_in_and_shapes():
    x = torch.ones(2)
    loop = [x]
    loop.append(loop)
    assert len(list(tensors_in(loop))) == 1
    assert list(tensors_in("text")) == []
    assert shapes([x] * 6) == "(2,), (2,), (2,), (2,), … 2 more"
    assert shapes(None) == "no tensor"


def test_difference():
    x = torch.tensor([1.0, 4.0])
    assert difference(x, x) == 0
    assert difference(x, x + 1) == pytest.approx(0.25)
    assert difference((x, x), x) == torch.inf
    assert difference(x, x[:1]) == torch.inf
    nan = torch.tensor([1.0, torch.nan])
    assert difference(nan, nan.clone()) == 0
    assert difference(nan, x) == torch.inf
    inf = torch.tensor([1.0, torch.inf])
    assert difference(inf, inf) == 0
    assert difference(inf, -inf) == torch.inf
    assert difference(torch.zeros(0), torch.zeros(0)) == 0
    assert difference(x.to_sparse(), x.to_sparse()) == 0
    nested = torch.nested.nested_tensor([[1.0], [2.0, 3.0]], layout=torch.jagged)
    assert difference(nested, nested) == 0


def test_tolerance_follows_the_coarsest_precision():
    single, half, count = torch.ones(1), torch.ones(1, dtype=torch.bfloat16), torch.ones(1, dtype=torch.long)
    assert tolerance([single, count]) == pytest.approx(3.5e-4, rel=0.1)
    assert tolerance([single, half]) == pytest.approx(0.088, rel=0.1)
    assert tolerance([count]) == tolerance([single])


def test_prints():
    x = torch.randn(50)
    assert Print.of(x).is_near(Print.of(x + 1e-7), 1e-5)
    assert not Print.of(x).is_near(Print.of(x.flip(0)), 1e-2)
    assert Print.of(None) == Print(0, 0)


def test_layers_that_the_history_knows():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Tanh())
    gone = nn.ReLU()
    history.remember(model, [model[1], gone])
    history.remember(model, [model[0]])
    assert line(check(model, torch.ones(2)), "new layers called").detail == "2 of 2"
    assert line(check(copy.deepcopy(model), torch.ones(2)), "no new layer is known").remark


def test_many_modules_are_cheap():
    import time

    model = nn.Sequential(*[nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(1000)])
    layers = [block[0] for block in model]
    x = torch.randn(2, 2)
    start = time.perf_counter()
    for _ in range(5):
        model(x).sum().backward()
    steps = time.perf_counter() - start
    start = time.perf_counter()
    check(model, x, layers=layers)
    assert time.perf_counter() - start < 30 * steps


class Experts(nn.Module):
    """Only one of its experts is asked."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6)) for _ in range(2))

    def forward(self, x):
        return self.last(self.experts[int(x.sum() > 0)](self.first(x)))


def test_experts_that_the_inputs_do_not_ask_for_may_be_narrower():
    net, x = Experts(), torch.ones(2, 4)
    done = ts.prune(net, amount=0.5, example_inputs=x, check=x)
    found = next(line for line in ts.check(net, x).lines if line.name == "new layers called")
    assert found.remark
    assert "these inputs go past experts.0.0" in found.detail
    assert net.experts[0][0].out_features == 4
    done.undo()
    # What is new is another thing, also where it was cut afterwards.
    ts.replace(net, "experts.0.0", nn.Linear(6, 8))
    ts.prune(net, amount=0.5, example_inputs=x)
    with pytest.raises(ts.VerificationError, match=r"experts\.0\.0 .* is never called"):
        ts.check(net, x)
