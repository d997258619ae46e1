"""Windows taken in steps through memory: what they leave as it is follows, the rest stays and says why."""

import math

import numpy as np
import pytest
import torch
import transformers
from hypothesis import assume, event, given
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
from coupling.networks import zero
from torchsurgery import importance
from torchsurgery.choosing import Wish, choose
from torchsurgery.coupling.constraints.atoms import is_fixed
from torchsurgery.coupling.constraints.integers import Length, evaluate, expression_of
from torchsurgery.coupling.constraints.record import Notes, Record
from torchsurgery.coupling.rules.call import Call
from torchsurgery.coupling.rules.strides import as_strided, strides_read
from torchsurgery.coupling.solving.solver import solve
from torchsurgery.edits import Prune

X = torch.randn(2, 12, 4, dtype=torch.float64)


class Windows(nn.Module):
    """Tokens in windows of six, each of which begins where the one before is half over."""

    def __init__(self, width=8, heads=2):
        super().__init__()
        self.heads, self.width = heads, width
        self.stem, self.head = nn.Linear(4, width), nn.Linear(width, 3)

    def forward(self, x):
        n, t, _ = x.shape
        h = self.stem(x).view(n, t, self.heads, -1).transpose(1, 2).reshape(n * self.heads, t, -1)
        mean = self.chunks(h).mean((1, 2))
        return self.head(mean.view(n, -1))

    def chunks(self, h):
        size, step = list(h.size()), list(h.stride())
        return h.as_strided((size[0], 3, 6, size[2]), (step[0], 3 * step[1], step[1], step[2]))


def tensors_of(model):
    return dict(model.named_parameters()) | dict(model.named_buffers())


def exactly_pruned(model, x):
    """How far the pruned model's answers are from those with zeros in place of what went, and what went."""
    coupling = ts.trace(model, x)
    cut = choose(coupling, Wish(None, 0.5, None, importance.l2, exact=True), tensors_of(model)).cut
    done = ts.plan(model, x).then(Prune("", (), cut.kept, tuple(cut.attributes.items()))).apply()
    pruned = model(x)
    done.undo()
    zero(model, cut.kept)
    return (pruned - model(x)).abs().max().item(), cut


def test_windows_follow():
    model = Windows().double()
    assert ts.trace(model, X).group("stem").taking == ("head",)
    error, cut = exactly_pruned(model, X)
    assert error < 1e-12
    assert len(cut.kept["stem.weight"][0]) == 4


@pytest.mark.parametrize("heads", [True, False])
def test_windows_lose_heads_or_width(heads):
    model = Windows().double()
    ts.prune(model, "stem", amount=0.5, heads=heads, example_inputs=X)
    assert (model.stem.out_features, model.heads) == ((4, 1) if heads else (4, 2))
    assert model(X).shape == (2, 3)


def test_windows_grow_exactly():
    model = Windows().double()
    before = model(X)
    ts.widen(model, "stem", 16, example_inputs=X)
    assert model.stem.out_features == 16
    assert torch.allclose(model(X), before, rtol=0, atol=1e-12)


class Told(Windows):
    """The same, with steps computed from an attribute."""

    def forward(self, x):
        h = self.stem(x)
        n, t = x.shape[0], x.shape[1]
        steps = (t * self.width, 3 * self.width, self.width, 1)
        return self.head(torch.as_strided(h, (n, 3, 6, self.width), steps).mean((1, 2)))


def test_an_attribute_that_steps_are_made_of_follows():
    model = Told().double()
    error, cut = exactly_pruned(model, X)
    assert error < 1e-12
    assert {(name.key, value) for name, value in cut.attributes.items()} >= {("width", 4)}


class Fixed(Windows):
    def __init__(self, take):
        super().__init__(width=8)
        self.take = take

    def forward(self, x):
        return self.head(self.take(self.stem(x)).flatten(1)[:, :1].expand(-1, self.width))


