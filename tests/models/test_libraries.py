"""torchvision and timm, asked by name."""

import sys
import urllib.error
import warnings

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.models import libraries


def refusal(reference, **arguments):
    with pytest.raises(ts.SourceError) as caught:
        ts.build(reference, **arguments)
    return caught.value


@pytest.mark.parametrize("reference", ["torchvision:resnet18", "timm:resnet18", "timm:resnet18.a1_in1k"])
def test_builds(reference):
    model = ts.build(reference, num_classes=7)
    assert isinstance(model, nn.Module)
    assert model.fc.out_features == 7


def test_the_same_as_the_library_itself():
    import torchvision

    torch.manual_seed(3)
    ours = ts.build("torchvision:squeezenet1_1")
    torch.manual_seed(3)
    theirs = torchvision.models.squeezenet1_1()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_detector_fetches_no_backbone():
    model = ts.build("torchvision:ssdlite320_mobilenet_v3_large", num_classes=3)
    assert model.head is not None


def test_a_builder_that_warns_is_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ts.build("torchvision:googlenet", init_weights=False)


def test_a_misspelt_name():
    error = refusal("torchvision:resnet81")
    assert str(error).startswith("torchvision has no model resnet81 (121 models).")
    assert "resnet18" in error.expected
    assert error.way_out == "write  torchvision:resnet18"


def test_a_name_of_the_other_library():
    error = refusal("torchvision:convnext_pico")
    assert "there is timm:convnext_pico" in str(error)
    assert error.way_out == "write  timm:convnext_pico"


def test_a_name_like_none():
    assert "help(timm.models)" in refusal("timm:qqqqqqqqq").way_out


def test_an_unknown_tag():
    error = refusal("timm:resnet18.nobody")
    assert "a1_in1k" in error.expected
    assert error.way_out.endswith("timm:resnet18")


def test_a_bare_name_that_several_have():
    error = refusal("resnet18")
    assert "torchvision:resnet18, timm:resnet18" in str(error)
    assert error.way_out == "name the source:  torchvision:resnet18"


def test_a_bare_name_that_one_has():
    assert "there is timm:convnext_pico" in str(refusal("convnext_pico"))


def test_a_bare_name_that_none_has():
    assert refusal("qqqqqqqqq").way_out == "name the source, for example  torchvision:resnet18"


@pytest.mark.parametrize("name", ["torchvision", "timm"])
def test_a_missing_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    error = refusal(f"{name}:resnet18")
    assert f"needs {name}, which is not installed" in str(error)
    assert error.way_out == "pip install torchsurgery[models]"


def test_a_missing_package_of_ones_own():
    assert libraries.missing("net.py:build", "mine").way_out == "install the package that has mine"


def test_weights_that_cannot_be_fetched(monkeypatch):
    def offline(*_args, **_kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setattr("torch.hub.get_dir", lambda: "/nonexistent/torchsurgery-test")
    monkeypatch.setattr("os.makedirs", lambda *_args, **_kwargs: None)
    error = refusal("torchvision:resnet18", weights="DEFAULT")
    assert "is the network reachable?" in str(error)
    assert error.way_out.startswith("without a network")


def test_other_errors_are_not_of_the_network():
    assert libraries.unreachable(ValueError("x")) == ()


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnet18", (1, 3, 224, 224)), ("inception_v3", (1, 3, 299, 299)), ("r3d_18", (1, 3, 16, 112, 112))],
)
def test_usual_inputs(name, shape):
    with torch.device("meta"):
        model = ts.build(f"torchvision:{name}")
    assert libraries.usual_inputs(name, model).shape == shape


def test_usual_inputs_follow_the_model():
    model = nn.Sequential(nn.Conv2d(4, 8, 3)).half()
    inputs = libraries.usual_inputs("resnet18", model)
    assert inputs.shape == (1, 4, 224, 224)
    assert inputs.dtype == torch.float16


def test_no_usual_inputs():
    assert libraries.usual_inputs("fasterrcnn_resnet50_fpn", nn.Conv2d(3, 3, 1)) is None
    assert libraries.usual_inputs("resnet18", nn.Linear(2, 2)) is None
