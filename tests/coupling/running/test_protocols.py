"""What a model tells of its own width follows, though its forward never reads it."""

import pytest
import timm
import torch
from torch import nn

import torchsurgery as ts


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "vit_tiny_patch16_224",
        "mobilenetv3_small_050",
        "convnext_atto",
        "efficientnet_b0",
        "regnetx_002",
        "densenet121",
    ],
)
def test_timm_builds_the_next_head_as_wide_as_what_is_left(name):
    model, x = timm.create_model(name, num_classes=10).eval(), torch.randn(1, 3, 224, 224)
    before = model.get_classifier().in_features
    ts.prune(model, amount=0.5, example_inputs=x)
    assert model.get_classifier().in_features < before
    model.reset_classifier(7)
    with torch.no_grad():
        assert model(x).shape == (1, 7)


class Own(nn.Module):
    """Tells its width as timm does, in a way of its own."""

    def __init__(self, told, asked=()):
        super().__init__()
        self.body, self.head, self.num_features, self.asked = nn.Linear(4, 8), nn.Linear(8, 3), told, asked

    def get_classifier(self, *which):
        if len(which) < len(self.asked):
            raise TypeError("which one?")
        return self.head

    def forward(self, x):
        return self.head(self.body(x))


@pytest.mark.parametrize(("model", "left"), [(Own(8), 4), (Own(9), 9), (Own(8, "ab"), 8)])
def test_a_number_that_is_another_stays(model, left):
    done = ts.prune(model, amount=0.5, example_inputs=torch.randn(2, 4))
    assert (model.num_features, model.head.in_features) == (left, 4)
    done.undo()
    assert model.num_features in (8, 9) and model.head.in_features == 8
