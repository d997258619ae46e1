"""A layer of another shape: refused where the model no longer runs, taken where it does."""

import pytest
import timm
import torch
import torchvision
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery.layers.channels import shape_told
from torchsurgery.rehearsing import rehearsal


@pytest.fixture
def resnet():
    return torchvision.models.resnet18(weights=None).eval()


def narrow(old):
    return nn.Conv2d(old.in_channels, old.out_channels // 2, 3, padding=1)


@pytest.mark.parametrize(
    ("target", "new", "told", "fails"),
    [
        ("layer1.0.conv1", narrow, "channels 64 → 32", r"layer1\.0\.bn1 \(BatchNorm2d\) fails then"),
        (
            "layer2.1.conv2",
            lambda old: nn.Conv2d(128, 128, 3),
            r"reach \(0, 0\) → \(2, 2\)",
            r"layer2\.1 \(BasicBlock\)",
        ),
        ("layer1.1.conv2", nn.Conv2d(64, 64, 3, 2, 1), r"stride \(1, 1\) → \(2, 2\)", r"layer1\.1 \(BasicBlock\)"),
    ],
    ids=["channels", "padding", "stride"],
)
def test_a_layer_of_the_wrong_shape_is_refused_and_nothing_has_changed(resnet, target, new, told, fails):
    before = portrait(resnet)
    with pytest.raises(ts.PlanError, match=f"cannot replace {target} .*no longer runs") as caught:
        ts.replace(resnet, target, new)
    assert caught.value.name == target
    assert caught.match(told) and caught.match(fails)
    assert "ts.plan(model).replace(…).replace(…).apply()" in str(caught.value)
    assert portrait(resnet) == before


def test_a_class_with_another_stride_too(resnet):
    with pytest.raises(ts.PlanError, match=r"stride \(1, 1\) → \(2, 2\)"):
        ts.replace(resnet, "layer1.0.conv1", nn.Conv2d, stride=2)


def test_a_block_that_can_not_go(resnet):
    before = portrait(resnet)
    with pytest.raises(ts.PlanError, match=r"cannot remove layer2 \(Sequential\) so: ResNet no longer runs") as caught:
        ts.remove(resnet, "layer2")
    assert "what it was given goes on to the next layer" in str(caught.value)
    assert portrait(resnet) == before
    ts.remove(resnet, "layer2.1")
    assert resnet(torch.randn(1, 3, 64, 64)).shape == (1, 1000)


def test_a_layer_that_answers_several_things_can_not_go():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            states, (_, cell) = self.rnn(x)
            return self.out(states + cell.mean())

    with pytest.raises(ts.PlanError, match=r"cannot remove rnn \(LSTM\) so"):
        ts.remove(Reads(), "rnn")


class Branch(nn.Module):
    """A low-rank branch beside a layer, without the layer's attributes."""

    def __init__(self, base):
        super().__init__()
        self.base, self.down, self.up = base, nn.Linear(base.in_features, 2), nn.Linear(2, base.out_features)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


class WithWeight(Branch):
    @property
    def weight(self):
        return self.base.weight

    @property
    def bias(self):
        return self.base.bias


def test_a_wrapper_without_what_is_read_of_the_layer():
    model = torchvision.models.swin_v2_t(weights=None).eval()
    before = portrait(model)
    with pytest.raises(ts.PlanError, match=r"cannot wrap features\.1\.0\.attn\.qkv .* and 23 more so") as caught:
        ts.wrap(model, nn.Linear, Branch)
    assert caught.match("weight and bias of it are read there, and the new one has none")
    assert portrait(model) == before
    way_out = "ts.select(model, …) - ts.select(model, ('**.qkv', '**.proj'))"
    assert way_out in str(caught.value)
    ts.wrap(model, ts.select(model, nn.Linear) - ts.select(model, ("**.qkv", "**.proj")), Branch)
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 1000)


