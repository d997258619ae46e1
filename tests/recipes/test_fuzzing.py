"""Almost-right recipes: whatever is in them, a RecipeError or a model, and nothing is imported."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import fuzzing


def test_twenty_thousand_almost_right_recipes():
    found = fuzzing.run(20_000)
    assert found["foreign"] == found["imports"] == []
    assert 1_000 < found["replayed"] < 19_000  # both sides are reached


def test_bytes_that_are_no_recipe_at_all():
    import random

    import torchsurgery as ts
    from torchsurgery.recipes.recipe import read_recipe

    draw = random.Random(0)
    for length in range(300):
        data = bytes(draw.randrange(256) for _ in range(length))
        try:
            read_recipe(data, "recipe.json")
        except ts.RecipeError as error:
            assert str(error).startswith("recipe.json: ")
        else:
            raise AssertionError(data)
