"""`ts.select`: which layers, under which names, and what is said when there is none."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchsurgery as ts
from torchsurgery.patterns import compile_pattern


class Net(nn.Module):
    """
    stem    Conv2d 1×1 with bias, blocks  0, 1: (conv 3×3 without bias, norm, act), act shared by both,
    head    its own Sequential with a nested Sequential, fc = Linear.
    """

    def __init__(self):
        super().__init__()
        act = nn.ReLU()
        self.stem = nn.Conv2d(3, 8, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, (3, 3), padding=1, bias=False), nn.BatchNorm2d(8), act) for _ in range(2)
        )
        self.head = nn.Sequential(nn.Sequential(nn.Conv2d(8, 4, (1, 3)), nn.ReLU6()), nn.AdaptiveAvgPool2d(1))
        self.fc = nn.Linear(4, 2)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        return F.relu(self.fc(x))


class Convolution(nn.Conv2d):
    """A user's subclass."""


@pytest.fixture
def net():
    return Net()


def names(*args, **kwargs):
    return ts.select(*args, **kwargs).names


# --- targets


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (nn.Conv2d, ("stem", "blocks.0.0", "blocks.1.0", "head.0.0")),
        ((nn.BatchNorm2d, nn.Linear), ("blocks.0.1", "blocks.1.1", "fc")),
        (nn.ReLU, ("blocks.0.2", "blocks.1.2")),
        ((nn.Linear, "stem"), ("stem", "fc")),
        ("fc", ("fc",)),
        ("", ("",)),
    ],
    ids=["type", "types", "shared", "type or name", "name", "the model"],
)
def test_target(net, target, expected):
    assert names(net, target) == expected


def test_several_targets_must_all_fit(net):
    assert names(net, nn.Conv2d, "blocks.**") == ("blocks.0.0", "blocks.1.0")


def test_no_target_is_every_module(net):
    assert ts.select(net).modules == tuple(net.modules())


def test_order_is_that_of_named_modules(resnet18):
    found = ts.select(resnet18, (nn.ReLU, nn.BatchNorm2d, nn.Conv2d))
    kinds = nn.ReLU, nn.BatchNorm2d, nn.Conv2d
    assert found.names == tuple(name for name, module in resnet18.named_modules() if isinstance(module, kinds))
    assert len(found) == 9 + 20 + 20


def test_subclasses_count_unless_exact(net):
    net.stem = Convolution(3, 8, 1)
    assert len(ts.select(net, nn.Conv2d)) == 4
    assert names(net, nn.Conv2d, exact=True) == ("blocks.0.0", "blocks.1.0", "head.0.0")
    assert names(net, Convolution, exact=True) == ("stem",)


def test_a_place_tells_the_class_by_which_it_was_asked_for(net):
    net.stem = Convolution(3, 8, 1)
    assert ts.select(net, nn.Conv2d)[0].asked is nn.Conv2d
    assert ts.select(net, (nn.Module, Convolution, nn.Conv2d))[1].asked is Convolution
    assert ts.select(net, "stem")[0].asked is None


def test_a_reference_wherever_it_lies(resnet18):
    reference = next(next(resnet18.layer4.children()).children())
    assert names(resnet18, reference) == ("layer4.0.conv1",)


def test_a_place_and_a_selection_are_targets(net):
    convolutions = ts.select(net, nn.Conv2d)
    assert names(net, convolutions[0]) == ("stem",)
    assert names(net, convolutions, "head.**") == ("head.0.0",)
    assert names(net, (convolutions[0], nn.Linear)) == ("stem", "fc")


def test_a_shared_layer_is_one_item_with_all_its_names(net):
    (place,) = ts.select(net, nn.ReLU)
    assert place.names == ("blocks.0.2", "blocks.1.2")
    assert place.name == "blocks.0.2"
    assert place.module is net.blocks[0][2]


def test_a_shared_layer_is_found_by_each_of_its_names(net):
    assert ts.select(net, "blocks.1.2") == ts.select(net, "blocks.0.2")


