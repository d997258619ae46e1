"""Every layer of the model zoos rebuilt from itself: how many can be, which are refused and why, is the model the same?

    make zoo                       all models but those in the results that are of the same versions and the same code
    make zoo ARGS="--missing"      only those that are not in the results, or had a problem
    make zoo ARGS="--fresh"        all models, from the start
    make zoo ARGS="resnet bert"    those with one of these in their names, whatever is there already

A layer is a module without parts, or with parts if it is a layer of torch.nn (MultiheadAttention). Each becomes
`type(layer)(**ts.config_of(layer))` with its state dict strictly loaded. Then the whole model runs in train and in
eval, from the same seed as before: all outputs and all buffers are compared, and how often each layer was called.
"""

from __future__ import annotations

import collections
import random
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils._pytree import tree_leaves
from zoo_models import Inputs, Repeated, Subject, subjects
from zoo_running import Study, carry_out, code_of

import torchsurgery as ts

CODE = code_of("layers/*.py")
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


@dataclass(frozen=True)
class Row:
    """What came out for one model. `problem` says why it could not be run, or that a layer was called otherwise."""

    library: str
    model: str
    params: int = 0
    layers: int = 0
    rebuilt: int = 0
    refused: int = 0
    numbers: int = 0  # in outputs and buffers, each compared
    difference: str = ""
    seconds: float = 0.0
    code: str = ""  # the state of torchsurgery/layers that it was rebuilt by
    problem: str = ""
    reasons: str = ""


# --- one model


def measure(subject: Subject) -> Row:
    """Builds, runs, rebuilds and runs again. Nothing that goes wrong is left out: it becomes the row's `problem`."""
    row, began = Row(subject.library, subject.name, code=CODE), time.perf_counter()
    try:
        seed()
        with Repeated():  # type: ignore[no-untyped-call]
            model = subject.build()
        row = _measured(row, subject, model)
    except Exception as error:
        row = replace(row, problem=" ".join(f"{type(error).__name__}: {error}".split())[:200])
    return replace(row, seconds=round(time.perf_counter() - began, 1))


def _measured(row: Row, subject: Subject, model: nn.Module) -> Row:
    layers = layers_of(model)
    row = replace(row, params=sum(p.numel() for p in model.parameters()), layers=len(layers))
    buffers = [buffer.clone() for buffer in model.buffers()]
    before = run(model, subject)
    for buffer, value in zip(model.buffers(), buffers, strict=True):
        if buffer.shape == value.shape:  # ConViT makes its indices in the first forward
            buffer.copy_(value)
    refused = rebuild(model, layers)
    row = replace(row, rebuilt=len(layers) - len(refused), refused=len(refused), reasons=counted(refused))
    after = run(model, subject)
    row = replace(row, numbers=before.numbers, difference=f"{before.difference(after):g}", problem=before.calls(after))
    if before.difference(after) and after.difference(again := run(model, subject)):
        problem = f"no two runs of it are the same, they differ by {after.difference(again):g}: compared in eval only"
        difference = f"{before.in_eval().difference(after.in_eval()):g}"
        return replace(row, numbers=before.in_eval().numbers, difference=difference, problem=problem)
    return row


