"""How much each channel of a group matters; the lowest go first.

An importance is a function of the group's weights. It is given `Slice`s, one for each axis of a parameter that the
group reaches into, and answers one number a channel, as a tensor of shape (channels,):

    def by_largest(slices):
        return torch.stack([s.weight.abs().amax(1) for s in slices]).sum(0)

    ts.prune(model, "layer1.*.conv1", 0.5, example_inputs=x, by=by_largest)

scoring      what an importance is given
sources      where in a model's weights that is found
powers       sums of powers of a tensor's entries along its axes
totals       the same over all weights of all channels
judging      the scores of some channels
measures     l1, l2, random, bn_scale, taylor
activations  what flows through the channels on a user's data
combining    total, product, normalised
"""

from .activations import activation as activation
from .combining import normalised as normalised
from .combining import product as product
from .combining import total as total
from .judging import Scores as Scores
from .judging import scores_of as scores_of
from .measures import bn_scale as bn_scale
from .measures import l1 as l1
from .measures import l2 as l2
from .measures import random as random
from .measures import taylor as taylor
from .scoring import Importance as Importance
from .scoring import Slice as Slice
from .scoring import name_of as name_of
from .sources import Sources as Sources
