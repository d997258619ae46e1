"""Edits on a draft of a model, and the changes that they come to. Making a plan touches no model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import nn

from . import history, importance, text
from .calls.places import functions_in, with_calls
from .changes import Change, Planned, Step
from .collecting import collection_paused
from .edits import CallsToLayers, Edit, Fold, Insert, New, Prune, Remove, Replace, Resize, Wrap
from .ends import (
    Fill,
    confirm_inputs,
    confirm_outputs,
    flows_of,
    inputs_resized,
    outputs_resized,
    refuse_no_number,
)
from .errors import PlanError, SelectionError
from .folding import foldable, is_leaf
from .importance import Importance
from .inputs import followed
from .layers.building import tensors_of
from .layers.functional import Function
from .origins import Initialised
from .planning.compiling import compile_edit
from .planning.exposing import calls_first
from .planning.widths import changes_width
from .pruning import Asked, prepare, refuse_senseless
from .randomness import random_state_kept
from .selection import Selection, Target, resolve
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

    def calls_to_layers(self, target: Target, /) -> Plan:
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
        return self._then(CallsToLayers(target))

    def fold(self, example_inputs: Any = None) -> Plan:
        """Let convolutions and linear layers do what the batch norms beside them do in eval; these go.

        Which layer is beside which is seen in a run of the model. A norm is folded into the layer before it where that
        feeds nothing else, else into the layer after it where that takes nothing else and pads no zeros; both must be
        called once and share nothing. Others stay, and the plan says why. What is left of a norm is an `nn.Identity`,
        so that no other layer's name changes.

        Args:
            example_inputs: What the model is called with; by default the plan's, else what the model seems to take.

        Returns:
            This plan with the edit appended. No model is touched.

        Raises:
            PlanError: if no norm can be folded.
            TraceError: if the model can't be run on these inputs.

        Example:
            >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8))
            >>> plan = ts.plan(net).fold(torch.randn(1, 3, 8, 8))
            >>> plan
            Plan: 1 edit, 0 follow-ups · 2 of 5 modules · params 248 → 240
            >>> plan.planned[0].left
            {'3': 'after ReLU, before the output'}
        """
        given = self.example_inputs if example_inputs is None else example_inputs
        with self._in_force() as model:
            edit = foldable(followed(model, given, is_leaf=is_leaf), dict(model.named_modules()), type(model).__name__)
        return self._then(edit)

    def set_inputs(self, channels: int, *, fill: Fill = "zeros", example_inputs: Any = None) -> Plan:
        """Have the model take another number of channels, of features for a model that begins with a linear layer.

        The first layers are those that a run of the model shows to be fed by its input; norms and depthwise
        convolutions in between follow. Columns of the old channels stay; for one channel all are summed.

        Args:
            channels: How many the model is to take.
            fill: What the columns of further channels begin as: "zeros", or "repeat" for the old ones in turn, scaled.
            example_inputs: What the model is called with now; by default the plan's, else what it seems to take.

        Returns:
            This plan with the edit appended. No model is touched.

        Raises:
            PlanError: if the input can't be followed to its first layers, or is one of several.
            TraceError: if the model can't be run on these inputs.

        Example:
            >>> ts.plan(model).set_inputs(4).changes[0].new.in_channels
            4
        """
        if fill not in ("zeros", "repeat"):
            raise PlanError(f"fill is 'zeros' or 'repeat', got {fill!r}.", expected=("zeros", "repeat"), got=fill)
        refuse_no_number(channels, "channels", "ts.set_inputs(model, channels=4)")
        given = self.example_inputs if example_inputs is None else example_inputs
        with self._in_force() as model:
            edit, example = inputs_resized(model, followed(model, given), channels, fill, given)
        plan = self._then(edit)
        with plan._in_force() as model:
            confirm_inputs(model, example, edit)
        return plan

    def set_outputs(self, number: int, *, keep: Sequence[int | None] | None = None, example_inputs: Any = None) -> Plan:
        """Have the model tell another number of classes.

        The last layers are those that a run of the model shows to give its output; all heads that tell the same classes
        change, with the norms behind them and the attributes that tell the number. Rows of new classes are initialised.

        Args:
            number: How many classes the model is to tell.
            keep: Old classes that go on, in the places that they have here: `[3, 5]` makes class 3 the first one and 5
                the second. None is a new class. Those beyond are new.
            example_inputs: What the model is called with; by default the plan's, else what it seems to take.

        Returns:
            This plan with the edit appended. No model is touched.

        Raises:
            PlanError: if it isn't clear which layers tell the classes; the candidates are named.
            TraceError: if the model can't be run on these inputs.

        Example:
            >>> ts.plan(model).set_outputs(10, keep=[207, 208])
            Plan: 1 edit, 0 follow-ups · 1 of 68 modules · params 11,689,512 → 11,181,642
        """
        refuse_no_number(number, "the number of classes", "ts.set_outputs(model, 10)")
        given = self.example_inputs if example_inputs is None else example_inputs
        with self._in_force() as model:
            edit = outputs_resized(model, flows_of(model, given), number, keep)
        plan = self._then(edit)
        with plan._in_force() as model:
            confirm_outputs(model, given, edit)
        return plan

    def prune(
        self,
        target: Target | None = None,
        amount: int | float | None = None,
        *,
        channels: Sequence[int] | None = None,
        example_inputs: Any = None,
        by: Importance = importance.l2,
        ignore: Target | None = None,
        round_to: int = 1,
        ranked: bool = False,
        params: int | float | None = None,
        macs: int | float | None = None,
        outputs: Callable[[Any], Any] | None = None,
    ) -> Plan:
        """Remove output channels from every layer that `target` selects, and from all that is coupled to them.

        The altered model is traced before this answers: what can't be shown to be the old one with entries left out is
        refused.

        Args:
            target: What to prune; see `select`. A coupled layer takes its whole group along; the plan lists it. Without
                one every group is pruned. Of attention, whole heads go where there are enough of them.
            amount: Output channels to remove: a number when int, a share in (0, 1) when float, as in
                torch.nn.utils.prune.
            channels: The very channels to remove, of one layer.
            example_inputs: What the model is called with; by default the plan's.
            by: Scores the channels of a group, the lowest go first; see `ts.importance`.
            ignore: Layers whose output channels stay.
            round_to: What is left of a group is a multiple of this, as hardware likes it.
            ranked: Let all groups compete for `amount`, which is a share then, instead of taking it of each.
            params: Prune until at most so many parameters are left: a number when int, a share when float.
            macs: Prune until at most so many multiplications are left.
            outputs: What of the model's answer must keep its shape; see `trace`.

        Returns:
            This plan with the edit appended. No model is touched.

        Raises:
            SelectionError: if nothing is selected.
            CouplingError: if the channels can't go: they are the model's output, or tied to something to be kept.
            TraceError: if the model fails on these inputs.

        Example:
            >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
            >>> ts.plan(net, example_inputs=torch.randn(1, 3, 8, 8)).prune("0", 0.25)
            Plan: 1 edit, 2 follow-ups · 1 of 5 modules · params 532 → 400

        Source: Fang et al., DepGraph, CVPR 2023, section 3.2, for pruning by groups.
        """
        asked = Asked(target, amount, channels, by, ignore, round_to, ranked, params, macs, outputs)
        given = self.example_inputs if example_inputs is None else example_inputs
        refuse_senseless(asked, given)
        with self._in_force() as model:
            proof, edit = prepare(model, asked, given)
        plan = self._then(edit)
        with plan._in_force() as model:
            proof.check(model)
        return plan

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
            before = _parameters(model) if self._keeps_states else Draft(model).parameters()
            after = before if self._keeps_states else self.draft.parameters()
            further += carry_optimizers(optimizer, changes, before, after)
        if ema is not None:
            further += [step for change in _alike(self, ema).changes for step in change.steps]
        widths = not self._keeps_states and any(changes_width(change.old, change.new) for change in changes)
        sizes = None if self._keeps_states else (self.before, self.after)
        return perform(model, changes, further, sizes, widths, check)

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
        return size_of(every_module(self.draft.model))

    @cached_property
    def after(self) -> Size:
        """The model's size as it will be."""
        return self.before if self._keeps_states else size_of(self.draft.spots(), self.draft.entries)

    @cached_property
    def _keeps_states(self) -> bool:
        """Whether every layer goes on with the state that it has, and only its class is another."""
        return all(vars(change.old) is vars(change.new) for change in self.changes)

    def __repr__(self) -> str:
        return text.plan_line(self.draft.model, self.planned, self.before, self.after)

    def __str__(self) -> str:
        return text.plan_text(self.draft.model, self.planned, self.before, self.after)

    # --- making it

    def _then(self, edit: Edit) -> Plan:
        if isinstance(edit, Replace | Insert | Remove | Wrap):
            exposing, edit = calls_first(self.draft, edit)
            if exposing is not None:
                return self._then(exposing)._then(edit)
        draft = self.draft.copy()
        with random_state_kept(), collection_paused():
            planned = compile_edit(draft, edit, self._widths_changed())
        return Plan(self.model, (*self.planned, planned), self.example_inputs, draft)

    @contextmanager
    def _in_force(self) -> Iterator[nn.Module]:
        """The model as it will be, for a run; afterwards it is what it was."""
        done = self.apply() if self.planned else None
        try:
            yield self.draft.model
        finally:
            if done is not None:
                done.undo()

    def _widths_changed(self) -> bool:
        return history.widths_changed(self.draft.model) or any(changes_width(c.old, c.new) for c in self.changes)


