"""From a cut to the changes of the layers: tensors sliced, attributes and integers set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from zlib import crc32

from torch import Tensor, nn

from ..changes import Change, Follow, Kind, Refresh, Step
from ..coupling.attention import Attention, as_attention, is_plain_attention
from ..coupling.constraints.integers import shallow
from ..coupling.running.substituting import is_special, special_in_words
from ..edits import Prune, Recut, Widen
from ..errors import CouplingError
from ..layers.following import renew_lists, widths_told
from ..origins import Computed, Lengthened, Origin, Same, Sliced, blocks_of, copied, evaluate
from ..progress import each
from ..selection import Place
from ..tree import Draft
from .means import by_becoming, shell
from .scene import Scene

# The id of a config and what becomes of it → its copy.
_Configs: TypeAlias = "dict[tuple[int, tuple[tuple[str, Any], ...]], Any]"


def places_of(draft: Draft, edit: Recut) -> tuple[Place, ...]:
    """The layers that a cut changes, in the order of the model."""
    slices, attributes = _sliced(draft, edit), _by_module(edit)
    return tuple(
        Place(module, tuple(spots.names))
        for module, spots in draft.spots().items()
        if _is_touched(draft, module, spots.names, slices, attributes)
    )


def cut_all(scene: Scene, edit: Recut) -> list[Change]:
    """The changes that make a cut at every place of the scene.

    Raises:
        CouplingError: if a tensor can't be sliced.
        PlanError: if a layer can't be changed where it stands.
    """
    slices, attributes = _sliced(scene.draft, edit), _by_module(edit)
    configs: _Configs = {}
    verb: Kind = "prune" if isinstance(edit, Prune) else "widen"
    kinds = dict.fromkeys(edit.layers, verb)
    return [_change(scene, place, slices, attributes, configs, verb, kinds) for place in each(scene.places, "cutting")]


class _Slice:
    """A tensor with the entries that it will have; made once, however many layers share it."""

    def __init__(self, name: str, old: Tensor, edit: Recut) -> None:
        self.name, self.old, self.edit = name, old, edit
        self._new: Tensor | None = None
        self._origins: dict[str, Computed] = {}

    def origin(self, key: str) -> Computed:
        """Where it comes from, in a layer that has it by this key."""
        if key not in self._origins:
            self._origins[key] = self._origin(key)
        return self._origins[key]

    def _origin(self, key: str) -> Computed:
        edit, shape = self.edit, tuple(self.old.shape)
        if isinstance(edit, Widen) and self.name in edit.added:
            axis, number = edit.added[self.name]
            return Lengthened.of(key, axis, number, shape, edit.rows if self.old.dim() > 1 else None)
        if isinstance(edit, Widen):
            shares = edit.shares.get(self.name, {})
            kept = {axis: blocks_of(entries)[0] for axis, entries in edit.kept[self.name].items()}
            return copied(key, kept, shape, shares, edit.noise, edit.seed + crc32(self.name.encode()))
        return Sliced.of(key, edit.kept[self.name], shape)

    @property
    def new(self) -> Tensor:
        if self._new is None:
            key = self.name.rpartition(".")[2]
            value = evaluate(self.origin(key), {key: self.old})
            self._new = nn.Parameter(value, self.old.requires_grad) if isinstance(self.old, nn.Parameter) else value
            vars(self._new).update(vars(self.old))
            _share_hooks(self.old, self._new)
        return self._new


def _share_hooks(old: Tensor, new: Tensor) -> None:
    """Have a parameter call what is called with the old one's gradients: one list for both, so that handles go on."""
    for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
        hooks = getattr(old, name)
        if hooks and new.requires_grad:
            setattr(new, name, hooks)


def _sliced(draft: Draft, edit: Recut) -> dict[int, _Slice]:
    """The id of each tensor that loses or gets entries → what becomes of it."""
    found: dict[int, _Slice] = {}
    seen: set[int] = set()
    for module, spots in draft.spots().items():
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None or id(tensor) in seen:
                continue
            seen.add(id(tensor))
            name = f"{spots.names[0]}.{key}" if spots.names[0] else key
            if name in edit.kept:
                _refuse_special(name, tensor, edit)
                found[id(tensor)] = _Slice(name, tensor, edit)
    return found


def _refuse_special(name: str, tensor: Tensor, edit: Recut) -> None:
    if is_special(tensor):
        verb = "prune" if isinstance(edit, Prune) else "widen"
        raise CouplingError(
            f"cannot {verb} {name}: entries of {special_in_words(tensor)} can't be taken out or copied.",
            name=name,
            got=type(tensor),
            way_out=f"{verb} before the model is quantized or made sparse",
        )


def _by_module(edit: Recut) -> dict[str, dict[str, Any]]:
    """Module → its attributes with their new values: integers, and caches, which begin empty."""
    found: dict[str, dict[str, Any]] = {}
    for (module, key), value in (*edit.attributes, *((place, None) for place in edit.caches)):
        found.setdefault(module, {})[key] = value
    return found


