"""The two ends of a model: which layers its input goes into and which give its output, read off a run.

From the input one goes forwards, and from the output backwards, through whatever leaves the channels what they are.
What is not clear is refused, and the plan is tried out on the spot.

Files:
    telling.py   attributes that tell a number, and the altered model run once
    inputs.py    another number of channels to be taken
    outputs.py   another number of classes to be told
"""

from .inputs import Fill as Fill
from .inputs import confirm_inputs as confirm_inputs
from .inputs import inputs_resized as inputs_resized
from .outputs import confirm_outputs as confirm_outputs
from .outputs import flows_of as flows_of
from .outputs import outputs_resized as outputs_resized
from .telling import refuse_no_number as refuse_no_number
