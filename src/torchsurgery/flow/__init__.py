"""Which layers feed which, found by running the model once and following its tensors.

Names and the order of `modules()` say nothing about what is computed after what. Here each tensor is known by the call
or the operation that it comes from, so that a ReLU in a forward's code is seen between two layers like one that is a
layer. The graph that results is of calls: a layer that is called twice is in it twice.

Files:
    naming.py    tensors in inputs and outputs, with their paths
    graph.py     the graph: nodes, what feeds them and what they feed
    running.py   the run that it is read off
"""

from .graph import Flow as Flow
from .graph import Node as Node
from .naming import named_inputs as named_inputs
from .running import IsLeaf as IsLeaf
from .running import follow as follow
