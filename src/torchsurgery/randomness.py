"""New weights are drawn from where the caller's random generators stand, which are left as they were."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


class _Kept(threading.local):
    inside = False


_KEPT = _Kept()


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restore the random state of torch (and of its devices in use), Python and numpy on exit.

    What is drawn meanwhile begins where the caller's state stands: the same seed gives the same new weights. Inside of
    another such block this does nothing, since taking down the states costs more than building a layer.
    """
    if _KEPT.inside:
        yield
        return
    python, arrays = random.getstate(), np.random.get_state()
    # Asking a device for its state would start CUDA where nobody uses it.
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        _KEPT.inside = True
        try:
            yield
        finally:
            _KEPT.inside = False
            random.setstate(python)
            np.random.set_state(arrays)