def test_the_model_in_a_compiled_wrapper_is_selected_in(net):
    found = ts.select(torch.compile(net), nn.Linear)
    assert found.model is net
    assert found.names == ("fc",)


# --- patterns


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("layer1", ["layer1"], ["layer1.0", "layer10", "xlayer1", ""]),
        ("*", ["layer1", "fc"], ["layer1.0", ""]),
        ("**", ["", "fc", "layer1.0.conv1"], []),
        ("layer*.*", ["layer1.0", "layer10.1"], ["layer1", "layer1.0.conv1", "fc.0"]),
        ("layer1.**", ["layer1", "layer1.0", "layer1.0.conv1"], ["layer10", "layer2.0"]),
        ("**.conv1", ["conv1", "layer1.0.conv1"], ["conv10", "layer1.0.xconv1", "conv1.0"]),
        ("a.**.b", ["a.b", "a.x.b", "a.x.y.b"], ["a", "b", "a.xb", "axb"]),
        ("**.a.**", ["a", "x.a", "a.x", "x.a.y"], ["xa", "ax", "x.ay"]),
        ("**.**", ["a", "a.b"], []),
        ("a.**.**.b", ["a.b", "a.x.b"], ["ab"]),
        ("layer[34].0", ["layer3.0", "layer4.0"], ["layer1.0", "layer34.0"]),
        ("layer[1-3]", ["layer1", "layer2", "layer3"], ["layer4", "layer-"]),
        ("layer[!3]", ["layer1", "layerx"], ["layer3", "layer"]),
        ("layer[^3]", ["layer1", "layerx"], ["layer3", "layer^3"]),
        ("conv?", ["conv1", "conv2"], ["conv", "conv12", "conv."]),
        ("*.bn*", ["layer1.bn1", "x.bn"], ["bn1", "layer1.0.bn1"]),
        ("a+b", ["a+b"], ["aab"]),
        ("re:layer[12]\\.\\d\\.conv1", ["layer1.0.conv1"], ["layer3.0.conv1", "layer1.0.conv10", "xlayer1.0.conv1"]),
        ("re:", [""], ["fc"]),
    ],
)
def test_pattern(pattern, fitting, others):
    match = compile_pattern(pattern).fullmatch
    assert [name for name in [*fitting, *others] if match(name)] == fitting


def test_patterns_on_a_real_model(resnet18):
    assert names(resnet18, "layer[34].0.downsample.0") == ("layer3.0.downsample.0", "layer4.0.downsample.0")
    assert len(ts.select(resnet18, "layer*.*.conv1")) == 8
    assert len(ts.select(resnet18, nn.Conv2d, "layer1.**")) == 4
    assert names(resnet18, r"re:.*downsample\.1") == (
        "layer2.0.downsample.1",
        "layer3.0.downsample.1",
        "layer4.0.downsample.1",
    )


@pytest.mark.parametrize("pattern", ["re:(", "layer[z-a]"])
def test_a_pattern_that_is_none(net, pattern):
    with pytest.raises(ts.SelectionError, match="is not a valid pattern") as caught:
        ts.select(net, pattern)
    assert caught.value.got == pattern


# --- attributes


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"kernel_size": (1, 1)}, ("stem",)),
        ({"kernel_size": 1}, ("stem",)),
        ({"kernel_size": [1, 3]}, ("head.0.0",)),
        ({"kernel_size": 3}, ("blocks.0.0", "blocks.1.0")),
        ({"kernel_size": 3, "bias": False}, ("blocks.0.0", "blocks.1.0")),
        ({"bias": True}, ("stem", "head.0.0")),
        ({"bias": None}, ("blocks.0.0", "blocks.1.0")),
        ({"in_channels": 3}, ("stem",)),
        ({"padding_mode": "zeros", "out_channels": 4}, ("head.0.0",)),
    ],
    ids=str,
)
def test_attributes(net, attributes, expected):
    assert names(net, nn.Conv2d, **attributes) == expected


