"""Rules of torchvision's own operations, as a library would add them: by their qualified names."""

from __future__ import annotations

from .call import Call
from .registry import rule
from .windows import convolution


@rule("torchvision::roi_align")
@rule("torchvision::roi_pool")
def regions(call: Call) -> None:
    """X (N, C, H, W), regions (K, 5) → (K, C, h, w): positions are sampled, channels pass."""
    x, boxes = call.args[:2]
    axes, places = call.axes(x), call.axes(boxes)
    for axis in (*axes[2:], *places):
        call.freeze(axis, f"positions of {call.name}")
    for tensor in call.outs:
        tail = [call.fixed(size, f"positions of {call.name}") for size in tensor.shape[2:]]
        call.give(tensor, [places[0], axes[1], *tail])


@rule("torchvision::nms")
def kept_boxes(call: Call) -> None:
    """Boxes (K, 4) with scores (K) → the numbers of those that are left."""
    for tensor in call.tensors:
        for axis in call.axes(tensor):
            call.freeze(axis, "nms chooses among boxes")
    call.give_fixed("taken by nms")


@rule("torchvision::deform_conv2d")
def deformable(call: Call) -> None:
    """A convolution whose positions move: offsets (N, 2 · k · k, h, w) and masks (N, k · k, h, w)."""
    for name in ("offset", "mask"):
        for axis in call.axes(call.arg(name))[1:]:
            call.freeze(axis, "positions of deform_conv2d")
    convolution(call)
