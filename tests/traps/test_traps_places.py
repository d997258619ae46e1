"""Traps 1 to 7: where layers lie, and what they are called in a state dict."""

import copy
import gc
import pickle

import pytest
import torch
from parts import BuiltEmbedding, BuiltLinear, Doubled, FusedReLU, MyLinear, NegatedLinear, Scaled, TiedLM, state
from torch import nn

import torchsurgery as ts


def naive(model, kind, new):
    """The loop that everyone writes."""
    for name, module in list(model.named_modules()):
        if isinstance(module, kind):
            owner, _, key = name.rpartition(".")
            setattr(model.get_submodule(owner), key, new(module))


class Twins(nn.Module):
    """Two blocks around one Linear, which is also held in a list, a dict, a tuple's list and a closure."""

    def __init__(self, outside=True):
        super().__init__()
        linear = nn.Linear(4, 4)
        self.a, self.b = nn.Sequential(linear), nn.Sequential(nn.Identity(), linear)
        self.held = {"list": [linear], "function": lambda x: linear(x)} if outside else None

    def forward(self, x):
        x = self.b(self.a(x))
        return x if self.held is None else x + self.held["list"][0](x) + self.held["function"](x)


# --- 1 --- one module in several places


def test_trap_01_one_instance_in_several_places_naive():
    relu = nn.ReLU()
    net = nn.Sequential(relu, nn.Linear(2, 2), relu)
    naive(net, nn.ReLU, lambda old: nn.Tanh())
    assert [type(m).__name__ for m in net] == ["Tanh", "Linear", "ReLU"], "the loop sees the first place only"


@pytest.mark.parametrize(
    "new",
    [nn.Tanh, nn.Tanh(), lambda old: nn.Tanh(), lambda old: Doubled(old)],
    ids=["class", "instance", "factory", "held"],
)
def test_trap_01_one_instance_in_several_places(new):
    relu = nn.ReLU()
    net = nn.Sequential(relu, nn.Linear(2, 2), nn.Sequential(relu))
    done = ts.replace(net, nn.ReLU, new)
    assert net[0] is net[2][0]
    assert type(net[0]) is not nn.ReLU
    assert [change.names for change in done.changes] == [("0", "2.0")]
    done.undo()
    assert net[0] is net[2][0] is relu
    assert type(relu) is nn.ReLU


@pytest.mark.parametrize("verb", ["insert", "wrap", "remove"])
def test_trap_01_other_verbs_reach_all_places(verb):
    net, x = Twins(outside=False), torch.randn(3, 4)
    linear = net.a[0]
    once = linear(x)
    if verb == "insert":
        done, expected = ts.insert(net, nn.ReLU(), after=nn.Linear), linear(once.relu()).relu()
    elif verb == "wrap":
        done, expected = ts.wrap(net, nn.Linear, Doubled), 2 * linear(2 * once)
    else:
        done, expected = ts.remove(net, nn.Linear), x
    assert net.a[0] is net.b[1]
    torch.testing.assert_close(net(x), expected)
    done.undo()
    assert torch.equal(net(x), linear(once))


def test_trap_01_shared_block_that_holds_a_match():
    block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    net = nn.Sequential(block, nn.Sequential(block))
    assert ts.select(net, nn.ReLU).names == ("0.1", "1.0.1")
    ts.insert(net, nn.Dropout(0.5), after=nn.ReLU)
    assert isinstance(net[0][1], ts.Inserted)
    assert net[1][0][1] is net[0][1]


# --- 2 --- tied Parameters


def test_trap_02_tied_parameters_naive():
    net = TiedLM()
    naive(net, nn.Linear, lambda old: nn.Linear(4, 10, bias=False))
    assert net.head.weight is not net.embed.weight
    assert sum(p.numel() for p in net.parameters()) == 80


@pytest.mark.parametrize(
    ("target", "new"),
    [
        (nn.Linear, BuiltLinear),
        (nn.Linear, MyLinear),
        (nn.Linear, lambda old: nn.Linear(4, 10, bias=False)),
        (nn.Embedding, BuiltEmbedding),
        (nn.Embedding, lambda old: nn.Embedding(10, 4)),
    ],
    ids=["head built", "head retyped", "head by factory", "embedding built", "embedding by factory"],
)
def test_trap_02_tied_parameters(target, new):
    net, ids = TiedLM(), torch.tensor([[1, 2, 3]])
    before, weight = net(ids), net.embed.weight
    done = ts.replace(net, target, new)
    assert net.head.weight is net.embed.weight is weight
    assert torch.equal(net(ids), before)
    assert done.after.params == 40
    done.undo()
    assert net.head.weight is net.embed.weight is weight