def test_a_parameter_itself_as_an_attribute(net):
    assert names(net, weight=net.fc.weight) == ("fc",)


def test_true_is_not_the_number_one():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm1d(1), nn.Linear(1, 1))
    assert names(net, affine=True) == ("1",)
    with pytest.raises(ts.SelectionError):
        ts.select(net, in_features=True)


def test_a_submodule_is_there_or_not():
    with_norm, without = nn.Module(), nn.Module()
    with_norm.norm, without.norm = nn.BatchNorm1d(1), None
    net = nn.ModuleList([with_norm, without])
    assert names(net, norm=True) == ("0",)
    assert names(net, norm=False) == ("1",)


def test_the_ones_of_resnet18(resnet18):
    assert len(ts.select(resnet18, nn.Conv2d, kernel_size=(1, 1))) == 3
    assert len(ts.select(resnet18, nn.Conv2d, kernel_size=1, stride=2)) == 3
    assert len(ts.select(resnet18, nn.Conv2d, kernel_size=3, stride=(2, 2))) == 3


# --- predicates


def test_a_predicate_takes_name_and_module(resnet18):
    found = ts.select(resnet18, nn.BatchNorm2d, where=lambda name, m: m.num_features >= 256 and "downsample" in name)
    assert found.names == ("layer3.0.downsample.1", "layer4.0.downsample.1")


def test_a_predicate_is_asked_for_each_name_of_what_fits_the_rest(net):
    asked = []
    ts.select(net, nn.ReLU, where=lambda name, module: asked.append(name) or name == "blocks.1.2")
    assert asked == ["blocks.0.2", "blocks.1.2"]


# --- a selection as a sequence and as a set


def test_length_items_and_slices(net):
    found = ts.select(net, nn.Conv2d)
    assert len(found) == 4
    assert found[0].name == "stem"
    assert found[-1].module is net.head[0][0]
    assert found[1:3].names == ("blocks.0.0", "blocks.1.0")
    assert found[-2:].names == ("blocks.1.0", "head.0.0")
    assert [place.name for place in found] == list(found.names)
    assert found.modules == (net.stem, net.blocks[0][0], net.blocks[1][0], net.head[0][0])


def test_an_index_beyond_the_end(net):
    with pytest.raises(ts.SelectionError, match="no item 4 in a selection of 4"):
        ts.select(net, nn.Conv2d)[4]


def test_membership_by_name_module_or_place(net):
    found = ts.select(net, nn.Conv2d)
    assert "stem" in found
    assert net.stem in found
    assert found[0] in found
    assert "fc" not in found
    assert net.fc not in found


def test_set_operations_keep_the_order_of_the_model(net):
    convolutions, bare = ts.select(net, nn.Conv2d), ts.select(net, nn.Conv2d, bias=False)
    linear = ts.select(net, nn.Linear)
    assert (linear | bare).names == ("blocks.0.0", "blocks.1.0", "fc")
    assert (convolutions & bare) == bare
    assert (convolutions - bare).names == ("stem", "head.0.0")
    assert len(bare - convolutions) == 0
    assert len(linear & convolutions) == 0


def test_equal_are_those_with_the_same_layers_of_the_same_model(net):
    one, same = ts.select(net, nn.Linear), ts.select(net, "fc")
    assert one == same
    assert hash(one) == hash(same)
    assert one != ts.select(net, "stem")
    assert one != ts.select(Net(), nn.Linear)
    assert one != "fc"


def test_only_selections_of_one_model_combine(net):
    with pytest.raises(ts.SelectionError, match="different models"):
        ts.select(net, nn.Linear) | ts.select(Net(), nn.Linear)
    with pytest.raises(ts.SelectionError, match="combines with a Selection, got str"):
        ts.select(net, nn.Linear) & "fc"


@pytest.mark.parametrize("where", ["head", "head*", "re:head"])
def test_inside_and_outside_a_name(net, where):
    found = ts.select(net, (nn.Conv2d, nn.Sequential, nn.AdaptiveAvgPool2d))
    assert found.inside(where).names == ("head.0", "head.0.0", "head.1")
    assert found.outside(where).names == ("stem", "blocks.0", "blocks.0.0", "blocks.1", "blocks.1.0")


