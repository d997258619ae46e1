"""What the integers of a model's code must become once entries are gone."""

import numpy as np
import pytest

from torchsurgery.coupling.constraints.atoms import NOWHERE, Where
from torchsurgery.coupling.constraints.integers import Attribute, Integers, Site, Unsolved
from torchsurgery.coupling.solving.adjusting import Demands


def solved(*sites, integers, left):
    """New attributes for expressions that are the sizes of axes of which so many entries are left."""
    for number, expression in enumerate(sites):
        integers.sites.append(Site(expression, np.array([number + 1]), NOWHERE))
    demands = Demands(integers)
    return demands.met([left[int(axis[0]) - 1] for axis in demands.axes])


def test_direct():
    integers = Integers()
    heads = integers.attribute("a", "heads", 4)
    assert solved(heads.expression, integers=integers, left=[2]) == {Attribute("a", "heads"): 2}
    assert Demands(Integers()).met([]) == {}


def test_what_is_demanded_twice_is_read_once():
    integers, axis = Integers(), np.array([1])
    heads = integers.attribute("a", "heads", 4)
    integers.sites += [Site(heads.expression, axis, Where("one", "a")), Site((heads * 2).expression, axis, NOWHERE)]
    integers.sites += [Site(heads.expression, axis, Where("two", "a")), Site(heads.expression, np.array([1]), NOWHERE)]
    demands = Demands(integers)
    assert [demand.where.operation for demand in demands.all[::2]] == ["one", ""]
    assert len(demands.all) == 3 and len(demands.axes) == 2
    assert [demand.names for demand in demands.all] == [(Attribute("a", "heads"),)] * 3


def test_one_unknown_of_a_product():
    integers = Integers()
    heads, row = integers.attribute("", "heads", 4), integers.attribute("", "row", 24)
    new = solved(heads.expression, (row // heads).expression, integers=integers, left=[2, 6])
    assert new == {Attribute("", "heads"): 2, Attribute("", "row"): 12}


def test_contradiction():
    integers = Integers()
    width = integers.attribute("", "width", 6)
    with pytest.raises(Unsolved, match="width") as caught:
        solved(width.expression, width.expression, integers=integers, left=[3, 6])
    assert len(caught.value.axes) >= 2


def test_what_was_compared_and_equal():
    integers = Integers()
    width, features = integers.attribute("", "width", 6), integers.attribute("", "features", 6)
    assert width == features
    assert solved(width.expression, integers=integers, left=[3]) == {
        Attribute("", "width"): 3,
        Attribute("", "features"): 3,
    }
