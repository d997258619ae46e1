"""torchvision's own operations pass channels through."""

import torch
import torchvision
from torch import nn
from torchvision.ops import DeformConv2d, nms, roi_align, roi_pool

import torchsurgery as ts


class Regions(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.body, self.head, self.pool = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8 * 4, 2), pool

    def forward(self, x):
        boxes = torch.tensor([[0.0, 1.0, 1.0, 6.0, 6.0], [0.0, 2.0, 2.0, 7.0, 7.0]])
        return self.head(self.pool(self.body(x), boxes, output_size=2).flatten(1))


def test_regions():
    for pool in (roi_align, roi_pool):
        model = Regions(pool)
        coupling = ts.trace(model, torch.randn(1, 3, 8, 8))
        assert not coupling.unknown
        ts.prune(model, "body", 4, example_inputs=torch.randn(1, 3, 8, 8))
        assert model.head.in_features == 16


def test_deformable_convolution():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.offsets = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 18, 3, padding=1)
            self.two = DeformConv2d(8, 6, 3, padding=1)

        def forward(self, x):
            return self.two(self.one(x), self.offsets(x))

    model, x = Net(), torch.randn(1, 3, 8, 8)
    coupling = ts.trace(model, x)
    assert coupling.group("one").taking == ("two",)
    assert "positions of deform_conv2d" in str(coupling.why("offsets")[0])
    ts.prune(model, "one", 4, example_inputs=x)
    assert model(x).shape == (1, 6, 8, 8)


def test_boxes_that_are_left():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.boxes, self.scores, self.marks = nn.Linear(4, 4), nn.Linear(4, 1), nn.Linear(4, 6)
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            kept = nms(self.boxes(x), self.scores(x)[:, 0], 0.5)
            return self.head(self.marks(x))[kept]

    coupling = ts.trace(Net(), torch.rand(5, 4))
    assert not coupling.unknown
    assert coupling.group("marks").taking == ("head",)
    assert "nms chooses among boxes" in str(coupling.why("boxes")[0])


def test_a_detector_may_find_another_number_of_boxes():
    small = {"min_size": 64, "max_size": 64, "rpn_post_nms_top_n_test": 16, "box_detections_per_img": 4}
    model = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, **small
    ).eval()
    pictures = ([torch.rand(3, 64, 64)],)
    done = ts.prune(model, amount=0.5, example_inputs=pictures)
    assert done.after.params < 0.3 * done.before.params
    assert set(model(*pictures)[0]) == {"boxes", "labels", "scores"}
