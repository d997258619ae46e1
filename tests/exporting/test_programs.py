"""Altered models are modules as others are: torch.export and ONNX take them, and compute the same."""

import io

import pytest
import torch
from torch import nn

import torchsurgery as ts


def chain(model, images):
    ts.replace(model, nn.BatchNorm2d, nn.GroupNorm, num_groups=8)
    ts.insert(model, nn.Dropout(0.1), after=nn.ReLU)
    ts.wrap(model, "layer1.0.conv1", nn.Sequential)
    ts.remove(model, "layer4.1")
    ts.set_outputs(model, 7, example_inputs=images)
    return model.eval()


def folded(model, images):
    ts.fold(model, images)
    ts.prune(model, "layer2.0.conv1", 0.5, example_inputs=images)
    return model.eval()


def calls(model, images):
    ts.replace(model, nn.functional.relu, nn.SiLU)
    return model.eval()


CASES = {"chain": ("resnet18", chain), "folded": ("resnet18", folded), "calls": ("densenet121", calls)}


@pytest.fixture(params=CASES)
def altered(request, networks, images):
    network, alter = CASES[request.param]
    return alter(networks(network), images)


def test_torch_export_there_and_back(altered, images):
    program = torch.export.export(altered, (images,))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    loaded = torch.export.load(buffer).module()
    with torch.no_grad():
        assert torch.allclose(loaded(images), altered(images), atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_onnx_there_and_back(altered, images, tmp_path):
    import onnxruntime

    path = tmp_path / "model.onnx"
    torch.onnx.export(altered, (images,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path)
    (answer,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(answer), altered(images), atol=1e-4)


def test_saved_loaded_and_exported(altered, images, tmp_path, networks, request):
    name = "densenet121" if "densenet" in type(altered).__name__.lower() else "resnet18"
    ts.save(altered, tmp_path / "save", base=f"torchvision:{name}")
    loaded = ts.load(tmp_path / "save", base=f"torchvision:{name}")
    program = torch.export.export(loaded, (images,)).module()
    with torch.no_grad():
        assert torch.allclose(program(images), altered(images), atol=1e-6)
