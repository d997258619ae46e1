"""Saves of every released version load, and compute what they computed."""

import corpus
import pytest

import torchsurgery as ts

SAVES = sorted(path for path in corpus.CORPUS.glob("*/*") if path.is_dir())


def test_there_is_one_of_each_case_for_the_first_version():
    assert {path.name for path in SAVES if path.parent.name == "0.1.0"} == corpus.CASES.keys()


@pytest.mark.parametrize("folder", SAVES, ids=lambda path: f"{path.parent.name} {path.name}")
def test_loads_and_computes_what_it_computed(folder):
    assert corpus.check(folder)


@pytest.mark.parametrize("folder", SAVES, ids=lambda path: f"{path.parent.name} {path.name}")
def test_the_recipe_is_replayed_on_weights(folder):
    from torchsurgery.storage.contents import read_contents
    from torchsurgery.storage.opening import opened

    build, _ = corpus.CASES[folder.name]
    with opened(folder / "save") as save:
        recipe = read_contents(save).recipe
    model = build().eval()
    ts.plan(model).replay(recipe).apply(check=False)
    assert ts.recipe_of(model).result == recipe.result


def test_a_save_is_small():
    assert all(path.stat().st_size < 20_000 for path in corpus.CORPUS.rglob("*") if path.is_file())
