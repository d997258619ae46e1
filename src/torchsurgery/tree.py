"""The module tree: where each module lies, without losing the places that share one.

`named_modules()` reports a shared module once, so a loop over it changes one place and leaves the others. Here a module
has all its names and all its slots. A `Draft` is the tree as it will be: a plan edits the draft and leaves the model.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from .errors import SelectionError

Children = Mapping[str, "nn.Module | None"]


class Slot(NamedTuple):
    """One entry of a module's `_modules`: `owner._modules[key]`."""

    owner: nn.Module
    key: str


class Spots:
    """Where one module lies: its fully-qualified names, in the order of `named_modules()`."""

    __slots__ = ("names",)

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self.names = names


class Draft:
    """A model's module tree with edits laid over it.

    Attributes:
        model: The model; never written to.
        root: What stands at the top once the edits are applied: the model, or what it becomes.
        written: The places outside of the tree that edits write to → the reference as it will be.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.root: nn.Module = model
        self._children: dict[nn.Module, dict[str, nn.Module | None]] = {}
        self._standing: dict[nn.Module, nn.Module] = {}
        self._becomes: dict[nn.Module, nn.Module] = {}
        self._spots: dict[nn.Module, Spots] | None = None
        self._earlier: tuple[dict[nn.Module, Spots], list[tuple[Spots, nn.Module]]] | None = None
        self._entries: dict[int, Mapping[str, Any]] = {}
        self.written: dict[Hashable, Any] = {}

    def copy(self) -> Draft:
        """An independent draft with the same edits."""
        twin = Draft(self.model)
        twin.root, twin._standing, twin._becomes = self.root, dict(self._standing), dict(self._becomes)
        twin._children, twin._spots, twin._earlier = dict(self._children), self._spots, self._earlier
        twin._entries, twin.written = dict(self._entries), dict(self.written)
        return twin

    def children(self, module: nn.Module) -> Children:
        """The children of `module`, by name, as they will be."""
        own: Children | None = self._children.get(module)
        if own is None:
            own = module._modules
        # TorchScript keeps its submodules in a wrapper that is no dictionary.
        own = own if isinstance(own, dict) else dict(own.items())
        if self._becomes and any(child in self._becomes for child in own.values() if child is not None):
            # A factory has taken a layer out of the model as it is, which an earlier edit lets become another.
            return {key: None if child is None else self._becomes.get(child, child) for key, child in own.items()}
        return own

    def _child(self, module: nn.Module, key: str) -> nn.Module | None:
        # One of thousands is looked up at once, without going over the others.
        own: Any = self._children.get(module)
        own = module._modules if own is None else own
        if key not in own:
            return None
        child: nn.Module | None = own[key]
        return None if child is None else self._becomes.get(child, child)

    def entries(self, own: Mapping[str, Any]) -> Mapping[str, Any]:
        """What one of a module's dictionaries holds, as it will be."""
        later = self._entries.get(id(own))
        return own if later is None else {**own, **later}

    def assign(self, own: Mapping[str, Any], entries: Mapping[str, Any]) -> None:
        """Note that a module's dictionary is to get these entries."""
        self._entries[id(own)] = {**self._entries.get(id(own), {}), **entries}

    def standing(self, module: nn.Module) -> nn.Module:
        """The object that will stand where the draft has `module`: another one where the old object becomes the new."""
        return self._standing.get(module, module)

    def become(self, old: nn.Module, new: nn.Module) -> None:
        """Note that `new` is a state which the object of `old` takes over."""
        self._standing[new] = standing = self.standing(old)
        self._becomes[standing] = new
        if old in self._children and new._modules is old._modules:
            self._children[new] = self._children[old]

    def share(self, module: nn.Module, twin: nn.Module) -> None:
        """Note that `twin` has the state of `module`, and so its children as they will be."""
        if module in self._children:
            self._children[twin] = self._children[module]

    def add(self, owner: nn.Module, key: str, child: nn.Module) -> None:
        """Lay a further child into a module."""
        self._children[owner] = {**self.children(owner), key: child}
        self._spots = self._earlier = None

    def put(self, swaps: Iterable[tuple[Spots, nn.Module]]) -> None:
        """Lay new modules into all of their spots."""
        swaps = list(swaps)
        writes = [(owner, key, new) for spots, new in swaps for owner, key in self.slots(spots)]
        self.root = next((new for spots, new in swaps if "" in spots.names), self.root)
        fresh: set[nn.Module] = set()
        for owner, key, new in writes:
            if owner not in fresh:
                fresh.add(owner)
                self._children[owner] = dict(self.children(owner))
            self._children[owner][key] = new
        self._earlier, self._spots = None if self._spots is None else (self._spots, swaps), None

    def spots(self) -> dict[nn.Module, Spots]:
        """Every module of the tree with where it lies, in the order of `named_modules()`."""
        if self._spots is None:
            self._spots = self._leaves_swapped() or _survey(self)
            self._earlier = None
        return self._spots

    def _leaves_swapped(self) -> dict[nn.Module, Spots] | None:
        """The survey from before the last edit, if all that has happened since is that leaves came for leaves."""
        if self._earlier is None:
            return None
        earlier, swaps = self._earlier
        new_at = {id(spots): new for spots, new in swaps}
        gone = (module for module, spots in earlier.items() if id(spots) in new_at)
        if any(map(self.children, (*gone, *new_at.values()))):
            return None
        found = {new_at.get(id(spots), module): spots for module, spots in earlier.items()}
        return found if len(found) == len(earlier) else None

    def slots(self, spots: Spots) -> list[Slot]:
        """The slots that hold a module, each once."""
        found = [self._slot(name) for name in spots.names if name]
        return found if len(found) < 2 else list(dict.fromkeys(found))

    def _slot(self, name: str) -> Slot:
        above, _, key = name.rpartition(".")
        owner: nn.Module | None = self.root
        for part in above.split(".") if above else ():
            owner = self._child(owner, part)  # type: ignore[arg-type]
        return Slot(owner, key)  # type: ignore[arg-type]

    def ancestors(self, name: str) -> Iterator[tuple[nn.Module, str]]:
        """The modules above `name`, nearest first, each with the rest of the name below it."""
        parts = name.split(".") if name else []
        chain = [self.root]
        for part in parts[:-1]:
            child = self._child(chain[-1], part)
            if child is None:
                return
            chain.append(child)
        for depth in range(len(parts) - 1, -1, -1):
            yield chain[depth], ".".join(parts[depth:])

    def parameters(self) -> dict[str, nn.Parameter]:
        """All parameters by first name, each object once, as they will be."""
        return {name: p for name, p in self._tensors("_parameters") if isinstance(p, nn.Parameter)}

    def tensors(self) -> dict[str, Tensor]:
        """All parameters and buffers by first name, each object once, as they will be."""
        return {**dict(self._tensors("_parameters")), **dict(self._tensors("_buffers"))}

    def keys(self) -> dict[str, Tensor]:
        """The state dict's entries as they will be: every name, shared tensors under each of theirs."""
        found: dict[str, Tensor] = {}
        for module, spots in self.spots().items():
            entries = {**self.entries(module._parameters), **self.entries(module._buffers)}
            for key, tensor in entries.items():
                if tensor is not None and key not in module._non_persistent_buffers_set:
                    found.update({f"{name}.{key}" if name else key: tensor for name in spots.names})
        return found

    def _tensors(self, kind: str) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for module, spots in self.spots().items():
            for key, tensor in self.entries(getattr(module, kind)).items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield (f"{spots.names[0]}.{key}" if spots.names[0] else key), tensor


