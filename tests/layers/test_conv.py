import copy
import pickle

import pytest
import torch
from holding import converted, difference, hold, relative
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from torchsurgery.errors import ConfigError
from torchsurgery.layers.arguments import divisor
from torchsurgery.layers.conv import CONVS, TRANSPOSED
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like
from torchsurgery.layers.padded import PADDED, PaddedConv1d, PaddedConv2d
from torchsurgery.origins import Computed, Initialised, Same


def signals(axes, channels=4, size=15):
    generator = torch.Generator().manual_seed(5)
    sizes = [size + axis for axis in range(axes)]
    return torch.randn(2, channels, *sizes, dtype=torch.float64, generator=generator)


@st.composite
def convolutions(draw, families=(CONVS,)):
    axes = draw(st.integers(1, 3))

    def each(values):
        return tuple(draw(st.sampled_from(values)) for _ in range(axes))

    family = draw(st.sampled_from(families))
    stride, padding = each([1, 1, 2, 3]), each([0, 1, 2])
    mode = "zeros" if family is TRANSPOSED else draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    extra = {}
    if family is TRANSPOSED:
        extra["output_padding"] = tuple(draw(st.integers(0, s - 1)) for s in stride)
    elif draw(st.integers(0, 3)) == 0:
        padding = draw(st.sampled_from(["same", "valid"]))
        stride = (1,) * axes if padding == "same" else stride
    return family[axes - 1](
        4,
        8,
        each([1, 2, 3, 4, 5]),
        stride,
        padding,
        dilation=each([1, 1, 2, 3]),
        groups=draw(st.sampled_from([1, 2, 4])),
        bias=draw(st.booleans()),
        padding_mode=mode,
        dtype=torch.float64,
        **extra,
    )


kernels = st.one_of(st.integers(1, 6), st.tuples(*[st.integers(1, 6)] * 3))


def sized(kernel, old):
    return kernel[: len(old.kernel_size)] if isinstance(kernel, tuple) else kernel


# --- kernel sizes


@settings(max_examples=100)
@given(convolutions(), kernels)
def test_another_kernel_keeps_the_shape_and_what_it_says(old, kernel):
    x = signals(len(old.kernel_size))
    conversion, new = converted(old, type(old), kernel_size=sized(kernel, old))
    try:
        y, z = old(x), new(x)
    except RuntimeError:
        assume(False)  # a border wider than the signal
    assert y.shape == z.shape
    assert new.stride == old.stride and new.dilation == old.dilation and new.groups == old.groups
    grows = all(new_size >= size for new_size, size in zip(new.kernel_size, old.kernel_size, strict=True))
    assert (conversion.fidelity is Fidelity.EXACT) == grows
    if grows:
        assert torch.allclose(y, z, rtol=1e-10, atol=1e-10)
    else:
        assert conversion.remarks[0].startswith("drops ")


@settings(max_examples=60)
@given(convolutions([TRANSPOSED]), st.integers(1, 7))
def test_another_kernel_of_a_transposed_convolution(old, kernel):
    x = signals(len(old.kernel_size), size=5)
    try:
        conversion, new = converted(old, type(old), kernel_size=kernel)
    except ConfigError as refusal:
        assert kernel not in refusal.expected and set(old.kernel_size) & set(refusal.expected)
        return
    assert old(x).shape == new(x).shape
    if all(kernel >= size for size in old.kernel_size):
        assert conversion.fidelity is Fidelity.EXACT and difference(old, new, x) < 1e-10


def test_one_by_one_becomes_three_by_three():
    old = nn.Conv2d(2, 3, 1, stride=2)
    conversion, new = converted(old, nn.Conv2d, kernel_size=3)
    assert (new.kernel_size, new.stride, new.padding) == ((3, 3), (2, 2), (1, 1))
    expected = torch.zeros(3, 2, 3, 3)
    expected[:, :, 1, 1] = old.weight[:, :, 0, 0].detach()
    assert torch.equal(new.weight, expected) and new.bias is old.bias
    assert conversion.origins["weight"].what == "zero-padded from 1×1 to 3×3" and conversion.origins["weight"].per_entry


