import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like

DOUBLE = {"dtype": torch.float64}


@st.composite
def attentions(draw):
    heads, each = draw(st.sampled_from([1, 2, 4])), draw(st.integers(1, 3))
    kdim, vdim = draw(st.sampled_from([None, 5])), draw(st.sampled_from([None, 3]))
    bias, first = draw(st.booleans()), draw(st.booleans())
    old = nn.MultiheadAttention(heads * each, heads, bias=bias, kdim=kdim, vdim=vdim, batch_first=first, **DOUBLE)
    if bias:
        nn.init.normal_(old.in_proj_bias)
    return old


def inputs(old, alone):
    widths = (old.embed_dim, old.kdim, old.vdim)
    lengths = (4, 6, 6)
    if alone:
        return [torch.randn(n, width, **DOUBLE) for n, width in zip(lengths, widths, strict=True)]
    shape = (lambda n: (3, n)) if old.batch_first else (lambda n: (n, 3))
    return [torch.randn(*shape(n), width, **DOUBLE) for n, width in zip(lengths, widths, strict=True)]


def masks(data, old, alone):
    """Of every kind; the first key is always attended to, so that no row is empty."""
    options = {}
    if data.draw(st.booleans()):
        padding = torch.rand(6) < 0.5 if alone else torch.rand(3, 6) < 0.5
        padding[..., 0] = False
        options["key_padding_mask"] = padding
    kind = data.draw(st.sampled_from(["none", "bool", "float", "per head"]))
    if kind != "none":
        count = old.num_heads * (1 if alone else 3)
        mask = torch.rand((count, 4, 6) if kind == "per head" else (4, 6)) < 0.4
        mask[..., 0] = False
        options["attn_mask"] = torch.randn(mask.shape, **DOUBLE) if kind == "float" else mask
    if "attn_mask" in options and options["attn_mask"].dtype != torch.bool and "key_padding_mask" in options:
        options["key_padding_mask"] = torch.zeros(options["key_padding_mask"].shape, **DOUBLE).masked_fill(
            options["key_padding_mask"], float("-inf")
        )
    return options


@settings(max_examples=100)
@given(attentions(), st.data(), st.booleans(), st.booleans(), st.booleans())
def test_the_same_with_every_mask(old, data, alone, weights, average):
    new = like(old, ts.SeparateAttention)
    q, k, v = inputs(old, alone)
    options = masks(data, old, alone) | {"need_weights": weights, "average_attn_weights": average}
    for training in (True, False):
        y, y_weights = old.train(training)(q, k, v, **options)
        z, z_weights = new.train(training)(q, k, v, **options)
        assert y.shape == z.shape and torch.allclose(y, z, rtol=1e-10, atol=1e-10)
        assert (z_weights is None) == (not weights)
        if weights:
            assert torch.allclose(y_weights, z_weights, rtol=1e-10, atol=1e-10)
    back = like(new, nn.MultiheadAttention)
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), old.parameters(), strict=True))


def test_true_is_what_is_not_attended_to():
    """What `scaled_dot_product_attention` means by True is the opposite."""
    old = nn.MultiheadAttention(4, 2, batch_first=True, **DOUBLE).eval()
    new, x = like(old, ts.SeparateAttention), torch.randn(1, 3, 4, **DOUBLE)
    hidden = torch.tensor([[False, True, True]])
    answer, _ = new(x, x, x, key_padding_mask=hidden, need_weights=False)
    alone, _ = new(x, x[:, :1], x[:, :1])
    assert torch.allclose(answer, alone)


def test_causal():
    old = nn.MultiheadAttention(4, 2, batch_first=True, **DOUBLE).eval()
    new, x = like(old, ts.SeparateAttention), torch.randn(1, 3, 4, **DOUBLE)
    mask = nn.Transformer.generate_square_subsequent_mask(3, dtype=torch.float64)
    for weights in (True, False):
        y = old(x, x, x, attn_mask=mask, is_causal=True, need_weights=weights)[0]
        assert torch.allclose(y, new(x, x, x, attn_mask=mask, is_causal=True, need_weights=weights)[0])
    with pytest.raises(RuntimeError, match="give both"):
        new(x, x, x, is_causal=True)


def test_what_it_states_and_refuses():
    assert convert(nn.MultiheadAttention(4, 2), ts.SeparateAttention).fidelity is Fidelity.EXACT
    assert convert(nn.MultiheadAttention(4, 2, dropout=0.1), ts.SeparateAttention).fidelity is Fidelity.EXACT_IN_EVAL
    with pytest.raises(ts.ConfigError, match="no add_bias_kv and no add_zero_attn"):
        convert(nn.MultiheadAttention(4, 2, add_bias_kv=True, add_zero_attn=True), ts.SeparateAttention)
    with pytest.raises(ValueError, match="3 heads"):
        ts.SeparateAttention(4, 3)


def test_in_a_transformer():
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, **DOUBLE), 2).eval()
    x, hidden = torch.randn(2, 5, 8, **DOUBLE), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    y = net(x, src_key_padding_mask=hidden)
    done = ts.replace(net, nn.MultiheadAttention, ts.SeparateAttention)
    z = net(x, src_key_padding_mask=hidden)
    assert torch.allclose(y[~hidden], z[~hidden], rtol=1e-10, atol=1e-10)
    ts.factorize(net, "**.q_proj", rank=2)
    assert net(x).shape == x.shape
    assert len(done.changes) > 2


def test_momentum_goes_along():
    old = nn.Sequential(nn.MultiheadAttention(4, 2))
    plan = ts.plan(old).replace(nn.MultiheadAttention, ts.SeparateAttention)
    assert all(origin.per_entry for origin in plan.changes[0].origins.values() if type(origin).__name__ == "Computed")


def test_other_arguments_are_not_exact():
    old = nn.MultiheadAttention(8, 2)
    for new in (nn.MultiheadAttention, ts.SeparateAttention):
        for asked, fidelity, remark in (
            ({"num_heads": 4}, Fidelity.APPROXIMATE, "another num_heads"),
            ({"batch_first": True}, Fidelity.APPROXIMATE, "time and batch are the other way round"),
            ({"bias": False}, Fidelity.APPROXIMATE, "another bias"),
        ):
            conversion = convert(old, new, asked)
            assert conversion.fidelity is fidelity and conversion.remarks == (remark,)
        assert convert(old, new, {"dropout": 0.3}).fidelity is Fidelity.EXACT_IN_EVAL
    separate = ts.SeparateAttention(8, 2, dropout=0.1)
    assert convert(separate, ts.SeparateAttention).fidelity is Fidelity.EXACT
    assert convert(separate, nn.MultiheadAttention, {"num_heads": 4}).fidelity is Fidelity.APPROXIMATE
