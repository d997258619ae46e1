"""Garbage is collected afterwards as before."""

import gc

import pytest

from torchsurgery.collecting import collection_paused


def test_it_is_off_meanwhile_and_on_afterwards():
    with collection_paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_also_after_an_exception():
    with pytest.raises(ValueError, match="mine"), collection_paused():
        raise ValueError("mine")
    assert gc.isenabled()


def test_it_stays_off_for_whoever_has_switched_it_off():
    gc.disable()
    try:
        with collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
