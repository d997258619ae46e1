"""Whether a layer that was given, not configured, takes what the layers before it give."""

from __future__ import annotations

from torch import nn

from ..errors import PlanError
from ..layers.channels import IN, OUT, width
from ..selection import Place
from .guards import label
from .scene import Scene

# What lies along the last axis: how wide the others are there is not known.
_ALONG_THE_LAST = {"embed_dim", "embedding_dim", "hidden_size"}


def refuse_misfit(scene: Scene, place: Place, new: nn.Module) -> None:
    """Raise if `new` takes another width than `old`, and nothing says that it is given another one.

    The first layer of a model takes what the user feeds it; and where an earlier edit has changed a width, what this
    layer is given is not known without running the model.
    """
    old_width, new_width = width(place.module, IN), width(new, IN)
    if (
        old_width is None
        or new_width is None
        or old_width == new_width
        or scene.widths_changed
        or _is_first(scene, place)
    ):
        return
    raise PlanError(
        f"the new {type(new).__name__} for {label(place)} takes {new_width} channels, but is given {old_width}.",
        f"expected {old_width}, as {place.module}",
        f"got {new}",
        name=place.name,
        expected=old_width,
        got=new_width,
        way_out=f"give one that takes {old_width}; or change what comes before it, too, and that first: "
        " ts.plan(model).replace(…).replace(…)",
    )


def refuse_other_width(place: Place, new: nn.Module, where: str) -> None:
    """Raise if an inserted layer takes another width than the stream has beside the layer there.

    Only layers of one kind of width are compared: what lies between a convolution and a linear layer is not known.
    """
    stream, taken = width(place.module, OUT if where == "after" else IN), width(new, IN)
    pair = {"num_features", "num_channels", "in_channels"} & vars(new).keys()
    if stream is None or taken is None or stream == taken or not pair or _ALONG_THE_LAST & vars(place.module).keys():
        return
    raise PlanError(
        f"the {type(new).__name__} to insert {where} {label(place)} takes {taken} channels, but is given {stream}.",
        f"expected {stream}, got {taken}",
        name=place.name,
        expected=stream,
        got=taken,
        way_out=f"give one that takes {stream}, or its class, for which the width is filled in",
    )


def _is_first(scene: Scene, place: Place) -> bool:
    for module in scene.draft.spots():
        if any(parameter is not None for parameter in module._parameters.values()):
            return module is place.module
    return False


def changes_width(old: nn.Module, new: nn.Module) -> bool:
    """Whether a change gives the layers after it another width."""
    return vars(old) is not vars(new) and width(old, OUT) != width(new, OUT)
