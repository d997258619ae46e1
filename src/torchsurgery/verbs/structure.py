"""The verbs that run the model to see what hangs together, in one line: plan one edit and apply it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from .. import importance
from ..ends import Fill
from ..importance import Importance
from ..plans import plan
from ..plans.applying import at_once
from ..selection import Target
from ..surgery import Surgery


def fold(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    layer_norms: bool = False,
    optimizer: Any = None,
    ema: Any = None,
    check: Any = None,
) -> Surgery:
    """Let convolutions and linear layers do what the batch norms beside them do in eval: in place, all or nothing.

    See `Plan.fold` for which norms can be folded; `ts.plan(model).fold()` prints those that stay, and why.

    Args:
        model: The model; it is changed in place.
        example_inputs: What it is called with: a tensor, a tuple of positional or a dict of keyword arguments. By
            default, what its configuration or its first layer asks for is tried.
        layer_norms: Fold the scale and shift of layer norms and RMS norms instead, into the linear layers behind.
        optimizer: One or several, whose Parameters and state are carried along.
        ema: An averaged copy of the model, to be changed alike.
        check: Inputs for `ts.check`; when it fails, nothing has changed. See `Plan.apply`.

    Returns:
        The surgery that was done; `surgery.undo()` takes it back.

    Raises:
        PlanError: if no norm can be folded. Nothing has changed then.
        TraceError: if the model can't be run on these inputs.

    Example:
        >>> ts.fold(model, x)
        Surgery on ResNet: 20 layers replaced, 20 layers removed · params 11,689,512 → 11,684,712 · undo() takes it back
        >>> model.bn1, model.conv1.bias.shape
        (Identity(), torch.Size([64]))

    Source: Jacob et al., Quantization and Training of Neural Networks, CVPR 2018, section 3.2.
    """
    return plan(model).fold(example_inputs, layer_norms=layer_norms).apply(optimizer=optimizer, ema=ema, check=check)


def set_inputs(
    model: nn.Module,
    channels: int,
    *,
    fill: Fill = "zeros",
    example_inputs: Any = None,
    optimizer: Any = None,
    ema: Any = None,
    check: Any = None,
) -> Surgery:
    """Have the model take another number of channels: in place, all or nothing; see `Plan.set_inputs`.

    Args:
        model: The model; it is changed in place.
        channels: How many it is to take.
        fill: What the columns of further channels begin as: "zeros", or "repeat" for the old ones in turn, rescaled.
        example_inputs: What it is called with now: a tensor, a tuple of positional or a dict of keyword arguments. By
            default, what its configuration or its first layer asks for is tried.
        optimizer: One or several, whose Parameters and state are carried along.
        ema: An averaged copy of the model, to be changed alike.
        check: Inputs for `ts.check`; when it fails, nothing has changed. See `Plan.apply`.

    Returns:
        The surgery that was done; `surgery.undo()` takes it back.

    Raises:
        PlanError: if the input can't be followed to its first layers, or is one of several. Nothing has changed then.
        TraceError: if the model can't be run on these inputs.

    Example:
        >>> ts.set_inputs(model, channels=4)
        Surgery on ResNet: 1 layer replaced · params 11,689,512 → 11,692,648 · undo() takes it back
        >>> model(torch.randn(1, 4, 64, 64)).shape
        torch.Size([1, 1000])
    """
    return (
        plan(model)
        .set_inputs(channels, fill=fill, example_inputs=example_inputs)
        .apply(optimizer=optimizer, ema=ema, check=check)
    )


def set_outputs(
    model: nn.Module,
    number: int,
    *,
    keep: Sequence[int | None] | None = None,
    example_inputs: Any = None,
    optimizer: Any = None,
    ema: Any = None,
    check: Any = None,
) -> Surgery:
    """Have the model tell another number of classes: in place, all or nothing; see `Plan.set_outputs`.

    Args:
        model: The model; it is changed in place.
        number: How many classes it is to tell.
        keep: Old classes that go on, in the places that they have here; None is a new class.
        example_inputs: What it is called with: a tensor, a tuple of positional or a dict of keyword arguments. By
            default, what its configuration or its first layer asks for is tried.
        optimizer: One or several, whose Parameters and state are carried along.
        ema: An averaged copy of the model, to be changed alike.
        check: Inputs for `ts.check`; when it fails, nothing has changed. See `Plan.apply`.

    Returns:
        The surgery that was done; `surgery.undo()` takes it back.

    Raises:
        PlanError: if it isn't clear which layers tell the classes; the candidates are named. Nothing has changed then.
        TraceError: if the model can't be run on these inputs.

    Example:
        >>> ts.set_outputs(model, 10)
        Surgery on ResNet: 1 layer replaced · params 11,689,512 → 11,181,642 · undo() takes it back
        >>> model(x).shape
        torch.Size([2, 10])
    """
    return (
        plan(model)
        .set_outputs(number, keep=keep, example_inputs=example_inputs)
        .apply(optimizer=optimizer, ema=ema, check=check)
    )


def prune(
    model: nn.Module,
    target: Target | None = None,
    amount: int | float | None = None,
    *,
    channels: Sequence[int] | None = None,
    example_inputs: Any = None,
    by: Importance = importance.l2,
    ignore: Target | None = None,
    heads: bool | None = None,
    min_width: int | float = 1,
    round_to: int = 1,
    ranked: bool = False,
    params: int | float | None = None,
    macs: int | float | None = None,
    outputs: Callable[[Any], Any] | None = None,
    optimizer: Any = None,
    ema: Any = None,
    check: Any = None,
) -> Surgery:
    """Remove output channels from layers, and from all that is coupled to them: in place, all or nothing.

    Args:
        model: The model; it is changed in place.
        target: What to prune; see `Plan.prune`. Without one, all of the model.
        amount: Output channels to remove: a number when int, a share in (0, 1) when float.
        channels: The very channels to remove, of one layer.
        example_inputs: What the model is called with: a tensor, a tuple of positional or a dict of keyword arguments.
        by: Scores the channels of a group; see `ts.importance`.
        ignore: Layers whose output channels stay.
        heads: Of attention, True for whole heads and False for narrower ones.
        min_width: How many channels of each group stay at least: a number when int, a share when float.
        round_to: What is left of a group is a multiple of this.
        ranked: Let all groups compete for `amount`.
        params: Prune until at most so many parameters are left.
        macs: Prune until at most so many multiplications are left.
        outputs: What of the model's answer must keep its shape; see `trace`.
        optimizer: One or several, whose Parameters and state are carried along.
        ema: An averaged copy of the model, to be changed alike.
        check: Inputs for `ts.check`; when it fails, nothing has changed. See `Plan.apply`.

    Returns:
        The surgery that was done; `surgery.undo()` takes it back.

    Raises:
        SelectionError: if nothing is selected.
        CouplingError: if the channels can't go. Nothing has changed then.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> ts.prune(net, "0", channels=[0, 5, 7], example_inputs=torch.randn(1, 4))
        Surgery on Sequential: 1 layer pruned, 1 layer adjusted · params 58 → 37 · undo() takes it back
        >>> net[2]
        Linear(in_features=5, out_features=2, bias=True)
    """
    planned = plan(model, example_inputs).prune(
        target,
        amount,
        channels=channels,
        by=by,
        ignore=ignore,
        heads=heads,
        min_width=min_width,
        round_to=round_to,
        ranked=ranked,
        params=params,
        macs=macs,
        outputs=outputs,
    )
    return at_once(planned, optimizer=optimizer, ema=ema, check=check)


def widen(
    model: nn.Module,
    target: Target,
    width: int | float | None = None,
    *,
    example_inputs: Any = None,
    tokens: int | None = None,
    rows: Tensor | None = None,
    heads: bool | None = None,
    noise: float = 0.0,
    approximate: bool = False,
    outputs: Callable[[Any], Any] | None = None,
    optimizer: Any = None,
    ema: Any = None,
    check: Any = None,
) -> Surgery:
    """Give layers more output channels, and all that is coupled to them, so that the model computes the same.

    Args:
        model: The model; it is changed in place.
        target: What to widen; see `Plan.widen`.
        width: How many output channels there are to be: a number when int, so many times as now when float.
        example_inputs: What the model is called with: a tensor, a tuple of positional or a dict of keyword arguments.
        tokens: Instead of `width`: how many tokens an embedding is to know, with the head that is tied to it.
        rows: What new tokens begin as, (tokens, width); by default the mean of the old ones.
        heads: Of attention, True for more heads and False for wider ones; what can be exact by default.
        noise: How far the shares of the copies of one channel are apart, so that they learn different things.
        approximate: Also where a normalisation or the like makes it compute something else.
        outputs: What of the model's answer must keep its shape; see `trace`.
        optimizer: One or several, whose Parameters and state are carried along.
        ema: An averaged copy of the model, to be changed alike.
        check: Inputs for `ts.check`; when it fails, nothing has changed. See `Plan.apply`.

    Returns:
        The surgery that was done; `surgery.undo()` takes it back.

    Raises:
        SelectionError: if nothing is selected.
        CouplingError: if the channels can't come, or not exactly. Nothing has changed then.

    Example:
        >>> before = model(x)
        >>> done = ts.widen(model, "layer1.0.conv1", 128, example_inputs=x)
        >>> model.layer1[0].bn1.num_features, torch.allclose(model(x), before, atol=1e-5)
        (128, True)
    """
    planned = plan(model, example_inputs).widen(
        target,
        width,
        tokens=tokens,
        rows=rows,
        heads=heads,
        noise=noise,
        approximate=approximate,
        outputs=outputs,
    )
    return at_once(planned, optimizer=optimizer, ema=ema, check=check)