def test_inside_and_outside_a_module(net):
    found = ts.select(net, nn.Conv2d)
    assert found.inside(net.head).names == ("head.0.0",)
    assert found.outside(net.blocks).names == ("stem", "head.0.0")
    assert found.inside("").names == found.names


def test_a_shared_layer_lies_inside_each_of_its_parents(net):
    assert len(ts.select(net, nn.ReLU).inside("blocks.1")) == 1


def test_outermost_and_innermost_of_nested_matches(net):
    nested = ts.select(net, nn.Sequential)
    assert nested.names == ("blocks.0", "blocks.1", "head", "head.0")
    assert nested.outermost().names == ("blocks.0", "blocks.1", "head")
    assert nested.innermost().names == ("blocks.0", "blocks.1", "head.0")


def test_the_model_itself_is_the_outermost(net):
    assert ts.select(net).outermost().names == ("",)


def test_expect(resnet18):
    norms = ts.select(resnet18, nn.BatchNorm2d)
    assert norms.expect(20) is norms
    assert norms.expect(at_least=1) is norms
    assert norms.expect(at_least=20, at_most=20) is norms
    assert norms.expect() is norms


@pytest.mark.parametrize(
    ("wanted", "words"),
    [({"count": 21}, "21"), ({"at_least": 21}, "at least 21"), ({"at_most": 19}, "at most 19"), ({"count": 0}, "0")],
    ids=str,
)
def test_another_number_than_expected(resnet18, wanted, words):
    with pytest.raises(ts.SelectionError, match=f"expected {words} layers, but 20 are selected") as caught:
        ts.select(resnet18, nn.BatchNorm2d).expect(**wanted)
    assert (caught.value.expected, caught.value.got) == (words, 20)
    assert "bn1" in str(caught.value)


def test_repr_lists_the_layers_and_folds_what_is_many(net, resnet18):
    assert repr(ts.select(net, (nn.ReLU, nn.Linear))) == (
        "Selection of 2 of 16 modules of Net\n"
        "  blocks.0.2 = blocks.1.2  ReLU()\n"
        "  fc                       Linear(in_features=4, out_features=2, bias=True)"
    )
    rows = repr(ts.select(resnet18, nn.Conv2d)).splitlines()
    assert len(rows) == 1 + 12 + 1
    assert rows[-1] == "  … 8 more"
    assert repr(ts.select(net, "")).splitlines()[1] == "  (the model)  Net( … )"


# --- nothing there


def refusal(*args, **kwargs):
    with pytest.raises(ts.SelectionError) as caught:
        ts.select(*args, **kwargs)
    return caught.value


def test_a_misspelt_name_offers_close_ones(resnet18):
    error = refusal(resnet18, "layer1.0.conv3")
    assert "'layer1.0.conv3' selects no module of ResNet (68 modules)" in str(error)
    assert "closest names: layer1.0.conv" in str(error)


@pytest.mark.parametrize(
    ("name", "there", "way_out"),
    [("ReLU", 9, "nn.ReLU"), ("nn.BatchNorm2d", 20, "nn.BatchNorm2d"), ("BasicBlock", 8, "BasicBlock")],
)
def test_the_name_of_a_class_is_told_to_be_one(resnet18, name, there, way_out):
    text = str(refusal(resnet18, name))
    assert f"{way_out.removeprefix('nn.')} is a class, of which there are {there}\n" in text
    assert text.endswith(f"give the class, not its name:  {way_out}")


def test_several_targets_in_a_list(resnet18):
    assert str(refusal(resnet18, ["conv1", "fc"])).endswith("write several as a tuple:  ('conv1', 'fc')")


def test_a_pattern_without_a_match_explains_the_stars(resnet18):
    assert "'*' stands for one name, '**' for any number of them" in str(refusal(resnet18, "layer1.*.*.conv1"))


