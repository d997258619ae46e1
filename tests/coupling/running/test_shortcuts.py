"""A shortcut answers what PyTorch's own shape function does, or nothing."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import flop_registry

from torchsurgery.coupling.running.hollow import dense_strides
from torchsurgery.coupling.running.shortcuts import IN_PLACE, MULTIPLYING, SHORT, broadcast_shape


def meta(*shape, layout=torch.contiguous_format, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta", memory_format=layout)


def last(*shape):
    return meta(*shape, layout=torch.channels_last)


def same(one, other):
    return (one.shape, one.dtype, one.stride()) == (other.shape, other.dtype, other.stride())


def answers(name, *args):
    """Whether the shortcut answers, and just as PyTorch does."""
    answer = SHORT[name](args, {})
    return answer is not None and same(answer, getattr(torch.ops.aten, name)(*args))


def real(value):
    if isinstance(value, list):
        return [real(item) for item in value]
    if not isinstance(value, torch.Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype).zero_()


def answers_as_computed(name, *args):
    """As `answers`, where PyTorch's shape function gives other strides than its kernel for CPUs."""

    return same(SHORT[name](args, {}), getattr(torch.ops.aten, name)(*map(real, args)))


def leaves(name, *args):
    return SHORT[name](args, {}) is None


UNARY = """relu gelu silu sigmoid tanh hardswish hardsigmoid hardtanh relu6 elu leaky_relu mish softplus exp neg rsqrt
    sqrt abs square log sin cos erf selu celu"""


@pytest.mark.parametrize("name", UNARY.split())
@pytest.mark.parametrize(
    "x", [meta(2, 3, 4, 5), last(2, 3, 4, 5), meta(2, 3, 4).transpose(0, 2)], ids=["rows", "channels last", "turned"]
)
def test_unary(name, x):
    assert answers(name, x)
    assert leaves(name, meta(2, 3).int())


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum"])
def test_binary(name):
    for y in (meta(2, 3), meta(3), meta(1), meta(4, 2, 3), meta(2, 1)):
        assert answers(name, meta(2, 3), y)
    assert answers(name, meta(2, 1), meta(3))
    assert answers(name, meta(3, 2).t(), meta(3, 2).t())
    for y in (meta(2, 3).double(), meta(2, 3).int(), meta(2, 4)):
        assert leaves(name, meta(2, 3), y)
    if name not in ("maximum", "minimum"):
        assert answers(name, meta(2, 3), 2) and answers(name, meta(2, 3), 0.5)
    assert leaves(name, meta(2, 3).int(), meta(2, 3).int())


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons(name):
    assert answers(name, meta(2, 3), 0) and answers(name, meta(2, 3), meta(2, 3))
    assert leaves(name, meta(2, 3), meta(3)) and leaves(name, meta(2, 3).int(), 0)


def test_powers():
    assert answers("pow", meta(2, 3), 2) and answers("pow", meta(2, 3), 0.5)
    assert leaves("pow", meta(2, 3), meta(2, 3)) and leaves("pow", 2, meta(2, 3))


def test_masks():
    x, mask = meta(2, 3), meta(2, 3, dtype=torch.bool)
    assert answers("masked_fill", x, mask, 0.0) and answers("masked_fill", x, mask[0], 0.0)
    assert leaves("masked_fill", x, meta(4, 2, 3, dtype=torch.bool), 0.0)


def test_dropout_and_softmax():
    x = meta(2, 3, 4)
    assert answers("dropout", x, 0.5, True) and answers("dropout", x, 0.5, False)
    assert answers("softmax", x, -1) and leaves("softmax", x, -1, torch.float64)


def test_in_place_answers_what_it_writes_to():
    x = meta(2, 3)
    assert IN_PLACE["add"]((x, meta(2, 3)), {}) is x
    assert IN_PLACE["add"]((x, meta(3)), {}) is None
    assert IN_PLACE["relu"]((x,), {}) is x


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("x", [meta(2, 4), meta(2, 7, 4), meta(1, 2, 7, 4), meta(2, 4, 7).transpose(1, 2)])
def test_linear(x, bias):
    assert answers("linear", x, meta(5, 4), meta(5) if bias else None)


