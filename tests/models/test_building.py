"""From a reference to a model, whoever is asked."""

import pytest

import torchsurgery as ts
from torchsurgery.models import usual_inputs


def test_arguments_are_looked_at_before_anything_is_built():
    with pytest.raises(ts.SourceError) as caught:
        ts.build("torchvision:resnet18", no_such=1)
    assert "no_such" in str(caught.value)


def test_an_error_of_this_library_is_not_wrapped(tmp_path):
    (tmp_path / "net.py").write_text("import torchsurgery as ts\ndef build(): raise ts.PlanError('just so')")
    with pytest.raises(ts.PlanError, match="just so"):
        ts.build(f"{tmp_path}/net.py:build")


def test_the_cause_is_kept(tmp_path):
    (tmp_path / "net.py").write_text("def build(): return 1 / 0")
    with pytest.raises(ts.SourceError) as caught:
        ts.build(f"{tmp_path}/net.py:build")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_usual_inputs_are_those_of_torchvision(resnet18):
    assert usual_inputs("torchvision:resnet18", resnet18).shape == (1, 3, 224, 224)
    assert usual_inputs("timm:resnet18", resnet18) is None


def test_arguments_may_stand_in_the_reference():
    assert ts.build("torchvision:resnet18(num_classes=3)").fc.out_features == 3
    assert ts.build("torchvision:resnet18(num_classes=3)", num_classes=4).fc.out_features == 4
    assert usual_inputs("torchvision:resnet18(num_classes=3)", ts.build("torchvision:resnet18")) is not None
