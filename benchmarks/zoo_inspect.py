"""What `ts.inspect` says of every model, held against PyTorch: parameters and multiply-adds, to the last digit.

    python benchmarks/zoo_inspect.py                 all models that have no row of these versions and code
    python benchmarks/zoo_inspect.py resnet timm/    those with one of these in their names, whatever is there already

One row a model in results/zoo_inspect.csv. `inspect` computes nothing; what it is held against is a plain run of the
model, in which PyTorch's own FLOP counter counts, and `sum(p.numel())`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from zoo_models import Repeated, Subject, as_used
from zoo_prune import called_with
from zoo_running import Study, carry_out, code_of, recorded

import torchsurgery as ts
from torchsurgery.stats import Cost


@dataclass(frozen=True)
class Row:
    """What was counted of one model, by both.

    Attributes:
        params, macs: What `ts.inspect` says.
        numel: `sum(p.numel() for p in model.parameters())`.
        flops: What PyTorch's counter counts in a plain run: two for each multiply-add.
        adds: "yes" if the rows of the table add up to the whole, and those of each part to the part.
        problem: Why there is no row.
    """

    library: str
    model: str
    params: int = 0
    numel: int = 0
    macs: int = 0
    flops: int = 0
    adds: str = ""
    seconds: float = 0.0
    code: str = ""
    problem: str = ""


CODE = code_of("measuring/*.py", "stats.py", "coupling/running/substituting.py")


def measure(subject: Subject) -> Row:
    return recorded(Row(subject.library, subject.name, code=CODE), lambda row: _measured(row, subject))


def _measured(row: Row, subject: Subject) -> Row:
    torch.manual_seed(0)
    with Repeated():  # type: ignore[no-untyped-call]
        model = subject.build().eval()
    args, kwargs = subject.inputs(model)
    torch.manual_seed(0)
    stats = ts.inspect(model, called_with(model, args, kwargs))
    row = replace(row, params=stats.params, macs=stats.macs, adds="yes" if adds_up(stats) else "no")
    return replace(row, numel=sum(p.numel() for p in model.parameters()), flops=flops(model, args, kwargs))


def flops(model: nn.Module, args: Any, kwargs: Any) -> int:
    """What PyTorch counts in a plain run."""
    torch.manual_seed(0)
    model.requires_grad_(False)  # its counter stumbles over views of parameters otherwise
    with _plain(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*args, **kwargs)
    return int(counter.get_total_flops())


@contextmanager
def _plain(model: nn.Module) -> Iterator[None]:
    """A block without fused kernels, which not all versions of PyTorch count."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    fast, fused = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(fused and not recurrent)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(fused)


def adds_up(stats: ts.Stats) -> bool:
    """Whether the whole is the sum of its rows, and every part that of what lies in it."""
    if sum((row.own for row in stats.rows), Cost()) != stats.total:
        return False
    inside: dict[str, Cost] = {}
    for row in stats.rows:
        parts = row.name.split(".") if row.name else []
        for depth in range(len(parts) + 1):
            above = ".".join(parts[:depth])
            inside[above] = inside.get(above, Cost()) + row.own
    return all(inside[row.name] == row.total for row in stats.rows)


def holds(row: Row) -> bool:
    """Whether all digits are the same."""
    return not row.problem and row.params == row.numel and 2 * row.macs == row.flops and row.adds == "yes"


def line(row: Row) -> str:
    told = row.problem or f"{row.params:,} of {row.numel:,} params, {2 * row.macs:,} of {row.flops:,} FLOPs"
    return f"{'  ' if holds(row) else '! '}{row.library:13} {row.model:40} {told}"


STUDY = Study(
    doc=__doc__ or "",
    file="zoo_inspect.csv",
    row=Row,
    measure=measure,
    subjects=as_used,
    code=CODE,
    versions=("torch", "torchvision", "timm", "transformers"),
    line=line,
)


def main() -> None:
    rows = carry_out(STUDY)
    print(f"{sum(map(holds, rows))} of {len(rows)} right to the last digit")


if __name__ == "__main__":
    main()
