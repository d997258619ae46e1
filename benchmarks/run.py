"""How long it takes, and how much memory, to change thousands of layers; beside the loop that everyone writes.

    make bench                      everything; rewrites results/results.json and results/README.md
    make bench ARGS="--only 10,001" the cases whose names hold that text, printed and not written

The contenders of a case take turns (A B A B ...), each on a model of its own, after a garbage collection; the collector
stays on. A ratio is one of medians, beside it the one of the fastest runs. Nothing is printed that was not computed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import importlib.metadata
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import nn

import torchsurgery as ts

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "torchvision", "transformers", "timm", "opacus", "peft", "torchao", "brevitas")
OURS, LOOP = "torchsurgery", "naive loop"
LEFT_OUT: set[str] = set()  # packages that can't be imported


def tool(module: str, name: str) -> Any:
    """A function or class of another package; None, and noted, where it can't be imported."""
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError:
        LEFT_OUT.add(module.partition(".")[0])
        return None


# --- what is put in place of what


class Retyped(nn.Linear):
    """A user's subclass without a constructor of its own."""

    def forward(self, x):
        return super().forward(x)


class Rebuilt(nn.Linear):
    """A user's subclass with a constructor of its own."""

    def __init__(self, in_features, out_features, bias=True, device=None, dtype=None, scale=1.0):
        super().__init__(in_features, out_features, bias, device, dtype)
        self.scale = scale

    def forward(self, x):
        return self.scale * super().forward(x)


