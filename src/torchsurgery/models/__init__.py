"""Models by reference: one line of text that says which model, from where.

`build` reads the reference; one file each knows how the libraries of models, folders and the user's own code are asked.
Nothing of them is imported before a reference names it.
"""

from .building import build as build
from .building import runs_code as runs_code
from .building import usual_inputs as usual_inputs
from .code import look_up as look_up
from .references import with_arguments as with_arguments
from .weights import load_weights as load_weights
