"""What was done to which model in this process: the order of surgeries, the layers that they brought, and recipes.

A surgery is made on one root, and is told of every root that holds what it has changed: of the model around a
submodule, of a part of a model, of the model in a wrapper. Nothing is stored on a model itself, and neither models nor
layers are kept alive.

records   one surgery as data
names     how modules are called in several roots, from now backwards
entries   all surgeries in force, in the order in which they were made
telling   what was done, as it is told of one root
noting    what has to be noted before a surgery, so that it can be told afterwards
"""

from .entries import Done as Done
from .entries import Entry as Entry
from .entries import altered as altered
from .entries import forget as forget
from .entries import in_force as in_force
from .entries import later as later
from .entries import only_cut as only_cut
from .entries import remember as remember
from .entries import widths_changed as widths_changed
from .noting import Recording as Recording
from .records import Record as Record
from .telling import recipe_from as recipe_from
from .telling import recipe_of as recipe_of
from .telling import recipe_of_one as recipe_of_one
from .telling import refuse_unknown_past as refuse_unknown_past
