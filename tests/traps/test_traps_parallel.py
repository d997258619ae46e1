"""Trap 14: DDP and FSDP2 on two processes, which record a model's Parameters when they are put around it."""

import tempfile

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from parts import BuiltLinear, Doubled, FusedReLU, MyLinear, NegatedLinear, Scaled
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

import torchsurgery as ts

pytestmark = pytest.mark.distributed
RANKS = 2


def _run(task, folder):
    """Run `task(rank)` in two processes."""
    mp.spawn(_in_process, args=(task, f"file://{folder}/store"), nprocs=RANKS)


def _in_process(rank, task, store):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS)
    try:
        torch.manual_seed(0)
        task(rank)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)), nn.Linear(8, 2))


def _train(model, optimizer, rank, steps=3):
    """Each rank on data of its own; answers what the gradients were."""
    grads = []
    for step in range(steps):
        optimizer.zero_grad()
        model(torch.randn(6, 4, generator=torch.Generator().manual_seed(10 * step + rank))).square().mean().backward()
        grads = [p.grad for p in model.parameters() if p.requires_grad]
        optimizer.step()
    return grads


def _whole(tensor):
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach()


def _agree(tensors):
    """All ranks have the same values."""
    for tensor in map(_whole, tensors):
        others = [torch.empty_like(tensor) for _ in range(RANKS)]
        dist.all_gather(others, tensor.contiguous())
        assert torch.equal(others[0], others[1])


def _refused(edit, *inside):
    try:
        edit()
    except ts.PlanError as error:
        assert error.way_out, error
        for words in inside:
            assert words in str(error), error
        return error
    raise AssertionError("it was not refused")


def _ddp(rank):
    net = _net()
    ts.plan(net).replace("3", nn.Linear(8, 3)).insert(nn.Linear(8, 8), after="1").apply()  # before: anything goes
    model = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    _agree(_train(model, optimizer, rank))

    # After: whatever keeps the Parameters, through the wrapper or past it.
    done = (
        ts.plan(model)
        .replace(nn.BatchNorm1d, nn.LayerNorm, normalized_shape=8)
        .replace("**.2.0", BuiltLinear)
        .replace(nn.ReLU, FusedReLU, p=0.0)
        .apply(optimizer=optimizer)
    )
    assert type(net[2][0]) is BuiltLinear
    _agree(_train(model, optimizer, rank))
    _agree(model.parameters())
    nested = (
        ts.plan(net).wrap("2.0", Doubled).insert(nn.Dropout(0.0), after="3").replace("3.layer", NegatedLinear).apply()
    )
    _agree(_train(model, optimizer, rank))
    _agree(model.parameters())
    nested.undo()
    done.undo()
    _agree(_train(model, optimizer, rank))

    # What its reducer would wait for, or never see, is refused; and nothing has changed.
    objects = list(map(id, model.modules())), list(map(id, model.parameters()))
    for target in (model, net):
        start = "module." if target is model else ""
        words, new = (f"{start}3 (Linear)", "DistributedDataParallel has built its reducer"), nn.Linear(8, 3)
        _refused(lambda target=target, start=start, new=new: ts.replace(target, f"{start}3", new), *words)
        _refused(lambda target=target, start=start: ts.insert(target, nn.PReLU(), after=f"{start}3"), *words)
        _refused(lambda target=target, start=start: ts.wrap(target, f"{start}3", Scaled), *words)
        _refused(lambda target=target, start=start: ts.remove(target, f"{start}3"), *words)
    assert objects == (list(map(id, model.modules())), list(map(id, model.parameters())))
    _agree(_train(model, optimizer, rank))


def test_trap_14_ddp(tmp_path):
    _run(_ddp, tmp_path)


def _ddp_saved(rank):
    net = _net()
    ts.replace(net, "3", nn.Linear(8, 3))
    model = DistributedDataParallel(net)
    first = ts.replace(model, nn.ReLU, nn.SiLU)
    ts.insert(net, nn.Dropout(0.1), after="1")
    ts.wrap(net[2], "0", nn.Sequential)
    assert [op.names for op in ts.recipe_of(model).operations] == [("3",), ("1",), ("1",), ("2.0",)]
    x = torch.randn(3, 4)
    for given in (model, net):
        with tempfile.TemporaryDirectory() as folder:
            ts.save(given, folder, base=_net)
            assert torch.equal(ts.load(folder, base=_net).eval()(x), net.eval()(x))
    try:
        first.undo()
    except ts.SurgeryError as error:
        assert "still in force" in str(error) and "wrap 0" in str(error), error
    else:
        raise AssertionError("it was undone")


