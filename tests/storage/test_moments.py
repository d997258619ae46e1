"""The state of an optimizer, by the names of Parameters: training goes on as if it had never stopped."""

import pytest
import torch
from torch import nn

import torchsurgery as ts

X = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))


def build():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def altered():
    torch.manual_seed(0)
    net = build()
    ts.replace(net, nn.ReLU, nn.PReLU)
    return net


def steps(net, optimizer, count, scheduler=None):
    for _ in range(count):
        optimizer.zero_grad()
        net(X).square().mean().backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "LBFGS": None,
}


@pytest.mark.parametrize("name", [name for name, make in OPTIMIZERS.items() if make])
def test_training_goes_on_as_if_it_had_not_stopped(name, tmp_path):
    net = altered()
    optimizer = OPTIMIZERS[name](net.parameters())
    steps(net, optimizer, 3)
    ts.save(net, tmp_path / "run", optimizer=optimizer, state={"step": 3})
    steps(net, optimizer, 3)
    loaded = ts.load(tmp_path / "run", base=build)
    again = OPTIMIZERS[name](loaded.parameters())
    assert ts.load_training(tmp_path / "run", loaded, optimizer=again) == {"step": 3}
    steps(loaded, again, 3)
    for mine, theirs in zip(loaded.parameters(), net.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_groups_and_schedulers(tmp_path):
    net = altered()

    def make(model):
        groups = [
            {"params": [model[0].weight], "lr": 0.5},
            {"params": [p for n, p in model.named_parameters() if n != "0.weight"]},
        ]
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
        return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)

    optimizer, scheduler = make(net)
    steps(net, optimizer, 3, scheduler)
    ts.save(net, tmp_path / "run", optimizer=optimizer, state={"scheduler": scheduler.state_dict()})
    steps(net, optimizer, 3, scheduler)
    loaded = ts.load(tmp_path / "run", base=build)
    again, schedule = make(loaded)
    schedule.load_state_dict(ts.load_training(tmp_path / "run", loaded, optimizer=again)["scheduler"])
    assert [group["lr"] for group in again.param_groups] == [0.25, 0.05]
    steps(loaded, again, 3, schedule)
    assert torch.equal(loaded[0].weight, net[0].weight)


def test_parameters_are_found_by_name_in_whatever_order(tmp_path):
    net = altered()
    optimizer = torch.optim.Adam(net.parameters())
    steps(net, optimizer, 2)
    ts.save(net, tmp_path / "run", optimizer=optimizer)
    loaded = ts.load(tmp_path / "run", base=build)
    again = torch.optim.Adam(list(loaded.parameters())[::-1])
    ts.load_training(tmp_path / "run", loaded, optimizer=again)
    assert torch.equal(again.state[loaded[0].weight]["exp_avg"], optimizer.state[net[0].weight]["exp_avg"])


def test_values_of_many_kinds(tmp_path):
    state = {"epoch": 3, "best": float("inf"), "names": ("a", None), "rng": torch.get_rng_state(), "by": {1: [True]}}
    ts.save(altered(), tmp_path / "run", state=state)
    found = ts.load_training(tmp_path / "run", ts.load(tmp_path / "run", base=build))
    assert torch.equal(found.pop("rng"), state.pop("rng"))
    assert found == state


def test_what_is_refused(tmp_path):
    net = altered()
    with pytest.raises(ts.RecipeError, match="can't be saved without pickle"):
        ts.save(net, tmp_path / "run", state={"callback": lambda: 3})
    with pytest.raises(ts.RecipeError, match=r"a Parameter of shape \(8, 4\) that isn't the model's"):
        ts.save(net, tmp_path / "run", optimizer=torch.optim.SGD(build().parameters(), lr=0.1))
    assert not (tmp_path / "run").exists()
    ts.save(net, tmp_path / "plain")
    with pytest.raises(ts.RecipeError, match="nothing of training was saved there"):
        ts.load_training(tmp_path / "plain", net)
    ts.save(net, tmp_path / "state", state={"epoch": 1})
    with pytest.raises(ts.RecipeError, match="no optimizer was saved there"):
        ts.load_training(tmp_path / "state", net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1))


def test_an_optimizer_of_another_kind_or_of_other_parameters(tmp_path):
    net = altered()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    steps(net, optimizer, 1)
    ts.save(net, tmp_path / "run", optimizer=optimizer)
    loaded = ts.load(tmp_path / "run", base=build)
    with pytest.raises(ts.RecipeError, match="expected the state of a Adam"):
        ts.load_training(tmp_path / "run", loaded, optimizer=torch.optim.Adam(loaded.parameters()))
    part = torch.optim.SGD(loaded[0].parameters(), lr=0.3)
    with pytest.raises(ts.RecipeError, match="which differ in"):
        ts.load_training(tmp_path / "run", loaded, optimizer=part)
    assert part.param_groups[0]["lr"] == 0.3 and not part.state


def test_a_carried_optimizer(tmp_path):
    net = build()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    steps(net, optimizer, 2)
    ts.plan(net, example_inputs=X).prune("0", 0.5).apply(optimizer=optimizer)
    ts.save(net, tmp_path / "run", base=build, optimizer=optimizer)
    loaded = ts.load(tmp_path / "run", base=build)
    again = torch.optim.SGD(loaded.parameters(), lr=0.1, momentum=0.9)
    ts.load_training(tmp_path / "run", loaded, optimizer=again)
    assert again.state[loaded[0].weight]["momentum_buffer"].shape == (4, 4)


def test_a_scheduler_that_counts(tmp_path):
    net = nn.Sequential(nn.Linear(3, 2))
    ts.replace(net, "0", nn.Linear, out_features=4)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5, 5])
    ts.save(net, tmp_path / "save", optimizer=optimizer, state={"scheduler": scheduler.state_dict()})
    found = ts.load_training(tmp_path / "save", net, optimizer=optimizer)["scheduler"]
    assert found == scheduler.state_dict()
    assert type(found["milestones"]) is type(scheduler.milestones)
