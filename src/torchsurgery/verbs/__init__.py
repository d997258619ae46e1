"""The verbs in one line: plan one edit and apply it.

Files:
    layers.py      replace, insert, remove, wrap, calls_to_layers
    structure.py   fold, set_inputs, set_outputs, prune, widen
    passing.py     temporarily: a plan for the time of a `with` block
"""

from .layers import calls_to_layers as calls_to_layers
from .layers import insert as insert
from .layers import remove as remove
from .layers import replace as replace
from .layers import wrap as wrap
from .passing import temporarily as temporarily
from .structure import fold as fold
from .structure import prune as prune
from .structure import set_inputs as set_inputs
from .structure import set_outputs as set_outputs
from .structure import widen as widen
