"""Batch norms into the layers beside them: by the flow of data, exactly in eval, and undone."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery.checks.observing import tensors_in
from torchsurgery.layers.folding import is_batch_norm
from torchsurgery.origins import Computed

EXAMPLES = str(Path(__file__).parents[1] / "examples")


def lively(model):
    """The model in float64 and eval, its norms with statistics and affine maps of their own."""
    generator = torch.Generator().manual_seed(3)
    for norm in filter(is_batch_norm, model.modules()):
        for tensor, low, high in (
            (norm.running_mean, -0.3, 0.3),
            (norm.running_var, 0.5, 1.5),
            (norm.weight, 0.7, 1.3),
            (norm.bias, -0.3, 0.3),
        ):
            if tensor is not None:
                tensor.data.uniform_(low, high, generator=generator)
    return model.double().eval()


def answers(model, x):
    with torch.no_grad():
        return [tensor.clone() for tensor in tensors_in(model(x))]


def hold(model, x):
    """Fold the model; it gives the same to 1e-10 and comes back as it was. Answers the plan."""
    before, was = answers(model, x), portrait(model)
    plan = ts.plan(model).fold(x)
    assert portrait(model) == was, "planning touches nothing"
    done = plan.apply()
    for one, other in zip(before, answers(model, x), strict=True):
        assert (one - other).abs().max() <= 1e-10 * one.abs().max()
    done.undo()
    assert portrait(model) == was
    return plan


def left(plan):
    return dict(plan.planned[-1].left)


def test_by_hand():
    net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.BatchNorm1d(2, eps=0.0)).eval()
    net[0].weight.data = torch.tensor([[1.0], [2.0]])
    net[1].running_mean.data, net[1].running_var.data = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 0.25])
    net[1].weight.data, net[1].bias.data = torch.tensor([3.0, 1.0]), torch.tensor([5.0, 6.0])
    ts.fold(net)
    # scales 3/2 and 1/0.5, shifts 5 - 1·1.5 and 6 - 2·2
    assert net[0].weight.tolist() == [[1.5], [4.0]]
    assert net[0].bias.tolist() == [3.5, 2.0]
    assert type(net[1]) is nn.Identity


def test_by_hand_before():
    net = nn.Sequential(nn.BatchNorm1d(2, eps=0.0), nn.Linear(2, 1)).eval()
    net[0].running_mean.data, net[0].running_var.data = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 0.25])
    net[1].weight.data, net[1].bias.data = torch.tensor([[2.0, 1.0]]), torch.tensor([10.0])
    ts.fold(net)
    # scales 1/2 and 2, shifts -1/2 and -4: 10 + 2·(-1/2) + 1·(-4)
    assert net[1].weight.tolist() == [[1.0, 2.0]]
    assert net[1].bias.tolist() == [5.0]


@pytest.mark.parametrize(
    ("name", "folded", "stay"),
    [("resnet18", 20, 0), ("mobilenet_v3_small", 34, 0), ("densenet121", 59, 62), ("shufflenet_v2_x0_5", 56, 0)],
)
def test_torchvision(networks, images, name, folded, stay):
    plan = hold(lively(networks(name)), images.double())
    assert (sum(change.kind == "remove" for change in plan.changes), len(left(plan))) == (folded, stay)


@pytest.mark.parametrize(
    ("name", "folded", "stay"),
    [
        ("resnet18", 20, 0),
        ("mobilenetv3_small_050", 34, 0),
        ("repvgg_a0", 44, 17),
        ("densenet121", 59, 62),
        ("tf_efficientnet_lite0", 44, 5),
    ],
)
def test_timm(images, name, folded, stay):
    timm = pytest.importorskip("timm")
    plan = hold(lively(timm.create_model(name)), images.double())
    assert (sum(len(taking) - taking.count(None) - 1 for taking in plan.edits[0].takings), len(left(plan))) == (
        folded,
        stay,
    )


def test_densenet_norms_between_cat_and_relu_stay(networks, images):
    model = lively(networks("densenet121"))
    plan = ts.plan(model).fold(images.double())
    assert set(left(plan).values()) == {"after cat, before ReLU", "after cat, before relu"}
    assert "left as they are (after cat, before ReLU): features.denseblock1.denselayer1.norm1" in str(plan)


def test_crepe_folds_nothing_backwards(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import pitch

    model = pitch.crepe()
    frames = pitch.frames(pitch.tone(440))
    was = portrait(model)
    with pytest.raises(ts.PlanError, match="none of the 6 batch norms of Crepe can be folded exactly") as caught:
        ts.fold(model, frames)
    assert set(caught.value.got.values()) == {"after relu, before max_pool2d_with_indices"}
    assert portrait(model) == was


def test_crepe_with_its_pooling_taken_out_folds_forwards_only_where_no_zeros_are_padded(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import pitch

    model = lively(pitch.crepe())
    chain = nn.Sequential(model.conv2, nn.ReLU(), model.conv2_BN, model.conv3, nn.ReLU(), model.conv3_BN)
    x = torch.randn(1, model.conv2.in_channels, 128, 1, dtype=torch.float64)
    plan = hold(chain, x)
    assert left(plan) == {"5": "after ReLU, before the output"}
    assert [tuple(taking) for taking in plan.edits[0].takings] == [("3", "2", None)]


FOLDABLE = {
    "grouped": [nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6)],
    "depthwise": [nn.Conv2d(4, 8, 3, groups=4, padding=1), nn.BatchNorm2d(8)],
    "transposed": [nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(6)],
    "before a grouped one": [nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, groups=2, bias=False)],
    "before, borders reflected": [
        nn.ReLU(),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
    ],
    "before a same one of size 1": [nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1, padding="same")],
    "not affine": [nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, affine=False)],
    "before and after": [nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6)],
    "past an identity and a dropout": [nn.Conv2d(4, 6, 3), nn.Identity(), nn.Dropout(), nn.BatchNorm2d(6)],
    "synchronised": [nn.Conv2d(4, 6, 3), nn.SyncBatchNorm(6)],
    "to a linear layer": [nn.Flatten(), nn.BatchNorm1d(324), nn.Linear(324, 5, bias=False)],
}


@pytest.mark.parametrize("layers", FOLDABLE.values(), ids=FOLDABLE)
def test_folds_exactly(layers):
    plan = hold(lively(nn.Sequential(*copy.deepcopy(layers))), torch.randn(2, 4, 9, 9, dtype=torch.float64))
    assert left(plan) == {}


def test_one_and_three_axes():
    hold(lively(nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4))), torch.randn(2, 3, 9).double())
    hold(lively(nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4))), torch.randn(2, 3, 5, 5, 5).double())


STAYS = {
    "a relu between": ([nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)], "after ReLU, before the output"),
    "across zeros": (
        [nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)],
        "after ReLU, before Conv2d that pads with zeros",
    ),
    "across zeros, same": (
        [nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding="same")],
        "after ReLU, before Conv2d that pads with zeros",
    ),
    "before a transposed one": (
        [nn.ReLU(), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 4, 3)],
        "after ReLU, before ConvTranspose2d that lets fewer taps reach its borders",
    ),
    "no statistics": ([nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)], "has no running statistics"),
    "a weight norm": (
        [nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)), nn.BatchNorm2d(4)],
        "after ParametrizedConv2d that has a weight that something else computes, before the output",
    ),
}


@pytest.mark.parametrize(("layers", "reason"), STAYS.values(), ids=STAYS)
def test_stays(layers, reason):
    model = nn.Sequential(*copy.deepcopy(layers)).eval()
    with pytest.raises(ts.PlanError) as caught:
        ts.fold(model, torch.randn(2, 4, 9, 9))
    assert list(caught.value.got.values()) == [reason]


class Branching(nn.Module):
    """One conv, one norm, and what the test makes of them."""

    def __init__(self, forward):
        super().__init__()
        self.conv, self.norm, self.other = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.way = forward

    def forward(self, x):
        return self.way(self, x)


BRANCHES = {
    "read by another": (lambda m, x: m.norm(y := m.conv(x)) + y, "after Conv2d that others read, too, before add"),
    "given back": (lambda m, x: (y := m.conv(x), F.relu(m.norm(y))), "after Conv2d that others read, too, before relu"),
    "conv called twice": (lambda m, x: F.relu(m.norm(m.conv(m.conv(x)))), "after Conv2d that is called 2 times"),
    "norm called twice": (lambda m, x: m.norm(F.relu(m.norm(m.conv(x)))), "called 2 times"),
    "norm not called": (lambda m, x: m.conv(x), "not called"),
    "weight read elsewhere": (
        lambda m, x: F.relu(m.norm(m.conv(x))) + m.conv.weight.sum(),
        "after Conv2d that shares its tensors",
    ),
    "norm read elsewhere": (lambda m, x: m.norm(m.conv(x)) + m.norm.running_mean.sum(), "read elsewhere, too"),
    "a view in place": (lambda m, x: ((y := m.conv(x)).view(-1).relu_(), m.norm(y))[1].relu(), "after alias"),
}


@pytest.mark.parametrize(("forward", "reason"), BRANCHES.values(), ids=BRANCHES)
def test_stays_by_the_flow(forward, reason):
    model = Branching(forward).eval()
    with pytest.raises(ts.PlanError) as caught:
        ts.fold(model, torch.randn(2, 4, 9, 9))
    assert caught.value.got["norm"].startswith(reason)


def test_shared_weight_stays():
    model = Branching(lambda m, x: F.relu(m.norm(m.conv(x))) + m.other(x)).eval()
    model.other.weight = model.conv.weight
    with pytest.raises(ts.PlanError, match="after Conv2d that shares its tensors"):
        ts.fold(model, torch.randn(2, 4, 9, 9))


@pytest.mark.parametrize("hooked", [0, 1])
def test_hooks_stay(hooked):
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU()).eval()
    model[hooked].register_forward_hook(lambda *_: None)
    with pytest.raises(ts.PlanError, match="has hooks"):
        ts.fold(model, torch.randn(2, 4, 9, 9))


def test_a_linear_layer_whose_norm_works_on_another_axis_stays():
    model = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.ReLU()).eval()
    with pytest.raises(ts.PlanError, match="after Linear whose channels lie on another axis"):
        ts.fold(model, torch.randn(2, 5, 5))


def test_no_norm_at_all():
    with pytest.raises(ts.PlanError, match="Sequential has no batch norm to fold"):
        ts.fold(nn.Sequential(nn.Linear(3, 3)))


def test_no_constructor_is_asked():
    class Own(nn.Conv2d):
        def __init__(self, width):
            super().__init__(width, width, 1, bias=False)

    model = lively(nn.Sequential(Own(4), nn.BatchNorm2d(4)))
    hold(model, torch.randn(2, 4, 3, 3).double())
    ts.fold(model, torch.randn(2, 4, 3, 3).double())
    assert type(model[0]) is Own


def test_keys_and_old_checkpoints(resnet18, images):
    before = resnet18.state_dict()
    ts.fold(resnet18, images)
    added = {key for key in resnet18.state_dict() if key not in before}
    assert added == {f"{name}.bias" for name, m in resnet18.named_modules() if isinstance(m, nn.Conv2d)}
    with pytest.raises(RuntimeError, match=r"bn1\.running_mean"):
        resnet18.load_state_dict(before)


def test_origins_name_the_norm():
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)).eval()
    conv, norm = ts.plan(model).fold(torch.randn(1, 3, 2, 2)).changes
    assert all(isinstance(origin, Computed) for origin in conv.origins.values())
    assert conv.origins["weight"].sources[:2] == ("weight", "after:weight")
    assert list(conv.beside) == ["after:"]
    assert (conv.fidelity, norm.fidelity) == (ts.Fidelity.EXACT_IN_EVAL,) * 2
    assert (conv.lost, norm.lost) == ((), ())


def test_a_plan_is_recomputed_when_the_norm_has_moved_since():
    model = lively(nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)))
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    plan = ts.plan(model).fold(x)
    with torch.no_grad():
        model[1].running_mean.add_(1.0)
        model[0].weight.mul_(2.0)
    (before,) = answers(model, x)
    plan.apply()
    assert (answers(model, x)[0] - before).abs().max() < 1e-12


def test_a_plan_is_refused_when_the_norm_has_other_tensors_since():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    plan = ts.plan(model).fold(torch.randn(1, 3, 2, 2))
    model[1].running_mean = torch.ones(4)
    with pytest.raises(ts.PlanError, match="no longer the tensor"):
        plan.apply()


def test_sees_what_earlier_edits_leave(resnet18, images):
    plan = ts.plan(resnet18).replace("layer1.0.conv1", nn.Conv2d, kernel_size=5).remove("layer2.*.relu").fold(images)
    was = portrait(resnet18)
    assert left(plan) == {}
    before = [change for change in plan.changes if change.name == "layer1.0.conv1"]
    assert [change.new.kernel_size for change in before] == [(5, 5), (5, 5)]
    done = plan.apply()
    done.undo()
    assert portrait(resnet18) == was


def test_optimizer_and_average_follow(resnet18, images):
    resnet18.train()
    optimizer = torch.optim.SGD(resnet18.parameters(), lr=0.1, momentum=0.9)
    average = torch.optim.swa_utils.AveragedModel(resnet18)
    ts.plan(resnet18).fold(images).apply(optimizer=optimizer, ema=average)
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in resnet18.parameters()}
    assert type(average.module.bn1) is nn.Identity
    assert average.module.conv1.bias.shape == (64,)
    assert resnet18.training and resnet18.conv1.training


def test_a_model_in_train_mode_is_warned_of(resnet18, images):
    assert "train mode" in str(ts.plan(resnet18.train()).fold(images))
    assert "train mode" not in str(ts.plan(resnet18.eval()).fold(images))


def test_checked_in_eval(resnet18, images):
    done = ts.plan(resnet18).fold(images).apply(check=images)
    assert ts.check(resnet18, images)
    assert "20 layers replaced, 20 layers removed" in repr(done)


def test_low_precision_and_frozen_weights_are_carried():
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)).eval().to(torch.bfloat16)
    model[0].weight.requires_grad_(False)
    ts.fold(model, torch.randn(1, 3, 2, 2, dtype=torch.bfloat16))
    assert model[0].bias.dtype == model[0].weight.dtype == torch.bfloat16
    assert not model[0].bias.requires_grad


def test_on_meta_and_copied_and_pickled():
    import pickle

    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)).eval().to("meta")
    ts.fold(model)
    assert model[0].bias.is_meta
    assert type(pickle.loads(pickle.dumps(copy.deepcopy(model)))[1]) is nn.Identity


# --- the affine map of layer norms


class Projections(nn.Module):
    """Pre-norm: one norm feeds three projections, the other a feed-forward network; a third one is read twice."""

    def __init__(self, norm=nn.LayerNorm, bias=True):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = norm(6), norm(6), norm(6)
        self.q, self.k, self.v = (nn.Linear(6, 6, bias) for _ in range(3))
        self.up, self.down, self.head = nn.Linear(6, 12, bias), nn.Linear(12, 6), nn.Linear(6, 2)

    def forward(self, x):
        y = self.norm1(x)
        x = x + F.scaled_dot_product_attention(self.q(y), self.k(y), self.v(y))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        z = self.norm3(x)
        return self.head(z) + z[..., :2]


def lively_affine(model):
    for module in model.modules():
        if isinstance(module, nn.LayerNorm | nn.RMSNorm):
            for tensor in module.parameters():
                tensor.data.normal_()
    return model.double()


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm, lambda n: nn.LayerNorm(n, bias=False)])
@pytest.mark.parametrize("bias", [True, False])
def test_affine_maps_of_layer_norms(norm, bias):
    model, x = lively_affine(Projections(norm, bias)), torch.randn(2, 5, 6, dtype=torch.float64)
    before, was = model(x), portrait(model)
    plan = ts.plan(model).fold(x, layer_norms=True)
    assert {taking.layer: taking.before for taking in plan.planned[0].edit.takings} == {
        "q": "norm1",
        "k": "norm1",
        "v": "norm1",
        "up": "norm2",
    }
    assert left(plan) == {"norm3": "before getitem"} or list(left(plan)) == ["norm3"]
    done = plan.apply()
    assert torch.allclose(model(x), before, rtol=1e-10, atol=1e-10), "in training, too"
    assert {change.fidelity for change in done.changes} == {ts.Fidelity.EXACT}
    assert not list(model.norm1.parameters()) and list(model.norm3.parameters())
    assert (model.q.bias is None) == (not bias and (norm is not nn.LayerNorm))
    model(x).sum().backward()
    done.undo()
    assert portrait(model) == was


def test_a_vision_transformer():
    import torchvision

    sizes = {"image_size": 32, "patch_size": 16, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    model = lively_affine(torchvision.models.VisionTransformer(**sizes)).eval()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    before = answers(model, x)
    plan = ts.plan(model).fold(x, layer_norms=True)
    blocks = [f"encoder.layers.encoder_layer_{i}" for i in (0, 1)]
    assert [taking.before for taking in plan.planned[0].edit.takings] == [f"{block}.ln_2" for block in blocks]
    assert all(left(plan)[f"{block}.ln_1"].endswith("multi_head_attention") for block in blocks)
    plan.apply()
    assert torch.allclose(answers(model, x)[0], before[0], rtol=1e-10, atol=1e-10)


def test_no_layer_norm_to_fold(resnet18, images):
    with pytest.raises(ts.PlanError, match="ResNet has no layer norm to fold"):
        ts.fold(resnet18, images, layer_norms=True)
    post = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU())
    with pytest.raises(ts.PlanError, match="none of the 1 layer norms"):
        ts.fold(post, torch.randn(2, 4), layer_norms=True)