def test_a_smaller_kernel_says_what_it_drops():
    old = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        old.weight.copy_(torch.tensor([[0.0, 0, 0], [3, 4, 0], [0, 0, 0]]).reshape(1, 1, 3, 3))
    conversion, new = converted(old, nn.Conv2d, kernel_size=1)
    assert conversion.remarks == ("drops 8 of 9 taps, 36 % of the kernel's energy",)
    assert conversion.error == pytest.approx(0.6) and new.weight.item() == 4 and new.padding == (0, 0)


def test_the_error_of_a_smaller_kernel_is_that_of_white_noise():
    old = nn.Conv2d(8, 16, 5, padding=2, bias=False, dtype=torch.float64)
    conversion, new = converted(old, nn.Conv2d, kernel_size=3)
    x = torch.randn(8, 8, 64, 64, dtype=torch.float64)
    assert relative(old, new, x) == pytest.approx(conversion.error, rel=0.03)


def test_cutting_off_zeros_is_exact():
    old = nn.Conv2d(3, 4, 3, padding=1)
    grown = like(old, nn.Conv2d, kernel_size=7)
    conversion, back = converted(grown, nn.Conv2d, kernel_size=3)
    assert conversion.fidelity is Fidelity.EXACT and torch.equal(back.weight, old.weight) and back.padding == (1, 1)


@pytest.mark.parametrize(
    ("kernel", "padding", "mode", "new_kernel", "expected"),
    [
        (3, 1, "zeros", 5, (2, 2)),
        (3, 1, "zeros", 4, "same"),
        (2, "same", "zeros", 3, "same"),
        (3, "same", "circular", 6, "same"),
        ((3, 1), (1, 0), "reflect", 3, (1, 1)),
        (3, "valid", "zeros", 5, (1, 1)),
    ],
)
def test_padding_follows(kernel, padding, mode, new_kernel, expected):
    old = nn.Conv2d(2, 2, kernel, padding=padding, padding_mode=mode)
    new = like(old, nn.Conv2d, kernel_size=new_kernel)
    assert type(new) is nn.Conv2d and new.padding == expected and new.padding_mode == mode
    assert difference(old, new, torch.randn(1, 2, 9, 9)) < 1e-5


@pytest.mark.parametrize(
    ("old", "kernel", "pads"),
    [
        (nn.Conv2d(2, 2, 3, stride=2, padding=1), 4, ((1, 2), (1, 2))),
        (nn.Conv2d(2, 2, 2), 3, ((0, 1), (0, 1))),
        (nn.Conv2d(2, 2, 3), 1, ((-1, -1), (-1, -1))),
        (nn.Conv1d(2, 2, 2, dilation=2), 3, ((0, 2),)),
    ],
)
def test_pads_of_their_own_where_torch_has_none(old, kernel, pads):
    conversion, new = converted(old, type(old), kernel_size=kernel)
    assert conversion.fidelity is (Fidelity.APPROXIMATE if kernel == 1 else Fidelity.EXACT)
    assert isinstance(new, PADDED) and isinstance(new, type(old)) and new.pads == pads
    assert new.kernel_size == (kernel,) * len(pads) and new.state_dict().keys() == old.state_dict().keys()


# --- the padding that the user gives


def test_given_padding_is_taken_and_judged():
    old = nn.Conv2d(2, 2, 3, padding=1, dtype=torch.float64)
    exact, _ = hold(old, nn.Conv2d, signals(2, 2), kernel_size=5, padding=2)
    assert exact.fidelity is Fidelity.EXACT
    other, new = converted(old, nn.Conv2d, kernel_size=5, padding=0)
    assert other.fidelity is Fidelity.APPROXIMATE and "the output has another shape" in other.remarks
    assert new.padding == 0 or new.padding == (0, 0)


