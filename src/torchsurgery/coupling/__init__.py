"""Which channels of which layers are one: `trace(model, example_inputs)`.

From the top to the bottom, each knowing only what stands above it:

    constraints/    what can be said of axes: atoms that are one, that are products, that stay; integers of the code
    rules/          what each operation says of the axes of its tensors
    running/        the model run once without computing, so that each of its operations is asked for its rule
    solving/        from all that was said to classes: what lives and dies together
    answers/        groups, families, and why
    cuts/           what becomes of the model when some classes go or come
    tracing.py      trace(): that way from one end to the other
    certificate.py  proof that an altered model is what a cut says: traced once more
    attention.py    nn.MultiheadAttention with heads that may go: stands in while traced, and stays where one is cut
"""

from .answers.groups import Coupling as Coupling
from .answers.groups import Group as Group
from .answers.groups import Member as Member
from .rules.call import Call as Call
from .rules.registry import rule as rule
from .tracing import trace as trace
