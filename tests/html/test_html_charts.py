"""Time and difference of each layer."""

import pytest
import torch
from pages import parsed, report_of
from torch import nn

import torchsurgery as ts
from torchsurgery.html.charts import _power, chart


def lines(report):
    body = parsed(chart(report)).one("tbody")
    return {row.one("th").text: [cell.text.replace("\u00a0", " ") for cell in row.all("td")] for row in body.all("tr")}


def test_a_line_for_the_model_and_the_slowest_layers(gathered):
    found = lines(gathered)
    assert next(iter(found)) == "the whole model"
    assert len(found) == 41
    assert "the 40 of 53 layers that take most time" in parsed(chart(gathered)).text
    time, ratio, difference = found["the whole model"]
    assert time.split()[1] in ("ms", "s", "µs")
    assert ratio.startswith("× ")
    assert difference == "another shape"


def test_they_stand_in_the_order_of_the_model(gathered):
    order = [pair.name for pair in gathered.tree.walk()]
    found = [order.index(name) for name in list(lines(gathered))[1:]]
    assert found == sorted(found)


def test_differences_begin_where_something_has_changed():
    net = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 2))
    found = lines(report_of(ts.plan(net, torch.randn(8, 4)).replace("2", nn.Linear(64, 64))))
    assert found["0"][2] == found["1"][2] == "none"
    assert 0.1 < float(found["2"][2]) < 10
    assert 0.1 < float(found["3"][2]) < 10


def test_what_is_new_or_gone_has_no_ratio():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return self.inner(x)

    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), Block())
    plan = ts.plan(net, torch.randn(2, 4)).insert(nn.Dropout(0.1), after="1").replace("2", nn.Linear(4, 4))
    found = lines(report_of(plan))
    assert found["1.after"][1:] == ["–", "–"]
    assert found["2.inner"][1:] == ["–", "–"]
    assert found["1.layer"][1].startswith("× ")


def test_nothing_where_it_was_not_run_twice(small):
    assert chart(small) == ""
    net = nn.Sequential(nn.Conv2d(3, 8, 3))
    plan = ts.plan(net).set_inputs(4, example_inputs=torch.randn(1, 3, 8, 8))
    assert chart(report_of(plan, torch.randn(1, 4, 8, 8))) == ""


@pytest.mark.parametrize(
    ("number", "expected"), [(0.44, "0.44"), (1.96, "2"), (17.0, "17"), (3.14e-5, "3.1·10⁻⁵"), (2e12, "2.0·10¹²")]
)
def test_powers_of_ten(number, expected):
    assert _power(number) == expected