def every_module(model: nn.Module) -> set[nn.Module]:
    """All modules of a model, each once, in no order: `modules()` takes several times as long for it."""
    found, todo = {model}, [model]
    while todo:
        for child in todo.pop()._modules.values():
            if child is not None and child not in found:
                found.add(child)
                todo.append(child)
    return found


def refuse_no_model(model: Any) -> None:
    """Raise if something else was given for a model.

    Raises:
        SelectionError: if it is no nn.Module.
    """
    if not isinstance(model, nn.Module):
        raise SelectionError(f"the model must be an nn.Module, got {type(model).__name__}.", got=type(model))


def uncompiled(model: nn.Module) -> nn.Module:
    """The model itself, where `torch.compile` has put a wrapper around it that only forwards to it."""
    if type(model).__name__ != "OptimizedModule":
        return model
    inner: nn.Module = model._modules["_orig_mod"]  # type: ignore[assignment]
    return inner


# By name, since to import torch.distributed takes long.
_WRAPPERS = {"OptimizedModule": "_orig_mod", "DistributedDataParallel": "module", "DataParallel": "module"}


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, where `torch.compile`, DDP or DataParallel have put wrappers around it."""
    while (key := _WRAPPERS.get(type(model).__name__)) and (inner := model._modules.get(key)) is not None:
        model = inner
    return model


def _survey(draft: Draft) -> dict[nn.Module, Spots]:
    """Walk the tree, in the order of `named_modules(remove_duplicate=False)`, and gather each module's spots."""
    found: dict[nn.Module, Spots] = {draft.root: Spots(("",))}
    _visit(draft, draft.root, draft.children(draft.root), "", found, set())
    return found


# No function inside of the other one: by its own name it would hold the draft, and so all new tensors, until garbage is
# collected.
def _visit(
    draft: Draft,
    module: nn.Module,
    children: Children,
    prefix: str,
    found: dict[nn.Module, Spots],
    path: set[nn.Module],
) -> None:
    path.add(module)
    for key, child in children.items():
        if child is None:
            continue
        spots = found.get(child)
        if spots is None:
            found[child] = Spots((prefix + key,))
        else:
            spots.names += (prefix + key,)
        below = draft.children(child)
        # A module that contains itself would never end.
        if below and child not in path:
            _visit(draft, child, below, f"{prefix}{key}.", found, path)
    path.discard(module)
