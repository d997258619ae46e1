"""From planned edits to operations: what is written down of each."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.recipes.recording import recorded


class Scaled(nn.Module):
    """Keeps nothing of its argument `times` under its name."""

    def __init__(self, inner, times=1):
        super().__init__()
        self.inner, self.factor = inner, 2.0 * times

    def forward(self, x):
        return self.inner(x) * self.factor


class Named(nn.Module):
    def __init__(self, old, name):
        super().__init__()
        self.old, self.name = old, name


class Fused(nn.ReLU):
    pass


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())


def data_of(plan):
    return recorded(plan.planned[-1]).data


def test_a_class_with_its_arguments():
    data = data_of(ts.plan(net()).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=ts.divisor(2)))
    assert data == {
        "do": "replace",
        "layers": [
            {
                "at": ["1"],
                "by": {"class": "torch.nn.GroupNorm", "arguments": {"num_groups": 2}},
                "layer": {"class": "torch.nn.GroupNorm", "arguments": {"num_groups": 2, "num_channels": 4}},
                "carries": {"weight": "weight", "bias": "bias"},
            }
        ],
    }


def test_a_class_without_a_constructor_of_its_own():
    (group,) = data_of(ts.plan(net()).replace(nn.ReLU, Fused))["layers"]
    assert group == {"at": ["2", "4"], "retype": f"{Fused.__module__}.Fused"}


def test_layers_of_which_the_same_is_said_stand_together():
    (group,) = data_of(ts.plan(net()).replace(nn.ReLU, nn.LeakyReLU(0.2)))["layers"]
    assert group["at"] == ["2", "4"] and "by" not in group
    assert group["layer"] == {"class": "torch.nn.LeakyReLU", "arguments": {"negative_slope": 0.2}}


def test_one_instance_in_all_places():
    first, second = data_of(ts.plan(net()).replace(nn.ReLU, nn.PReLU(), share=True))["layers"]
    assert first["layer"]["class"] == "torch.nn.PReLU" and second["layer"] == {"placed": "2", "path": ""}


def test_an_instance_that_carries():
    (group,) = data_of(ts.plan(net()).replace("0", nn.Conv2d(3, 4, 1, bias=True), carry=True))["layers"]
    assert group["carries"] == {"weight": "weight", "bias": "bias"}


def test_a_lambda_is_written_down_as_what_it_made():
    (group,) = data_of(ts.plan(net()).replace("0", lambda old: nn.Sequential(old, nn.Dropout(0.3))))["layers"]
    assert group["layer"] == {
        "class": "torch.nn.Sequential",
        "parts": [["0", {"old": ""}], ["1", {"class": "torch.nn.Dropout", "arguments": {"p": 0.3}}]],
    }
    assert "carries" not in group  # they go along with the layer


def test_tensors_that_a_factory_takes_from_the_old_layer():
    def twice(old):
        new = nn.Sequential(nn.Conv2d(3, 4, 1))
        new[0].weight = old.weight
        return new

    (group,) = data_of(ts.plan(net()).replace("0", twice))["layers"]
    assert group["carries"] == {"0.weight": "weight"}


def test_a_wrapper_is_written_down_as_it_was_called():
    (group,) = data_of(ts.plan(net()).wrap(nn.Conv2d, Scaled, times=3))["layers"]
    assert group["at"] == ["0", "3"]
    assert group["layer"] == {
        "class": f"{Scaled.__module__}.Scaled",
        "arguments": {"inner": {"layer": {"old": ""}}, "times": 3},
    }


def test_a_wrapper_that_is_told_the_name():
    first, second = data_of(ts.plan(net()).wrap(nn.ReLU, Named))["layers"]
    assert [first["layer"]["arguments"]["name"], second["layer"]["arguments"]["name"]] == ["2", "4"]


def test_a_registered_function_is_written_down_by_its_key():
    @ts.register("test/recorded-factory")
    def factory(old, width=2):
        return nn.Conv2d(old.in_channels, old.out_channels, old.kernel_size)

    (group,) = data_of(ts.plan(net()).replace("0", factory, width=5))["layers"]
    assert group["layer"] == {"factory": "test/recorded-factory", "arguments": {"width": 5}}


def test_what_can_not_be_written_down_needs_a_key():
    def secret(old):
        return Scaled(old, 7)

    recipe = ts.plan(net()).replace("0", secret).recipe
    assert recipe.needs == (f"{__name__}.test_what_can_not_be_written_down_needs_a_key.<locals>.secret",)
    assert "ts.register(" in str(recipe)


def test_insertions_and_removals():
    plan = ts.plan(net()).insert(nn.Dropout(0.1), after=nn.ReLU)
    assert data_of(plan) == {
        "do": "insert",
        "where": "after",
        "layers": [{"at": ["2", "4"], "layer": {"class": "torch.nn.Dropout", "arguments": {"p": 0.1}}}],
    }
    assert data_of(ts.plan(net()).insert(nn.BatchNorm2d, before="3"))["where"] == "before"
    assert data_of(ts.plan(net()).remove(nn.ReLU)) == {"do": "remove", "at": ["2", "4"]}


def test_a_layer_under_several_names_is_written_under_the_first():
    model = net()
    model.append(model[2])
    assert data_of(ts.plan(model).replace("5", nn.GELU))["layers"][0]["at"] == ["2"]


def test_folds_ends_and_cuts():
    x = torch.randn(1, 3, 6, 6)
    assert data_of(ts.plan(net()).fold(x)) == {"do": "fold", "takings": [["0", None, "1"]]}
    ends = data_of(ts.plan(net()).set_inputs(5, example_inputs=x))
    assert ends["layers"] == [{"at": ["0"], "way": {"name": "inputs", "arguments": {"channels": 5, "fill": "zeros"}}}]
    operation = recorded(ts.plan(net(), example_inputs=x).prune("0", channels=[1]).planned[0])
    assert operation.data["kept"] == [
        ["0.weight", 0, "0"],
        ["0.bias", 0, "0"],
        *[[f"1.{name}", 0, "0"] for name in ("weight", "bias", "running_mean", "running_var")],
        ["3.weight", 1, "0"],
    ]
    assert operation.tensors["0"].tolist() == [0, 2, 3]


def test_whole_conversions_are_ways():
    (group,) = data_of(ts.freeze_norms(ts.plan(net())))["layers"]
    assert group["way"] == {"name": "frozen", "arguments": {"trainable": False}}
    (group,) = data_of(ts.factorize(ts.plan(net()), "3", rank=1))["layers"]
    assert group["way"] == {"name": "low rank", "arguments": {"rank": 1, "separated": False}}
    assert len(group["layer"]["parts"]) == 2
    ways = [group["way"] for group in data_of(ts.convert.dims(ts.plan(net()), 3))["layers"]]
    assert all(way["name"] == "axes" and way["arguments"]["new"] == 3 for way in ways)
    rows = recorded(
        ts.plan(nn.Sequential(nn.Linear(3, 4)))
        .set_outputs(3, keep=[2, None], example_inputs=torch.ones(1, 3))
        .planned[0]
    )
    assert rows.tensors["0"].tolist() == [2, -1, -1]


def test_calls_that_become_layers():
    class Net(nn.Module):
        def forward(self, x):
            return nn.functional.relu(x) + nn.functional.relu(x)

    plan = ts.plan(nn.Sequential(Net())).replace(nn.functional.relu, nn.GELU)
    calls, replaced = (recorded(planned).data for planned in plan.planned)
    site = {"in": "0", "method": "forward", "text": "nn.functional.relu(x)"}
    assert calls["calls"] == [site | {"which": 0, "layer": "relu_1"}, site | {"which": 1, "layer": "relu_2"}]
    assert replaced["layers"][0]["at"] == ["0.relu_1", "0.relu_2"]


@pytest.mark.parametrize("name", ["replace", "insert", "remove", "wrap"])
def test_the_recipe_of_a_surgery_is_that_of_its_plan(name):
    plan = {
        "replace": lambda p: p.replace(nn.ReLU, nn.GELU),
        "insert": lambda p: p.insert(nn.Dropout, after=nn.ReLU),
        "remove": lambda p: p.remove(nn.ReLU),
        "wrap": lambda p: p.wrap(nn.ReLU, nn.Sequential),
    }[name](ts.plan(net()))
    before = plan.recipe
    done = plan.apply()
    assert done.recipe.operations == before.operations and done.recipe.base == before.base
    assert done.recipe.result != done.recipe.base
