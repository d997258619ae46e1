"""Operations are run on stand-ins, and what each gave is known; what fails says where."""

import numpy as np
import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import Function
from torchsurgery.coupling.constraints.record import Notes, Record
from torchsurgery.coupling.rules.registry import USER_RULES
from torchsurgery.coupling.running.hollow import hollow
from torchsurgery.coupling.running.operations import Operations


@pytest.fixture
def record():
    return Record()


def leaf(record, name, *shape):
    """A stand-in for a parameter."""
    tensor = hollow(shape, torch.empty(shape, device="meta").stride(), torch.float32)
    record.leaves[name] = [record.ledger.fresh(n) for n in shape]
    record.parameters.add(name)
    tensor._coupling = Notes(record.leaves[name], leaf=name)
    return tensor


def run(record, function, *tensors, **how):
    with torch.inference_mode(), Operations(record, **{"on_meta": True, **how}) as operations:
        return function(*tensors), operations


def test_what_is_computed_is_on_meta_and_knows_its_axes(record):
    x, w = leaf(record, "x", 2, 4), leaf(record, "w", 3, 4)
    out, _ = run(record, torch.nn.functional.linear, x, w)
    assert out.is_meta and out.shape == (2, 3)
    assert [axis.tolist() for axis in out._coupling.axes] == [
        axes.tolist() for axes in (x._coupling.axes[0], w._coupling.axes[0])
    ]
    assert out._coupling.where.operation == "linear"
    assert record.touched == {"x", "w"}


def test_roots_are_what_a_tensor_is_made_of_alone(record):
    w, v = leaf(record, "w", 3, 4), leaf(record, "v", 3, 4)
    given = torch.empty(3, 4, device="meta")
    assert run(record, lambda a, b: a * b, w, v)[0]._coupling.roots == {"w", "v"}
    assert run(record, lambda a, b: a * b, w, given)[0]._coupling.roots == frozenset()


def test_a_slice_only_looked_at_for_its_shape_asks_for_nothing(record):
    x = leaf(record, "x", 2, 8)
    out, _ = run(record, lambda t: t[:, 3], x)
    assert record.ledger.frozen == [] and len(out._coupling.pending) == 1
    run(record, torch.relu, out)
    assert [axis.tolist() for axis, _ in record.ledger.frozen] == [out._coupling.pending[0][0].tolist()]


def test_whole_numbers_are_computed(record):
    index = torch.arange(4)
    out, _ = run(record, lambda i: i * 2 + 1, index)
    assert out.tolist() == [1, 3, 5, 7]


def test_what_is_made_in_between_is_on_meta_if_it_has_a_point(record):
    (made, counted), _ = run(record, lambda: (torch.zeros(3), torch.zeros(3, dtype=torch.long)))
    assert made.is_meta and not counted.is_meta


def test_a_mask_that_is_known_tells_how_many_it_takes(record):
    x, mask = leaf(record, "x", 4, 3), torch.tensor([True, False, True, True])
    assert run(record, lambda t: t[mask], x)[0].shape == (3, 3)


def test_all_is_computed_where_it_must_be(record):
    x = torch.ones(2, 3)
    x._coupling = Notes([record.ledger.fresh(2), record.ledger.fresh(3)])
    out, _ = run(record, lambda t: t.sum(1), x, on_meta=False)
    assert out.tolist() == [3.0, 3.0] and out._coupling.axes[0] is x._coupling.axes[0]


def test_the_contrary_is_told_where_values_decide(record):
    def decide(x):
        return "yes" if (x > 0).any() else "no"

    x = torch.ones(3)
    assert run(record, decide, x, on_meta=False)[0] == "yes"
    assert run(record, decide, x, on_meta=False, contrary=True)[0] == "no"
    assert list(record.deciding) == [""]


def test_a_loop_that_never_gets_the_answer_it_waits_for_ends(record):
    def wait(x):
        while not (x > 0).all():
            pass

    with pytest.raises(RuntimeError, match="round in a circle"):
        run(record, wait, torch.ones(3), on_meta=False, contrary=True)


@torch.library.custom_op("operations_tests::keep", mutates_args=())
def keep(x: torch.Tensor) -> torch.Tensor:
    """Itself."""
    return x.clone()


@keep.register_fake
def _(x):
    return torch.empty_like(x)


def test_what_a_failing_rule_has_said_is_taken_back(record):
    @ts.rule(torch.ops.operations_tests.keep)
    def half(call):
        call.tie(call.axes(call.args[0])[0], call.axes(call.args[0])[1])
        raise ValueError("mine")

    try:
        x = leaf(record, "x", 4, 4)
        out, _ = run(record, keep, x)
    finally:
        USER_RULES.pop("operations_tests::keep", None)
    assert record.ledger.ties == [] and record.unknown == {"operations_tests::keep": 1}
    assert len(record.ledger.frozen) == 2 and all((axis < 0).all() for axis in out._coupling.axes)


def test_the_layer_that_fails_is_the_innermost():
    net = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU(), Function(lambda x: x @ torch.ones(3, 3))))
    with pytest.raises(ts.TraceError, match=r"^1\.1 of Sequential fails on these inputs") as caught:
        ts.trace(net, torch.ones(2, 4))
    assert caught.value.name == "1.1"


def test_composites_are_followed_by_what_they_are_made_of(record):
    a, b = leaf(record, "a", 3, 4), leaf(record, "b", 4, 5)
    out, _ = run(record, torch.linalg.multi_dot, [a, b])
    assert [len(axis) for axis in out._coupling.axes] == [3, 5]
    assert np.array_equal(out._coupling.axes[1], b._coupling.axes[1]) and not record.unknown
