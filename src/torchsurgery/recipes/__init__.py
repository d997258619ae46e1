"""What was done to a model, as data that comes to the same on a fresh base; it names classes and holds no code.

strict       JSON from anywhere, read so that whatever is wrong with it is an error that says where
naming       the classes and functions that data may name
values       constructors' arguments as data · typed  whether they are of the types declared
specs        layers as data
structure    what a model is made of, line by line, and its sha256
schema       which operations there are, and what each may say
recipe       operations in order, between two structures
recording    planned edits → operations
replaying    operations → edits of the model at hand
"""

from .recipe import Operation as Operation
from .recipe import Recipe as Recipe
