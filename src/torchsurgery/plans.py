"""Edits on a draft of a model, and the changes that they come to. Making a plan touches no model."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from . import history, text
from .changes import Assign, Change, Planned, Step
from .edits import Edit, Insert, New, Remove, Replace, Wrap
from .errors import PlanError, SelectionError
from .layers.fastpaths import Setting, never_called, reads_children, settings_for
from .origins import Initialised
from .planning.randomness import random_state_kept
from .planning.replacing import replace_all
from .planning.scene import Scene, tensors_of
from .planning.surrounding import surround_all
from .planning.widths import changes_width
from .selection import Place, Selection, Target, resolve
from .stats import Size, size_of
from .surgery import Surgery, perform
from .training import carry_optimizers
from .tree import Draft, every_module, uncompiled


@dataclass(frozen=True, eq=False)
class Plan:
    """What will be done to a model, in order, each with what it carries and how it is put in place.

    A plan is a value: its verbs answer a longer plan and leave this one as it is. Later edits see the model as the
    earlier ones will have left it. The model itself is only changed by `apply`.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> plan = ts.plan(net).replace(nn.ReLU, nn.SiLU).insert(nn.Dropout(0.1), after=nn.SiLU)
        >>> plan
        Plan: 2 edits, 0 follow-ups · 1 of 4 modules · params 58 → 58
        >>> net[1]
        ReLU()
    """

    model: nn.Module
    planned: tuple[Planned, ...] = ()
    example_inputs: Any = None
    draft: Draft = field(repr=False, default_factory=lambda: Draft(nn.Identity()))

    def __post_init__(self) -> None:
        if not self.planned:
            object.__setattr__(self, "draft", Draft(uncompiled(self.model)))

    # --- the verbs

    def replace(
        self, target: Target, new: New, /, *, share: bool = False, carry: bool | None = None, **arguments: Any
    ) -> Plan:
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
        return self._then(Replace(target, new, arguments, share, carry))

    def insert(
        self,
        new: New,
        /,
        *,
        after: Target | None = None,
        before: Target | None = None,
        share: bool = False,
        **arguments: Any,
    ) -> Plan:
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
            return self._then(Insert(after, new, "after", arguments, share))
        return self._then(Insert(before, new, "before", arguments, share))  # type: ignore[arg-type]

    def remove(self, target: Target, /) -> Plan:
        """Take out each layer that `target` selects: what it was given goes on to the next.

        An `nn.Identity` keeps the place, so that no other layer's name changes.

        Raises:
            SelectionError: if nothing is selected.
            PlanError: if the model itself is selected.

        Example:
            >>> ts.plan(nn.Sequential(nn.Linear(4, 8), nn.Dropout())).remove(nn.Dropout)
            Plan: 1 edit, 0 follow-ups · 1 of 3 modules · params 40 → 40
        """
        return self._then(Remove(target))

    def wrap(self, target: Target, wrapper: Any, /, **arguments: Any) -> Plan:
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
        return self._then(Wrap(target, wrapper, arguments))

    # --- what comes of it

    def apply(self, *, optimizer: Any = None, ema: Any = None, check: Any = None) -> Surgery:
        """Do it, all or nothing.

        Args:
            optimizer: One or several, whose Parameters and state are carried along.
            ema: A `torch.optim.swa_utils.AveragedModel` of this model, to be changed alike.
            check: Inputs for `ts.check`; when it fails, everything is taken back.

        Returns:
            The surgery that was done; `surgery.undo()` takes it back.

        Raises:
            PlanError: if the model is no longer what it was when the plan was made.
            VerificationError: if the check fails. Nothing has changed then.
        """
        model, changes = self.draft.model, self.changes
        further: list[Step] = []
        if optimizer is not None:
            further += carry_optimizers(optimizer, changes, Draft(model).parameters(), self.draft.parameters())
        if ema is not None:
            further += [step for change in _alike(self, ema).changes for step in change.steps]
        widths = any(changes_width(change.old, change.new) for change in changes)
        return perform(model, changes, further, (self.before, self.after), widths, check)

    @property
    def edits(self) -> tuple[Edit, ...]:
        """What was asked for, in order."""
        return tuple(planned.edit for planned in self.planned)

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes, in the order in which they are made."""
        return tuple(change for planned in self.planned for change in planned.changes)

    @cached_property
    def before(self) -> Size:
        """The model's size as it is."""
        return _size(every_module(self.draft.model))

    @cached_property
    def after(self) -> Size:
        """The model's size as it will be."""
        if all(vars(change.old) is vars(change.new) for change in self.changes):
            return self.before
        return _size(self.draft.spots())

    def __repr__(self) -> str:
        return text.plan_line(self.draft.model, self.planned, self.before, self.after)

    def __str__(self) -> str:
        return text.plan_text(self.draft.model, self.planned, self.before, self.after)

    # --- making it

    def _then(self, edit: Edit) -> Plan:
        draft = self.draft.copy()
        with random_state_kept():
            planned = _plan_edit(draft, edit, self._widths_changed())
        return Plan(self.model, (*self.planned, planned), self.example_inputs, draft)

    def _widths_changed(self) -> bool:
        return history.widths_changed(self.draft.model) or any(changes_width(c.old, c.new) for c in self.changes)


