"""What an insertion leaves in a model, and old checkpoints."""

import copy
import gc
import pickle
from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.composites import DropOldKeys, Inserted, OldCheckpoints, accept_old_checkpoints

Answer = namedtuple("Answer", "output state")


class Double(nn.Module):
    def forward(self, x):
        return 2 * x


class Answers(nn.Module):
    """Answers with whatever `shape` makes of its input."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return self.shape(x)


class Add(nn.Module):
    def forward(self, x, y=0, *, scale=1):
        return scale * (x + y)


X = torch.tensor([1.0, 2.0])


def after(shape):
    return Inserted(Answers(shape), after=Double())(X)


def test_after_a_tensor():
    assert after(lambda x: x + 1).tolist() == [4.0, 6.0]


def test_after_the_first_of_several():
    output, state = after(lambda x: (x, "state"))
    assert (output.tolist(), state) == ([2.0, 4.0], "state")


def test_after_a_list():
    answer = after(lambda x: [x, x])
    assert isinstance(answer, list)
    assert [item.tolist() for item in answer] == [[2.0, 4.0], [1.0, 2.0]]


def test_after_a_named_tuple():
    answer = after(lambda x: Answer(x, x))
    assert isinstance(answer, Answer)
    assert (answer.output.tolist(), answer.state.tolist()) == ([2.0, 4.0], [1.0, 2.0])


def test_after_the_first_tensor_of_a_dict():
    answer = after(lambda x: OrderedDict(loss=None, logits=x, hidden=x))
    assert isinstance(answer, OrderedDict)
    assert list(answer) == ["loss", "logits", "hidden"]
    assert (answer["loss"], answer["logits"].tolist(), answer["hidden"].tolist()) == (None, [2.0, 4.0], [1.0, 2.0])


def test_after_an_answer_of_transformers():
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    answer = after(lambda x: BaseModelOutputWithPooling(last_hidden_state=x, pooler_output=x))
    assert isinstance(answer, BaseModelOutputWithPooling)
    assert answer.last_hidden_state.tolist() == [2.0, 4.0]
    assert answer.pooler_output.tolist() == [1.0, 2.0]
    assert answer.hidden_states is None


@pytest.mark.parametrize(
    ("shape", "kind"),
    [(lambda x: 3, "int"), (lambda x: (), "tuple"), (lambda x: (3, x), "tuple"), (lambda x: {"n": 3}, "dict")],
)
def test_after_an_answer_without_a_tensor(shape, kind):
    with pytest.raises(TypeError, match=f"Double was inserted after a layer that answers {kind}, not a tensor"):
        after(shape)


def test_before_the_first_argument():
    assert Inserted(Add(), before=Double())(X, X, scale=10).tolist() == [30.0, 60.0]


def test_before_the_first_tensor_among_keywords():
    assert Inserted(Add(), before=Double())(scale=10, x=X).tolist() == [20.0, 40.0]


def test_before_a_call_without_a_tensor():
    with pytest.raises(TypeError, match="Double was inserted before a layer that is called without a tensor"):
        Inserted(Add(), before=Double())(scale=10)


def test_before_and_after():
    assert Inserted(Answers(lambda x: x + 1), before=Double(), after=Double())(X).tolist() == [6.0, 10.0]


def test_order_of_the_children_is_that_of_the_calls():
    both = Inserted(nn.ReLU(), before=nn.Dropout(), after=nn.Identity())
    assert list(both._modules) == ["before", "layer", "after"]
    assert list(Inserted(nn.ReLU())._modules) == ["layer"]


def test_attributes_are_read_from_the_layer():
    around = Inserted(nn.Conv2d(3, 8, 1), after=nn.Dropout())
    assert around.out_channels == 8
    assert around.weight is around.layer.weight
    with pytest.raises(AttributeError, match="'Conv2d' object has no attribute 'out_features'"):
        _ = around.out_features
    with pytest.raises(AttributeError):
        around.__iter__  # noqa: B018


def test_copied_and_pickled():
    around = Inserted(nn.Linear(2, 2), after=nn.Dropout(0.1))
    accept_old_checkpoints(around, OldCheckpoints("layer"))
    for twin in (copy.deepcopy(around), pickle.loads(pickle.dumps(around))):
        assert repr(twin) == repr(around)
        assert torch.equal(twin.layer.weight, around.layer.weight)
        assert twin.layer.weight is not around.layer.weight


# --- old checkpoints


def linear_stack():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))


# edit → where the tensors of the old layers 0 and 2 are afterwards
EDITS = {
    "insert after": (lambda net: ts.insert(net, nn.Dropout(0.1), after=nn.Linear), ("0.layer", "2.layer")),
    "insert a layer with tensors": (lambda net: ts.insert(net, nn.LayerNorm, after=nn.Linear), ("0.layer", "2.layer")),
    "insert before": (lambda net: ts.insert(net, nn.Linear(2, 2), before="0"), ("0.layer", "2")),
    "insert at a layer without tensors": (lambda net: ts.insert(net, nn.Linear(3, 3), after="1"), ("0", "2")),
    "wrap": (lambda net: ts.wrap(net, nn.Linear, nn.Sequential), ("0.0", "2.0")),
    "wrap twice": (lambda net: ts.plan(net).wrap("0", nn.Sequential).wrap("0", nn.Sequential).apply(), ("0.0.0", "2")),
    "insert twice": (
        lambda net: ts.plan(net).insert(nn.Dropout(0.1), after="0").insert(nn.LayerNorm(3), after="0").apply(),
        ("0.layer.layer", "2"),
    ),
    "wrap the model": (lambda net: ts.wrap(net, "", nn.Sequential), ("0.0", "0.2")),
    "remove": (lambda net: ts.remove(net, "2"), ("0",)),
}


@pytest.mark.parametrize(("edit", "homes"), EDITS.values(), ids=EDITS)
def test_a_checkpoint_from_before_loads(edit, homes):
    net, checkpoint = linear_stack(), linear_stack().state_dict()
    edit(net)
    gc.collect()  # the surgery is not kept
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.load_state_dict(checkpoint)
    expected = {
        f"{home}.{key}": checkpoint[f"{old}.{key}"]
        for home, old in zip(homes, ("0", "2"), strict=False)
        for key in ("weight", "bias")
    }
    after = net.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], value) for key, value in (before | expected).items())


@pytest.mark.parametrize(("edit", "homes"), EDITS.values(), ids=EDITS)
def test_a_checkpoint_from_after_loads(edit, homes):
    net, other = linear_stack(), linear_stack()
    edit(net)
    edit(other)
    net.load_state_dict(other.state_dict())
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in net.state_dict().items())


def test_buffers_move_along():
    net, checkpoint = nn.Sequential(nn.BatchNorm1d(2)), nn.Sequential(nn.BatchNorm1d(2)).state_dict()
    checkpoint["0.running_mean"] += 3
    ts.insert(net, nn.Dropout(0.1), after="0")
    net.load_state_dict(checkpoint)
    assert net[0].layer.running_mean.tolist() == [3, 3]


def test_a_damaged_checkpoint_is_still_refused():
    net, checkpoint = linear_stack(), linear_stack().state_dict()
    ts.insert(net, nn.Dropout(0.1), after="0")
    del checkpoint["0.bias"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "0.layer.bias"'):
        net.load_state_dict(checkpoint)


def test_keys_of_a_removed_layer_are_passed_over():
    place = nn.Identity()
    accept_old_checkpoints(place, DropOldKeys(frozenset({"weight"})))
    net = nn.Sequential(place)
    net.load_state_dict({"0.weight": torch.ones(1)})
    with pytest.raises(RuntimeError, match="Unexpected key"):
        net.load_state_dict({"0.bias": torch.ones(1)})


class Masked(nn.Module):
    def forward(self, h, mask):
        return h + 10 * mask


def test_before_works_on_the_first_parameter_however_it_is_called():
    h, mask = torch.ones(2), torch.zeros(2)
    twice = Inserted(Inserted(Masked(), before=Doubling()), before=Doubling())
    assert Inserted(Masked(), before=Doubling())(mask=mask, h=h).tolist() == [2, 2]
    assert twice(mask=mask, h=h).tolist() == [4, 4]
    assert Inserted(Masked(), before=Doubling())(h, mask=mask).tolist() == [2, 2]
    compiled = torch.export.export(Calling(Inserted(Masked(), before=Doubling())), (h, mask)).module()
    assert compiled(h, mask).tolist() == [2, 2]


class Doubling(nn.Module):
    def forward(self, x):
        return 2 * x


class Calling(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, h, mask):
        return self.inner(mask=mask, h=h)
