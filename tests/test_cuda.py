"""What a GPU adds: devices are carried, nothing is computed twice there, and a surgery goes on where the model goes.

PYTHONPATH=src python -m pytest tests/test_cuda.py        on a machine that has one
"""

import contextlib
import copy

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import torchsurgery as ts
from torchsurgery.importance import Sources, scores_of
from torchsurgery.tree import Draft

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUDA = torch.device("cuda", 0)


class FusedReLU(nn.Module):
    def __init__(self, inplace=False):
        super().__init__()
        self.relu, self.drop = nn.ReLU(inplace), nn.Dropout(0.1)

    def forward(self, x):
        return self.drop(self.relu(x))


@pytest.fixture
def resnet():
    return torchvision.models.resnet18(weights=None).eval().to(CUDA)


@pytest.fixture
def x():
    return torch.randn(2, 3, 64, 64, device=CUDA)


@pytest.fixture(autouse=True)
def exact_arithmetic(monkeypatch):
    """TF32 and the choice of algorithms would hide what is compared."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def everything(model):
    return [*model.parameters(), *model.buffers()]


def test_new_layers_come_to_the_device_of_the_old_ones(resnet, x):
    before = resnet(x)
    done = ts.replace(resnet, nn.ReLU, FusedReLU)
    assert torch.equal(resnet(x), before)
    ts.replace(resnet, nn.BatchNorm2d, nn.GroupNorm, num_groups=8)
    ts.replace(resnet, "fc", lambda old: nn.Linear(512, 10))
    ts.insert(resnet, nn.LayerNorm(512), before="fc")
    assert {tensor.device for tensor in everything(resnet)} == {CUDA}
    ts.check(resnet, x)
    assert done.in_force


def test_larger_kernels_compute_the_same(resnet, x):
    before = resnet(x)
    ts.replace(resnet, ts.select(resnet, nn.Conv2d, kernel_size=1), nn.Conv2d, kernel_size=3)
    torch.testing.assert_close(resnet(x), before, rtol=1e-4, atol=1e-5)


def test_undo_is_bit_for_bit(resnet, x):
    before, tensors = resnet(x), [id(t) for t in everything(resnet)]
    done = ts.plan(resnet).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=8).wrap("layer4", nn.Sequential).apply()
    done.undo()
    assert [id(t) for t in everything(resnet)] == tensors and torch.equal(resnet(x), before)


@pytest.mark.parametrize("fused", [False, True], ids=["foreach", "fused"])
def test_an_optimizer_goes_on_with_its_state(resnet, x, fused):
    optimizer = torch.optim.AdamW(resnet.parameters(), lr=1e-3, fused=fused)

    def step():
        optimizer.zero_grad()
        loss = resnet(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    first = step()
    ts.plan(resnet).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=8).apply(optimizer=optimizer)
    weight = resnet.layer1[0].bn1.weight
    assert optimizer.state[weight]["exp_avg"].device == CUDA and optimizer.state[weight]["step"] == 1
    ts.plan(resnet, x).prune("layer*.*.conv1", 0.5).apply(optimizer=optimizer)
    pruned = resnet.layer1[0].conv1.weight
    assert pruned.shape[0] == 32 and optimizer.state[pruned]["exp_avg"].shape == pruned.shape
    assert torch.isfinite(torch.tensor([first, step(), step()])).all()


def test_tracing_allocates_nothing_there(resnet, x):
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    coupling = ts.trace(resnet, x)
    assert torch.cuda.max_memory_allocated() - before < 2**20
    assert len(coupling.groups) > 4


def test_pruned_is_what_zeroed_is(x):
    model = torchvision.models.resnet18(weights=None).eval().to(CUDA, torch.float64)
    for norm in ts.select(model, nn.BatchNorm2d).modules:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    zeroed = copy.deepcopy(model)
    ts.prune(model, "layer1.0.conv1", channels=[0, 5, 7], example_inputs=x.double())
    with torch.no_grad():
        zeroed.layer1[0].conv2.weight[:, [0, 5, 7]] = 0
    torch.testing.assert_close(model(x.double()), zeroed(x.double()), rtol=1e-9, atol=1e-12)


def test_a_model_that_moves_between_plan_and_apply_and_undo():
    model = torchvision.models.resnet18(weights=None).eval()
    plan = ts.plan(model).replace("fc", lambda old: nn.Linear(512, 10)).replace("conv1", nn.Conv2d, kernel_size=9)
    model.to(CUDA)
    done = plan.apply()
    assert {tensor.device for tensor in everything(model)} == {CUDA}
    model.cpu()
    done.undo()
    assert {tensor.device.type for tensor in everything(model)} == {"cpu"}
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 1000)


def test_channels_last_and_bf16_are_carried(x):
    model = torchvision.models.resnet18(weights=None).eval().to(CUDA, torch.bfloat16, memory_format=torch.channels_last)
    ts.replace(model, ts.select(model, nn.Conv2d, kernel_size=1), nn.Conv2d, kernel_size=3)
    ts.prune(model, "layer1.0.conv1", 0.5, example_inputs=x.bfloat16())
    assert {t.dtype for t in model.parameters()} == {torch.bfloat16}
    for conv in ts.select(model, nn.Conv2d).modules:
        assert conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.isfinite(model(x.bfloat16().to(memory_format=torch.channels_last))).all()


def test_the_random_states_of_both_devices_stay(resnet):
    states = torch.random.get_rng_state(), torch.cuda.get_rng_state(CUDA)
    ts.replace(resnet, "fc", lambda old: nn.Linear(512, 10, device=CUDA))
    ts.replace(resnet, "layer4.1", lambda old: copy.deepcopy(old))
    for before, after in zip(states, (torch.random.get_rng_state(), torch.cuda.get_rng_state(CUDA)), strict=True):
        assert torch.equal(before, after)


def test_a_model_on_two_devices_keeps_each_layer_where_it_is():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 8).to(CUDA), nn.BatchNorm1d(8).to(CUDA))
    ts.replace(model, nn.BatchNorm1d, nn.GroupNorm, num_groups=2)
    ts.replace(model, nn.Linear, lambda old: nn.Linear(old.in_features, old.out_features))
    assert [next(layer.parameters()).device.type for layer in model] == ["cpu", "cpu", "cuda", "cuda"]


def test_a_compiled_model_forgets_its_graphs(resnet, x):
    compiled = torch.compile(resnet)
    with torch.no_grad():
        compiled(x)
        ts.replace(resnet, nn.ReLU, nn.SiLU)
        torch.testing.assert_close(compiled(x), resnet(x), rtol=1e-3, atol=1e-3)


def test_autocast_and_a_scaler_train_through_a_change(resnet, x):
    optimizer, scaler = torch.optim.SGD(resnet.parameters(), lr=1e-3, momentum=0.9), torch.amp.GradScaler("cuda")
    for number in range(3):
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.float16):
            loss = resnet(x).float().square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if number == 0:
            ts.plan(resnet).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=8).apply(optimizer=optimizer)
    assert torch.isfinite(loss)


def test_a_report_is_measured_there(resnet, x, tmp_path):
    from torchsurgery.reports import gather

    done = ts.plan(resnet, x).prune("layer1.0.conv1", 0.25).apply()
    report = gather(done.planned, done.taken_back, lambda: contextlib.nullcontext(resnet), x)
    assert report.checks.ok
    assert [run.device for run in report.runs] == ["cuda:0"] * 2
    assert all(run.seconds["layer1.0.conv1"] > 0 for run in report.runs)
    assert "cuda:0" in done.report(tmp_path / "report.html", x).read_text("utf-8")


def test_a_save_is_loaded_onto_the_device_and_back(resnet, x, tmp_path):
    ts.replace(resnet, nn.ReLU, nn.GELU)
    done = ts.prune(resnet, amount=0.5, example_inputs=x)
    ts.save(resnet, tmp_path / "save")
    expected = resnet(x)

    def build():
        return torchvision.models.resnet18(weights=None)

    there = ts.load(tmp_path / "save", base=build, device="cuda")
    assert {tensor.device for tensor in everything(there)} == {CUDA}
    assert torch.equal(there(x), expected)
    state = ts.load(tmp_path / "save", base=build, device="cpu").state_dict()
    assert {tensor.device.type for tensor in state.values()} == {"cpu"}
    assert all(torch.equal(state[name], tensor.cpu()) for name, tensor in resnet.state_dict().items())
    base = build().to(CUDA)
    assert ts.load(tmp_path / "save", base=base) is base
    assert {tensor.device for tensor in everything(base)} == {CUDA}
    assert done.in_force


def test_pruned_is_held_against_zeroed_there(resnet, x):
    done = ts.prune(resnet, amount=0.5, example_inputs=x)
    line = next(line for line in ts.check(resnet, x).lines if line.name == "pruned equals zeroed")
    assert line.ok
    assert not line.remark
    assert done.in_force


@pytest.mark.parametrize("by", [ts.importance.l1, ts.importance.l2, ts.importance.bn_scale])
def test_scores_are_those_of_the_cpu(resnet, x, by):
    coupling = ts.trace(resnet, x)
    families = coupling.families.lists
    there = scores_of(Sources(coupling, Draft(resnet).tensors()), families, by)
    here = scores_of(Sources(coupling, Draft(resnet.cpu()).tensors()), families, by)
    for one, other in zip(there, here, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_weights_on_two_devices_are_scored_together(resnet, x):
    coupling = ts.trace(resnet, x)
    here = scores_of(Sources(coupling, Draft(resnet).tensors()), coupling.families.lists, ts.importance.l2)
    resnet.layer1.cpu()
    mixed = scores_of(Sources(coupling, Draft(resnet).tensors()), coupling.families.lists, ts.importance.l2)
    np.testing.assert_allclose(np.concatenate(mixed), np.concatenate(here), rtol=1e-5)


def test_scoring_waits_for_the_device_once(resnet, x):
    coupling, tensors = ts.trace(resnet, x), Draft(resnet).tensors()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profile:
        scores_of(Sources(coupling, tensors), coupling.families.lists, ts.importance.l2)
    copies = sum(event.count for event in profile.key_averages() if event.key == "aten::_to_copy")
    assert copies <= 1
