"""Runs commands in this process, and nets for them that are built at once."""

import json
import textwrap
from typing import NamedTuple

from torchsurgery.cli import main

NETS = """
import torch
from torch import nn


def small(width=8, *, classes=4):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 8, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(5, 4), nn.Linear(4, 2)

    def forward(self, ids, scale):
        return self.out(self.table(ids)) * scale


class Mine(nn.Linear):
    pass


class Around(nn.Module):
    def __init__(self, inner, gain=1.0):
        super().__init__()
        self.inner, self.gain = inner, gain

    def forward(self, x):
        return self.inner(x) * self.gain


def sigmoid():
    return nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 2))


def interrupted():
    raise KeyboardInterrupt


def broken():
    raise ValueError("no luck")
"""


class Answer(NamedTuple):
    """What a command has answered."""

    code: int
    out: str
    err: str

    @property
    def data(self):
        return json.loads(self.out)


def command(capsys, *words):
    """Run one command; a way of leaving that argparse takes is a code, too."""
    try:
        code = main([str(word) for word in words])
    except SystemExit as left:
        code = left.code
    captured = capsys.readouterr()
    return Answer(code, captured.out, captured.err)


def text(lines):
    """A text as written in a test, without its indent."""
    return textwrap.dedent(lines).lstrip("\n")
