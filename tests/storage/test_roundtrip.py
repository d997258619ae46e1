"""Alter → save → load: the same structure and the same bits, also in a fresh process, whatever was done before."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import torchsurgery as ts
from random_networks import EDITS, Around, FancyLinear, FancyReLU, build, chains, marks, planned, specifications
from sameness import fingerprint
from torchsurgery.recipes.structure import structure_of

for kind in (Around, FancyLinear, FancyReLU):
    ts.register(f"random_networks/{kind.__name__}", kind)


def values_of(model):
    """The bits of all parameters and buffers by name; who shares one; who is trained and in which mode."""
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    return (
        {name: (tensor.dtype, tensor.requires_grad, fingerprint(tensor)) for name, tensor in tensors.items()},
        {name: min(other for other, t in tensors.items() if t is tensor) for name, tensor in tensors.items()},
        {name: module.training for name, module in model.named_modules()},
    )


def assert_same(loaded, saved):
    assert structure_of(loaded).difference(structure_of(saved)) is None
    assert values_of(loaded) == values_of(saved)


@given(specifications, marks, chains)
@settings(max_examples=60)
def test_random_chains_of_random_networks(tmp_path_factory, specification, marked, chain):
    plain = [mark for mark in marked if mark[0] in ("freeze", "eval")]
    net, _ = build(specification, plain)
    planned(net, chain).apply()
    folder = tmp_path_factory.mktemp("save")
    ts.save(net, folder, base=lambda: build(specification)[0])
    assert_same(ts.load(folder, base=lambda: build(specification)[0]), net)


@pytest.mark.parametrize("name", sorted(EDITS))
def test_each_edit_by_itself_and_again_on_what_was_loaded(tmp_path, name):
    specification = ("sequential", ["norm", "tanh", "dropout", "conv", "layernorm", ("branches", ["linear", "tied"])])
    net, _ = build(specification)
    planned(net, [name]).apply()
    ts.save(net, tmp_path / "one", base=lambda: build(specification)[0])
    loaded = ts.load(tmp_path / "one", base=lambda: build(specification)[0])
    assert_same(loaded, net)
    ts.insert(loaded, nn.Dropout(0.3), after=nn.Linear)
    ts.save(loaded, tmp_path / "two", base=lambda: build(specification)[0])
    assert_same(ts.load(tmp_path / "two", base=lambda: build(specification)[0]), loaded)


def test_a_recipe_carries_the_weights_of_another_base(resnet18, networks, images):
    altered = resnet18
    ts.replace(altered, ts.select(altered, nn.Conv2d, kernel_size=1), nn.Conv2d, kernel_size=3)
    ts.fold(altered, images)
    ts.prune(altered, "layer2.0.conv1", 0.5, example_inputs=images)
    fresh = networks("resnet18")
    ts.plan(fresh).replay(ts.recipe_of(altered)).apply()
    assert_same(fresh, altered)


LOADING = """
import sys, torch, torchvision, torchsurgery as ts
from safetensors.torch import load_file
import zoo
for folder in sys.argv[1:]:
    name = folder.rpartition("/")[2]
    model = ts.load(folder, base=zoo.BUILDERS[name])
    kept = load_file(folder + ".answers")
    with torch.no_grad():
        answers = zoo.answers(model.eval(), name)
    assert answers.keys() == kept.keys(), name
    for key in kept:
        assert torch.equal(answers[key], kept[key]), (name, key)
    print(name, "same")
"""


def test_fresh_process_gives_the_same_bits(tmp_path):
    from pathlib import Path

    import zoo
    from safetensors.torch import save_file

    folders = []
    for name, builder in zoo.BUILDERS.items():
        torch.manual_seed(0)
        model = builder()
        zoo.CHAINS[name](model)
        model.eval()
        folder = tmp_path / name
        ts.save(model, folder, base=builder, shard_size=2_000_000)
        with torch.no_grad():
            answers = zoo.answers(model, name)
        save_file({key: value.contiguous() for key, value in answers.items()}, f"{folder}.answers")
        folders.append(str(folder))
    script = textwrap.dedent(LOADING)
    here = str(Path(__file__).parent)
    # With other threads PyTorch adds in another order.
    threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-W", "ignore", "-c", script, *folders]
    found = subprocess.run(command, capture_output=True, text=True, cwd=here, env=threads, check=False)
    assert found.stdout.count("same") == len(folders), found.stderr[-3000:]
