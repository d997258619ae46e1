import inspect
import itertools

import pytest
import torch
from holding import converted, difference, hold, relative
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchsurgery.errors import ConfigError
from torchsurgery.layers.arguments import divisor
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like
from torchsurgery.layers.norm import BATCH, INSTANCE, RESPONSE

DOUBLE = {"dtype": torch.float64}


def randomised(norm):
    """With an affine map and statistics unlike those of a fresh layer."""
    with torch.no_grad():
        for name, tensor in [*norm.named_parameters(), *norm.named_buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5 if name != "bias" else torch.randn_like(tensor))
    return norm


def images(axes, channels=8):
    return torch.randn(3, channels, *range(4, 4 + axes), dtype=torch.float64)


@st.composite
def norms(draw, classes):
    cls = draw(st.sampled_from(classes))
    choices = {"affine": draw(st.booleans()), "eps": draw(st.sampled_from([1e-5, 1e-2]))}
    if "bias" in inspect.signature(cls).parameters:
        choices["bias"] = draw(st.booleans())
    if cls is nn.GroupNorm:
        return randomised(cls(draw(st.sampled_from([1, 2, 4, 8])), 8, **choices, **DOUBLE))
    choices |= {"momentum": draw(st.sampled_from([0.1, None])), "track_running_stats": draw(st.booleans())}
    return randomised(cls(8, **choices, **DOUBLE))


def axes_of(cls):
    return int(cls.__name__[-2]) if cls.__name__[-1] == "d" else 2


# --- every pair holds what it states


@settings(max_examples=120)
@given(norms([*BATCH[:3], *INSTANCE, nn.GroupNorm]), st.sampled_from([*BATCH[:3], *INSTANCE, nn.GroupNorm]), st.data())
def test_norms_over_channels(old, new, data):
    overrides = {"num_groups": data.draw(st.sampled_from([1, 2, 8]))} if new is nn.GroupNorm else {}
    if new is not nn.GroupNorm and data.draw(st.booleans()):
        overrides["track_running_stats"] = data.draw(st.booleans())
    if data.draw(st.booleans()):
        overrides["affine"] = data.draw(st.booleans())
    conversion, layer = converted(old, new, **overrides)
    if axes_of(type(old)) == axes_of(new) or nn.GroupNorm in (type(old), new):
        hold(old, new, images(axes_of(new if type(old) is nn.GroupNorm else type(old))), **overrides)
    if conversion.fidelity is Fidelity.INITIALISED:
        assert "running_mean" in conversion.origins
    if layer.weight is not None and old.weight is not None:
        assert layer.weight is old.weight


def test_batch_norms_of_all_dimensions_are_one():
    for first, second in itertools.product(BATCH, BATCH):
        old = randomised(first(4))
        conversion, new = converted(old, second)
        assert conversion.fidelity is Fidelity.EXACT and not conversion.lost
        assert new.state_dict().keys() == old.state_dict().keys() and new.running_var is old.running_var


def test_batch_to_group():
    old = randomised(nn.BatchNorm2d(8, eps=1e-3))
    conversion, new = converted(old, nn.GroupNorm, num_groups=4)
    assert (new.num_groups, new.num_channels, new.eps, new.affine) == (4, 8, 1e-3, True)
    assert new.weight is old.weight and new.bias is old.bias
    assert conversion.fidelity is Fidelity.APPROXIMATE
    assert conversion.dropped == ("momentum=0.1", "track_running_stats=True")
    assert conversion.lost == ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize("new", [nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm])
def test_from_batch_norm_without_affine(new):
    old = nn.BatchNorm2d(8, affine=False)
    layer = like(old, new, **({"num_groups": 2} if new is nn.GroupNorm else {}))
    assert not list(layer.parameters())


def test_a_tracking_instance_norm_is_a_batch_norm_in_eval():
    old = randomised(nn.BatchNorm2d(8, **DOUBLE))
    conversion, _ = hold(old, nn.InstanceNorm2d, images(2), track_running_stats=True)
    assert conversion.fidelity is Fidelity.EXACT_IN_EVAL
    assert convert(old, nn.InstanceNorm2d).fidelity is Fidelity.APPROXIMATE


