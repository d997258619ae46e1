"""Plans that tests print."""

import torch
from torch import nn

import torchsurgery as ts


class FusedReLU(nn.Sequential):
    """What a user has: ReLU, then Dropout."""

    def __init__(self, inplace=False):
        super().__init__(nn.ReLU(inplace), nn.Dropout(0.1))


def small():
    act = nn.ReLU()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), act, nn.Conv2d(8, 8, 1), act, nn.Flatten()
        )


def chain(model):
    return (
        ts.plan(model)
        .replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=4)
        .replace(nn.Conv2d, nn.Conv2d, kernel_size=5)
        .insert(nn.Dropout(0.1), after=nn.ReLU)
        .wrap("3", nn.Sequential)
        .remove(nn.Flatten)
    )


PLANS = {
    "plan_of_nothing": lambda model: ts.plan(nn.ReLU()),
    "plan_small": lambda model: chain(small()),
    "plan_resnet18": lambda model: (
        ts.plan(model)
        .replace(nn.ReLU, FusedReLU)
        .replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=8)
        .replace(ts.select(model, nn.Conv2d, kernel_size=(1, 1)), nn.Conv2d, kernel_size=3)
        .replace("fc", nn.Linear(512, 10))
    ),
    "plan_smaller_kernels": lambda model: ts.plan(model).replace(
        ts.select(model, nn.Conv2d, kernel_size=7), nn.Conv2d, kernel_size=3
    ),
    "plan_never_called": lambda model: ts.plan(nn.MultiheadAttention(4, 2)).replace(
        "out_proj", lambda old: nn.Linear(4, 4)
    ),
    "plan_follow_up": lambda model: ts.plan(nn.TransformerEncoderLayer(4, 2, 8)).replace("linear1", nn.Linear(4, 8)),
    "plan_nested": lambda model: ts.plan(nn.Sequential(nn.Sequential(nn.Sequential(nn.ReLU())))).replace(
        ("0", "0.0", "0.0.0"), nn.Identity()
    ),
    "plan_pruned": lambda model: (
        ts.plan(model, torch.zeros(1, 3, 224, 224)).prune("layer*.*.conv1", 0.25).set_outputs(10)
    ),
}
