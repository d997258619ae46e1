"""Other numbers of channels at the two ends: found by the flow of data, with the old weights where they belong."""

import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery.origins import Computed

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def answer(model, x):
    with torch.no_grad():
        return model(x)


def stem(*layers):
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5)).eval()


def built(*layers):
    model = stem(*copy.deepcopy(layers))
    answer(model, X)
    return model


def wider(x, channels):
    more = torch.randn(len(x), channels - x.shape[1], *x.shape[2:], generator=torch.Generator().manual_seed(1))
    return torch.cat([x, more.to(x.dtype)], 1)


# --- inputs

STEMS = {
    "conv": [nn.Conv2d(3, 8, 3, padding=1)],
    "grouped": [nn.Conv2d(3, 9, 3, groups=3), nn.Conv2d(9, 8, 1)],
    "a norm before": [nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3)],
    "depthwise with a multiplier": [nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.Conv2d(6, 8, 1)],
    "padding and pooling before": [nn.ZeroPad2d(1), nn.AvgPool2d(2), nn.Conv2d(3, 8, 3)],
    "transposed": [nn.ConvTranspose2d(3, 8, 3)],
}


@pytest.mark.parametrize("layers", STEMS.values(), ids=STEMS)
def test_further_channels_count_for_nothing(layers):
    model = built(*layers).double()
    x = X.double()
    before, was = answer(model, x), portrait(model)
    plan = ts.plan(model).set_inputs(5)
    assert portrait(model) == was
    done = plan.apply()
    assert (answer(model, wider(x, 5)) - before).abs().max() < 1e-10
    assert plan.changes[-1].fidelity is ts.Fidelity.EXACT
    done.undo()
    assert portrait(model) == was


@pytest.mark.parametrize("layers", [STEMS["conv"], STEMS["transposed"]], ids=["conv", "transposed"])
@pytest.mark.parametrize("channels", [4, 6, 7])
def test_repeated_channels(layers, channels):
    model = built(*layers).double()
    before = answer(model, X.double())
    ts.set_inputs(model, channels, fill="repeat", example_inputs=X.double())
    repeated = X.double()[:, torch.arange(channels) % 3]
    assert (answer(model, repeated) - before).abs().max() < 1e-10


def test_one_channel_sums():
    model = built(nn.Conv2d(3, 8, 3)).double()
    grey = X[:, :1].double()
    before, summed = answer(model, grey.expand(-1, 3, -1, -1)), model[0].weight.detach().sum(1, keepdim=True)
    plan = ts.plan(model).set_inputs(1)
    plan.apply()
    assert torch.equal(model[0].weight, summed)
    assert (answer(model, grey) - before).abs().max() < 1e-10
    assert "weight summed over 3 inputs" in str(plan)


def test_fewer_channels_keep_their_columns():
    model = built(nn.Conv2d(3, 8, 3))
    kept = model[0].weight.detach()[:, :2].clone()
    plan = ts.plan(model).set_inputs(2)
    plan.apply()
    assert torch.equal(model[0].weight, kept)
    assert plan.changes[0].fidelity is ts.Fidelity.APPROXIMATE
    assert "channels 2–2 are no longer seen" in plan.changes[0].remarks[0]


def test_a_grouped_stem_becomes_dense():
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2)).double()
    x = torch.randn(1, 4, 5, 5, dtype=torch.float64)
    before = answer(model, x)
    ts.set_inputs(model, 5)
    assert (model[0].groups, tuple(model[0].weight.shape)) == (1, (8, 5, 3, 3))
    assert (answer(model, wider(x, 5)) - before).abs().max() < 1e-10


def test_features_of_a_linear_model():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    ts.set_inputs(model, 7)
    assert answer(model, torch.randn(3, 7)).shape == (3, 2)
    ts.set_inputs(model, 5, example_inputs=torch.randn(2, 3, 7))
    assert answer(model, torch.randn(2, 3, 5)).shape == (2, 3, 2)


