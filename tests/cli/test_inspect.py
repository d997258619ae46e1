"""`torchsurgery inspect`."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import torchsurgery as ts


def test_resnet18(run, golden):
    answer = run("inspect", "torchvision:resnet18")
    assert (answer.code, answer.err) == (0, "")
    golden("cli_inspect_resnet18.txt", answer.out)


def test_for_machines_to_the_last_digit(run):
    data = run("inspect", "torchvision:mobilenet_v3_small", "--input", "1,3,64,64", "--json").data
    model = ts.build("torchvision:mobilenet_v3_small").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 64, 64))
    assert data["total"]["params"] == sum(p.numel() for p in model.parameters())
    assert 2 * data["total"]["macs"] == counter.get_total_flops()
    assert [row["name"] for row in data["modules"]] == [name for name, _ in model.named_modules()]
    assert sum(row["own"]["params"] for row in data["modules"]) == data["total"]["params"]


def test_arguments_and_inputs(run, nets):
    out = run("inspect", "nets.py:small", "-a", "width=16", "--input", "2,3,8,8").out
    assert out.startswith("inspect nets.py:small(width=16)   input (2, 3, 8, 8) float32 · cpu\n\n")
    assert "Conv2d(3, 16, k3)" in out


def test_named_inputs(run, nets):
    data = run("inspect", "nets.py:Pair", "-i", "ids=1,3:int64", "-i", "scale=1", "--json").data
    assert data["inputs"] == [{"shape": [1, 3], "dtype": "int64"}, {"shape": [1], "dtype": "float32"}]
    assert data["modules"][0]["output"] == [[1, 3, 2]]


def test_positional_inputs(run, nets):
    assert run("inspect", "nets.py:Pair", "-i", "1,3:int64", "-i", "1").code == 0


@pytest.mark.parametrize("second", ["1", "ids=1"])
def test_inputs_that_are_neither(run, nets, second):
    answer = run("inspect", "nets.py:Pair", "-i", "ids=1,3:int64", "-i", second)
    assert answer.code == 2
    assert "all positional, or all named" in answer.err


def test_a_model_for_which_no_inputs_are_found(run, nets):
    answer = run("inspect", "nets.py:Pair")
    assert answer.code == 0
    assert answer.out.startswith("inspect nets.py:Pair   not run: no shapes, no MACs")
    assert answer.out.rstrip().endswith("--input 1,3,224,224")


def test_depth_selection_and_all(run):
    deep = run("inspect", "torchvision:resnet18", "-i", "1,3,32,32", "--depth", "3").out
    assert "│  │  ├─ conv1" in deep
    assert "more: --depth 4, --select 'layer4.**', --all" in deep
    some = run("inspect", "torchvision:resnet18", "-i", "1,3,32,32", "--select", "fc", "--select", "layer4.*").out
    assert [line.split()[0] for line in some.splitlines()[3:7]] == ["layer4.0", "layer4.1", "fc", "sum"]
    whole = run("inspect", "torchvision:resnet18", "-i", "1,3,32,32", "--all").out
    assert len(whole.splitlines()) == 2 + 1 + 68 + 3


def test_weights(run, nets, tmp_path):
    from running import NETS

    scope = {}
    exec(NETS, scope)
    torch.save(scope["small"]().state_dict(), tmp_path / "fits.pt")
    torch.save(scope["small"](classes=5).state_dict(), tmp_path / "larger.pt")
    assert run("inspect", "nets.py:small", "--weights", "fits.pt").code == 0
    answer = run("inspect", "nets.py:small", "--weights", "larger.pt")
    assert answer.code == 2
    assert "larger.pt does not fit Sequential: 2 of another shape." in answer.err
    assert "7.weight is (5, 8) in the file, (4, 8) in the model" in answer.err
