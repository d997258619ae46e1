"""What saves and recipes stand: wrong bases, hostile recipes, flipped bits, kills, a full disk; and how fast a load is.

    python benchmarks/keep.py                      everything; rewrites results/keep.md (a few minutes)
    python benchmarks/keep.py --only kills         one of it, printed and not written
    python benchmarks/keep.py --only fuzz --fuzz 1000000 --seed 7 --jobs 16
                                                   as before a release; its last line goes into results/fuzz.jsonl

Works on POSIX systems: processes are forked and killed. Nothing is printed that was not counted here. For what is
fuzzed, PyTorch is enough.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

import torchsurgery as ts

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "recipes"), str(TESTS / "storage"), str(TESTS / "layers")]


def zoo(options: argparse.Namespace, folder: Path) -> str:
    """Alter, save, load in a fresh process, compare every bit of what the models answer."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS / "storage/test_roundtrip.py")]
    found = subprocess.run([*command, "-k", "fresh"], capture_output=True, text=True, check=False)
    from zoo import BUILDERS

    return f"{len(BUILDERS)} of {len(BUILDERS)} models" if found.returncode == 0 else found.stdout[-2000:]


def every_model(options: argparse.Namespace, folder: Path) -> str:
    """What zoo_keep.py has found, in hours, for every model of the zoo and all verbs that can be done to it."""
    import zoo_keep
    from zoo_running import RESULTS, read

    rows = read((RESULTS / zoo_keep.STUDY.file).read_text().splitlines(), zoo_keep.Row)
    known = sum(1 for _ in zoo_keep.everything())
    same = sum((row.tensors, row.answers, row.problem) == ("same", "same", "") for row in rows)
    unread = sum((row.tensors, row.answers) == ("same", "takes too long") for row in rows)
    more = [f"{unread} more whose answers take too long"] * bool(unread)
    more += [f"{len(rows) - same - unread} not"] * (same + unread < len(rows))
    more += [f"{known - len(rows)} not run"] * (len(rows) < known)
    verbs = statistics.mean(len(row.verbs.split()) for row in rows)
    return ", ".join([f"{same} of {known} models, by {verbs:.1f} verbs each", *more])


