"""Ways out in the words of the command line."""

from torchsurgery.cli.hints import in_words
from torchsurgery.errors import CouplingError, RecipeError, SelectionError, TraceError


def test_what_a_command_does_as_well_is_told_as_a_command():
    error = SelectionError("'x' selects nothing.", way_out="see what is there with  ts.select(model, nn.Module)")
    told = in_words(error, "timm:resnet18")
    assert told == "'x' selects nothing.\n  see what is there with  torchsurgery inspect timm:resnet18 --all"
    error = TraceError("it fails.", way_out="give inputs that the model takes as it is:  model(*inputs)")
    assert in_words(error, "m").endswith("\n  give what it takes, once an argument:  --input 1,3,224,224")


def test_classes_are_named_on_the_command_line():
    error = RecipeError("'my' isn't registered here.", way_out="ts.register('my', my)")
    assert in_words(error, "m").endswith(
        "\n  name the classes of your own, whose code is then run:  --class NAME=pkg.mod:Class"
    )


def test_all_else_stays():
    for error in (
        CouplingError("no.", way_out="ts.select(x)"),
        SelectionError("no."),
        TraceError("no.", way_out="run"),
    ):
        assert in_words(error, "m") == str(error)


def test_on_the_command_line(run, nets):
    answer = run("inspect", "nets.py:small", "--select", "nothing.*")
    assert answer.err.endswith("see what is there with  torchsurgery inspect nets.py:small --all\n")
    assert "--input 1,3,224,224" in run("inspect", "nets.py:small", "-i", "1,4,8,8").err
