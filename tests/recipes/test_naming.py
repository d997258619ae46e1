"""The classes and functions that data may name."""

import pytest
from torch import nn

import torchsurgery as ts
from torchsurgery.recipes import naming


def test_torchs_layers_are_there_and_nothing_else_of_torch():
    keys = set(naming.keys())
    assert {"torch.nn.Linear", "torch.nn.Conv3d", "torch.nn.Transformer", "torch.nn.functional.relu"} <= keys
    for name in ("Module", "DataParallel", "LazyLinear", "ParameterList", "Parameter"):
        assert f"torch.nn.{name}" not in keys
    assert all(callable(naming.entry_of(key).thing) for key in keys)


def test_every_layer_of_this_library_is_there():
    own = [thing for thing in vars(ts).values() if isinstance(thing, type) and issubclass(thing, nn.Module)]
    for kind in own:
        if kind is not ts.Inserted:  # which has an operation of its own
            assert naming.is_registered(kind), kind


def test_registered_and_found():
    class Mine(nn.Module):
        pass

    assert naming.entry_of("test/mine") is None
    assert naming.key_of(Mine).endswith("test_registered_and_found.<locals>.Mine")
    assert ts.register("test/mine", Mine) is Mine
    assert naming.entry_of("test/mine").thing is Mine
    assert naming.key_of(Mine) == "test/mine"
    assert naming.is_registered(Mine)


def test_as_a_decorator_of_a_class_and_of_a_function():
    @ts.register("test/decorated", schema={"width": int})
    class Mine(nn.Module):
        def __init__(self, width):
            super().__init__()

    @ts.register("test/function")
    def make(old):
        return nn.Identity()

    assert naming.entry_of("test/decorated").schema == {"width": int}
    assert naming.key_of(make) == "test/function"


def test_a_class_defined_again_takes_the_place_of_the_old_one():
    def define():
        class Mine(nn.Module):
            pass

        return Mine

    first, second = define(), define()
    ts.register("test/again", first)
    ts.register("test/again", second)
    assert naming.entry_of("test/again").thing is second


def test_refused():
    class Mine(nn.Module):
        pass

    with pytest.raises(ts.PlanError, match=r"'torch\.nn\.Linear' is taken by torch\.nn\.modules\.linear\.Linear"):
        ts.register("torch.nn.Linear", Mine)
    for key in ("", "  ", 3, "x" * 300):
        with pytest.raises(ts.PlanError, match="a key is a short text"):
            ts.register(key, Mine)
    for thing in (nn.ReLU(), 3):
        with pytest.raises(ts.PlanError, match="a class of layers or a function"):
            ts.register("test/refused", thing)


def test_a_full_name_from_before_it_was_registered_is_found():
    class Mine(nn.Module):
        pass

    full = naming.key_of(Mine)
    assert naming.entry_of(full) is None
    ts.register("test/late", Mine)
    assert naming.entry_of(full).thing is Mine
    assert naming.known(full) is Mine


def test_the_way_out_of_an_unknown_key_is_code():
    for key, word in (
        ("my/from_conv", "from_conv"),
        ("pack.mod.Layer", "Layer"),
        ("m.<lambda>", "lambda"),
        ("a/b c", "b_c"),
    ):
        with pytest.raises(ts.RecipeError, match="isn't registered here") as raised:
            naming.known(key)
        assert raised.value.way_out.endswith(f"ts.register({key!r}, {word})")


@pytest.mark.parametrize(
    ("schema", "match"),
    [
        (["rank"], "the schema of 'schema/bad' is a dictionary, got list"),
        ({"ranks": int}, "is about ranks, and .*Thin takes no such argument"),
        ({"rank": "int"}, "has no rule for rank: got 'int'"),
        ({"rank": ()}, r"has no rule for rank: got \(\)"),
        ({"rank": (int, 3)}, "has no rule for rank"),
        ({"rank": None}, "has no rule for rank: got None"),
    ],
)
def test_schemas_that_could_hold_nothing_against_an_argument(schema, match):
    class Thin(nn.Module):
        def __init__(self, rank):
            super().__init__()

    with pytest.raises(ts.PlanError, match=match):
        ts.register("schema/bad", Thin, schema)
    assert naming.entry_of("schema/bad") is None
    for rule in (int, (int, float), range(1, 9), lambda rank: rank < 9):
        ts.register("schema/good", Thin, {"rank": rule})


def test_a_class_without_a_key():
    with pytest.raises(ts.PlanError, match="a key is a short text"):
        ts.register(nn.Linear)
