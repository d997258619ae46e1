"""What was done through one root, told of another: of the model around it, of a part, of the model in a wrapper."""

import copy
import gc

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
from torchsurgery.recipes.structure import structure_of


def mobilenet():
    return torchvision.models.mobilenet_v3_small(num_classes=10)


class Larger(nn.Module):
    """Some backbone with a head."""

    def __init__(self, backbone=None):
        super().__init__()
        self.backbone = backbone or mobilenet()
        self.head = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x):
        return self.head(self.backbone(x))


def saved_and_loaded(model, folder, base, x):
    """A save that says that it can be loaded is, and computes the same."""
    ts.save(model, folder, base=base)
    ts.save(model, folder)
    again = ts.load(folder, base=base)
    assert torch.equal(again.eval()(x), model.eval()(x))
    return again


@pytest.fixture
def x():
    return torch.randn(2, 3, 32, 32)


# --- of the model around


def test_what_was_done_to_a_submodule_is_told_of_the_model(tmp_path, x):
    model = mobilenet()
    ts.replace(model.features, nn.Hardswish, nn.SiLU)
    recipe = ts.recipe_of(model)
    assert len(recipe) == 1
    assert recipe.operations[0].names[0] == "features.0.2"
    again = saved_and_loaded(model, tmp_path / "save", mobilenet, x)
    assert type(again.features[0][2]) is nn.SiLU
    fresh = mobilenet()
    ts.plan(fresh).replay(recipe).apply()
    assert type(fresh.features[0][2]) is nn.SiLU


def test_what_was_done_to_parts_and_whole_is_told_in_its_order(tmp_path, x):
    model = mobilenet().eval()
    ts.replace(model.features, nn.Hardswish, nn.SiLU)
    ts.insert(model, nn.Dropout(0.1), after="features.0.2")
    ts.wrap(model.features[0], "2.layer", nn.Sequential)
    ts.replace(model, "features.0.2.layer.0", nn.GELU)
    ts.prune(model, "features.*.block.0.0", 0.25, example_inputs=x)
    done = ts.replace(model.classifier, "0", nn.Linear(576, 1024))
    names = [operation.names[0] for operation in ts.recipe_of(model).operations]
    assert names[:3] == ["features.0.2", "features.0.2", "features.0.2.layer"]
    assert names[3:] == ["features.0.2.layer.0", "features.1.block.0.0", "classifier.0"]
    saved_and_loaded(model, tmp_path / "whole", mobilenet, x)
    saved_and_loaded(model.features, tmp_path / "part", lambda: mobilenet().features, x)
    assert done.recipe.operations[0].names == ("0",)
    assert done.recipe.base == ts.plan(model.classifier).recipe.base


def test_a_part_that_went_into_a_wrapper_later_had_its_name_before(tmp_path, x):
    model = mobilenet().eval()
    part = model.features
    ts.replace(part, nn.Hardswish, nn.SiLU)
    ts.wrap(model, "features", nn.Sequential)
    ts.replace(part, "0.2", nn.GELU)
    assert [op.names[0] for op in ts.recipe_of(model).operations] == ["features.0.2", "features", "features.0.0.2"]
    assert [op.names[0] for op in ts.recipe_of(part).operations] == ["0.2", "0.2"]
    saved_and_loaded(model, tmp_path / "whole", mobilenet, x)
    saved_and_loaded(part, tmp_path / "part", lambda: mobilenet().features, x)


def test_a_part_that_was_replaced_later(tmp_path, x):
    model = mobilenet().eval()
    ts.replace(model.features[0], "2", nn.SiLU)
    ts.replace(model, "features.0", nn.Conv2d(3, 16, 3, 2, 1))
    gc.collect()
    assert len(ts.recipe_of(model)) == 2
    saved_and_loaded(model, tmp_path / "save", mobilenet, x)


def test_an_altered_backbone_goes_into_a_larger_model(tmp_path, x):
    backbone = mobilenet().eval()
    ts.prune(backbone, "features.*.block.0.0", 0.25, example_inputs=x)
    model = Larger(backbone).eval()
    assert ts.recipe_of(model).operations[0].names[0] == "backbone.features.1.block.0.0"
    saved_and_loaded(model, tmp_path / "new", Larger, x)
    ts.replace(model, "head.1", nn.GELU)
    ts.widen(model.head, "0", 12, example_inputs=torch.randn(2, 10))
    ts.replace(backbone.classifier, nn.Hardswish, nn.SiLU)
    assert [op.data["do"] for op in ts.recipe_of(model).operations] == ["prune", "replace", "widen", "replace"]
    saved_and_loaded(model, tmp_path / "larger", Larger, x)
    saved_and_loaded(backbone, tmp_path / "backbone", mobilenet, x)