def test_a_wrapper_with_what_is_read_is_taken():
    model = torchvision.models.swin_v2_t(weights=None).eval()
    plan = ts.plan(model).wrap(nn.Linear, WithWeight)
    assert rehearsal(model, plan.changes) is None
    assert "never called: ShiftedWindowAttentionV2 reads qkv.weight and qkv.bias itself" in str(
        plan.changes[0].warnings
    )


def test_what_is_read_through_a_layer_that_was_inserted_around_it():
    model = torchvision.models.swin_v2_t(weights=None).eval()
    ts.insert(model, nn.Identity(), before="features.1.0.attn.qkv")
    with pytest.raises(ts.PlanError, match="weight and bias of it are read there, and the new one has none"):
        ts.wrap(model, "features.1.0.attn.qkv.layer", Branch)
    ts.wrap(model, "features.1.0.attn.qkv.layer", WithWeight)


def test_a_bias_that_is_read_and_would_be_none():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            weight, bias = torch.cat((self.a.weight, self.b.weight)), torch.cat((self.a.bias, self.b.bias))
            return nn.functional.linear(x, weight, bias)

    with pytest.raises(ts.PlanError, match="bias of it is read there, and the new one has none"):
        ts.plan(Fused(), torch.randn(2, 3)).replace("a", nn.Linear, bias=False).apply()


def test_what_is_read_on_a_way_that_is_not_taken():
    class Either(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return x @ self.layer.weight if x.dim() > 5 else self.layer(x)

    model = Either()
    ts.wrap(model, "layer", Branch)
    assert isinstance(model.layer, Branch)


def test_what_the_way_out_says_works(resnet):
    plan = ts.plan(resnet).replace("layer1.0.conv1", narrow).replace("layer1.0.bn1", nn.BatchNorm2d(32))
    plan.replace("layer1.0.conv2", nn.Conv2d(32, 64, 3, padding=1)).apply()
    assert resnet(torch.randn(1, 3, 64, 64)).shape == (1, 1000)


def test_other_classes_and_a_smaller_stem_are_taken(resnet):
    ts.replace(resnet, "fc", nn.Linear(512, 10))
    ts.plan(resnet).replace("conv1", nn.Conv2d(3, 64, 3, padding=1)).remove("maxpool").apply()
    assert resnet(torch.randn(1, 3, 32, 32)).shape == (1, 10)


def test_check_decides_instead_where_it_is_given(resnet):
    with pytest.raises(ts.VerificationError):
        ts.plan(resnet).replace("layer1.0.conv1", narrow).apply(check=torch.randn(1, 3, 64, 64))
    assert resnet.layer1[0].conv1.out_channels == 64


def test_check_false_takes_it_at_its_word(resnet):
    ts.plan(resnet).replace("layer1.0.conv1", narrow).apply(check=False)
    assert resnet.layer1[0].conv1.out_channels == 32


def test_a_stem_that_takes_other_inputs(resnet):
    ts.replace(resnet, "conv1", nn.Conv2d(1, 64, 3, padding=1))
    assert resnet(torch.randn(1, 1, 64, 64)).shape == (1, 1000)


def test_layers_of_other_dimensions_are_not_judged(resnet):
    assert rehearsal(resnet, ts.plan(resnet).replace("conv1", nn.Conv3d, kernel_size=3).changes) is None


def test_an_average_and_an_optimizer_are_as_they_were(resnet):
    optimizer = torch.optim.SGD(resnet.parameters(), lr=0.1)
    held = [id(p) for p in optimizer.param_groups[0]["params"]]
    with pytest.raises(ts.PlanError, match="no longer runs"):
        ts.plan(resnet).replace("layer1.0.conv1", narrow).apply(optimizer=optimizer)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == held


def test_hooks_of_the_user_do_not_run_and_are_kept(resnet):
    seen = []
    handle = resnet.layer1.register_forward_hook(lambda module, args, output: seen.append(output))
    ts.replace(resnet, "fc", nn.Linear(512, 10))
    assert not seen
    resnet(torch.randn(1, 3, 64, 64))
    assert len(seen) == 1
    handle.remove()


def test_statistics_and_random_numbers_stay(resnet):
    resnet.train()
    resnet.bn1.num_batches_tracked.fill_(7)
    state = torch.random.get_rng_state()
    ts.replace(resnet, "fc", lambda old: nn.Linear(512, 10, bias=False, device="meta").to_empty(device="cpu"))
    assert resnet.bn1.num_batches_tracked == 7 and torch.equal(torch.random.get_rng_state(), state)


def test_given_inputs_are_those_that_are_tried():
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(3, 8), nn.Linear(8, 3)

        def forward(self, x, *, scale):
            return self.down(self.up(x) * scale)

    inputs = {"x": torch.randn(2, 3), "scale": torch.tensor(2.0)}
    with pytest.raises(ts.PlanError, match=r"down \(Linear\) fails then"):
        ts.plan(Picky(), example_inputs=inputs).replace("up", nn.Linear(3, 5)).apply()


def test_nothing_is_said_where_no_inputs_are_known():
    class Unguessable(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(3, 8), nn.Linear(8, 3)

        def forward(self, table):
            return self.down(self.up(table["rows"]))

    model = Unguessable()
    ts.replace(model, "up", nn.Linear(3, 5))
    assert model.up.out_features == 5


def test_a_model_that_fails_as_it_is_may_be_mended():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(6, 2))
    ts.replace(model, "0", nn.Linear(4, 6))
    assert model(torch.randn(1, 4)).shape == (1, 2)


def test_conversions_that_keep_shapes_need_no_rehearsal(resnet):
    plan = ts.plan(resnet).replace(ts.select(resnet, nn.Conv2d, kernel_size=1), nn.Conv2d, kernel_size=3)
    assert rehearsal(resnet, plan.changes) is None
    assert rehearsal(resnet, ts.plan(resnet).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=8).changes) is None