def test_trap_02_both_directions_in_one_plan():
    net = TiedLM()
    plan = ts.plan(net).replace(nn.Linear, BuiltLinear).replace(nn.Embedding, BuiltEmbedding)
    plan.apply()
    assert net.head.weight is net.embed.weight


def test_trap_02_a_tie_that_is_cut_is_told():
    net = TiedLM()
    plan = ts.plan(net).replace("head", nn.Linear(4, 10, bias=False))
    assert plan.changes[0].remarks == ("weight is no longer tied to embed.weight",)
    assert "no longer tied to embed.weight" in str(plan)


def test_trap_02_container_whose_child_is_tied_elsewhere():
    net = nn.ModuleDict({"encoder": nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4)), "head": nn.Linear(4, 10)})
    net["head"].weight = net["encoder"][0].weight
    kept = ts.plan(net).replace("encoder", lambda old: nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4)))
    assert kept.changes[0].remarks == ()
    cut = ts.plan(net).replace("encoder", lambda old: nn.Sequential(nn.Embedding(10, 4)), carry=False)
    assert "0.weight is no longer tied to head.weight" in cut.changes[0].remarks
    done = kept.apply()
    assert net["head"].weight is net["encoder"][0].weight
    done.undo()
    assert net["head"].weight is net["encoder"][0].weight


@pytest.fixture(scope="module")
def llama_config():
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )


def test_trap_02_tied_llama(llama_config):
    from transformers import LlamaForCausalLM

    net = LlamaForCausalLM(llama_config).eval()
    ids = torch.tensor([[1, 2, 3]])
    before = net(ids).logits
    assert net.lm_head.weight is net.model.embed_tokens.weight
    done = (
        ts.plan(net)
        .replace(nn.Linear, BuiltLinear)
        .replace(nn.Embedding, BuiltEmbedding)
        .apply(check={"input_ids": ids})
    )
    assert net.lm_head.weight is net.model.embed_tokens.weight
    assert torch.equal(net(ids).logits, before)
    assert len(done.changes) == 2 * 7 + 2
    done.undo()
    assert type(net.lm_head) is nn.Linear
    assert torch.equal(net(ids).logits, before)


# --- 3 --- references outside of `_modules`


def test_trap_03_references_outside_naive():
    net = Twins()
    before = net.held["list"][0]
    naive(net, nn.Linear, lambda old: nn.Linear(4, 4))
    assert net.held["list"][0] is before, "the forward goes on using the old layer"


@pytest.mark.parametrize("new", [BuiltLinear, nn.Linear(4, 4), lambda old: nn.Linear(4, 4), NegatedLinear])
def test_trap_03_references_outside(new):
    net, x = Twins(), torch.randn(2, 4)
    before = net(x)
    done = ts.replace(net, nn.Linear, new)
    linear = net.a[0]
    assert net.b[1] is net.held["list"][0] is linear
    y = linear(linear(x))
    torch.testing.assert_close(net(x), y + 2 * linear(y))
    done.undo()
    assert torch.equal(net(x), before)


def test_trap_03_insert_and_wrap_reach_lists_and_closures():
    net, x = Twins(), torch.randn(2, 4)
    linear, before = net.a[0], net(x)
    done = ts.wrap(net, nn.Linear, Doubled)
    y = 2 * linear(2 * linear(x))
    torch.testing.assert_close(net(x), y + 4 * linear(y))
    assert any("held['list'][0]" in remark for remark in done.changes[0].remarks)
    done.undo()
    assert torch.equal(net(x), before)


