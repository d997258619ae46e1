"""Fixtures of all tests: seeds, networks, golden files; and how much hypothesis draws."""

import copy
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

GOLDEN = Path(__file__).parent / "golden"

# `ci` is what `make test` runs; `quick` is for work on one thing:  HYPOTHESIS_PROFILE=quick pytest tests/test_x.py
# The same networks in each run of the ci profile, so that a change is judged by itself; "explore" draws new ones.
common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", max_examples=300, derandomize=True, **common)
settings.register_profile("explore", max_examples=300, **common)
settings.register_profile("quick", max_examples=20, **common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser):
    parser.addoption("--rewrite-golden", action="store_true", help="write tests/golden/* from what is printed now")


def pytest_collection_modifyitems(items):
    for item in items:
        if "golden" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.golden)


@pytest.fixture(autouse=True)
def seeds():
    """Every test starts from the same random numbers, whatever ran before it in the same process."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def networks():
    """Builds each torchvision network once, with random weights; see `resnet18` for a copy that may be changed."""
    import torchvision

    built = {}

    def network(name):
        if name not in built:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                built[name] = torchvision.models.get_model(name, weights=None).eval()
        return copy.deepcopy(built[name])

    return network


@pytest.fixture
def resnet18(networks):
    """A ResNet-18 of one's own, with random weights, in eval."""
    return networks("resnet18")


@pytest.fixture
def images():
    """A small batch for an image network, (N, C, H, W)."""
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def golden(request):
    """`golden("plan.txt", text)` holds `text` to tests/golden/plan.txt, or rewrites it under --rewrite-golden."""

    def compare(name, text):
        path = GOLDEN / name
        if request.config.getoption("--rewrite-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path} is not there; write it with: make golden"
        assert text == path.read_text(encoding="utf-8"), f"{name} is printed otherwise; if that is right: make golden"

    return compare
