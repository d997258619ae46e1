"""What an insertion leaves in a model, and what lets checkpoints from before an edit load after it.

Everything here is an importable class, so that altered models can be copied and pickled.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


class Inserted(nn.Module):
    """A layer with another one before or after it, in the layer's own place.

    The inserted layer works on the first argument, or on the first tensor of the answer when the layer answers several
    (an LSTM's output, not its state). Attributes that this module doesn't have are read from the layer itself, so that
    a model that asks for `conv.out_channels` goes on working.

    Args:
        layer: What stood here before.
        before: Called on the layer's first argument.
        after: Called on the layer's answer.

    Example:
        >>> Inserted(nn.ReLU(), after=nn.Dropout(0.1))
        Inserted(
          (layer): ReLU()
          (after): Dropout(p=0.1, inplace=False)
        )
    """

    def __init__(self, layer: nn.Module, before: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        if before is not None:
            self.before = before
        self.layer = layer
        if after is not None:
            self.after = after

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if (before := self._modules.get("before")) is not None:
            args, kwargs = _on_first_argument(before, self._modules["layer"], args, kwargs)
        answer = self._modules["layer"](*args, **kwargs)  # type: ignore[misc]
        after = self._modules.get("after")
        return answer if after is None else _on_first_tensor(after, answer)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            layer = self.__dict__.get("_modules", {}).get("layer")
            if layer is None or (name.startswith("__") and name.endswith("__")):
                raise
            return getattr(layer, name)


def _on_first_argument(
    layer: nn.Module, called: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if args:
        return (layer(args[0]), *args[1:]), kwargs
    # The order in which the layer takes them, not that in which they are written.
    names = [name for name in _parameters(called) if name in kwargs]
    for name in (*names, *kwargs):
        if isinstance(kwargs[name], Tensor):
            return args, {**kwargs, name: layer(kwargs[name])}
    raise TypeError(f"{type(layer).__name__} was inserted before a layer that is called without a tensor")


def _parameters(layer: nn.Module) -> tuple[str, ...]:
    """The names of what a layer's forward takes."""
    while isinstance(layer, Inserted):
        layer = layer.layer
    code = getattr(type(layer).forward, "__code__", None)
    return () if code is None else tuple(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])


def _on_first_tensor(layer: nn.Module, answer: Any) -> Any:
    if isinstance(answer, Tensor) or hasattr(type(answer), "__torch_function__"):  # such as the proxies of torch.fx
        return layer(answer)
    if isinstance(answer, tuple | list) and answer and isinstance(answer[0], Tensor):
        items = (layer(answer[0]), *answer[1:])
        return type(answer)(*items) if hasattr(answer, "_fields") else type(answer)(items)
    if isinstance(answer, dict):
        for name, value in answer.items():
            if isinstance(value, Tensor):
                # In a copy of its own class: Hugging Face answers with dataclasses that are dicts.
                return type(answer)(**{**answer, name: layer(value)})
    raise TypeError(
        f"{type(layer).__name__} was inserted after a layer that answers {type(answer).__name__}, not a tensor"
    )


class Removed(nn.Identity):
    """What stands where a layer was taken out that is called with more than one tensor: it hands on the first.

    Example:
        >>> Removed()(torch.ones(2), mask=None)
        tensor([1., 1.])
    """

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return args[0] if args else next(iter(kwargs.values()))


@dataclass(frozen=True)
class OldCheckpoints:
    """A load hook that takes a checkpoint from before a layer was put around another one.

    Where a checkpoint has the inner layer's keys rather as they were before the edit than as they are now, they are
    renamed, and the tensors that the edit has added keep the values they have.

    Args:
        inner: The name of the old layer inside of the new one, such as "layer".
    """

    inner: str

    def __call__(self, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        own = dict(_entries(module))
        start = f"{self.inner}."
        inside = {name for name in own if name.startswith(start)}
        given = [key[len(prefix) :] for key in state if key.startswith(prefix)]
        if not self._is_old(inside or own.keys(), set(given)):
            return
        tensors = {name: state.pop(prefix + name) for name in given}
        state.update({f"{prefix}{start}{name}": tensor for name, tensor in tensors.items()})
        for name in own.keys() - inside:
            state.setdefault(prefix + name, own[name])

    def _is_old(self, names: AbstractSet[str], given: AbstractSet[str]) -> bool:
        # A name may be among those of both times: the layer inside "inner" may have an "inner" of its own.
        start = f"{self.inner}."
        now, then = len(names & given), sum(name.startswith(start) and name[len(start) :] in given for name in names)
        return then > now or now == 0


@dataclass(frozen=True)
class DropOldKeys:
    """A load hook that passes over the tensors of a layer that was removed."""

    keys: frozenset[str]

    def __call__(self, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        for key in self.keys:
            state.pop(prefix + key, None)


def every_key(module: nn.Module) -> frozenset[str]:
    """The names of the module's tensors, now and at the times before what earlier edits have done in it."""
    found = {name for name, tensor in (module._parameters | module._buffers).items() if tensor is not None}
    for key, child in module._modules.items():
        if child is not None:
            found |= {f"{key}.{name}" for name in every_key(child)}
    for wrapped in module._load_state_dict_pre_hooks.values():
        hook = getattr(wrapped, "hook", None)
        if isinstance(hook, OldCheckpoints):
            found |= every_key(module.get_submodule(hook.inner))
        elif isinstance(hook, DropOldKeys):
            found |= hook.keys
    return frozenset(found)


def _entries(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors that the module's state dict has, by name."""
    for prefix, child in module.named_modules(remove_duplicate=False):
        start = f"{prefix}." if prefix else ""
        for name, tensor in {**child._parameters, **child._buffers}.items():
            if tensor is not None and name not in child._non_persistent_buffers_set:
                yield start + name, tensor


def accept_old_checkpoints(module: nn.Module, hook: OldCheckpoints | DropOldKeys) -> None:
    """Let `module` load what was saved before it came to stand where it is."""
    module.register_load_state_dict_pre_hook(hook)  # type: ignore[no-untyped-call]