def test_instance_norm_is_a_group_norm_of_single_channels():
    old = randomised(nn.InstanceNorm2d(8, affine=True, **DOUBLE))
    conversion, new = hold(old, nn.GroupNorm, images(2))
    assert conversion.fidelity is Fidelity.EXACT and new.num_groups == 8
    conversion, _ = hold(new, nn.InstanceNorm3d, images(3))
    assert conversion.fidelity is Fidelity.EXACT


def test_group_norm_of_one_group_is_a_layer_norm():
    old = randomised(nn.GroupNorm(1, 8, **DOUBLE))
    conversion, new = hold(old, nn.LayerNorm, images(2), normalized_shape=(8, 4, 5))
    assert conversion.fidelity is Fidelity.EXACT and new.weight.shape == (8, 4, 5)
    assert conversion.origins["weight"].what == "spread over 4×5"
    bare = nn.LayerNorm((8, 4, 5), elementwise_affine=False, **DOUBLE)
    assert hold(bare, nn.GroupNorm, images(2))[0].fidelity is Fidelity.EXACT
    assert convert(old, nn.LayerNorm).remarks[0].startswith("LayerNorm norms the last axis")


def test_layer_to_rms():
    old = randomised(nn.LayerNorm(6, eps=1e-3, **DOUBLE))
    conversion, new = converted(old, nn.RMSNorm)
    assert new.weight is old.weight and new.eps == 1e-3 and conversion.lost == ("bias",)
    assert conversion.fidelity is Fidelity.APPROXIMATE
    x = torch.randn(4, 6, dtype=torch.float64)
    x -= x.mean(-1, keepdim=True)
    old.bias.data.zero_()
    assert difference(old, new, x) < 1e-10
    back = like(new, nn.LayerNorm)
    assert back.bias is None and back.weight is old.weight
    assert torch.equal(like(new, nn.LayerNorm, bias=True).bias, torch.zeros(6, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(64,), (6, 10)])
@pytest.mark.parametrize(("old", "new"), [(nn.LayerNorm, nn.RMSNorm), (nn.RMSNorm, nn.LayerNorm)])
@pytest.mark.parametrize("affine", [True, False])
def test_the_predicted_error_of_leaving_the_mean_in_is_the_measured_one(shape, old, new, affine):
    layer = randomised(old(shape, 1e-5, affine, **DOUBLE))
    if affine and old is nn.LayerNorm:
        layer.bias.data.mul_(0.1)
    conversion, other = converted(layer, new)
    x = torch.randn(4000, *shape, dtype=torch.float64)
    assert relative(layer, other, x) == pytest.approx(conversion.error, rel=0.05)


def test_nothing_is_predicted_without_values_or_for_another_eps():
    assert convert(nn.LayerNorm(6, device="meta"), nn.RMSNorm).error is None
    assert convert(nn.LayerNorm(6), nn.RMSNorm, {"eps": 0.1}).error is None
    assert convert(nn.LayerNorm(6), nn.RMSNorm, {"elementwise_affine": False}).error is None


@pytest.mark.parametrize(
    ("new", "options"),
    [
        (nn.GroupNorm, {"num_groups": 2}),
        (nn.InstanceNorm2d, {}),
        (nn.LayerNorm, {"normalized_shape": (8, 4, 5)}),
        (nn.RMSNorm, {"normalized_shape": (8, 4, 5)}),
    ],
)
def test_what_a_batch_norm_loses_is_not_predicted_but_said(new, options):
    old = randomised(nn.BatchNorm2d(8, **DOUBLE)).eval()
    conversion, layer = converted(old, new, **options)
    assert conversion.fidelity is Fidelity.APPROXIMATE and conversion.error is None
    assert conversion.remarks == ("each sample is normed by itself: to be trained",)
    assert relative(old, layer, images(2) * 3 + 1) > 0.1


@settings(max_examples=40)
@given(st.booleans(), st.booleans(), st.sampled_from([(6,), (5, 6)]), st.booleans())
def test_layer_to_layer(affine, bias, shape, more):
    old = randomised(nn.LayerNorm(shape, 1e-3, affine, bias, **DOUBLE))
    conversion, _ = hold(old, nn.LayerNorm, torch.randn(3, 5, 6, dtype=torch.float64), elementwise_affine=more)
    assert (conversion.fidelity is Fidelity.EXACT) == (more or not affine)
    rms = nn.RMSNorm(shape, None, affine, **DOUBLE)
    assert hold(rms, nn.RMSNorm, torch.randn(3, 5, 6, dtype=torch.float64), eps=None)[0].fidelity is Fidelity.EXACT


