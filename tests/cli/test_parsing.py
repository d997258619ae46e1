"""What can be written, read from the parser itself."""

import pytest

from torchsurgery.cli.parsing import Misspelt, parser


def test_several_of_a_kind():
    given = ["-a", "width=3", "--arg", "p=0.5", "-i", "1,3", "-i", "1,4:int64", "--select", "a", "--select", "b"]
    words = ["inspect", "m", *given, "--depth", "2"]
    read = parser().parse_args(words)
    assert read.arg == [("width", 3), ("p", 0.5)]
    assert [given.shape for given in read.input] == [(1, 3), (1, 4)]
    assert (read.select, read.depth) == (["a", "b"], 2)


@pytest.mark.parametrize("depth", ["-1", "x"])
def test_a_depth_that_is_none(depth):
    with pytest.raises(Misspelt, match="whole number"):
        parser().parse_args(["inspect", "m", "--depth", depth])


def test_what_is_wrong_with_a_value_is_said():
    with pytest.raises(Misspelt, match="'width' is not KEY=VALUE, such as num_classes=10"):
        parser().parse_args(["inspect", "m", "-a", "width"])


@pytest.mark.parametrize("command", ["inspect", "plan", "apply", "verify", "report", "export"])
def test_each_takes_json_and_debug(command):
    rest = {"apply": ["-o", "x"], "report": ["-o", "x"], "export": ["-o", "x", "--to", "onnx"]}.get(command, [])
    read = parser().parse_args([command, "m", *rest, "--json", "--debug"])
    assert (read.command, read.json, read.debug) == (command, True, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["inspekt", "x"], "did you mean  inspect"),
        (["inspect", "x", "--weigths", "w.pt"], "did you mean  --weights"),
        (["completion", "bahs"], "did you mean  bash"),
        (["inspect", "x", "--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["inspect"], "the following arguments are required: MODEL"),
        (["inspect", "x", "-i", "a"], "is no shape"),
    ],
)
def test_a_misspelt_command_is_told_with_what_was_meant(run, words, told):
    answer = run(*words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("usage: torchsurgery")
    assert told in answer.err
    for_machines = run(*words, "--json")
    assert for_machines.code == 2
    error = for_machines.data["error"]
    assert error["kind"] == "UsageError"
    assert told in " ".join([error["message"], *error["details"]])


def test_what_can_be_typed_stays_in_one_piece(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "44")
    words = run("inspect", "--help").out.split()
    assert {"torchvision:resnet18,", "hf:org/name[@revision],", "1,3,224,224"} <= set(words)