def test_linear_leaves_misfits_to_pytorch():
    for x, weight in (
        (meta(2, 3), meta(5, 4)),
        (meta(4), meta(5, 4)),
        (meta(2, 4), meta(4)),
        (meta(2, 4).double(), meta(5, 4)),
    ):
        assert leaves("linear", x, weight, None)
    assert leaves("linear", meta(2, 4), meta(5, 4), meta(6))


def test_matmul():
    assert answers("matmul", meta(2, 3), meta(3, 4))
    assert answers("matmul", meta(5, 2, 3), meta(5, 4, 3).transpose(1, 2))
    for y in (meta(3), meta(4, 3), meta(5, 3, 4), meta(3, 4).double()):
        assert leaves("matmul", meta(2, 3), y)


@pytest.mark.parametrize("picture", [meta, last])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    list(itertools.product([(1, 1), (2, 1)], [(0, 0), (1, 2)], [(1, 1), (2, 2)], [1, 2])),
)
def test_conv2d(picture, stride, padding, dilation, groups):
    assert answers_as_computed(
        "conv2d", picture(2, 4, 9, 8), meta(6, 4 // groups, 3, 3), meta(6), stride, padding, dilation, groups
    )


def test_conv2d_leaves_misfits_to_pytorch():
    x, weight = meta(2, 4, 9, 8), meta(6, 4, 3, 3)
    assert answers("conv2d", x, weight)
    assert leaves("conv2d", x, meta(6, 3, 3, 3))
    assert leaves("conv2d", x, meta(6, 4, 10, 10))
    assert leaves("conv2d", meta(4, 9, 8), weight)


def test_attention():
    def heads(length, width, number=3):
        return meta(2, length, number, width).transpose(1, 2)

    assert answers_as_computed("scaled_dot_product_attention", heads(5, 4), heads(7, 4), heads(7, 4))
    assert leaves("scaled_dot_product_attention", heads(5, 4), heads(7, 4), heads(7, 4), None, 0.5)
    assert leaves("scaled_dot_product_attention", meta(5, 4), meta(7, 4), meta(7, 4))


@pytest.mark.parametrize("x", [meta(2, 3, 4), last(2, 3, 4, 5)])
def test_norms(x):
    c = meta(3)
    assert answers("batch_norm", x, c, c, c, c, False, 0.1, 1e-5, True)
    assert leaves("batch_norm", x, meta(4), c, c, c, False, 0.1, 1e-5, True)
    width = x.shape[-1]
    assert answers("layer_norm", x, [width], meta(width), meta(width))
    assert leaves("layer_norm", x, [3], meta(3), None)


def test_permute():
    assert answers("permute", meta(2, 3, 4), [2, 0, 1]) and answers("permute", last(2, 3, 4, 5), [0, 2, 3, 1])


def test_cat():
    for tensors in ([meta(2, 3), meta(2, 5)], [last(2, 3, 4, 5)] * 2, [last(2, 3, 4, 5), meta(2, 3, 4, 5)]):
        assert answers("cat", tensors, 1)
    assert answers("cat", [meta(2, 3, 4)] * 3, -1)
    for tensors in ([meta(2, 3), meta(3, 3)], [meta(2, 3), meta(2, 3).double()]):
        assert leaves("cat", tensors, 1)


@pytest.mark.parametrize("name", ["mean", "sum", "amax", "amin"])
def test_reductions(name):
    for dims in ([1], [0, 2], [-1]):
        assert answers(name, meta(2, 3, 4), dims) and answers(name, meta(2, 3, 4), dims, True)
        assert answers_as_computed(name, meta(4, 2, 3).permute(1, 2, 0), dims)
    assert leaves(name, meta(2, 3), []) and leaves(name, meta(2, 3).int(), [1]) and leaves(name, meta(2, 3))


@pytest.mark.parametrize("picture", [meta, last])
def test_upsampling(picture):
    x = picture(2, 3, 4, 5)
    assert answers("upsample_bilinear2d", x, [8, 9], False, None)
    assert answers("upsample_bilinear2d", x, None, False, [2.0, 1.5])
    assert answers("upsample_nearest2d", x, None, [2.0, 2.0])
    assert leaves("upsample_nearest2d", meta(3, 4, 5), None, [2.0, 2.0])


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(shapes, shapes)
def test_shapes_meet_as_in_pytorch(one, other):
    try:
        expected = list(torch.broadcast_shapes(one, other))
    except RuntimeError:
        expected = None
    assert broadcast_shape(one, other) == expected


@given(shapes, st.randoms())
def test_strides_are_those_of_a_dense_copy(shape, random):
    order = random.sample(range(len(shape)), len(shape))
    x = torch.empty([n + 1 for n in shape]).permute(order)
    sliced = x[tuple(slice(n - 1) for n in x.shape)]
    copy = torch.empty_like(sliced)
    own = torch.empty_strided(sliced.shape, dense_strides(sliced.shape, sliced.stride()))
    assert [s for s, n in zip(own.stride(), own.shape, strict=True) if n > 1] == [
        s for s, n in zip(copy.stride(), copy.shape, strict=True) if n > 1
    ]


def test_group_norm():
    for x in (meta(2, 6, 4, 4), last(2, 6, 4, 4), meta(2, 6, 5)):
        assert answers_as_computed("group_norm", x, 3, meta(6), meta(6), 1e-5, True)
        assert answers_as_computed("group_norm", x, 3)
    assert leaves("group_norm", meta(2, 6, 4, 4), 3, meta(6).double()) and leaves("group_norm", meta(2, 6), 3)
    assert leaves("group_norm", meta(2, 6, 4, 4), 3, meta(3), meta(3))


@pytest.mark.parametrize("x", [meta(2, 3, 9, 8), last(2, 3, 9, 8)], ids=["rows", "channels last"])
def test_pooling(x):
    for size in ([1, 1], [3, 2]):
        assert answers_as_computed("adaptive_avg_pool2d", x, size)
    for kernel, *rest in (([3, 3],), ([3, 3], [2, 2], [1, 1]), ([2], [1], [0]), ([3, 2], [], [1])):
        assert answers_as_computed("max_pool2d", x, kernel, *rest)
        assert answers_as_computed("avg_pool2d", x, kernel, *rest)
    assert answers_as_computed("max_pool2d", x, [3, 3], [2, 2], [1, 1], [2, 2])
    for kernel, step, pad in (([3, 3], [2, 2], [1, 1]), ([2, 2], [2, 2], [0, 0]), ([3, 2], [3, 3], [1, 1])):
        assert answers_as_computed("max_pool2d", x, kernel, step, pad, [1, 1], True)
        assert answers_as_computed("avg_pool2d", x, kernel, step, pad, True, False)
    for name in ("max_pool2d", "avg_pool2d"):
        assert (
            leaves(name, x, [12, 12])
            and leaves(name, x, [2, 2], [1, 1], [2, 2])
            and leaves(name, meta(3, 9, 8), [2, 2])
        )
    assert leaves("adaptive_avg_pool2d", meta(3, 9, 8), [1, 1])


def all_the_same(name, *args):
    real = [torch.ones(a.shape, dtype=a.dtype) if isinstance(a, torch.Tensor) else a for a in args]
    pairs = zip(SHORT[name](args, {}), getattr(torch.ops.aten, name)(*real), strict=True)
    return all(same(one, other) for one, other in pairs)


def test_normalisations_as_they_arrive_outside_of_inference_mode():
    x, c = meta(2, 6, 4, 4), meta(6)
    assert all_the_same("native_batch_norm", x, c, c, c, c, False, 0.1, 1e-5)
    assert all_the_same("_native_batch_norm_legit_no_training", x, c, c, c, c, 0.1, 1e-5)
    assert all_the_same("native_layer_norm", x, [4], meta(4), meta(4), 1e-5)
    assert all_the_same("native_layer_norm", x, [4, 4], None, None, 1e-5)
    assert leaves("native_batch_norm", x, c, c, c, c, True, 0.1, 1e-5)
    assert leaves("native_layer_norm", x.bfloat16(), [4], None, None, 1e-5)
    assert leaves("native_layer_norm", x, [5], None, None, 1e-5)


def test_what_multiplies_is_what_pytorch_counts():
    counted = {packet.__name__ for packet in flop_registry if isinstance(packet, torch._ops.OpOverloadPacket)}
    assert counted & SHORT.keys() <= MULTIPLYING
    assert SHORT.keys() >= MULTIPLYING
    assert not counted & IN_PLACE.keys()


@pytest.mark.parametrize("turned", [False, True])
def test_attention_of_fewer_keys_than_queries(turned):
    def heads(count):
        return meta(2, 5, count, 8).transpose(1, 2) if turned else meta(2, count, 5, 8)

    def real(tensor):
        return torch.empty_strided(tensor.shape, tensor.stride())

    query, key = heads(4), heads(2)
    expected = nn.functional.scaled_dot_product_attention(real(query), real(key), real(key), enable_gqa=True)
    short = SHORT["scaled_dot_product_attention"]
    assert same(short((query, key, key), {"enable_gqa": True}), expected)
    assert short((query, heads(3), heads(3)), {"enable_gqa": True}) is None
    assert short((query, key, heads(4)), {"enable_gqa": True}) is None


def test_rows_of_a_table():
    assert answers("embedding", meta(7, 4), meta(2, 3, dtype=torch.int64))
    assert answers("embedding", meta(7, 4), meta(dtype=torch.int64))


def test_nothing_is_laid_end_to_end_with_something():
    assert answers("cat", [meta(0), meta(2, 3, 4, 5), meta(2, 3, 1, 5)], -2)
    assert answers("cat", [meta(0), last(2, 3, 4, 5)], 1) and answers("cat", [meta(2, 3), meta(0)], 1)
    assert leaves("cat", [meta(0)], 0) and leaves("cat", [meta(0).double(), meta(2, 3)], 0)


def test_products_of_matrices():
    x, y = meta(2, 3), meta(3, 4)
    assert answers("mm", x, y) and answers("addmm", meta(4), x, y) and answers("addmm", meta(2, 4), x, y.t().t())
    x, y = meta(5, 2, 3), meta(5, 3, 4)
    assert answers("bmm", x, y) and answers("baddbmm", meta(5, 1, 4), x, y)
    assert answers("bmm", x, meta(5, 4, 3).transpose(1, 2))
    assert leaves("addmm", meta(4).double(), meta(2, 3), meta(3, 4)) and leaves("bmm", x, meta(5, 4, 4))
    assert leaves("addmm", meta(3), meta(2, 3), meta(3, 4)) and leaves("mm", meta(2, 3).int(), meta(3, 4).int())
    assert SHORT["addmm"]((meta(4), meta(2, 3), meta(3, 4)), {"beta": 2}) is None


@pytest.mark.parametrize("x", [meta(2, 3, 4, 5), last(2, 3, 4, 5), meta(2, 3, 4), meta(2, 4, 3).transpose(1, 2)])
def test_normalisations_by_what_they_are_given(x):
    c = meta(3)
    assert answers_as_computed("batch_norm", x, c, c, c, c, True, 0.1, 1e-5, True)
    assert answers_as_computed("batch_norm", x, None, None, None, None, True, 0.1, 1e-5, True)
    assert answers_as_computed("instance_norm", x, c, c, None, None, True, 0.1, 1e-5, True)
    assert leaves("batch_norm", meta(2, 3, 4, 6)[..., ::2], c, c, c, c, True, 0.1, 1e-5, True)
    assert leaves("instance_norm", meta(2, 3), None, None, None, None, True, 0.1, 1e-5, True)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn_tanh"])
@pytest.mark.parametrize(("batch_first", "bidirectional", "layers"), list(itertools.product([False, True], repeat=3)))
def test_recurrent_layers(name, batch_first, bidirectional, layers):
    gates = {"lstm": 4, "gru": 3, "rnn_tanh": 1}[name]
    directions, layers = 1 + bidirectional, 1 + layers
    sizes = [4] * directions + [6 * directions] * (directions * (layers - 1))
    params = [part for size in sizes for part in (meta(gates * 6, size), meta(gates * 6, 6), *[meta(gates * 6)] * 2)]
    state = meta(layers * directions, 3, 6)
    states = [state, state] if name == "lstm" else state
    x = meta(3, 5, 4) if batch_first else meta(5, 3, 4)
    args = (x, states, params, True, layers, 0.0, False, bidirectional, batch_first)
    expected = getattr(torch.ops.aten, name)(*map(real, args))
    for one, other in zip(SHORT[name](args, {}), expected, strict=True):
        assert same(one, other)
    assert leaves(name, x.double(), *args[1:]) and leaves(name, x[0], *args[1:])


def test_convolutions_of_sequences():
    for x in (meta(2, 4, 9), meta(2, 9, 4).transpose(1, 2)):
        for rest in ((), (None, [2], [1], [2], 2)):
            groups = rest[-1] if rest else 1
            assert answers_as_computed("conv1d", x, meta(6, 4 // groups, 3), *rest)
    assert leaves("conv1d", meta(4, 9), meta(6, 4, 3))


def test_norms_of_vectors():
    for dims in ([1], [-1], [0, 2]):
        assert answers("linalg_vector_norm", meta(2, 3, 4), 2, dims)
        assert answers_as_computed("linalg_vector_norm", meta(2, 4, 3).transpose(1, 2), 2, dims, True)
    assert leaves("linalg_vector_norm", meta(2, 3)) and answers("linalg_vector_norm", last(2, 3, 4, 5), 2, [1])


def test_stacks():
    for dim in (0, 1, -1):
        assert answers_as_computed("stack", [meta(2, 3), meta(2, 3)], dim)
    assert answers_as_computed("stack", [meta(2, 3)])
    assert leaves("stack", [meta(2, 3), meta(3, 2).t()], 0) and leaves("stack", [meta(2).int()], 0)


def test_rows_by_their_numbers():
    numbers = meta(3, 4, dtype=torch.int64)
    assert answers_as_computed("index", meta(7, 5), [numbers]) and answers_as_computed("index", meta(7), [numbers])
    assert answers_as_computed("index", meta(7, 2, 3), [meta(dtype=torch.int64)])
    assert leaves("index", meta(7, 5), [None, numbers]) and leaves("index", meta(7, 5), [numbers, numbers])
    assert leaves("index", meta(7, 5).t(), [numbers]) and leaves("index", meta(7), [meta(7, dtype=torch.bool)])


@pytest.mark.parametrize("picture", [meta, last])
def test_pictures_sampled_by_a_grid(picture):
    assert answers_as_computed("grid_sampler", picture(2, 3, 9, 8), meta(2, 4, 5, 2), 0, 0, False)
    assert leaves("grid_sampler", picture(2, 3, 9, 8), meta(1, 4, 5, 2), 0, 0, False)


@pytest.mark.parametrize("turned", [False, True])
def test_attention_with_one_head_of_keys(turned):
    query = meta(2, 5, 4, 8).transpose(1, 2) if turned else meta(2, 4, 5, 8)
    key = meta(2, 1, 7, 8)
    assert answers_as_computed("scaled_dot_product_attention", query, key, key)
    assert leaves("scaled_dot_product_attention", query, key, meta(2, 1, 7, 6))
