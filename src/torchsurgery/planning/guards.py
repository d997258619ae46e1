"""What can't be done to a layer where it stands: refused by name, before anything is built."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate

from torch import fx, nn

from ..calls.reading import dropped
from ..calls.rewriting import original
from ..changes import Change
from ..composites import Inserted
from ..distributed import is_distributed, is_sharded, refuse_new_parameters
from ..edits import Edit, Insert, Replace, Wrap
from ..errors import PlanError
from ..selection import Place
from ..tree import uncompiled
from .scene import Scene

_UNIMPLEMENTED = nn.Module.forward


@lru_cache(maxsize=4096)
def is_graph_or_sharded(kind: type) -> bool:
    """Whether a class was generated for one very object."""
    return _is_graph(kind) or is_sharded(kind) or _is_scripted(kind)


def label(place: Place) -> str:
    """A layer's full name for the first line of an error."""
    return f"{place.name or 'the model'} ({type(place.module).__name__})"


def guard(scene: Scene, place: Place, edit: Edit) -> None:
    """Raise if `edit` can't be made at `place`, whatever the new layer is.

    Raises:
        PlanError: naming the layer, the reason and the way out.
    """
    refuse_scripted(scene, place)
    # A union would be made anew for each of thousands of layers.
    if isinstance(edit, (Insert, Wrap)):
        _is_called(place, edit)
    else:
        _no_forward_of_its_own(place)
        _not_with_what_was_inserted(place, edit)
        _not_a_unit(place, edit)
        _not_more_than_asked(place, edit)
    _called_by_graph(scene, place)


def looks_at_surroundings(scene: Scene) -> bool:
    """Whether there is something around the layers for which the guards look at each of them."""
    return scene.has_kind(_is_scripted) or scene.has_kind(_is_graph)


def refuse_scripted(scene: Scene, place: Place) -> None:
    """Raise if a layer, or a module above it, is TorchScript."""
    if not scene.has_kind(_is_scripted):
        return
    above = [ancestor for name in place.names for ancestor, _ in scene.draft.ancestors(name)]
    if any(_is_scripted(type(module)) for module in (place.module, *above)):
        raise PlanError(
            f"{label(place)} is TorchScript, which keeps its own compiled copy of the forward.",
            name=place.name,
            way_out="change the model before it is scripted:  ts.replace(model, …); torch.jit.script(model)",
        )


def _is_scripted(kind: type) -> bool:
    return any(base.__module__.startswith("torch.jit") for base in kind.__mro__)


def _is_graph(kind: type) -> bool:
    return issubclass(kind, fx.GraphModule)


def _is_called(place: Place, edit: Insert | Wrap) -> None:
    if type(place.module).forward is not _UNIMPLEMENTED or "forward" in vars(place.module):
        return
    verb = f"{'insert a layer ' + edit.where if isinstance(edit, Insert) else 'wrap'}"
    raise PlanError(
        f"cannot {verb} {label(place)}: it has no forward, the model calls the layers inside of it.",
        name=place.name,
        way_out=f"name the layers inside:  ts.select(model, {place.name + '.*'!r})",
    )


def _no_forward_of_its_own(place: Place) -> None:
    forward = vars(place.module).get("forward")
    if forward is None:
        return
    if (inside := uncompiled(place.module)) is not place.module:
        raise PlanError(
            f"cannot replace {label(place)}: it is what torch.compile has put around a {type(inside).__name__}.",
            name=place.name,
            got=place.module,
            way_out=f"name the layer inside:  ts.replace(model, {place.name + '._orig_mod'!r}, …)",
        )
    by_accelerate = "_hf_hook" in vars(place.module)
    raise PlanError(
        f"cannot replace {label(place)}: a forward was set on this very instance"
        + (" by accelerate's hooks, which" if by_accelerate else ", and it")
        + " would go on calling the old layer.",
        name=place.name,
        got=forward,
        way_out="take it off first:  accelerate.hooks.remove_hook_from_module(layer); del layer.forward"
        if by_accelerate
        else "take it off first:  del layer.forward",
    )


def _not_with_what_was_inserted(place: Place, edit: Edit) -> None:
    """By its name of before, a layer is asked for, and not what an insertion has put around it."""
    module = place.module
    if not isinstance(edit, Replace) or not isinstance(module, Inserted) or place.asked is not None:
        return
    beside = next(type(layer).__name__ for key, layer in module._modules.items() if key != "layer")
    raise PlanError(
        f"{label(place)} is what an insertion has left: replaced, the {beside} beside the layer would go, too.",
        name=place.name,
        got=module,
        way_out=f"name the layer inside:  '{place.name}.layer'  or all of it by its class:  "
        f"ts.select(model, ts.Inserted, {place.name!r})",
    )


