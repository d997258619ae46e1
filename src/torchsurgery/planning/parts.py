"""Parts of a layer, where an earlier edit of the same plan has changed them.

A draft leaves the model as it is, so that the layer itself still has the parts that it had. What computes something of
them, or takes them along, is shown those that there will be.
"""

from __future__ import annotations

from torch import nn

from ..tree import Draft, every_module


def as_drafted(draft: Draft, layer: nn.Module) -> nn.Module:
    """The layer with the parts that it will have: another object, or the layer itself where these are its own."""
    own = layer._modules
    if not own:
        return layer
    parts = {key: None if part is None else as_drafted(draft, part) for key, part in draft.children(layer).items()}
    if parts.keys() == own.keys() and all(part is own[key] for key, part in parts.items()):
        return layer
    seen = object.__new__(type(layer))
    object.__setattr__(seen, "__dict__", {**vars(layer), "_modules": parts})
    return seen


def let_in(draft: Draft, old: nn.Module, new: nn.Module) -> None:
    """Let the parts of an old layer that a new one took along be the objects that will be there."""
    if not old._modules or not new._modules:
        return
    inside = every_module(old)
    later: dict[nn.Module, nn.Module] = {}
    for module in inside:
        drafted = draft.children(module)
        for key, part in module._modules.items():
            now = drafted.get(key)
            if part is not None and now is not None and (standing := draft.standing(now)) is not part:
                later[part] = standing
            if now is not None and draft.standing(now) is not now:
                later[now] = draft.standing(now)
    if later:
        for module in every_module(new) - inside:
            module._modules.update({key: later[part] for key, part in module._modules.items() if part in later})
