"""Sizes and units."""

import pytest
import torch
from torch import nn

from torchsurgery.stats import Cost, Row, Size, count, in_bytes, own_size, share, short, signed, size_of


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


def test_own_size_leaves_out_what_counts_elsewhere():
    trained, frozen, buffer = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(4), False), torch.zeros(5)
    counted = set()
    assert own_size(Holds([trained, trained, frozen, None], [buffer]), counted) == (Size(7, 48), 3)
    assert own_size(Holds([trained], [buffer]), counted) == (Size(0, 0), 0)
    assert counted == {id(trained), id(frozen), id(buffer)}


NOTHING = Cost()


def row(name, *more, own=NOTHING):
    return Row((name, *more), "Linear", "", (), 1, own, own)


def test_costs_add_up():
    assert Cost(1, 2, 3, 4) + Cost(10, 20, 30, 40) == Cost(11, 22, 33, 44)


def test_rows_know_what_lies_in_them():
    top, a, ab, other = row(""), row("a"), row("a.b"), row("ab.b")
    assert [r.depth for r in (top, a, ab, other)] == [0, 1, 2, 2]
    assert top.holds(a)
    assert top.holds(ab)
    assert a.holds(ab)
    assert not a.holds(other)
    assert not a.holds(a)
    assert not ab.holds(a)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.000 k"),
        (9408, "9.408 k"),
        (9_999_499, "9.999 M"),
        (9_999_500, "10.00 M"),
        (11_689_512, "11.69 M"),
        (147_968, "148.0 k"),
        (999_949, "999.9 k"),
        (999_950, "1.000 M"),
        (1_814_073_344, "1.814 G"),
        (3 * 10**20, "300.0 E"),
        (5 * 10**21, "5000.0 E"),
    ],
)
def test_short(number, words):
    assert short(number) == words


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
        (1000, "1.00 kB"),
        (46_758_048, "46.8 MB"),
        (123_456_789, "123 MB"),
        (999_600_000, "1.00 GB"),
        (2 * 10**12, "2.00 TB"),
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
