"""What users give by mistake: one message each, before anything is written or read."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.storage.given import device_of, folder_of


def build():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def altered():
    model = build()
    ts.replace(model, nn.ReLU, nn.GELU)
    return model


SAVES = {
    "nothing": (lambda to: ts.save(None, to), "must be an nn.Module, got NoneType"),
    "a state dict": (lambda to: ts.save(build().state_dict(), to), "must be an nn.Module, got OrderedDict"),
    "a surgery": (lambda to: ts.save(ts.remove(build(), "1"), to), "must be an nn.Module, got Surgery"),
    "in the other order": (lambda to: ts.save(str(to), altered()), "a folder is a text or a path, got Sequential"),
    "no folder": (lambda to: ts.save(altered(), None), "a folder is a text or a path, got NoneType"),
    "a name that is none": (lambda to: ts.save(altered(), "a\0b"), "can't be a folder here: embedded null byte"),
    "a name without end": (lambda to: ts.save(altered(), to / ("x" * 5000)), "can't be a folder here: File name"),
    "a size as text": (lambda to: ts.save(altered(), to, shard_size="5GB"), "a number of bytes, got '5GB'"),
    "a size of nothing": (lambda to: ts.save(altered(), to, shard_size=0), "shard_size is a number of bytes, got 0"),
    "a size in floats": (lambda to: ts.save(altered(), to, shard_size=5e9), "shard_size is a number of bytes"),
    "a recipe as text": (lambda to: ts.save(altered(), to, recipe=ts.recipe_of(altered()).json), "got str"),
    "a class of optimizers": (lambda to: ts.save(altered(), to, optimizer=torch.optim.SGD), "got the class SGD"),
    "several optimizers": (lambda to: ts.save(altered(), to, optimizer=[]), "optimizer= is one optimizer, got list"),
    "the state of one": (lambda to: ts.save(altered(), to, optimizer={}), "optimizer= is one optimizer, got dict"),
    "a list of state": (lambda to: ts.save(altered(), to, state=[3]), "state= is a dictionary, got list"),
    "text without end": (lambda to: ts.save(altered(), to, state={"a": "x" * 5000}), "could not be read again"),
    "a huge number": (lambda to: ts.save(altered(), to, state={"a": 10**30}), "could not be read again"),
    "depth": (lambda to: ts.save(altered(), to, state={"a": eval("[" * 40 + "]" * 40)}), "could not be read again"),
    "a plan with state": (lambda to: ts.save(ts.plan(build()).remove("1"), to, state={}), "saved without state="),
    "a plan with an optimizer": (lambda to: ts.save(ts.plan(build()), to, optimizer=3), "without optimizer="),
    "a class for a builder": (lambda to: ts.save(altered(), to, base=nn.Linear), "Linear is called without arguments"),
    "no base": (lambda to: ts.save(altered(), to, base=3), r"base= is a builder, a model or a reference, got int"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAVES)
def test_saving(name, tmp_path):
    save, match = SAVES[name]
    with pytest.raises(ts.SurgeryError, match=match):
        save(tmp_path / "slim")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "slim"
    ts.save(altered(), folder, state={"epoch": 1})
    return folder


OTHERS = {
    "no folder": (lambda at: ts.load(None, build), "a folder is a text or a path, got NoneType"),
    "in the other order": (lambda at: ts.load(build, at), "a folder is a text or a path, got function"),
    "a file of it": (lambda at: ts.load(at / "COMMIT.json", build), r"is a file, and a save is a folder.\n  give the "),
    "a device of no name": (lambda at: ts.load(at, build, device="gpu"), "device='gpu' can't be used here"),
    "a list of devices": (lambda at: ts.load(at, build, device=[1]), r"device=\[1\] can't be used here"),
    "a path to no model": (lambda at: ts.load(at, at), "is a saved surgery"),
    "a plan for a builder": (lambda at: ts.load_plan(at, build), "holds a model, and no plan"),
    "a plan from nowhere": (lambda at: ts.load_plan(3, build()), "a folder is a text or a path, got int"),
    "training of a name": (lambda at: ts.load_training(at, "slim"), "must be an nn.Module, got str"),
    "training of a class": (lambda at: ts.load_training(at, build(), optimizer=torch.optim.SGD), "the class SGD"),
    "training from a list": (lambda at: ts.load_training([], build()), "a folder is a text or a path, got list"),
    "the recipe of a plan": (lambda at: ts.recipe_of(ts.plan(build())), "must be an nn.Module, got Plan"),
    "the recipe of a class": (lambda at: ts.recipe_of(nn.Linear), "must be an nn.Module, got type"),
    "a folder replayed": (lambda at: ts.plan(build()).replay(str(at)), "a recipe is replayed, got str"),
    "a surgery replayed": (lambda at: ts.plan(build()).replay(ts.remove(build(), "1")), "got Surgery"),
    "a model as code": (lambda at: ts.to_source(altered()), "a surgery or a plan is written as code, got Sequential"),
    "a recipe as code": (lambda at: ts.to_source(ts.recipe_of(altered())), "written as code, got Recipe"),
    "a folder exported": (lambda at: ts.export_hf(str(at), at), "must be an nn.Module, got str"),
    "exported to nowhere": (lambda at: ts.export_hf(altered(), None), "a folder is a text or a path|no model of"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_others(name, saved):
    call, match = OTHERS[name]
    with pytest.raises(ts.SurgeryError, match=match):
        call(saved)


def test_recipes_are_added_to_recipes_only():
    with pytest.raises(TypeError, match="unsupported operand"):
        ts.recipe_of(build()) + 3


def test_a_folder_that_can_be():
    assert folder_of("slim", "") == folder_of(Path("slim"), "") == Path("slim")


def test_devices():
    assert device_of(None) is None
    assert device_of("cpu") == device_of(torch.device("cpu")) == torch.device("cpu")
    assert device_of("meta") == torch.device("meta")


def test_a_reference_as_a_path(saved, tmp_path):
    """A folder of transformers is named by a path as well."""
    import transformers

    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    bert = transformers.BertModel(transformers.BertConfig(**sizes, num_hidden_layers=1))
    bert.save_pretrained(tmp_path / "bert")
    ts.insert(bert, nn.Dropout(0.1), after=nn.LayerNorm)
    ts.save(bert, tmp_path / "slim", base=tmp_path / "bert")
    loaded = ts.load(tmp_path / "slim", base=os.fspath(tmp_path / "bert"))
    assert loaded.state_dict().keys() == bert.state_dict().keys()
