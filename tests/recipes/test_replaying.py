"""From operations to edits of the model at hand; and a wrong base is refused, whichever it is."""

import copy
import itertools

import pytest
import timm
import torch
import torchvision
from torch import nn

import torchsurgery as ts
from torchsurgery.recipes.recipe import read_recipe
from torchsurgery.recipes.structure import structure_of


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU()
        self.more, self.head = nn.Conv2d(width, 4, 1), nn.Linear(4, 6)
        self.num_classes = 6

    def forward(self, x):
        return self.head(nn.functional.relu(self.more(self.act(self.norm(self.conv(x))))).mean((2, 3)))


X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
VERBS = {
    "class": lambda m: ts.replace(m, nn.BatchNorm2d, nn.GroupNorm, num_groups=2),
    "larger kernel": lambda m: ts.replace(m, "more", nn.Conv2d, kernel_size=3),
    "subclass": lambda m: ts.replace(m, nn.ReLU, nn.ReLU6),
    "instance": lambda m: ts.replace(m, "act", nn.Softplus(beta=2.0)),
    "factory": lambda m: ts.replace(m, "head", lambda old: nn.Sequential(nn.Dropout(0.1), old)),
    "insert": lambda m: ts.insert(m, nn.Dropout2d(0.1), before="more"),
    "wrap": lambda m: ts.wrap(m, nn.Conv2d, nn.Sequential),
    "remove": lambda m: ts.remove(m, "norm"),
    "fold": lambda m: ts.fold(m, X),
    "prune": lambda m: ts.prune(m, "conv", 0.5, example_inputs=X),
    "inputs": lambda m: ts.set_inputs(m, 4, example_inputs=X),
    "outputs": lambda m: ts.set_outputs(m, 3, keep=[1, 0, 5], example_inputs=X),
    "calls": lambda m: ts.replace(m, nn.functional.relu, nn.SiLU),
    "freeze": ts.freeze_norms,
    "factorize": lambda m: ts.factorize(m, "head", rank=1),
}
SAME_VALUES = set(VERBS) - {"instance"}  # which has values of its own, though none here


def around(recipe):
    """A recipe written to a file and read from it."""
    tensors = {f"{i}/{name}": t for i, op in enumerate(recipe.operations) for name, t in op.tensors.items()}
    return read_recipe(recipe.json.encode(), "recipe.json", tensors)[0]


@pytest.mark.parametrize("weights", [True, False], ids=["weights", "structure"])
@pytest.mark.parametrize("verb", VERBS)
def test_each_verb(verb, weights):
    base = Net().eval()
    altered, fresh = copy.deepcopy(base), copy.deepcopy(base)
    recipe = VERBS[verb](altered).recipe
    plan = ts.plan(fresh).replay(around(recipe), weights=weights)
    assert structure_of(fresh) == recipe.base
    plan.apply(check=False)
    assert structure_of(fresh) == recipe.result
    if weights:
        mine, theirs = fresh.state_dict(), altered.state_dict()
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize(
    "pair", list(itertools.permutations(["class", "factory", "insert", "calls", "prune", "outputs"], 2))
)
def test_chains_of_two(pair):
    base = Net().eval()
    altered, fresh = copy.deepcopy(base), copy.deepcopy(base)
    first, second = (VERBS[verb](altered).recipe for verb in pair)
    done = ts.plan(fresh).replay(around(first + second)).apply(check=False)
    assert structure_of(fresh) == second.result == ts.recipe_of(altered).result
    done.undo()
    assert structure_of(fresh) == first.base


def test_what_is_replayed_can_be_undone_and_recorded_again():
    altered, fresh = Net(), Net()
    recipe = VERBS["insert"](altered).recipe
    done = ts.plan(fresh).replay(recipe).apply()
    assert done.recipe.json == recipe.json
    done.undo()
    assert structure_of(fresh) == recipe.base


def test_fine_tuned_weights_dtypes_and_modes_still_match():
    recipe = VERBS["class"](Net()).recipe
    other = Net().bfloat16().eval()
    with torch.no_grad():
        other.conv.weight.add_(1)
    assert isinstance(ts.plan(other).replay(recipe).apply().changes[0].new, nn.GroupNorm)


