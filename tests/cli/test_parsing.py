"""What can be written, read from the parser itself."""

import pytest

from torchsurgery.cli.parsing import parser


def test_several_of_a_kind():
    given = ["-a", "width=3", "--arg", "p=0.5", "-i", "1,3", "-i", "1,4:int64", "--select", "a", "--select", "b"]
    words = ["inspect", "m", *given, "--depth", "2"]
    read = parser().parse_args(words)
    assert read.arg == [("width", 3), ("p", 0.5)]
    assert [given.shape for given in read.input] == [(1, 3), (1, 4)]
    assert (read.select, read.depth) == (["a", "b"], 2)


@pytest.mark.parametrize("depth", ["-1", "x"])
def test_a_depth_that_is_none(capsys, depth):
    with pytest.raises(SystemExit):
        parser().parse_args(["inspect", "m", "--depth", depth])
    assert "whole number" in capsys.readouterr().err


def test_what_is_wrong_with_a_value_is_said(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["inspect", "m", "-a", "width"])
    assert "'width' is not KEY=VALUE, such as num_classes=10" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["inspect", "plan", "apply", "verify", "report", "export"])
def test_each_takes_json_and_debug(command):
    rest = {"apply": ["-o", "x"], "report": ["-o", "x"], "export": ["-o", "x", "--to", "onnx"]}.get(command, [])
    read = parser().parse_args([command, "m", *rest, "--json", "--debug"])
    assert (read.command, read.json, read.debug) == (command, True, True)
