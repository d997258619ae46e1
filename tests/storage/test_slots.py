"""Where a model's tensors are: each under its first name, shared ones once; taken out and put in."""

import torch
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery.storage.slots import Emptied, fill, slots_of, strays


def tied():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.LSTM(3, 3))
    net[1].weight = net[0].weight
    net.register_buffer("kept", torch.ones(1))
    net.register_buffer("scratch", torch.ones(1), persistent=False)
    return net


def test_first_names_and_what_the_state_dict_has():
    slots = slots_of(tied())
    assert "1.weight" not in slots and slots["0.weight"].saved
    assert slots["kept"].saved and not slots["scratch"].saved
    assert "2.weight_ih_l0" in slots


def test_a_tensor_that_is_saved_under_one_of_its_names():
    net = nn.Sequential(nn.Linear(2, 2))
    net.register_buffer("scratch", torch.ones(1), persistent=False)
    net[0].register_buffer("kept", net.scratch)
    assert slots_of(net)["scratch"].saved


def test_a_module_under_two_names():
    net = nn.Sequential(nn.Linear(2, 2))
    net.append(net[0])
    assert list(slots_of(net)) == ["0.weight", "0.bias"]


def test_emptied_and_restored():
    net = tied()
    before = portrait(net)
    emptied = Emptied(net)
    assert all(p.is_meta for p in net.parameters()) and net[0].weight is net[1].weight
    emptied.restore()
    assert portrait(net) == before


def test_filled():
    net, other = tied(), tied()
    tensors = {name: slot.tensor.detach().clone() for name, slot in slots_of(other).items()}
    Emptied(net)
    fill(net, tensors, frozenset({"0.weight"}), "cpu")
    assert net[0].weight is net[1].weight and not net[0].weight.requires_grad and net[0].bias.requires_grad
    x = torch.ones(2, 3)
    assert torch.equal(net(x)[0], other(x)[0])  # an LSTM keeps a list of its Parameters
    assert isinstance(net.kept, torch.Tensor) and not isinstance(net.kept, nn.Parameter)


def test_whole_numbers_are_never_trained():
    net = nn.Module()
    net.count = nn.Parameter(torch.ones(2, dtype=torch.int32), requires_grad=False)
    fill(net, {"count": torch.zeros(2, dtype=torch.int32)}, frozenset(), "cpu")
    assert not net.count.requires_grad and not net.count.any()


def test_tensors_outside_of_slots_are_found():
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(2, 2))
        net[0].plain = torch.ones(1)
        net.inside = {"a": [(torch.ones(1),)]}
        net.fine = [nn.Linear(1, 1), "text", 3]
    assert sorted(strays(net)) == ["0.plain", "inside"]


def test_every_slot_of_a_real_model():
    import torchvision

    net = torchvision.models.resnet18()
    assert slots_of(net).keys() == net.state_dict().keys()
    ts.remove(net, "layer4.1")
    assert slots_of(net).keys() == net.state_dict().keys()