def test_a_layer_that_was_altered_before_a_surgery_brought_it_is_told_once(tmp_path):
    part = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    ts.replace(part, nn.ReLU, nn.GELU)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    ts.replace(model, "1", part)
    assert len(ts.recipe_of(model)) == 1
    base = lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))  # noqa: E731
    saved_and_loaded(model, tmp_path / "save", base, torch.randn(2, 4))


def test_a_part_in_two_places_is_told_of_the_first(tmp_path):
    def base():
        part = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        return nn.Sequential(part, nn.Tanh(), part)

    model = base()
    ts.insert(model[2], nn.Dropout(0.1), after="1")
    ts.replace(model[2], nn.ReLU, nn.GELU)
    assert [op.names[0] for op in ts.recipe_of(model).operations] == ["0.1", "0.1.layer"]
    saved_and_loaded(model, tmp_path / "save", base, torch.randn(2, 4))


def test_calls_of_functions_in_a_submodule(tmp_path, x):
    model = torchvision.models.densenet121().features
    block = model.denseblock1.denselayer1
    ts.wrap(block, "conv1", nn.Sequential)
    assert ts.recipe_of(model).operations[0].names == ("denseblock1.denselayer1.conv1",)

    class Calling(nn.Module):
        def forward(self, x):
            return nn.functional.relu(x)

    whole = nn.Sequential(nn.Linear(4, 4), Calling())
    ts.replace(whole[1], nn.functional.relu, nn.GELU)
    assert [op.data["do"] for op in ts.recipe_of(whole).operations] == ["calls", "replace"]
    saved_and_loaded(whole, tmp_path / "save", lambda: nn.Sequential(nn.Linear(4, 4), Calling()), torch.randn(2, 4))


def test_a_builder_that_alters_parts_itself(tmp_path):
    def build():
        return nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU()))

    def altering():
        model = build()
        ts.replace(model[1], nn.ReLU, nn.GELU)
        ts.insert(model, nn.Dropout(0.1), after="0")
        return model

    model, x = altering(), torch.randn(2, 2)
    ts.replace(model[1], "0", nn.SiLU)
    saved_and_loaded(model, tmp_path / "built", build, x)
    ts.save(model, tmp_path / "altering", base=altering)
    assert torch.equal(ts.load(tmp_path / "altering", base=altering).eval()(x), model(x))
    with pytest.raises(ts.RecipeError, match="is not the base"):
        ts.save(model, tmp_path / "other", base=lambda: nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Tanh())))


def test_a_copy_that_is_saved_without_a_recipe(tmp_path):
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    done = ts.replace(net, nn.ReLU, nn.GELU)
    twin = copy.deepcopy(net)
    with pytest.raises(ts.RecipeError, match="no surgery on this Sequential is known here"):
        ts.save(twin, tmp_path / "slim")
    ts.save(twin, tmp_path / "slim", recipe=ts.recipe_of(net))
    done.undo()
    with pytest.raises(ts.RecipeError, match="no surgery on this Sequential is known here"):
        ts.save(net, tmp_path / "plain")
    ts.save(net, tmp_path / "plain", base=lambda: copy.deepcopy(net))


def test_an_average_that_was_changed_beside_has_the_recipe_too(tmp_path):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 3)), torch.randn(2, 2)
    plain, average = copy.deepcopy(net), torch.optim.swa_utils.AveragedModel(net)
    first = ts.replace(net, nn.ReLU, nn.GELU, ema=average)
    done = ts.prune(net, "0", 0.5, example_inputs=x, ema=average)
    assert str(ts.recipe_of(average.module)) == str(ts.recipe_of(net))
    ts.save(average.module, tmp_path / "slim", base=lambda: plain)
    assert torch.equal(ts.load(tmp_path / "slim", base=lambda: copy.deepcopy(plain))(x), average.module(x))
    done.undo()
    assert len(ts.recipe_of(average.module)) == 1
    first.undo()
    assert len(ts.recipe_of(average.module)) == 0