def test_same_and_numbers_are_one_thing():
    old = nn.Conv2d(2, 2, 3, padding="same", dtype=torch.float64)
    assert hold(old, nn.Conv2d, signals(2, 2), padding=1)[0].fidelity is Fidelity.EXACT
    assert hold(old, nn.Conv2d, signals(2, 2), padding="same")[0].fidelity is Fidelity.EXACT
    assert converted(old, nn.Conv2d, padding="valid")[0].fidelity is Fidelity.APPROXIMATE


def test_stride_and_padding_mode_only_when_asked():
    old = nn.Conv2d(2, 2, 3, padding=1)
    strided, new = converted(old, nn.Conv2d, stride=2)
    assert strided.fidelity is Fidelity.APPROXIMATE and new.stride == (2, 2) and new.weight is old.weight
    mirrored, new = converted(old, nn.Conv2d, padding_mode="reflect")
    assert mirrored.remarks == ("the border is reflect, not zeros",) and new.weight is old.weight
    assert converted(nn.Conv2d(2, 2, 3), nn.Conv2d, padding_mode="reflect")[0].fidelity is Fidelity.EXACT


# --- dilation


def test_another_dilation_spreads_the_taps_and_keeps_the_shape():
    old = nn.Conv2d(2, 2, 3, padding=1)
    conversion, new = converted(old, nn.Conv2d, dilation=2)
    assert (new.dilation, new.padding) == ((2, 2), (2, 2)) and new.weight is old.weight
    assert conversion.fidelity is Fidelity.APPROXIMATE and conversion.error is None


def test_a_dilated_kernel_as_a_dense_one():
    old = nn.Conv2d(2, 3, 3, padding=2, dilation=2, dtype=torch.float64)
    conversion, new = hold(old, nn.Conv2d, signals(2, 2), kernel_size=5, dilation=1)
    assert conversion.fidelity is Fidelity.EXACT and new.padding == (2, 2)
    assert torch.equal(new.weight[:, :, ::2, ::2], old.weight)


# --- groups and channels


@settings(max_examples=40)
@given(convolutions([CONVS, TRANSPOSED]), st.sampled_from([1, 2, 4]))
def test_groups_merge_exactly(old, groups):
    conversion, new = converted(old, type(old), groups=groups)
    assert new.groups == groups
    if old.groups % groups == 0:
        assert conversion.fidelity is Fidelity.EXACT and difference(old, new, signals(len(old.kernel_size))) < 1e-10
        back, again = converted(new, type(old), groups=old.groups)
        assert back.fidelity is Fidelity.EXACT and torch.equal(again.weight, old.weight)
    else:
        assert conversion.fidelity is Fidelity.INITIALISED and conversion.origins["weight"] == Initialised(
            f"groups {old.groups} → {groups}"
        )


@settings(max_examples=40)
@given(
    st.integers(0, 2), st.booleans(), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3, 5]), st.booleans()
)
def test_other_channels_go_on_where_they_were(axes, turned, new_in, new_out, kernel, bias):
    cls = (TRANSPOSED if turned else CONVS)[axes]
    old = cls(3, 4, 3, padding=1, bias=bias, dtype=torch.float64)
    conversion, new = converted(old, cls, in_channels=new_in, out_channels=new_out, kernel_size=kernel)
    if new_out < 4:
        assert conversion.fidelity is Fidelity.INITIALISED and conversion.lost == (
            ("weight", "bias") if bias else ("weight",)
        )
        return
    sizes, kept = [6] * (axes + 1), 4
    x = torch.randn(2, min(3, new_in), *sizes, dtype=torch.float64)
    if new_in == 1:
        y, z = old(x.expand(-1, 3, *sizes)), new(x)
    else:
        y = old(torch.cat([x, x.new_zeros(2, 3 - x.shape[1], *sizes)], 1))
        z = new(torch.cat([x, torch.randn(2, new_in - x.shape[1], *sizes, dtype=torch.float64)], 1))
    if kernel >= 3:
        assert torch.allclose(y[:, :kept], z[:, :kept], rtol=1e-10, atol=1e-10)
        worst = Fidelity.INITIALISED if new_out > 4 else Fidelity.APPROXIMATE if new_in == 2 else Fidelity.EXACT
        assert conversion.fidelity is worst
    assert new.weight.shape[:2] == ((new_in, new_out) if turned else (new_out, new_in))
    assert all(p.isfinite().all() for p in new.parameters())


