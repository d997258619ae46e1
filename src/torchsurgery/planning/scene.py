"""What one edit sees of the model: the draft, the places asked for, and what is answered about the surroundings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from functools import cached_property
from typing import Any, TypeVar

from torch import Tensor, nn

from ..origins import is_plain_float
from ..outside import Reference, references
from ..selection import Place
from ..tree import Draft

_T = TypeVar("_T")


class Scene:
    """A draft as one edit finds it. Answers are worked out once and kept for all layers of the edit."""

    def __init__(self, draft: Draft, places: tuple[Place, ...], widths_changed: bool) -> None:
        self.draft, self.places, self.widths_changed = draft, places, widths_changed
        self._nearest: dict[str, Tensor | None] = {}
        self._kinds_asked: dict[Callable[[type], bool], bool] = {}
        self._answers: dict[tuple[Any, ...], Any] = {}

    @cached_property
    def kinds(self) -> frozenset[type[nn.Module]]:
        """The classes of all modules that are there."""
        return frozenset(map(type, self.draft.spots()))

    def has_kind(self, fits: Callable[[type], bool]) -> bool:
        """Whether a module of a class that fits is there: where there is none, no layer's surroundings are searched."""
        if fits not in self._kinds_asked:
            self._kinds_asked[fits] = any(map(fits, self.kinds))
        return self._kinds_asked[fits]

    def once(self, question: Callable[..., _T], *about: Any) -> _T:
        """What `question` answers about things that stay the same for all layers of the edit, asked the first time."""
        key = (question, *map(id, about))
        if key not in self._answers:
            self._answers[key] = question(*about)
        answer: _T = self._answers[key]
        return answer

    @cached_property
    def held_outside(self) -> dict[nn.Module, list[Reference]]:
        """Where else than in `_modules` the layers of the edit are held: one search of the model for all of them."""
        named = ((spots.names[0], module) for module, spots in self.draft.spots().items())
        found: defaultdict[nn.Module, list[Reference]] = defaultdict(list)
        for reference in self.references(named, {self.draft.standing(place.module) for place in self.places}):
            found[reference.module].append(reference)
        return found

    def references(self, modules: Iterable[tuple[str, nn.Module]], wanted: set[nn.Module]) -> list[Reference]:
        """Where else than in `_modules` the wanted ones are held, as it will be after the edits before this one."""
        written: dict[Hashable, Reference] = self.draft.written
        found = [reference for reference in references(modules, wanted) if reference.spot not in written]
        return found + [reference for reference in written.values() if reference.module in wanted]

    @cached_property
    def present(self) -> frozenset[nn.Module]:
        """Every module that is in the model already, and the objects that stand for them."""
        there = self.draft.spots()
        return frozenset(there) | {self.draft.standing(module) for module in there}

    @cached_property
    def holders(self) -> dict[int, list[str]]:
        """The id of each Parameter → all the names under which the model has it."""
        found: defaultdict[int, list[str]] = defaultdict(list)
        for module, spots in self.draft.spots().items():
            for key, parameter in self.draft.entries(module._parameters).items():
                if parameter is not None:
                    found[id(parameter)] += [f"{name}.{key}" if name else key for name in spots.names]
        return found

    @cached_property
    def tensors(self) -> frozenset[int]:
        """The ids of all tensors that are in the model already."""
        return frozenset(
            id(tensor)
            for module in self.draft.spots()
            for tensor in (*module._parameters.values(), *module._buffers.values())
        )

    def reference(self, place: Place) -> Tensor | None:
        """A floating-point tensor whose dtype and device are right at `place`: the layer's own, or the nearest one."""
        own = floating_tensor(place.module)
        if own is not None:
            return own
        for ancestor, below in self.draft.ancestors(place.name):
            above = place.name.removesuffix(below)
            if above not in self._nearest:
                self._nearest[above] = floating_tensor(ancestor)
            if self._nearest[above] is not None:
                return self._nearest[above]
        return None


def floating_tensor(module: nn.Module) -> Tensor | None:
    """The first floating-point parameter or buffer of `module` and what lies in it."""
    for child in module.modules():
        for tensor in (*child._parameters.values(), *child._buffers.values()):
            if tensor is not None and is_plain_float(tensor):
                return tensor
    return None
