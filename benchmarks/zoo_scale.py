"""Deep and wide models: time and memory of tracing, choosing and planning a cut; linear in layers?

    python benchmarks/zoo_scale.py

Each case runs in a process of its own; results/zoo_scale.csv holds CPU seconds, and the most memory by then.
"""

from __future__ import annotations

import csv
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from zoo_running import RESULTS

import torchsurgery as ts

CASES = ["chain 1000", "chain 10000", "chain 100000", "llama 8", "llama 80"]
COLUMNS = ["model", "parameters", "trace in s", "memory in GB", "with plan in s", "memory with plan in GB"]


def chain(layers: int) -> tuple[nn.Module, Any]:
    """So many layers, half of them Linear."""
    steps = [layer for _ in range(layers // 2) for layer in (nn.Linear(16, 16), nn.ReLU())]
    return nn.Sequential(*steps, nn.Linear(16, 4)), torch.randn(2, 16)


def llama(layers: int) -> tuple[nn.Module, Any]:
    """Llama 3's 70 billion parameters at 80 layers, on meta."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64, "num_key_value_heads": 8}
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=layers, vocab_size=128256))
    return model, {"input_ids": torch.zeros(1, 16, dtype=torch.long)}


def measure(case: str) -> list[str]:
    kind, number = case.split()
    model, inputs = {"chain": chain, "llama": llama}[kind](int(number))
    name = f"{int(number):,} layers" if kind == "chain" else f"Llama of {number} layers, on meta"
    start = time.process_time()
    ts.trace(model, inputs)
    cells = [name, f"{sum(p.numel() for p in model.parameters()):,}", _passed(start), _memory()]
    start = time.process_time()
    ts.plan(model, inputs).prune(amount=0.5)
    return [*cells, _passed(start), _memory()]


def _passed(start: float) -> str:
    return f"{time.process_time() - start:.1f}"


def _memory() -> str:
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f}"


def rows() -> Iterator[list[str]]:
    for case in CASES:
        done = subprocess.run([sys.executable, __file__, case], capture_output=True, text=True, check=False)
        print(done.stdout or done.stderr[-500:], flush=True)
        yield done.stdout.strip().split("\t") if done.returncode == 0 else [case, f"ended with {done.returncode}"]


def main() -> None:
    if len(sys.argv) > 1:
        torch.set_num_threads(1)
        return print("\t".join(measure(sys.argv[1])))
    found = list(rows())
    with (RESULTS / "zoo_scale.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([COLUMNS, *found])
    return None


if __name__ == "__main__":
    main()
