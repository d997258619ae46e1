"""Where a new tensor comes from, in words and in numbers."""

import pytest
import torch
from torch import nn

from torchsurgery.origins import Computed, Initialised, Lengthened, Same, copied, evaluate, layout_of

DOUBLED = Computed(("weight",), lambda weight: 2 * weight, "doubled")


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        (Same("weight"), "carried"),
        (DOUBLED, "doubled"),
        (Initialised(), "initialised"),
        (Initialised("another shape"), "initialised (another shape)"),
    ],
    ids=["same", "computed", "initialised", "initialised with a reason"],
)
def test_in_words(origin, words):
    assert origin.describe() == words


def test_same_is_the_very_tensor():
    weight = nn.Parameter(torch.ones(2))
    assert evaluate(Same("weight"), {"weight": weight}) is weight


def test_computed_is_a_new_tensor_without_a_graph():
    weight = nn.Parameter(torch.tensor([1.0, -3.0]))
    doubled = evaluate(DOUBLED, {"weight": weight})
    assert doubled.tolist() == [2.0, -6.0]
    assert not doubled.requires_grad
    assert weight.tolist() == [1.0, -3.0]


def test_computed_takes_its_sources_in_order():
    difference = Computed(("bias", "weight"), torch.sub, "bias − weight")
    tensors = {"weight": torch.tensor([1.0, 2.0]), "bias": torch.tensor([10.0, 20.0])}
    assert evaluate(difference, tensors).tolist() == [9.0, 18.0]


def test_origins_are_values():
    assert Same("weight") == Same("weight")
    assert Same("weight") != Same("bias")
    assert Initialised() != Initialised("another shape")


@pytest.mark.parametrize(
    "kernel", [(8, 4, 3, 3), (8, 4, 1, 1), (8, 1, 3, 3), (2, 3, 3, 1, 2), (2, 3, 1, 1, 1)], ids=str
)
def test_layout(kernel):
    last = torch.channels_last if len(kernel) == 4 else torch.channels_last_3d
    assert layout_of(torch.ones(kernel)) is torch.contiguous_format
    assert layout_of(torch.empty(kernel, memory_format=last)) is last


def test_layout_of_what_is_neither():
    assert layout_of(torch.ones(4, 3).T) is torch.contiguous_format
    assert layout_of(torch.ones(5, 4, 3, 2).permute(3, 2, 1, 0)) is torch.contiguous_format


def two_columns(noise=0.0):
    return copied("weight", {1: (0, 0, 1)}, (2, 2), {1: (0.5, 0.5, 1.0)}, noise, 7)


def test_copies_by_shares():
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert evaluate(two_columns(), {"weight": weight}).tolist() == [[0.5, 0.5, 2.0], [1.5, 1.5, 4.0]]
    assert two_columns().describe() == "(2, 2 → 3)"
    assert weight.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_noise_comes_to_zero_and_is_the_same_each_time():
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    one, other = (evaluate(two_columns(0.3), {"weight": weight}) for _ in range(2))
    assert torch.equal(one, other)
    assert torch.allclose(one[:, :2].sum(1), weight[:, 0])
    assert bool((one[:, 0] != one[:, 1]).all())
    assert torch.equal(one[:, 2], weight[:, 1])


def test_momentum_of_copies_is_without_noise():
    momentum = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    carried = evaluate(two_columns(0.3).for_momentum(), {"weight": momentum})
    assert carried.tolist() == [[0.5, 0.5, 2.0], [1.5, 1.5, 4.0]]


def test_an_entry_that_has_all_the_weight_gets_no_noise():
    origin = copied("weight", {0: (0, 0)}, (1,), {0: (1.0, 0.0)}, 0.3, 7)
    assert evaluate(origin, {"weight": torch.tensor([3.0])}).tolist() == [3.0, 0.0]


@pytest.mark.parametrize(
    ("rows", "last", "words"), [(None, [2.0, 3.0], "the mean of the old"), (torch.zeros(2, 2), [0.0, 0.0], "as given")]
)
def test_lengthened(rows, last, words):
    origin = Lengthened.of("weight", 0, 2, (2, 2), rows)
    value = evaluate(origin, {"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]])})
    assert value.tolist() == [[1.0, 2.0], [3.0, 4.0], last, last]
    assert origin.describe() == f"(2 → 4, 2), new ones {words}"
    momentum = evaluate(origin.for_momentum(), {"weight": torch.ones(2, 2)})
    assert momentum.tolist() == [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
