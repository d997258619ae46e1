"""The helpers that printed code begins with; they know nothing of this library."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from ..composites import Inserted, Removed, _on_first_argument, _on_first_tensor

FRESH = '''
def fresh(layer, old, model):
    """What is new in a layer gets the dtype, the device and the mode of the old one."""
    like = next((p for m in (old, model) for p in m.parameters() if p.is_floating_point()), None)
    there, kept = set(old.modules()), {id(t) for t in [*old.parameters(), *old.buffers()]}
    for module in layer.modules():
        if module in there:
            continue
        module.training = old.training
        for tensors in (module._parameters, module._buffers):
            for tensor in tensors.values():
                if tensor is not None and like is not None and id(tensor) not in kept:
                    dtype = like.dtype if tensor.is_floating_point() else tensor.dtype
                    tensor.data = tensor.data.to(like.device, dtype)
    return layer
'''

PUT = '''
def put(model, names, new):
    """Put a layer into all of its places."""
    for name in names:
        parent, _, key = name.rpartition(".")
        setattr(model.get_submodule(parent), key, new)
'''

TAKE = '''
def take(layer, name, axis, indices):
    """Keep these entries of a tensor along an axis; given lists, one for each block of the first axis."""
    old = getattr(layer, name)
    blocks = indices if isinstance(indices[0], list) else [list(indices)]
    rows = old.detach().tensor_split(len(blocks))
    new = torch.cat([r.index_select(axis, torch.tensor(b, device=old.device)) for r, b in zip(rows, blocks)])
    setattr(layer, name, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)
'''


def _plain(thing: Any) -> str:
    """The source of a class or function of this library, without what is written for its readers and type checkers."""
    (node,) = ast.parse(inspect.getsource(thing)).body
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(inner) is not None:
            inner.body = inner.body[1:]
        if isinstance(inner, ast.FunctionDef):
            inner.returns = None
        if isinstance(inner, ast.arg):
            inner.annotation = None
    return ast.unparse(node)


INSERTED = "\n\n\n".join(map(_plain, (Inserted, _on_first_argument, _on_first_tensor)))
REMOVED = _plain(Removed)
