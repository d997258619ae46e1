"""From a cut to the changes of the layers: tensors sliced, attributes and integers set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

import torch
from torch import Tensor, nn

from ..changes import Change, Follow, Kind, Refresh
from ..coupling.attention import Attention, as_attention, is_plain_attention
from ..coupling.running.attributes import shallow
from ..coupling.running.substituting import is_special, special_in_words
from ..edits import Prune, Recut, Widen
from ..errors import CouplingError
from ..layers.following import renew_lists, widths_told
from ..origins import Computed, Lengthened, Origin, Reader, Same, Sliced, blocks_of, copied
from ..progress import each
from ..selection import Place
from ..tree import Draft
from .means import by_becoming
from .scene import Scene

# The id of a config and what becomes of it → its copy.
_Configs: TypeAlias = "dict[tuple[int, tuple[tuple[str, Any], ...]], Any]"


class Cutting:
    """One cut of a draft.

    Args:
        draft: The model as the edits before this one leave it.
        edit: The cut.

    Raises:
        CouplingError: if a tensor can't be sliced.
    """

    def __init__(self, draft: Draft, edit: Recut) -> None:
        self.draft, self.edit = draft, edit
        self.verb: Kind = "prune" if isinstance(edit, Prune) else "widen"
        self._means = f"the layer becomes the {'narrower' if self.verb == 'prune' else 'wider'} one"
        self._asked = frozenset(edit.layers)
        self._values = _by_module(edit)
        self._configs: _Configs = {}
        self._names = _sliced(draft, edit, self.verb)
        self._pieces: dict[str, _Piece] = {}
        self._reader = Reader()

    def places(self) -> tuple[Place, ...]:
        """The layers that change, in the order of the model."""
        spots = self.draft.spots().items()
        return tuple(Place(module, tuple(at.names)) for module, at in spots if self._touches(module, at.names))

    def changes(self, scene: Scene) -> list[Change]:
        """What becomes of the layers of a scene.

        Raises:
            PlanError: if a layer can't be changed where it stands.
        """
        with torch.no_grad():
            return [self._change(scene, place) for place in each(scene.places, "cutting")]

    def _touches(self, module: nn.Module, names: Sequence[str]) -> bool:
        if self._has_sliced(module) or not self._values.keys().isdisjoint(names):
            return True
        return any(map(self._has_sliced, _inside(self.draft, module).values()))

    def _has_sliced(self, module: nn.Module) -> bool:
        is_other = self._names.keys().isdisjoint
        return not (is_other(map(id, module._parameters.values())) and is_other(map(id, module._buffers.values())))

    def _change(self, scene: Scene, place: Place) -> Change:
        old = place.module
        new = _copied(old)
        origins, refreshing = self._put_tensors(old, new)
        values = {key: value for name in place.names for key, value in self._values.get(name, {}).items()}
        if values:
            _set_all(new, values, self._configs)
        told = [*self._set_sizes(old, new), *_told(old, values)]
        placement = by_becoming(scene, place, new)
        return Change(
            "follow" if self._asked.isdisjoint(place.names) else self.verb,
            place.names,
            placement.old,
            new,
            placement.standing,
            (*refreshing, Follow((new,), placement.standing), *placement.steps),
            self._means,
            origins=origins,
            remarks=tuple(dict.fromkeys(told)),
        )

    # --- tensors

    def _put_tensors(self, old: nn.Module, new: nn.Module) -> tuple[dict[str, Origin], list[Refresh]]:
        """Put the new tensors into a layer that has the old ones; answers where its tensors come from."""
        origins: dict[str, Origin] = {}
        refreshing: list[Refresh] = []
        sources = _tensors(old)
        for key, tensor in sources.items():
            piece = self._piece(tensor)
            if piece is None:
                origins[key] = Same(key)
                continue
            slots: dict[str, Any] = new._parameters if key in new._parameters else new._buffers
            slots[key], origins[key] = piece.new, (origin := piece.origin_as(key))
            refreshing.append(Refresh(piece.new, origin, sources))
        return origins, refreshing

    def _piece(self, old: Tensor) -> _Piece | None:
        """A tensor with the entries that it will have, made once however many layers share it; None if it stays."""
        name = self._names.get(id(old))
        if name is not None and name not in self._pieces:
            origin = self._origin(name, tuple(old.shape))
            self._pieces[name] = _Piece(_in_place_of(old, origin.function(old)), origin)
        return None if name is None else self._pieces[name]

    def _origin(self, name: str, shape: tuple[int, ...]) -> Computed:
        edit, key = self.edit, name.rpartition(".")[2]
        if isinstance(edit, Widen) and name in edit.added:
            axis, number = edit.added[name]
            return Lengthened.of(key, axis, number, shape, edit.rows if len(shape) > 1 else None)
        if isinstance(edit, Widen):
            kept = {axis: blocks_of(entries)[0] for axis, entries in edit.kept[name].items()}
            return copied(key, kept, shape, edit.shares.get(name, {}), edit.noise, edit.seed + crc32(name.encode()))
        return Sliced.of(key, edit.kept[name], shape, self._reader)

    def _set_sizes(self, old: nn.Module, new: nn.Module) -> Iterator[str]:
        """Set the attributes of torch.nn's layers that tell the sizes of their tensors; answers what has changed."""
        found: dict[str, Tensor | None] = {**new._parameters, **new._buffers}
        for prefix, part in _inside(self.draft, old).items():
            pieces = ((key, tensor, self._piece(tensor)) for key, tensor in _tensors(part).items())
            found |= {f"{prefix}.{key}": tensor if piece is None else piece.new for key, tensor, piece in pieces}
        before, now = vars(old), vars(new)
        for key, value in widths_told(new, found).items():
            if now.get(key) != value:
                now[key] = value
            if before.get(key) != value:
                yield f"{key} {before.get(key)} → {value}"
        renew_lists(new)