def plan(model: nn.Module, example_inputs: Any = None) -> Plan:
    """An empty plan for `model`; its verbs make it longer.

    Args:
        model: Any module; it is not touched until the plan is applied.
        example_inputs: What the model is called with: a tensor, a tuple of positional or a dict of keyword arguments.

    Raises:
        PlanError: if the model is TorchScript.

    Example:
        >>> ts.plan(nn.Sequential(nn.ReLU())).replace(nn.ReLU, nn.GELU)
        Plan: 1 edit, 0 follow-ups · 1 of 2 modules · params 0 → 0
    """
    if not isinstance(model, nn.Module):
        raise SelectionError(f"the model must be an nn.Module, got {type(model).__name__}.", got=type(model))
    return Plan(model, example_inputs=example_inputs)


def _plan_edit(draft: Draft, edit: Edit, widths_changed: bool) -> Planned:
    """The changes of one edit, laid into the draft."""
    places = resolve(draft, (edit.target,), {}, None, False)
    skipped: tuple[str, ...] = ()
    if isinstance(edit, Replace | Remove):
        places, skipped = _outermost(places)
    elif len(places) > 1 and "" in places[0].names:
        # What lies inside comes first, since the model's object becomes what is put around it.
        inside = _changes_at(draft, places[1:], edit, widths_changed)
        return Planned(edit, (*inside, *_changes_at(draft, places[:1], edit, widths_changed)))
    return Planned(edit, _changes_at(draft, places, edit, widths_changed), skipped)


def _changes_at(draft: Draft, places: tuple[Place, ...], edit: Edit, widths_changed: bool) -> tuple[Change, ...]:
    scene = Scene(draft, places, widths_changed)
    changes = replace_all(scene, edit) if isinstance(edit, Replace | Remove) else surround_all(scene, edit)
    follows: list[Change] = []
    if scene.has_kind(reads_children):
        follows = _follow_ups(draft, places, changes)
        changes = [_warned(draft, place, change) for place, change in zip(places, changes, strict=True)]
    _lay_in(draft, places, changes)
    return (*changes, *follows)


def _lay_in(draft: Draft, places: Iterable[Place], changes: Iterable[Change]) -> None:
    swaps = []
    for place, change in zip(places, changes, strict=True):
        if change.standing is not change.new:
            draft.become(place.module, change.new)
        swaps.append((draft.spots()[place.module], change.new))
    draft.put(swaps)


def _outermost(places: tuple[Place, ...]) -> tuple[tuple[Place, ...], tuple[str, ...]]:
    """Those that lie in no other one, and the names of the rest: a layer in a replaced one is no longer there."""
    names = {name for place in places for name in place.names}
    if "" in names:
        return tuple(p for p in places if "" in p.names), tuple(sorted(names - {""}))
    inside = {p.module for p in places if any(_below(name, names) for name in p.names)}
    return tuple(p for p in places if p.module not in inside), tuple(p.name for p in places if p.module in inside)


def _below(name: str, names: set[str]) -> bool:
    while "." in name:
        name = name.rpartition(".")[0]
        if name in names:
            return True
    return False


def _warned(draft: Draft, place: Place, change: Change) -> Change:
    reason = never_called(draft.ancestors(place.name))
    return replace(change, warnings=(*change.warnings, reason)) if reason else change


def _follow_ups(draft: Draft, places: Iterable[Place], changes: Iterable[Change]) -> list[Change]:
    """Attributes of the modules above that must change with a layer below them."""
    settings: dict[tuple[int, str], Setting] = {}
    for place, change in zip(places, changes, strict=True):
        for name in place.names:
            for setting in settings_for(draft.ancestors(name), change.new):
                settings.setdefault((id(setting.module), setting.attribute), setting)
    return [_follow_up(draft, setting) for setting in settings.values()]


def _follow_up(draft: Draft, setting: Setting) -> Change:
    module = setting.module
    spots = draft.spots().get(module)
    step = Assign(module.__dict__, {setting.attribute: setting.value})
    remark = f"{setting.attribute}={setting.value!r} ({setting.why})"
    names = tuple(spots.names) if spots else ("",)
    return Change(
        "follow", names, module, module, draft.standing(module), (step,), "an attribute is set", remarks=(remark,)
    )


def _alike(original: Plan, averaged: nn.Module) -> Plan:
    """The same edits for an averaged copy of the model, begun with the same new weights."""
    target = getattr(averaged, "module", averaged)
    twin = Plan(target)
    for planned in original.planned:
        names = {name for change in planned.changes if change.kind != "follow" for name in change.names}
        places = tuple(p for p in resolve(twin.draft, ("**",), {}, None, False) if names.intersection(p.names))
        if missing := sorted(names.difference(*(p.names for p in places))):
            raise PlanError(
                f"ema= must be an average of this very model, and has no {', '.join(missing)}.",
                got=averaged,
                way_out="give the AveragedModel that was made of it:  torch.optim.swa_utils.AveragedModel(model)",
            )
        edit = replace(planned.edit, target=Selection(twin.draft.model, places))
        if isinstance(edit, Replace | Insert) and isinstance(edit.new, nn.Module):
            edit = replace(edit, new=copy.deepcopy(edit.new))
        twin = twin._then(edit)
    for change, other in zip(original.changes, twin.changes, strict=True):
        _begin_alike(change, other)
    return twin


def _begin_alike(change: Change, other: Change) -> None:
    """Give what was initialised in the copy's new layer the values that it has in the model's."""
    values = tensors_of(change.new)
    for name, tensor in tensors_of(other.new).items():
        if isinstance(other.origins.get(name), Initialised):
            tensor.data.copy_(values[name].data)


def _size(modules: Iterable[nn.Module]) -> Size:
    parameters: list[Tensor | None] = []
    buffers: list[Tensor | None] = []
    for module in modules:
        parameters += module._parameters.values()
        buffers += module._buffers.values()
    return size_of((p for p in parameters if p is not None), (b for b in buffers if b is not None))
