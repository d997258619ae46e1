"""Which norms a neighbour can take over, read off a run of the model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from .edits import Fold, Taking
from .errors import PlanError
from .flow import Flow, Node
from .layers.folding import (
    acts_itself,
    along_the_last,
    is_batch_norm,
    is_layer_norm,
    rank_of_output,
    why_no_affine,
    why_no_norm_before,
    why_no_taker,
)

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_leaf(module: nn.Module) -> bool:
    """What is one layer where norms are looked for: a norm with an activation inside, a parametrized layer, too."""
    return module._modules.keys() <= {"parametrizations"} or is_batch_norm(module)


def foldable(flow: Flow, modules: Mapping[str, nn.Module], kind: str, layer_norms: bool = False) -> Fold:
    """The edit that folds every norm which can be folded exactly, and says of the others why they stay.

    Args:
        flow: A run of the model in eval, with `is_leaf`.
        modules: The model's modules by their first names.
        kind: The model's class, for messages.
        layer_norms: Whether scale and shift of layer norms and RMS norms are meant, rather than batch norms.

    Raises:
        PlanError: if there is no norm, or none that can be folded.
    """
    takings: dict[str, Taking] = {}
    left: dict[str, str] = {}
    wanted, neighbours = (is_layer_norm, _linears_behind) if layer_norms else (is_batch_norm, _neighbour)
    norms = {name: module for name, module in modules.items() if wanted(module)}
    for name, norm in norms.items():
        found = neighbours(flow, norm)
        if isinstance(found, str):
            left[name] = found
        else:
            takers, side = found
            for taker in takers:
                takings[taker.name] = takings.get(taker.name, Taking(taker.name))._replace(**{side: name})
    if not takings:
        raise _nothing(kind, left, "layer norm" if layer_norms else "batch norm")
    order = list(modules)
    return Fold(tuple(sorted(takings.values(), key=lambda taking: order.index(taking.layer))), left)


Found = tuple[tuple[Node, ...], str] | str


def _linears_behind(flow: Flow, norm: nn.Module) -> Found:
    """All calls that a layer norm feeds, if each is of a linear layer that can take its scale and shift over."""
    if (reason := _why_not_alone(flow, norm)) is not None:
        return reason
    call = flow.calls(norm)[0]
    takers = flow.consumers(call)
    for taker in takers:
        reason = _why_no_layer(flow, taker)
        if reason is None and not along_the_last(taker.module or norm):
            reason = f"{_word(taker)} whose channels lie on another axis"
        if reason is None and [flow.giver(node) for node in taker.inputs] != [call]:
            reason = f"{_word(taker)} that reads others, too"
        if reason is not None:
            return f"before {reason}"
    return (takers, "before") if takers else "before nothing"


def _neighbour(flow: Flow, norm: nn.Module) -> Found:
    """The call of the layer that can take a norm over, and on which side of it the norm is; or why there is none."""
    if (reason := _why_not_alone(flow, norm)) is not None:
        return reason
    call = flow.calls(norm)[0]
    giver, takers = flow.giver(call.inputs[0]), flow.consumers(call)
    no_giver = _why_not_into(flow, giver, call)
    if no_giver is None:
        return (giver,), "after"
    no_taker = _why_not_onto(flow, norm, call, takers)
    if no_taker is None:
        return takers[:1], "before"
    return f"after {no_giver}, before {no_taker}"


def _why_not_alone(flow: Flow, norm: nn.Module) -> str | None:
    """What forbids to fold a norm whatever is beside it."""
    calls = flow.calls(norm)
    if len(calls) != 1:
        return f"called {len(calls)} times" if calls else "not called"
    if (reason := why_no_affine(norm)) is not None:
        return reason
    if _has_hooks(norm):
        return "has hooks"
    return "read elsewhere, too" if _is_read_elsewhere(flow, norm, calls[0]) else None


def _why_not_into(flow: Flow, giver: Node, call: Node) -> str | None:
    """What keeps a norm from being folded into the layer that it is fed by; begins with that layer."""
    if (reason := _why_no_layer(flow, giver)) is not None:
        return reason
    if flow.consumers(giver) != (call,):
        return f"{_word(giver)} that others read, too"
    return _why_other_axis(giver, giver.shapes)


def _why_not_onto(flow: Flow, norm: nn.Module, call: Node, takers: tuple[Node, ...]) -> str | None:
    """What keeps a norm from being folded into the layer that it feeds."""
    if acts_itself(norm):
        return "its own activation"
    if len(takers) != 1:
        return f"{_word(takers[0])} and others" if takers else "nothing"
    taker = takers[0]
    if (reason := _why_no_layer(flow, taker)) is not None:
        return reason
    if [flow.giver(node) for node in taker.inputs] != [call]:
        return f"{_word(taker)} that reads others, too"
    assert taker.module is not None
    if (why := why_no_norm_before(taker.module)) is not None:
        return f"{_word(taker)} that {why}"
    return _why_other_axis(taker, call.shapes)


def _why_no_layer(flow: Flow, node: Node) -> str | None:
    """What keeps a node from taking over any norm."""
    layer = node.module
    if layer is None or (reason := why_no_taker(layer)) == "is neither a convolution nor linear":
        return _word(node)
    if reason is None and len(flow.calls(layer)) != 1:
        reason = f"is called {len(flow.calls(layer))} times"
    if reason is None and _has_hooks(layer):
        reason = "has hooks"
    if reason is None and _is_read_elsewhere(flow, layer, node):
        reason = "shares its tensors"
    return None if reason is None else f"{_word(node)} that {reason}"


def _why_other_axis(layer: Node, shapes: tuple[tuple[int, ...], ...]) -> str | None:
    """A norm works on axis 1, a linear layer on the last one."""
    assert layer.module is not None
    if [len(shape) for shape in shapes] == [rank_of_output(layer.module)]:
        return None
    return f"{_word(layer)} whose channels lie on another axis"


def _has_hooks(module: nn.Module) -> bool:
    return any(vars(module).get(name) for name in _HOOKS)


def _is_read_elsewhere(flow: Flow, layer: nn.Module, call: Node) -> bool:
    """Whether a tensor of the layer is used otherwise than in its one call."""
    tensors = (*layer._parameters.values(), *layer._buffers.values())
    return any(
        node is not call for tensor in tensors if tensor is not None for node in flow.readers.get(id(tensor), ())
    )


def _word(node: Node) -> str:
    if node.module is not None:
        return type(node.module).__name__
    return {"input": "the input", "output": "the output"}.get(node.kind, node.name or "a constant")


def _nothing(kind: str, left: Mapping[str, str], sought: str) -> PlanError:
    if not left:
        return PlanError(f"{kind} has no {sought} to fold.", expected=f"a {sought}", got=kind)
    rows = [f"{name}: {reason}" for name, reason in left.items()]
    rest = [f"… {len(rows) - 6} more"] if len(rows) > 6 else []
    return PlanError(
        f"none of the {len(left)} {sought}s of {kind} can be folded exactly.",
        *rows[:6],
        *rest,
        got=dict(left),
        way_out="what stands on its own can become another layer:  ts.replace(model, nn.BatchNorm2d, …)",
    )