def test_what_is_said_of_other_channels():
    old = nn.Conv2d(3, 8, 3, padding=1)
    conversion, new = converted(old, nn.Conv2d, in_channels=4)
    assert new.bias is old.bias and new.padding == (1, 1) and torch.equal(new.weight[:, :3], old.weight)
    assert conversion.origins["weight"].what == "zeros for 1 more inputs" and conversion.origins["bias"] == Same("bias")
    assert conversion.remarks == ("the new channels count for nothing until trained",)
    conversion, new = converted(old, nn.Conv2d, out_channels=16)
    assert conversion.origins["bias"].what == "8 rows carried, 8 initialised" and not conversion.lost
    assert conversion.remarks == ("the first 8 outputs go on, of 16",)
    grouped = converted(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d, in_channels=6)[0]
    assert grouped.origins["weight"] == Initialised("other channels in groups")
    assert convert(nn.Conv2d(4, 8, 3, bias=False), nn.Conv2d, {"out_channels": 9, "bias": True}).remarks


def test_a_bias_comes_as_zero():
    old = nn.Conv2d(2, 4, 3, bias=False, dtype=torch.float64)
    conversion, new = hold(old, nn.Conv2d, signals(2, 2), bias=True)
    assert conversion.fidelity is Fidelity.EXACT and torch.equal(new.bias, torch.zeros(4, dtype=torch.float64))
    gone, _ = converted(new, nn.Conv2d, bias=False)
    assert gone.fidelity is Fidelity.APPROXIMATE and gone.lost == ("bias",)


# --- dimensions


@pytest.mark.parametrize("axes", [(1, 2), (1, 3), (2, 3)])
def test_more_axes_are_exact_in_each_slice(axes):
    low, high = axes
    old = CONVS[low - 1](2, 4, 3, stride=2, padding=1, dtype=torch.float64)
    x = signals(high, 2)
    conversion, new = converted(old, CONVS[high - 1])
    assert conversion.fidelity is Fidelity.EXACT and new.kernel_size == (1,) * (high - low) + (3,) * low
    index = (slice(None), slice(None), *[3] * (high - low))
    assert torch.allclose(new(x)[index], old(x[index]), rtol=1e-10, atol=1e-10)
    back, again = converted(new, CONVS[low - 1])
    assert back.fidelity is Fidelity.EXACT and torch.equal(again.weight, old.weight)


def test_fewer_axes_hold_where_the_input_is_constant():
    old = nn.Conv2d(2, 4, 3, padding=1, dtype=torch.float64)
    conversion, new = converted(old, nn.Conv1d)
    assert conversion.fidelity is Fidelity.APPROXIMATE and "constant" in conversion.remarks[-1]
    x = torch.randn(1, 2, 1, 9, dtype=torch.float64)
    assert torch.allclose(old(x.expand(1, 2, 5, 9))[:, :, 2], new(x[:, :, 0]), rtol=1e-10, atol=1e-10)


def test_kernel_size_counts_for_all_axes_of_the_new_layer():
    conversion, new = converted(nn.Conv2d(2, 4, 1), nn.Conv3d, kernel_size=3)
    assert new.kernel_size == (3, 3, 3) and new.padding == (1, 1, 1) and conversion.fidelity is Fidelity.EXACT


# --- PaddedConv


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_padded_convolution_pads_and_crops(mode):
    torch.manual_seed(0)
    new = PaddedConv2d(2, 3, 3, ((1, 2), (-1, 0)), padding_mode=mode, dtype=torch.float64)
    plain = nn.Conv2d(2, 3, 3, dtype=torch.float64)
    plain.load_state_dict(new.state_dict())
    x = signals(2, 2)
    padded = nn.functional.pad(x[..., 1:], (0, 0, 1, 2), "constant" if mode == "zeros" else mode)
    assert torch.allclose(new(x), plain(padded), rtol=1e-10, atol=1e-10)