# --- of a part


def test_what_was_done_to_the_model_is_told_of_a_part(tmp_path, x):
    model = mobilenet().eval()
    ts.prune(model, "features.*.block.0.0", 0.25, example_inputs=x)
    ts.replace(model, nn.Hardswish, nn.SiLU)
    ts.insert(model, nn.Dropout(0.1), after="classifier.0")
    part = model.features
    assert [op.data["do"] for op in ts.recipe_of(part).operations] == ["prune", "replace"]
    saved_and_loaded(part, tmp_path / "save", lambda: mobilenet().features, x)


def test_what_was_done_beside_a_part_is_not_told_of_it():
    model = mobilenet()
    ts.insert(model, nn.Dropout(0.1), after="classifier.0")
    assert len(ts.recipe_of(model.features)) == 0


def test_half_of_a_fold_is_not_told():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4)).eval()
    part = net[0]
    ts.fold(net, torch.randn(2, 3, 8, 8))
    assert len(ts.recipe_of(net)) == 1
    with pytest.raises(ts.RecipeError, match="altered as a part of another model") as caught:
        ts.recipe_of(part)
    assert "fold" in str(caught.value)
    assert caught.value.way_out
    ts.replace(part, "0", nn.Conv2d(3, 4, 1))  # which is no reason not to alter it
    with pytest.raises(ts.RecipeError, match="altered as a part of another model"):
        ts.recipe_of(part)


def test_layers_of_a_model_that_is_gone(tmp_path):
    model = mobilenet()
    ts.replace(model, nn.Hardswish, nn.SiLU)
    part = nn.Sequential(model.features, nn.Flatten())
    assert ts.recipe_of(part).operations[0].names[0] == "0.0.2"
    del model
    gc.collect()
    with pytest.raises(ts.RecipeError, match="Sequential was altered as a part of another model"):
        ts.save(part, tmp_path / "save")
    assert not (tmp_path / "save").exists()


# --- of the model in a wrapper


def test_what_was_done_through_a_wrapper_is_told_of_the_model(tmp_path, x):
    model = mobilenet()
    parallel = nn.DataParallel(model)
    done = ts.replace(parallel, nn.Hardswish, nn.SiLU)
    assert done.recipe.operations[0].names[0] == "features.0.2"
    assert ts.recipe_of(parallel) == ts.recipe_of(model)
    again = saved_and_loaded(parallel, tmp_path / "save", mobilenet, x)
    assert type(again) is type(model)
    del parallel
    done = None
    gc.collect()
    assert len(ts.recipe_of(model)) == 1
    saved_and_loaded(model, tmp_path / "save", mobilenet, x)


def test_training_is_kept_with_the_wrapper_left_out(tmp_path, x):
    model = mobilenet()
    parallel = nn.DataParallel(model)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1, momentum=0.9)
    ts.replace(parallel, nn.Hardswish, nn.SiLU, optimizer=optimizer)
    parallel(x).sum().backward()
    optimizer.step()
    ts.save(parallel, tmp_path / "save", base=mobilenet, optimizer=optimizer)
    again = nn.DataParallel(ts.load(tmp_path / "save", base=mobilenet))
    other = torch.optim.SGD(again.parameters(), lr=0.1, momentum=0.9)
    ts.load_training(tmp_path / "save", again, optimizer=other)
    moments = [optimizer.state[model.features[0][0].weight], other.state[again.module.features[0][0].weight]]
    assert torch.equal(moments[0]["momentum_buffer"], moments[1]["momentum_buffer"])


def test_what_is_put_around_the_model_in_a_wrapper_is_none_of_its_own():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    parallel = nn.DataParallel(model)
    done = ts.insert(parallel, nn.Dropout(0.1), after="module")
    assert len(ts.recipe_of(model)) == 0
    done.undo()
    assert parallel.module is model


# --- by other means


def test_what_was_altered_by_other_means_is_found_through_all_roots():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.ReLU()))
    ts.replace(net, "0", nn.Linear(2, 2))
    ts.replace(net[1], "0", nn.GELU)
    net[1][1] = nn.Tanh()
    for root, name in ((net, r"1\.1"), (net[1], "1")):
        with pytest.raises(ts.RecipeError, match=f"^{name} was altered by other means"):
            ts.recipe_of(root)
    net[1][1] = nn.ReLU()
    assert len(ts.recipe_of(net)) == 2


