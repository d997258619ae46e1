"""What must be the same about a model before and after: every object, value, version, hook, mode and random state."""

import random

import numpy as np
import torch


def portrait(model):
    """Everything about `model` that a refused, rolled back or undone surgery may not change; compare two with `==`.

    The objects seen are kept alive, so that no new one can take the id of an old one.
    """
    named = list(model.named_modules(remove_duplicate=False))
    seen = {name: look(module) for name, module in named}
    tensors = {
        key: tensor
        for name, module in named
        for kind in ("_parameters", "_buffers")
        for key, tensor in ((f"{name}.{key}", tensor) for key, tensor in vars(module)[kind].items())
        if tensor is not None
    }
    return {
        "modules": seen,
        "tensors": {key: describe(tensor) for key, tensor in tensors.items()},
        "values": {key: fingerprint(tensor) for key, tensor in tensors.items()},
        "random": random_states(),
        "kept alive": Kept([module for _, module in named], list(tensors.values())),
    }


class Kept(list):
    """Holds objects and compares equal to all others of its kind."""

    def __init__(self, *things):
        super().__init__(things)

    def __eq__(self, other):
        return isinstance(other, Kept)

    __hash__ = None


def look(module):
    """A module's own object, class, mode and attributes, the contents of its dictionaries by identity."""
    contents = {
        key: {name: id(item) for name, item in value.items()} for key, value in vars(module).items() if is_dict(value)
    }
    lists = {key: [id(item) for item in value] for key, value in vars(module).items() if isinstance(value, list)}
    attributes = {
        key: value if isinstance(value, bool | int | str | float) else id(value) for key, value in vars(module).items()
    }
    return id(module), type(module), attributes, contents, lists


def is_dict(value):
    return isinstance(value, dict)


def describe(tensor):
    version = -1 if tensor.is_inference() else tensor._version
    where = None if tensor.is_meta else tensor.data_ptr()
    return id(tensor), version, tensor.dtype, tensor.device, tuple(tensor.shape), tensor.requires_grad, where


def fingerprint(tensor):
    """The bits of a tensor: NaN equals NaN, and 0.0 is not −0.0."""
    if tensor.is_meta:
        return None
    tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def random_states():
    return torch.random.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