def test_the_first_path_that_differs_is_named():
    recipe = VERBS["class"](Net()).recipe
    with pytest.raises(ts.RecipeError, match=r"it differs at conv\.") as caught:
        ts.plan(Net(width=16)).replay(recipe)
    assert caught.value.name == "conv"
    assert "out_channels=8" in caught.value.expected and "out_channels=16" in caught.value.got


def test_another_version_of_a_librarys_layer(monkeypatch):
    """A layer that got one more buffer, as happens between versions."""
    altered = timm.create_model("convnext_atto")
    recipe = ts.replace(altered, "head.fc", nn.Linear(320, 3)).recipe
    init = timm.models.convnext.ConvNeXtBlock.__init__

    def newer(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.register_buffer("extra", torch.zeros(1))

    monkeypatch.setattr(timm.models.convnext.ConvNeXtBlock, "__init__", newer)
    with pytest.raises(ts.RecipeError, match=r"it differs at stages\.0\.blocks\.0\.extra"):
        ts.plan(timm.create_model("convnext_atto")).replay(recipe)


def test_where_conversions_have_changed_since_the_recorded_layer_is_made():
    """A load makes the layers that were recorded, whatever conversions make nowadays."""
    altered, fresh = Net(), Net()
    recipe = VERBS["larger kernel"](altered).recipe
    (group,) = recipe.operations[0].data["layers"]
    group["by"]["arguments"]["kernel_size"] = 5  # as if it came to something else
    ts.plan(fresh).replay(around(recipe), weights=False).apply()
    assert structure_of(fresh) == structure_of(altered)


def test_a_layer_that_is_not_there():
    operations = ts.Recipe(VERBS["remove"](Net()).recipe.operations)
    with pytest.raises(ts.RecipeError, match="has no module 'norm'"):
        ts.plan(nn.Sequential(nn.ReLU())).replay(operations)


def test_a_call_that_is_not_there():
    class Other(Net):
        def forward(self, x):
            return self.head(self.more(self.conv(x)).mean((2, 3)))

    operations = ts.Recipe(VERBS["calls"](Net()).recipe.operations)
    with pytest.raises(ts.RecipeError, match="is not called in the model"):
        ts.plan(Other()).replay(operations)


# --- wrong bases

TORCHVISION = [
    "resnet18",
    "resnet34",
    "resnet50",
    "wide_resnet50_2",
    "resnext50_32x4d",
    "vgg11",
    "vgg11_bn",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "densenet121",
    "squeezenet1_0",
    "squeezenet1_1",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "alexnet",
]
TIMM = [
    "resnet18",
    "resnet18d",
    "resnet26",
    "seresnet18",
    "efficientnet_b0",
    "efficientnet_b1",
    "convnext_atto",
    "convnext_femto",
    "vit_tiny_patch16_224",
    "vit_tiny_r_s16_p8_224",
    "vit_small_patch32_224",
    "mixer_s32_224",
    "regnetx_002",
    "regnety_002",
    "mobilenetv3_small_050",
]


def test_every_wrong_base_of_thirty_is_refused():
    """All ordered pairs; what each recipe was made for is taken."""
    with torch.device("meta"):
        models = {f"torchvision:{name}": torchvision.models.get_model(name) for name in TORCHVISION}
        models |= {f"timm:{name}": timm.create_model(name) for name in TIMM}
    assert len(models) == 30
    recipes = {}
    for name, model in models.items():
        head = [path for path, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
        done = ts.plan(model).insert(nn.Dropout, before=head).apply(check=False)
        recipes[name] = done.recipe
        done.undo()
    refused = 0
    for name, recipe in recipes.items():
        for other, model in models.items():
            if name == other:
                assert len(ts.plan(model).replay(recipe).changes) == 1
                continue
            with pytest.raises(ts.RecipeError, match="it differs at"):
                ts.plan(model).replay(recipe)
            refused += 1
    assert refused == 30 * 29


def test_layers_that_are_made_again_are_referred_to_by_nobody():
    """So that the objects there can become them, as when it was done first."""
    model, other = (nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(2))
    recipe = ts.replace(model, nn.ReLU, nn.GELU).recipe
    act = other[1]
    (change,) = ts.plan(other).replay(recipe, weights=False).changes
    assert change.means == "the layer becomes the new one"
    ts.plan(other).replay(recipe).apply()
    assert other[1] is act and isinstance(act, nn.GELU)