def test_what_was_altered_by_other_means_in_between():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.ReLU()))
    ts.replace(net[1], "0", nn.GELU)
    net[1][1] = nn.Tanh()
    done = ts.insert(net, nn.Dropout(0.1), after="0")
    with pytest.raises(ts.RecipeError, match=r"^1\.1 was altered by other means"):
        ts.recipe_of(net)
    done.undo()
    net[1][1] = nn.ReLU()
    assert len(ts.recipe_of(net)) == 1


def test_an_unaltered_copy_is_known_to_be_one():
    net = nn.Sequential(nn.Sequential(nn.ReLU()))
    ts.replace(net[0], nn.ReLU, nn.GELU)
    assert len(ts.recipe_of(copy.deepcopy(net))) == 0


# --- undo


def test_undo_has_one_order_through_all_roots():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.ReLU())
    before = list(model.modules())
    first = ts.replace(model[0], nn.ReLU, nn.GELU)
    second = ts.insert(model, nn.Dropout(0.1), after="0.1")
    third = ts.replace(nn.DataParallel(model), "module.1", nn.GELU)
    with pytest.raises(ts.SurgeryError, match="a later surgery on Sequential is still in force") as caught:
        first.undo()
    assert repr(third) in str(caught.value)
    assert caught.value.got is third
    third.undo()
    with pytest.raises(ts.SurgeryError) as caught:
        first.undo()
    assert repr(second) in str(caught.value)
    second.undo()
    first.undo()
    assert list(model.modules()) == before
    assert len(ts.recipe_of(model)) == 0


def test_a_later_surgery_that_nobody_holds_is_named_by_what_it_did():
    model = nn.Sequential(nn.Sequential(nn.ReLU()))
    first = ts.replace(model[0], nn.ReLU, nn.GELU)
    ts.insert(model, nn.Dropout(0.1), after="0.0")
    with pytest.raises(ts.SurgeryError, match=r"insert 0\.0: nobody holds it any more") as caught:
        first.undo()
    assert "done = ts.replace" in caught.value.way_out


# --- whatever is done where


def base(shared):
    block = [nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)) for _ in range(2)]
    return nn.Sequential(
        nn.Sequential(block[0], block[0 if shared else 1]), nn.ReLU(), nn.Sequential(nn.Linear(6, 6), nn.ReLU())
    )


def edited(root, kind, target):
    layers = [name for name, module in root.named_modules() if isinstance(module, nn.Linear | nn.ReLU | nn.GELU)]
    if not layers:
        return ts.wrap(root, "", nn.Sequential)
    name = layers[target % len(layers)]
    if kind == "replace":
        return ts.replace(root, name, nn.Linear(6, 6))
    if kind == "insert":
        return ts.insert(root, nn.Dropout(0.1), after=name)
    if kind == "remove":
        return ts.remove(root, name)
    if kind == "several":
        plan = ts.plan(root).wrap(name, nn.Sequential).insert(nn.Dropout(0.1), before=f"{name}.0".lstrip("."))
        return plan.replace(f"{name}.0.layer".lstrip("."), nn.Linear(6, 6)).apply()
    return ts.wrap(root, name if kind == "wrap" else "", nn.Sequential)


KINDS = ["replace", "insert", "wrap", "around", "remove", "several"]
ROOTS = ("", "0", "0.0", "0.1", "2")
STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(KINDS), st.integers(0, 9)),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=40)
@given(steps=STEPS, shared=st.booleans())
def test_whatever_is_done_through_whichever_root_comes_to_the_same_on_a_fresh_base(steps, shared):
    model = base(shared)
    roots = [model.get_submodule(name) for name in ROOTS]
    done = []
    for root, kind, target in steps:
        if kind != "around" or root:  # nothing holds the model itself
            done.append(edited(roots[root], kind, target))
    for root, name in zip(roots, ROOTS, strict=True):
        recipe = ts.recipe_of(root)
        fresh = base(shared).get_submodule(name)
        ts.plan(fresh).replay(recipe).apply()
        assert structure_of(fresh) == structure_of(root)
    for surgery in reversed(done):
        surgery.undo()
    assert [type(m) for m in model.modules()] == [type(m) for m in base(shared).modules()]
