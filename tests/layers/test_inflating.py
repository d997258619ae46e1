import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from turning import DOUBLE, images, outputs, slices, turned

from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.dimensions import ENDS, Axes
from torchsurgery.layers.padded import PADDED


@st.composite
def convolutions(draw, axes=2):
    def each(values):
        return tuple(draw(st.sampled_from(values)) for _ in range(axes))

    stride, padding = each([1, 1, 2, 3]), each([0, 1, 2])
    if draw(st.integers(0, 3)) == 0:
        padding, stride = "same", (1,) * axes
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    groups, bias = draw(st.sampled_from([1, 2, 4])), draw(st.booleans())
    kernel, dilation = each([1, 2, 3, 4, 5]), each([1, 1, 2])
    cls = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    return cls(4, 8, kernel, stride, padding, dilation, groups, bias, mode, **DOUBLE).eval()


@settings(max_examples=80)
@given(convolutions(), st.sampled_from([None, 1, 3, 5]), st.booleans())
def test_an_inflated_convolution_is_exact_in_the_middle_of_equal_slices(old, kernel, strided):
    y = outputs(old, images())
    torch.manual_seed(1)
    x = images()
    y = outputs(old, x)
    conversion, new = turned(old, Axes(3, kernel=kernel, strided=strided))
    z = new(slices(x, 24))
    assert z.dim() == 5 and torch.allclose(z[:, :, z.shape[2] // 2], y, rtol=1e-10, atol=1e-10)
    if conversion.fidelity is Fidelity.EXACT:
        assert torch.allclose(z, y.unsqueeze(2), rtol=1e-10, atol=1e-10)
    else:
        assert conversion.remarks in [(ENDS,), ("exact away from the ends of the new axis",)]


@settings(max_examples=80)
@given(convolutions(), st.sampled_from([None, 1, 3]), st.booleans())
def test_a_centred_convolution_does_to_each_slice_what_it_did_to_an_image(old, kernel, strided):
    volume = torch.randn(1, 4, 13, 12, 13, **DOUBLE)
    each = [outputs(old, volume[:, :, i]) for i in range(13)]
    conversion, new = turned(old, Axes(3, centred=True, kernel=kernel, strided=strided))
    z, stride = new(volume), new.stride[0]
    if conversion.fidelity is Fidelity.EXACT:
        assert 0 < z.shape[2] <= -(-13 // stride)
        assert torch.allclose(z, torch.stack(each[::stride][: z.shape[2]], 2), rtol=1e-10, atol=1e-10)
    else:
        assert conversion.remarks == ("exact away from the ends of the new axis",)
        middle = z[:, :, z.shape[2] // 2]
        assert any(torch.allclose(middle, one, rtol=1e-10, atol=1e-10) for one in each)


@settings(max_examples=40)
@given(convolutions(), st.booleans())
def test_there_and_back(old, centred):
    x = images()
    y = outputs(old, x)
    _, volume = turned(old, Axes(3, centred))
    _, back = turned(volume, Axes(2, centred))
    assert torch.allclose(back(x), y, rtol=1e-10, atol=1e-10) and back.stride == old.stride


@given(convolutions())
def test_to_signals_by_summing_up_is_exact_where_images_are_constant(old):
    signal = torch.randn(2, 4, 13, **DOUBLE)
    y = outputs(old, slices(signal, 30))
    conversion, new = turned(old, Axes(1))
    z = new(signal)
    assert torch.allclose(y[:, :, y.shape[2] // 2], z, rtol=1e-10, atol=1e-10)
    assert isinstance(new, nn.Conv1d)
    assert (conversion.fidelity is Fidelity.EXACT) == (old.kernel_size[0] == 1 and old.padding[0] in (0, "s"))


def test_to_signals_by_the_middle_is_exact_on_images_of_one_row():
    old = nn.Conv2d(4, 6, (3, 5), padding=(1, 2), **DOUBLE)
    conversion, new = turned(old, Axes(1, centred=True))
    signal = torch.randn(2, 4, 13, **DOUBLE)
    assert torch.allclose(new(signal), old(signal.unsqueeze(2)).squeeze(2), rtol=1e-10, atol=1e-10)
    assert conversion.remarks == ("exact where the input has length 1 along the axis that goes",)
    assert torch.equal(new.weight, old.weight[:, :, 1])


def test_weights_by_hand():
    old = nn.Conv2d(1, 1, 3, padding=1)
    inflated, centred = (turned(old, Axes(3, centred))[1] for centred in (False, True))
    assert torch.allclose(inflated.weight, old.weight.unsqueeze(2).repeat(1, 1, 3, 1, 1) / 3)
    assert torch.equal(centred.weight[:, :, 1], old.weight) and centred.weight.count_nonzero() == 9
    assert (inflated.kernel_size, inflated.padding, inflated.stride) == ((3, 3, 3), (1, 1, 1), (1, 1, 1))
    assert inflated.bias is old.bias and not inflated.training


def test_two_new_axes():
    old = nn.Conv1d(2, 3, 3, padding=1, **DOUBLE)
    x = torch.randn(2, 2, 9, **DOUBLE)
    _, new = turned(old, Axes(3))
    z = new(slices(slices(x, 7), 7))
    assert new.kernel_size == (3, 3, 3) and torch.allclose(z[:, :, 3, 3], old(x), rtol=1e-10, atol=1e-10)


def test_without_strides_a_new_axis_keeps_its_length():
    for old in (nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 4, 4), nn.Conv2d(4, 4, 2), nn.MaxPool2d(3, 2, 1)):
        _, new = turned(old, Axes(3, strided=False))
        assert new(torch.randn(1, 4, 7, 8, 8)).shape[2] == 7


@pytest.mark.parametrize("axes", [Axes(1), Axes(2), Axes(3), Axes(3, centred=True)])
def test_convolutions_with_pads_of_their_own(axes):
    old = PADDED[1](2, 3, 2, ((0, 1), (0, 1)), **DOUBLE)
    _, new = turned(old, axes)
    assert new(torch.randn(1, 2, *[7] * axes.new, **DOUBLE)).shape == (1, 3, *[7] * axes.new)


# --- transposed convolutions


@settings(max_examples=60)
@given(st.data(), st.booleans())
def test_transposed_convolutions(data, centred):
    def each(values):
        return tuple(data.draw(st.sampled_from(values)) for _ in range(2))

    stride, dilation = each([1, 2, 3]), each([1, 2])
    more = tuple(data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    groups = data.draw(st.sampled_from([1, 2]))
    kernel, padding = each([1, 2, 3, 4]), each([0, 1])
    old = nn.ConvTranspose2d(4, 6, kernel, stride, padding, more, groups, dilation=dilation, **DOUBLE)
    x = images(size=5)
    try:
        y = old(x)
    except RuntimeError:
        assume(False)
    conversion, new = turned(old, Axes(3, centred))
    z = new(slices(x, 9))
    first = (kernel[0], stride[0], dilation[0])
    covered = len({first[2] * tap % first[1] for tap in range(first[0])}) == first[1]
    middle = z.shape[2] // 2
    if covered:
        assert torch.allclose(z[:, :, middle], y, rtol=1e-10, atol=1e-10)
    if conversion.fidelity is Fidelity.EXACT:
        assert covered and torch.allclose(z, y.unsqueeze(2), rtol=1e-10, atol=1e-10)
        assert z.shape[2] == 9 * stride[0]
    _, back = turned(new, Axes(2, centred))
    if covered:
        assert torch.allclose(back(x), y, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("kernel", "expected"), [(None, 20), (1, 20), (3, 20), (4, 20), (5, 20)])
def test_a_transposed_convolution_goes_on_doubling(kernel, expected):
    _, new = turned(nn.ConvTranspose2d(2, 2, 4, 2, 1), Axes(3, kernel=kernel))
    assert new(torch.randn(1, 2, 10, 6, 6)).shape == (1, 2, expected, 12, 12)
    _, flat = turned(nn.ConvTranspose2d(2, 2, 4, 2, 1), Axes(3, strided=False))
    assert flat(torch.randn(1, 2, 10, 6, 6)).shape == (1, 2, 10, 12, 12)