def test_a_type_without_a_match_lists_those_that_are_there(resnet18):
    text = str(refusal(resnet18, nn.LSTM))
    assert text.startswith("LSTM selects no module of ResNet")
    assert "types there are: Conv2d ×20, BatchNorm2d ×20, ReLU ×9" in text


def test_a_type_without_a_match_names_the_functional_calls():
    text = str(refusal(Functional(), nn.ReLU))
    assert "the model calls it as a function: relu() in the forward of the model itself" in text


def test_functional_calls_in_many_modules_are_folded():
    text = str(refusal(nn.Sequential(*(Functional() for _ in range(5))), nn.ReLU))
    assert "in the forward of 0, 1, 2 and 2 more" in text


def test_attributes_without_a_match_tell_the_values_there(resnet18):
    text = str(refusal(resnet18, nn.Conv2d, kernel_size=5))
    assert text.startswith("Conv2d, kernel_size=5 selects no module")
    assert "kernel_size is (3, 3) ×16, (1, 1) ×3, (7, 7) ×1" in text


def test_a_misspelt_attribute_offers_close_ones(resnet18):
    text = str(refusal(resnet18, nn.Conv2d, kernelsize=3))
    assert "none of them has an attribute kernelsize; close: kernel_size" in text


def test_attributes_of_a_type_that_is_not_there(resnet18):
    assert "types there are" in str(refusal(resnet18, nn.LSTM, hidden_size=3))


def test_a_predicate_that_nothing_fits(resnet18):
    text = str(refusal(resnet18, nn.ReLU, where=lambda name, module: False))
    assert text.startswith("ReLU under the given predicate selects no module")


def test_exactly_is_said(net):
    assert str(refusal(net, nn.Module, exact=True)).startswith("Module (exactly) selects no module of Net")


def test_an_empty_selection_is_an_error_for_a_verb(net):
    empty = ts.select(net, nn.Linear) - ts.select(net, "fc")
    with pytest.raises(ts.SelectionError, match="a selection of 0 selects no module"):
        ts.remove(net, empty)


def test_types_that_fit_nothing_in_a_tuple(net):
    assert str(refusal(net, (nn.LSTM, nn.GRU))).startswith("(LSTM, GRU) selects no module of Net")


def test_every_empty_selection_offers_a_way_out(net):
    for args, kwargs in [(("fx",), {}), ((nn.LSTM,), {}), ((), {"kernel_size": 9})]:
        error = refusal(net, *args, **kwargs)
        assert eval(error.way_out.partition("  ")[2], {"ts": ts, "model": net, "nn": nn})


# --- what is no target


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (int, "builtins.int is not a class of layers"),
        (len, "the function len is not a layer"),
        (3, "3 selects nothing: a target is a class"),
        (None, "None selects nothing"),
    ],
    ids=["no module type", "function", "number", "None"],
)
def test_no_target(net, target, words):
    error = refusal(net, target)
    assert words in str(error).splitlines()[0]
    assert error.got is target


def test_no_model():
    error = refusal([nn.ReLU()], nn.ReLU)
    assert str(error).startswith("the model must be an nn.Module, got list")


def test_a_layer_of_another_model(net):
    assert re.match("the layer Linear is not a part of Net, or no more", str(refusal(net, nn.Linear(1, 1))))


def test_a_selection_of_another_model(net):
    assert "this selection is of another model (Functional)" in str(refusal(net, ts.select(Functional(), "fc")))


def test_a_place_that_is_no_more(net):
    place = ts.select(net, "fc")[0]
    net.fc = nn.Identity()
    assert "the layer 'fc' (Linear) is not a part of Net, or no more" in str(refusal(net, place))


def test_selecting_changes_nothing(resnet18):
    before = {name: id(module) for name, module in resnet18.named_modules()}
    random_state = torch.random.get_rng_state()
    ts.select(resnet18, "layer*.**", where=lambda name, module: True, training=False)
    assert {name: id(module) for name, module in resnet18.named_modules()} == before
    assert torch.equal(torch.random.get_rng_state(), random_state)
