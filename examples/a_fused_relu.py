"""Every ReLU of a ResNet-18 becomes a layer of one's own: ReLU and Dropout in one.

python examples/a_fused_relu.py
"""

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

import torchsurgery as ts


class FusedReLU(nn.Module):
    def __init__(self, p: float = 0.1) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.relu(x))


def main() -> None:
    torch.manual_seed(0)
    model, images = resnet18(), torch.randn(8, 3, 64, 64)
    model(images)  # in train mode: BatchNorm gets statistics of its own
    model.eval()
    with torch.no_grad():
        before = model(images)

        surgery = ts.replace(model, nn.ReLU, FusedReLU, p=0.2)
        print(surgery)

        # 17 calls of 9 modules: ResNet's blocks use one ReLU twice.
        assert len(ts.select(model, FusedReLU)) == 9
        assert torch.equal(model(images), before)
        print("eval:  the output is the same, bit for bit")

        model.train()
        first, second = model(images), model(images)
        assert all(fused.dropout.training for fused in ts.select(model, FusedReLU).modules)
        assert not torch.equal(first, second)
        print(f"train: dropout is live, two runs differ by up to {(first - second).abs().max():.2f}")


if __name__ == "__main__":
    main()