def plan(model: nn.Module, example_inputs: Any = None) -> Plan:
    """An empty plan for `model`; its verbs make it longer.

    Args:
        model: Any module; it is not touched until the plan is applied.
        example_inputs: What the model is called with: a tensor, a tuple of positional or a dict of keyword arguments.

    Raises:
        SelectionError: if the model is no nn.Module.

    Example:
        >>> ts.plan(nn.Sequential(nn.ReLU())).replace(nn.ReLU, nn.GELU)
        Plan: 1 edit, 0 follow-ups · 1 of 2 modules · params 0 → 0
    """
    if not isinstance(model, nn.Module):
        raise SelectionError(f"the model must be an nn.Module, got {type(model).__name__}.", got=type(model))
    return Plan(model, example_inputs=example_inputs)


def _alike(original: Plan, averaged: nn.Module) -> Plan:
    """The same edits for an averaged copy of the model, begun with the same new weights."""
    target = getattr(averaged, "module", averaged)
    if not isinstance(target, nn.Module) or type(target) is not type(original.draft.model) or target is averaged:
        raise PlanError(
            f"ema= must be an average of this {type(original.draft.model).__name__}, got {type(averaged).__name__}.",
            got=averaged,
            way_out="give the AveragedModel that was made of it:  torch.optim.swa_utils.AveragedModel(model)",
        )
    twin = Plan(target)
    for planned in original.planned:
        names = {name for change in planned.changes if change.kind != "follow" for name in change.names}
        seen = with_calls(twin.draft, _functions(planned.edit))
        places = tuple(p for p in resolve(seen, ("**",), {}, None, False) if names.intersection(p.names))
        if missing := sorted(names.difference(*(p.names for p in places))):
            raise PlanError(
                f"ema= must be an average of this very model, and has no {', '.join(missing)}.",
                got=averaged,
                way_out="give the AveragedModel that was made of it:  torch.optim.swa_utils.AveragedModel(model)",
            )
        if isinstance(planned.edit, Fold | Prune | Resize):
            twin = twin._then(planned.edit)
            continue
        edit = replace(planned.edit, target=Selection(twin.draft.model, places))
        if isinstance(edit, Replace | Insert) and isinstance(edit.new, nn.Module):
            edit = replace(edit, new=copy.deepcopy(edit.new))
        twin = twin._then(edit)
    for change, other in zip(original.changes, twin.changes, strict=True):
        _begin_alike(change, other)
    return twin


def _functions(edit: Edit) -> Iterator[Function]:
    if isinstance(edit, CallsToLayers):
        yield from functions_in(edit.target)


def _begin_alike(change: Change, other: Change) -> None:
    """Give what was initialised in the copy's new layer the values that it has in the model's."""
    values = tensors_of(change.new)
    for name, tensor in tensors_of(other.new).items():
        if isinstance(other.origins.get(name), Initialised):
            tensor.data.copy_(values[name].data)


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """A model's Parameters, where their names are not asked for: to find those takes several times as long."""
    owners = (module._parameters.values() for module in every_module(model))
    return {str(id(p)): p for parameters in owners for p in parameters if p is not None}
