import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from torchsurgery.errors import ConfigError
from torchsurgery.layers.conversion import Fidelity, build
from torchsurgery.layers.dimensions import CONSTANT, ENDS, Axes, axes_of_layer, over, sets_axes, settled_for
from torchsurgery.layers.foreign import ACTIVATED, ChannelLayerNorm, GlobalAverage, known_elsewhere
from torchsurgery.layers.padded import PADDED

DOUBLE = {"dtype": torch.float64}


def turned(old, axes):
    conversion = over(old, axes)
    return conversion, build(conversion, old).eval()


def images(channels=4, size=12, axes=2):
    return torch.randn(2, channels, *[size + axis for axis in range(axes)], **DOUBLE)


def slices(x, length):
    """A volume of equal slices, the new axis in front of the old ones."""
    return x.unsqueeze(2).expand(-1, -1, length, *[-1] * (x.dim() - 2))


def outputs(old, x):
    try:
        return old(x)
    except RuntimeError:
        assume(False)  # a border wider than the image


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


# --- convolutions


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


# --- what has no weights

SAME = [
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d((2, 3), ceil_mode=True),
    nn.AvgPool2d(2, divisor_override=3),
    nn.AvgPool2d(3, 2, 1),
    nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    nn.AdaptiveAvgPool2d(1),
    nn.AdaptiveMaxPool2d((3, None)),
    nn.AdaptiveAvgPool2d((None, 2)),
    nn.ZeroPad2d((1, 2, 3, 1)),
    nn.ConstantPad2d(1, 2.5),
    nn.ReflectionPad2d(2),
    nn.ReplicationPad2d((0, 1, 2, 3)),
    nn.CircularPad2d(2),
    nn.Dropout2d(0.3),
    nn.BatchNorm2d(4),
    nn.InstanceNorm2d(4, affine=True),
]


@pytest.mark.parametrize("old", SAME, ids=repr)
def test_equal_slices_give_what_a_slice_gave(old):
    old, x = old.double().eval(), images()
    conversion, new = turned(old, Axes(3))
    y, z = old(x), new(slices(x, 12))
    assert torch.allclose(z[:, :, z.shape[2] // 2], y, rtol=1e-10, atol=1e-10)
    if ENDS not in conversion.remarks:
        assert torch.allclose(z, y.unsqueeze(2), rtol=1e-10, atol=1e-10)
    assert type(new).__name__ == type(old).__name__.replace("2", "3")


@pytest.mark.parametrize(
    "old", [old for old in SAME if not isinstance(old, nn.AdaptiveMaxPool2d | nn.AdaptiveAvgPool2d)]
)
def test_back_from_volumes(old):
    old, x = old.double().eval(), images()
    _, volume = turned(old, Axes(3))
    _, back = turned(volume, Axes(2))
    assert type(back) is type(old)
    if not getattr(old, "divisor_override", None):  # a window's count can't be told from it
        assert torch.allclose(back(x), old(x), rtol=1e-10, atol=1e-10)


def test_power_average_and_random_pools_say_so():
    conversion, new = turned(nn.LPPool2d(2, 3), Axes(3))
    assert conversion.remarks == ("sums up over 3 as many",) and new.kernel_size == 3
    conversion, new = turned(nn.FractionalMaxPool2d(2, output_size=(4, 5)), Axes(3))
    assert conversion.remarks == ("its windows are random",) and new.output_size == (4, 4, 5)
    assert turned(nn.LPPool2d(2, (3, 3)), Axes(1))[1](images(axes=1)).shape == (2, 4, 4)


def test_unpooling_takes_the_indices_of_volumes():
    pool, unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    _, down = turned(pool, Axes(3))
    _, up = turned(unpool, Axes(3))
    x = torch.randn(1, 2, 4, 6, 8)
    values, indices = down(x)
    assert up(values, indices).shape == x.shape


# --- refusals


@pytest.mark.parametrize(
    ("old", "n", "words"),
    [
        (nn.FractionalMaxPool2d(2, output_size=3), 1, "no FractionalMaxPool2d over 1 axis"),
        (nn.AdaptiveAvgPool2d(7), 1, "leaves 7 places"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3)), 3, "parametrized"),
    ],
)
def test_what_can_not_follow(old, n, words):
    with pytest.raises(ConfigError, match=words):
        over(old, Axes(n))


def test_a_forward_of_ones_own():
    class Noisy(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) + torch.randn(())

    class Plain(nn.Conv2d):
        def __init__(self, width):
            super().__init__(width, width, 3, padding=1)

    with pytest.raises(ConfigError, match="a forward of its own"):
        over(Noisy(2, 2, 3), Axes(3))
    assert type(turned(Plain(4), Axes(3))[1]) is nn.Conv3d


