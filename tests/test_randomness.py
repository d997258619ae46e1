"""The caller's random state stays; what is drawn meanwhile begins where it stands."""

import random

import numpy as np
import pytest
import torch

from sameness import random_states
from torchsurgery.randomness import random_state_kept


def draw():
    return torch.rand(1).item(), random.random(), np.random.rand()


def test_the_state_is_as_it_was():
    before = random_states()
    with random_state_kept():
        draw()
    assert random_states() == before


def test_also_after_an_exception():
    before = random_states()
    with pytest.raises(ValueError, match="mine"), random_state_kept():
        draw()
        raise ValueError("mine")
    assert random_states() == before


def test_the_same_seed_gives_the_same_numbers():
    with random_state_kept():
        inside = draw()
    assert inside == draw()


def test_inside_of_another_block_it_leaves_the_keeping_to_that_one():
    before = random_states()
    with random_state_kept():
        with random_state_kept():
            first = draw()
        assert draw() != first
    assert random_states() == before
