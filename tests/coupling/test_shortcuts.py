"""A shortcut answers what PyTorch's own shape function does, or nothing."""

import itertools

import pytest
import torch

from torchsurgery.coupling.shortcuts import IN_PLACE, SHORT


def meta(*shape, layout=torch.contiguous_format, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta", memory_format=layout)


def same(one, other):
    return (one.shape, one.dtype, one.stride()) == (other.shape, other.dtype, other.stride())


LAYOUTS = [torch.contiguous_format, torch.channels_last]
UNARY = [
    name for name in SHORT if name not in ("add", "sub", "mul", "div", "linear", "conv2d", "batch_norm", "layer_norm")
]


@pytest.mark.parametrize("name", sorted(UNARY))
@pytest.mark.parametrize("layout", LAYOUTS, ids=["rows", "channels last"])
def test_unary(name, layout):
    x = meta(2, 3, 4, 5, layout=layout)
    assert same(SHORT[name]((x,), {}), getattr(torch.ops.aten, name)(x))
    assert SHORT[name]((meta(2, 3).int(),), {}) is None


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_binary(name):
    operation = getattr(torch.ops.aten, name)
    for y in (meta(2, 3), 2, 0.5):
        assert same(SHORT[name]((meta(2, 3), y), {}), operation(meta(2, 3), y))
    for y in (meta(3), meta(2, 3).double(), meta(3, 2).t()):
        assert SHORT[name]((meta(2, 3), y), {}) is None


def test_in_place_answers_what_it_writes_to():
    x = meta(2, 3)
    assert IN_PLACE["add"]((x, meta(2, 3)), {}) is x
    assert IN_PLACE["add"]((x, meta(3)), {}) is None
    assert IN_PLACE["relu"]((x,), {}) is x


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 4), (2, 7, 4), (1, 2, 7, 4)])
def test_linear(shape, bias):
    args = (meta(*shape), meta(5, 4), meta(5) if bias else None)
    assert same(SHORT["linear"](args, {}), torch.ops.aten.linear(*args))


def test_linear_leaves_misfits_to_pytorch():
    for args in (
        (meta(2, 3), meta(5, 4)),
        (meta(4), meta(5, 4)),
        (meta(2, 4), meta(4)),
        (meta(2, 4).double(), meta(5, 4)),
    ):
        assert SHORT["linear"]((*args, None), {}) is None
    assert SHORT["linear"]((meta(2, 4), meta(5, 4), meta(6)), {}) is None


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    list(itertools.product([(1, 1), (2, 1)], [(0, 0), (1, 2)], [(1, 1), (2, 2)], [1, 2])),
)
def test_conv2d(stride, padding, dilation, groups):
    args = (meta(2, 4, 9, 8), meta(6, 4 // groups, 3, 3), meta(6), stride, padding, dilation, groups)
    assert same(SHORT["conv2d"](args, {}), torch.ops.aten.conv2d(*args))


def test_conv2d_leaves_misfits_to_pytorch():
    x, weight = meta(2, 4, 9, 8), meta(6, 4, 3, 3)
    assert same(SHORT["conv2d"]((x, weight), {}), torch.ops.aten.conv2d(x, weight))
    assert SHORT["conv2d"]((x, meta(6, 3, 3, 3)), {}) is None
    assert SHORT["conv2d"]((x, meta(6, 4, 10, 10)), {}) is None
    assert SHORT["conv2d"]((meta(2, 4, 9, 8, layout=torch.channels_last), weight), {}) is None
    assert SHORT["conv2d"]((meta(4, 9, 8), weight), {}) is None


def test_norms():
    x, c = meta(2, 3, 4), meta(3)
    args = (x, c, c, c, c, False, 0.1, 1e-5, True)
    assert same(SHORT["batch_norm"](args, {}), torch.ops.aten.batch_norm(*args))
    assert SHORT["batch_norm"]((x, c, c, c, c, True, 0.1, 1e-5, True), {}) is None
    assert SHORT["batch_norm"]((x, meta(4), c, c, c, False, 0.1, 1e-5, True), {}) is None
    args = (x, [4], meta(4), meta(4))
    assert same(SHORT["layer_norm"](args, {}), torch.ops.aten.layer_norm(*args))
    assert SHORT["layer_norm"]((x, [3], meta(3), None), {}) is None
