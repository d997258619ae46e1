"""How large the page of a model with 10,000 layers is, and how long it takes to write and to open.

    python benchmarks/page.py                 measures, and rewrites results/page.md
    python benchmarks/page.py --picture PATH  draws docs/report.png instead

Needs Debian's chromium and chromium-driver; see chromium.py.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import torch
from chromium import MISSING, Chromium
from torch import nn

import torchsurgery as ts

RESULTS = Path(__file__).parent / "results" / "page.md"
RUNS = 5


class Block(nn.Module):
    """Four layers of a transformer's feed-forward half."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.widen = nn.LayerNorm(8), nn.Linear(8, 32)
        self.activation, self.narrow = nn.ReLU(), nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(self.activation(self.widen(self.norm(x))))


def large() -> nn.Module:
    """50 × 50 blocks: 10,000 layers."""
    return nn.Sequential(*(nn.Sequential(*(Block() for _ in range(50))) for _ in range(50)))


def edited(name: str, model: nn.Module) -> ts.Plan:
    """Nothing changed, one layer, or half of them."""
    plan = ts.plan(model)
    if name == "one layer replaced":
        return plan.replace("7.3.activation", nn.GELU)
    return plan if name == "nothing changed" else plan.replace((nn.ReLU, nn.LayerNorm), nn.Identity)


def opened(browser: Chromium, page: Path) -> float:
    """Milliseconds from the request for a page until it is loaded, laid out and painted: the median of some."""
    taken = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        browser.show(page)
        browser.picture(most=900)
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken)


def measure(folder: Path, browser: Chromium) -> list[str]:
    """One line of the table for each kind of page."""
    lines = []
    for name in ("nothing changed", "one layer replaced", "5,000 layers replaced"):
        page = folder / "page.html"
        begun = time.perf_counter()
        edited(name, large()).report(page)
        written = time.perf_counter() - begun
        size = page.stat().st_size
        line = f"| {name} | {size / 1e6:.2f} MB | {written:.1f} s | {opened(browser, page) / 1000:.2f} s |"
        lines.append(line)
        print(line, flush=True)
    return lines


def draw(browser: Chromium, folder: Path, path: Path) -> None:
    """The picture of the documentation: a ResNet-18, pruned and with another head."""
    import torchvision
    from PIL import Image

    torch.manual_seed(0)
    model = torchvision.models.resnet18().eval()
    x = torch.randn(1, 3, 224, 224)
    plan = ts.plan(model, x).prune("layer*.*.conv1", 0.25).replace("fc", nn.Linear(512, 10))
    page = plan.report(folder / "page.html", source="torchvision:resnet18")
    browser.show(page, width=1180)
    picture = Image.open(io.BytesIO(browser.picture(most=1000)))
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="draw the picture of the documentation there, and measure nothing")
    given = parser.parse_args()
    if MISSING:
        sys.exit(MISSING)
    with tempfile.TemporaryDirectory() as folder:
        browser = Chromium(Path(folder, "profile"))
        try:
            if given.picture:
                draw(browser, Path(folder), given.picture)
                return
            lines = measure(Path(folder), browser)
        finally:
            browser.close()
    head = [
        "# The page of a model with 10,000 layers",
        "",
        f"*Measured by `python benchmarks/page.py`, {date.today()}, PyTorch {torch.__version__}, headless Chromium.*",
        "",
        "| | size | written in | opened and painted in |",
        "|---|---|---|---|",
    ]
    RESULTS.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
