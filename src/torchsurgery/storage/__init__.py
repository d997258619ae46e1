"""Altered models on disk: a recipe and weights, no pickle; all of a save or nothing of it.

tensors    files of tensors, in the safetensors format, written and read in one pass with their digest
opening    what a save's commit says, and its files, open
folder     how files come into a folder: all or none, and whose are left alone
contents   which files a save has, and what their document says besides the recipe
layouts    in which order a tensor's entries lie in memory
slots      where a model's tensors are: taken out, looked at, put in
bases      what a recipe is replayed on, on the meta device
saving     model or plan → folder · loading  folder → model or plan
moments    the state of an optimizer, by the names of Parameters
"""

from .loading import load as load
from .loading import load_plan as load_plan
from .moments import load_training as load_training
from .saving import save as save
