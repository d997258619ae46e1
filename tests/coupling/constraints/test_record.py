"""Of which layers nothing is known, and what that means for them."""

import pytest

from torchsurgery.coupling.constraints.atoms import Where
from torchsurgery.coupling.constraints.record import NO_ROOTS, Notes, Record, layer_of


@pytest.fixture
def record():
    record = Record()
    record.leaves = {name: [record.ledger.fresh(3)] for name in ("a.weight", "a.bias", "b.weight", "b.mean", "c.mean")}
    record.parameters = {"a.weight", "a.bias", "b.weight"}
    return record


def test_what_was_not_run_is_each_layer_with_parameters_once(record):
    assert record.unseen() == ["a", "b"]
    record.touched = {"a.weight", "b.weight"}
    assert record.unseen() == ["a"]
    record.touched |= {"a.bias"}
    assert record.unseen() == []


def test_nothing_of_what_was_not_touched_may_go(record):
    record.touched = {"a.weight", "b.weight"}
    record.freeze_untouched()
    frozen = {int(axis[0]): str(record.ledger.reasons[number]) for axis, number in record.ledger.frozen}
    told = {name: frozen.get(int(axes[0][0])) for name, axes in record.leaves.items()}
    why = "not used on these inputs in {}"
    assert told == {
        "a.weight": None,
        "a.bias": why.format("a"),
        "b.weight": None,
        "b.mean": why.format("b"),
        "c.mean": why.format("c"),
    }


def test_a_leaf_is_made_of_itself():
    assert Notes([], leaf="a.weight").roots == {"a.weight"}
    made = Notes([], where=Where("add", "a"))
    assert made.roots is NO_ROOTS and made.leaf is None and made.filled is None and made.pending == ()


@pytest.mark.parametrize(
    ("leaf", "layer"),
    [
        ("weight", ""),
        ("a.b.weight", "a.b"),
        ("a.parametrizations.weight.original0", "a"),
        ("parametrizations.weight.original", ""),
        ("a.parametrizations.weight.0._u", "a"),
    ],
)
def test_the_layer_of_a_tensor(leaf, layer):
    assert layer_of(leaf) == layer
