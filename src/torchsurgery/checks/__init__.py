"""Does the altered model hold: `check(model, inputs)`.

Files:
    results.py       Check, Checks: what is answered
    snapshots.py     what running a model may change, and putting it back
    observing.py     seeing calls, outputs and the origin of an exception without hooks
    trials.py        one model with its inputs, ready to be run in any mode
    inference.py     forward runs, finite, deterministic, every new layer called, fast paths agree
    gradients.py     gradients reach, and in-place neighbours
    zeroed.py        what was pruned, against the model before with zeros in the places that went
    checking.py      check()
"""

from .checking import check as check
from .results import Check as Check
from .results import Checks as Checks
