"""The verbs that put layers somewhere or take them away; none of them runs the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from ..edits import CallsToLayers, Insert, New, Remove, Replace, Wrap
from ..errors import PlanError
from ..selection import Target
from .applying import Applying

if TYPE_CHECKING:
    from typing_extensions import Self


class LayerVerbs(Applying):
    """Replace, insert, remove, wrap; and layers for function calls."""

    def replace(
        self, target: Target, new: New, /, *, share: bool = False, carry: bool | None = None, **arguments: Any
    ) -> Self:
        """Put another layer in the place of each that `target` selects.

        Args:
            target: See `select`. Of nested matches the outermost is replaced.
            new: A class, configured from the old layer with its weights carried (see `like`); an instance, taken as it
                is for the first place and copied for further ones; or a factory, `old -> layer` or
                `(old, name) -> layer`.
            share: Put the one instance into all places instead of copies.
            carry: Whether a factory's or an instance's tensors give way to the old layer's of the same name and shape.
                By default those of a factory do unless it has read the old layer's tensors itself; an instance's don't.
            **arguments: For the constructor or the factory: values, or for a class functions of the old layer.

        Returns:
            This plan with the edit appended. No model is touched.

        Raises:
            SelectionError: if nothing is selected.
            PlanError: if the layer can't be replaced where it stands. ConfigError, if it can't be configured.

        Example:
            >>> net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16))
            >>> ts.plan(net).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=4).changes[0].new.num_groups
            4
        """
        return self.then(Replace(target, new, arguments, share, carry))

    def insert(
        self,
        new: New,
        /,
        *,
        after: Target | None = None,
        before: Target | None = None,
        share: bool = False,
        **arguments: Any,
    ) -> Self:
        """Put a layer after, or before, each that the target selects; no other layer's name changes.

        Args:
            new: An instance (copied for further places), a class with its arguments, or a factory of the layer there.
            after: Target; the new layer works on its answer, on the first tensor where it answers several.
            before: Target; the new layer works on its first argument.
            share: Put the one instance into all places instead of copies.
            **arguments: For the class or the factory; a width that isn't given is the stream's there.

        Raises:
            SelectionError: if nothing is selected.
            PlanError: if neither or both of `after` and `before` are given, or the layer is never called.

        Example:
            >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
            >>> ts.plan(net).insert(nn.Dropout(0.1), after=nn.ReLU)
            Plan: 1 edit, 0 follow-ups · 1 of 3 modules · params 40 → 40
        """
        if (after is None) is (before is None):
            raise PlanError(
                "insert needs one of after= and before=.",
                way_out="for example  ts.insert(model, nn.Dropout(0.1), after=nn.ReLU)",
            )
        if after is not None:
            return self.then(Insert(after, new, "after", arguments, share))
        return self.then(Insert(before, new, "before", arguments, share))  # type: ignore[arg-type]

    def remove(self, target: Target, /) -> Self:
        """Take out each layer that `target` selects: what it was given goes on to the next.

        An `nn.Identity` keeps the place, so that no other layer's name changes.

        Raises:
            SelectionError: if nothing is selected.
            PlanError: if the model itself is selected.

        Example:
            >>> ts.plan(nn.Sequential(nn.Linear(4, 8), nn.Dropout())).remove(nn.Dropout)
            Plan: 1 edit, 0 follow-ups · 1 of 3 modules · params 40 → 40
        """
        return self.then(Remove(target))

    def wrap(self, target: Target, wrapper: Any, /, **arguments: Any) -> Self:
        """Put `wrapper(layer, **arguments)` in the place of each layer that `target` selects.

        Args:
            target: See `select`. Nested matches are each wrapped.
            wrapper: A class or function that takes the old layer and keeps it as a submodule.
            **arguments: Further arguments of the wrapper.

        Raises:
            SelectionError: if nothing is selected.
            PlanError: if the wrapper doesn't hold the old layer as a submodule.

        Example:
            >>> class Scaled(nn.Module):
            ...     def __init__(self, inner):
            ...         super().__init__()
            ...         self.inner, self.scale = inner, nn.Parameter(torch.ones(()))
            ...     def forward(self, x):
            ...         return self.scale * self.inner(x)
            >>> ts.plan(nn.Sequential(nn.Linear(4, 8))).wrap(nn.Linear, Scaled)
            Plan: 1 edit, 0 follow-ups · 1 of 2 modules · params 40 → 41
        """
        if isinstance(wrapper, nn.Module) or not callable(wrapper):
            raise PlanError(
                f"a wrapper takes the old layer and answers the new one, got {type(wrapper).__name__}.",
                got=wrapper,
                way_out="give its class:  ts.wrap(model, nn.Linear, Wrapper)",
            )
        return self.then(Wrap(target, wrapper, arguments))

    def calls_to_layers(self, target: Target, /) -> Self:
        """Make layers of function calls in the forwards: `F.relu(x)` becomes `self.relu(x)`, where that is an nn.ReLU.

        The other verbs do this first where their target is a function. The module whose forward makes the call takes a
        class generated from its own, whose forward is the same but for these calls; no state-dict key is added. The
        layer gets the call's arguments: what is written there, and the attributes of self as they are now.

        Args:
            target: A function, or a selection of calls: `ts.select(model, F.dropout, where=…)`.

        Returns:
            This plan with the edit appended. No model is touched.

        Raises:
            SelectionError: if the function isn't called.
            PlanError: if a call can't be a layer, saying why: an argument that is worked out while it runs, a dropout
                that doesn't follow self.training, a forward without source or set on the instance.

        Example:
            >>> import torchvision, torch.nn.functional as F
            >>> net = torchvision.models.densenet121()
            >>> ts.plan(net).calls_to_layers(F.relu).changes[0].new
            ReLU(inplace=True)
        """
        return self.then(CallsToLayers(target))