def layers_of(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Every layer with all its names."""
    found: dict[nn.Module, list[str]] = {}
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules(remove_duplicate=False):
        if name.startswith(inside):
            continue
        if not module._modules or is_torch_layer(module):
            found.setdefault(module, []).append(name)
            inside = (*inside, f"{name}.") if module._modules else inside
    return found


def is_torch_layer(module: nn.Module) -> bool:
    """Whether it is a layer of torch.nn, or a subclass of one: MultiheadAttention, timm's BatchNormAct2d."""
    kinds = type(module).__mro__[: type(module).__mro__.index(nn.Module)]
    return not isinstance(module, CONTAINERS) and any(kind.__module__.startswith("torch.nn.modules") for kind in kinds)


def rebuild(model: nn.Module, layers: dict[nn.Module, list[str]]) -> list[tuple[nn.Module, str]]:
    """Puts a rebuilt layer wherever each was, and answers the layers that `config_of` refuses, with the reason."""
    refused = []
    for layer, names in layers.items():
        try:
            config = ts.config_of(layer)
        except ts.ConfigError as error:
            refused.append((layer, str(error).splitlines()[1].strip()))
            continue
        new = rebuilt(layer, config)
        for name in names:
            parent, _, last = name.rpartition(".")
            model.get_submodule(parent)._modules[last] = new
    return refused


def rebuilt(layer: nn.Module, config: dict[str, Any]) -> nn.Module:
    with Repeated():  # type: ignore[no-untyped-call]
        new = type(layer)(**config)
    mine = {tensor.dtype for tensor in layer.parameters()}
    if len(mine) == 1:
        new.to(mine.pop())
    new.load_state_dict(layer.state_dict(), strict=True)
    return new.train(layer.training)


def counted(refused: list[tuple[nn.Module, str]]) -> str:
    counts = collections.Counter(f"{type(layer).__name__}: {reason}" for layer, reason in refused)
    return " | ".join(f"{number}× {reason}" for reason, number in counts.items())


# --- its outputs


@dataclass(frozen=True)
class Run:
    """Outputs in train, buffers after that, outputs in eval; and how often each module was called, by its name."""

    tensors: list[Tensor]
    called: dict[str, int]
    evaluated: int  # of the tensors, how many at the end are the outputs in eval

    def in_eval(self) -> Run:
        return replace(self, tensors=self.tensors[-self.evaluated :])

    @property
    def numbers(self) -> int:
        return sum(tensor.numel() for tensor in self.tensors)

    def difference(self, other: Run) -> float:
        """The largest difference of any two numbers; NaN and infinite where one of both is."""
        if [t.shape for t in self.tensors] != [t.shape for t in other.tensors]:
            return float("nan")
        return max(map(largest_difference, self.tensors, other.tensors))

    def calls(self, other: Run) -> str:
        """Which modules were not called as often as before."""
        names = [name for name in self.called | other.called if self.called.get(name) != other.called.get(name)]
        return f"called otherwise: {', '.join(names)}"[:200] if names else ""


def run(model: nn.Module, subject: Subject) -> Run:
    called: collections.Counter[nn.Module] = collections.Counter()
    handle = register_module_forward_pre_hook(lambda module, args: called.update([module]))
    try:
        training = subject.training or subject.inputs
        tensors = outputs(model.train(), training) + [buffer.clone() for buffer in model.buffers()]
        evaluated = outputs(model.eval(), subject.inputs)
    finally:
        handle.remove()
    names = {module: name for name, module in model.named_modules()}
    counts = {names[module]: number for module, number in called.items() if module in names}
    return Run(tensors + evaluated, counts, len(evaluated))


def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    seed()
    positional, by_keyword = _inputs(inputs, model)
    with torch.no_grad():
        found = [leaf for leaf in tree_leaves(model(*positional, **by_keyword)) if isinstance(leaf, Tensor)]
    if not found:
        raise ValueError("the model answers no tensor")
    if not all(tensor.isfinite().any() for tensor in found if tensor.numel() and tensor.is_floating_point()):
        raise ValueError("an output is NaN or infinite throughout: comparing it would say nothing")
    return found


def _inputs(inputs: Any, model: nn.Module) -> Inputs:
    found: Inputs = inputs(model)
    return found


def largest_difference(one: Tensor, other: Tensor) -> float:
    if torch.equal(one, other) or not one.numel():
        return 0.0
    one, other = one.double(), other.double()
    differs = ~((one == other) | (one.isnan() & other.isnan()))
    return (one - other)[differs].abs().max().item() if differs.any() else 0.0


def seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


# --- all models


def main() -> None:
    summary(carry_out(STUDY))


def line(row: Row) -> str:
    told = f"{row.rebuilt:>5} of {row.layers:<5} rebuilt   difference {row.difference or '–':<6}"
    return f"{row.library:<13}{row.model:<42}{told}{row.seconds:>6} s  {row.problem}".rstrip()


def summary(found: list[Row]) -> None:
    print("\nlibrary        models  unable    layers   rebuilt   refused   share  largest difference")
    for library in dict.fromkeys(row.library for row in found):
        print(totals(library, [row for row in found if row.library == library]))
    print(totals("all", found))
    print("\nRefused, over all models:")
    for number, models, reason in refusals(found):
        print(f"{number:>6} in {models:>3} models   {reason}")
    for row in found:
        if row.problem:
            print(f"\nProblem: {row.library} {row.model}: {row.problem}")


def totals(name: str, found: list[Row]) -> str:
    ran = [row for row in found if row.difference]
    layers, rebuilt, refused = (sum(getattr(row, key) for row in ran) for key in ("layers", "rebuilt", "refused"))
    share = f"{100 * refused / max(layers, 1):.2f} %"
    worst = max((float(row.difference) for row in ran), default=0.0)
    models = f"{name:<13}{len(found):>8}{len(found) - len(ran):>8}"
    return f"{models}{layers:>10,}{rebuilt:>10,}{refused:>10,}{share:>8}  {worst:g}"


def refusals(found: Iterable[Row]) -> list[tuple[int, int, str]]:
    """How many layers, in how many models, are refused for what reason; the most frequent first."""
    layers: collections.Counter[str] = collections.Counter()
    models: collections.Counter[str] = collections.Counter()
    for row in found:
        for number, reason in re.findall(r"(\d+)× (.*?)(?: \| |$)", row.reasons):
            layers[reason] += int(number)
            models[reason] += 1
    return [(number, models[reason], reason) for reason, number in layers.most_common()]


STUDY = Study(
    doc=__doc__,
    file="zoo_layers.csv",
    row=Row,
    measure=measure,
    subjects=subjects,
    code=CODE,
    versions=("torch", "torchvision", "timm", "transformers"),
    line=line,
)

if __name__ == "__main__":
    main()