def _is_touched(
    draft: Draft,
    module: nn.Module,
    names: Sequence[str],
    slices: Mapping[int, _Slice],
    attributes: Mapping[str, Mapping[str, Any]],
) -> bool:
    if any(name in attributes for name in names):
        return True
    return any(id(t) in slices for _, part in _parts(draft, module) for t in _tensors(part).values())


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {k: t for k, t in (*module._parameters.items(), *module._buffers.items()) if t is not None}


def _change(
    scene: Scene,
    place: Place,
    slices: Mapping[int, _Slice],
    attributes: Mapping[str, Mapping[str, Any]],
    configs: _Configs,
    verb: Kind,
    kinds: Mapping[str, Kind],
) -> Change:
    old = place.module
    new = _copied(old)
    origins = dict(_put_tensors(old, new, slices))
    for name in place.names:
        _set_all(new, attributes.get(name, {}), configs)
    told = [f"{key} {before} → {after}" for key, before, after in _set_sizes(scene.draft, old, new, slices)]
    told += _told_integers(place, old, attributes)
    placement = by_becoming(scene, place, new)
    steps: list[Step] = [*_refreshing(old, new, origins), Follow((new,), placement.standing), *placement.steps]
    return Change(
        next((kinds[name] for name in place.names if name in kinds), "follow"),
        place.names,
        shell(old),
        new,
        placement.standing,
        tuple(steps),
        f"the layer becomes the {'narrower' if verb == 'prune' else 'wider'} one",
        origins=origins,
        remarks=tuple(dict.fromkeys(told)),
    )


def _copied(old: nn.Module) -> nn.Module:
    """An object of the same state: children, hooks and what else there is are the very same objects."""
    plain = is_plain_attention(old)
    new = object.__new__(Attention if plain else type(old))
    state = dict(vars(old))
    state["_parameters"], state["_buffers"] = dict(old._parameters), dict(old._buffers)
    object.__setattr__(new, "__dict__", as_attention(state) if plain else state)
    return new


def _put_tensors(old: nn.Module, new: nn.Module, slices: Mapping[int, _Slice]) -> Iterator[tuple[str, Origin]]:
    for slots in (new._parameters, new._buffers):
        for key, tensor in list(slots.items()):
            if tensor is None:
                continue
            piece = slices.get(id(tensor))
            if piece is None:
                yield key, Same(key)
            else:
                slots[key] = piece.new  # type: ignore[assignment]
                yield key, piece.origin(key)


def _refreshing(old: nn.Module, new: nn.Module, origins: Mapping[str, Origin]) -> Iterator[Step]:
    sources, tensors = _tensors(old), _tensors(new)
    for key, origin in origins.items():
        if isinstance(origin, Computed):
            yield Refresh(tensors[key], origin, sources)


# --- attributes


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


def _set_sizes(
    draft: Draft, old: nn.Module, new: nn.Module, slices: Mapping[int, _Slice]
) -> Iterator[tuple[str, Any, Any]]:
    """Attributes of torch.nn's layers that tell the sizes of their tensors."""
    widths = {
        f"{prefix}{key}": tuple(slices[id(t)].new.shape if id(t) in slices else t.shape)
        for prefix, part in _parts(draft, old)
        for key, t in _tensors(part).items()
    }
    for key, value in widths_told(new, widths).items():
        before = vars(new).get(key)
        if before != value:
            vars(new)[key] = value
        if vars(old).get(key) != value:
            yield key, vars(old).get(key), value
    renew_lists(new)


def _parts(draft: Draft, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A layer, and what lies in it whose tensors are its own: parametrizations, the projection that an attention reads.

    As they will be: an earlier edit of the plan may have cut them, too.
    """
    yield "", module
    if module._modules:
        inner = draft.children(module)
        if (found := inner.get("parametrizations")) is not None:
            yield from _all_of(draft, "parametrizations", found)
        if "in_proj_weight" in module._parameters and (found := inner.get("out_proj")) is not None:
            yield "out_proj.", found


def _all_of(draft: Draft, name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    yield f"{name}.", module
    for key, child in draft.children(module).items():
        if child is not None:
            yield from _all_of(draft, f"{name}.{key}", child)


def _told_integers(place: Place, old: nn.Module, attributes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = {key: value for name in place.names for key, value in attributes.get(name, {}).items()}
    told = {key: "emptied" if value is None else f"{_get(vars(old), key)} → {value}" for key, value in found.items()}
    return [f"{key} {what}" for key, what in told.items()]


def _get(state: Mapping[str, Any], key: str) -> Any:
    first, _, rest = key.partition(".")
    if rest:
        return _get(vars(state[first]), rest)
    name, _, index = key.partition("[")
    return state[name][int(index.rstrip("]"))] if index else state[name]