class InTuple(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.order = (self.linear,)

    def forward(self, x):
        return self.order[0](x)


def test_trap_03_a_tuple_can_not_be_written_and_is_refused():
    net, new = InTuple(), nn.Linear(4, 4)
    before = state(net)
    with pytest.raises(ts.PlanError, match=r"linear \(Linear\) is also held by InTuple.order") as caught:
        ts.replace(net, "linear", new)
    assert caught.value.way_out
    assert caught.value.name == "linear"
    assert state(net) == before
    ts.replace(net, "linear", NegatedLinear)  # a class needs no place to be written to
    x = torch.randn(2, 4)
    assert torch.equal(net(x), -nn.functional.linear(x, net.linear.weight, net.linear.bias))


def test_trap_03_reference_that_the_caller_holds(resnet18, images):
    layer = next(next(resnet18.layer4.children()).children())
    assert layer is resnet18.layer4[0].conv1
    before = resnet18(images)
    done = ts.replace(resnet18, layer, nn.Conv2d, kernel_size=5)
    assert layer is resnet18.layer4[0].conv1, "the caller's reference is the new layer"
    assert layer.kernel_size == (5, 5)
    torch.testing.assert_close(resnet18(images), before, rtol=1e-4, atol=1e-4)
    done.undo()
    assert layer.kernel_size == (3, 3)
    assert torch.equal(resnet18(images), before)


# --- 4 --- the root itself


def test_trap_04_root_naive():
    net = nn.Linear(2, 2)
    naive(net, nn.Linear, lambda old: nn.Linear(2, 2))
    assert list(net._modules) == [""], "a child without a name, which nobody calls"


@pytest.mark.parametrize("new", [MyLinear, BuiltLinear, NegatedLinear, lambda old: nn.Linear(4, 4)])
def test_trap_04_root_changes_and_the_reference_stays_good(new):
    net, x = nn.Linear(4, 4), torch.randn(2, 4)
    reference, before = net, net(x)
    done = ts.replace(net, nn.Linear, new)
    assert list(net.state_dict()) == ["weight", "bias"]
    assert type(reference) is (new if isinstance(new, type) else nn.Linear)
    assert torch.equal(reference(x).abs(), before.abs())
    done.undo()
    assert type(reference) is nn.Linear
    assert torch.equal(reference(x), before)


def test_trap_04_root_by_instance_is_refused():
    net, new = nn.Linear(4, 4), nn.Linear(4, 4)
    before = state(net)
    with pytest.raises(ts.PlanError, match=r"the model \(Linear\)") as caught:
        ts.replace(net, nn.Linear, new)
    assert "model = new" in caught.value.way_out
    with pytest.raises(ts.PlanError, match="it is the model itself"):
        ts.remove(net, nn.Linear)
    assert state(net) == before


def test_trap_04_root_wrapped_and_unwrapped():
    net, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.randn(2, 4)
    old, before = copy.deepcopy(net.state_dict()), net(x)
    done = ts.wrap(net, "", Doubled)
    assert torch.equal(net(x), 2 * before)
    assert list(net.state_dict()) == ["inner.0.weight", "inner.0.bias"]
    assert not net.load_state_dict(old).missing_keys
    twin = pickle.loads(pickle.dumps(net))
    gc.collect()
    assert not twin.load_state_dict(old).missing_keys
    assert torch.equal(twin(x), 2 * before)
    done.undo()
    assert type(net) is nn.Sequential
    assert torch.equal(net(x), before)


def test_trap_04_root_and_what_lies_in_it_wrapped_at_once():
    net, x = nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.Linear(4, 4)), torch.randn(2, 4)
    old, before = copy.deepcopy(net.state_dict()), net(x)
    plan = ts.plan(net).wrap(nn.Sequential, Doubled).replace("inner.1", lambda layer: nn.Identity())
    done = plan.apply()
    linear = net.inner[0].inner[0]
    assert list(net.state_dict()) == ["inner.0.inner.0.weight", "inner.0.inner.0.bias"]
    torch.testing.assert_close(net(x), 2 * 2 * linear(x))
    done.undo()
    assert torch.equal(net(x), before)
    ts.wrap(net, nn.Sequential, nn.Sequential)
    assert not net.load_state_dict(old).unexpected_keys
    assert torch.equal(net(x), before)


# --- 5 --- the replacement contains the target type


@pytest.mark.parametrize("how", ["factory", "class", "wrap", "insert"])
def test_trap_05_a_fresh_replacement_is_never_entered(how):
    net, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), torch.randn(2, 4)
    first, second = net[0], net[2]
    calls = {
        "factory": lambda: ts.replace(net, nn.Linear, lambda old: nn.Sequential(old, nn.Linear(4, 4))),
        "class": lambda: ts.replace(net, nn.ReLU, FusedReLU, p=0.0),
        "wrap": lambda: ts.wrap(net, nn.Linear, Doubled),
        "insert": lambda: ts.insert(net, nn.Linear(4, 4), after=nn.Linear),
    }
    done = calls[how]()
    inner = {"factory": "0.0", "class": "1.relu", "wrap": "0.inner", "insert": "0.layer"}[how]
    assert type(net.get_submodule(inner)) is (nn.ReLU if how == "class" else nn.Linear)
    assert len(done.changes) == (1 if how == "class" else 2)
    assert len(list(net.modules())) == {"factory": 8, "class": 6, "wrap": 6, "insert": 8}[how]
    done.undo()
    assert (net[0], net[2]) == (first, second)
    torch.testing.assert_close(net(x), second(first(x).relu()))


