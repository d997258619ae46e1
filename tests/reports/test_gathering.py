"""All that a report shows, by a plan and by a surgery."""

import copy

import pytest
import torch
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery.reports import gather


def of(done, inputs=None, source=""):
    from contextlib import nullcontext

    if isinstance(done, ts.Surgery):
        return gather(done.planned, done.taken_back, lambda: nullcontext(done.model), inputs, source)
    return gather(done.planned, lambda: nullcontext(done.draft.model), done.in_force, inputs, source)


def prune_and_more(model, x):
    return ts.plan(model, x).prune("layer1.0.conv1", 0.25).replace("fc", nn.Linear(512, 10)).remove("layer2.1.relu")


def test_a_plan_and_its_surgery_show_the_same(resnet18, images):
    plan = prune_and_more(resnet18, images)
    planned = of(plan, images)
    done = of(plan.apply(), images)
    assert planned.before == done.before
    assert planned.after == done.after
    told = [[(p.name, p.kind, p.why, p.words) for p in report.tree.walk()] for report in (planned, done)]
    assert told[0] == told[1]
    assert planned.checks == done.checks
    assert planned.checks.ok


def test_it_leaves_the_model_as_it_was(resnet18, images):
    plan = prune_and_more(resnet18, images)
    before = portrait(resnet18)
    of(plan, images)
    assert portrait(resnet18) == before
    done = plan.apply()
    now = portrait(resnet18)
    of(done, images)
    assert portrait(resnet18) == now
    done.undo()
    assert portrait(resnet18) == before


def test_before_is_what_a_copy_kept_from_before_says(resnet18, images):
    twin = copy.deepcopy(resnet18)
    report = of(prune_and_more(resnet18, images).apply(), images)
    assert report.before == ts.inspect(twin, images)
    assert report.after == ts.inspect(resnet18, images)


def test_without_inputs_nothing_is_run():
    class Never(nn.Module):
        def forward(self, x):
            raise AssertionError

    report = of(ts.plan(nn.Sequential(Never(), nn.ReLU())).replace("1", nn.GELU))
    assert report.runs is None
    assert report.checks is None
    assert report.failures == ("", "")
    assert report.before.params == 0


def test_where_only_one_state_can_be_run_the_other_is_told():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    plan = ts.plan(net).set_inputs(4, example_inputs=torch.randn(2, 3, 8, 8))
    report = of(plan, torch.randn(2, 4, 8, 8))
    assert "3 channels" in report.failures[0]
    assert report.failures[1] == ""
    assert report.runs is None
    assert report.checks.ok
    assert report.before.inputs == ()
    assert report.after.output == ((2, 8, 6, 6),)


def test_where_neither_can_be_run_it_raises_and_leaves_the_model():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    plan, x = ts.plan(net).replace("1", nn.GELU), torch.randn(2, 5)
    before = portrait(net)
    with pytest.raises(ts.TraceError, match="fails on these inputs"):
        of(plan, x)
    assert portrait(net) == before


def test_a_failed_check_is_a_part_of_the_report():
    class Loses(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return x * self.weight.detach()

    report = of(ts.plan(nn.Sequential(nn.Linear(4, 4), nn.ReLU())).replace("1", Loses()), torch.randn(2, 4))
    assert not report.checks.ok
    assert [line.ok for line in report.checks.lines].count(False) == 1


def test_on_meta_there_are_shapes_but_no_times():
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    report = of(ts.plan(net).replace(nn.ReLU, nn.GELU), torch.ones(2, 4, device="meta"))
    assert report.runs is None
    assert report.after.output == ((2, 2),)
    assert report.before.macs == 2 * (4 * 8 + 8 * 2)


def test_a_later_surgery_must_be_undone_first(resnet18, images, tmp_path):
    first = ts.replace(resnet18, "relu", nn.GELU)
    ts.replace(resnet18, "layer1.0.relu", nn.GELU)
    with pytest.raises(ts.SurgeryError, match="a later surgery on ResNet is still in force"):
        first.report(tmp_path / "report.html", images)
    assert not list(tmp_path.iterdir())


def test_named_inputs_and_several():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x, *, scale):
            return self.layer(x) * scale

    report = of(ts.plan(Two()).replace("layer", nn.Linear(4, 2)), {"x": torch.ones(2, 4), "scale": torch.ones(1)})
    assert report.before.inputs == (((2, 4), "float32"), ((1,), "float32"))
    assert report.after.output == ((2, 2),)


def test_edits_read_from_a_file_tell_what_hangs_together(resnet18, images, tmp_path):
    plan = ts.plan(resnet18, images).prune("layer1.0.conv1", 0.25)
    ts.save(plan, tmp_path / "plan")
    again = ts.load_plan(tmp_path / "plan", resnet18)
    assert again.edits[0].ties == ()
    assert of(again, images).planned[0].edit.ties == plan.edits[0].ties
    assert {pair.why for pair in of(again, images).tree.walk()} == {"", "1 prune", "follows layer1.0.conv1"}
    assert of(again).planned[0].edit.ties == ()
