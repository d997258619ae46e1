"""Only the convolutions of a given kernel size get another one: 7×7 → 5×5, and 3×3 → 5×5 in the last stage.

Smaller kernels drop taps: the plan says how much of each kernel's energy goes with them, before anything is changed.

    python examples/d_by_kernel_size.py
"""

import torch
from torch import nn
from torchvision.models import resnet18

import torchsurgery as ts


def sizes(model: nn.Module) -> dict[str, int]:
    """How many convolutions there are of each kernel size."""
    found = [conv.kernel_size for conv in ts.select(model, nn.Conv2d).modules]
    return {f"{height}×{width}": found.count((height, width)) for height, width in sorted(set(found))}


def main() -> None:
    torch.manual_seed(0)
    model, images = resnet18().eval(), torch.randn(2, 3, 64, 64)
    shapes = model.layer4(model.layer3(model.layer2(model.layer1(model.maxpool(model.conv1(images)))))).shape
    before = sizes(model)

    plan = (
        ts.plan(model)
        .replace(ts.select(model, nn.Conv2d, kernel_size=7), nn.Conv2d, kernel_size=5)
        .replace(ts.select(model, nn.Conv2d, kernel_size=3).inside("layer4"), nn.Conv2d, kernel_size=5)
    )
    print(plan)
    surgery = plan.apply(check=images)

    after = sizes(model)
    print(f"before {before}")
    print(f"after  {after}")
    assert before == {"1×1": 3, "3×3": 16, "7×7": 1}
    assert after == {"1×1": 3, "3×3": 12, "5×5": 5}
    again = model.layer4(model.layer3(model.layer2(model.layer1(model.maxpool(model.conv1(images)))))).shape
    assert again == shapes

    surgery.undo()
    assert sizes(model) == before
    print("undone: the kernel sizes are what they were")


if __name__ == "__main__":
    main()
