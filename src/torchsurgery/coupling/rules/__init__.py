"""What an operation says about the axes of its tensors.

call         what a rule is given: the operation's tensors, and the words in which it says what holds
registry     which operation has which rule; `rule` adds one
elementwise  entry by entry, reductions, new tensors · views  other arrangements of the same entries
moves        joined, repeated, picked entries · strides  windows that overlap
products     linear layers, matrix products, attention · recurrences  LSTM and its like
windows      convolutions, pooling, sampling · vision  torchvision's own operations
norms        normalisations

A rule states the axes of the results and the constraints that hold, in the words of `Call`.
"""

from . import (  # noqa: F401 - they register theirs
    elementwise,
    moves,
    norms,
    products,
    recurrences,
    strides,
    views,
    vision,
    windows,
)
