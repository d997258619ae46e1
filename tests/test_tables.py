from pathlib import Path

import pytest
from torch import nn

from torchsurgery.layers.registry import conversion
from torchsurgery.tables import conversions

PAGE = Path(__file__).parents[1] / "docs" / "conversions.md"


@pytest.fixture(scope="module")
def page():
    return conversions()


def cells(page, name):
    row = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_page_is_up_to_date(page):
    assert PAGE.read_text(encoding="utf-8") == page, "make it anew:  python -m torchsurgery.tables docs/conversions.md"


def test_some_rows(page):
    assert cells(page, "Linear")[1:] == ["Conv1d/2d/3d, Linear", "", "LowRankLinear", ""]
    assert cells(page, "MultiheadAttention")[1] == "MultiheadAttention, SeparateAttention"
    assert "Conv2d, FrozenBatchNorm" in cells(page, "BatchNorm2d")[2]
    assert "Conv2d" in cells(page, "AvgPool2d")[1]
    assert cells(page, "LSTM")[1:] == ["LSTM, LSTMCell", "", "", "GRU, GRUCell, RNN, RNNCell"]
    assert cells(page, "Sequential")[1:] == ["Conv1d/2d/3d, RMSNorm", "", "", ""]
    assert "* Conv1d/2d/3d" in page


def test_rules_of_users_are_not_in_it(page):
    class Mine(nn.Module):
        pass

    conversion(nn.Linear, Mine)(lambda pair: pair.carry())
    conversion(Mine, nn.Linear)(lambda pair: pair.carry())
    assert conversions() == page
