"""How long a first look takes: help, and a tree of a model of one's own, each in a process of its own.

    python benchmarks/look.py        measures, and rewrites results/look.md

All take turns, so that what else the machine does hits them alike; the fastest of some runs counts.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import torch

import torchsurgery as ts

RESULTS = Path(__file__).parent / "results" / "look.md"
RUNS = 5
NET = """
import torch
from torch import nn


def build(width=64):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, 10),
    )
"""
_CLI = [sys.executable, "-m", "torchsurgery"]
COMMANDS = {
    "`import torch`": [sys.executable, "-c", "import torch"],
    "`torchsurgery --help`": [*_CLI, "--help"],
    "`torchsurgery inspect mine.py:build`": [*_CLI, "inspect", "mine.py:build", "--input", "1,3,64,64"],
    "`import torch, torchvision`": [sys.executable, "-c", "import torch, torchvision"],
    "`torchsurgery inspect torchvision:resnet18`": [*_CLI, "inspect", "torchvision:resnet18"],
}
AIMS = {1: "< 0.3 s", 2: "< 10 s beyond torch"}


def seconds(command: list[str], folder: Path) -> float:
    """How long a command takes; it has to succeed."""
    sources = str(Path(ts.__path__[0]).parent)
    begun = time.perf_counter()
    subprocess.run(
        command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": sources}
    )
    return time.perf_counter() - begun


def main() -> None:
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mine.py").write_text(NET, encoding="utf-8")
        for _ in range(RUNS + 1):  # the first fills the caches of files
            for name, command in COMMANDS.items():
                taken[name].append(seconds(command, Path(folder)))
    best = {name: min(times[1:]) for name, times in taken.items()}
    unit = best["`import torch`"]
    lines = [
        f"| {name} | {best[name]:.2f} s | {best[name] / unit:.2f} | {AIMS.get(place, '')} |"
        for place, name in enumerate(COMMANDS)
    ]
    head = [
        "# A first look",
        "",
        f"*Measured by `python benchmarks/look.py`, {date.today()}, PyTorch {torch.__version__}, "
        f"Python {platform.python_version()}; the fastest of {RUNS} runs, which took turns.*",
        "",
        "| command | time | × importing torch | to reach |",
        "|---|--:|--:|---|",
    ]
    RESULTS.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