@pytest.mark.parametrize(
    ("old", "words"),
    [
        (nn.PixelShuffle(2), "no counterpart"),
        (nn.Unfold(3), "no counterpart"),
        (nn.Softmax(2), "works along an axis"),
        (nn.GLU(-3), "works along an axis"),
        (nn.Upsample(scale_factor=2, mode="bicubic"), "bicubic"),
        (nn.Flatten(1, 2), "written for 2 axes"),
        (nn.Unflatten(1, (2, 2)), "fixes the axes"),
        (nn.LayerNorm((4, 8, 8)), "weights for 3 axes"),
    ],
)
def test_layers_of_any_number_of_axes_that_are_set_for_one(old, words):
    with pytest.raises(ConfigError, match=words):
        settled_for(old, 2, Axes(3))


def test_layers_that_stay():
    for old in (
        nn.Flatten(),
        nn.Flatten(2),
        nn.ReLU(),
        nn.GroupNorm(2, 4),
        nn.LayerNorm(4),
        nn.Linear(2, 2),
        nn.Softmax(-1),
    ):
        assert settled_for(old, 2, Axes(3)) is None and axes_of_layer(type(old)) is None
    assert build(settled_for(nn.Flatten(1, 3), 2, Axes(3)), nn.Flatten()).end_dim == -1
    assert sets_axes(nn.Conv2d) and not sets_axes(nn.BatchNorm2d)


# --- upsampling


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "area"])
def test_upsampling(mode):
    align = True if mode == "bilinear" else None
    old, x = nn.Upsample(scale_factor=2, mode=mode, align_corners=align), images(size=5)
    conversion = settled_for(old, 2, Axes(3))
    new = build(conversion, old)
    y, z = old(x), new(slices(x, 6))
    assert z.shape[2] == 12 and torch.allclose(z, y.unsqueeze(2), rtol=1e-10, atol=1e-10)
    assert conversion.remarks == (CONSTANT,) and new.align_corners is align
    flat = build(settled_for(old, 2, Axes(3, strided=False)), old)
    assert flat(slices(x, 6)).shape[2] == 6
    assert build(settled_for(old, 2, Axes(1)), old)(images(axes=1)).shape == (2, 4, 24)
    with pytest.raises(ConfigError, match="does not tell the length"):
        settled_for(nn.Upsample(size=(8, 8), mode=mode), 2, Axes(3, strided=False))
    assert settled_for(nn.Upsample(size=(8, 9), mode=mode), 2, Axes(3)).config["size"] == (8, 8, 9)


def test_old_upsampling_classes_and_softmax():
    for old in (nn.UpsamplingNearest2d(scale_factor=2), nn.UpsamplingBilinear2d(scale_factor=2), nn.Softmax2d()):
        x = images(size=5)
        z = build(settled_for(old, 2, Axes(3)), old)(slices(x, 6))
        assert torch.allclose(z[:, :, 3], old(x), rtol=1e-10, atol=1e-10)


# --- layers of other libraries


def test_norms_of_timm():
    timm = pytest.importorskip("timm.layers")
    old = timm.BatchNormAct2d(4).double().eval()
    new = build(known_elsewhere(old, Axes(3)), old)
    x = images()
    assert type(new) is ACTIVATED[2] and new.weight is old.weight and new.act is old.act
    assert torch.equal(new(slices(x, 3))[:, :, 1], old(x))
    assert type(build(known_elsewhere(new, Axes(1)), new)) is ACTIVATED[0]
    old = timm.LayerNorm2d(4).double()
    new = build(known_elsewhere(old, Axes(3)), old)
    assert type(new) is ChannelLayerNorm and torch.allclose(new(slices(x, 3))[:, :, 1], old(x), atol=1e-12)


def test_counterparts_are_called_as_they_are_built():
    x = torch.randn(2, 4, 3, 5, 6)
    assert torch.allclose(GlobalAverage(True)(x), x.flatten(2).mean(2), atol=1e-6)
    assert ACTIVATED[2](4)(x).min() >= 0 and GlobalAverage()(x).shape == (2, 4, 1, 1, 1)
    assert known_elsewhere(nn.ReLU(), Axes(3)) is None


def test_every_class_of_torch_that_names_its_axes_is_known():
    named = [cls for name, cls in vars(nn).items() if isinstance(cls, type) and name[-2:] in ("1d", "2d", "3d")]
    lazy = {cls for cls in named if cls.__name__.startswith("Lazy")}
    known = {cls for cls in named if axes_of_layer(cls) == int(cls.__name__[-2])}
    others = {"NLLLoss2d", "UpsamplingNearest2d", "UpsamplingBilinear2d", "Softmax2d", "CrossMapLRN2d"}
    assert {cls.__name__ for cls in set(named) - known - lazy} == others