def test_momentum_follows_the_columns():
    model = built(nn.Conv2d(3, 8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(X).sum().backward()
    optimizer.step()
    momentum = optimizer.state[model[0].weight]["momentum_buffer"].clone()
    ts.plan(model).set_inputs(4).apply(optimizer=optimizer)
    carried = optimizer.state[model[0].weight]["momentum_buffer"]
    assert torch.equal(carried[:, :3], momentum)
    assert not carried[:, 3:].any()


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v3_small", "convnext_tiny"])
def test_torchvision_inputs(networks, images, name):
    model = networks(name)
    before = answer(model, images)
    ts.set_inputs(model, 12, example_inputs=images)
    assert (answer(model, wider(images, 12)) - before).abs().max() < 1e-5


def test_vision_transformer_of_timm_tells_its_channels():
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_tiny_patch16_224", depth=1).eval()
    done = ts.set_inputs(model, 1)
    assert model.patch_embed.proj.in_channels == 1
    assert answer(model, torch.randn(1, 1, 224, 224)).shape == (1, 1000)
    done.undo()
    assert answer(model, torch.randn(1, 3, 224, 224)).shape == (1, 1000)


def test_vision_transformer_of_transformers_is_told():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=32, patch_size=16
    )
    model = transformers.ViTForImageClassification(config).eval()
    ts.set_inputs(model, 4)
    assert model.config.num_channels == model.vit.embeddings.patch_embeddings.num_channels == 4
    ts.set_outputs(model, 3, keep=[1])
    assert model.config.num_labels == model.num_labels == 3
    assert model.config.id2label == {0: "LABEL_1", 1: "LABEL_0", 2: "LABEL_2"}
    assert answer(model, torch.randn(1, 4, 32, 32)).logits.shape == (1, 3)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, one, other):
        return self.head(self.left(one) + self.right(other))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(4, 3, 1, 1)), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.head(F.conv2d(x, self.weight))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x)


class Normalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.conv(x - self.mean)


NO_INPUTS = {
    "two inputs": (Two, (X, X + 1), "Two has 2 inputs with channels.\n  one: left\n  other: right"),
    "a functional convolution": (Functional, X, "convolution in the forward changes its channels"),
    "added to the output": (Residual, X, "it is given back as it is"),
    "a constant of its width": (Normalised, X, "with conv changed it can't be run"),
    "tokens": (lambda: nn.Sequential(nn.Embedding(5, 3)), torch.tensor([[1, 2]]), "takes it, whose width"),
}


@pytest.mark.parametrize(("make", "inputs", "message"), NO_INPUTS.values(), ids=NO_INPUTS)
def test_inputs_that_are_not_clear(make, inputs, message):
    model = make().eval()
    was = portrait(model)
    with pytest.raises(ts.PlanError) as caught:
        ts.set_inputs(model, 4, example_inputs=inputs)
    assert message in str(caught.value)
    assert caught.value.way_out
    assert portrait(model) == was


@pytest.mark.parametrize("channels", [0, -1, 2.5, True, "3"])
def test_no_number_of_channels(resnet18, channels):
    with pytest.raises(ts.PlanError, match="channels must be a whole number"):
        ts.set_inputs(resnet18, channels)
    with pytest.raises(ts.PlanError, match="number of classes must be a whole number"):
        ts.set_outputs(resnet18, channels)


def test_no_such_fill(resnet18):
    with pytest.raises(ts.PlanError, match="'zeros' or 'repeat'"):
        ts.set_inputs(resnet18, 4, fill="ones")


# --- outputs


def test_kept_classes_keep_their_rows(resnet18, images):
    before, was = answer(resnet18, images), portrait(resnet18)
    plan = ts.plan(resnet18).set_outputs(4, keep=[7, None, 5])
    done = plan.apply()
    after = answer(resnet18, images)
    assert after.shape == (2, 4)
    assert torch.allclose(after[:, [0, 2]], before[:, [7, 5]], atol=1e-6)
    assert isinstance(plan.changes[0].origins["weight"], Computed)
    assert "2 rows carried, 2 initialised" in str(plan)
    assert plan.changes[0].fidelity is ts.Fidelity.INITIALISED
    done.undo()
    assert portrait(resnet18) == was


def test_new_classes_are_drawn_from_the_seed(resnet18):
    torch.manual_seed(5)
    plan = ts.plan(resnet18).set_outputs(3)
    torch.manual_seed(5)
    expected = nn.Linear(512, 3)
    assert torch.equal(plan.changes[0].new.weight, expected.weight)
    assert torch.equal(plan.changes[0].new.bias, expected.bias)


def test_a_norm_behind_the_head_follows():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Softmax(1)).eval()
    model[1].running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    ts.set_outputs(model, 2, keep=[2, 0])
    assert model[1].running_mean.tolist() == [3.0, 1.0]
    assert (model[0].out_features, model[1].num_features) == (2, 2)
    assert answer(model, torch.randn(2, 4)).shape == (2, 2)


def test_two_heads_that_are_averaged():
    timm = pytest.importorskip("timm")
    model = timm.create_model("levit_128s").eval()
    done = ts.set_outputs(model, 7)
    assert [change.name for change in done.changes if change.kind == "replace"] == ["head.linear", "head_dist.linear"]
    assert model.num_classes == 7


def test_segmentation_with_an_auxiliary_classifier():
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None).eval()
    ts.set_outputs(model, 4)
    assert answer(model, torch.randn(1, 3, 64, 64))["out"].shape == (1, 4, 64, 64)
    model = torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True).eval()
    ts.set_outputs(model, 4)
    assert {k: v.shape[1] for k, v in answer(model, torch.randn(1, 3, 64, 64)).items()} == {"out": 4, "aux": 4}


