"""Operations as they are told of another root."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.recipes import Operation
from torchsurgery.recipes.moving import View, moved, moved_lines, view_of

INTO = View({"": ("body", "again")})
OUT = View({"body": ("",)})


@pytest.fixture
def part():
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())


# --- names


def test_a_submodule_in_the_model_around_it(part):
    whole = nn.ModuleDict({"body": part, "head": nn.ReLU(), "again": part})
    view = view_of(part, whole)
    assert view == INTO
    assert view.places("") == ("body", "again")
    assert view.places("1.weight") == ("body.1.weight", "again.1.weight")
    assert view.first("1") == "body.1"


def test_a_model_in_a_part_of_it(part):
    view = view_of(nn.ModuleDict({"body": part, "head": nn.ReLU()}), part)
    assert view == OUT
    assert view.first("body.1") == "1"
    assert view.first("body") == ""
    assert view.first("head") is None
    assert view.first("bodyguard") is None


def test_two_models_with_a_part_in_common(part):
    view = view_of(nn.Sequential(part, nn.Tanh()), nn.ModuleDict({"a": nn.ReLU(), "b": part}))
    assert view.first("0.2") == "b.2"
    assert view.first("1") is None
    assert view_of(nn.ReLU(), part).names == {}


def test_names_from_before_a_part_went_into_a_wrapper():
    view = View({"body.layer": ("",), "neck.layer.0": ("n",)})
    before = view.before([("body.layer", "body"), ("neck.layer", "neck")])
    assert before.names == {"body": ("",), "neck.0": ("n",)}
    assert before.first("body.3") == "3"
    assert before.target("body") is None  # what was done there is around the part
    assert before.before([]).target("body") == ""  # and what was done earlier isn't
    assert INTO.before([("0.layer", "0")]) is INTO


def test_names_from_before_a_part_went_into_two_wrappers():
    view = View({"body.0.layer": ("",)})
    assert view.before([("body.layer", "body"), ("body.0", "body")]).names == {"body": ("",)}


# --- operations


def _both_ways(operation, names):
    """Told of the model around, and from there of the part again."""
    told = moved(operation, View({"": ("body",)}))
    assert told.names == tuple(names)
    assert moved(told, OUT) == operation
    assert moved(told, View({"head": ("",)})) is None
    return told


def test_each_kind_goes_in_and_out(part):
    x = torch.randn(2, 4)
    plan = ts.plan(part, x)
    _both_ways(plan.replace(nn.ReLU, nn.GELU).operations[0], ["body.2"])
    _both_ways(plan.insert(nn.Dropout(), after=nn.ReLU).operations[0], ["body.2"])
    _both_ways(plan.wrap("0", nn.Sequential).operations[0], ["body.0"])
    _both_ways(plan.remove(nn.ReLU).operations[0], ["body.2"])
    _both_ways(ts.plan(part.eval(), x).fold(x).operations[0], ["body.0"])


def test_pruning_and_widening_go_in_and_out():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(2, 4)
    told = moved(ts.plan(net, x).prune("0", 2).operations[0], View({"": ("body",)}))
    assert {row[0] for row in told.data["kept"]} == {"body.0.weight", "body.0.bias", "body.2.weight"}
    told = moved(ts.plan(net, x).widen("0", 12).operations[0], View({"2": ("head",)}))
    assert [row[0] for row in told.data["kept"]] == ["head.weight"]
    assert told.data["layers"] == []
    used = {row[2] for row in (*told.data["kept"], *told.data["shares"])}
    assert used <= set(told.tensors)


def test_calls_and_ends_go_in_and_out():
    calls = Operation({"do": "calls", "calls": [{"in": "0", "layer": "relu", "text": "F.relu(x)"}]})
    assert _both_ways(calls, ["body.0.relu"]).data["calls"][0]["in"] == "body.0"
    resized = Operation({"do": "resize", "asked": "", "layers": [{"at": ["0"]}], "attributes": [["", "classes", 3]]})
    assert _both_ways(resized, ["body.0"]).data["attributes"] == [["body", "classes", 3]]


def test_layers_that_share_one_say_where():
    shared = nn.PReLU()
    net = nn.Sequential(nn.ReLU(), nn.ReLU())
    operation = ts.plan(net).replace(nn.ReLU, shared, share=True).operations[0]
    told = _both_ways(operation, ["body.0", "body.1"])
    assert "'placed': 'body.0'" in str(told.data)
    with pytest.raises(ts.RecipeError, match="can't be told of this part of it alone"):
        moved(operation, View({"1": ("",)}))


def test_arguments_may_be_called_like_anything():
    layer = {"class": "my", "arguments": {"placed": "0", "path": "1", "at": ["0"], "arguments": {"layer": {"old": ""}}}}
    carries = {"placed": "placed", "path": "path"}
    operation = Operation({"do": "replace", "layers": [{"at": ["0"], "layer": layer, "carries": carries}]})
    group = moved(operation, INTO).data["layers"][0]
    assert group == {"at": ["body.0"], "layer": layer, "carries": carries}


def test_half_of_a_fold_can_not_be_told():
    fold = Operation({"do": "fold", "takings": [["0", None, "1"], ["4", None, "5"]]})
    assert moved(fold, View({"4": ("a",), "5": ("b",)})).data["takings"] == [["a", None, "b"]]
    with pytest.raises(ts.RecipeError, match="'fold 0, 4' was done to a larger model") as caught:
        moved(fold, View({"1": ("",)}))
    assert caught.value.way_out


def test_attributes_without_their_layers_can_not_be_told():
    data = {"do": "resize", "asked": "", "layers": [{"at": ["head"]}], "attributes": [["body", "classes", 3]]}
    with pytest.raises(ts.RecipeError, match="can't be told"):
        moved(Operation(data), OUT)


# --- structures


def test_lines_go_along_with_all_places_of_the_part(part):
    own = {"": "nn.Sequential()", "0": "nn.Linear()", "0.weight": "parameter (4, 4) float", "1": "is 0"}
    assert moved_lines(own, INTO) == {
        "body": "nn.Sequential()",
        "again": "is body",
        "body.0": "nn.Linear()",
        "again.0": "is body.0",
        "body.0.weight": "parameter (4, 4) float",
        "body.1": "is body.0",
        "again.1": "is body.0",
    }
    assert moved_lines({"head": "nn.ReLU()", "body": "nn.ReLU()", "body.0": "is body"}, OUT) == {
        "": "nn.ReLU()",
        "0": "is the model",
    }


def test_two_places_there_that_are_one_here():
    lines = {"a.0": "nn.ReLU()", "b.0": "is a.0"}
    assert moved_lines(lines, View({"a": ("",), "b": ("",)})) == {"0": "nn.ReLU()"}
