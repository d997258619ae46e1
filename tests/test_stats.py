"""Sizes and units."""

import pytest
import torch
from torch import nn

from torchsurgery.stats import Size, count, in_bytes, share, signed, size_of


class Holds(nn.Module):
    """Holds the tensors given."""

    def __init__(self, parameters=(), buffers=()):
        super().__init__()
        for i, tensor in enumerate(parameters):
            self.register_parameter(f"p{i}", tensor)
        for i, tensor in enumerate(buffers):
            self.register_buffer(f"b{i}", tensor)


def test_size_counts_a_shared_tensor_once():
    shared, other = nn.Parameter(torch.zeros(10)), nn.Parameter(torch.zeros(2, 3))
    holders = [Holds([shared, None, other]), Holds([shared], [torch.zeros(4, dtype=torch.int64), None])]
    assert size_of(holders) == Size(16, 4 * 16 + 8 * 4)


def test_a_parameter_that_is_also_a_buffer_counts_as_parameter():
    both = nn.Parameter(torch.zeros(5))
    assert size_of([Holds([], [both]), Holds([both])]) == Size(5, 20)


def test_size_of_what_is_not_there_yet():
    net = Holds([nn.Parameter(torch.zeros(5))])
    later = {"p0": nn.Parameter(torch.zeros(7))}
    assert size_of([net], lambda own: later if own is net._parameters else own) == Size(7, 28)


def test_size_of_nothing():
    assert size_of([]) == Size(0, 0)


@pytest.mark.parametrize(("number", "words"), [(0, "0"), (999, "999"), (11_689_512, "11,689,512")])
def test_count(number, words):
    assert count(number) == words


@pytest.mark.parametrize(("number", "words"), [(0, "0"), (1024, "+1,024"), (-9216, "−9,216")])
def test_signed(number, words):
    assert signed(number) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (46_758_048, "46.8 MB"),
        (123_456_789, "123 MB"),
        (999_600_000, "1.0 GB"),
        (2 * 10**12, "2.0 TB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_bytes(number, words):
    assert in_bytes(number) == words


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [(10, 10, "same"), (0, 5, "new"), (1000, 722, "−27.8 %"), (200, 250, "+25.0 %"), (0, 0, "same")],
)
def test_share(before, after, words):
    assert share(before, after) == words
