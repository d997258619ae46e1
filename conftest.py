"""What the examples in docstrings find there: `ts`, `torch`, `nn`, a `model` of their own and its inputs `x`."""

import os
import re
import sys
from pathlib import Path

import pytest
import torch

# What tests share lies beside them. Two folders may have a test file of one name: see --import-mode in pyproject.toml.
TESTS = Path(__file__).parent / "tests"
sys.path[:0] = [str(TESTS), *(str(folder) for folder in sorted(TESTS.iterdir()) if folder.is_dir())]

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
    """The command line's entry point is run by tests, and what tests share is imported by them, by its own name."""
    shared = TESTS in collection_path.parents and collection_path.suffix == ".py"
    if collection_path.name == "__main__.py" or (shared and not collection_path.name.startswith("test_")):
        return True
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]):
    """The workers of a parallel run must find tests of the same names, and an address differs in each."""
    strange = [item.nodeid for item in items if re.search(r" at 0x[0-9a-f]{6,}", item.nodeid)]
    if strange:
        raise pytest.UsageError(f"give ids= to these, an address is in their names:\n  {strange[0]}")
