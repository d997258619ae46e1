import copy

from torch import nn

from torchsurgery.layers.converting import convert


def test_conversions_are_values():
    one, other = (convert(nn.BatchNorm2d(8), nn.GroupNorm, {"num_groups": 2}) for _ in range(2))
    assert one == other and copy.copy(one) == one
