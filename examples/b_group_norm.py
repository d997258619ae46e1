"""Every BatchNorm2d of a ResNet-18 becomes a GroupNorm with 8 groups.

The number of channels comes from each old layer, and so does the affine map. The statistics are others from now on, so
a trained network has to be tuned a little: `demo.py` shows that.

    python examples/b_group_norm.py
"""

import torch
from torch import nn
from torchvision.models import resnet18

import torchsurgery as ts


def main() -> None:
    torch.manual_seed(0)
    model, images = resnet18(), torch.randn(8, 3, 64, 64)
    norms = ts.select(model, nn.BatchNorm2d).expect(20)
    for norm in norms.modules:  # as training would leave them
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.1)
    affine = [(norm.weight, norm.bias) for norm in norms.modules]

    plan = ts.plan(model).replace(norms, nn.GroupNorm, num_groups=8)
    print(plan)
    print(plan.apply(check=images))

    groups = ts.select(model, nn.GroupNorm).modules
    assert [group.num_channels for group in groups[:2]] == [64, 64] and groups[-1].num_channels == 512
    assert all(group.num_groups == 8 for group in groups)
    assert all(
        group.weight is weight and group.bias is bias for group, (weight, bias) in zip(groups, affine, strict=True)
    )
    print("the affine Parameters are the very objects that the BatchNorms had")

    # A batch norm lets the images of a batch influence each other in training; a group norm doesn't.
    alone, among_others = model(images[:1]), model(images)[:1]
    torch.testing.assert_close(alone, among_others, rtol=1e-4, atol=1e-4)
    print("train: an image alone gives what it gives in a batch")


if __name__ == "__main__":
    main()