def test_local_response_norms():
    old = nn.LocalResponseNorm(3, alpha=0.1, beta=0.5, k=2.0)
    for first, second in itertools.product(RESPONSE, RESPONSE):
        layer = like(old, first)
        conversion, new = converted(layer, second)
        assert conversion.fidelity is (Fidelity.EXACT if first is second else Fidelity.APPROXIMATE)
        assert (new.size, new.alpha, new.beta, new.k) == (3, 0.1, 0.5, 2.0)
    assert hold(old, nn.LocalResponseNorm, images(2))[0].fidelity is Fidelity.EXACT
    assert convert(old, nn.LocalResponseNorm, {"k": 1.0}).fidelity is Fidelity.APPROXIMATE
    with pytest.raises(ConfigError, match="needs size"):
        convert(nn.BatchNorm2d(4), nn.LocalResponseNorm)
    assert convert(nn.BatchNorm2d(4), nn.LocalResponseNorm, {"size": 5}).fidelity is Fidelity.INITIALISED
    with pytest.raises(ConfigError, match="needs num_features"):
        convert(old, nn.BatchNorm2d)


@settings(max_examples=40)
@given(norms(BATCH[:3]))
def test_a_batch_norm_in_eval_is_a_depthwise_convolution(old):
    axes = axes_of(type(old))
    new = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    if not old.track_running_stats:
        with pytest.raises(ConfigError, match="tracks no statistics"):
            convert(old, new)
        return
    conversion, layer = hold(old, new, images(axes))
    assert (
        conversion.fidelity is Fidelity.EXACT_IN_EVAL
        and layer.groups == 8
        and set(conversion.lost) <= {"num_batches_tracked"}
    )


# --- the other way, and back


def test_channels_last_to_channels():
    old = randomised(nn.LayerNorm(8))
    conversion, new = converted(old, nn.BatchNorm1d)
    assert conversion.fidelity is Fidelity.INITIALISED and new.weight is old.weight
    conversion, new = converted(old, nn.GroupNorm)
    assert (new.num_groups, new.num_channels) == (1, 8) and conversion.fidelity is Fidelity.APPROXIMATE
    assert "axis 1" in conversion.remarks[0]
    assert difference(old, new, torch.randn(5, 8)) < 1e-6
    assert like(nn.RMSNorm(8), nn.GroupNorm).eps == 1e-5


# --- refusals


def test_groups_that_do_not_divide_list_those_that_do():
    with pytest.raises(ConfigError) as refusal:
        convert(nn.BatchNorm2d(20), nn.GroupNorm, {"num_groups": 8})
    assert "these do: 1, 2, 4, 5, 10, 20" in str(refusal.value)
    assert refusal.value.way_out.endswith("num_groups=ts.divisor(32)")
    assert like(nn.BatchNorm2d(20), nn.GroupNorm, num_groups=divisor(8)).num_groups == 5


@pytest.mark.parametrize("groups", [0, -1, 2.0, True, "8"])
def test_groups_are_whole_numbers(groups):
    with pytest.raises(ConfigError, match="at least 1 for num_groups"):
        convert(nn.BatchNorm2d(20), nn.GroupNorm, {"num_groups": groups})


def test_other_widths_are_initialised():
    conversion, new = converted(nn.BatchNorm2d(8), nn.BatchNorm2d, num_features=4)
    assert conversion.fidelity is Fidelity.INITIALISED and new.num_features == 4
    assert set(conversion.lost) == {"weight", "bias", "running_mean", "running_var"}
    with pytest.raises(ConfigError, match="at least 1"):
        convert(nn.LayerNorm(8), nn.LayerNorm, {"normalized_shape": (3, 0)})


@pytest.mark.parametrize("eps", ["a", -1.0, True])
@pytest.mark.parametrize("old", [nn.BatchNorm2d(4), nn.LayerNorm(4), nn.GroupNorm(2, 4)], ids=repr)
def test_eps_is_a_number(old, eps):
    with pytest.raises(ConfigError, match="needs a number for eps"):
        convert(old, type(old), {"eps": eps})
