"""`torchsurgery plan`."""

import pytest
from running import text

SLIM = text(
    """
    # narrower, and for small batches
    - prune: {target: "layer*.*.conv1", amount: 0.25}
    - replace:
        target: BatchNorm2d
        with: GroupNorm
        num_groups: 8
    - insert: {with: Dropout, p: 0.1, after: ReLU}
    - set_outputs: 10
    """
)


def test_resnet18(run, golden, tmp_path):
    (tmp_path / "slim.yaml").write_text(SLIM)
    answer = run("plan", "torchvision:resnet18", tmp_path / "slim.yaml")
    assert (answer.code, answer.err) == (0, "")
    golden("cli_plan_resnet18.txt", answer.out)


def test_for_machines(run, nets):
    data = run("plan", "nets.py:small", "-e", "prune: {target: '0', amount: 2}", "-i", "1,3,8,8", "--json").data
    (edit,) = data["edits"]
    assert [change["kind"] for change in edit["changes"]] == ["prune", "follow", "follow"]
    assert edit["changes"][0]["names"] == ["0"]
    assert data["before"]["params"] - data["after"]["params"] == 2 * (3 * 9 + 1) + 2 * 2 + 2 * 8
    assert data["before"]["macs"] > data["after"]["macs"] > 0
    assert data["before"]["output"] == data["after"]["output"] == [[1, 4]]


def test_recipe_and_further_edits(run, nets, tmp_path):
    (tmp_path / "a.json").write_text('[{"remove": "BatchNorm2d"}]')
    out = run("plan", "nets.py:small", "a.json", "-e", "replace: {target: ReLU, with: GELU}").out
    assert "1  remove BatchNorm2d" in out
    assert "2  replace ReLU → GELU" in out


def test_all_rows(run):
    words = ["plan", "torchvision:resnet18", "-e", "replace: {target: BatchNorm2d, with: Identity}"]
    assert "12 more in layer2, layer3, layer4  (--all)" in run(*words).out
    assert "more in" not in run(*words, "--all").out


def test_a_class_of_ones_own(run, nets):
    edit = "wrap: {target: Linear, with: Around, gain: 0.5}"
    refused = run("plan", "nets.py:small", "-e", edit)
    assert (refused.code, "'Around' is no layer of torch.nn" in refused.err) == (2, True)
    for given in ("nets.py:Around", "Around=nets.py:Around"):
        answer = run("plan", "nets.py:small", "-e", edit, "--class", given)
        assert "1  wrap Linear in Around(gain=0.5)" in answer.out


@pytest.mark.parametrize(("given", "words"), [("nets.py:NETS", "has no NETS"), ("nets.py", "not what in it")])
def test_a_class_that_is_not_there(run, nets, given, words):
    answer = run("plan", "nets.py:small", "-e", "remove: ReLU", "--class", given)
    assert answer.code == 2
    assert words in answer.err


def test_the_same_random_weights_each_time(run, nets):
    words = ["plan", "nets.py:small", "-e", "prune: {target: '0', amount: 0.5}", "-i", "1,3,8,8", "--json"]
    assert run(*words).out == run(*words).out
