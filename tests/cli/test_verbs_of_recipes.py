"""The verbs of a recipe do what the methods of a plan do."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchsurgery as ts
from torchsurgery.cli import verbs
from torchsurgery.cli.recipes import read_text
from torchsurgery.cli.verbs import VERBS, performed


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.more, self.drop, self.fc = nn.Conv2d(8, 8, 3, padding=1), nn.Dropout(), nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.more(self.act(self.norm(self.conv(x)))))
        return self.fc(self.drop(x.mean((2, 3))))


class Around(nn.Module):
    def __init__(self, inner, gain=1.0):
        super().__init__()
        self.inner, self.gain = inner, gain

    def forward(self, x):
        return self.inner(x) * self.gain


X = torch.zeros(1, 3, 8, 8)


@pytest.fixture
def net():
    return Net().eval()


def written(net, text, classes=None):
    plan = ts.plan(net, X)
    for step in read_text(text, "r.yaml"):
        plan = performed(plan, step, classes or {})
    return plan


SAME = {
    "replace: {target: BatchNorm2d, with: GroupNorm, num_groups: 4}": lambda p: p.replace(
        nn.BatchNorm2d, nn.GroupNorm, num_groups=4
    ),
    "replace: {target: [conv, more], with: Conv2d, kernel_size: [5, 5], carry: true}": lambda p: p.replace(
        ("conv", "more"), nn.Conv2d, kernel_size=(5, 5)
    ),
    "insert: {with: Dropout, p: 0.2, after: ReLU}": lambda p: p.insert(nn.Dropout, p=0.2, after=nn.ReLU),
    "insert: {with: LayerNorm, before: fc}": lambda p: p.insert(nn.LayerNorm, before="fc"),
    "remove: Dropout": lambda p: p.remove(nn.Dropout),
    "wrap: {target: fc, with: Around, gain: 2.0}": lambda p: p.wrap("fc", Around, gain=2.0),
    "prune: {target: conv, amount: 2, by: l1}": lambda p: p.prune("conv", 2, by=ts.importance.l1),
    "prune: {target: conv, channels: [1, 3]}": lambda p: p.prune("conv", channels=[1, 3]),
    "prune: {amount: 0.5, ignore: more, round_to: 2}": lambda p: p.prune(amount=0.5, ignore="more", round_to=2),
    "prune: {params: 0.7}": lambda p: p.prune(params=0.7),
    "widen: {target: conv, width: 12}": lambda p: p.widen("conv", 12),
    "fold": lambda p: p.fold(),
    "fold: {layer_norms: false}": lambda p: p.fold(layer_norms=False),
    "set_inputs: 4": lambda p: p.set_inputs(4),
    "set_inputs: {channels: 4, fill: repeat}": lambda p: p.set_inputs(4, fill="repeat"),
    "set_outputs: {number: 3, keep: [0, null, 2]}": lambda p: p.set_outputs(3, keep=[0, None, 2]),
    "calls_to_layers: F.relu": lambda p: p.calls_to_layers(F.relu),
    "convert_dims: {dims: 3, ignore: ''}": lambda p: ts.convert.dims(p, 3, ignore=""),
    "factorize: {target: fc, rank: 2}": lambda p: ts.factorize(p, "fc", rank=2),
    "freeze_norms": lambda p: ts.freeze_norms(p),
    "freeze_norms: {statistics_only: true}": lambda p: ts.freeze_norms(p, statistics_only=True),
}


@pytest.mark.parametrize("text", SAME)
def test_the_same_as_in_python(net, text):
    ours, theirs = written(net, text, {"Around": Around}), SAME[text](ts.plan(net, X))
    assert repr(ours) == repr(theirs)
    assert [repr(c.new) for c in ours.changes] == [repr(c.new) for c in theirs.changes]
    assert str(ours).splitlines()[3:] == str(theirs).splitlines()[3:]


def test_every_verb_is_tried():
    assert {text.partition(":")[0] for text in SAME} == set(VERBS) == set(verbs._EXAMPLES)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("convert_dims", "prune")])
def test_the_examples_in_errors_are_right(resnet18, verb):
    example = verbs._EXAMPLES[verb].partition("        and")[0]
    plan = ts.plan(ts.plan(resnet18).insert(nn.Dropout(), after=nn.ReLU).apply().model, torch.zeros(1, 3, 32, 32))
    if verb == "calls_to_layers":
        with pytest.raises(ts.SelectionError):  # ResNet calls none
            performed(plan, *read_text(example, "x"), {})
    else:
        assert performed(plan, *read_text(example, "x"), {"Mine": Around}).changes


def test_later_edits_see_what_earlier_ones_leave(net):
    plan = written(net, "- replace: {target: ReLU, with: GELU}\n- insert: {with: Dropout, after: GELU}")
    assert len(plan.changes) == 2


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("- fold\n- remve: x", 2, "'remve' is no verb"),
        ("prune: {target: conv, amount: '1'}", 1, "amount must be a whole number or a share such as 0.25, got '1'"),
        ("prune: {target: conv, amount: true}", 1, "amount must be a whole number"),
        ("prune:\n  target: conv\n  amont: 3", 3, "prune takes no amont"),
        ("insert: {after: ReLU}", 1, "insert needs with"),
        ("remove", 1, "remove needs target"),
        ("remove: 3", 1, "target must be a word or a list or a mapping, got 3"),
        ("fold: 3", 1, "layer_norms must be true or false, got 3"),
        ("set_outputs: ten", 1, "number must be a whole number"),
        ("replace:\n  target: ReLU\n  with: GELLU", 3, "'GELLU' is no layer of torch.nn"),
        ("replace: {target: ReLU, with: ReLU, share: 1}", 1, "share must be true or false"),
        ("prune: {target: conv, amount: 2, by: l9}", 1, "'l9' scores no channels"),
    ],
)
def test_what_is_not_written_as_it_must_be(net, text, place, words):
    with pytest.raises(ts.RecipeError) as caught:
        written(net, text)
    assert words in str(caught.value)
    assert caught.value.place == f"r.yaml, line {place}"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("- fold\n- remove: nothing", ts.SelectionError),
        ("- fold\n- replace: {target: conv, with: Conv2d, groups: 7}", ts.ConfigError),
        ("- fold\n- prune: {target: fc, amount: 2}", ts.CouplingError),
        ("- fold\n- insert: {with: ReLU}", ts.PlanError),
    ],
)
def test_what_cannot_be_done_says_where_it_is_written(net, text, kind):
    with pytest.raises(kind) as caught:
        written(net, text)
    assert caught.value.place == "r.yaml, line 2"


@pytest.mark.parametrize(
    ("recipe", "line", "told"),
    [
        ("- prune:\n    target: '0'\n    amount: 2.5", 3, "amount must be"),
        ("- fold\n- prune:\n    amount: 0.5\n    target: 'nothing.*'", 4, "selects no module"),
        ("- insert:\n    with: Dropout\n    after: 'nothing'", 3, "selects no module"),
        ("- replace:\n    target: BatchNorm2d\n    with: GroupNorm\n    nm_groups: 8", 4, "no argument 'nm_groups'"),
        ("- replace:\n    target: BatchNorm2d\n    wiht: GroupNorm", 3, "write  with  for wiht"),
    ],
)
def test_the_line_is_that_of_the_argument(run, nets, recipe, line, told):
    with open("r.yaml", "w") as file:
        file.write(recipe)
    answer = run("plan", "nets.py:small", "r.yaml", "-i", "2,3,8,8")
    assert answer.err.startswith(f"r.yaml, line {line}: ")
    assert told in answer.err
