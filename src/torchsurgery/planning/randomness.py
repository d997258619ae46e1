"""New weights are drawn from where the caller's random generators stand, which are left as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restore the random state of torch (and of its devices in use), Python and numpy on exit.

    What is drawn meanwhile begins where the caller's state stands: the same seed gives the same new weights.
    """
    python, arrays = random.getstate(), np.random.get_state()
    # Asking a device for its state would start CUDA where nobody uses it.
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)
