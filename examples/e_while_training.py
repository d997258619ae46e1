"""Layers are replaced at run time, while a training loop runs and its optimizer goes on.

Three models: plain (layers in a row), nested (Sequential in Sequential) and not sequential (ResNet-18, whose blocks add
their input). The layer is got by hand, as a reference: `next(next(net.layer4.children()).children())`.

    python examples/e_while_training.py
"""

from collections import OrderedDict
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torchvision.models import resnet18

import torchsurgery as ts


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 4 * 4, 10)
    )


def nested() -> nn.Module:
    def block(channels: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())

    stages = {"layer3": nn.Sequential(block(3)), "layer4": nn.Sequential(block(16), block(16))}
    return nn.Sequential(OrderedDict(**stages, flat=nn.Flatten(), head=nn.Linear(16 * 8 * 8, 10)))


def batches(size: int = 32) -> Iterator[tuple[Tensor, Tensor]]:
    """Handwritten digits as images of three channels, in random order, without end."""
    images, digits = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    images = images.float().reshape(-1, 1, 8, 8).expand(-1, 3, 8, 8) / 16
    while True:
        for rows in torch.randperm(len(images)).split(size)[:-1]:  # the last one is short
            yield images[rows], digits[rows]


def train(net: nn.Module, optimizer: torch.optim.Optimizer, data: Iterator[tuple[Tensor, Tensor]], steps: int) -> float:
    """The mean loss of these steps."""
    total = 0.0
    for _, (images, digits) in zip(range(steps), data, strict=False):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), digits)
        loss.backward()
        optimizer.step()
        total += loss.item() / steps
    return total


def change_while_training(name: str, net: nn.Module, conv: nn.Module, lr: float) -> None:
    """Train; make the kernel of `conv` larger and every ReLU a SiLU; train on with the same optimizer."""
    optimizer, data = torch.optim.AdamW(net.parameters(), lr=lr), batches()
    losses = [train(net, optimizer, data, 8) for _ in range(2)]
    weight, momentum = conv.weight, optimizer.state[conv.weight]["exp_avg"]

    plan = ts.plan(net).replace(conv, nn.Conv2d, kernel_size=5).replace(nn.ReLU, nn.SiLU)
    print(f"{name}: {plan!r}")
    plan.apply(optimizer=optimizer)

    # The reference is still good, and the momentum of the 3×3 kernel lies in the middle of the 5×5 one's.
    assert conv.kernel_size == (5, 5) and weight.shape[-2:] == (3, 3)
    carried = optimizer.state[conv.weight]["exp_avg"]
    assert torch.equal(carried[..., 1:4, 1:4], momentum) and carried.count_nonzero() == momentum.count_nonzero()
    assert {id(p) for p in net.parameters()} == {id(p) for group in optimizer.param_groups for p in group["params"]}

    losses += [train(net, optimizer, data, 8) for _ in range(2)]
    assert losses == sorted(losses, reverse=True)
    print(f"  loss {losses[0]:.2f} → {losses[1]:.2f}, changed, → {losses[2]:.2f} → {losses[3]:.2f}")
    print(f"  momentum of the kernel carried: {tuple(momentum.shape)} → {tuple(carried.shape)}")


def main() -> None:
    torch.manual_seed(0)
    net = plain()
    change_while_training("plain", net, next(net.children()), lr=5e-3)
    net = nested()
    change_while_training("nested", net, next(next(net.layer4.children()).children()), lr=1e-3)
    net = resnet18(num_classes=10)
    change_while_training("not sequential", net, next(next(net.layer4.children()).children()), lr=5e-4)


if __name__ == "__main__":
    main()
