"""Garbage collection, put off while a plan is made or applied."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """Look for no garbage meanwhile.

    A plan for thousands of layers makes many small objects and all of them stay: each full pass over a heap that holds
    PyTorch takes longer than the plan itself, and finds nothing.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
