"""One chain of edits after the other on whatever model comes: of every verb what can be done to it.

Each verb has several attempts, the likeliest first; what is refused is said by the last one's reason.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torchsurgery as ts

Attempts = Iterator[Callable[[], object]]
PATIENCE = 60.0  # CPU seconds after which a verb is tried no further


class Scaled(nn.Module):
    """A wrapper whose argument leaves no trace in its attributes: what was given is what is recorded."""

    def __init__(self, inner: nn.Module, times: int = 2):
        super().__init__()
        self.inner, self.scale = inner, nn.Parameter(torch.full((), 1 / times))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs) * self.scale


ts.register("zoo/scaled", Scaled, {"times": range(1, 100)})


def edited(model: nn.Module, inputs: Any, outputs: Callable[[Any], Any]) -> tuple[list[str], dict[str, str]]:
    """Edit a model by every verb that can be done to it.

    Returns:
        The verbs that were done, and why not for each of the others.
    """
    done: list[str] = []
    refused: dict[str, str] = {}
    for verb, attempts in VERBS.items():
        began, why = time.process_time(), "nothing that it is for"
        for attempt in attempts(model, inputs, outputs):
            try:
                attempt()
            except ts.SurgeryError as error:
                why = str(error).partition("\n")[0]
            else:
                done.append(verb)
                break
            if time.process_time() - began > PATIENCE:
                break
        if verb not in done:
            refused[verb] = why
    return done, refused


def trained(model: nn.Module) -> None:
    """Values as training leaves them: none is what it was initialised with, statistics and counters included."""
    draw = torch.Generator().manual_seed(1)
    pool = torch.rand(65_536, generator=draw)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point() and tensor.numel():
            for part in tensor.data.view(-1).split(len(pool)) if tensor.data.is_contiguous() else [tensor.data]:
                noise = pool[: part.numel()] if part.numel() <= len(pool) else torch.rand(part.numel(), generator=draw)
                part.mul_(1 + 0.02 * noise.view(part.shape).to(part)).add_(0.001)
    for name, buffer in model.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.add_(1234)


# --- attempts


def _of(model: nn.Module, *kinds: type[nn.Module]) -> tuple[nn.Module, ...]:
    """The layers of these very classes."""
    return tuple(module for module in model.modules() if type(module) in kinds)


def _half(model: nn.Module, *kinds: type[nn.Module]) -> tuple[nn.Module, ...]:
    return _of(model, *kinds)[::2]


def _replace(model: nn.Module, inputs: Any, outputs: Any) -> Attempts:
    if norms := _half(model, nn.BatchNorm2d):
        yield lambda: ts.plan(model, inputs).replace(norms, nn.GroupNorm, num_groups=1).apply()
    if norms := _half(model, nn.LayerNorm):
        yield lambda: ts.plan(model, inputs).replace(norms, nn.RMSNorm).apply()
    for layer in _of(model, nn.Linear)[-1::-3][:4]:
        yield (
            lambda layer=layer: (
                ts.plan(model, inputs).replace(layer, lambda old: nn.Sequential(nn.Dropout(0.1), old)).apply()
            )
        )


def _activations(model: nn.Module, inputs: Any, outputs: Any) -> Attempts:
    found = Counter(type(m) for m in model.modules() if "activation" in type(m).__module__)
    for kind, _ in found.most_common():
        if kind not in (nn.MultiheadAttention, nn.Softmax):
            yield lambda kind=kind: ts.plan(model, inputs).replace(kind, nn.Mish).apply()
    for function in (F.relu, F.gelu, F.silu):
        yield lambda function=function: ts.plan(model, inputs).replace(function, nn.Mish).apply()


def _insert(model: nn.Module, inputs: Any, outputs: Any) -> Attempts:
    for kind in (nn.Conv2d, nn.Linear, nn.LayerNorm, nn.Conv1d, nn.Conv3d, nn.Embedding):
        if layers := _half(model, kind):
            yield lambda layers=layers: ts.plan(model, inputs).insert(nn.Dropout(0.1), after=layers).apply()
            yield lambda layers=layers: ts.plan(model, inputs).insert(nn.Dropout(0.1), before=layers[:1]).apply()


def _wrap(model: nn.Module, inputs: Any, outputs: Any) -> Attempts:
    layers = _of(model, nn.Linear, nn.Conv2d, nn.Conv1d, nn.Conv3d)
    for layer in layers[-1::-2][:6]:
        yield lambda layer=layer: ts.plan(model, inputs).wrap(layer, Scaled, times=3).apply()


def _convert(model: nn.Module, inputs: Any, outputs: Any) -> Attempts:
    single = [m for m in _of(model, nn.Conv2d) if m.kernel_size == (1, 1) and m.groups == 1]
    for layer in single[:6:2]:
        yield lambda layer=layer: ts.plan(model, inputs).replace(layer, nn.Conv2d, kernel_size=3).apply()
    for layer in _of(model, nn.Conv2d, nn.Linear)[1:12:3]:
        yield lambda layer=layer: ts.plan(model, inputs).replace(layer, type(layer), bias=layer.bias is None).apply()
    yield lambda: ts.freeze_norms(model)


def _factorize(model: nn.Module, inputs: Any, outputs: Any) -> Attempts:
    for layer in _of(model, nn.Linear, nn.Conv2d)[2:16:3]:
        yield lambda layer=layer: ts.factorize(ts.plan(model, inputs), layer, rank=2).apply(check=inputs)


def _fold(model: nn.Module, inputs: Any, outputs: Any) -> Attempts:
    yield lambda: ts.fold(model, inputs)
    yield lambda: ts.fold(model, inputs, layer_norms=True)


def _prune(model: nn.Module, inputs: Any, outputs: Any) -> Attempts:
    yield lambda: ts.prune(model, amount=0.25, example_inputs=inputs, outputs=outputs)


def _widen(model: nn.Module, inputs: Any, outputs: Any) -> Attempts:
    try:
        groups = ts.trace(model, inputs, outputs=outputs).groups
    except ts.SurgeryError as error:
        yield lambda error=error: _raise(error)
        return
    for group in groups[:: max(1, len(groups) // 4)][:4]:
        name = group.giving[0] if group.giving else group.modules[0]
        yield lambda name=name: ts.widen(
            model, name, 1.5, example_inputs=inputs, outputs=outputs, approximate=True, noise=0.1
        )


def _raise(error: Exception) -> None:
    raise error


VERBS: dict[str, Callable[[nn.Module, Any, Any], Attempts]] = {
    "replace": _replace,
    "activations": _activations,
    "insert": _insert,
    "wrap": _wrap,
    "convert": _convert,
    "factorize": _factorize,
    "fold": _fold,
    "prune": _prune,
    "widen": _widen,
}


def told(model: nn.Module) -> dict[str, Any]:
    """All that a model is besides its code: dtype, shape, strides and bits of each tensor, ties, modes, keys."""
    import hashlib

    tensors: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    tensors |= dict(model.named_buffers(remove_duplicate=False))
    first: dict[int, str] = {}
    found: dict[str, Any] = {}
    for name, tensor in tensors.items():
        bits = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest = hashlib.sha256(bits.data).hexdigest() if tensor.numel() else ""
        tied = first.setdefault(id(tensor), name)
        found[name] = [str(tensor.dtype), list(tensor.shape), list(tensor.stride()), tensor.requires_grad, tied, digest]
    found["keys of the state dict"] = list(model.state_dict())
    found["in train mode"] = [name for name, module in model.named_modules() if module.training]
    found["classes"] = {name: type(module).__qualname__ for name, module in model.named_modules()}
    return found