def test_trap_05_later_edits_do_enter_what_earlier_ones_brought():
    net, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(2, 4)
    before = net(x)
    plan = (
        ts.plan(net)
        .insert(nn.Dropout(0.0), after=nn.ReLU)
        .replace(nn.Dropout, nn.AlphaDropout)
        .wrap(ts.Inserted, nn.Sequential)
        .replace(nn.ReLU, nn.Tanh)
        .remove(nn.AlphaDropout)
    )
    assert type(net[1]) is nn.ReLU, "planning touches nothing"
    done = plan.apply()
    assert type(net[1][0].layer) is nn.Tanh
    assert type(net[1][0].after) is nn.Identity
    assert torch.equal(net(x), net[2](net[0](x).tanh()))
    done.undo()
    assert torch.equal(net(x), before)


# --- 6 --- nested matches


class Block(nn.Sequential):
    """A kind of its own, so that it is no target by accident."""


def test_trap_06_nested_matches_outermost_is_replaced():
    net = nn.Sequential(Block(nn.Linear(4, 4), Block(nn.Linear(4, 4))), Block())
    seen = []
    done = ts.replace(net, Block, lambda old: seen.append(old) or nn.Identity())
    assert len(seen) == 2, "the factory is not called for what lies in a replaced block"
    assert done.changes[0].names == ("0",)
    assert type(net[0]) is nn.Identity
    done.undo()
    assert type(net[0][1]) is Block


def test_trap_06_nested_matches_innermost_by_choice():
    net = nn.Sequential(Block(nn.Linear(4, 4), Block(nn.Linear(4, 4))))
    ts.replace(net, ts.select(net, Block).innermost(), lambda old: nn.Identity())
    assert type(net[0]) is Block
    assert type(net[0][1]) is nn.Identity


def test_trap_06_the_plan_says_which_were_passed_over(resnet18):
    plan = ts.plan(resnet18).replace("layer4.**", lambda old: nn.Identity())
    assert plan.planned[0].changes[0].name == "layer4"
    assert "layer4.0.conv1" in plan.planned[0].skipped


def test_trap_06_nested_wraps_each_once():
    net, x = nn.Sequential(Block(nn.Linear(4, 4), Block(nn.ReLU()))), torch.randn(2, 4)
    before = net(x)
    done = ts.wrap(net, Block, Doubled)
    assert torch.equal(net(x), 4 * before)
    done.undo()
    assert torch.equal(net(x), before)


def test_trap_06_a_child_put_and_its_parent_replaced_in_one_plan():
    net, x = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU())), torch.randn(2, 4)
    before, objects = net(x), list(net.modules())
    done = ts.plan(net).wrap("0.0", Doubled).replace("0", lambda old: nn.Sequential(nn.Identity())).apply()
    assert torch.equal(net(x), x)
    done.undo()
    assert list(net.modules()) == objects
    assert torch.equal(net(x), before)


# --- 7 --- keys of the state dict


def test_trap_07_keys_shift_naive():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    old = copy.deepcopy(net.state_dict())
    net.insert(1, nn.Dropout())
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "3.weight"'):
        net.load_state_dict(old)


class NamedInner(nn.Module):
    """Its child bears the name that the wrapper gives to what it wraps."""

    def __init__(self):
        super().__init__()
        self.inner, self.weight = nn.Linear(4, 4), nn.Parameter(torch.ones(4, 4))

    def forward(self, x):
        return self.inner(x) @ self.weight


def _chain(*edits):
    """A network, edited by one surgery after the other; and checkpoints from before each edit and from the end."""
    block = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), NamedInner(), block, nn.Sequential(block)).eval()
    checkpoints = []
    for edit in (*edits, None):
        checkpoints.append({key: torch.rand(tensor.shape).to(tensor) for key, tensor in net.state_dict().items()})
        # Names of one shared tensor have one value.
        net.load_state_dict(checkpoints[-1])
        checkpoints[-1] = copy.deepcopy(net.state_dict())
        if edit is not None:
            edit(net)
    return net, checkpoints