@pytest.mark.parametrize(
    ("take", "why"),
    [
        (lambda h: h.as_strided((2, 3, 6, 8), (96, 24, 8, 1)), "the code says 8"),
        (lambda h: h.as_strided((2, 3, 6, h.size(2)), (96, 24, 8, 1)), "the code says 96"),
        (lambda h: h.as_strided(h.size(), h.stride(), 0), "as_strided works by numbers"),
        (lambda h: h.transpose(1, 2)[:, ::2].as_strided((2, 4), (96, 2)), "as_strided works by numbers"),
        (lambda h: h.as_strided((2, 5, 4), (h.stride(0), 7, 2)), "as_strided"),
        (lambda h: h.as_strided((2, 3), (h.stride(0), 0)), "as_strided"),
        (lambda h: h.clone().as_strided_((2, 96), (96, 1)), "as_strided works by numbers"),
    ],
)
def test_what_is_not_understood_stays_and_says_why(take, why):
    model = Fixed(take).double()
    with pytest.raises(ts.CouplingError, match="cannot prune stem 8 → 4") as caught:
        ts.prune(model, "stem", amount=0.5, example_inputs=X)
    assert why in str(caught.value)


# --- entry by entry


@st.composite
def walks(draw):
    """A tensor without gaps whose axes lie in memory in some order, and ways through it.

    Each is (axis, how many at once, size); a size of None is the axis's own.
    """
    shape = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    order = draw(st.permutations(range(len(shape))))
    ways = draw(st.permutations([(i, 1, None) for i in range(len(shape))]))
    odd = st.tuples(st.integers(0, len(shape) - 1), st.integers(0, 3), st.integers(1, 3) | st.none())
    for way in draw(st.lists(odd, max_size=2)):
        at = draw(st.integers(0, len(ways)))
        ways[at : at + draw(st.integers(0, 1))] = [way]
    x = laid_out(torch.arange(math.prod(shape)).view(shape), order)
    reach = sum(k * x.stride(i) * ((x.shape[i] if n is None else n) - 1) for i, k, n in ways)
    assume(reach < x.numel())
    return x, order, ways


def laid_out(x, order):
    """The same tensor with its axes in memory in this order, the outermost first."""
    return x.permute(order).contiguous().permute([order.index(i) for i in range(x.dim())])


def walked(x, ways, size, stride):
    """What the code of a model would give: sizes and steps read off the tensor."""
    sizes = [size[i] if n is None else n for i, _, n in ways]
    return sizes, [k * stride[i] for i, k, _ in ways]


@given(walks(), st.lists(st.integers(0, 3), min_size=4, max_size=4), st.randoms(use_true_random=False))
def test_what_is_pruned_is_walked_as_before(walk, kinds, random):
    x, order, ways = walk
    record = Record()
    ledger = record.ledger
    axes = [ledger.fixed(n, "held") if kind == 0 else ledger.fresh(n) for n, kind in zip(x.shape, kinds, strict=False)]
    x._coupling = Notes(axes)
    size = [n if is_fixed(axis) else record.integers.length(axis) for n, axis in zip(x.shape, axes, strict=True)]
    said = walked(x, ways, size, strides_read(x, axes, record.integers))
    out = x.as_strided(*said)
    record.given = ("as_strided", (x, *said), {})
    as_strided(Call(record, torch.ops.aten.as_strided.default, "as_strided", ((x, *said), {}), [x], out))
    classes = solve(ledger)
    alive = np.array([True, *(random.random() < 0.6 for _ in range(classes.count - 1))])
    if len(classes.whole):
        alive[classes.whole] = (alive[classes.primes] | (classes.primes == 0)).all(1)
    left = [np.nonzero(alive[classes.of(axis)])[0] for axis in axes]
    assume(all(map(len, left)))
    known = {Length(i): int(alive[classes.of(axis)].sum()) for i, axis in enumerate(record.integers.lengths)}
    assume(all(evaluate(s.expression, known) == alive[classes.of(s.axis)].sum() for s in record.integers.sites))
    pruned = laid_out(x[np.ix_(*left)], order)
    again = [[evaluate(expression_of(value), known) for value in values] for values in said]
    expected = out[np.ix_(*(np.nonzero(alive[classes.of(axis)])[0] for axis in out._coupling.axes))]
    assert torch.equal(pruned.as_strided(*again), expected)
    event(f"axes that lost entries: {np.subtract(x.shape, pruned.shape).astype(bool).sum()}")


