"""Modules that are held elsewhere than in `_modules`."""

import functools

import pytest
from torch import nn

from torchsurgery.outside import references

GLOBAL_LAYER = nn.Tanh()
GLOBAL_LIST = [GLOBAL_LAYER]


class Holder(nn.Module):
    """Holds one layer by whatever attribute the test sets around `nn.Module`."""

    def __init__(self, **held):
        super().__init__()
        vars(self).update(held)


class UsesGlobals(nn.Module):
    def forward(self, x):
        return GLOBAL_LIST[0](GLOBAL_LAYER(x))


def decorated(layer):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(self, x):
            return layer(function(self, x))

        return wrapper

    return decorate


def found(model, *wanted):
    return references(model.named_modules(), set(wanted))


@pytest.fixture
def layer():
    return nn.ReLU()


@pytest.mark.parametrize(
    ("hold", "path"),
    [
        (lambda layer: layer, "Holder.held"),
        (lambda layer: [nn.GELU(), layer], "Holder.held[1]"),
        (lambda layer: {"act": layer}, "Holder.held['act']"),
        (lambda layer: {"acts": [[layer]]}, "Holder.held['acts'][0][0]"),
        (lambda layer: lambda x: layer(x), "Holder.held → layer"),
    ],
    ids=["attribute", "list", "dict", "nested", "closure"],
)
def test_found_and_written(hold, path, layer):
    net, new = Holder(held=hold(layer)), nn.SiLU()
    (reference,) = found(net, layer)
    assert (reference.path, reference.module) == (path, layer)
    reference.write(new)
    assert found(net, layer) == []
    assert [r.module for r in found(net, new)] == [new]


@pytest.mark.parametrize(
    "hold",
    [
        lambda layer: (layer,),
        lambda layer: {layer},
        lambda layer: frozenset({layer}),
        lambda layer: functools.partial(layer),
        lambda layer: layer.forward,
        lambda layer: lambda x, act=layer: act(x),
        lambda layer: lambda x, *, act=layer: act(x),
    ],
    ids=["tuple", "set", "frozenset", "partial", "bound method", "default", "keyword default"],
)
def test_found_where_nothing_can_be_written(hold, layer):
    (reference,) = found(Holder(held=hold(layer)), layer)
    assert reference.module is layer
    assert reference.write is None


def test_a_decorated_forward_is_looked_into(layer):
    class Decorated(nn.Module):
        @decorated(layer)
        def forward(self, x):
            return x

    (reference,) = found(Decorated(), layer)
    assert reference.path == "Decorated.forward → layer"


def test_what_a_decorated_forward_wraps_is_looked_into(layer):
    class Decorated(nn.Module):
        @decorated(nn.GELU())
        def forward(self, x):
            return layer(x)

    (reference,) = found(Decorated(), layer)
    assert reference.module is layer


def test_globals_that_a_forward_names_are_looked_at():
    paths = sorted(reference.path for reference in found(UsesGlobals(), GLOBAL_LAYER))
    assert paths == [f"{__name__}.GLOBAL_LAYER", f"{__name__}.GLOBAL_LIST[0]"]


def test_a_name_of_the_module_stands_before_the_attribute(layer):
    net = nn.Sequential(nn.Linear(1, 1), Holder(held=[layer]))
    (reference,) = found(net, layer)
    assert reference.path == "1.held[0]"


def test_submodules_are_not_references(layer):
    assert found(nn.Sequential(layer), layer) == []


def test_other_modules_are_left_out(layer):
    assert found(Holder(held=[nn.GELU()]), layer) == []


def test_a_list_that_holds_itself_ends(layer):
    circle = [layer]
    circle.append(circle)
    assert len(found(Holder(held=circle), layer)) == 1


def test_a_closure_that_is_not_filled_yet(layer):
    def function():
        return later, layer

    assert len(found(Holder(held=function), layer)) == 1
    later = None
