"""Results of the most frequent operations on the meta device, without PyTorch's own shape functions.

These are written in Python and take ten times as long as all else in a trace. A shortcut answers only in the plain case
(one dtype of floating point, shapes that fit); for anything else it answers None, and PyTorch's function runs. Strides
are those that PyTorch gives, as far as code can tell: what follows may ask for a view.

registry  which operation has one, and what they share
entries   entry by entry, and reductions · moves  what moves, joins or picks entries · norms  normalisations
products  what a model's multiplications are counted of · windows  windows of a picture, and other sizes of it
"""

from . import entries, moves, norms, products, windows  # noqa: F401 - they register theirs
from .products import MULTIPLYING as MULTIPLYING
from .registry import IN_PLACE as IN_PLACE
from .registry import SHORT as SHORT
from .registry import Shortcut as Shortcut
from .registry import broadcast_shape as broadcast_shape
from .registry import shortcut_for as shortcut_for