def test_trap_14_what_was_done_through_ddp_is_saved(tmp_path):
    _run(_ddp_saved, tmp_path)


def _sharded(*, edit=None):
    net = _net()
    if edit is not None:
        edit(net)
    fully_shard(net[2])
    return fully_shard(net)


def _expected(rank, edit):
    """The same model and steps on one process: the mean of both ranks' losses."""
    net = _net()
    edit(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        for other in range(RANKS):
            x = torch.randn(6, 4, generator=torch.Generator().manual_seed(10 * step + other))
            (net(x).square().mean() / RANKS).backward()
        optimizer.step()
    return [p.detach() for p in net.parameters()]


def _fsdp(rank):
    def edit(model):
        ts.plan(model).replace("3", NegatedLinear).replace(nn.ReLU, FusedReLU, p=0.0).replace(
            nn.BatchNorm1d, nn.LayerNorm, normalized_shape=8
        ).replace("2.0", MyLinear).insert(nn.Dropout(0.0), after="0").apply()

    expected = _expected(rank, edit)
    for when in ("before fully_shard", "after it", "after a step"):
        model = _sharded(edit=edit if when == "before fully_shard" else None)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if when == "after it":
            edit(model)
        elif when == "after a step":
            model(torch.randn(6, 4))
            edit(model)
        assert all(isinstance(p, DTensor) for p in model.parameters())
        _train(model, optimizer, rank)
        for parameter, right in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(_whole(parameter), right, msg=when)
        _agree(model.parameters())

    objects = list(map(id, model.modules())), list(map(id, model.parameters()))
    new = nn.Linear(8, 2)
    first = f"3 ({type(model[3]).__name__})"
    _refused(lambda: ts.replace(model, "3", new), first, "FSDP", "fully_shard")
    _refused(lambda: ts.replace(model, "3", lambda old: nn.Linear(8, 2), carry=False), "3 (", "FSDP")
    _refused(lambda: ts.insert(model, nn.PReLU(), after="3"), first, "FSDP")
    _refused(lambda: ts.wrap(model, "2.0", Scaled), "2.0 (", "FSDP")
    _refused(lambda: ts.remove(model, "2.0"), "2.0 (", "FSDP")
    _refused(lambda: ts.replace(model, "2", lambda old: nn.Identity()), "2 (", "FSDP")
    assert objects == (list(map(id, model.modules())), list(map(id, model.parameters())))

    # What needs other tensors is refused, and the model goes on learning.
    for run in (lambda x: ts.trace(model, x), lambda x: ts.prune(model, "0", 2, example_inputs=x)):
        try:
            run(torch.randn(6, 4))
        except ts.TraceError as error:
            assert "is sharded by FSDP" in str(error) and "then wrap" in error.way_out, error
        else:
            raise AssertionError("it was not refused")
    _train(model, optimizer, rank)
    _agree(model.parameters())

    # The layer that is a unit itself: its class is generated.
    unit = fully_shard(nn.Linear(4, 4))
    outer = nn.Sequential(unit, nn.ReLU())
    x = torch.randn(2, 4)
    before = outer(x)
    _refused(lambda: ts.replace(outer, "0", NegatedLinear), "0 (FSDPLinear)", "fully_shard")
    assert outer[0] is unit
    assert isinstance(unit, FSDPModule)
    torch.testing.assert_close(outer(x), before)
    done = ts.wrap(outer, "0", Doubled)
    torch.testing.assert_close(outer(x), 2 * before)
    done.undo()

    # A unit may give way to a unit.
    replaced = fully_shard(NegatedLinear(4, 4))
    ts.replace(outer, "0", replaced)
    optimizer = torch.optim.SGD(outer.parameters(), lr=0.1)
    _train(outer, optimizer, rank)
    _agree(outer.parameters())


def test_trap_14_fsdp2(tmp_path):
    _run(_fsdp, tmp_path)