def test_padded_convolution_copies_pickles_and_prints():
    new = like(nn.Conv2d(2, 2, 3, stride=2, padding=1), nn.Conv2d, kernel_size=4)
    assert repr(new) == "PaddedConv2d(2, 2, kernel_size=(4, 4), stride=(2, 2), pads=((1, 2), (1, 2)))"
    x = torch.randn(1, 2, 8, 8)
    for other in (copy.deepcopy(new), pickle.loads(pickle.dumps(new)), like(new, PaddedConv2d, bias=True)):
        assert torch.equal(other(x), new(x)) and other.pads == new.pads
    with pytest.raises(ValueError, match="each of 1 axes"):
        PaddedConv1d(1, 1, 3, ((1, 1), (1, 1)))


def test_padded_convolution_goes_back_to_torch():
    old = nn.Conv2d(2, 2, 3, stride=2, padding=1)
    padded = like(old, nn.Conv2d, kernel_size=4)
    conversion, new = converted(padded, nn.Conv2d, kernel_size=3)
    assert type(new) is nn.Conv2d and new.padding == (1, 1) and conversion.fidelity is Fidelity.EXACT
    assert torch.equal(new.weight, old.weight)


# --- subclasses


class Own(nn.Conv2d):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding=1)


def test_a_subclass_that_takes_less_is_not_called_exact():
    conversion, _ = converted(nn.Conv2d(2, 2, 3, padding=1, stride=2), Own)
    assert conversion.fidelity is Fidelity.EXACT
    conversion, _ = converted(nn.Conv2d(2, 2, 3, padding=0), Own)
    assert conversion.fidelity is Fidelity.APPROXIMATE and "padding=(0, 0)" in conversion.dropped


def test_a_subclass_can_not_be_padded_by_us():
    class Plain(nn.Conv2d):
        pass

    with pytest.raises(ConfigError, match="even number"):
        convert(nn.Conv2d(2, 2, 3, stride=2, padding=1), Plain, {"kernel_size": 4})


# --- refusals


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"kernel_size": (3, 3, 3)}, "2 axes"),
        ({"kernel_size": 0}, "at least 1"),
        ({"kernel_size": 2.5}, "at least 1"),
        ({"kernel_size": (3, True)}, "at least 1"),
        ({"stride": 0}, "at least 1"),
        ({"padding": -1}, "at least 0"),
        ({"padding": "some"}, "'same', 'valid'"),
        ({"padding": "same", "stride": 2}, "leave the padding out"),
        ({"padding_mode": "mirror"}, "'reflect'"),
        ({"groups": 3}, "1, 2, 4"),
        ({"kernel_sise": 3}, "kernel_size"),
        ({"device": "cpu"}, "follows the old layer"),
    ],
)
def test_refused_before_building(overrides, words):
    with pytest.raises(ConfigError, match=words):
        convert(nn.Conv2d(4, 8, 3), nn.Conv2d, overrides)


def test_groups_by_divisor():
    assert like(nn.Conv2d(12, 18, 1), nn.Conv2d, groups=divisor(4)).groups == 3


def test_transposed_sizes_that_work_are_listed():
    with pytest.raises(ConfigError, match="these sizes can be") as refusal:
        convert(nn.ConvTranspose2d(2, 2, 3), nn.ConvTranspose2d, {"kernel_size": 1})
    assert 3 in refusal.value.expected and 1 not in refusal.value.expected


def test_on_meta_without_energy():
    conversion = convert(nn.Conv2d(2, 2, 3, padding=1, device="meta"), nn.Conv2d, {"kernel_size": 1})
    assert conversion.remarks == ("drops 8 of 9 taps",) and conversion.error is None
    new = like(nn.Conv2d(2, 2, 3, padding=1, device="meta"), nn.Conv2d, kernel_size=5)
    assert new.weight.is_meta and new.weight.shape == (2, 2, 5, 5)
    assert isinstance(conversion.origins["weight"], Computed)
