"""Layers that the traps' tests put into models, and what must be the same when nothing has changed."""

import random

import numpy as np
import torch
from torch import nn


class FusedReLU(nn.Module):
    """A user's own activation, with a constructor of its own and no parameter."""

    def __init__(self, inplace=False, p=0.5):
        super().__init__()
        self.relu, self.dropout = nn.ReLU(inplace), nn.Dropout(p)

    def forward(self, x):
        return self.dropout(self.relu(x))


class Doubled(nn.Module):
    """A wrapper."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        return 2 * self.inner(*args, **kwargs)


class Scaled(nn.Module):
    """A wrapper with a parameter of its own."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.scale = inner, nn.Parameter(torch.tensor(3.0))

    def forward(self, x):
        return self.scale * self.inner(x)


class MyLinear(nn.Linear):
    """A subclass with nothing new: the layer only takes the class."""


class NegatedLinear(nn.Linear):
    """A subclass without a constructor, whose forward differs."""

    def forward(self, x):
        return -super().forward(x)


class BuiltLinear(nn.Linear):
    """A subclass with a constructor of its own: a new state is built, and the layer becomes it."""

    def __init__(self, in_features, out_features, bias=True):
        super().__init__(in_features, out_features, bias)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class BuiltEmbedding(nn.Embedding):
    def __init__(self, num_embeddings, embedding_dim, padding_idx=None):
        super().__init__(num_embeddings, embedding_dim, padding_idx)
        self.built = True


class TiedLM(nn.Module):
    """Token ids → scores of the next token; the head's weight is the embedding's."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(self.embed(ids))


def random_states():
    """The states of the three generators, comparable."""
    arrays = np.random.get_state()
    return random.getstate(), (arrays[0], arrays[1].tolist(), *arrays[2:]), torch.get_rng_state().tolist()


def state(model):
    """All that is as it was when nothing has changed: objects, classes, attributes, versions, hooks, random state."""
    modules = []
    for name, module in model.named_modules(remove_duplicate=False):
        attributes = {key: id(value) for key, value in vars(module).items()}
        entries = {
            key: {entry: id(item) for entry, item in value.items()}
            for key, value in vars(module).items()
            if isinstance(value, dict)
        }
        modules.append((name, id(module), type(module), module.training, attributes, entries))
    tensors = [
        (name, id(tensor), tensor._version, tensor.data_ptr(), tensor.dtype, tensor.requires_grad)
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    ]
    return modules, tensors, random_states()
