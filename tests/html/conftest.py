import pytest
import torch
from pages import report_of
from torch import nn

import torchsurgery as ts


@pytest.fixture(scope="session")
def gathered(networks):
    """A report of a ResNet-18 that is pruned, gets another head, a dropout and a wrapper; run before and after."""
    model = networks("resnet18")
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    plan = (
        ts.plan(model, x)
        .prune("layer*.*.conv1", 0.25)
        .replace("fc", nn.Linear(512, 10))
        .insert(nn.Dropout(0.1), after="layer1.0.relu")
        .wrap("layer4", nn.Sequential)
    )
    return report_of(plan, source="torchvision:resnet18")


@pytest.fixture(scope="session")
def small():
    """A report of a small network that was not run."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    return report_of(ts.plan(net).replace("1", nn.GELU))
