"""What DDP and FSDP have recorded of a model is not changed behind their backs. One process is a group, too."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import torchsurgery as ts
from sameness import portrait
from torchsurgery.distributed import is_sharded


class Fused(nn.Linear):
    def forward(self, x):
        return super().forward(x).relu()


@pytest.fixture
def group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Sequential(nn.Linear(2, 2)))


@pytest.fixture
def sharded(group, net):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (1,))
    fully_shard(net[2], mesh=mesh)
    fully_shard(net, mesh=mesh)
    return net


@pytest.mark.parametrize("given", ["wrapper", "module"])
def test_new_parameters_under_ddp(group, net, given):
    wrapped = DistributedDataParallel(net)
    model = wrapped if given == "wrapper" else net
    name = "module.0" if given == "wrapper" else "0"
    before = portrait(net)
    new = nn.Linear(2, 2).requires_grad_(False)
    random_state = torch.random.get_rng_state()
    with pytest.raises(ts.PlanError) as caught:
        ts.replace(model, name, new)
    error = caught.value
    assert str(error).startswith(f"cannot put other Parameters into {name} (Linear): DistributedDataParallel has built")
    assert error.name == name
    assert "then wrap it" in error.way_out
    torch.random.set_rng_state(random_state)
    assert portrait(net)["modules"] == before["modules"]


# What runs the model with other tensors than its own.
RUNS = {
    "trace": lambda m, x: ts.trace(m, x),
    "inspect": lambda m, x: ts.inspect(m, x),
    "inspect with inputs found": lambda m, x: ts.inspect(m),
    "prune": lambda m, x: ts.prune(m, "**.0", 1, example_inputs=x),
    "widen": lambda m, x: ts.widen(m, "**.0", 4, example_inputs=x),
    "set_inputs": lambda m, x: ts.set_inputs(m, 4, example_inputs=x),
    "set_outputs": lambda m, x: ts.set_outputs(m, 5, example_inputs=x),
}
runs = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


@runs
def test_what_needs_stand_ins_is_refused_under_fsdp(sharded, run):
    x = torch.ones(3, 2)
    answer, before = sharded(x), portrait(sharded)["modules"]
    with pytest.raises(ts.TraceError, match=r"^FSDPSequential is sharded by FSDP") as caught:
        run(sharded, x)
    assert "first, then wrap" in caught.value.way_out
    assert portrait(sharded)["modules"] == before
    assert torch.equal(sharded(x), answer)
    with pytest.raises(ts.TraceError, match=r"^1\.2 \(FSDPSequential\) is sharded by FSDP") as caught:
        run(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(2, 2), nn.ReLU(), sharded[2])), x)
    assert caught.value.name == "1.2"
    assert torch.equal(sharded(x), answer)


@runs
def test_what_needs_stand_ins_is_refused_under_ddp(group, net, run):
    x, wrapped = torch.ones(3, 2), DistributedDataParallel(net)
    answer, before = wrapped(x), portrait(net)["modules"]
    with pytest.raises(ts.TraceError, match=r"^DistributedDataParallel has built its reducer") as caught:
        run(wrapped, x)
    assert "first, then wrap" in caught.value.way_out
    assert portrait(net)["modules"] == before
    assert torch.equal(wrapped(x), answer)


def test_a_change_of_shape_is_not_rehearsed_under_fsdp(sharded):
    new = nn.Sequential(nn.ReLU(), nn.Flatten())
    answer = sharded(torch.ones(1, 2))
    done = ts.replace(sharded, "1", new)
    assert torch.equal(sharded(torch.ones(1, 2)), answer)
    done.undo()
    assert torch.equal(sharded(torch.ones(1, 2)), answer)


def test_the_same_parameters_under_ddp(group, net):
    wrapped = DistributedDataParallel(net)
    ts.plan(wrapped).replace(nn.Linear, Fused).insert(nn.Dropout(0.1), after=nn.ReLU).apply()
    wrapped(torch.ones(1, 2)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_another_model_than_the_one_in_ddp(group, net):
    wrapped = DistributedDataParallel(nn.Linear(2, 2))
    ts.replace(net, "0", nn.Linear(2, 2))
    assert isinstance(wrapped.module, nn.Linear)


def test_new_parameters_under_fsdp(sharded):
    before = portrait(sharded)["modules"]
    with pytest.raises(ts.PlanError) as caught:
        ts.replace(sharded, "0", lambda old: nn.Linear(2, 2), carry=False)
    error = caught.value
    assert str(error).startswith(
        "cannot put other Parameters into 0 (Linear): it belongs to an FSDP unit (FSDPSequential)"
    )
    assert error.name == "0"
    assert "before fully_shard(model)" in error.way_out
    assert portrait(sharded)["modules"] == before


def test_removing_parameters_under_fsdp(sharded):
    with pytest.raises(ts.PlanError, match="cannot put other Parameters into 0"):
        ts.remove(sharded, "0")


def test_the_same_parameters_under_fsdp(sharded):
    ts.plan(sharded).replace(nn.ReLU, nn.GELU).replace("2.0", Fused).apply()
    assert sharded(torch.ones(1, 2)).shape == (1, 2)
    assert isinstance(sharded[2][0], Fused)


def test_a_unit_gives_way_to_a_unit(sharded):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    new = fully_shard(nn.Sequential(nn.Linear(2, 2)), mesh=init_device_mesh("cpu", (1,)))
    ts.replace(sharded, "2", new)
    assert sharded[2] is new


def test_sharded_is_what_fully_shard_was_called_on(sharded):
    assert is_sharded(type(sharded))
    assert is_sharded(type(sharded[2]))
    assert not is_sharded(type(sharded[0]))


def test_without_a_process_group_nothing_is_refused(net):
    ts.replace(net, "0", nn.Linear(2, 2)).undo()
    assert type(net[0]) is nn.Linear