CHAINS = {
    "insert": [lambda n: ts.insert(n, nn.Linear(4, 4), after=nn.ReLU)],
    "insert twice": [lambda n: ts.insert(n, nn.Dropout(), after="0"), lambda n: ts.insert(n, nn.PReLU(), before="0")],
    "wrap": [lambda n: ts.wrap(n, nn.Linear, Scaled)],
    "wrap twice": [lambda n: ts.wrap(n, nn.Linear, Scaled), lambda n: ts.wrap(n, Scaled, Scaled)],
    "wrap in Sequential": [lambda n: ts.wrap(n, nn.Linear, nn.Sequential), lambda n: ts.wrap(n, "0", nn.Sequential)],
    "wrap inside and out": [lambda n: ts.wrap(n, nn.BatchNorm1d, Doubled), lambda n: ts.wrap(n, "3", Scaled)],
    "same name inside": [lambda n: ts.wrap(n, NamedInner, Scaled)],
    "everything": [lambda n: ts.wrap(n, nn.Module, nn.Sequential)],
    "root": [lambda n: ts.wrap(n, "", Doubled), lambda n: ts.insert(n, nn.PReLU(), after="inner.0")],
    "root last": [lambda n: ts.insert(n, nn.PReLU(), after="0"), lambda n: ts.wrap(n, "", Scaled)],
    "remove": [lambda n: ts.remove(n, nn.BatchNorm1d)],
    "wrap and remove": [lambda n: ts.wrap(n, nn.BatchNorm1d, Scaled), lambda n: ts.remove(n, Scaled)],
}
REMOVING = (CHAINS["remove"], CHAINS["wrap and remove"])


@pytest.mark.parametrize("edits", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("strict", [True, False])
def test_trap_07_old_checkpoints_load(edits, strict):
    net, checkpoints = _chain(*edits)
    for checkpoint in reversed(checkpoints):
        result = net.load_state_dict(checkpoint, strict=strict)
        assert (result.missing_keys, result.unexpected_keys) == ([], [])
        # All random values are different: each stands now where there is a place for it.
        values = [tensor for tensor in net.state_dict().values() if tensor.is_floating_point()]
        lost = [
            key
            for key, tensor in checkpoint.items()
            if tensor.is_floating_point() and not any(torch.equal(tensor, value) for value in values)
        ]
        assert not [key for key in lost if edits not in REMOVING]
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        gc.collect()
        twin.load_state_dict(checkpoints[-1])
        net.load_state_dict(checkpoints[-1])
        x = torch.randn(3, 4)
        assert torch.equal(twin(x), net(x))


def test_trap_07_a_checkpoint_that_does_not_fit_is_still_an_error():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    old = copy.deepcopy(net.state_dict())
    ts.wrap(net, nn.Linear, Doubled)
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"0.inner.other"'):
        net.load_state_dict({**old, "0.other": torch.ones(1)})
    with pytest.raises(RuntimeError, match=r'Missing key.*"0.inner.weight"'):
        net.load_state_dict({key: tensor for key, tensor in old.items() if key != "0.weight"})
    with pytest.raises(RuntimeError, match=r"size mismatch for 0\.inner.weight"):
        net.load_state_dict({**old, "0.weight": torch.ones(5, 4)})
    half = {key: tensor for key, tensor in net.state_dict().items() if key != "0.inner.bias"}
    with pytest.raises(RuntimeError, match=r'Missing key.*"0.inner.bias"'):
        net.load_state_dict(half)


def test_trap_07_what_comes_where_something_was_removed_or_wrapped_loads_its_own_keys():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    ts.remove(net, "1")
    ts.wrap(net, "0", Doubled)
    gc.collect()
    ts.plan(net).replace("1", nn.BatchNorm1d(4)).replace("0", nn.Linear(4, 4)).apply()
    saved = {key: torch.full_like(tensor, 7) for key, tensor in net.state_dict().items()}
    net.load_state_dict(saved)
    assert all(tensor.eq(7).all() for tensor in net.state_dict().values())


def test_trap_07_untouched_layers_keep_their_keys_and_the_plan_shows_the_rest(resnet18):
    old = copy.deepcopy(resnet18.state_dict())
    plan = ts.plan(resnet18).wrap("layer1.*.conv1", Doubled)
    assert plan.changes[0].renamed == {"layer1.0.conv1.weight": "layer1.0.conv1.inner.weight"}
    assert "layer1.0.conv1.inner.weight" in str(plan) or "conv1.inner" in str(plan)
    done = plan.apply()
    new = set(resnet18.state_dict())
    assert new - set(old) == {"layer1.0.conv1.inner.weight", "layer1.1.conv1.inner.weight"}
    resnet18.load_state_dict(old)
    done.undo()
    resnet18.load_state_dict(old)
    assert list(resnet18.state_dict()) == list(old)