def test_heads_that_only_training_calls():
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.googlenet(weights=None, init_weights=False).eval()
    ts.set_outputs(model, 7)
    assert model.fc.out_features == model.aux1.fc2.out_features == model.aux2.fc2.out_features == 7


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fasterrcnn_mobilenet_v3_large_320_fpn", {"box_predictor.cls_score": 5, "box_predictor.bbox_pred": 20}),
        ("ssdlite320_mobilenet_v3_large", {f"classification_head.module_list.{i}.1": 30 for i in range(6)}),
    ],
)
def test_detection(name, expected):
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()
    was = {id(module): module.extra_repr() for module in model.modules()}
    ts.set_outputs(model, 5, keep=[0, 17])
    changed = {
        ".".join(name.split(".")[1:]): vars(module).get("out_features", vars(module).get("out_channels"))
        for name, module in model.named_modules()
        if was.get(id(module)) != module.extra_repr()
    }
    assert changed == expected
    model([torch.rand(3, 64, 64)])


def test_rows_of_detection_heads_are_those_of_the_class():
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.get_model("retinanet_resnet50_fpn", weights=None, weights_backbone=None).eval()
    head = model.head.classification_head
    old = head.cls_logits.weight.detach().clone().unflatten(0, (9, 91))
    plan = ts.plan(model).set_outputs(3, keep=[1, 17], example_inputs=([torch.rand(3, 64, 64)],))
    plan.apply()
    new = head.cls_logits.weight.detach().unflatten(0, (9, 3))
    assert torch.equal(new[:, :2], old[:, [1, 17]])
    assert head.num_classes == 3


def test_an_average_follows(resnet18):
    average = torch.optim.swa_utils.AveragedModel(resnet18)
    ts.plan(resnet18).set_outputs(3).apply(ema=average)
    assert torch.equal(average.module.fc.weight, resnet18.fc.weight)
    assert average.module.fc.weight is not resnet18.fc.weight


def test_a_frozen_backbone_gets_a_trainable_head(resnet18):
    resnet18.requires_grad_(False)
    ts.set_outputs(resnet18, 3)
    assert [name for name, p in resnet18.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.embedding(x))


class Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.pool = nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, x):
        x = self.norm(x)
        return x, self.pool(x)


class Unlike(nn.Module):
    def __init__(self):
        super().__init__()
        self.age, self.kind = nn.Linear(4, 1), nn.Linear(4, 3)

    def forward(self, x):
        return self.age(x), self.kind(x)


class Reshaping(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 6)

    def forward(self, x):
        return self.head(x).view(-1, 6)


NO_OUTPUTS = {
    "tied to the embedding": (Tied, torch.tensor([[1, 2]]), "it shares its weight with another layer"),
    "features": (Features, torch.randn(2, 4), "output[1]: pool, 4 channels"),
    "heads unlike each other": (Unlike, torch.randn(2, 4), "output[0]: age, 1 channels\n  output[1]: kind, 3 channels"),
    "its code tells the number": (Reshaping, torch.randn(2, 4), "with head changed it can't be run"),
    "no head": (lambda: nn.Sequential(nn.LayerNorm(4)), torch.randn(2, 4), "no linear layer or convolution"),
    "grouped": (lambda: nn.Sequential(nn.Conv2d(4, 6, 1, groups=2)), torch.randn(2, 4, 3, 3), "has groups"),
}


@pytest.mark.parametrize(("make", "inputs", "message"), NO_OUTPUTS.values(), ids=NO_OUTPUTS)
def test_outputs_that_are_not_clear(make, inputs, message):
    model = make().eval()
    was = portrait(model)
    with pytest.raises(ts.PlanError) as caught:
        ts.set_outputs(model, 5 if make is not Tied else 7, example_inputs=inputs)
    assert message in str(caught.value)
    assert caught.value.way_out
    assert portrait(model) == was


@pytest.mark.parametrize("keep", [[1000], [-1], [0, 1, 2, 3], ["cat"]])
def test_keep_that_does_not_fit(resnet18, keep):
    with pytest.raises(ts.PlanError, match="doesn't fit ResNet"):
        ts.set_outputs(resnet18, 3, keep=keep)


def test_the_way_out_names_a_layer_that_there_is():
    net = torchvision.models.inception_v3(transform_input=True, init_weights=False, aux_logits=False).eval()
    with pytest.raises(ts.PlanError) as raised:
        ts.set_inputs(net, 4)
    assert "ts.replace(model, 'Conv2d_1a_3x3.conv', nn.Conv2d, in_channels=4)" in raised.value.way_out
    pair = Both()
    with pytest.raises(ts.PlanError) as raised:
        ts.set_outputs(pair, 10, example_inputs=torch.randn(1, 4))
    assert "ts.replace(model, 'one', nn.Linear, out_features=10)" in raised.value.way_out


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.one(x), self.other(x)
