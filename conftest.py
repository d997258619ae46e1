"""What the examples in docstrings find there: `ts`, `torch`, `nn`, a `model` of their own and its inputs `x`."""

import os
from pathlib import Path

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores already
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _names_of_examples(request, doctest_namespace):
    if not isinstance(request.node, pytest.DoctestItem):
        return
    import torchvision

    import torchsurgery

    torch.manual_seed(0)
    doctest_namespace.update(
        ts=torchsurgery,
        torch=torch,
        nn=torch.nn,
        model=torchvision.models.resnet18().eval(),
        x=torch.randn(2, 3, 64, 64),
    )


def pytest_ignore_collect(collection_path: Path):
    """The command line's entry point is run by tests, not imported for examples."""
    return True if collection_path.name == "__main__.py" else None
