"""How far a model is built, told in parameters."""

from contextlib import contextmanager

import torch
from torch import nn

from torchsurgery.cli.building import parameters_told
from torchsurgery.models import build
from torchsurgery.progress import told_to


@contextmanager
def listening():
    heard = []

    @contextmanager
    def listener(what, total, unit):
        row = [what, total, unit, 0]
        heard.append(row)

        def advance(amount):
            row[3] += amount

        yield advance

    with told_to(listener):
        yield heard


def test_every_parameter_counts_and_how_many_there_will_be_is_known():
    reference = "torchvision:squeezenet1_1"
    with listening() as heard, parameters_told(reference):
        model = build(reference)
    number = sum(p.numel() for p in model.parameters())
    assert heard == [[f"building {reference}", number, "params", number]]


def test_the_weights_are_those_that_nobody_listens_to():
    models = []
    for listen in (False, True):
        torch.manual_seed(0)
        if listen:
            with listening(), parameters_told("torchvision:squeezenet1_1"):
                models.append(build("torchvision:squeezenet1_1"))
        else:
            with parameters_told("torchvision:squeezenet1_1"):
                models.append(build("torchvision:squeezenet1_1"))
    one, other = (model.state_dict().values() for model in models)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_users_code_is_not_run_twice_and_nothing_is_fetched(tmp_path):
    for reference in ("mine.py:build", "torchvision:resnet18(weights='DEFAULT')", "timm:resnet18(pretrained=True)"):
        with listening() as heard, parameters_told(reference):
            nn.Linear(2, 2)
        assert heard == [[f"building {reference}", None, "params", 6]]


def test_lazy_layers_have_no_number_yet():
    with listening() as heard, parameters_told("mine.py:build"):
        nn.LazyLinear(3)
    assert heard[0][3] == 0


def test_no_hook_stays():
    with listening() as heard:
        with parameters_told("mine.py:build"):
            pass
        nn.Linear(2, 2)
    assert heard[0][3] == 0