def refuse_lost(place: Place, change: Change, ancestors: Iterable[tuple[nn.Module, str]]) -> None:
    """Raise where the model uses a layer for what it does in place, and what comes there would answer in vain.

    Raises:
        PlanError: naming the module that drops the answer.
    """
    parent, name = next(((m, n) for m, n in ancestors if type(m).forward is not _UNIMPLEMENTED), (None, ""))
    if parent is None or name.partition(".")[0] not in dropped(type(parent)):
        return
    if not getattr(place.module, "inplace", False) or change.kind == "remove" or _in_place(change.new):
        return
    raise PlanError(
        f"{label(place)} works in place, and {original(type(parent)).__name__}.forward drops what it answers.",
        f"what is put there, {type(change.new).__name__}, would do nothing, since it doesn't work in place",
        name=place.name,
        got=change.new,
        way_out="have that forward use the answer, as in  x = self.relu(x), or give a layer with inplace=True",
    )


def _in_place(layer: nn.Module) -> bool:
    """Whether all that is in a layer works in place, or does nothing."""
    parts = [part for part in layer.modules() if not part._modules]
    return all(getattr(part, "inplace", isinstance(part, nn.Identity)) for part in parts)


def _not_a_unit(place: Place, edit: Edit) -> None:
    """The class of an FSDP unit is made by `fully_shard`: no other class can be configured from it."""
    if isinstance(edit, Replace) and isinstance(edit.new, type) and is_sharded(type(place.module)):
        raise PlanError(
            f"cannot replace {label(place)} by a class: fully_shard was called on it, and on no layer of that class.",
            name=place.name,
            got=type(place.module),
            way_out="change the model before fully_shard(model), or give a new unit:  fully_shard(layer)",
        )


def _not_more_than_asked(place: Place, edit: Edit) -> None:
    """A subclass with a forward of its own does more than the class by which it was asked for."""
    asked, kind = place.asked, original(type(place.module))
    if asked is None or asked is kind or _forward(kind) is _forward(asked) or asked.forward is _UNIMPLEMENTED:
        return
    new = edit.new if isinstance(edit, Replace) else None
    if isinstance(new, type) and issubclass(new, kind):
        return
    raise PlanError(
        f"{label(place)} is a {asked.__name__} with a forward of its own, whose behaviour would be lost.",
        f"expected {asked.__name__}.forward, got {kind.__module__}.{kind.__qualname__}.forward",
        name=place.name,
        expected=asked,
        got=kind,
        way_out=f"leave it out with  ts.select(model, {asked.__name__}, exact=True)  or ask for it: "
        f" ts.replace(model, {kind.__name__}, …)",
    )


def _forward(kind: type[nn.Module]) -> object:
    """The forward of a class; the generated class of a parametrized or sharded layer has its base's."""
    return kind.forward


def _called_by_graph(scene: Scene, place: Place) -> None:
    """In an fx graph, a layer without a call_module node is read for its tensors only."""
    if not scene.has_kind(_is_graph):
        return
    for ancestor, below in scene.draft.ancestors(place.name):
        if isinstance(ancestor, fx.GraphModule):
            called, above = scene.once(_calls, ancestor)
            if below not in above and not called.intersection(accumulate(below.split("."), "{}.{}".format)):
                raise PlanError(
                    f"{label(place)} is never called: the graph of {type(ancestor).__name__} reads its tensors itself.",
                    name=place.name,
                    way_out="change the model before it is traced or exported",
                )
            return


def _calls(graph: fx.GraphModule) -> tuple[set[str], set[str]]:
    """The names of the modules that a graph calls, and of those that these lie in."""
    called = {str(node.target) for node in graph.graph.nodes if node.op == "call_module"}
    return called, {above for name in called for above in accumulate(name.split(".")[:-1], "{}.{}".format)}


def guard_sharded(scene: Scene, place: Place, new: nn.Module) -> None:
    """Raise if the set of Parameters would change under FSDP or DDP, which have recorded it."""
    if is_distributed():  # asked first, since there may be thousands of layers
        refuse_new_parameters(scene.draft, place.name, label(place), place.module, new)
