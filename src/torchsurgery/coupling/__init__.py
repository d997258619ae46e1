"""Which channels of which layers are one: `trace(model, example_inputs)`.

Files:
    atoms.py         ids of entries, and the two kinds of constraint between them
    joining.py       what ties alone come to
    solving.py       from constraints to classes, columns.py what products are compared by
    rules.py         what an operation says about axes: the registry, `rule`, and what a rule is given
    elementwise.py, views.py, moves.py, layers.py, recurrences.py   the rules
    integers.py      integers of the model's code that remember how they were computed; adjusting.py solves for them
    watching.py      the modes under which a model runs while it is traced
    filled.py        tensors of one value, of which code may ask
    hollow.py        tensors without values; shortcuts/ results on the meta device without PyTorch's own shape functions
    surroundings.py  what a forward keeps outside of its modules, put back
    substituting.py  a model with stand-ins for its tensors, put back as it was
    attention.py     nn.MultiheadAttention with heads that may go
    siblings.py      parts that were not run because others like them were
    protocols.py     integers that a model tells of itself, though its forward reads none of them
    vision.py        rules of torchvision's operations
    tracing.py       trace()
    lists.py         what axes are of, those of the same classes once
    families.py, groups.py, paths.py   the answer: groups, and why
    rows.py          divisions of axes whose rows may lose entries of their own
    bundles.py       families that must lose the same number of channels, alignment.py how many where it is a shuffle's,
                     foreseeing.py which numbers it can't be
    cuts.py          what is left when some channels go; copies.py what comes of several, tokens.py of further ones
    certificate.py   proof that an altered model is what a cut says; ties.py tells who goes along
"""

from .groups import Coupling as Coupling
from .groups import Group as Group
from .groups import Member as Member
from .rules import Call as Call
from .rules import rule as rule
from .tracing import trace as trace