def test_a_timm_model_is_tried_at_its_own_size():
    model = timm.create_model("vit_tiny_patch16_224", depth=1)
    with pytest.raises(ts.PlanError, match=r"blocks\.0\.mlp\.fc1 .*no longer runs"):
        ts.replace(model, "blocks.0.mlp.fc1", nn.Linear(192, 100))
    ts.replace(model, "head", nn.Linear(192, 5))


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (nn.Linear(2, 3), {"channels": 3}),
        (nn.Conv2d(2, 3, 5, 2, 1), {"channels": 3, "stride": (2, 2), "reach": (2, 2)}),
        (nn.Conv1d(2, 3, 3, padding=2, dilation=2), {"channels": 3, "stride": (1,), "reach": (0,)}),
        (nn.Conv2d(2, 3, 3, padding="same"), {"channels": 3, "stride": (1, 1)}),
        (nn.ReLU(), {}),
    ],
    ids=repr,
)
def test_what_layers_tell_of_their_shape(layer, told):
    assert shape_told(layer) == told


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("layer", [nn.BatchNorm2d(7), nn.Sequential(nn.Conv2d(5, 5, 1)), nn.Linear(5, 5)])
def test_an_inserted_layer_that_does_not_fit_is_refused(where, layer):
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU()), nn.Sequential(nn.Conv2d(6, 6, 1)))
    place = "0" if where == "after" else "1"
    with pytest.raises(ts.PlanError, match=rf"cannot insert {place} .* so: Sequential no longer runs") as raised:
        ts.plan(net, torch.randn(1, 3, 8, 8)).insert(layer, **{where: place}).apply()
    assert "takes or gives another shape" in str(raised.value)
    ts.insert(net, nn.BatchNorm2d(6), **{where: place})
    ts.check(net, torch.randn(2, 3, 8, 8))
