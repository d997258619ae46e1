"""Model or plan → folder: what is written, and what is refused before anything is."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import torchsurgery as ts
from torchsurgery.storage.opening import COMMIT, INDEX


def build():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


def altered():
    net = build()
    ts.replace(net, nn.ReLU, nn.GELU)
    return net


def test_what_is_in_the_folder(tmp_path):
    net = altered()
    ts.save(net, tmp_path / "slim", base=build)
    names = sorted(path.name for path in (tmp_path / "slim").iterdir())
    kinds = [name.split("-")[0] for name in names]
    assert kinds == [COMMIT, INDEX, "recipe", "structure", "weights"]
    recipe = json.loads(next((tmp_path / "slim").glob("recipe-*")).read_text())
    assert recipe["about"]["model"] == "Sequential" and recipe["about"]["reference"] is None
    assert recipe["state"] == {"frozen": [], "training": True, "otherwise": []}
    weights = load_file(next((tmp_path / "slim").glob("weights-*")))
    assert weights.keys() == net.state_dict().keys()  # plain names, for any reader of the format
    assert all(torch.equal(weights[key], net.state_dict()[key]) for key in weights)


def test_shards_with_the_index_that_other_tools_read(tmp_path):
    net = altered()
    ts.save(net, tmp_path / "slim", shard_size=100)
    index = json.loads((tmp_path / "slim" / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(p.numel() * 4 for p in net.parameters())
    assert index["weight_map"].keys() == net.state_dict().keys()
    assert len(set(index["weight_map"].values())) == 2
    for name, file in index["weight_map"].items():
        assert torch.equal(load_file(tmp_path / "slim" / file)[name], net.state_dict()[name])


def test_saved_again_in_place(tmp_path):
    net = altered()
    ts.save(net, tmp_path / "slim")
    with torch.no_grad():
        net[0].weight.zero_()
    ts.save(net, tmp_path / "slim")
    assert len(list((tmp_path / "slim").glob("weights-*"))) == 1
    assert not ts.load(tmp_path / "slim", base=build)[0].weight.any()


def test_a_reference_is_told_to_whoever_loads(tmp_path):
    import torchvision

    net = torchvision.models.squeezenet1_1()
    ts.replace(net, nn.ReLU, nn.GELU)
    ts.save(net, tmp_path / "slim", base="torchvision:squeezenet1_1")
    with pytest.raises(ts.RecipeError, match="base='torchvision:squeezenet1_1'"):
        ts.load(tmp_path / "slim")


def test_a_model_that_was_not_altered(tmp_path):
    net = build()
    ts.save(net, tmp_path / "same", base=build)
    assert torch.equal(ts.load(tmp_path / "same", base=build)[0].weight, net[0].weight)


def test_a_copy_needs_the_recipe(tmp_path):
    import copy

    net = altered()
    twin = copy.deepcopy(net)
    with pytest.raises(ts.RecipeError, match="it differs at 1"):
        ts.save(twin, tmp_path / "slim", base=build)  # as far as is known here, nothing was done to it
    ts.save(twin, tmp_path / "slim", base=build, recipe=ts.recipe_of(net))
    assert isinstance(ts.load(tmp_path / "slim", base=build)[1], nn.GELU)
    twin.append(nn.ReLU())
    with pytest.raises(ts.RecipeError, match="what the recipe leaves"):
        ts.save(twin, tmp_path / "more", recipe=ts.recipe_of(net))


def test_averaged_weights(tmp_path):
    net = build()
    average = torch.optim.swa_utils.AveragedModel(net)
    plan = ts.plan(net).replace(nn.ReLU, nn.GELU)
    done = plan.apply(ema=average)
    average.update_parameters(net)
    ts.save(average.module, tmp_path / "ema", base=build, recipe=done.recipe)
    assert isinstance(ts.load(tmp_path / "ema", base=build)[1], nn.GELU)


def test_a_wrong_base_is_found_when_saving(tmp_path):
    with pytest.raises(ts.RecipeError, match=r"not the base .*: it differs at 0"):
        ts.save(altered(), tmp_path / "slim", base=lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)))
    assert not (tmp_path / "slim").exists()


def test_the_base_given_as_a_model_stays_what_it_is(tmp_path):
    from sameness import portrait

    base, net = build(), altered()
    before = portrait(base)
    ts.save(net, tmp_path / "slim", base=base)
    assert portrait(base) == before


REFUSED = {
    "on meta": (lambda m: m.to("meta"), r"cannot save 0\.weight: on the meta device it has no values"),
    "sparse": (lambda m: setattr(m[0], "weight", nn.Parameter(m[0].weight.detach().to_sparse())), "0.weight"),
    "lazy": (
        lambda m: ts.wrap(m, "1", lambda old: nn.Sequential(old, nn.LazyLinear(6))),
        r"1\.1\.weight: it has no shape",
    ),
    "complex": (
        lambda m: setattr(m[0], "weight", nn.Parameter(m[0].weight.detach().to(torch.complex128))),
        "complex128 isn't known to safetensors",
    ),
    "shared memory": (
        lambda m: setattr(m[2], "bias", nn.Parameter(m[0].bias.data[:2])),
        r"\.bias: it shares memory with .*\.bias",
    ),
    "a state": (lambda m: ts.replace(m, "1", Counting()), r"1 \(Counting\): it has a state that is no tensor"),
}


class Counting(nn.Module):
    def forward(self, x):
        return x

    def get_extra_state(self):
        return {"calls": 3}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_saved(name, tmp_path):
    change, match = REFUSED[name]
    net = altered()
    change(net)
    with pytest.raises(ts.RecipeError, match=match):
        ts.save(net, tmp_path / "slim")
    assert not (tmp_path / "slim").exists()


def test_folders_that_are_not_ours(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ts.RecipeError, match=r"holds something else than a save.*\n.*notes\.txt"):
        ts.save(altered(), tmp_path / "mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ts.RecipeError, match="is a file, and a save is a folder"):
        ts.save(altered(), tmp_path / "file")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "mine", "notes.txt"]
    (tmp_path / "empty").mkdir()
    ts.save(altered(), tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").write_text("mine")
    ts.save(altered(), tmp_path / "empty")  # a save with something beside it is still a save
    assert (tmp_path / "empty" / "notes.txt").read_text() == "mine"


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ts.RecipeError, match="could not be written"):
        ts.save(altered(), tmp_path / "file" / "slim")


class TestPlans:
    def test_a_plan_does_what_was_reviewed(self, tmp_path):
        plan = ts.plan(build()).replace("0", nn.Linear(4, 6)).replace(nn.ReLU, nn.PReLU).wrap("2", nn.Sequential)
        ts.save(plan, tmp_path / "plan")
        other = build()
        ts.load_plan(tmp_path / "plan", other).apply()
        plan.apply()
        assert torch.equal(other[0].weight, plan.model[0].weight)  # drawn once, when it was planned
        assert isinstance(other[1], nn.PReLU) and isinstance(other[2], nn.Sequential)

    def test_values_that_were_drawn_by_a_factory_and_by_a_class(self, tmp_path, resnet18, networks):
        torch.manual_seed(7)
        plan = ts.plan(resnet18).replace("fc", lambda old: nn.Sequential(nn.Linear(512, 8), nn.Linear(8, 10)))
        plan = plan.insert(nn.BatchNorm2d, after="conv1")
        ts.save(plan, tmp_path / "plan")
        plan.apply()
        torch.manual_seed(8)
        fresh = networks("resnet18")
        ts.load_plan(tmp_path / "plan", fresh).apply()
        mine, theirs = fresh.state_dict(), resnet18.state_dict()
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)

    @pytest.mark.parametrize("keep", [None, [3, None, 1]])
    def test_new_classes_beside_old_ones(self, tmp_path, keep):
        net = build()
        plan = ts.plan(net, example_inputs=torch.ones(1, 4)).replace("2", nn.Linear(6, 5)).set_outputs(4, keep=keep)
        ts.save(plan, tmp_path / "plan")
        torch.manual_seed(8)
        other = build()
        other.load_state_dict(net.state_dict())
        ts.load_plan(tmp_path / "plan", other).apply()
        plan.apply()
        assert torch.equal(other[2].weight, net[2].weight) and torch.equal(other[2].bias, net[2].bias)

    def test_more_channels(self, tmp_path):
        net = build()
        plan = ts.plan(net).replace("0", nn.Linear, out_features=9).replace("2", nn.Linear, in_features=9)
        ts.save(plan, tmp_path / "plan")
        torch.manual_seed(8)
        other = build()
        other.load_state_dict(net.state_dict())
        ts.load_plan(tmp_path / "plan", other).apply()
        plan.apply()
        assert all(torch.equal(a, b) for a, b in zip(other.parameters(), net.parameters(), strict=True))

    def test_it_is_for_that_model(self, tmp_path):
        ts.save(ts.plan(build()).remove("1"), tmp_path / "plan")
        with pytest.raises(ts.RecipeError, match="it differs at 3"):
            ts.load_plan(tmp_path / "plan", build().append(nn.ReLU()))

    def test_a_plan_is_no_model_and_a_model_no_plan(self, tmp_path):
        ts.save(ts.plan(build()).remove("1"), tmp_path / "plan")
        with pytest.raises(ts.RecipeError, match="holds a plan, and no model"):
            ts.load(tmp_path / "plan", base=build)
        ts.save(altered(), tmp_path / "model")
        with pytest.raises(ts.RecipeError, match="holds a model, and no plan"):
            ts.load_plan(tmp_path / "model", build())

    def test_nothing_is_touched(self, tmp_path):
        from sameness import portrait

        net = build()
        before = portrait(net)
        ts.save(ts.plan(net).remove("1"), tmp_path / "plan", base=build)
        ts.load_plan(tmp_path / "plan", net)
        assert portrait(net) == before


class Stack(nn.Module):
    """Keeps none of its arguments."""

    def __init__(self, width, depth):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Gain(nn.Module):
    """Keeps its argument as a Parameter."""

    def __init__(self, gain):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, x):
        return x * self.gain


@pytest.fixture
def own_layers():
    ts.register("test-saving/stack", Stack)
    ts.register("test-saving/gain", Gain, {"gain": float})


def test_arguments_that_leave_no_trace_are_those_of_the_call(tmp_path, own_layers):
    net = build()
    ts.insert(net, Stack, after="0", width=6, depth=2)
    ts.save(net, tmp_path / "one", base=build)
    loaded = ts.load(tmp_path / "one", base=build)
    x = torch.randn(3, 4)
    assert torch.equal(loaded(x), net(x))
    ts.save(loaded, tmp_path / "two", base=build)
    assert torch.equal(ts.load(tmp_path / "two", base=build)(x), net(x))


def test_an_argument_that_is_learnt_is_read_off_the_parameter(tmp_path, own_layers):
    net = build()
    ts.insert(net, Gain(3.5), after="0")
    ts.save(net, tmp_path / "one", base=build)
    loaded = ts.load(tmp_path / "one", base=build)
    assert loaded[0].after.gain == 3.5
    ts.save(loaded, tmp_path / "two", base=build)
    assert ts.load(tmp_path / "two", base=build)[0].after.gain == 3.5
    other = build()
    ts.plan(other).replay(ts.recipe_of(net)).apply()
    assert other[0].after.gain == 3.5


def test_what_a_schema_would_refuse_when_it_is_loaded_is_refused_now(tmp_path, own_layers):
    class Narrow(Stack):
        pass

    ts.register("test-saving/narrow", Narrow, {"width": range(1, 5)})
    net = build()
    ts.insert(net, Narrow, after="0", width=6, depth=1)
    with pytest.raises(ts.RecipeError, match=r"width is not what it must be") as raised:
        ts.save(net, tmp_path / "one")
    assert "as registered for test-saving/narrow" in str(raised.value)
    assert not (tmp_path / "one").exists()


def test_registered_after_the_change(tmp_path):
    class Late(nn.Module):
        def forward(self, x):
            return x

    net = build()
    ts.replace(net, nn.ReLU, Late)
    with pytest.raises(ts.RecipeError, match=r"register what was used.*ts\.register\('.*Late', Late\)"):
        ts.plan(build()).replay(ts.recipe_of(net))
    with pytest.raises(ts.RecipeError, match="isn't registered here"):
        ts.save(net, tmp_path / "one", base=build)
    assert not (tmp_path / "one").exists()
    ts.register("test-saving/late", Late)
    ts.save(net, tmp_path / "one", base=build)
    assert isinstance(ts.load(tmp_path / "one", base=build)[1], Late)
