import pytest
import torch
from holding import converted
from torch import nn

from torchsurgery.errors import ConfigError
from torchsurgery.layers import registry as registry_module
from torchsurgery.layers.conversion import Conversion, Fidelity
from torchsurgery.layers.converting import convert
from torchsurgery.layers.pair import Pair
from torchsurgery.layers.registry import conversion, targets_of
from torchsurgery.origins import Same


class Scaled(nn.Linear):
    def __init__(self, in_features, out_features, scale=1.0, bias=True):
        super().__init__(in_features, out_features, bias)
        self.scale = scale


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(registry_module, "_RULES", dict(registry_module._RULES))
    yield
    registry_module.rule_for.cache_clear()


def test_a_rule_of_ones_own(registry):
    class Response(nn.Module):
        def __init__(self, channels, eps=1e-6):
            super().__init__()
            self.eps, self.gamma = eps, nn.Parameter(torch.ones(channels))

    @conversion(nn.BatchNorm2d, Response)
    def rule(pair: Pair) -> Conversion:
        return pair.carry({"channels": pair.old.num_features}, {"gamma": "weight"}, uses=["num_features"])

    old = nn.BatchNorm2d(4)
    found, new = converted(old, Response)
    assert new.gamma is old.weight and new.eps == 1e-5 and found.origins == {"gamma": Same("weight")}
    assert Response in targets_of(nn.BatchNorm2d) and "num_features=4" not in found.dropped


def test_the_nearest_rule_wins_and_the_later_one(registry):
    calls = []
    for name, pairs in {
        "far": (nn.Linear, nn.Linear),
        "near": (Scaled, nn.Linear),
        "late": (Scaled, nn.Linear),
    }.items():
        conversion(*pairs)(lambda pair, name=name: (calls.append(name), pair.carry())[1])
    convert(Scaled(2, 3), nn.Linear)
    convert(nn.Linear(2, 3), nn.Linear, {"bias": False})
    assert calls == ["late", "far"]


def test_a_rule_is_between_layers():
    with pytest.raises(ConfigError, match="is none"):
        conversion(nn.ReLU, torch.relu)


def test_torchs_own_without_a_rule_promise_nothing():
    found, new = converted(nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d)
    assert found.fidelity is Fidelity.INITIALISED and "no rule relates Conv2d to MaxPool2d" in found.remarks[0]
    assert new.kernel_size == (3, 3) and found.lost == ("weight", "bias")


def test_classes_by_their_full_names(registry):
    conversion(f"{Scaled.__module__}.{Scaled.__qualname__}", nn.Linear)(lambda pair: "by name")
    assert convert_rule(Scaled, nn.Linear) == "by name" and convert_rule(nn.Linear, nn.Linear) != "by name"
    assert nn.Linear in targets_of(Scaled)
    with pytest.raises(ConfigError, match="is none"):
        conversion(nn.Linear, "torch.nn.Linear")


def convert_rule(old, new):
    rule, *_ = registry_module.rule_for(old, new)
    return rule(None) if rule.__name__ == "<lambda>" else rule


def test_a_rule_that_reads_for_itself(registry):
    class Forgets(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.linear = nn.Linear(width, width)

    def rule(pair):
        given = {"in_features": pair.old.linear.in_features, "out_features": pair.old.linear.out_features}
        return pair.carry(given, {"weight": "linear.weight", "bias": "linear.bias"}, Fidelity.EXACT)

    conversion(Forgets, nn.Linear)(registry_module.reads_itself(rule))
    old = Forgets(3)
    found, new = converted(old, nn.Linear)
    assert found.fidelity is Fidelity.EXACT and new.weight is old.linear.weight and not found.lost
