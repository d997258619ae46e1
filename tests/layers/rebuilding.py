"""Rebuilds a layer from itself, and holds the new one to the old."""

import warnings

import torch
from torch.nn.parameter import is_lazy

from torchsurgery.layers.config import config_of


def build(cls, config):
    # what a constructor has to say to its caller, it says to whoever calls it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cls(**config)


def rebuilt(module, dtype=None):
    """The same layer from its constructor's arguments and its state dict, with all that config_of promises checked."""
    before, state = snapshot(module), torch.get_rng_state()
    config = config_of(module)
    assert torch.equal(torch.get_rng_state(), state)
    assert snapshot(module) == before
    new = build(type(module), config)
    if dtype:
        new.to(dtype)
    new.load_state_dict(module.state_dict(), strict=True)
    new.train(module.training)
    mine = {id(t) for t in (*module.parameters(), *module.buffers())}
    assert not mine & {id(t) for t in (*new.parameters(), *new.buffers())}, "nothing is shared"
    return new


def snapshot(module):
    named = (*module.named_parameters(), *module.named_buffers())
    tensors = [(n, id(t), 0 if is_lazy(t) else t._version) for n, t in named]
    modules = [(n, id(m), m.training, sorted(vars(m))) for n, m in module.named_modules()]
    return tensors, modules


def run(module, inputs, seed=5):
    """All that a forward and a backward do: outputs, changed inputs, gradients, state afterwards, random state."""
    torch.manual_seed(seed)
    given = [t.clone() for t in inputs]
    leaves = [t.requires_grad_() if t.is_floating_point() else t for t in given]
    used = [t * 1 if t.is_floating_point() else t for t in leaves]
    for parameter in module.parameters():
        parameter.grad = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            outputs = flat(module(*used))
            total = sum(o.float().sum() for o in outputs if o.is_floating_point() and o.requires_grad)
            if isinstance(total, torch.Tensor):
                total.backward()
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]
    grads = [p.grad for p in (*leaves, *module.parameters()) if p.is_floating_point()]
    return [*outputs, *used, *grads, *module.state_dict().values(), torch.get_rng_state()]


def flat(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for v in value for t in flat(v)] if isinstance(value, tuple | list) else []


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
            assert type(a) is type(b) and a == b
            continue
        assert a.dtype == b.dtype and a.layout == b.layout
        a, b = (t.detach().coalesce().to_dense() if t.is_sparse else t.detach() for t in (a, b))
        assert torch.equal(a, b) or torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def assert_computes_the_same(module, new, inputs):
    for mode in (True, False):
        module.train(mode), new.train(mode)
        expected = run(module, inputs)
        assert not isinstance(expected[0], str), expected[0]
        assert_same(expected, run(new, inputs))


def with_attributes(layer, **values):
    for name, value in values.items():
        setattr(layer, name, value)
    return layer