class Wrapper(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def loop(model: nn.Module, old: type[nn.Module], make: Callable[[nn.Module], nn.Module]) -> None:
    """What everyone writes: build each layer anew, load the weights, set it on its parent."""
    for name, module in list(model.named_modules()):
        if type(module) is old:
            new = make(module)
            if new is not module and not any(child is module for child in new.children()):
                new.load_state_dict(module.state_dict(), strict=False)
            parent, _, key = name.rpartition(".")
            setattr(model.get_submodule(parent), key, new)


def linear(kind: type[nn.Linear]) -> Callable[[nn.Linear], nn.Linear]:
    def make(old: nn.Linear) -> nn.Linear:
        weight, has_bias = old.weight, old.bias is not None
        return kind(old.in_features, old.out_features, has_bias, device=weight.device, dtype=weight.dtype)

    return make


def group_norm(old: nn.BatchNorm2d) -> nn.GroupNorm:
    return nn.GroupNorm(32, old.num_features, old.eps)


# --- models


def modules(count: int) -> nn.Sequential:
    """Half of `count` modules are Linear, half ReLU, and one holds them."""
    return nn.Sequential(*(layer for _ in range(count // 2) for layer in (nn.Linear(64, 64), nn.ReLU())))


def wide() -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(12)))


def resnet50() -> nn.Module:
    import torchvision

    return torchvision.models.resnet50(weights=None)


def llama() -> nn.Module:
    """96 layers, 673 Linears, narrow so that it fits anywhere: what is measured depends on the number of layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 4}
    return LlamaForCausalLM(LlamaConfig(num_hidden_layers=96, vocab_size=256, **sizes)).eval()


def trained(model: nn.Module) -> torch.optim.Optimizer:
    """An AdamW that has a state for every Parameter of the model."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return optimizer


# --- cases


Run = Callable[[Any], Any]


@dataclass(frozen=True)
class Case:
    name: str
    layers: int
    build: Callable[[], Any]
    contenders: dict[str, Run]
    limit: float | None = None  # what our time may be, as a share of the loop's
    undo: bool = False
    times: dict[str, list[float]] = field(default_factory=dict)


def to_subclass(
    name: str, layers: int, build: Callable[[], nn.Module], kind: type[nn.Linear], limit: float | None = None
) -> Case:
    contenders: dict[str, Run] = {
        LOOP: lambda model: loop(model, nn.Linear, linear(kind)),
        OURS: lambda model: ts.replace(model, nn.Linear, kind),
    }
    return Case(name, layers, build, contenders | others_for_linears(kind), limit, undo=True)


def cases() -> list[Case]:
    found = [batch_norms()]
    for kind, words in ((Retyped, "subclass"), (Rebuilt, "subclass with a constructor")):
        target = 0.15 if kind is Retyped else None
        found.append(to_subclass(f"Llama of 96 layers, 673 Linear → {words}", 673, llama, kind))
        for count in (1001, 3001, 10001):
            name = f"{count:,} modules, {count // 2:,} Linear → {words}"
            limit = target if count > 9999 else None
            found.append(to_subclass(name, count // 2, lambda n=count: modules(n), kind, limit))
        found.append(to_subclass(f"12 × Linear(2048) → {words}", 12, wide, kind, 0.05))
    found += [with_optimizer(count) for count in (1001, 3001, 10001)]
    found += [wraps(count) for count in (1001, 3001, 10001)]
    found += [inserts(count) for count in (1001, 3001, 10001)]
    found += [lora(), printing()]
    return found


def batch_norms() -> Case:
    contenders: dict[str, Run] = {
        LOOP: lambda model: loop(model, nn.BatchNorm2d, group_norm),
        OURS: lambda model: ts.replace(model, nn.BatchNorm2d, nn.GroupNorm, num_groups=32),
    }
    if validator := tool("opacus.validators", "ModuleValidator"):
        contenders["opacus: ModuleValidator.fix (on a copy)"] = validator.fix
    if convert := tool("timm.layers", "convert_sync_batchnorm"):
        contenders["timm: convert_sync_batchnorm (BatchNorm → SyncBatchNorm)"] = convert
    return Case("ResNet-50, 53 BatchNorm2d → GroupNorm", 53, resnet50, contenders, undo=True)


def others_for_linears(kind: type[nn.Linear]) -> dict[str, Run]:
    found: dict[str, Run] = {}
    if torchao_replace := tool("torchao.quantization.quant_api", "_replace_with_custom_fn_if_matches_filter"):

        def torchao(model: nn.Module) -> None:
            def converted(old: nn.Linear) -> nn.Linear:
                new = linear(kind)(old)
                new.load_state_dict(old.state_dict())
                return new

            torchao_replace(model, converted, lambda module, name: type(module) is nn.Linear)

        found["torchao: _replace_with_custom_fn_if_matches_filter"] = torchao
    if by_class := tool("brevitas.graph.base", "ModuleToModuleByClass"):
        found["brevitas: ModuleToModuleByClass"] = lambda model: by_class(nn.Linear, kind).apply(model)
    return found


def with_optimizer(count: int) -> Case:
    def build() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = modules(count)
        return model, trained(model)

    def carried(kind: type[nn.Linear]) -> Run:
        return lambda both: ts.plan(both[0]).replace(nn.Linear, kind).apply(optimizer=both[1])

    contenders: dict[str, Run] = {
        LOOP + ", the optimizer left behind": lambda both: loop(both[0], nn.Linear, linear(Retyped)),
        OURS: carried(Retyped),
        OURS + ", subclass with a constructor": carried(Rebuilt),
    }
    limit = 0.15 if count > 9999 else None
    return Case(f"{count:,} modules, the same with an AdamW carried", count // 2, build, contenders, limit)


def wraps(count: int) -> Case:
    contenders: dict[str, Run] = {
        LOOP: lambda model: loop(model, nn.Linear, Wrapper),
        OURS: lambda model: ts.wrap(model, nn.Linear, Wrapper),
    }
    return Case(f"{count:,} modules, {count // 2:,} Linear wrapped", count // 2, lambda: modules(count), contenders)


def inserts(count: int) -> Case:
    contenders: dict[str, Run] = {
        LOOP: lambda model: loop(model, nn.ReLU, lambda old: nn.Sequential(old, nn.Dropout(0.1))),
        OURS: lambda model: ts.insert(model, nn.Dropout, after=nn.ReLU, p=0.1),
    }
    name = f"{count:,} modules, a Dropout inserted after {count // 2:,} ReLU"
    return Case(name, count // 2, lambda: modules(count), contenders)


def lora() -> Case:
    """A low-rank branch beside each Linear."""

    class Branch(nn.Module):
        def __init__(self, base: nn.Linear, rank: int = 8):
            super().__init__()
            self.base = base
            self.down = nn.Linear(base.in_features, rank, bias=False)
            self.up = nn.Linear(rank, base.out_features, bias=False)

        def forward(self, x):
            return self.base(x) + self.up(self.down(x))

    contenders: dict[str, Run] = {
        LOOP: lambda model: loop(model, nn.Linear, Branch),
        OURS: lambda model: ts.wrap(model, nn.Linear, Branch),
    }
    if inject := tool("peft", "inject_adapter_in_model"):
        config = tool("peft", "LoraConfig")(r=8, target_modules=r".*(_proj|lm_head)")
        contenders["PEFT: inject_adapter_in_model(LoraConfig)"] = lambda model: inject(config, model)
    return Case("Llama of 96 layers, a low-rank branch beside each of 673 Linear", 673, llama, contenders)


def printing() -> Case:
    build = lambda: ts.plan(modules(10001)).replace(nn.Linear, Rebuilt)  # noqa: E731
    return Case("a plan of 5,000 changes printed", 5000, build, {OURS: str})


# --- measuring


def measure(case: Case, seconds: float, most: int) -> None:
    """Let the contenders take turns until the time is used up; the first round is not counted, two are at least."""
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 3 or (rounds <= most and time.perf_counter() < end):
        for name, run in list(case.contenders.items()):
            try:
                spent = once(case, name, run)
            except Exception as err:  # of another tool, on a model that it does not know
                print(f"    {name} left out: {type(err).__name__}: {str(err).splitlines()[0]}", file=sys.stderr)
                del case.contenders[name]
                continue
            if rounds:
                for key, value in spent.items():
                    case.times.setdefault(key, []).append(value)
        rounds += 1


def once(case: Case, name: str, run: Run) -> dict[str, float]:
    torch.manual_seed(0)
    model = case.build()
    spent = {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        answer, spent[name] = timed(lambda: run(model))
        if case.undo and name == OURS:
            _, spent["undo"] = timed(answer.undo)
    return spent


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    gc.collect()
    begin = time.perf_counter()
    answer = run()
    return answer, time.perf_counter() - begin


# --- memory, each in a process of its own


MEMORY: dict[str, tuple[Callable[[], nn.Module], dict[str, Run]]] = {
    "10,001 modules, 5,000 Linear → subclass": (
        lambda: modules(10001),
        {
            LOOP: lambda model: loop(model, nn.Linear, linear(Retyped)),
            OURS: lambda model: ts.replace(model, nn.Linear, Retyped),
            OURS + ", subclass with a constructor": lambda model: ts.replace(model, nn.Linear, Rebuilt),
        },
    ),
    "12 × Linear(2048) → subclass": (
        wide,
        {
            LOOP: lambda model: loop(model, nn.Linear, linear(Retyped)),
            OURS: lambda model: ts.replace(model, nn.Linear, Retyped),
            OURS + ", subclass with a constructor": lambda model: ts.replace(model, nn.Linear, Rebuilt),
        },
    ),
}


def memory() -> list[dict[str, Any]]:
    rows = []
    for case, (_, contenders) in MEMORY.items():
        for name in contenders:
            print(f"  memory: {case}: {name}", file=sys.stderr)
            command = [sys.executable, __file__, "--memory", case, name]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append({"case": case, "contender": name, **json.loads(output.splitlines()[-1])})
    return rows


def peak(case: str, name: str) -> dict[str, int | None]:
    """Bytes above what the model takes: at the highest, resident and of Python objects; new tensors that stay."""
    build, contenders = MEMORY[case]
    contenders[name](modules(11))  # what is imported and cached on first use is not counted
    model = build()
    gc.collect()
    before, resident = storages(model), reset_resident()
    contenders[name](model)
    highest = peak_resident()
    gc.collect()
    new = storages(model)
    model = build()
    gc.collect()
    tracemalloc.start()
    done = contenders[name](model)  # what can be undone is kept, and counted
    objects = tracemalloc.get_traced_memory()[1]
    del done
    return {
        "peak_resident": None if resident is None or highest is None else max(0, highest - resident),
        "peak_objects": objects,
        "new_tensors": sum(size for key, size in new.items() if key not in before),
    }


def storages(model: nn.Module) -> dict[int, int]:
    tensors = [*model.parameters(), *model.buffers()]
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}


def reset_resident() -> int | None:
    """Begin to look for the highest resident size anew, where Linux lets one; what it is now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return status("VmRSS")
    except OSError:
        return None


def peak_resident() -> int | None:
    try:
        return status("VmHWM")
    except OSError:
        return None


def status(entry: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(entry + ":"))


# --- results


def facts() -> dict[str, Any]:
    versions = {}
    for package in (package for package in PACKAGES if package not in LEFT_OUT):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "versions": versions,
        "left_out": sorted(LEFT_OUT),
    }


def cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def row(case: Case) -> dict[str, Any]:
    base = next((times for name, times in case.times.items() if name.startswith(LOOP)), None)
    contenders = {}
    for name, times in case.times.items():
        entry: dict[str, Any] = {"runs": len(times), "median_s": statistics.median(times), "min_s": min(times)}
        if base and name != "undo":
            entry["ratio_of_medians"] = statistics.median(times) / statistics.median(base)
            entry["ratio_of_minima"] = min(times) / min(base)
        contenders[name] = entry
    return {"case": case.name, "layers": case.layers, "limit": case.limit, "contenders": contenders}


def table(results: dict[str, Any]) -> str:
    return "\n".join([*_head(results["facts"]), "", *times(results["times"]), *_memory(results["memory"])]) + "\n"


def _head(known: dict[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    yield "# Benchmarks"
    yield ""
    yield "Written by `make bench` (benchmarks/run.py); do not edit."
    yield ""
    machine = f"{known['cpu']}, {known['cores']} cores, {known['torch_threads']} thread for torch"
    yield f"{known['date']} · {machine} · {known['system']}  "
    yield f"Python {known['python']}, {versions}"
    if known["left_out"]:
        yield f"Left out, since they can't be imported: {', '.join(known['left_out'])}."
    yield ""
    yield "Times are medians (and the fastest run). × is a share of the naive loop's time, likewise."
    yield "The naive loop: `named_modules`, the constructor, `load_state_dict`, `setattr` on the parent."


def times(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The table of times, line by line."""
    yield "| case | contender | time in ms | µs a layer | × naive loop | aim |"
    yield "|---|---|--:|--:|--:|--:|"
    for found in rows:
        case = found["case"]
        for name, entry in found["contenders"].items():
            a_layer = 1e6 * entry["median_s"] / found["layers"]
            ratio = "" if "ratio_of_medians" not in entry else _ratio(entry)
            aim = "≤ 1 µs" if name == "undo" else f"≤ {found['limit']}" if found["limit"] and name == OURS else ""
            bold = "**" if name.startswith(OURS) else ""
            milliseconds = f"{1e3 * entry['median_s']:,.1f} ({1e3 * entry['min_s']:,.1f})"
            yield f"| {case} | {bold}{name}{bold} | {milliseconds} | {a_layer:,.1f} | {ratio} | {aim} |"
            case = ""


def _ratio(entry: dict[str, Any]) -> str:
    return f"{entry['ratio_of_medians']:.3f} ({entry['ratio_of_minima']:.3f})"


def _memory(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield ""
    yield "Memory beyond the model, at the highest, each in a process of its own:"
    yield ""
    yield from memories(rows)


def memories(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The table of memory, line by line."""
    yield "| case | contender | resident, MB | Python objects, MB | new tensors that stay, MB |"
    yield "|---|---|--:|--:|--:|"
    previous = ""
    for found in rows:
        case, previous = "" if found["case"] == previous else found["case"], found["case"]
        sizes = " | ".join(_megabytes(found[key]) for key in ("peak_resident", "peak_objects", "new_tensors"))
        yield f"| {case} | {found['contender']} | {sizes} |"


def _megabytes(number: int | None) -> str:
    return "?" if number is None else f"{number / 1e6:,.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="the cases whose names hold this text; nothing is written")
    parser.add_argument("--seconds", type=float, default=2.5, help="for each case, about")
    parser.add_argument("--rounds", type=int, default=15, help="at most, for each case")
    parser.add_argument("--memory", nargs=2, metavar=("CASE", "CONTENDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        print(json.dumps(peak(*options.memory)))
        return
    chosen = [case for case in cases() if options.only in case.name]
    for i, case in enumerate(chosen, 1):
        print(f"  {i}/{len(chosen)} {case.name}", file=sys.stderr)
        measure(case, options.seconds, options.rounds)
    results = {"facts": facts(), "times": [row(case) for case in chosen], "memory": [] if options.only else memory()}
    text = table(results)
    print(text)
    if not options.only:
        RESULTS.mkdir(exist_ok=True)
        data = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
        (RESULTS / "results.json").write_text(data, encoding="utf-8")
        (RESULTS / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
