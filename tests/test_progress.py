"""Work tells how far it has come to whoever listens, and to nobody else."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.progress import each, is_told, told_to, work


class Listener:
    """Notes what it is told: each piece of work with its total, unit and how far it came."""

    def __init__(self):
        self.heard, self.inside = [], 0

    @contextmanager
    def __call__(self, what, total, unit):
        row = [what, total, unit, 0]
        self.heard.append(row)
        self.inside += 1

        def advance(amount):
            row[3] += amount

        try:
            yield advance
        finally:
            self.inside -= 1

    def of(self, what):
        return [row for row in self.heard if row[0] == what]


@pytest.fixture
def listener():
    heard = Listener()
    with told_to(heard):
        yield heard
    assert heard.inside == 0


def test_nobody_listens():
    items = [1, 2]
    assert not is_told()
    assert each(items, "counting") is items
    with work("counting", 2) as advance:
        assert advance(1) is None


def test_a_listener_hears_of_each_piece(listener):
    assert is_told()
    assert list(each("abc", "spelling")) == ["a", "b", "c"]
    with work("saving", 10, "B") as advance:
        advance(4)
    assert listener.heard == [["spelling", 3, "", 3], ["saving", 10, "B", 4]]


def test_work_that_is_left_early_has_ended(listener):
    for _ in each([1, 2, 3], "looking"):
        break
    with pytest.raises(ZeroDivisionError), work("dividing"):
        raise ZeroDivisionError
    assert [row[3] for row in listener.heard] == [0, 0]


def test_listeners_take_turns():
    one, other = Listener(), Listener()
    with told_to(one):
        with told_to(other), work("inner"):
            pass
        with work("outer"):
            pass
    assert ([row[0] for row in one.heard], [row[0] for row in other.heard]) == (["outer"], ["inner"])
    assert not is_told()


# --- what tells of itself


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))


X = torch.zeros(2, 3, 8, 8)


def test_pruning(listener):
    ts.prune(net(), "0", 0.5, example_inputs=X)
    assert listener.of("scoring") == [["scoring", 1, "", 1]]
    assert ["cutting", 3, "", 3] in listener.of("cutting")
    assert all(total == done for _, total, _, done in listener.of("applying"))


def test_looking_and_tracing_by_modules(listener):
    model = net()
    ts.inspect(model, X)
    ts.trace(model, X)
    assert listener.heard == [["counting", 5, "", 5], ["tracing", 5, "", 5]]


def test_a_report_by_its_runs(listener, tmp_path):
    ts.replace(net(), nn.ReLU, nn.GELU).report(tmp_path / "page.html", X)
    ((_, total, _, done),) = listener.of("timing")
    assert 2 <= done <= total


def test_saving_and_loading_by_bytes(listener, tmp_path):
    model = net()
    ts.replace(model, nn.ReLU, nn.GELU)
    ts.save(model, tmp_path / "slim")
    tensors = model.state_dict().values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert listener.of("writing") == [["writing", size, "B", size]]
    ts.load(tmp_path / "slim", net)
    ((_, total, unit, done),) = listener.of("reading")
    assert unit == "B"
    assert done == size < total  # a header lies before the tensors


def test_checking_by_runs(listener):
    ts.check(net(), X)
    assert listener.of("running") == [["running", 4, "", 4]]


def test_numbers_are_the_same_with_a_listener_and_without(listener):
    torch.manual_seed(1)
    told = net()
    ts.prune(told, "0", 0.5, example_inputs=X)
    with told_to(Listener()):
        alone = net()
        ts.prune(alone, "0", 0.5, example_inputs=X)
    assert all(torch.equal(a, b) for a, b in zip(told.state_dict().values(), alone.state_dict().values(), strict=True))
