import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchsurgery as ts
from sameness import portrait
from torchsurgery.layers.conversion import Fidelity

TORCHVISION = ["resnet18", "mobilenet_v3_small", "densenet121", "efficientnet_b0", "mobilenet_v2", "squeezenet1_0"]
TIMM = ["resnet18", "efficientnet_b0", "seresnet50", "resnetv2_50", "regnety_002", "mobilenetv3_small_100"]


def slices(x, length):
    return x.unsqueeze(2).expand(-1, -1, length, *[-1] * (x.dim() - 2))


def small():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3, padding=1)
    ).double()


def holds_on_equal_slices(net):
    """Centred and without training, a volume of equal slices gives exactly what a slice gave."""
    net, x = net.double().eval(), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        y = net(x)
        done = ts.convert.dims(net, 3, mode="centre")
        assert (net(slices(x, 32)) - y).abs().max() < 1e-10 * max(1, y.abs().max())
        done.undo()
        assert torch.equal(net(x), y)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_on_volumes(networks, name):
    holds_on_equal_slices(networks(name))


@pytest.mark.parametrize("name", TIMM)
def test_timm_on_volumes(name):
    timm = pytest.importorskip("timm")
    holds_on_equal_slices(timm.create_model(name))


def test_vgg_keeps_the_width_of_its_classifier():
    import torchvision

    with torch.device("meta"):
        net = torchvision.models.vgg11_bn().eval()
        ts.convert.dims(net, 3)
        assert net(torch.empty(1, 3, 32, 64, 64)).shape == (1, 1000)
    assert net.avgpool.output_size == (1, 7, 7)


def test_inflated_is_exact_away_from_the_ends():
    net, x = small().eval(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    y = net(x)
    done = ts.convert.dims(net, 3)
    z = net(slices(x, 16))
    assert z.shape == (2, 4, 8, 4, 4)
    assert torch.allclose(z[:, :, 2:6], y.unsqueeze(2), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(z[:, :, 0], y)
    assert [change.fidelity for change in done.changes] == [
        Fidelity.APPROXIMATE,
        Fidelity.EXACT,
        Fidelity.APPROXIMATE,
        Fidelity.APPROXIMATE,
    ]


def test_there_and_back_and_to_signals():
    net, x = small().eval(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    y = net(x)
    ts.convert.dims(net, 3)
    ts.convert.dims(net, 2)
    assert torch.allclose(net(x), y, rtol=1e-10, atol=1e-10)
    ts.convert.dims(net, 1)
    assert net(x[:, :, 0]).shape == (2, 4, 4) and type(net[1]) is nn.BatchNorm1d


def test_a_residual_network_on_signals(resnet18):
    ts.convert.dims(resnet18, 1)
    assert resnet18(torch.randn(2, 3, 64)).shape == (2, 1000)


def test_undo_puts_back_the_very_same(resnet18):
    before = portrait(resnet18)
    done = ts.convert.dims(resnet18, 3)
    assert portrait(resnet18) != before
    done.undo()
    assert portrait(resnet18) == before


def test_a_plan_grows():
    net = small()
    plan = ts.convert.dims(ts.plan(net).replace(nn.ReLU, nn.SiLU), 3, mode="centre")
    assert len(plan.edits) == 2 and type(net[0]) is nn.Conv2d
    assert "replace a selection of 4 → its counterpart over 3 axes" in str(plan)
    assert "in the middle of 3 along the new axis" in str(plan)
    plan.apply(check=torch.randn(1, 3, 4, 8, 8, dtype=torch.float64))
    assert type(net[0]) is nn.Conv3d and type(net[2]) is nn.SiLU


def test_weights_trained_meanwhile_and_an_average():
    net = small()
    average = torch.optim.swa_utils.AveragedModel(net)
    plan = ts.convert.dims(ts.plan(net), 3)
    with torch.no_grad():
        net[0].weight.mul_(2)
    weight = net[0].weight
    plan.apply(ema=average)
    assert torch.allclose(net[0].weight.sum(2), weight) and type(average.module[0]) is nn.Conv3d


def test_a_copy_and_a_pickle(networks):
    net = networks("densenet121")
    ts.convert.dims(net, 3, kernel=1, strided=False)
    volume = torch.randn(1, 3, 2, 64, 64)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin(volume), net(volume))


def test_kernel_and_strides_along_the_new_axis():
    net = small()
    ts.convert.dims(net, 3, kernel=1, strided=False)
    assert net[0].kernel_size == (1, 3, 3) and net(torch.randn(1, 3, 5, 8, 8).double()).shape == (1, 4, 5, 4, 4)


def test_nothing_to_do():
    assert ts.convert.dims(small(), 2).changes == ()


# --- refusals


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return F.adaptive_avg_pool2d(self.conv(x), 1)


def refused(net, *arguments, **options):
    before = portrait(net)
    with pytest.raises(ts.PlanError) as refusal:
        ts.convert.dims(net, *arguments, **options)
    assert portrait(net) == before
    return refusal.value


def test_all_that_can_not_follow_is_named():
    net = nn.Sequential(Head(), nn.PixelShuffle(2), nn.Sequential(Head()), nn.LayerNorm((4, 4)))
    error = refused(net, 3)
    assert error.got == {
        "0": "Head.forward has F.adaptive_avg_pool2d(self.conv(x), 1)",
        "1": "PixelShuffle has no counterpart over another number of axes.",
        "2.0": "Head.forward has F.adaptive_avg_pool2d(self.conv(x), 1)",
        "3": "LayerNorm((4, 4)) has weights for 2 axes.",
    }
    assert str(error).startswith(
        "4 of the modules can't follow to 3 axes, 0 first.\n  0 and 1 more like it: Head.forward"
    )


def test_one_may_vouch_for_a_forward():
    net = Head()
    error = refused(net, 3)
    assert "ignore=''" in error.way_out
    ts.convert.dims(net, 3, ignore="")
    assert type(net.conv) is nn.Conv3d


def test_layers_of_two_kinds():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2), nn.Conv1d(4, 4, 3))
    error = refused(net, 3)
    assert error.got == (1, 2) and "2: 1 axis" in str(error)
    ts.convert.dims(net, 3, ignore="2")
    assert [type(layer).__name__ for layer in net] == ["Conv3d", "Flatten", "Conv1d"]


def test_a_batch_norm_behind_the_axes_stays():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4))
    ts.convert.dims(net, 3)
    assert type(net[3]) is nn.BatchNorm1d and net(torch.randn(2, 3, 4, 8, 8)).shape == (2, 4)


def test_a_shared_layer_stays_one():
    conv = nn.Conv2d(3, 3, 3, padding=1)
    net = nn.Sequential(conv, nn.ReLU(), conv)
    ts.convert.dims(net, 3)
    assert net[0] is net[2] and type(net[0]) is nn.Conv3d


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((4,), {}, "1, 2 or 3 axes, not 4"),
        ((3,), {"mode": "middle"}, "'inflate' or 'centre'"),
        ((3,), {"kernel": 0}, "a number of taps"),
    ],
)
def test_bad_arguments(arguments, options, words):
    assert words in str(refused(small(), *arguments, **options))


def test_no_axes_at_all():
    assert "no layer here works on spatial axes" in str(refused(nn.Sequential(nn.Linear(2, 2)), 3))
