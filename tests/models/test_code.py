"""Builders in files and modules of the user's own."""

import sys

import pytest
from torch import nn

import torchsurgery as ts
from torchsurgery.models import look_up

NET = """
from dataclasses import dataclass
from torch import nn
import beside

@dataclass
class Config:
    width: int = 8

def build(width: int = 8, *, act: str = "relu"):
    import beside_later
    return nn.Sequential(nn.Linear(4, Config(width).width), nn.ReLU())

class Net(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)

class Holder:
    small = staticmethod(Net)

model = Net()
number = 3

def wrong():
    return 5

def fails():
    raise ValueError("no luck\\nat all")

def lacks():
    import torchvision_is_not_this
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "beside_later.py").write_text("")
    yield tmp_path / "net.py"
    for name in ("beside", "beside_later"):
        sys.modules.pop(name, None)


def refusal(reference, **arguments):
    with pytest.raises(ts.SourceError) as caught:
        ts.build(reference, **arguments)
    return caught.value


def test_a_function(net):
    assert ts.build(f"{net}:build", width=3)[0].out_features == 3


@pytest.mark.parametrize("name", ["Net", "Holder.small"])
def test_a_class(net, name):
    assert type(ts.build(f"{net}:{name}")).__name__ == "Net"


def test_a_model_is_copied(net):
    model = ts.build(f"{net}:model")
    assert type(model).__name__ == "Net"
    module = sys.modules[type(model).__module__]
    assert model is not module.model


def test_the_path_is_as_it_was(net):
    before = list(sys.path)
    ts.build(f"{net}:build")
    assert sys.path == before


def test_a_module(net, monkeypatch):
    monkeypatch.chdir(net.parent)
    try:
        assert isinstance(ts.build("net:build"), nn.Sequential)
        assert "it has build" in str(refusal("net:biuld"))
    finally:
        sys.modules.pop("net", None)


def test_a_module_of_torch():
    assert ts.build("torch.nn:Linear", in_features=2, out_features=3).out_features == 3


@pytest.mark.parametrize(
    ("name", "arguments", "words", "way_out"),
    [
        ("biuld", {}, "has no biuld.", ":build"),
        ("", {}, "doesn't say what makes the model", ":Config"),
        ("zzz", {}, "it has Config, build, Net, Holder", ":Config"),
        ("Holder.tiny", {}, "has no Holder.tiny.", ""),
        ("number", {}, "is no builder but a int", "def build(): return model"),
        ("wrong", {}, "gives no model but int", "return the model"),
        ("fails", {}, "can't be built: ValueError: no luck", "-a name=value"),
        ("lacks", {}, "needs torchvision_is_not_this, which is not installed", "install the package"),
        ("build", {"depth": 3}, "unexpected keyword argument 'depth'", "-a name=value"),
    ],
)
def test_what_is_refused(net, name, arguments, words, way_out):
    error = refusal(f"{net}:{name}", **arguments)
    assert words in str(error)
    assert way_out in error.way_out


def test_what_it_takes_is_said(net):
    assert "it takes (width: int = 8, act: str = 'relu')" in str(refusal(f"{net}:build", depth=3))


def test_no_such_file(net):
    assert "there is net.py" in str(refusal(f"{net.parent}/nett.py:build"))
    assert "there is no file" in str(refusal("/nowhere/net.py:build"))


def test_no_such_module():
    assert "there is no module nowhere_at_all" in str(refusal("nowhere_at_all:build"))
    assert refusal("torchvison:resnet18").way_out == "did you mean  torchvision:…"
    assert "there is no module torch.nothing" in str(refusal("torch.nothing:build"))


def test_code_that_fails(tmp_path, monkeypatch):
    (tmp_path / "broken_net.py").write_text("1 / 0")
    (tmp_path / "lacking_net.py").write_text("import not_there_at_all")
    monkeypatch.chdir(tmp_path)
    assert "fails when it is run: ZeroDivisionError" in str(refusal("broken_net.py:build"))
    assert "fails when it is run: ZeroDivisionError" in str(refusal("broken_net:build"))
    error = refusal("lacking_net:build")
    assert "No module named 'not_there_at_all'" in str(error)
    assert error.way_out.endswith("python -m lacking_net")


def test_look_up(net):
    assert look_up("torch.nn:GELU") is nn.GELU
    assert look_up(f"{net}:number") == 3
    with pytest.raises(ts.SourceError, match="names no class or function"):
        look_up("timm:resnet18")


def test_nothing_is_written_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "alone.py").write_text("from torch import nn\ndef build(): return nn.ReLU()\n")
    assert isinstance(ts.build(f"{tmp_path}/alone.py:build"), nn.ReLU)
    assert [path.name for path in tmp_path.iterdir()] == ["alone.py"]