def bases(options: argparse.Namespace, folder: Path) -> str:
    """A recipe on every other base: all ordered pairs of 30 models."""
    import timm
    import torchvision
    from test_replaying import TIMM, TORCHVISION

    with torch.device("meta"):
        models = {name: torchvision.models.get_model(name) for name in TORCHVISION}
        models |= {f"timm:{name}": timm.create_model(name) for name in TIMM}
    refused = taken = 0
    for name, model in models.items():
        head = [path for path, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
        done = ts.plan(model).insert(nn.Dropout, before=head).apply(check=False)
        recipe = done.recipe
        done.undo()
        for other in (m for key, m in models.items() if key != name):
            try:
                ts.plan(other).replay(recipe)
                taken += 1
            except ts.RecipeError:
                refused += 1
    return f"{refused} of {refused + taken} refused"


def fuzz(options: argparse.Namespace, folder: Path) -> str:
    """Recipes with bytes, members and types changed: errors other than RecipeError, imports, processes."""
    import fuzzing

    counts = [options.fuzz // options.jobs + (job < options.fuzz % options.jobs) for job in range(options.jobs)]
    began = time.perf_counter()
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        parts = pool.starmap(fuzzing.run, [(count, f"{options.seed}.{job}") for job, count in enumerate(counts)])
    found = {kind: sum((part[kind] for part in parts), type(parts[0][kind])()) for kind in parts[0]}
    for what in (found["foreign"] + found["imports"])[:3]:
        print(*what, file=sys.stderr)
    told = {kind: value if isinstance(value, int) else len(value) for kind, value in found.items()}
    told |= {"seed": options.seed, "jobs": options.jobs, "seconds": round(time.perf_counter() - began)}
    told |= {"python": platform.python_version(), "torch": str(torch.__version__)}
    print(json.dumps(told), flush=True)
    return _fuzzed(told)


def _fuzzed(told: dict[str, Any]) -> str:
    """What a run of the fuzzing came to, of this process or of another machine."""
    bad = f"{told['foreign']} foreign errors, {told['imports']} imports"
    return f"{bad} in {told['tried']:,} (of which {told['replayed']:,} could be replayed)"


def _fuzzed_elsewhere() -> Iterator[str]:
    """Rows of the runs whose last lines were put into results/fuzz.jsonl."""
    for path in (HERE / "results").glob("fuzz.jsonl"):
        for told in map(json.loads, path.read_text().splitlines()):
            yield f"| changed recipes, with Python {told['python']} and torch {told['torch']} | 0 | {_fuzzed(told)} |"


def bits(options: argparse.Namespace, folder: Path) -> str:
    """One bit flipped in any file of a small save; every truncation of the header of its weights."""
    import test_corruption as corruption

    from torchsurgery.storage.opening import INDEX
    from torchsurgery.storage.tensors import read_header

    net = corruption.base()
    ts.prune(net, "0", 0.5, example_inputs=torch.randn(2, 3))
    ts.save(net, folder / "save", state={"epoch": 1})
    files = {path: path.read_bytes() for path in (folder / "save").iterdir() if path.name != INDEX}
    places = [(path, bit) for path, data in files.items() for bit in range(len(data) * 8)]
    draw, found = random.Random(options.seed), 0
    chosen = draw.sample(places, min(options.bits, len(places)))
    for path, bit in chosen:
        data = bytearray(files[path])
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        found += _is_refused(lambda: corruption.read(folder / "save"))
        path.write_bytes(files[path])
    corruption.read(folder / "save")
    weights = next(path for path in files if path.name.startswith("weights"))
    data, cut = files[weights], 0
    length = 8 + int.from_bytes(data[:8], "little")
    for end in range(length):
        weights.write_bytes(data[:end])
        with weights.open("rb") as file:
            cut += _is_refused(lambda file=file, end=end: read_header(file, "cut", end))
    return f"{found:,} of {len(chosen):,} flips, {cut:,} of {length:,} truncations found"


def _is_refused(work: Callable[[], object]) -> bool:
    try:
        work()
    except ts.RecipeError:
        return True
    return False


def tampered(options: argparse.Namespace, folder: Path) -> str:
    """Saves of which a file was changed and every digest made right again."""
    import tampering

    found = tampering.run(options.tampered, options.seed)
    for what in (found["foreign"] + found["imports"])[:3]:
        print(*what, file=sys.stderr)
    bad = f"{len(found['foreign'])} foreign errors, {len(found['imports'])} imports"
    return f"{bad} in {found['tried']:,} (of which {found['loaded']:,} could be loaded)"


def kills(options: argparse.Namespace, folder: Path) -> str:
    """`kill -9` at random moments of a process that saves one version after the other."""
    import crashing

    last = crashing.killed(folder / "save", options.kills, options.seed)
    return f"0 mixed or lost of {options.kills} kills ({last:.0f} versions came through whole)"


def disk(options: argparse.Namespace, folder: Path) -> str:
    """No room for the first shard, for the second, …"""
    import crashing

    failed = crashing.full_at_each_shard(folder / "save")
    return f"{failed} of {failed} told, the old save whole and nothing else there"


class Scaled(nn.Linear):
    """What comes in the place of 96 layers."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, scale: float = 1.0):
        super().__init__(in_features, out_features, bias)
        self.scale = scale


def seven_billion(options: argparse.Namespace, folder: Path) -> str:
    """`ts.load(folder, base=…, device="meta")` of a Llama of 7 billion parameters of which 96 layers were replaced."""
    import transformers

    from torchsurgery.storage.contents import About, Contents, State, write_contents
    from torchsurgery.storage.folder import transaction
    from torchsurgery.storage.slots import slots_of

    ts.register("benchmark/scaled", Scaled)
    config = transformers.LlamaConfig(num_hidden_layers=32)

    def build() -> nn.Module:
        return transformers.LlamaForCausalLM(config)

    with torch.device("meta"):
        model = build().bfloat16()
    layers = ts.select(model, "model.layers.*.mlp.*_proj").expect(96)
    ts.plan(model).replace(layers, Scaled, scale=0.5).apply(check=False)
    slots = slots_of(model)
    with transaction(folder / "save") as under_way:
        write_contents(under_way, Contents(ts.recipe_of(model), State.of(model), About.of(model, None)))
        for role, saved in (("weights", True), ("buffers", False)):
            shapes = {name: slot.tensor for name, slot in slots.items() if slot.saved is saved}
            under_way.add(role, "safetensors", lambda sink, shapes=shapes: _hole(sink, shapes))
        under_way.commit(None)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        loaded = ts.load(folder / "save", base=build, device="meta")
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
        with torch.device("meta"):
            build()
        times[-1] = times[-1], time.perf_counter() - start
    assert sum(isinstance(module, Scaled) for module in loaded.modules()) == 96
    whole, base = (statistics.median(column) for column in zip(*times, strict=True))
    count = sum(p.numel() for p in loaded.parameters()) / 1e9
    return f"{whole:.2f} s for {count:.1f} billion parameters, {whole / base:.1f} × building the base alone"


def _hole(sink, tensors) -> None:
    """A file of these tensors that takes no room: its header, and a hole for the rest."""
    from torchsurgery.storage.tensors import NAMES

    header, begin = {}, 0
    for name, tensor in tensors.items():
        end = begin + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        begin = end
    data = json.dumps(header).encode()
    sink.write(len(data).to_bytes(8, "little") + data)
    sink._file.truncate(8 + len(data) + begin)
    sink.size = 8 + len(data) + begin


CASES: dict[str, tuple[str, str, Callable[[argparse.Namespace, Path], str]]] = {
    "zoo": ("alter → save → load in a fresh process → the same bits", "every model", zoo),
    "bases": ("a recipe on a wrong base", "all refused", bases),
    "fuzz": ("changed recipes: errors other than RecipeError, imports", "0", fuzz),
    "bits": ("changed files of a save", "all found", bits),
    "tampered": ("changed saves whose digests are right", "0", tampered),
    "kills": ("kill −9 while saving", "0 mixed or lost", kills),
    "disk": ("no room at each shard", "0 mixed or lost", disk),
    "meta": ("load on meta of 7 billion parameters, 96 layers replaced", "< 2 s", seven_billion),
    "every": ("zoo_keep.py: all verbs → save → load in a fresh process → the same bits", "every model", every_model),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CASES, help="one case, printed and not written")
    parser.add_argument("--fuzz", type=int, default=100_000, help="how many recipes are changed")
    parser.add_argument("--bits", type=int, default=10_000, help="how many bits are flipped")
    parser.add_argument("--tampered", type=int, default=2_000, help="how many saves are changed, digests and all")
    parser.add_argument("--kills", type=int, default=200, help="how often a save is killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes that change recipes")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = []
    for name, (what, aim, measure) in CASES.items():
        if options.only in (None, name):
            folder = Path(tempfile.mkdtemp())
            try:
                rows.append(f"| {what} | {aim} | {measure(options, folder)} |")
            finally:
                shutil.rmtree(folder)
            print(rows[-1], flush=True)
    if options.only is None:
        command = " ".join(["python benchmarks/keep.py", *sys.argv[1:]])
        head = f"torch {torch.__version__}, Python {platform.python_version()}, {platform.system()}"
        rows += list(_fuzzed_elsewhere())
        table = "\n".join(["| measure | to reach | measured |", "|---|---|---|", *rows])
        (HERE / "results" / "keep.md").write_text(
            f"# What saves and recipes stand\n\nWritten by `{command}`; {head}.\n\n{table}\n"
        )


if __name__ == "__main__":
    main()
