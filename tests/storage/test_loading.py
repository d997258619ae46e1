"""Folder → model: what comes back, whatever the base is given as, and that nothing is left half done."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery.recipes.structure import structure_of


class Net(nn.Module):
    """Parameters, buffers of both kinds, a tie, a plain tensor, a plain list of parameters."""

    def __init__(self):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(8, 4), nn.LSTM(4, 4, batch_first=True)
        self.norm, self.act = nn.BatchNorm1d(4), nn.ReLU()
        self.head = nn.Linear(4, 8, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.rand(4), persistent=False)
        self.offsets = torch.arange(4.0)

    def forward(self, x):
        x, _ = self.rnn(self.embed(x) * self.scale + self.offsets)
        return self.head(self.act(self.norm(x.mean(1))))


WORDS = torch.arange(6).reshape(2, 3)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(1)
    net = Net()
    ts.replace(net, nn.ReLU, nn.GELU)
    net(WORDS)
    net.eval()
    net.norm.train()
    net.rnn.requires_grad_(False)
    ts.save(net, tmp_path / "slim", base=Net)
    return net, tmp_path / "slim"


def assert_same(loaded, net):
    assert structure_of(loaded) == structure_of(net)
    for (name, mine), (_, theirs) in zip(loaded.state_dict().items(), net.state_dict().items(), strict=True):
        assert mine.dtype is theirs.dtype and torch.equal(mine, theirs), name
    assert torch.equal(loaded.scale, net.scale)  # which the state dict doesn't have
    assert loaded.head.weight is loaded.embed.weight
    assert [m.training for m in loaded.modules()] == [m.training for m in net.modules()]
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in net.parameters()]
    assert torch.equal(loaded.offsets, net.offsets)
    loaded.norm.eval(), net.norm.eval()
    assert torch.equal(loaded(WORDS), net(WORDS))


def test_from_a_builder(saved):
    net, folder = saved
    assert_same(ts.load(folder, base=Net), net)


def test_into_a_model_that_is_there(saved):
    net, folder = saved
    base = Net()
    assert ts.load(folder, base=base) is base
    assert_same(base, net)


def test_from_a_builder_that_does_not_run_on_meta(saved):
    net, folder = saved

    def build():
        model = Net()
        assert model.embed.weight.sum().item() != 3.25
        return model

    assert_same(ts.load(folder, base=build), net)


def test_the_random_state_stays(saved):
    _, folder = saved
    before = torch.random.get_rng_state()
    ts.load(folder, base=Net)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.float16])
def test_dtypes_are_those_that_were_saved(tmp_path, dtype):
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
    ts.remove(net, nn.ReLU)
    net[0].to(dtype)
    ts.save(net, tmp_path / "slim")
    loaded = ts.load(tmp_path / "slim", base=lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU()))
    assert loaded[0].weight.dtype is dtype and loaded[1].weight.dtype is torch.float32
    assert torch.equal(loaded[0].weight, net[0].weight)


def test_structure_alone(saved):
    net, folder = saved
    loaded = ts.load(folder, base=Net, device="meta")
    assert structure_of(loaded) == structure_of(net)
    assert all(p.is_meta for p in loaded.parameters())


def test_reading_weights_is_not_needed_for_the_structure(saved):
    _, folder = saved
    weights = next(folder.glob("weights-*"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert ts.load(folder, base=Net, device="meta").embed.weight.is_meta


def test_loaded_altered_saved_loaded(saved, tmp_path):
    _, folder = saved
    loaded = ts.load(folder, base=Net)
    ts.insert(loaded, nn.Dropout(0.1), before="head")
    done = ts.replace(loaded, nn.GELU, nn.SiLU)
    ts.save(loaded, tmp_path / "again", base=Net)
    again = ts.load(tmp_path / "again", base=Net)
    assert len(ts.recipe_of(again)) == 3 and isinstance(again.act, nn.SiLU)
    done.undo()
    ts.save(loaded, tmp_path / "again", base=Net)
    assert isinstance(ts.load(tmp_path / "again", base=Net).act, nn.GELU)


def test_a_loaded_model_trains(saved):
    _, folder = saved
    loaded = ts.load(folder, base=Net).train()
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1)
    before = loaded.embed.weight.detach().clone()
    loaded(WORDS).sum().backward()
    optimizer.step()
    assert not torch.equal(loaded.embed.weight, before)
    assert loaded.rnn.weight_ih_l0.grad is None


WRONG = {
    "another base": (lambda folder: None, lambda: nn.Sequential(nn.Linear(2, 2)), "not the base"),
    "damaged weights": (lambda folder: _flip(next(folder.glob("weights-*")), -1), Net, "some of its bytes"),
}


def _flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", WRONG)
def test_a_base_that_was_given_is_as_it_was_when_loading_fails(saved, name):
    _, folder = saved
    damage, build, match = WRONG[name]
    damage(folder)
    base = build()
    before = portrait(base)
    with pytest.raises(ts.RecipeError, match=match) as caught:
        ts.load(folder, base=base)
    assert str(caught.value).startswith(str(folder))
    assert portrait(base) == before
    assert len(ts.recipe_of(base)) == 0


def test_tensors_of_another_shape_or_dtype_or_name(saved, tmp_path):
    from torchsurgery.storage.contents import About, Contents, State, write_contents
    from torchsurgery.storage.folder import transaction
    from torchsurgery.storage.slots import slots_of
    from torchsurgery.storage.tensors import write_tensors

    net, _ = saved
    good = {name: slot.tensor for name, slot in slots_of(net).items()}

    def forged(**changes):
        tensors = {name: t for name, t in {**good, **changes}.items() if t is not None}
        with transaction(tmp_path / "forged") as under_way:
            write_contents(under_way, Contents(ts.recipe_of(net), State.of(net), About.of(net, None)))
            under_way.add("weights", "safetensors", lambda sink: write_tensors(sink, tensors))
            under_way.commit(None)
        return ts.load(tmp_path / "forged", base=Net)

    assert_same(forged(), net)
    for changes, match in (
        ({"norm.bias": torch.ones(5)}, r"norm\.bias is not what the model has there"),
        ({"scale": torch.ones(4, dtype=torch.int32)}, r"\(4,\) of int32"),
        ({"scale": None}, "scale is missing"),
        ({"more": torch.ones(1)}, "the model has no such tensor"),
    ):
        with pytest.raises(ts.RecipeError, match=match):
            forged(**changes)


def test_what_is_no_base(saved):
    _, folder = saved
    with pytest.raises(ts.RecipeError, match="a builder, a model or a reference, got int"):
        ts.load(folder, base=3)
    with pytest.raises(ts.RecipeError, match="the base's builder gives a str, and no model"):
        ts.load(folder, base=lambda: "model")
    with pytest.raises(ts.SourceError):
        ts.load(folder, base="torchvision:resnet1000")
    with pytest.raises(ts.RecipeError, match=r"is built from the model as it was before.*\n.*base='?[Nb]"):
        ts.load(folder)


def test_what_is_no_save(tmp_path):
    with pytest.raises(ts.RecipeError, match=r"holds no save\.\n.*no such folder"):
        ts.load(tmp_path / "nowhere", base=Net)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ts.RecipeError, match=r"holds no save.\n.*there is model\.safetensors"):
        ts.load(tmp_path / "other", base=Net)
    with pytest.raises(ts.RecipeError, match="is a file, and a save is a folder"):
        ts.load(tmp_path / "other" / "model.safetensors", base=Net)


def test_a_class_that_is_not_registered(tmp_path):
    class Mine(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

    net = nn.Sequential(nn.Linear(2, 2))
    ts.wrap(net, "0", Mine)
    ts.save(net, tmp_path / "slim")
    key = f"{__name__}.test_a_class_that_is_not_registered.<locals>.Mine"
    with pytest.raises(ts.RecipeError) as caught:
        ts.load(tmp_path / "slim", base=lambda: nn.Sequential(nn.Linear(2, 2)))
    assert f"ts.register({key!r}, Mine)" in str(caught.value)
    ts.register(key, Mine)
    assert isinstance(ts.load(tmp_path / "slim", base=lambda: nn.Sequential(nn.Linear(2, 2)))[0], Mine)


class Angles(nn.Module):
    """What was worked out for a sequence is put by, and again for a longer one."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("cache", torch.arange(4.0), persistent=False)

    def forward(self, x):
        if len(x) > len(self.cache):
            self.cache = torch.arange(float(len(x)))
        return self.layer(x) * self.cache[: len(x), None]


@pytest.mark.parametrize("base", ["builder", "model", "one that ran"])
def test_what_is_put_by_may_have_grown(tmp_path, base):
    def build():
        return nn.Sequential(Angles(), nn.ReLU())

    net = build()
    ts.replace(net, nn.ReLU, nn.GELU)
    net(torch.ones(9, 2))
    ts.save(net, tmp_path / "slim", base=build)
    given = build() if base != "builder" else build
    if base == "one that ran":
        given(torch.ones(6, 2))
    loaded = ts.load(tmp_path / "slim", base=given)
    assert torch.equal(loaded[0].cache, torch.arange(9.0))
    assert torch.equal(loaded(torch.ones(9, 2)), net(torch.ones(9, 2)))
