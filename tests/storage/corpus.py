"""Saves of every released version, which must load for ever: a folder for each version, in it one for each case.

    python tests/storage/corpus.py      writes the cases of the version at hand that aren't there yet; none is rewritten

Beside each save lies what the model answers to X. Networks and inputs here must stay what they are.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

import torchsurgery as ts

CORPUS = Path(__file__).parent / "corpus"


class Scaled(nn.Module):
    def __init__(self, inner, times=2.0):
        super().__init__()
        self.inner, self.factor = inner, nn.Parameter(torch.tensor(times))

    def forward(self, x):
        return self.inner(x) * self.factor


ts.register("corpus/scaled", Scaled)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.again = nn.Conv2d(width, width, 1)

    def forward(self, x):
        return x + self.again(nn.functional.relu(self.norm(self.conv(x))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 4, 3), nn.ReLU()
        self.blocks = nn.ModuleList([Block(4), Block(4)])
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))
        self.register_buffer("mean", torch.arange(3.0).reshape(1, 3, 1, 1), persistent=False)
        self.num_classes = 6

    def forward(self, x):
        x = self.act(self.stem(x - self.mean))
        for block in self.blocks:
            x = self.act(block(x))
        return self.head(x)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.mix = nn.Embedding(16, 8), nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.out = nn.Linear(8, 16, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x):
        return self.out(self.mix(self.embed(x)))


X = torch.linspace(-1, 1, 2 * 3 * 6 * 6).reshape(2, 3, 6, 6)
TOKENS = torch.arange(10).reshape(2, 5)

CASES = {
    "replace": (Net, lambda m: ts.replace(m, nn.BatchNorm2d, nn.GroupNorm, num_groups=2)),
    "kernel": (Net, lambda m: ts.replace(m, "blocks.*.again", nn.Conv2d, kernel_size=3)),
    "shared": (Net, lambda m: ts.replace(m, nn.ReLU, nn.PReLU(), share=True)),
    "factory": (Net, lambda m: ts.replace(m, "head.2", lambda old: nn.Sequential(nn.Dropout(0.1), old))),
    "insert": (Net, lambda m: ts.insert(m, nn.Dropout2d(0.2), after=nn.ReLU)),
    "wrap": (Net, lambda m: ts.wrap(m, nn.Conv2d, Scaled, times=1.5)),
    "remove": (Net, lambda m: ts.remove(m, "blocks.1")),
    "fold": (Net, lambda m: ts.fold(m, X)),
    "outputs": (Net, lambda m: ts.set_outputs(m, 3, keep=[4, None, 1], example_inputs=X)),
    "inputs": (Net, lambda m: ts.set_inputs(m, 3, example_inputs=X)),
    "prune": (Net, lambda m: ts.prune(m, "blocks.0.conv", 0.5, example_inputs=X)),
    "widen": (Net, lambda m: ts.widen(m, "blocks.0.conv", 6, example_inputs=X)),
    "calls": (Net, lambda m: ts.replace(m, nn.functional.relu, nn.SiLU)),
    "frozen": (Net, ts.freeze_norms),
    "low_rank": (Net, lambda m: ts.factorize(m, "blocks.0.conv", rank=2)),
    "bfloat16": (Net, lambda m: (ts.replace(m, nn.ReLU, nn.GELU), m.bfloat16())),
    "tied": (Words, lambda m: ts.replace(m, nn.LayerNorm, nn.RMSNorm)),
    "attention": (Words, lambda m: ts.replace(m, nn.MultiheadAttention, ts.SeparateAttention)),
    "chain": (
        Net,
        lambda m: (
            ts.replace(m, "blocks.0.norm", nn.GroupNorm, num_groups=2),
            ts.insert(m, nn.Dropout(0.1), before="head.2"),
            ts.wrap(m, "stem", Scaled),
            ts.fold(m, X),
            ts.prune(m, "blocks.1.conv", 0.25, example_inputs=X),
        ),
    ),
}


def answer(model):
    given = TOKENS if isinstance(model, Words) else X.to(next(model.parameters()).dtype)
    with torch.no_grad():
        return model.eval()(given)


def write(folder):
    for name, (build, alter) in CASES.items():
        if (folder / name).exists():
            continue
        torch.manual_seed(len(name))
        model = build().eval()
        alter(model)
        ts.save(model, folder / name / "save", base=build, state={"epoch": 1})
        save_file({"answer": answer(model).contiguous()}, folder / name / "answer.safetensors")


def check(folder):
    """Load one case, and compare what it answers."""
    build, _ = CASES[folder.name]
    model = ts.load(folder / "save", base=build)
    kept = load_file(folder / "answer.safetensors")["answer"]
    return torch.allclose(answer(model), kept, rtol=1e-3, atol=1e-5 if kept.dtype is torch.float32 else 1e-2)


if __name__ == "__main__":
    write(CORPUS / (sys.argv[1] if len(sys.argv) > 1 else version("torchsurgery")))
