"""On random networks: a plan touches nothing, apply holds, and undo brings back the very same model."""

import copy

import pytest
import torch
from hypothesis import assume, event, given

import torchsurgery as ts
from random_networks import EDITS, EQUAL, WIDTH, build, chains, equal_chains, marks, planned, specifications
from sameness import portrait

X = torch.linspace(-1, 1, 3 * WIDTH).reshape(3, WIDTH)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def outputs(net):
    """What the network computes in its own modes, under one seed, without leaving a trace."""
    twin = copy.deepcopy(net)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        return twin(X)


@given(specifications, marks, chains)
def test_plan_apply_check_undo(specification, marked, chain):
    net, _ = build(specification, marked)
    before, computed = portrait(net), outputs(net)

    plan = planned(net, chain)
    assume(plan.edits)
    event(f"{len(plan.edits)} edits")
    assert str(plan)
    assert portrait(net) == before, "a plan touches nothing"

    done = plan.apply()
    assert outputs(net).shape == computed.shape
    assert sum(p.numel() for p in net.parameters()) == plan.after.params
    assert [id(p) for p in net.parameters()] == [id(p) for p in plan.draft.parameters().values()]
    assert sorted(net.state_dict()) == sorted(plan.draft.keys())

    done.undo()
    assert portrait(net) == before, "the very same model: objects, values, versions, hooks, modes, random state"
    assert torch.equal(outputs(net), computed)


@given(specifications, marks, chains)
def test_taken_back_for_a_while(specification, marked, chain):
    net, _ = build(specification, marked)
    before, computed = portrait(net), outputs(net)
    plan = planned(net, chain)
    assume(plan.edits)
    done = plan.apply()
    now, altered = portrait(net), outputs(net)
    with done.taken_back():
        assert portrait(net) == before
        assert torch.equal(outputs(net), computed)
    assert portrait(net) == now
    assert torch.equal(outputs(net), altered)
    done.undo()
    assert portrait(net) == before


@given(specifications, marks, chains)
def test_applied_with_a_check(specification, marked, chain):
    net, _ = build(specification, marked)
    plan = planned(net, chain)
    assume(plan.edits)
    before = portrait(net)
    done = plan.apply(check=X)
    assert ts.check(net, X).ok
    done.undo()
    assert portrait(net) == before


@given(specifications, marks, equal_chains)
def test_equal_functions_leave_the_outputs_equal(specification, marked, chain):
    net, counters = build(specification, marked)
    computed = net.eval()(X)
    called = [counter.calls for counter in counters]
    plan = planned(net, chain, EQUAL)
    assume(plan.edits)
    plan.apply()
    torch.testing.assert_close(net(X), computed, rtol=2e-2 if has_half(net) else 1e-5, atol=1e-5)
    assert [counter.calls for counter in counters] == [2 * before for before in called], "hooks are called as before"


def has_half(net):
    return any(p.dtype is torch.bfloat16 for p in net.parameters())


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_of_the_chains_finds_something(name):
    everything = (
        "sequential",
        ["tanh", "norm", "layernorm", "conv", ("section", "float64", "dropout"), ("branches", ["linear"])],
    )
    assert planned(build(everything)[0], [name]).edits