# --- the models that do so


def longformer():
    config = transformers.LongformerConfig(
        vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, pad_token_id=0, attention_window=8,
    )  # fmt: skip
    return transformers.LongformerForMaskedLM(config).eval()


def led():
    config = transformers.LEDConfig(
        vocab_size=96, d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
        encoder_attention_heads=4, decoder_attention_heads=4, max_encoder_position_embeddings=64,
        max_decoder_position_embeddings=64, attention_window=8, pad_token_id=0,
    )  # fmt: skip
    return transformers.LEDForConditionalGeneration(config).eval()


def tokens(build, attended):
    """Twelve tokens, so that they are padded to two windows; the first of them attends to all, if any does."""
    ids = torch.randint(5, 90, (2, 12))
    inputs = {"input_ids": ids, **({"decoder_input_ids": ids} if build is led else {})}
    if attended:
        inputs["global_attention_mask"] = torch.zeros_like(ids)
        inputs["global_attention_mask"][:, 0] = 1
    return inputs


def logits(answer):
    return answer.logits


@pytest.mark.parametrize("build", [longformer, led])
def test_models_with_windows_are_halved_throughout(build):
    torch.manual_seed(0)
    model, inputs = build(), tokens(build, attended=True)
    before = model(**inputs).logits
    plan = ts.plan(model, inputs).prune(amount=0.5, outputs=logits)
    assert not plan.planned[0].left
    done = plan.apply()
    assert done.after.params < 0.4 * done.before.params
    model(**inputs).logits.sum().backward()
    # With no token that attends to all, and with another length, too.
    assert model(**tokens(build, attended=False)).logits.shape == before.shape
    longer = {key: torch.cat([value, value, value], 1) for key, value in inputs.items()}
    assert model(**longer).logits.shape == (2, 36, 96)
    done.undo()
    assert torch.equal(model(**inputs).logits, before)


@pytest.mark.parametrize("build", [longformer, led])
def test_heads_of_windows_go_exactly(build):
    """Without normalisations, so that the stream may go exactly, which is as wide as all heads together."""
    torch.manual_seed(0)
    model, inputs = build().double(), tokens(build, attended=True)
    for module in list(model.modules()):
        for name, part in module.named_children():
            if isinstance(part, nn.LayerNorm):
                setattr(module, name, nn.Identity())
    coupling = ts.trace(model, inputs, outputs=logits)
    cut = choose(coupling, Wish(None, 0.5, None, importance.l2, exact=True), tensors_of(model)).cut
    layers = [name for name, _ in model.named_modules() if name.endswith(("value", "value_global"))]
    assert len(layers) == 4
    assert all(len(cut.kept[f"{name}.weight"][dim]) == 16 for name in layers for dim in (0, 1))
    done = ts.plan(model, inputs).then(Prune("", (), cut.kept, tuple(cut.attributes.items()))).apply()
    pruned = model(**inputs).logits
    done.undo()
    zero(model, cut.kept)
    expected = model(**inputs).logits
    assert (pruned - expected).abs().max() <= 1e-9 * expected.abs().max()


def test_what_no_token_attends_by_is_named():
    model = longformer()
    plan = ts.plan(model, tokens(longformer, attended=False)).prune(amount=0.5, outputs=logits)
    left = plan.planned[0].left
    assert {name.rpartition(".")[2] for name in left} == {"query_global", "key_global", "value_global"}
    assert all("not run on these inputs" in why for why in left.values())