class _Piece(NamedTuple):
    """What becomes of a tensor."""

    new: Tensor
    origin: Computed

    def origin_as(self, key: str) -> Computed:
        """Where it comes from, in a layer that has it by this key."""
        return self.origin if self.origin.sources == (key,) else replace(self.origin, sources=(key,))


def _in_place_of(old: Tensor, value: Tensor) -> Tensor:
    """A value as what the old tensor is, with what the user has set on that."""
    # No other class of parameters is sliced.
    new = nn.Parameter(value, old.requires_grad) if type(old) is nn.Parameter else value
    if own := vars(old):
        vars(new).update(own)
    # One list of hooks for both, so that handles go on.
    for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
        hooks = getattr(old, name)
        if hooks and new.requires_grad:
            setattr(new, name, hooks)
    return new


def _sliced(draft: Draft, edit: Recut, verb: str) -> dict[int, str]:
    """The id of each tensor that loses or gets entries → its name."""
    found: dict[int, str] = {}
    modules = {spots.names[0]: module for module, spots in draft.spots().items()}
    for name in edit.kept:
        above, _, key = name.rpartition(".")
        tensor = _tensor(modules[above], key) if above in modules else None
        if tensor is not None:
            _refuse_special(name, tensor, verb)
            found[id(tensor)] = name
    return found


def _refuse_special(name: str, tensor: Tensor, verb: str) -> None:
    if is_special(tensor):
        raise CouplingError(
            f"cannot {verb} {name}: entries of {special_in_words(tensor)} can't be taken out or copied.",
            name=name,
            got=type(tensor),
            way_out=f"{verb} before the model is quantized or made sparse",
        )


def _tensor(module: nn.Module, key: str) -> Tensor | None:
    parameter = module._parameters.get(key)
    return module._buffers.get(key) if parameter is None else parameter


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {k: t for k, t in (*module._parameters.items(), *module._buffers.items()) if t is not None}


def _copied(old: nn.Module) -> nn.Module:
    """An object of the same state: children, hooks and what else there is are the very same objects."""
    plain = is_plain_attention(old)
    new = object.__new__(Attention if plain else type(old))
    state = dict(vars(old))
    state["_parameters"], state["_buffers"] = dict(old._parameters), dict(old._buffers)
    object.__setattr__(new, "__dict__", as_attention(state) if plain else state)
    return new


# --- attributes


def _by_module(edit: Recut) -> dict[str, dict[str, Any]]:
    """Module → its attributes with their new values: integers, and caches, which begin empty."""
    found: dict[str, dict[str, Any]] = {}
    for (module, key), value in (*edit.attributes, *((place, None) for place in edit.caches)):
        found.setdefault(module, {})[key] = value
    return found


def _set_all(new: nn.Module, values: Mapping[str, Any], configs: _Configs) -> None:
    """Set attributes given as "groups", "kernel[1]" or "config.hidden_size".

    A config is copied, as other layers have it, too; those for which it changes alike have one copy.
    """
    state = vars(new)
    for first in dict.fromkeys(key.partition(".")[0] for key in values if "." in key):
        told = tuple((key, value) for key, value in values.items() if key.startswith(f"{first}."))
        known = configs.setdefault((id(state[first]), told), shallow(state[first]))
        state[first] = known
    for key, value in values.items():
        _set(state, key, value)


def _set(state: dict[str, Any], key: str, value: int | None) -> None:
    first, _, rest = key.partition(".")
    if rest:
        return _set(vars(state[first]), rest, value)
    name, _, index = key.partition("[")
    if not index:
        state[name] = type(state[name])() if value is None else value
        return None
    items = list(state[name])
    items[int(index.rstrip("]"))] = value
    state[name] = type(state[name])(items)
    return None


def _told(old: nn.Module, values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        yield f"{key} emptied" if value is None else f"{key} {_get(vars(old), key)} → {value}"


def _get(state: Mapping[str, Any], key: str) -> Any:
    first, _, rest = key.partition(".")
    if rest:
        return _get(vars(state[first]), rest)
    name, _, index = key.partition("[")
    return state[name][int(index.rstrip("]"))] if index else state[name]


def _inside(draft: Draft, module: nn.Module) -> dict[str, nn.Module]:
    """What lies in a layer whose tensors are its own: parametrizations, the projection that an attention reads.

    As they will be: an earlier edit of the plan may have cut them, too.
    """
    if not module._modules:
        return {}
    inner = draft.children(module)
    found: dict[str, nn.Module] = {}
    if (parts := inner.get("parametrizations")) is not None:
        found.update(_all_of(draft, "parametrizations", parts))
    if "in_proj_weight" in module._parameters and (projection := inner.get("out_proj")) is not None:
        found["out_proj"] = projection
    return found


def _all_of(draft: Draft, name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    yield name, module
    for key, child in draft.children(module).items():
        if child is not None:
            yield from _all_of(draft, f"{name}.{key}", child)
