"""Every 1×1 convolution of a ResNet-18 becomes a 3×3 one that computes the same.

The trained weight sits in the middle of the larger kernel, and the padding follows; strides and shapes are what they
were. The new taps are zero, not frozen: training can use them.

    python examples/c_larger_kernels.py
"""

import torch
from torch import nn
from torchvision.models import resnet18

import torchsurgery as ts


def main() -> None:
    torch.manual_seed(0)
    model, images = resnet18(), torch.randn(8, 3, 64, 64)
    model(images)  # in train mode: BatchNorm gets statistics of its own
    model.eval()
    with torch.no_grad():
        before = model(images)

    pointwise = ts.select(model, nn.Conv2d, kernel_size=1).expect(3)  # those on the shortcuts
    strides = [conv.stride for conv in pointwise.modules]
    plan = ts.plan(model).replace(pointwise, nn.Conv2d, kernel_size=3)
    print(plan)
    plan.apply(check=images)

    for place, stride in zip(pointwise, strides, strict=True):
        conv = model.get_submodule(place.name)
        assert (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), stride, (1, 1))
        print(f"{place.name}: stride {conv.stride} as before, padding {conv.padding}")
    with torch.no_grad():
        difference = (model(images) - before).abs().max().item()
    assert difference < 1e-5
    print(f"largest difference of the output: {difference:.1e}")


if __name__ == "__main__":
    main()
